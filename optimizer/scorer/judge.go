package scorer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/prompts"
)

func init() { caddy.RegisterModule(new(Judge)) }

// What a judge judges.
const (
	Equivalence = "equivalence"
	Correctness = "correctness"
	Rubric      = "rubric"
	Pairwise    = "pairwise"
)

// Judge has a model judge answers. What it is to judge is marked off by tags
// that nobody can guess, and it is told to follow nothing between them.
//
// | mode | what is judged | scores |
// |---|---|---|
// | `equivalence` | whether the answer means the same as the expected one | 0 or 1 |
// | `correctness` | whether the answer is correct, given the expected one | 0 or 1 |
// | `rubric` | how well the answer meets `rubric`, from 1 to `scale` | 0 to 1 |
// | `pairwise` | whether the answer is at least as good as the expected one; asked twice, with either first | 1: as good or better both times, 0: worse both times, else 0.5 |
//
// Records need an expected answer, save for `rubric`, where the judge sees it
// if there is one. Except for `rubric`, an answer that is the expected one to
// the byte scores 1 without a call. A verdict that cannot be read is asked for
// once more; then the answer is not judged, which is no score of 0. MLflow's
// names `Equivalence` and `Correctness` stand for this scorer in that mode.
type Judge struct {
	// The model that judges, as provider/model-id.
	Model string `json:"model,omitempty"`
	// What is judged: `equivalence`, `correctness`, `rubric` or `pairwise`. Default: `equivalence`.
	Mode string `json:"mode,omitempty"`
	// What a good answer is, in words. `rubric` needs it; the other modes heed it too.
	Rubric string `json:"rubric,omitempty"`
	// The best score that a rubric gives; the worst is 1. From 2 to 100. Default: 5.
	Scale int `json:"scale,omitempty"`
	// How often an answer is judged at least. Default: 1; with a temperature above 0, as often as the run decides.
	MinRepeats int `json:"repeats,omitempty"`
	// The temperature of the model. Default: 0.
	Temperature float64 `json:"temperature,omitempty"`

	models Asker
}

// CaddyModule returns the Caddy module information.
func (*Judge) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.judge", New: func() caddy.Module { return new(Judge) }}
}

// Provision sets defaults.
func (j *Judge) Provision(caddy.Context) error {
	if j.Mode == "" {
		j.Mode = Equivalence
	}
	if j.Scale == 0 {
		j.Scale = 5
	}
	return nil
}

// Validate checks the configuration.
func (j *Judge) Validate() error {
	if provider, model, ok := strings.Cut(j.Model, "/"); !ok || provider == "" || model == "" {
		return fmt.Errorf("model %q: name the model that judges, as provider/model-id", j.Model)
	}
	switch j.Mode {
	case Equivalence, Correctness, Pairwise:
	case Rubric:
		if strings.TrimSpace(j.Rubric) == "" {
			return errors.New("rubric: say what a good answer is; the mode rubric judges by it")
		}
	default:
		return fmt.Errorf("mode %q: want %s, %s, %s or %s", j.Mode, Equivalence, Correctness, Rubric, Pairwise)
	}
	if j.Scale < 2 || j.Scale > 100 {
		return fmt.Errorf("scale %d: want 2 to 100", j.Scale)
	}
	if j.MinRepeats < 0 || j.MinRepeats > 100 {
		return fmt.Errorf("repeats %d: want 1 to 100", j.MinRepeats)
	}
	if j.Temperature < 0 || j.Temperature > 2 {
		return fmt.Errorf("temperature %v: want 0 to 2", j.Temperature)
	}
	return nil
}

// UseModels says whom to ask.
func (j *Judge) UseModels(a Asker) { j.models = a }

// Asks is how many calls one judgement takes.
func (j *Judge) Asks() int {
	if j.Mode == Pairwise {
		return 2
	}
	return 1
}

// Repeats is how often an answer should be judged.
func (j *Judge) Repeats() int {
	if j.MinRepeats == 0 && j.Temperature == 0 {
		return 1
	}
	return j.MinRepeats
}

// Score judges an answer.
func (j *Judge) Score(ctx context.Context, c Case, a Answer) (Score, error) {
	if j.models == nil {
		return Score{}, errors.New("the judge has no models to ask")
	}
	m := material{c: c, answer: a.material()}
	if j.Mode != Rubric || c.hasExpected() {
		var err error
		if m.expected, err = c.text(); err != nil {
			return Score{}, err
		}
		m.compared = true
		if j.Mode != Rubric && strings.TrimSpace(m.answer) == strings.TrimSpace(m.expected) {
			return full(), nil
		}
	}
	switch j.Mode {
	case Pairwise:
		return j.pair(ctx, m, a.Repeat)
	case Rubric:
		v, err := j.verdict(ctx, m, a.Repeat)
		if err != nil {
			return Score{}, err
		}
		value := (v.score - 1) / float64(j.Scale-1)
		return judged(value, fmt.Sprintf("%s of %d: %s", number(v.score), j.Scale, v.reason)), nil
	}
	v, err := j.verdict(ctx, m, a.Repeat)
	if err != nil {
		return Score{}, err
	}
	if v.choice == "yes" {
		return judged(1, v.reason), nil
	}
	return judged(0, v.reason), nil
}

