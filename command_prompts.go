package frontier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/prompts"
)

// promptView is a prompt as the admin API answers it.
type promptView struct {
	Name     string            `json:"name"`
	Tags     map[string]string `json:"tags"`
	Latest   int               `json:"latest"`
	Aliases  map[string]int    `json:"aliases"`
	Versions []prompts.Summary `json:"versions"`
}

// versionView is a prompt version as the admin API answers it.
type versionView struct {
	prompts.Summary
	Template       template        `json:"template"`
	ResponseFormat json.RawMessage `json:"response_format"`
	ModelConfig    json.RawMessage `json:"model_config"`
}

// template is a text, or a list of messages.
type template struct {
	text     string
	messages []prompts.Message
}

func (t *template) UnmarshalJSON(raw []byte) error {
	if raw[0] == '"' {
		return json.Unmarshal(raw, &t.text)
	}
	return json.Unmarshal(raw, &t.messages)
}

func (c *cli) promptsCommand() *cobra.Command {
	return group(
		&cobra.Command{
			Use: "prompts", Short: "Works with the prompt registry",
			Long: "Shows the registered prompts, registers versions, and moves the aliases that say which version is in use.\n\n\t$ caddy llm prompts list",
		},
		c.command("list", "Lists the prompts", `
Lists the prompts by name, with their newest version and their aliases.

	$ caddy llm prompts list`, exactly(), listPrompts),
		c.command("show NAME[/VERSION|@ALIAS]", "Shows a prompt or one of its versions", `
Shows a prompt with its versions or, when a version is named by number or alias,
that version with its template. The alias latest is always the newest version.

	$ caddy llm prompts show senti
	$ caddy llm prompts show senti/2
	$ caddy llm prompts show senti@production`, exactly("NAME[/VERSION|@ALIAS]"), showPrompt),
		c.registerPromptCommand(),
		c.command("diff NAME FROM TO", "Compares two versions of a prompt", `
Compares two versions of a prompt as diff -u does: the template by lines, then
what else differs. A version is a number, @ALIAS or latest.

	$ caddy llm prompts diff senti 1 2
	$ caddy llm prompts diff senti @production latest`, exactly("NAME", "FROM", "TO"), diffPrompt),
		c.aliasCommand(),
		c.renderCommand(),
		c.recognizeCommand(),
		c.importPromptsCommand(),
		c.exportPromptsCommand(),
	)
}

func listPrompts(r *request, _ []string) error {
	if r.json {
		return r.printPages("/llm/prompts", nil)
	}
	t := table{columns: []column{{name: "name"}, {name: "latest", right: true}, {name: "type"}, {name: "aliases"}, {name: "variables"}, {name: "changed"}, {name: "message"}}}
	err := pages(r, "/llm/prompts", nil, func(p promptView) error {
		var last prompts.Summary
		if n := len(p.Versions); n > 0 {
			last = p.Versions[n-1]
			for _, v := range p.Versions {
				if v.Version == p.Latest {
					last = v
				}
			}
		}
		t.add(p.Name, strconv.Itoa(p.Latest), last.Type, labels(p.Aliases), strings.Join(last.Variables, " "), localTime(last.CreatedAt), last.CommitMessage)
		return nil
	})
	if err != nil {
		return err
	}
	if len(t.rows) == 0 {
		r.note("There are no prompts yet. Register one with: caddy llm prompts register NAME --file FILE")
		return nil
	}
	r.table(t)
	return nil
}

