package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// VersionTag is the tag of a prompt version here that says which number it has
// in MLflow; OwnVersionTag that of one in MLflow which says which it has here.
const (
	VersionTag    = "mlflow.version"
	OwnVersionTag = "frontier.version"
)

// The tags in which MLflow keeps what makes a registered model a prompt.
const (
	isPromptTag       = "mlflow.prompt.is_prompt"
	textTag           = "mlflow.prompt.text"
	typeTag           = "_mlflow_prompt_type"
	responseFormatTag = "_mlflow_prompt_response_format"
	modelConfigTag    = "_mlflow_prompt_model_config"
)

// Prompt is a prompt of MLflow's registry.
type Prompt struct {
	Name    string
	Tags    map[string]string // without those that are MLflow's own
	Aliases map[string]int
}

// PromptVersion is a version of one. Template is a text or a list of messages, as JSON.
type PromptVersion struct {
	Version        int
	Template       json.RawMessage
	CommitMessage  string
	Tags           map[string]string // without those that are MLflow's own
	ResponseFormat json.RawMessage
	ModelConfig    map[string]json.RawMessage
}

type keyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func fromTags(list []keyValue) (all, own map[string]string) {
	all, own = map[string]string{}, map[string]string{}
	for _, t := range list {
		all[t.Key] = t.Value
		if !strings.HasPrefix(t.Key, "mlflow.") && !strings.HasPrefix(t.Key, "_mlflow_") {
			own[t.Key] = t.Value
		}
	}
	return all, own
}

func toTags(all ...map[string]string) (list []keyValue) {
	for _, m := range all {
		for k, v := range m {
			list = append(list, keyValue{k, v})
		}
	}
	return list
}

type registeredModel struct {
	Name    string     `json:"name"`
	Tags    []keyValue `json:"tags"`
	Aliases []struct {
		Alias   string `json:"alias"`
		Version string `json:"version"`
	} `json:"aliases"`
}

func (m *registeredModel) prompt() Prompt {
	p := Prompt{Name: m.Name, Aliases: map[string]int{}}
	_, p.Tags = fromTags(m.Tags)
	for _, a := range m.Aliases {
		if n, err := strconv.Atoi(a.Version); err == nil {
			p.Aliases[a.Alias] = n
		}
	}
	return p
}

// Prompts lists all prompts.
func (s *Server) Prompts(ctx context.Context) (list []Prompt, err error) {
	query := url.Values{"max_results": {"100"}, "filter": {"tags.`" + isPromptTag + "` = 'true'"}}
	for {
		var page struct {
			Models []registeredModel `json:"registered_models"`
			Next   string            `json:"next_page_token"`
		}
		if err := s.call(ctx, http.MethodGet, "/2.0/mlflow/registered-models/search", query, nil, &page); err != nil {
			return nil, err
		}
		for i := range page.Models {
			list = append(list, page.Models[i].prompt())
		}
		if page.Next == "" {
			return list, nil
		}
		query.Set("page_token", page.Next)
	}
}

// Prompt returns the prompt of that name, nil when there is none.
func (s *Server) Prompt(ctx context.Context, name string) (*Prompt, error) {
	var found struct {
		Model registeredModel `json:"registered_model"`
	}
	err := s.call(ctx, http.MethodGet, "/2.0/mlflow/registered-models/get", url.Values{"name": {name}}, nil, &found)
	if NotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if all, _ := fromTags(found.Model.Tags); all[isPromptTag] != "true" {
		return nil, fmt.Errorf("MLflow has a model of the name %q, which is not a prompt", name)
	}
	p := found.Model.prompt()
	return &p, nil
}

// Versions lists the prompt's versions, the oldest first.
func (s *Server) Versions(ctx context.Context, name string) (list []PromptVersion, err error) {
	query := url.Values{"max_results": {"100"}, "filter": {"name = '" + name + "' AND tags.`" + isPromptTag + "` = 'true'"}}
	for {
		var page struct {
			Versions []struct {
				Version     string     `json:"version"`
				Description string     `json:"description"`
				Tags        []keyValue `json:"tags"`
			} `json:"model_versions"`
			Next string `json:"next_page_token"`
		}
		if err := s.call(ctx, http.MethodGet, "/2.0/mlflow/model-versions/search", query, nil, &page); err != nil {
			return nil, err
		}
		for _, v := range page.Versions {
			n, err := strconv.Atoi(v.Version)
			if err != nil {
				return nil, fmt.Errorf("prompt %q has a version %q in MLflow", name, v.Version)
			}
			p := PromptVersion{Version: n, CommitMessage: v.Description}
			all, own := fromTags(v.Tags)
			p.Tags = own
			if err := p.read(all); err != nil {
				return nil, fmt.Errorf("prompt %q, version %d in MLflow: %w", name, n, err)
			}
			list = append(list, p)
		}
		if page.Next == "" {
			slices.SortFunc(list, func(a, b PromptVersion) int { return a.Version - b.Version })
			return list, nil
		}
		query.Set("page_token", page.Next)
	}
}