// pair judges an answer against the expected one, with either first.
func (j *Judge) pair(ctx context.Context, m material, repeat int) (Score, error) {
	var reasons []string
	var sum float64
	for _, o := range []struct {
		order        order
		worse, place string
	}{{answerFirst, "second", "first"}, {answerSecond, "first", "second"}} {
		m.order = o.order
		v, err := j.verdict(ctx, m, repeat)
		if err != nil {
			return Score{}, err
		}
		if v.choice != o.worse {
			sum += 0.5
		}
		better := map[string]string{o.worse: "the expected answer is better", o.place: "the answer is better", "tie": "neither is better"}[v.choice]
		reasons = append(reasons, fmt.Sprintf("shown %s, %s: %s", o.place, better, v.reason))
	}
	return judged(sum, strings.Join(reasons, "; ")), nil
}

// verdict asks for a verdict, and once more when it cannot be read.
func (j *Judge) verdict(ctx context.Context, m material, repeat int) (verdict, error) {
	temperature, err := json.Marshal(j.Temperature)
	if err != nil {
		return verdict{}, err
	}
	q := Question{
		Model:      j.Model,
		Messages:   []prompts.Message{{Role: "system", Content: j.instructions(m)}, {Role: "user", Content: m.write()}},
		Parameters: map[string]json.RawMessage{"temperature": temperature, "response_format": j.format()},
	}
	var text string
	for again := range 2 {
		q.Repeat = 2*repeat + again // every repeat has two numbers, so that none asks again what another did
		if text, err = j.models.Ask(ctx, q); err != nil {
			return verdict{}, fmt.Errorf("asking the judge %s: %w", j.Model, err)
		}
		if v, ok := j.read(text); ok {
			return v, nil
		}
	}
	return verdict{}, fmt.Errorf("record %q: the judge %s gave no verdict, twice: it said %s", m.c.ID, j.Model, quote(text))
}

// verdict is what a judge says.
type verdict struct {
	reason string
	choice string  // of a rubric: none
	score  float64 // of a rubric
}

// choices are the verdicts that there are, save for a rubric.
func (j *Judge) choices() []string {
	if j.Mode == Pairwise {
		return []string{"first", "second", "tie"}
	}
	return []string{"yes", "no"}
}

// read finds the verdict in what a judge said. What holds different ones, as
// when it repeats one that an answer pretends, holds none.
func (j *Judge) read(text string) (verdict, bool) {
	const longest, mostObjects = 64 << 10, 32
	text = text[:min(len(text), longest)]
	var found verdict
	n := 0
	for range mostObjects {
		start := strings.IndexByte(text, '{')
		if start < 0 {
			break
		}
		text = text[start:]
		d := json.NewDecoder(strings.NewReader(text))
		var said struct {
			Reason  string          `json:"reason"`
			Verdict json.RawMessage `json:"verdict"`
		}
		if d.Decode(&said) != nil {
			text = text[1:]
			continue
		}
		text = text[d.InputOffset():]
		v, ok := j.understand(said.Verdict)
		if !ok {
			continue
		}
		if n > 0 && (v.choice != found.choice || v.score != found.score) {
			return verdict{}, false
		}
		v.reason = strings.TrimSpace(said.Reason)
		found = v
		n++
	}
	return found, n > 0
}

// understand reads what the field verdict holds.
func (j *Judge) understand(raw json.RawMessage) (verdict, bool) {
	text := strings.ToLower(strings.Trim(string(raw), "\" \t\r\n"))
	if j.Mode == Rubric {
		var score float64
		if json.Unmarshal([]byte(text), &score) != nil || score < 1 || score > float64(j.Scale) || math.IsNaN(score) || text == "null" {
			return verdict{}, false
		}
		return verdict{score: score}, true
	}
	switch text {
	case "true":
		text = "yes"
	case "false":
		text = "no"
	}
	for _, choice := range j.choices() {
		if text == choice {
			return verdict{choice: choice}, true
		}
	}
	return verdict{}, false
}

// Interface guards
var (
	_ caddy.Provisioner = (*Judge)(nil)
	_ caddy.Validator   = (*Judge)(nil)
	_ Scorer            = (*Judge)(nil)
	_ ModelUser         = (*Judge)(nil)
	_ Noisy             = (*Judge)(nil)
	_ Caller            = (*Judge)(nil)
)