func showPrompt(r *request, args []string) error {
	ref, err := prompts.ParseReference(args[0])
	if err != nil {
		return usagef("%s", err)
	}
	if ref.Version > 0 || ref.Alias != "" {
		var v versionView
		if done, err := r.get(versionPath(ref), nil, &v); done || err != nil {
			return err
		}
		r.version(&v)
		return nil
	}
	var p promptView
	if done, err := r.get("/llm/prompts"+segments(ref.Name), nil, &p); done || err != nil {
		return err
	}
	r.fields(
		field{"prompt", p.Name},
		field{"aliases", labels(p.Aliases)},
		field{"tags", labels(p.Tags)},
	)
	r.line("")
	t := table{columns: []column{{name: "version", right: true}, {name: "type"}, {name: "aliases"}, {name: "variables"}, {name: "created"}, {name: "author"}, {name: "message"}}}
	for _, v := range p.Versions {
		t.add(strconv.Itoa(v.Version), v.Type, strings.Join(v.Aliases, " "), strings.Join(v.Variables, " "), localTime(v.CreatedAt), v.Author, v.CommitMessage)
	}
	r.table(t)
	return nil
}

// versionPath is the path of the version that the reference means.
func versionPath(ref prompts.Reference) string {
	selector := "latest"
	switch {
	case ref.Version > 0:
		selector = strconv.Itoa(ref.Version)
	case ref.Alias != "" && ref.Alias != "latest":
		selector = "@" + ref.Alias
	}
	return "/llm/prompts" + segments(ref.Name, "versions", selector)
}

func (r *request) version(v *versionView) {
	parent := ""
	if v.Parent != nil {
		parent = strconv.Itoa(*v.Parent)
	}
	r.fields(
		field{"version", v.URI},
		field{"aliases", strings.Join(v.Aliases, " ")},
		field{"message", v.CommitMessage},
		field{"tags", labels(v.Tags)},
		field{"variables", strings.Join(v.Variables, " ")},
		field{"model config", orNone(v.ModelConfig)},
		field{"response format", orNone(v.ResponseFormat)},
		field{"made from", parent},
		field{"author", v.Author},
		field{"created", localTime(v.CreatedAt)},
		field{"hash", v.Hash},
		field{"recognition", v.Unrecognizable},
	)
	r.line("")
	r.template(v.Template)
}

func orNone(raw json.RawMessage) string {
	if string(raw) == "null" {
		return ""
	}
	return string(raw)
}

// template prints a text as it is, or messages with their roles above them.
func (p printer) template(t template) {
	if t.messages == nil {
		p.text(ended(t.text))
		return
	}
	for i, m := range t.messages {
		if i > 0 {
			p.line("")
		}
		p.text(fmt.Sprintf("[%s]\n%s", m.Role, ended(m.Content)))
	}
}

func ended(s string) string {
	if strings.HasSuffix(s, "\n") {
		return s
	}
	return s + "\n"
}

