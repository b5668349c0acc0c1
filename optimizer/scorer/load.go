package scorer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

const namespace = "llm.scorers"

// aliases are MLflow's names for scorers, and what they are here.
var aliases = map[string]struct{ scorer, mode string }{
	"Equivalence": {"judge", Equivalence},
	"Correctness": {"judge", Correctness},
}

// combinations are the scorers whose field scorers lists others.
var combinations = []string{"weighted", "minimum", "gates"}

// Load makes a scorer of its configuration: the name of one, such as "exact",
// for its defaults, or an object with the name in the field scorer. MLflow's
// names Equivalence and Correctness stand for judge with that mode. The scorer
// is done with when the context is.
func Load(ctx caddy.Context, raw json.RawMessage) (Scorer, error) {
	name, config, err := read(raw)
	if err != nil {
		return nil, err
	}
	known := Names()
	if !slices.Contains(known, name) {
		return nil, fmt.Errorf("unknown scorer %q; there are %s", name, strings.Join(known, ", "))
	}
	doc, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("scorer %q: %w", name, err)
	}
	module, err := ctx.LoadModuleByID(namespace+"."+name, doc)
	if err != nil {
		return nil, fmt.Errorf("scorer %q: %w", name, loadError{err, namespace + "." + name})
	}
	s, ok := module.(Scorer)
	if !ok {
		return nil, fmt.Errorf("scorer %q: the module %s.%s scores nothing", name, namespace, name)
	}
	return s, nil
}

// Names lists the scorers that there are.
func Names() []string {
	modules := caddy.GetModules(namespace)
	names := make([]string, len(modules))
	for i, m := range modules {
		names[i] = m.ID.Name()
	}
	slices.Sort(names)
	return names
}

// Canonical is the one form of all configurations that say the same in other
// words: with the scorer's own name, sorted fields and no white space. It is
// what is hashed. Fields that are set to their defaults are not left out.
func Canonical(raw json.RawMessage) (json.RawMessage, error) {
	name, config, err := read(raw)
	if err != nil {
		return nil, err
	}
	if list, ok := config["scorers"]; ok && slices.Contains(combinations, name) {
		var children []json.RawMessage
		if err := json.Unmarshal(list, &children); err != nil {
			return nil, fmt.Errorf("scorer %q: scorers: want a list of scorers", name)
		}
		for i := range children {
			if children[i], err = Canonical(children[i]); err != nil {
				return nil, fmt.Errorf("scorer %q: scorers[%d]: %w", name, i, err)
			}
		}
		if config["scorers"], err = json.Marshal(children); err != nil {
			return nil, err
		}
	}
	if config["scorer"], err = json.Marshal(name); err != nil {
		return nil, err
	}
	doc, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	v, err := decode(doc)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v) // sorts what is deeper, too
}

// Default is the scorer for cases when none is configured: json where all
// expected answers are objects or lists, else normalized.
func Default(cases []Case) json.RawMessage {
	for _, c := range cases {
		v, err := c.value()
		switch v.(type) {
		case map[string]any, []any:
		default:
			if err == nil || !errors.Is(err, ErrNoExpected) {
				return json.RawMessage(`"normalized"`)
			}
			continue
		}
	}
	if !slices.ContainsFunc(cases, Case.hasExpected) {
		return json.RawMessage(`"normalized"`)
	}
	return json.RawMessage(`"json"`)
}

// read takes a configuration apart.
func read(raw json.RawMessage) (name string, config map[string]json.RawMessage, err error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", nil, errors.New("want a scorer: its name, or an object with its name in the field scorer")
	case raw[0] == '"':
		err = json.Unmarshal(raw, &name)
		config = make(map[string]json.RawMessage)
	default:
		if err = json.Unmarshal(raw, &config); err == nil && config["scorer"] == nil {
			return "", nil, errors.New("the field scorer is missing: it names the scorer")
		}
		if err == nil {
			err = json.Unmarshal(config["scorer"], &name)
			delete(config, "scorer")
		}
	}
	if err != nil {
		return "", nil, errors.New("a scorer is its name, or an object with its name in the field scorer")
	}
	if alias, ok := aliases[name]; ok {
		mode, err := json.Marshal(alias.mode)
		if err != nil {
			return "", nil, err
		}
		if given, ok := config["mode"]; ok && !bytes.Equal(given, mode) {
			return "", nil, fmt.Errorf("scorer %q has the mode %s; leave mode out, or use the scorer judge", name, alias.mode)
		}
		name, config["mode"] = alias.scorer, mode
	}
	return name, config, nil
}

// loadError is an error of Caddy's without what that says about modules: the
// caller has said it in the user's words.
type loadError struct {
	err error
	id  string
}

func (u loadError) Error() string {
	text := u.err.Error()
	for _, prefix := range []string{"decoding module config: " + u.id + ": json: ", "decoding module config: " + u.id + ": ", "provision " + u.id + ": ", u.id + ": invalid configuration: "} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			return rest
		}
	}
	return text
}

func (u loadError) Unwrap() error { return u.err }
