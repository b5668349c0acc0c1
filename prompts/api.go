package prompts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/call"
)

// Routes returns the admin API's operations on prompts. lookup finds the
// prompts of the configuration that is running, on every request.
func Routes(lookup func() (*View, error)) []api.Route {
	a := admin{lookup}
	versionIs := "VERSION is a number, latest or @alias"
	return []api.Route{
		{
			Method: http.MethodGet, Path: "/prompts", Summary: "Lists the prompts, by name, with their versions but without templates.",
			Query:  []api.Param{{Name: "cursor", Summary: "next_cursor of the page before"}, {Name: "limit", Summary: "prompts a page, 1 to 1000; default 100"}},
			Answer: api.List[promptAnswer]{}, Handle: a.list,
		},
		{
			Method: http.MethodPost, Path: "/prompts", Summary: "Registers a prompt, or the next version of one that exists (201); when the latest version has the same content, that one is returned (200).",
			Body: registerBody{}, Answer: &Version{}, Status: http.StatusCreated, Handle: a.register,
		},
		{Method: http.MethodGet, Path: "/prompts/{name}", Summary: "Shows a prompt: its tags, aliases and versions.", Answer: promptAnswer{}, Handle: a.show},
		{Method: http.MethodGet, Path: "/prompts/{name}/versions/{version}", Summary: "Shows a version with its template; " + versionIs + ".", Answer: &Version{}, Handle: a.version},
		{Method: http.MethodPut, Path: "/prompts/{name}/aliases/{alias}", Summary: "Lets the alias point to a version, in force for the next request.", Body: aliasBody{}, Answer: promptAnswer{}, Handle: a.setAlias},
		{Method: http.MethodDelete, Path: "/prompts/{name}/aliases/{alias}", Summary: "Removes the alias.", Body: who{}, Answer: promptAnswer{}, Handle: a.deleteAlias},
		{Method: http.MethodPut, Path: "/prompts/{name}/tags/{key}", Summary: `Sets a tag of the prompt. The tag recognize with the value "off" exempts it from recognition.`, Body: tagBody{}, Answer: promptAnswer{}, Handle: a.setTag},
		{Method: http.MethodDelete, Path: "/prompts/{name}/tags/{key}", Summary: "Removes a tag of the prompt.", Body: who{}, Answer: promptAnswer{}, Handle: a.deleteTag},
		{Method: http.MethodPut, Path: "/prompts/{name}/versions/{version}/tags/{key}", Summary: "Sets a tag of the version; " + versionIs + ".", Body: tagBody{}, Answer: &Version{}, Handle: a.setTag},
		{Method: http.MethodDelete, Path: "/prompts/{name}/versions/{version}/tags/{key}", Summary: "Removes a tag of the version; " + versionIs + ".", Body: who{}, Answer: &Version{}, Handle: a.deleteTag},
		{
			Method: http.MethodGet, Path: "/prompts/{name}/diff", Summary: "Compares two versions, by lines; " + versionIs + ".",
			Query:  []api.Param{{Name: "from", Summary: "VERSION; default: the one that to was made from"}, {Name: "to", Summary: "VERSION; default: latest"}},
			Answer: Diff{}, Handle: a.diff,
		},
		{Method: http.MethodPost, Path: "/prompts/{name}/render", Summary: "Renders a version with variables; without version and alias the latest.", Body: renderBody{}, Answer: renderAnswer{}, Handle: a.render},
		{
			Method: http.MethodPost, Path: "/prompts/recognize", Summary: "Says which prompt the messages are a rendering of: as the route looks for them, or, without a route, of all prompts there are.",
			Body: recognizeBody{}, Answer: recognizeAnswer{}, Handle: a.recognize,
		},
	}
}

type admin struct {
	lookup func() (*View, error)
}

// who says who makes a change, and why.
type who struct {
	Reason string `json:"reason,omitempty"`
	Actor  string `json:"actor,omitempty"`
}

type registerBody struct {
	Name           string                     `json:"name"`
	Template       json.RawMessage            `json:"template"` // a text or a list of {"role", "content"}
	CommitMessage  string                     `json:"commit_message,omitempty"`
	Tags           map[string]string          `json:"tags,omitempty"`
	ResponseFormat json.RawMessage            `json:"response_format,omitempty"`
	ModelConfig    map[string]json.RawMessage `json:"model_config,omitempty"`
	who
}

type aliasBody struct {
	Version int `json:"version"`
	who
}

type tagBody struct {
	Value string `json:"value"`
	who
}

type promptAnswer struct {
	Name     string            `json:"name"`
	Tags     map[string]string `json:"tags"`
	Latest   int               `json:"latest"`
	Aliases  map[string]int    `json:"aliases"`
	Versions []Summary         `json:"versions"`
}

func answerOf(p *Prompt) promptAnswer {
	a := promptAnswer{Name: p.Name, Tags: p.Tags, Latest: p.Latest, Aliases: p.Aliases, Versions: make([]Summary, len(p.Versions))}
	if a.Tags == nil {
		a.Tags = map[string]string{}
	}
	if a.Aliases == nil {
		a.Aliases = map[string]int{}
	}
	for i, v := range p.Versions {
		a.Versions[i] = v.Summary()
	}
	return a
}