func (c *cli) registerPromptCommand() *cobra.Command {
	var (
		file, text, message, format, config string
		tags, aliases                       []string
		keepNewline                         bool
		change                              changeFlags
	)
	cmd := c.command("register NAME", "Registers a prompt, or its next version", `
Registers the next version of a prompt, and the prompt when it is new. When the
newest version has the same content already, nothing changes.

A text template is given as it is, with its variables as {{name}}. A chat
template is a JSON list of messages: [{"role": "system", "content": "…"}, …].
Of a text file, one line break at the very end is left out, because editors add
it and applications seldom send it; --keep-newline keeps it.

	$ caddy llm prompts register senti --template "Classify: {{text}}" --message "first try" --alias production
	$ caddy llm prompts register senti --file senti.txt --tag team=support --model-config '{"temperature": 0}'
	$ caddy llm prompts register chat --file chat.json --response-format schema.json`, exactly("NAME"), func(r *request, args []string) error {
		name := args[0]
		body := map[string]any{"name": name}
		switch {
		case (file == "") == (text == ""):
			return usagef("give the template with --file FILE (- is standard input) or with --template TEXT")
		case text != "":
			body["template"] = text
		default:
			raw, err := r.read(file)
			if err != nil {
				return fmt.Errorf("reading the template: %w", err)
			}
			if body["template"], err = readTemplate(raw, keepNewline); err != nil {
				return fmt.Errorf("reading the template of %s: %w", file, err)
			}
		}
		if message != "" {
			body["commit_message"] = message
		}
		if len(tags) > 0 {
			t, err := pairs("tag", tags)
			if err != nil {
				return err
			}
			body["tags"] = t
		}
		for field, value := range map[string]string{"response_format": format, "model_config": config} {
			if value == "" {
				continue
			}
			raw, err := r.jsonObject(value)
			if err != nil {
				return fmt.Errorf("--%s: %w", strings.ReplaceAll(field, "_", "-"), err)
			}
			body[field] = raw
		}
		status, answer, err := r.server.send(r.ctx, http.MethodPost, "/llm/prompts", nil, change.into(body))
		if err != nil {
			return err
		}
		var v versionView
		if err := r.decode(answer, &v); err != nil {
			return err
		}
		for _, alias := range aliases {
			set := change.into(map[string]any{"version": v.Version})
			if _, err := r.server.do(r.ctx, http.MethodPut, "/llm/prompts"+segments(name, "aliases", alias), nil, set); err != nil {
				return fmt.Errorf("%s is there, but its alias %s was not set: %w", v.URI, alias, err)
			}
		}
		if r.json && len(aliases) > 0 {
			if answer, err = r.server.do(r.ctx, http.MethodGet, versionPath(prompts.Reference{Name: name, Version: v.Version}), nil, nil); err != nil {
				return err
			}
		}
		if r.json {
			return r.printJSON(answer)
		}
		if status == http.StatusCreated {
			r.line(v.URI + " is registered")
		} else {
			r.line(v.URI + " has this content already; nothing was registered")
		}
		for _, alias := range aliases {
			r.line(fmt.Sprintf("prompts:/%s@%s is now version %d", name, alias, v.Version))
		}
		if v.Unrecognizable != "" {
			r.note("Note: this version cannot be recognised in requests, only named: %s", printable(v.Unrecognizable, false))
		}
		return nil
	})
	flags := cmd.Flags()
	flags.StringVarP(&file, "file", "f", "", "File with the template; - is standard input")
	flags.StringVarP(&text, "template", "t", "", "The template itself")
	flags.StringVarP(&message, "message", "m", "", "What is new in this version")
	flags.StringArrayVar(&tags, "tag", nil, "Tag of the version, key=value; may be repeated")
	flags.StringArrayVar(&aliases, "alias", nil, "Let this alias point to the version; may be repeated")
	flags.StringVar(&format, "response-format", "", "JSON schema of the answer: a file, or the JSON itself")
	flags.StringVar(&config, "model-config", "", "Model and parameters: a file, or the JSON itself")
	flags.BoolVar(&keepNewline, "keep-newline", false, "Keep the line break at the end of a text file")
	change.register(cmd)
	return cmd
}

// readTemplate tells a chat template, a JSON list of messages, from a text.
func readTemplate(raw []byte, keepNewline bool) (any, error) {
	if trimmed := bytes.TrimSpace(raw); bytes.HasPrefix(trimmed, []byte("[")) {
		var messages []map[string]json.RawMessage
		if json.Unmarshal(trimmed, &messages) == nil {
			return json.RawMessage(trimmed), nil
		}
		if bytes.HasPrefix(bytes.TrimSpace(trimmed[1:]), []byte("{")) && bytes.HasSuffix(trimmed, []byte("]")) {
			return nil, fmt.Errorf("it looks like a list of messages, but it is not JSON: %w", json.Unmarshal(trimmed, &messages))
		}
	}
	text := string(raw)
	if !keepNewline {
		text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	}
	if text == "" {
		return nil, errors.New("it is empty")
	}
	return text, nil
}

// jsonObject reads a JSON object that is given itself or as a file's name.
func (r *request) jsonObject(given string) (json.RawMessage, error) {
	raw := []byte(given)
	if !strings.HasPrefix(strings.TrimSpace(given), "{") {
		var err error
		if raw, err = r.read(given); err != nil {
			return nil, err
		}
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, fmt.Errorf("want a JSON object: %w", err)
	}
	return raw, nil
}

