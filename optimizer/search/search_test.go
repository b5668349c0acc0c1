package search

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-frontier/frontier/prompts"
)

// fakeLab answers by functions, counts strictly, and panics when more is asked for than its budget allows.
type fakeLab struct {
	p      *Problem
	budget int
	model  func(prompt string, c Case) (string, error)
	ask    func(n int, question string) (string, error)
	memo   map[string]Outcome
	asked  int
	shared []string // all prompts that were tried, with their records
	events []Event
	ended  bool // trials end in the reverse order
}

func trialKey(t Trial) string {
	raw, _ := t.Prompt.MarshalJSON()
	return fmt.Sprintf("%s|%d|%d", raw, t.Case, t.Repeat)
}

func (l *fakeLab) Cost(trials []Trial) int {
	fresh := map[string]bool{}
	for _, t := range trials {
		if _, ok := l.memo[trialKey(t)]; !ok {
			fresh[trialKey(t)] = true
		}
	}
	return len(fresh)
}

func (l *fakeLab) Left() int { return l.budget - len(l.memo) - l.asked }

func (l *fakeLab) Try(ctx context.Context, trials []Trial) ([]Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.Cost(trials) > l.Left() {
		panic(fmt.Sprintf("%d trials with %d calls left", l.Cost(trials), l.Left()))
	}
	out := make([]Outcome, len(trials))
	for k := range trials {
		if l.ended {
			k = len(trials) - 1 - k
		}
		t := trials[k]
		c := l.p.Cases[t.Case]
		messages, err := t.Prompt.Render(c.Inputs)
		if err != nil {
			panic(err)
		}
		var all []string
		for _, m := range messages {
			all = append(all, m.Content)
		}
		prompt := strings.Join(all, "\n")
		l.shared = append(l.shared, fmt.Sprintf("%d|%s", t.Case, prompt))
		o := Outcome{}
		if o.Output, o.Err = l.model(prompt, c); o.Err == nil && o.Output == c.Expected {
			o.Score = 1
		} else if o.Err == nil {
			o.Feedback = "expected " + c.Expected
		}
		l.memo[trialKey(t)] = o
		out[k] = o
	}
	return out, nil
}

func (l *fakeLab) Ask(_ context.Context, questions []Question) ([]Reply, error) {
	if len(questions) > l.Left() {
		panic("too many questions")
	}
	out := make([]Reply, len(questions))
	for i, q := range questions {
		l.asked++
		out[i].Text, out[i].Err = l.ask(l.asked, q.Messages[0].Content)
	}
	return out, nil
}

func (l *fakeLab) Note(e Event) {
	if _, err := json.Marshal(e); err != nil {
		panic(err)
	}
	l.events = append(l.events, e)
}

func mustText(t *testing.T, s string) prompts.Template {
	t.Helper()
	p, err := prompts.ParseText(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// chance is a reproducible number from 0 to 1.
func chance(parts ...any) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, parts...)
	return float64(h.Sum64()%10007) / 10007
}

var animals = []string{"cat", "dog", "cow", "owl", "pig", "hen"}

// colours is a problem whose answer is the animal's class; the model needs a
// rule for each class, or an example of it, and the form of the answer.
func colours(t *testing.T, n int) *Problem {
	p := &Problem{Prompt: mustText(t, "Classify the animal.\n\nAnimal: {{animal}}"), Seed: 1}
	for i := range n {
		a := animals[i%len(animals)]
		p.Cases = append(p.Cases, Case{
			ID:       fmt.Sprint("r", i),
			Inputs:   map[string]string{"animal": fmt.Sprintf("%s number %d of the farm", a, i)},
			Expected: strings.ToUpper(a),
		})
	}
	return p
}

func classify(prompt string, c Case) (string, error) {
	head, _, _ := strings.Cut(prompt, c.Inputs["animal"])
	odds := 0.1
	if strings.Contains(head, "RULE "+strings.ToLower(c.Expected)) || strings.Contains(head, "Output: "+c.Expected) {
		odds += 0.8
	}
	odds -= float64(len(head)) / 20000
	if chance(prompt, c.ID) < odds {
		return c.Expected, nil
	}
	return "unknown", nil
}