func (a admin) list(w http.ResponseWriter, r *http.Request) error {
	view, err := a.lookup()
	if err != nil {
		return err
	}
	limit := 100
	if text := r.URL.Query().Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > 1000 {
			return api.Invalid("limit", "limit must be a number from 1 to 1000; got %q", excerpt(text))
		}
	}
	all := view.registry.List()
	if after := r.URL.Query().Get("cursor"); after != "" {
		all = all[sort.Search(len(all), func(i int) bool { return all[i].Name > after }):]
	}
	next := ""
	if len(all) > limit {
		all = all[:limit]
		next = all[limit-1].Name
	}
	items := make([]promptAnswer, len(all))
	for i, p := range all {
		items[i] = answerOf(p)
	}
	api.WriteList(w, items, next)
	return nil
}

func (a admin) register(w http.ResponseWriter, r *http.Request) error {
	view, err := a.lookup()
	if err != nil {
		return err
	}
	var body registerBody
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	d := Draft{
		Name: body.Name, CommitMessage: body.CommitMessage, Tags: body.Tags, ResponseFormat: body.ResponseFormat,
		ModelConfig: body.ModelConfig, Author: body.Actor,
	}
	if len(body.Template) > 0 {
		if err := json.Unmarshal(body.Template, &d.Template); err != nil {
			return err
		}
	}
	v, created, err := view.registry.RegisterIf(d, body.change(r))
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	a.tag(w, view, v.Name)
	w.Header().Set("Location", fmt.Sprintf("/llm/prompts/%s/versions/%d", v.Name, v.Version))
	api.WriteJSON(w, status, v)
	return nil
}

// change is the condition and the note of a change.
func (b who) change(r *http.Request) Change {
	return Change{Actor: b.Actor, Reason: b.Reason, Check: func(etag string) error { return api.CheckMatch(r, etag) }}
}

// tag sends the prompt's ETag.
func (admin) tag(w http.ResponseWriter, view *View, name string) {
	if p, ok := view.Current().Prompt(name); ok {
		api.SetETag(w, p.ETag)
	}
}

func (a admin) show(w http.ResponseWriter, r *http.Request) error {
	view, err := a.lookup()
	if err != nil {
		return err
	}
	p, err := view.registry.Get(r.PathValue("name"))
	if err != nil {
		return err
	}
	return a.prompt(w, p, nil)
}

func (admin) prompt(w http.ResponseWriter, p *Prompt, err error) error {
	if err != nil {
		return err
	}
	api.SetETag(w, p.ETag)
	api.WriteJSON(w, http.StatusOK, answerOf(p))
	return nil
}

// named resolves a version as paths and queries name it.
func (a admin) named(s *Snapshot, field, name, version string) (*Version, error) {
	ref := Reference{Name: name}
	if alias, ok := strings.CutPrefix(version, "@"); ok {
		ref.Alias = alias
	} else if version != latest {
		n, ok := parseVersion(version)
		if !ok {
			return nil, api.Invalid(field, "%s must be a version number, latest or @alias; got %q", field, excerpt(version))
		}
		ref.Version = n
	}
	return s.Resolve(ref)
}

func (a admin) version(w http.ResponseWriter, r *http.Request) error {
	view, err := a.lookup()
	if err != nil {
		return err
	}
	v, err := a.named(view.Current(), "version", r.PathValue("name"), r.PathValue("version"))
	if err != nil {
		return err
	}
	a.tag(w, view, v.Name)
	api.WriteJSON(w, http.StatusOK, v)
	return nil
}

func (a admin) setAlias(w http.ResponseWriter, r *http.Request) error {
	view, err := a.lookup()
	if err != nil {
		return err
	}
	var body aliasBody
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	if body.Version < 1 {
		return api.Invalid("version", `the version that the alias is to point to is needed: {"version": 2}`)
	}
	p, err := view.registry.SetAlias(r.PathValue("name"), r.PathValue("alias"), body.Version, body.change(r))
	return a.prompt(w, p, err)
}

func (a admin) deleteAlias(w http.ResponseWriter, r *http.Request) error {
	view, err := a.lookup()
	if err != nil {
		return err
	}
	var body who
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	p, err := view.registry.DeleteAlias(r.PathValue("name"), r.PathValue("alias"), body.change(r))
	return a.prompt(w, p, err)
}

func (a admin) setTag(w http.ResponseWriter, r *http.Request) error {
	var body tagBody
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	return a.retag(w, r, &body.Value, body.change(r))
}

func (a admin) deleteTag(w http.ResponseWriter, r *http.Request) error {
	var body who
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	return a.retag(w, r, nil, body.change(r))
}

func (a admin) retag(w http.ResponseWriter, r *http.Request, value *string, c Change) error {
	view, err := a.lookup()
	if err != nil {
		return err
	}
	name, number := r.PathValue("name"), 0
	if text := r.PathValue("version"); text != "" {
		v, err := a.named(view.Current(), "version", name, text)
		if err != nil {
			return err
		}
		number = v.Version
	}
	p, err := view.registry.SetTags(name, number, map[string]*string{r.PathValue("key"): value}, c)
	if err != nil || number == 0 {
		return a.prompt(w, p, err)
	}
	api.SetETag(w, p.ETag)
	api.WriteJSON(w, http.StatusOK, p.Version(number))
	return nil
}