func diffPrompt(r *request, args []string) error {
	query := url.Values{"from": {args[1]}, "to": {args[2]}}
	var d prompts.Diff
	if done, err := r.get("/llm/prompts"+segments(args[0], "diff"), query, &d); done || err != nil {
		return err
	}
	if d.Diff == "" && len(d.Changes) == 0 {
		r.note("Versions %d and %d have the same content.", d.From, d.To)
		return nil
	}
	r.diff(d.Diff)
	for _, c := range d.Changes {
		r.line(printable(fmt.Sprintf("%s: %s -> %s", c.Field, c.From, c.To), false))
	}
	return nil
}

func (c *cli) aliasCommand() *cobra.Command {
	var (
		remove bool
		change changeFlags
	)
	cmd := c.command("alias NAME ALIAS VERSION", "Moves or removes an alias", `
Lets an alias of a prompt point to a version, in force for the next request, or
removes it with --delete. The version is a number, @ALIAS or latest.

	$ caddy llm prompts alias senti production 2
	$ caddy llm prompts alias senti candidate latest
	$ caddy llm prompts alias senti candidate --delete`, func(cmd *cobra.Command, args []string) error {
		if remove {
			return exactly("NAME", "ALIAS")(cmd, args)
		}
		return exactly("NAME", "ALIAS", "VERSION")(cmd, args)
	}, func(r *request, args []string) error {
		name, alias := args[0], strings.TrimPrefix(args[1], "@")
		path := "/llm/prompts" + segments(name, "aliases", alias)
		var p promptView
		if remove {
			if done, err := r.call(http.MethodDelete, path, nil, change.into(map[string]any{}), &p); done || err != nil {
				return err
			}
			r.line(fmt.Sprintf("prompts:/%s@%s is removed", name, alias))
			return nil
		}
		version, err := r.versionNumber(name, args[2])
		if err != nil {
			return err
		}
		if done, err := r.call(http.MethodPut, path, nil, change.into(map[string]any{"version": version}), &p); done || err != nil {
			return err
		}
		r.line(fmt.Sprintf("prompts:/%s@%s is now version %d", name, alias, p.Aliases[alias]))
		return nil
	})
	cmd.Flags().BoolVar(&remove, "delete", false, "Remove the alias")
	change.register(cmd)
	return cmd
}

// versionNumber resolves a version that may be given as @alias or latest.
func (r *request) versionNumber(name, given string) (int, error) {
	if n, err := strconv.Atoi(given); err == nil && n > 0 {
		return n, nil
	}
	if given != "latest" && !strings.HasPrefix(given, "@") {
		return 0, usagef("%q is not a version: want a number, @ALIAS or latest", given)
	}
	answer, err := r.server.do(r.ctx, http.MethodGet, "/llm/prompts"+segments(name, "versions", given), nil, nil)
	if err != nil {
		return 0, err
	}
	var v versionView
	err = r.decode(answer, &v)
	return v.Version, err
}

func (c *cli) renderCommand() *cobra.Command {
	var (
		vars []string
		file string
	)
	cmd := c.command("render NAME[/VERSION|@ALIAS]", "Renders a prompt with variables", `
Renders a version of a prompt, the newest unless one is named, as a request with
these variables would have it.

	$ caddy llm prompts render senti@production --var text="great product"
	$ caddy llm prompts render senti/2 --vars variables.json`, exactly("NAME[/VERSION|@ALIAS]"), func(r *request, args []string) error {
		ref, err := prompts.ParseReference(args[0])
		if err != nil {
			return usagef("%s", err)
		}
		variables := map[string]any{}
		if file != "" {
			raw, err := r.jsonObject(file)
			if err == nil {
				err = json.Unmarshal(raw, &variables)
			}
			if err != nil {
				return fmt.Errorf("--vars: %w", err)
			}
		}
		given, err := pairs("var", vars)
		if err != nil {
			return err
		}
		for k, v := range given {
			variables[k] = v
		}
		body := map[string]any{"variables": variables}
		switch {
		case ref.Version > 0:
			body["version"] = ref.Version
		case ref.Alias != "" && ref.Alias != "latest":
			body["alias"] = ref.Alias
		}
		var rendered struct {
			Text     string            `json:"text"`
			Messages []prompts.Message `json:"messages"`
		}
		if done, err := r.call(http.MethodPost, "/llm/prompts"+segments(ref.Name, "render"), nil, body, &rendered); done || err != nil {
			return err
		}
		r.template(template{rendered.Text, rendered.Messages})
		return nil
	})
	cmd.Flags().StringArrayVar(&vars, "var", nil, "Variable, name=value; may be repeated")
	cmd.Flags().StringVar(&file, "vars", "", "Variables as a JSON object: a file, - is standard input, or the JSON itself")
	return cmd
}

