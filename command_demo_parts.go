package frontier

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/demo"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/tracing"
)

const (
	classifier     = "sentiment_classifier"
	productionName = "sentiment_production"
)

// tracedCall makes one call and reads its trace back.
func (p *play) tracedCall() error {
	question := demo.Paste(p.Prompts[productionName][0], p.Records[0].Text)
	answer, err := p.app.Ask(p.ctx, demo.Call{Model: "simulator/" + p.Models.Stable.ID(), Message: question, User: "ada", Tag: p.tag("trace")})
	if err != nil {
		return err
	}
	if _, err := p.traces("trace", 1); err != nil {
		return err
	}
	var t tracing.Trace
	if err := p.ask(http.MethodGet, "/llm/traces"+segments(answer.Trace), nil, nil, &t); err != nil {
		return fmt.Errorf("reading the call's trace: %w", err)
	}
	if t.Usage == nil || t.CostUSD == nil || t.Status != "ok" {
		return fmt.Errorf("trace %s has status %q, and lacks tokens or cost", t.ID, t.Status)
	}
	p.traced = t.ID
	p.line("An application sends an ordinary OpenAI request. The gateway traces it; nothing has to be set up.")
	p.line("")
	in, out := tokens(t.Usage)
	p.fields(
		field{"asked", cut(question, 88)},
		field{"answer", answer.Text},
		field{"trace", t.ID},
		field{"model", modelOf(t.Provider, t.Model)},
		field{"latency", milliseconds(&t.DurationMS)},
		field{"tokens", in + " in, " + out + " out"},
		field{"cost", dollars(t.CostUSD)},
	)
	return nil
}

// versions registers a prompt's versions, reads them back and compares them.
func (p *play) versions() error {
	p.line("A prompt is registered in versions that never change.")
	p.line("")
	templates := p.Prompts[classifier]
	if len(templates) < 2 {
		return fmt.Errorf("the scenario has %d versions of %s, want 2", len(templates), classifier)
	}
	t := table{columns: []column{{name: "version"}, {name: "message"}, {name: "variables"}, {name: "read back"}}}
	var registered []*versionView
	for i, template := range templates {
		v, err := p.registerVersion(classifier, template, fmt.Sprintf("version %d of the scenario", i+1))
		if err != nil {
			return err
		}
		registered = append(registered, v)
	}
	for i, v := range registered {
		read, err := p.readVersion(prompts.Reference{Name: classifier, Version: v.Version})
		if err != nil {
			return err
		}
		if read.Template.text != templates[i] {
			return fmt.Errorf("%s is read back with another template: %q", v.URI, read.Template.text)
		}
		t.add(read.URI, read.CommitMessage, strings.Join(read.Variables, " "), "the same")
	}
	p.table(t)
	first, last := registered[0], registered[len(registered)-1]
	latest, err := p.readVersion(prompts.Reference{Name: classifier})
	if err != nil {
		return err
	}
	if latest.Version != last.Version {
		return fmt.Errorf("the latest version of %s is %d, want %d", classifier, latest.Version, last.Version)
	}
	p.line("")
	p.line(fmt.Sprintf("prompts:/%s is version %d, the latest. What is new in it:", classifier, latest.Version))
	p.line("")
	var d prompts.Diff
	query := url.Values{"from": {strconv.Itoa(first.Version)}, "to": {strconv.Itoa(last.Version)}}
	if err := p.ask(http.MethodGet, "/llm/prompts"+segments(classifier, "diff"), query, nil, &d); err != nil {
		return err
	}
	if d.Diff == "" {
		return fmt.Errorf("versions %d and %d of %s do not differ", first.Version, last.Version, classifier)
	}
	p.diff(strings.ReplaceAll(d.Diff, "\\ No newline at end of file\n", ""))
	return nil
}

// register registers the prompt that the application has pasted into its code.
func (p *play) register() (err error) {
	if p.production, err = p.registerVersion(productionName, p.Prompts[productionName][0], "as the application has it"); err != nil {
		return err
	}
	if err := p.alias(p.production, "production"); err != nil {
		return err
	}
	p.line("The application has this prompt in its own code, and will not change. The gateway gets to know it:")
	p.line("")
	p.template(p.production.Template)
	p.line("")
	p.line(fmt.Sprintf("%s is registered; the alias production points to it.", p.production.URI))
	return nil
}

