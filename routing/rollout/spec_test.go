package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestSpecRefuses(t *testing.T) {
	day := caddy.Duration(24 * time.Hour)
	steps := []StepSpec{{Percent: 5, Duration: day}, {Percent: 100}}
	guards := func(g ...GuardSpec) Spec { return Spec{Steps: steps, Guards: g} }
	for name, tt := range map[string]struct {
		spec Spec
		want string // empty: accepted
	}{
		"least":            {Spec{Steps: steps}, ""},
		"all guards":       {guards(GuardSpec{Name: "errors", Args: []string{"tolerance", "1.5x", "margin", "1%"}}, GuardSpec{Name: "latency", Args: []string{"2x", "p95", "ttft"}}, GuardSpec{Name: "cost", Args: []string{"1.1x"}}, GuardSpec{Name: "format"}, GuardSpec{Name: "consistency", Args: []string{"90%"}}, GuardSpec{Name: "quality"}), ""},
		"bare values":      {guards(GuardSpec{Name: "errors", Args: []string{"2%", "1.25x"}}), ""},
		"no steps":         {Spec{}, "no step; add at least one, such as: step 5% 1d"},
		"same variant":     {Spec{From: "a", To: "a", Steps: steps}, "from a to a: want two different variants"},
		"default and same": {Spec{To: "stable", Steps: steps}, "want two different variants"},
		"down":             {Spec{Steps: []StepSpec{{Percent: 20}, {Percent: 5}}}, "step 2 of 2: 5 % after 20 %: each step wants more traffic than the one before"},
		"level":            {Spec{Steps: []StepSpec{{Percent: 20}, {Percent: 20}}}, "20 % after 20 %"},
		"past 100":         {Spec{Steps: []StepSpec{{Percent: 100.5}}}, "above 0 and at most 100"},
		"zero":             {Spec{Steps: []StepSpec{{Percent: 0}}}, "step 1 of 1: 0%: want a percentage above 0 and at most 100"},
		"decimals":         {Spec{Steps: []StepSpec{{Percent: 0.123}}}, "at most two decimals"},
		"duration":         {Spec{Steps: []StepSpec{{Percent: 5, Duration: -1}}}, "duration -1"},
		"requests":         {Spec{Steps: []StepSpec{{Percent: 5, MinRequests: -1}}}, "min_requests -1"},
		"unknown guard":    {guards(GuardSpec{Name: "erors"}), `guard "erors": want one of: errors, latency, cost, format, consistency, quality`},
		"repeated guard":   {guards(GuardSpec{Name: "errors"}, GuardSpec{Name: "errors"}), "guard errors is there twice"},
		"tolerance":        {guards(GuardSpec{Name: "errors", Args: []string{"0.5x"}}), "guard errors: tolerance 0.5x: want a factor from 1x to 10x"},
		"margin":           {guards(GuardSpec{Name: "errors", Args: []string{"margin", "0%"}}), "margin 0%"},
		"margin without":   {guards(GuardSpec{Name: "errors", Args: []string{"margin"}}), "margin without a value"},
		"margin twice":     {guards(GuardSpec{Name: "errors", Args: []string{"1%", "2%"}}), "margin is there twice"},
		"latency argument": {guards(GuardSpec{Name: "latency", Args: []string{"p99"}}), `guard latency: argument "p99": want [1.5x] [p50|p95|ttft]`},
		"latency twice":    {guards(GuardSpec{Name: "latency", Args: []string{"p50", "p50"}}), "p50 is there twice"},
		"cost argument":    {guards(GuardSpec{Name: "cost", Args: []string{"20%"}}), "guard cost: arguments"},
		"consistency":      {guards(GuardSpec{Name: "consistency", Args: []string{"100%"}}), "guard consistency: arguments"},
		"webhook":          {Spec{Steps: steps, Webhook: "example.com"}, `webhook event "example.com": want a URL`},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.spec.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Fatalf("got %v, want it accepted", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	variants := []Variant{{"stable", []byte("a")}, {"candidate", []byte("b")}}
	spec := Spec{Steps: []StepSpec{{Percent: 5}}, Guards: []GuardSpec{{Name: "cost"}, {Name: "quality"}}}
	plan := func(s Spec, v ...Variant) *Plan {
		t.Helper()
		p, err := NewPlan(s, v)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := plan(spec, variants...)
	if got := p.Needs(); len(got) != 2 || got["price"] != "cost" || got["scorer"] != "quality" {
		t.Errorf("it needs %v", got)
	}
	explicit := spec
	explicit.From, explicit.To, explicit.Webhook = "stable", "candidate", "https://example.com"
	explicit.Steps = []StepSpec{{Percent: 5, MinRequests: 50}}
	if plan(explicit, variants...).Hash() != p.Hash() {
		t.Error("defaults written out make another hash")
	}
	if plan(spec, append(variants, Variant{Name: "third"})...).Hash() != p.Hash() {
		t.Error("a variant that takes no part makes another hash")
	}
	if plan(spec, variants[0], Variant{"candidate", []byte("c")}).Hash() == p.Hash() {
		t.Error("another definition has the same hash")
	}
	other := spec
	other.Steps = []StepSpec{{Percent: 6}}
	if plan(other, variants...).Hash() == p.Hash() {
		t.Error("another step has the same hash")
	}
	other.To = "nobody"
	if _, err := NewPlan(other, variants); err == nil || err.Error() != `"nobody" is not one of its variants; want one of: stable, candidate` {
		t.Errorf("got %v", err)
	}
}