func (a admin) diff(w http.ResponseWriter, r *http.Request) error {
	view, err := a.lookup()
	if err != nil {
		return err
	}
	s, name, q := view.Current(), r.PathValue("name"), r.URL.Query()
	text := q.Get("to")
	if text == "" {
		text = latest
	}
	to, err := a.named(s, "to", name, text)
	if err != nil {
		return err
	}
	if text = q.Get("from"); text == "" {
		if to.Parent == 0 {
			return api.Invalid("from", "version %d was made from no other; say which one to compare it with: from=", to.Version)
		}
		text = strconv.Itoa(to.Parent)
	}
	from, err := a.named(s, "from", name, text)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, Compare(from, to))
	return nil
}

type renderBody struct {
	Version   int                        `json:"version,omitempty"`
	Alias     string                     `json:"alias,omitempty"`
	Variables map[string]json.RawMessage `json:"variables,omitempty"`
}

type renderAnswer struct {
	Text     *string   `json:"text,omitempty"`
	Messages []Message `json:"messages,omitempty"`
}

func (a admin) render(w http.ResponseWriter, r *http.Request) error {
	view, err := a.lookup()
	if err != nil {
		return err
	}
	var body renderBody
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	if body.Version < 0 {
		return api.Invalid("version", "version must be a number from 1")
	}
	if body.Version > 0 && body.Alias != "" {
		return api.Invalid("alias", "give a version or an alias, not both")
	}
	v, err := view.Current().Resolve(Reference{Name: r.PathValue("name"), Version: body.Version, Alias: body.Alias})
	if err != nil {
		return err
	}
	values := make(map[string]string, len(body.Variables))
	for name, raw := range body.Variables {
		if values[name], err = plainText(name, raw); err != nil {
			return err
		}
	}
	messages, err := v.Render(values)
	if err != nil {
		return api.Invalid("variables", "prompt %s/%d: %s", v.Name, v.Version, err)
	}
	answer := renderAnswer{Messages: messages}
	if !v.Template.chat {
		answer = renderAnswer{Text: &messages[0].Content}
	}
	api.WriteJSON(w, http.StatusOK, answer)
	return nil
}

func plainText(name string, raw json.RawMessage) (string, error) {
	var text string
	raw = bytes.TrimSpace(raw)
	switch raw[0] {
	case '"':
		if err := json.Unmarshal(raw, &text); err != nil {
			return "", api.Invalid("variables."+name, "variables.%s: %s", name, err)
		}
		return text, nil
	case '{', '[', 'n':
		return "", api.Invalid("variables."+name, "variables.%s must be text, a number, true or false", name)
	}
	return string(raw), nil
}

type recognizeBody struct {
	Messages json.RawMessage `json:"messages"`
	Route    string          `json:"route,omitempty"`
}

type recognizeAnswer struct {
	Matched   bool              `json:"matched"`
	Prompt    string            `json:"prompt,omitempty"`
	Version   int               `json:"version,omitempty"`
	Variables map[string]string `json:"variables,omitempty"`
	Nearest   *call.NearMiss    `json:"nearest"`
}

func (a admin) recognize(w http.ResponseWriter, r *http.Request) error {
	view, err := a.lookup()
	if err != nil {
		return err
	}
	var body recognizeBody
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	if len(body.Messages) == 0 {
		return api.Invalid("messages", "messages is needed: the list of messages that the application sends")
	}
	if body.Route != "" && !view.hasRoute(body.Route) {
		return api.NotFound("there is no route %s", excerpt(body.Route))
	}
	c, err := parseMessages(body.Messages)
	if err != nil {
		return err
	}
	var answer recognizeAnswer
	var p call.Prompt
	if body.Route == "" {
		p, answer.Nearest = matchAll(view.Current()).recognize(c, 0)
	} else {
		p, answer.Nearest = view.Recognize(c, body.Route)
	}
	if p.Name != "" {
		answer.Matched, answer.Prompt, answer.Version, answer.Variables = true, p.Name, p.Version, p.Variables
		if answer.Variables == nil {
			answer.Variables = map[string]string{}
		}
	}
	api.WriteJSON(w, http.StatusOK, answer)
	return nil
}

// parseMessages makes a call of a list of messages, by way of the request that would carry it.
func parseMessages(messages json.RawMessage) (*call.Call, error) {
	doc := append(append([]byte(`{"messages":`), messages...), '}')
	r, err := http.NewRequest(http.MethodPost, "/v1/chat/completions", bytes.NewReader(doc))
	if err != nil {
		return nil, err
	}
	c, _, _, fail := call.Begin(r, &call.Admission{MaxBody: int64(len(doc))})
	if fail != nil {
		return nil, api.Invalid("messages", "%s", fail)
	}
	if c == nil {
		return nil, errors.New("not a call")
	}
	return c, nil
}