// advise proposes a rule for a class that fails, and a line that is worth nothing.
func advise(n int, question string) (string, error) {
	_, rest, _ := strings.Cut(question, "<current_prompt>\n")
	current, rest, _ := strings.Cut(rest, "\n</current_prompt>")
	i := strings.Index(rest, "Expected: ")
	class, _, _ := strings.Cut(rest[i+len("Expected: "):], "\n")
	lines := strings.Split(current, "\n")
	lines = slices.Insert(lines, 1, "RULE "+strings.ToLower(class), fmt.Sprintf("Filler line %d that says nothing.", n%3))
	return "Here it is.\n```\n" + strings.Join(lines, "\n") + "\n```\nGood luck!", nil
}

func newLab(p *Problem, budget int) *fakeLab {
	return &fakeLab{p: p, budget: budget, model: classify, ask: advise, memo: map[string]Outcome{}}
}

func optimizers() map[string]Optimizer {
	return map[string]Optimizer{"frontier": Frontier{}, "few_shot": FewShot{}, "rewrite": Rewrite{}}
}

func TestImproves(t *testing.T) {
	for name, o := range optimizers() {
		for _, only := range []bool{false, true} {
			if name != "frontier" && only {
				continue
			}
			t.Run(fmt.Sprint(name, only), func(t *testing.T) {
				p := colours(t, 30)
				p.InstructionsOnly = only
				lab := newLab(p, 300)
				if name == "rewrite" {
					lab.ask = func(int, string) (string, error) {
						return "```\nClassify the animal.\nRULE cat, RULE dog\nRULE cow\n\nAnimal: {{animal}}\n```", nil
					}
				}
				r, err := o.Optimize(t.Context(), *p, lab)
				if err != nil {
					t.Fatal(err)
				}
				was, is := meanScore(r.Original), meanScore(r.Best)
				t.Logf("%.2f -> %.2f %s", was, is, r.Reason)
				if least := map[string]float64{"frontier": 0.5, "few_shot": 0.3, "rewrite": 0.2}[name]; is < was+least {
					t.Errorf("%.2f -> %.2f\n%s\n%s", was, is, r.Best.Prompt.Text(), r.Reason)
				}
				if len(r.Lines) == 0 || r.Reason == "" {
					t.Errorf("lines %v, reason %q", r.Lines, r.Reason)
				}
			})
		}
	}
}

func meanScore(c Candidate) float64 {
	sum, n := 0.0, 0.0
	for _, s := range c.Scores {
		if s.Score != nil {
			sum += *s.Score
			n++
		}
	}
	return sum / max(n, 1)
}

func TestDeterministic(t *testing.T) {
	for name, o := range optimizers() {
		t.Run(name, func(t *testing.T) {
			var results [2]*Result
			var events [2][]Event
			for i := range results {
				p := colours(t, 30)
				lab := newLab(p, 250)
				lab.ended = i == 1
				r, err := o.Optimize(t.Context(), *p, lab)
				if err != nil {
					t.Fatal(err)
				}
				results[i], events[i] = r, lab.events
			}
			if !reflect.DeepEqual(results[0], results[1]) || !reflect.DeepEqual(events[0], events[1]) {
				t.Error("two runs differ")
			}
		})
	}
}

