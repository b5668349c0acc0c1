// Package prompts is the prompt registry of the gateway: named templates with
// immutable numbered versions and movable aliases, kept in the control store;
// the recognition of renderings of those templates in requests; and the
// handler llm_prompt, which finds out which prompt a request is about.
//
// A prompt version's way: registry.go writes it to the control store,
// snapshot.go is what requests read, view.go compiles it for recognition,
// handler.go finds the prompt of a request, and apply.go renders the version
// that the router chose into it.
package prompts

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/caddy-frontier/frontier/internal/api"
)

// timeLayout is RFC 3339 with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// Version is one immutable version of a prompt. Only its tags can change, and
// the aliases that point to it. Nobody may write to one.
type Version struct {
	Name           string                     `json:"name"`
	Version        int                        `json:"version"`
	URI            string                     `json:"uri"`
	Type           string                     `json:"type"` // text or chat
	Template       Template                   `json:"template"`
	Variables      []string                   `json:"variables"`
	CommitMessage  string                     `json:"commit_message"`
	Tags           map[string]string          `json:"tags"`
	ResponseFormat json.RawMessage            `json:"response_format"` // a JSON schema; nil: none
	ModelConfig    map[string]json.RawMessage `json:"model_config"`    // temperature and the like; nil: none
	Hash           string                     `json:"hash"`            // of the content, "sha256:…"
	Parent         int                        `json:"parent"`          // the version it was made from; 0: none
	Author         string                     `json:"author"`
	CreatedAt      time.Time                  `json:"created_at"`
	Aliases        []string                   `json:"aliases"`

	unrecognizable string
	patterns       []pattern // of the template's parts
}

// Reference names the version by number.
func (v *Version) Reference() Reference { return Reference{Name: v.Name, Version: v.Version} }

// Render puts the values in the place of the template's variables. A text
// prompt becomes one user message.
func (v *Version) Render(values map[string]string) ([]Message, error) {
	return v.Template.Render(values)
}

// Unrecognizable says why renderings of this version are never recognised in
// requests, or "" when they can be. It can still be used by name.
func (v *Version) Unrecognizable() string { return v.unrecognizable }

// Summary is a version without its template, as lists have it.
type Summary struct {
	Name           string            `json:"name"`
	Version        int               `json:"version"`
	URI            string            `json:"uri"`
	Type           string            `json:"type"`
	Variables      []string          `json:"variables"`
	CommitMessage  string            `json:"commit_message"`
	Tags           map[string]string `json:"tags"`
	Hash           string            `json:"hash"`
	Parent         *int              `json:"parent"`
	Author         string            `json:"author"`
	CreatedAt      string            `json:"created_at"`
	Aliases        []string          `json:"aliases"`
	Unrecognizable string            `json:"unrecognizable,omitempty"`
}

// Summary returns the version without its template.
func (v *Version) Summary() Summary {
	s := Summary{
		Name: v.Name, Version: v.Version, URI: v.URI, Type: v.Type, Variables: v.Variables, CommitMessage: v.CommitMessage,
		Tags: v.Tags, Hash: v.Hash, Author: v.Author, CreatedAt: v.CreatedAt.UTC().Format(timeLayout), Aliases: v.Aliases,
		Unrecognizable: v.unrecognizable,
	}
	if v.Parent > 0 {
		s.Parent = &v.Parent
	}
	if s.Variables == nil {
		s.Variables = []string{}
	}
	if s.Tags == nil {
		s.Tags = map[string]string{}
	}
	if s.Aliases == nil {
		s.Aliases = []string{}
	}
	return s
}

// MarshalJSON writes the version as the admin API has it, and why it is
// unrecognizable, if it is.
func (v *Version) MarshalJSON() ([]byte, error) {
	s := v.Summary()
	return marshal(struct {
		Name           string                     `json:"name"`
		Version        int                        `json:"version"`
		URI            string                     `json:"uri"`
		Type           string                     `json:"type"`
		Template       Template                   `json:"template"`
		Variables      []string                   `json:"variables"`
		CommitMessage  string                     `json:"commit_message"`
		Tags           map[string]string          `json:"tags"`
		ResponseFormat json.RawMessage            `json:"response_format"`
		ModelConfig    map[string]json.RawMessage `json:"model_config"`
		Hash           string                     `json:"hash"`
		Parent         *int                       `json:"parent"`
		Author         string                     `json:"author"`
		CreatedAt      string                     `json:"created_at"`
		Aliases        []string                   `json:"aliases"`
		Unrecognizable string                     `json:"unrecognizable,omitempty"`
	}{
		s.Name, s.Version, s.URI, s.Type, v.Template, s.Variables, s.CommitMessage, s.Tags, v.ResponseFormat,
		v.ModelConfig, s.Hash, s.Parent, s.Author, s.CreatedAt, s.Aliases, s.Unrecognizable,
	})
}

// complete fills what follows from the template.
func (v *Version) complete() {
	v.URI = v.Reference().String()
	v.Type = "text"
	if v.Template.chat {
		v.Type = "chat"
	}
	v.Variables = v.Template.Variables()
	v.patterns = compile(&v.Template)
	v.unrecognizable = unrecognizable(v.patterns)
}

// contentHash is the SHA-256 of what makes two versions the same: template,
// response format and model config, with their members sorted and without
// space. Numbers and texts stay as they were written.
func contentHash(t *Template, format json.RawMessage, config map[string]json.RawMessage) (string, error) {
	content := map[string]any{"template": t, "response_format": nil, "model_config": nil}
	if format != nil {
		v, err := canonical(format)
		if err != nil {
			return "", api.Invalid("response_format", "the response format is not JSON: %s", err)
		}
		content["response_format"] = v
	}
	if config != nil {
		fields := make(map[string]any, len(config))
		for key, raw := range config {
			v, err := canonical(raw)
			if err != nil {
				return "", api.Invalid("model_config."+key, "%q of the model config is not JSON: %s", key, err)
			}
			fields[key] = v
		}
		content["model_config"] = fields
	}
	raw, err := marshal(content)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

func canonical(raw json.RawMessage) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("data behind the value")
	}
	return v, nil
}