func (c *cli) recognizeCommand() *cobra.Command {
	var file, text, route string
	cmd := c.command("recognize", "Says which prompt messages are a rendering of", `
Looks for registered prompts in messages, as the gateway does in requests, and
says which prompt was found with which variables or, when none was, where the
nearest one differs. With --route only that route's prompts are looked for.

The file holds the list of messages, or a whole request with "messages".

	$ caddy llm prompts recognize --text "Classify: great product"
	$ caddy llm prompts recognize --file messages.json --route sentiment`, exactly(), func(r *request, _ []string) error {
		var messages any
		switch {
		case (file == "") == (text == ""):
			return usagef("give the messages with --file FILE (- is standard input), or one user message with --text TEXT")
		case text != "":
			messages = []prompts.Message{{Role: "user", Content: text}}
		default:
			raw, err := r.read(file)
			if err != nil {
				return fmt.Errorf("reading the messages: %w", err)
			}
			if messages, err = readMessages(raw); err != nil {
				return fmt.Errorf("reading the messages of %s: %w", file, err)
			}
		}
		body := map[string]any{"messages": messages}
		if route != "" {
			body["route"] = route
		}
		var found struct {
			Matched   bool              `json:"matched"`
			Prompt    string            `json:"prompt"`
			Version   int               `json:"version"`
			Variables map[string]string `json:"variables"`
			Nearest   *call.NearMiss    `json:"nearest"`
		}
		if done, err := r.call(http.MethodPost, "/llm/prompts/recognize", nil, body, &found); done || err != nil {
			return err
		}
		switch {
		case found.Matched:
			r.fields(field{"recognised", promptURI(found.Prompt, found.Version)})
			if len(found.Variables) > 0 {
				r.line("")
				t := table{columns: []column{{name: "variable"}, {name: "value"}}}
				for _, k := range sortedKeys(found.Variables) {
					t.add(k, found.Variables[k])
				}
				r.table(t)
			}
		case found.Nearest != nil:
			n := found.Nearest
			r.fields(
				field{"recognised", "nothing"},
				field{"nearest", promptURI(n.Prompt, n.Version)},
				field{"differs at", fmt.Sprintf("message %d, byte %d", n.Message, n.Offset)},
				field{"wanted", strconv.Quote(n.Want)},
				field{"got", strconv.Quote(n.Got)},
			)
		default:
			r.fields(field{"recognised", "nothing"}, field{"nearest", "no prompt comes near"})
		}
		return nil
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", "File with the messages; - is standard input")
	cmd.Flags().StringVarP(&text, "text", "t", "", "The text of one user message")
	cmd.Flags().StringVar(&route, "route", "", "Look only for the prompts of this route")
	return cmd
}

// readMessages takes the messages out of a request, or a list of them as it is.
func readMessages(raw []byte) (json.RawMessage, error) {
	raw = bytes.TrimSpace(raw)
	if !json.Valid(raw) {
		return nil, errors.New("it is not JSON")
	}
	if bytes.HasPrefix(raw, []byte("[")) {
		return raw, nil
	}
	var request struct {
		Messages json.RawMessage `json:"messages"`
	}
	if err := json.Unmarshal(raw, &request); err != nil || request.Messages == nil {
		return nil, errors.New(`want a list of messages, or an object with "messages"`)
	}
	return request.Messages, nil
}
