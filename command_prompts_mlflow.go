package frontier

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/mlflow"
	"github.com/caddy-frontier/frontier/prompts"
)

func (c *cli) importPromptsCommand() *cobra.Command {
	var s promptSync
	cmd := c.command("mlflow [URL] [NAME…]", "Imports prompts from MLflow's registry", `
Imports prompts with all their versions, tags and aliases from the prompt
registry of an MLflow server, by default that of MLFLOW_TRACKING_URI. Without
names, all of them. Credentials come from the environment, as for MLflow's own
clients, or with --header.

A version that was imported gets the tag mlflow.version, with its number there;
what was imported, or exported to there, is not imported again. It is compared:
when somebody has changed it in MLflow, where nothing prevents that, it is
reported and the exit code is 1. With --update its present content becomes a new
version.

An alias that is not here yet is set. One that points to another version is left
where it is, and reported, unless --move-aliases is given: what production
points to is in force for the next request.

	$ caddy llm prompts import mlflow http://127.0.0.1:5000
	$ caddy llm prompts import mlflow http://127.0.0.1:5000 senti --dry-run`, func(*cobra.Command, []string) error { return nil }, func(r *request, args []string) error {
		return s.run(r, args, s.importPrompt)
	})
	cmd.Flags().BoolVar(&s.update, "update", false, "Register the present content of versions that were changed in MLflow as new versions")
	s.register(cmd)
	return group(&cobra.Command{Use: "import", Short: "Imports prompts from another registry", Long: "Imports prompts from another registry.\n\n\t$ caddy llm prompts import mlflow http://127.0.0.1:5000"}, cmd, c.importOpenAICommand())
}

func (c *cli) exportPromptsCommand() *cobra.Command {
	var s promptSync
	cmd := c.command("mlflow [URL] [NAME…]", "Exports prompts to MLflow's registry", `
Exports prompts with all their versions, tags and aliases to the prompt registry
of an MLflow server, by default that of MLFLOW_TRACKING_URI. Without names, all
of them. Credentials come from the environment, as for MLflow's own clients, or
with --header.

MLflow numbers versions itself. A version that was exported gets the tag
frontier.version there, with its number here, and mlflow.version here; what was
exported, or imported from there, is not exported again. It is compared: when
somebody has changed it in MLflow, it is reported and the exit code is 1.

An alias that is not there yet is set. One that points to another version is left
where it is, and reported, unless --move-aliases is given.

	$ caddy llm prompts export mlflow http://127.0.0.1:5000 --dry-run
	$ caddy llm prompts export mlflow http://127.0.0.1:5000 senti --move-aliases --dry-run`, func(*cobra.Command, []string) error { return nil }, func(r *request, args []string) error {
		return s.run(r, args, s.exportPrompt)
	})
	s.register(cmd)
	return group(&cobra.Command{Use: "export", Short: "Exports prompts to another registry", Long: "Exports prompts to another registry.\n\n\t$ caddy llm prompts export mlflow http://127.0.0.1:5000 --dry-run"}, cmd)
}

// promptSync is one import or export.
type promptSync struct {
	headers                     []string
	dryRun, moveAliases, update bool
	change                      changeFlags

	r       *request
	server  *mlflow.Server
	here    map[string]promptView
	done    []syncRow
	drifted int
}

// syncRow is what became of a version, or of an alias.
type syncRow struct {
	Prompt  string `json:"prompt"`
	Alias   string `json:"alias,omitempty"`
	Version int    `json:"version"`        // here; 0: none
	There   int    `json:"mlflow_version"` // 0: none
	State   string `json:"state"`
}

func (s *promptSync) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.headers, "header", nil, "Header field of the requests to MLflow, name=value; may be repeated")
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "Change nothing, and show what would be done")
	cmd.Flags().BoolVar(&s.moveAliases, "move-aliases", false, "Move aliases that point to another version")
	s.change.register(cmd)
}

