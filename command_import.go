package frontier

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/prompts"
)

func (c *cli) importOpenAICommand() *cobra.Command {
	var (
		names  []string
		dryRun bool
		change changeFlags
	)
	cmd := c.command("openai FILE", "Registers prompts that OpenAI hosted", `
Registers the versions of prompts that OpenAI hosted (ids that begin with
pmpt_), so that applications which name them in the parameter prompt keep
working. The file holds the API's responses to calls of the prompts, or the
prompts written down as requests with id and version: see docs/openai-prompts.md.

A prompt is called as in the file or by --name, else by its id. Its versions are
registered in their order, with model, parameters and response format, and with
the tags openai.id and openai.version, by which requests find them. A new
prompt's alias production points to its default version, else to the newest.

What is there already is left as it is. What contradicts it is refused before
anything is registered. What a prompt cannot hold is listed.

	$ caddy llm prompts import openai prompts.json --dry-run
	$ caddy llm prompts import openai prompts.json --name pmpt_abc=support_reply`, exactly("FILE"), func(r *request, args []string) error {
		raw, err := r.read(args[0])
		if err != nil {
			return fmt.Errorf("reading the prompts: %w", err)
		}
		versions, err := prompts.ReadOpenAI(raw)
		if err != nil {
			return fmt.Errorf("reading the prompts of %s: %w", args[0], err)
		}
		named, err := pairs("name", names)
		if err != nil {
			return err
		}
		p := importing{request: r, named: named, change: change, known: map[string]*promptView{}, hosted: map[string]string{}, fresh: map[string]bool{}}
		if err := p.plan(versions); err != nil {
			return err
		}
		if !dryRun {
			if err := p.apply(); err != nil {
				return err
			}
		}
		return p.report(dryRun)
	})
	flags := cmd.Flags()
	flags.StringArrayVar(&names, "name", nil, "Name of a prompt here, pmpt_…=NAME; may be repeated")
	flags.BoolVar(&dryRun, "dry-run", false, "Say what would be registered, and register nothing")
	change.register(cmd)
	return cmd
}

// What becomes of a version.
const (
	isRegistered = "registered"
	isUnchanged  = "unchanged"    // it was imported before
	isSame       = "same_content" // as the version before it: it is that version
)

// importedVersion is a version of OpenAI's, and which it is here.
type importedVersion struct {
	ID      string   `json:"id"`
	Version int      `json:"version"` // OpenAI's
	Prompt  string   `json:"prompt"`
	Here    int      `json:"prompt_version"`
	Result  string   `json:"result"`
	LeftOut []string `json:"left_out"`

	hosted prompts.Hosted
}

// importedAlias is an alias that was set.
type importedAlias struct {
	Prompt  string `json:"prompt"`
	Alias   string `json:"alias"`
	Version int    `json:"version"`
}

// importing is one import of OpenAI's prompts.
type importing struct {
	*request
	change changeFlags
	named  map[string]string // by id, as given
	known  map[string]*promptView
	hosted map[string]string // names here by id
	fresh  map[string]bool   // the prompts that are new

	versions []importedVersion
	aliases  []importedAlias
}