func TestBudgetAndVariables(t *testing.T) {
	texts := []string{
		"Say {{ a }}", "Question: {{a}}\nContext:\n<c>\n{{b}}\n</c>\nAnswer:", "{{a}}{{b}}", "x\n\n{{a\n}}\ny",
		"Rules:\n- one\n- two\n\nInput: {{a}} and {{a}}",
	}
	rapid.Check(t, func(rt *rapid.T) {
		tmpl, err := prompts.ParseText(rapid.SampledFrom(texts).Draw(rt, "prompt"))
		if rapid.Bool().Draw(rt, "chat") {
			tmpl, err = prompts.ParseChat([]prompts.Message{{Role: "system", Content: "Be kind.\nBe quick."}, {Role: "user", Content: tmpl.Messages()[0].Content}, {Role: "assistant", Content: "{"}})
		}
		if err != nil {
			rt.Fatal(err)
		}
		p := &Problem{Prompt: tmpl, Seed: rapid.Uint64().Draw(rt, "seed"), InstructionsOnly: rapid.Bool().Draw(rt, "only"), Noisy: rapid.Bool().Draw(rt, "noisy")}
		n := rapid.OneOf(rapid.IntRange(0, 6), rapid.IntRange(7, 60)).Draw(rt, "records")
		values := rapid.SampledFrom([]string{"one two three", "{{a}}", "{", "}}", "{{ b }} says\nmany words that nobody wants", "", "same"})
		for i := range n {
			p.Cases = append(p.Cases, Case{ID: fmt.Sprint(i), Inputs: map[string]string{"a": values.Draw(rt, "a"), "b": values.Draw(rt, "b")}, Expected: values.Draw(rt, "e"), Weight: float64(i % 3)})
		}
		lab := newLab(p, rapid.OneOf(rapid.IntRange(0, 30), rapid.IntRange(0, 400)).Draw(rt, "budget"))
		errs := rapid.Float64Range(0, 0.6).Draw(rt, "errors")
		pass := rapid.Float64Range(0, 1).Draw(rt, "passes")
		lab.model = func(prompt string, c Case) (string, error) {
			if chance(prompt, c.ID, "e") < errs {
				return "", errors.New("down")
			}
			if chance(prompt, c.ID) < pass {
				return c.Expected, nil
			}
			return "no", nil
		}
		answers := rapid.SampledFrom([]string{
			"", "garbage", "```\n```", "```\nonly this\n```", "```\n{{new}} thing\n{{a}}\n```", strings.Repeat("many words\n", 20000), "SAME", "SAME+", "DROP", "{{a}} {{b}} and all is new", "\xff\xfe", "ERR",
		})
		lab.ask = func(_ int, question string) (string, error) {
			_, rest, _ := strings.Cut(question, "<current_prompt>\n")
			current, _, _ := strings.Cut(rest, "\n</current_prompt>")
			switch a := answers.Draw(rt, "answer"); a {
			case "ERR":
				return "", errors.New("no reflector")
			case "SAME":
				return "```\n" + current + "\n```", nil
			case "SAME+":
				return "```text\nFirst new line here.\n" + current + "\n  indented {{c}}\nLast {{ a }}\n- item\n```", nil
			case "DROP":
				lines := strings.Split(current, "\n")
				return "```\n" + strings.Join(lines[:len(lines)/2], "\n") + "\n```", nil
			default:
				return a, nil
			}
		}
		o := rapid.SampledFrom([]Optimizer{Frontier{}, FewShot{}, Rewrite{}}).Draw(rt, "optimizer")
		r, err := o.Optimize(context.Background(), *p, lab)
		if err != nil {
			rt.Fatal(err)
		}
		if r.Reason == "" {
			rt.Fatal("no reason")
		}
		if _, err := json.Marshal(r); err != nil {
			rt.Fatal(err)
		}
		want := sorted(tmpl.Variables())
		for _, c := range append(r.Tried, r.Best) {
			if got := sorted(c.Prompt.Variables()); !slices.Equal(got, want) {
				rt.Fatalf("variables %v, want %v:\n%s", got, want, c.Prompt.Text())
			}
			if c.Prompt.IsChat() != tmpl.IsChat() || len(c.Prompt.Messages()) != len(tmpl.Messages()) {
				rt.Fatal("the messages changed")
			}
		}
	})
}