// read takes the content out of the tags.
func (v *PromptVersion) read(tags map[string]string) error {
	text := tags[textTag]
	if tags[typeTag] == "chat" {
		v.Template = json.RawMessage(text)
	} else {
		v.Template, _ = json.Marshal(text)
	}
	if !json.Valid(v.Template) {
		return errors.New("its messages are not JSON")
	}
	if f := tags[responseFormatTag]; f != "" {
		if v.ResponseFormat = json.RawMessage(f); !json.Valid(v.ResponseFormat) {
			return errors.New("its response format is not JSON")
		}
	}
	if c := tags[modelConfigTag]; c != "" {
		if err := v.readConfig([]byte(c)); err != nil {
			return fmt.Errorf("its model config: %w", err)
		}
	}
	return nil
}

// Jinja reports whether the template has Jinja's logic, which templates here have not.
func (v *PromptVersion) Jinja() bool {
	return strings.Contains(string(v.Template), "{%") || strings.Contains(string(v.Template), "{#")
}

// configNames are the members of MLflow's model config whose name here is another one.
var configNames = map[string]string{"stop_sequences": "stop"}

// configFields are the others. What is none of them is in extra_params.
var configFields = []string{"temperature", "max_tokens", "top_p", "top_k", "frequency_penalty", "presence_penalty"}

func (v *PromptVersion) readConfig(raw []byte) error {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(raw, &config); err != nil {
		return err
	}
	out := map[string]json.RawMessage{}
	var provider, model string
	for key, value := range config {
		switch {
		case string(value) == "null":
		case key == "provider":
			_ = json.Unmarshal(value, &provider)
		case key == "model_name":
			_ = json.Unmarshal(value, &model)
		case key == "extra_params":
			var extra map[string]json.RawMessage
			if err := json.Unmarshal(value, &extra); err != nil {
				return err
			}
			maps.Copy(out, extra)
		case configNames[key] != "":
			out[configNames[key]] = value
		default:
			out[key] = value
		}
	}
	if model != "" {
		if provider != "" {
			model = provider + "/" + model
		}
		out["model"], _ = json.Marshal(model)
	}
	if len(out) > 0 {
		v.ModelConfig = out
	}
	return nil
}

func (v *PromptVersion) writeConfig() ([]byte, error) {
	out, extra := map[string]any{}, map[string]json.RawMessage{}
	for key, value := range v.ModelConfig {
		var model string
		switch {
		case key == "model" && json.Unmarshal(value, &model) == nil:
			if provider, name, qualified := strings.Cut(model, "/"); qualified {
				out["provider"], out["model_name"] = provider, name
			} else {
				out["model_name"] = model
			}
		case key == "stop" && len(value) > 0 && value[0] == '[':
			out["stop_sequences"] = value
		case slices.Contains(configFields, key):
			out[key] = value
		default:
			extra[key] = value
		}
	}
	if len(extra) > 0 {
		out["extra_params"] = extra
	}
	return json.Marshal(out)
}

// CreatePrompt makes a prompt without versions.
func (s *Server) CreatePrompt(ctx context.Context, p Prompt) error {
	return s.call(ctx, http.MethodPost, "/2.0/mlflow/registered-models/create", nil, map[string]any{
		"name": p.Name, "tags": toTags(p.Tags, map[string]string{isPromptTag: "true"}),
	}, nil)
}

// CreateVersion makes the prompt's next version, and returns its number.
func (s *Server) CreateVersion(ctx context.Context, name string, v PromptVersion) (int, error) {
	tags := map[string]string{isPromptTag: "true", typeTag: "text"}
	var text string
	if json.Unmarshal(v.Template, &text) == nil {
		tags[textTag] = text
	} else {
		tags[typeTag], tags[textTag] = "chat", string(v.Template)
	}
	if len(v.ResponseFormat) > 0 {
		tags[responseFormatTag] = string(v.ResponseFormat)
	}
	if len(v.ModelConfig) > 0 {
		config, err := v.writeConfig()
		if err != nil {
			return 0, err
		}
		tags[modelConfigTag] = string(config)
	}
	var made struct {
		Version struct {
			Version string `json:"version"`
		} `json:"model_version"`
	}
	err := s.call(ctx, http.MethodPost, "/2.0/mlflow/model-versions/create", nil, map[string]any{
		"name": name, "source": "dummy-source", "description": v.CommitMessage, "tags": toTags(v.Tags, tags),
	}, &made)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(made.Version.Version)
}

// SetAlias lets the prompt's alias point to the version.
func (s *Server) SetAlias(ctx context.Context, name, alias string, version int) error {
	return s.call(ctx, http.MethodPost, "/2.0/mlflow/registered-models/alias", nil, map[string]string{"name": name, "alias": alias, "version": strconv.Itoa(version)}, nil)
}