// split sends a fifth of the users to the candidate and asks twice for each.
func (p *play) split() error {
	const (
		users     = 500
		candidate = 20 // percent
		atOnce    = 150
	)
	if err := p.weights(100 - candidate); err != nil {
		return err
	}
	p.line(fmt.Sprintf("The route's weights are now %d%% stable, %d%% candidate, in force for the next request.", 100-candidate, candidate))
	p.line(fmt.Sprintf("The application still asks for %s and pastes its old prompt: %d users, two calls each.", p.Models.Stable.ID(), users))
	p.line("")
	calls := make([]demo.Call, 2*users)
	for i := range calls {
		calls[i] = demo.Call{
			Model: p.Models.Stable.ID(), User: fmt.Sprintf("user-%d-%03d", p.host.Seed, i%users+1), Tag: p.tag("split"),
			Message: demo.Paste(p.Prompts[productionName][0], p.Records[i%len(p.Records)].Text),
		}
	}
	p.splitSince = p.began
	first, err := p.askAll(calls[:users], atOnce)
	if err != nil {
		return err
	}
	second, err := p.askAll(calls[users:], atOnce)
	if err != nil {
		return err
	}
	bound := map[string]string{
		"stable":    promptURI(productionName, p.production.Version),
		"candidate": promptURI(productionName, p.better.Version),
	}
	drawn, kept := map[string]int{}, 0
	p.answered = map[string]int{}
	models := map[string]string{}
	for i, a := range first {
		drawn[a.Variant]++
		p.answered[a.Variant]++
		p.answered[second[i].Variant]++
		models[a.Variant] = a.Model
		if a.Variant == second[i].Variant {
			kept++
		}
		if a.Prompt != bound[a.Variant] {
			return fmt.Errorf("call %s was answered by %s with the prompt %q, want %q", a.Trace, a.Variant, a.Prompt, bound[a.Variant])
		}
	}
	t := table{columns: []column{{name: "variant"}, {name: "model"}, {name: "prompt sent"}, {name: "users", right: true}, {name: "share", right: true}, {name: "expected (95%)", right: true}}}
	inside := true
	deviation := math.Sqrt(users * candidate / 100.0 * (1 - candidate/100.0))
	for _, v := range []struct {
		name string
		mean float64
	}{{"stable", users * (1 - candidate/100.0)}, {"candidate", users * candidate / 100.0}} {
		n := drawn[v.name]
		if math.Abs(float64(n)-v.mean) > 4*deviation {
			return fmt.Errorf("%d of %d users were drawn to %s, want about %g", n, users, v.name, v.mean)
		}
		low, high := math.Ceil(v.mean-1.96*deviation), math.Floor(v.mean+1.96*deviation)
		inside = inside && float64(n) >= low && float64(n) <= high
		t.add(v.name, models[v.name], bound[v.name], strconv.Itoa(n), share(float64(n)/users), fmt.Sprintf("%.0f to %.0f", low, high))
	}
	p.table(t)
	if !inside {
		p.line("That is beyond the expected band, as one draw in twenty is.")
	}
	p.line("")
	p.line(fmt.Sprintf("On their second call, %d of %d users met the same variant.", kept, users))
	if _, err := p.traces("split", len(calls)); err != nil {
		return err
	}
	if kept != users {
		return errors.New("a user changed sides although the weights did not")
	}
	return nil
}

// figures reads the statistics of the split, and holds them against what the application was told.
func (p *play) figures() error {
	query := url.Values{"group_by": {"variant"}, "route": {"sentiment"}, "since": {apiTime(p.splitSince)}}
	var stats tracing.Stats
	if err := p.ask(http.MethodGet, "/llm/stats", query, nil, &stats); err != nil {
		return err
	}
	t := table{columns: []column{{name: "variant"}}}
	for _, name := range []string{"requests", "errors", "p50", "p95", "tokens in", "out", "cost", "cost of 1,000"} {
		t.columns = append(t.columns, column{name: name, right: true})
	}
	each := map[string]float64{}
	for _, name := range []string{"stable", "candidate"} {
		var item tracing.StatsItem
		for _, it := range stats.Items {
			if orDash(it.Variant) == name {
				item = it
			}
		}
		if int(item.Requests) != p.answered[name] || item.CostUSD == nil {
			return fmt.Errorf("the statistics have %d requests of %s, and the application had %d answers", item.Requests, name, p.answered[name])
		}
		each[name] = *item.CostUSD / float64(item.Requests)
		thousand := each[name] * 1000
		t.add(name, count(float64(item.Requests)), count(float64(item.Errors)), milliseconds(item.LatencyMS.P50), milliseconds(item.LatencyMS.P95),
			count(float64(item.InputTokens)), count(float64(item.OutputTokens)), dollars(item.CostUSD), dollars(&thousand))
	}
	if len(stats.Items) != len(each) {
		return fmt.Errorf("the statistics have %d variants, want %d", len(stats.Items), len(each))
	}
	p.line("The gateway's statistics of these calls:")
	p.line("")
	p.table(t)
	p.line("")
	p.line(fmt.Sprintf("A call that the candidate answers costs %s of what it costs on stable.", fraction(each["candidate"]/each["stable"])))
	return nil
}