func TestEnds(t *testing.T) {
	fails := func(string, Case) (string, error) { return "", errors.New("status 500") }
	right := func(_ string, c Case) (string, error) { return c.Expected, nil }
	wrong := func(string, Case) (string, error) { return "wrong", nil }
	tests := []struct {
		name    string
		records int
		budget  int
		model   func(string, Case) (string, error)
		calls   int // at most
		reason  string
	}{
		{"no records", 0, 100, right, 0, "no records"},
		{"no budget", 10, 0, right, 0, "no calls"},
		{"less than a pass", 10, 9, right, 0, "less than one pass"},
		{"only a pass", 10, 10, wrong, 10, "leaves 0 calls"},
		{"all pass", 30, 300, right, 30, "every record passes"},
		{"always fails", 30, 300, fails, 6, "status 500"},
		{"one record", 1, 50, wrong, 50, ""},
		{"never right", 5, 3000, wrong, 2000, ""},
	}
	for _, tt := range tests {
		for name, o := range optimizers() {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				p := colours(t, tt.records)
				lab := newLab(p, tt.budget)
				lab.model = tt.model
				r, err := o.Optimize(t.Context(), *p, lab)
				if err != nil {
					t.Fatal(err)
				}
				if calls := tt.budget - lab.Left(); calls > tt.calls {
					t.Errorf("%d calls, at most %d are sane", calls, tt.calls)
				}
				if r.Best.Number != 0 || r.Better || !strings.Contains(r.Reason, tt.reason) {
					t.Errorf("best %d, better %v, reason %q", r.Best.Number, r.Better, r.Reason)
				}
			})
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := colours(t, 10)
	if _, err := (Frontier{}).Optimize(ctx, *p, newLab(p, 100)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestFewRecords(t *testing.T) {
	p := colours(t, 5)
	for i := range p.Cases { // two of a kind, so that an example can help another
		a := animals[i%2]
		p.Cases[i].Inputs["animal"], p.Cases[i].Expected = fmt.Sprintf("the %s with number %d", a, i), strings.ToUpper(a)
	}
	for name, o := range map[string]Optimizer{"frontier": Frontier{}, "few_shot": FewShot{}} {
		t.Run(name, func(t *testing.T) {
			r, err := o.Optimize(t.Context(), *p, newLab(p, 60))
			if err != nil {
				t.Fatal(err)
			}
			if !r.Better || r.Evidence != "small_sample" || meanScore(r.Best) < 0.8 {
				t.Errorf("better %v, evidence %q, mean %.2f: %s", r.Better, r.Evidence, meanScore(r.Best), r.Reason)
			}
		})
	}
}

func TestHoldout(t *testing.T) {
	p := colours(t, 80)
	lab := newLab(p, 500)
	r, err := (Frontier{}).Optimize(t.Context(), *p, lab)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Better || r.Evidence != "holdout" || r.Verdict.Cases != 16 {
		t.Errorf("better %v, evidence %q, verdict %+v: %s", r.Better, r.Evidence, r.Verdict, r.Reason)
	}
	// What was held out is tried with two prompts, and stands in none.
	held := 0
	for i := range p.Cases {
		tried := 0
		for _, c := range r.Tried {
			if c.Scores[i].Score != nil {
				tried++
			}
		}
		if r.Best.Scores[i].Score == nil || tried > 2 {
			continue
		}
		held++
		if strings.Contains(r.Best.Prompt.Text(), p.Cases[i].Inputs["animal"]) {
			t.Errorf("record %d was held out and stands in the prompt", i)
		}
	}
	if held != 16 {
		t.Errorf("%d records were held out", held)
	}
}

func TestManyRecords(t *testing.T) {
	p := colours(t, 2000)
	r, err := (Frontier{}).Optimize(t.Context(), *p, newLab(p, 900))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Better || r.Evidence != "holdout" {
		t.Errorf("better %v, evidence %q: %s", r.Better, r.Evidence, r.Reason)
	}
}

func TestLeaveOneOut(t *testing.T) {
	p := colours(t, 24)
	lab := newLab(p, 300)
	if _, err := (Frontier{}).Optimize(t.Context(), *p, lab); err != nil {
		t.Fatal(err)
	}
	for _, s := range lab.shared {
		var i int
		fmt.Sscanf(s, "%d|", &i)
		if n := strings.Count(s, p.Cases[i].Inputs["animal"]); n != 1 {
			t.Fatalf("record %d stands %d times in its own prompt:\n%s", i, n, s)
		}
	}
}

func TestInstructionsOnly(t *testing.T) {
	p := colours(t, 30)
	p.InstructionsOnly = true
	lab := newLab(p, 300)
	lab.ask = func(n int, question string) (string, error) {
		a, err := advise(n, question)
		return strings.Replace(a, "Filler line", "When it says \""+p.Cases[n%30].Inputs["animal"]+"\" it is easy, line", 1), err
	}
	r, err := (Frontier{}).Optimize(t.Context(), *p, lab)
	if err != nil {
		t.Fatal(err)
	}
	if r.Best.Number == 0 {
		t.Error("nothing was found")
	}
	for _, c := range r.Tried {
		for _, record := range p.Cases {
			if strings.Contains(c.Prompt.Text(), record.Inputs["animal"]) {
				t.Fatalf("a record stands in a prompt:\n%s", c.Prompt.Text())
			}
		}
	}
}