// plan says what is to be done, and refuses what contradicts what is there.
func (p *importing) plan(versions []prompts.Hosted) error {
	if err := pages(p.request, "/llm/prompts", nil, func(v promptView) error {
		p.known[v.Name] = &v
		for _, s := range v.Versions {
			if id := s.Tags[prompts.TagOpenAIID]; id != "" && p.hosted[id] == "" {
				p.hosted[id] = v.Name
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for id := range p.named {
		if !slices.ContainsFunc(versions, func(h prompts.Hosted) bool { return h.ID == id }) {
			return usagef("--name %s=…: the file has no such prompt", id)
		}
	}
	var conflicts []error
	taken := map[string]string{} // ids by name
	for len(versions) > 0 {
		n := slices.IndexFunc(versions, func(h prompts.Hosted) bool { return h.ID != versions[0].ID })
		if n < 0 {
			n = len(versions)
		}
		id := versions[0].ID
		name, err := p.name(versions[:n])
		if other := taken[name]; err == nil && other != "" {
			err = fmt.Errorf("%s and %s would both be prompt %s: name one with --name %s=NAME", other, id, name, id)
		}
		if err == nil {
			taken[name] = id
			err = p.planPrompt(name, versions[:n])
		}
		if _, wrong := errors.AsType[*usageError](err); wrong {
			return err
		}
		conflicts = append(conflicts, err)
		versions = versions[n:]
	}
	if err := errors.Join(conflicts...); err != nil {
		return fmt.Errorf("nothing was registered: %w", err)
	}
	return nil
}

// name is what a prompt is called here.
func (p *importing) name(versions []prompts.Hosted) (string, error) {
	id := versions[0].ID
	given, there := p.named[id], p.hosted[id]
	if given != "" {
		if ref, err := prompts.ParseReference(given); err != nil || ref.Name != given {
			return "", usagef("--name %s=%s: want a name of letters, digits, '_', '.' and '-'", id, given)
		}
	}
	switch {
	case there != "" && given != "" && given != there:
		return "", fmt.Errorf("%s is prompt %s here already: leave --name %s=%s away", id, there, id, given)
	case there != "":
		return there, nil
	}
	name := given
	for i := len(versions) - 1; name == "" && i >= 0; i-- {
		name = nameOf(versions[i].Name)
	}
	name = cmp.Or(name, id)
	if p.known[name] != nil {
		return "", fmt.Errorf("there is a prompt %s already, which is not %s: choose another name with --name %s=NAME", name, id, id)
	}
	return name, nil
}

// nameOf makes a prompt's name of the one in OpenAI's dashboard.
func nameOf(title string) string {
	words := strings.FieldsFunc(title, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-'
	})
	return strings.Trim(strings.Join(words, "_"), ".")
}

// planPrompt decides about a prompt's versions, in the order of their numbers.
func (p *importing) planPrompt(name string, versions []prompts.Hosted) error {
	there := p.known[name]
	p.fresh[name] = there == nil
	last, lastHash := 0, ""
	before := map[string]prompts.Summary{} // imported earlier, by OpenAI's number
	if there != nil {
		for _, v := range there.Versions {
			if v.Version >= last {
				last, lastHash = v.Version, v.Hash
			}
			for number := range strings.FieldsSeq(v.Tags[prompts.TagOpenAIVersion]) {
				before[number] = v
			}
		}
	}
	for _, h := range versions {
		hash, err := h.Hash()
		if err != nil {
			return err
		}
		v := importedVersion{ID: h.ID, Version: h.Version, Prompt: name, LeftOut: append([]string{}, h.LeftOut...), hosted: h}
		switch old, imported := before[strconv.Itoa(h.Version)]; {
		case imported && old.Hash == hash:
			v.Here, v.Result = old.Version, isUnchanged
		case imported:
			return fmt.Errorf("version %d of %s was imported as %s and has other content in this file: correct the file, or register the change as a new version with: caddy llm prompts register %s",
				h.Version, h.ID, promptURI(name, old.Version), name)
		case hash == lastHash:
			v.Here, v.Result = last, isSame
		default:
			last, lastHash = last+1, hash
			v.Here, v.Result = last, isRegistered
		}
		p.versions = append(p.versions, v)
	}
	return nil
}

// apply does what is planned. It can be done again after a failure.
func (p *importing) apply() error {
	for i := range p.versions {
		v := &p.versions[i]
		if v.Result == isUnchanged {
			continue
		}
		if err := p.register(v); err != nil {
			return fmt.Errorf("version %d of %s: %w; what was registered before stays: run this again", v.Version, v.ID, err)
		}
	}
	for i, v := range p.versions {
		if end := i+1 == len(p.versions) || p.versions[i+1].Prompt != v.Prompt; !end || !p.fresh[v.Prompt] {
			continue
		}
		version := v.Here
		for _, o := range p.versions {
			if o.Prompt == v.Prompt && o.hosted.Default {
				version = o.Here
			}
		}
		a := importedAlias{Prompt: v.Prompt, Alias: "production", Version: version}
		set := p.change.into(map[string]any{"version": version})
		if _, err := p.server.do(p.ctx, http.MethodPut, "/llm/prompts"+segments(a.Prompt, "aliases", a.Alias), nil, set); err != nil {
			return fmt.Errorf("%s is there, but its alias %s was not set: %w", a.Prompt, a.Alias, err)
		}
		p.aliases = append(p.aliases, a)
	}
	return nil
}

// register registers a version, or marks the one that has its content.
func (p *importing) register(v *importedVersion) error {
	h, number := &v.hosted, strconv.Itoa(v.Version)
	body := map[string]any{
		"name": v.Prompt, "template": h.Template, "commit_message": "version " + number + " of " + v.ID + " at OpenAI",
		"tags": map[string]string{prompts.TagOpenAIID: v.ID, prompts.TagOpenAIVersion: number},
	}
	if h.ResponseFormat != nil {
		body["response_format"] = h.ResponseFormat
	}
	if h.ModelConfig != nil {
		body["model_config"] = h.ModelConfig
	}
	status, answer, err := p.server.send(p.ctx, http.MethodPost, "/llm/prompts", nil, p.change.into(body))
	if err != nil {
		return err
	}
	var got versionView
	if err := p.decode(answer, &got); err != nil {
		return err
	}
	v.Here, v.Result = got.Version, isRegistered
	if status == http.StatusCreated {
		return nil
	}
	v.Result = isSame
	numbers := strings.Fields(got.Tags[prompts.TagOpenAIVersion])
	if !slices.Contains(numbers, number) {
		numbers = append(numbers, number)
	}
	for key, value := range map[string]string{prompts.TagOpenAIID: v.ID, prompts.TagOpenAIVersion: strings.Join(numbers, " ")} {
		path := "/llm/prompts" + segments(got.Name, "versions", strconv.Itoa(got.Version), "tags", key)
		if _, err := p.server.do(p.ctx, http.MethodPut, path, nil, p.change.into(map[string]any{"value": value})); err != nil {
			return err
		}
	}
	return nil
}

func (p *importing) report(dryRun bool) error {
	if p.json {
		raw, err := marshalJSON(map[string]any{"dry_run": dryRun, "items": p.versions, "aliases": append([]importedAlias{}, p.aliases...)})
		if err != nil {
			return err
		}
		return p.printJSON(raw)
	}
	t := table{columns: []column{{name: "openai"}, {name: "version", right: true}, {name: "prompt"}, {name: "model"}, {name: "variables"}, {name: "result"}}}
	registered := 0
	for i := range p.versions {
		v := &p.versions[i]
		result := v.Result
		switch v.Result {
		case isSame:
			result = "has the same content"
		case isRegistered:
			registered++
			if dryRun {
				result = "would be registered"
			}
		}
		var model string
		_ = json.Unmarshal(v.hosted.ModelConfig["model"], &model)
		t.add(v.ID, strconv.Itoa(v.Version), promptURI(v.Prompt, v.Here), model, strings.Join(v.hosted.Template.Variables(), " "), result)
	}
	p.table(t)
	for _, a := range p.aliases {
		p.line(fmt.Sprintf("prompts:/%s@%s is now version %d", a.Prompt, a.Alias, a.Version))
	}
	for i := range p.versions {
		for _, what := range p.versions[i].LeftOut {
			p.note("Left out of version %d of %s: %s", p.versions[i].Version, p.versions[i].ID, printable(what, false))
		}
	}
	if dryRun {
		p.note("Nothing was registered; %d of %d versions would be.", registered, len(p.versions))
	}
	return nil
}