func (s *promptSync) run(r *request, args []string, one func(name string) error) error {
	s.r = r
	url := ""
	if len(args) > 0 && strings.Contains(args[0], "://") {
		url, args = args[0], args[1:]
	}
	header, err := pairs("header", s.headers)
	if err != nil {
		return err
	}
	if s.server, err = mlflow.New(url, header, 0); err != nil {
		return usagef("%s", err)
	}
	s.here = map[string]promptView{}
	if err := pages(r, "/llm/prompts", nil, func(p promptView) error {
		s.here[p.Name] = p
		return nil
	}); err != nil {
		return err
	}
	if len(args) == 0 {
		if args, err = s.all(r.cmd.Parent().Name() == "import"); err != nil {
			return err
		}
	}
	for _, name := range args {
		if err = one(name); err != nil {
			err = fmt.Errorf("prompt %s: %w", name, err)
			break
		}
	}
	if err == nil || len(s.done) > 0 {
		err = errors.Join(err, s.print())
	}
	if err == nil && s.drifted > 0 {
		err = fmt.Errorf("%d of the versions have other content in MLflow than here: somebody changed them there", s.drifted)
	}
	return err
}

// all are the names of all prompts, there or here.
func (s *promptSync) all(there bool) (names []string, err error) {
	if !there {
		return slices.Sorted(maps.Keys(s.here)), nil
	}
	list, err := s.server.Prompts(s.r.ctx)
	for _, p := range list {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names, err
}

func (s *promptSync) print() error {
	if s.r.json {
		if s.done == nil {
			s.done = []syncRow{}
		}
		raw, err := marshalJSON(s.done)
		if err != nil {
			return err
		}
		return s.r.printJSON(raw)
	}
	if len(s.done) == 0 {
		s.r.note("There are no prompts.")
		return nil
	}
	number := func(n int) string {
		if n == 0 {
			return "-"
		}
		return strconv.Itoa(n)
	}
	t := table{columns: []column{{name: "prompt"}, {name: "here", right: true}, {name: "mlflow", right: true}, {name: "state"}}}
	for _, row := range s.done {
		name := row.Prompt
		if row.Alias != "" {
			name += "@" + row.Alias
		}
		t.add(name, number(row.Version), number(row.There), row.State)
	}
	s.r.table(t)
	return nil
}

// note adds a row. What is only tried is said so.
func (s *promptSync) note(row syncRow, done, would string) {
	row.State = done
	if s.dryRun {
		row.State = would
	}
	s.done = append(s.done, row)
}

// ownContent is a version here with its content as it is stored.
type ownContent struct {
	prompts.Summary
	Template       json.RawMessage            `json:"template"`
	ResponseFormat json.RawMessage            `json:"response_format"`
	ModelConfig    map[string]json.RawMessage `json:"model_config"`
}

// hashOf is the content hash that the version would have here.
func hashOf(name string, v *mlflow.PromptVersion) (string, error) {
	d := prompts.Draft{Name: name, ResponseFormat: v.ResponseFormat, ModelConfig: v.ModelConfig}
	if err := json.Unmarshal(v.Template, &d.Template); err != nil {
		return "", err
	}
	return d.Hash()
}

// numbers tells which versions here and there are the same, by the tags that
// an import or export left.
func (s *promptSync) numbers(name string, there []mlflow.PromptVersion) (here map[int]int, hashes map[int]string) {
	here, hashes = map[int]int{}, map[int]string{} // by the number there; by the number here
	for _, v := range s.here[name].Versions {
		hashes[v.Version] = v.Hash
		if n, err := strconv.Atoi(v.Tags[mlflow.VersionTag]); err == nil {
			here[n] = v.Version
		}
	}
	for i := range there { // whose numbers may be those of another gateway
		v := &there[i]
		n, err := strconv.Atoi(v.Tags[mlflow.OwnVersionTag])
		if err != nil || here[v.Version] != 0 {
			continue
		}
		if hash, err := hashOf(name, v); err == nil && hash == hashes[n] {
			here[v.Version] = n
		}
	}
	return here, hashes
}

func (s *promptSync) importPrompt(name string) error {
	p, err := s.server.Prompt(s.r.ctx, name)
	if err != nil {
		return err
	}
	if p == nil {
		return errors.New("MLflow has no such prompt")
	}
	versions, err := s.server.Versions(s.r.ctx, name)
	if err != nil {
		return err
	}
	here, hashes := s.numbers(name, versions)
	for i := range versions {
		v := &versions[i]
		row := syncRow{Prompt: name, Version: here[v.Version], There: v.Version}
		hash, err := hashOf(name, v)
		switch {
		case v.Jinja():
			s.note(row, "left out: a Jinja template with logic", "left out: a Jinja template with logic")
			continue
		case err != nil:
			s.note(row, "left out: "+err.Error(), "left out: "+err.Error())
			continue
		case row.Version > 0 && hashes[row.Version] == hash:
			s.note(row, "the same", "the same")
			continue
		case row.Version > 0 && !s.update:
			s.drifted++
			s.note(row, "changed in MLflow", "changed in MLflow")
			continue
		}
		if !s.dryRun {
			if row.Version, err = s.registerHere(name, v, row.Version); err != nil {
				return err
			}
		}
		here[v.Version] = row.Version
		s.note(row, "imported", "would be imported")
	}
	for key, value := range p.Tags {
		if s.here[name].Tags[key] != value && !s.dryRun {
			if _, err := s.r.server.do(s.r.ctx, http.MethodPut, "/llm/prompts"+segments(name, "tags", key), nil, s.change.into(map[string]any{"value": value})); err != nil {
				return err
			}
		}
	}
	for _, alias := range sortedKeys(p.Aliases) {
		row := syncRow{Prompt: name, Alias: alias, Version: here[p.Aliases[alias]], There: p.Aliases[alias]}
		if row.Version == 0 && !s.dryRun {
			continue // its version was left out
		}
		if err := s.alias(row, s.here[name].Aliases[alias], row.Version, func() error {
			_, err := s.r.server.do(s.r.ctx, http.MethodPut, "/llm/prompts"+segments(name, "aliases", alias), nil, s.change.into(map[string]any{"version": row.Version}))
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// registerHere registers the version here, with its number there. One that is
// the latest here already gets the number. former had it before.
func (s *promptSync) registerHere(name string, v *mlflow.PromptVersion, former int) (int, error) {
	number := strconv.Itoa(v.Version)
	tags := maps.Clone(v.Tags)
	delete(tags, mlflow.OwnVersionTag)
	tags[mlflow.VersionTag] = number
	body := map[string]any{"name": name, "template": v.Template, "tags": tags}
	if v.CommitMessage != "" {
		body["commit_message"] = v.CommitMessage
	}
	if v.ResponseFormat != nil {
		body["response_format"] = v.ResponseFormat
	}
	if v.ModelConfig != nil {
		body["model_config"] = v.ModelConfig
	}
	status, answer, err := s.r.server.send(s.r.ctx, http.MethodPost, "/llm/prompts", nil, s.change.into(body))
	if err != nil {
		return 0, err
	}
	var made prompts.Summary
	if err := s.r.decode(answer, &made); err != nil {
		return 0, err
	}
	if status != http.StatusCreated {
		if err := s.tag(name, made.Version, number); err != nil {
			return 0, err
		}
	}
	if former > 0 && former != made.Version {
		_, err = s.r.server.do(s.r.ctx, http.MethodDelete, "/llm/prompts"+segments(name, "versions", strconv.Itoa(former), "tags", mlflow.VersionTag), nil, s.change.into(map[string]any{}))
	}
	return made.Version, err
}

// tag notes at a version here which number it has there.
func (s *promptSync) tag(name string, version int, there string) error {
	_, err := s.r.server.do(s.r.ctx, http.MethodPut, "/llm/prompts"+segments(name, "versions", strconv.Itoa(version), "tags", mlflow.VersionTag), nil, s.change.into(map[string]any{"value": there}))
	return err
}

// alias sets an alias that points to has, 0 for nothing, and is to point to want.
func (s *promptSync) alias(row syncRow, has, want int, set func() error) error {
	switch {
	case has == want && want != 0:
		s.note(row, "the same", "the same")
		return nil
	case has != 0 && !s.moveAliases:
		state := fmt.Sprintf("left at version %d; --move-aliases moves it", has)
		s.note(row, state, state)
		return nil
	}
	if !s.dryRun {
		if err := set(); err != nil {
			return err
		}
	}
	s.note(row, "set", "would be set")
	return nil
}

func (s *promptSync) exportPrompt(name string) error {
	own, ok := s.here[name]
	if !ok {
		return errors.New("there is no such prompt here")
	}
	p, err := s.server.Prompt(s.r.ctx, name)
	if err != nil {
		return err
	}
	var versions []mlflow.PromptVersion
	if p == nil {
		p = &mlflow.Prompt{Name: name, Tags: own.Tags}
		if !s.dryRun {
			if err := s.server.CreatePrompt(s.r.ctx, *p); err != nil {
				return err
			}
		}
	} else if versions, err = s.server.Versions(s.r.ctx, name); err != nil {
		return err
	}
	here, _ := s.numbers(name, versions)
	there := map[int]int{}
	for n, own := range here {
		there[own] = n
	}
	all := slices.SortedFunc(slices.Values(own.Versions), func(a, b prompts.Summary) int { return a.Version - b.Version })
	for i := range all {
		v := &all[i]
		row := syncRow{Prompt: name, Version: v.Version, There: there[v.Version]}
		if at := slices.IndexFunc(versions, func(m mlflow.PromptVersion) bool { return m.Version == row.There }); at >= 0 {
			if hash, err := hashOf(name, &versions[at]); err != nil || hash != v.Hash {
				s.drifted++
				s.note(row, "changed in MLflow", "changed in MLflow")
				continue
			}
			s.note(row, "the same", "the same")
			continue
		}
		if !s.dryRun {
			if row.There, err = s.create(name, v.Version); err != nil {
				return err
			}
			there[v.Version] = row.There
		}
		s.note(row, "exported", "would be exported")
	}
	for _, alias := range sortedKeys(own.Aliases) {
		row := syncRow{Prompt: name, Alias: alias, Version: own.Aliases[alias], There: there[own.Aliases[alias]]}
		if err := s.alias(row, p.Aliases[alias], row.There, func() error { return s.server.SetAlias(s.r.ctx, name, alias, row.There) }); err != nil {
			return err
		}
	}
	return nil
}

// create exports one version, and notes its number on both sides.
func (s *promptSync) create(name string, version int) (int, error) {
	raw, err := s.r.server.do(s.r.ctx, http.MethodGet, versionPath(prompts.Reference{Name: name, Version: version}), nil, nil)
	if err != nil {
		return 0, err
	}
	var own ownContent
	if err := s.r.decode(raw, &own); err != nil {
		return 0, err
	}
	tags := maps.Clone(own.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	delete(tags, mlflow.VersionTag)
	tags[mlflow.OwnVersionTag] = strconv.Itoa(version)
	v := mlflow.PromptVersion{Template: own.Template, CommitMessage: own.CommitMessage, Tags: tags, ModelConfig: own.ModelConfig}
	if string(own.ResponseFormat) != "null" {
		v.ResponseFormat = own.ResponseFormat
	}
	there, err := s.server.CreateVersion(s.r.ctx, name, v)
	if err != nil {
		return 0, err
	}
	return there, s.tag(name, version, strconv.Itoa(there))
}
