package frontier

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/demo"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/tracing"
)

// What the parts of the demo ask of the gateway.

// summary is what the traces of a batch of calls say.
type summary struct {
	model      string
	calls      int
	latency    float64        // average, in milliseconds
	cost       float64        // average, in US dollars
	recognized map[string]int // calls by the prompt version recognised in them
}

// batch makes calls with the tag and sums up their traces.
func (p *play) batch(tag string, calls []demo.Call, atOnce int) ([]demo.Answer, *summary, error) {
	answers, err := p.askAll(calls, atOnce)
	if err != nil {
		return nil, nil, err
	}
	rows, err := p.traces(tag, len(calls))
	if err != nil {
		return nil, nil, err
	}
	s := &summary{model: modelOf(rows[0].Provider, rows[0].Model), calls: len(rows), recognized: map[string]int{}}
	for i := range rows {
		row := &rows[i]
		if row.CostUSD == nil {
			return nil, nil, fmt.Errorf("trace %s has no cost", row.ID)
		}
		s.latency += row.DurationMS / float64(len(rows))
		s.cost += *row.CostUSD / float64(len(rows))
		if row.Prompt != nil && row.Prompt.Source == "recognized" {
			s.recognized[servedPrompt(row.Prompt)]++
		}
	}
	return answers, s, nil
}

// askAll makes calls and shows how many are done.
func (p *play) askAll(calls []demo.Call, atOnce int) ([]demo.Answer, error) {
	answers, err := p.app.AskAll(p.ctx, calls, atOnce, func(n int) { p.progress(n, len(calls), "calls") })
	p.clearProgress()
	return answers, err
}

// tag marks the calls of this part of this play.
func (p *play) tag(name string) string { return "demo=" + p.tagValue(name) }

func (p *play) tagValue(name string) string {
	return fmt.Sprintf("%s-%d-%d", name, p.number, p.began.UnixNano())
}

// traces returns the traces of calls with the tag once there are so many. The
// gateway writes traces behind its answers, within a second.
func (p *play) traces(tag string, want int) (rows []tracing.Row, err error) {
	q := url.Values{"tag.demo": {p.tagValue(tag)}, "limit": {strconv.Itoa(tracePage)}}
	for limit := time.Now().Add(10 * time.Second); ; {
		rows = rows[:0]
		if err := pages(p.request, "/llm/traces", q, func(row tracing.Row) error {
			rows = append(rows, row)
			return nil
		}); err != nil {
			return nil, err
		}
		switch {
		case len(rows) == want:
			return rows, nil
		case len(rows) > want || time.Now().After(limit):
			return nil, fmt.Errorf("the gateway has %d traces of %d calls", len(rows), want)
		}
		if err := p.wait(50 * time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// ask calls the admin API.
func (p *play) ask(method, path string, query url.Values, body, v any) error {
	answer, err := p.server.do(p.ctx, method, path, query, body)
	if err != nil {
		return err
	}
	return p.decode(answer, v)
}

func (p *play) registerVersion(name, template, message string) (*versionView, error) {
	v := new(versionView)
	err := p.ask(http.MethodPost, "/llm/prompts", nil, map[string]any{"name": name, "template": template, "commit_message": message, "actor": "demo"}, v)
	return v, err
}

func (p *play) readVersion(ref prompts.Reference) (*versionView, error) {
	v := new(versionView)
	return v, p.ask(http.MethodGet, versionPath(ref), nil, nil, v)
}

// alias lets an alias point to the version, and reads it back.
func (p *play) alias(v *versionView, alias string) error {
	var all promptView
	if err := p.ask(http.MethodPut, "/llm/prompts"+segments(v.Name, "aliases", alias), nil, map[string]any{"version": v.Version, "actor": "demo"}, &all); err != nil {
		return err
	}
	read, err := p.readVersion(prompts.Reference{Name: v.Name, Alias: alias})
	if err == nil && read.Version != v.Version {
		err = fmt.Errorf("prompts:/%s@%s is version %d, want %d", v.Name, alias, read.Version, v.Version)
	}
	return err
}

// weights sets the weight of the route's stable variant, in percent. The candidate has the rest.
func (p *play) weights(stable float64) error {
	var route routeView
	want := map[string]float64{"stable": stable, "candidate": 100 - stable}
	err := p.ask(http.MethodPost, "/llm/routes/sentiment/rollout/weights", nil, map[string]any{"weights": want, "actor": "demo"}, &route)
	if err == nil && (route.Weights["stable"] != want["stable"] || route.Weights["candidate"] != want["candidate"]) {
		err = fmt.Errorf("the weights in force are %v, want %v", route.Weights, want)
	}
	return err
}

// cut shortens a text to a cell of a table.
func cut(s string, width int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > width {
		return strings.TrimRight(string(r[:width-3]), " ") + "..."
	}
	return s
}

// fraction writes a ratio below 1 as one of so many.
func fraction(x float64) string { return fmt.Sprintf("1/%.0f", 1/x) }
