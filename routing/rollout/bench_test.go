package rollout

import (
	"math"
	"math/rand/v2"
	"testing"
)

func benchPlan(tb testing.TB, guards ...GuardSpec) *Plan {
	tb.Helper()
	if guards == nil {
		guards = []GuardSpec{{Name: "errors"}}
	}
	p, err := NewPlan(Spec{Steps: []StepSpec{{Percent: 80}, {Percent: 100}}, Guards: guards}, []Variant{{Name: "stable"}, {Name: "candidate"}})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// A million units, at the weight at which most is done for each.
func BenchmarkObserve(b *testing.B) {
	p := benchPlan(b, GuardSpec{Name: "errors"}, GuardSpec{Name: "latency"}, GuardSpec{Name: "cost"}, GuardSpec{Name: "format"})
	e := p.NewEvidence()
	m := Mark{Epoch: 1, Step: 1, Share: 0.8}
	e.Enter(p, m)
	r := rand.New(rand.NewPCG(1, 1))
	next := func() Outcome {
		u := uint64(r.IntN(1_000_000)) * 0x9e3779b97f4a7c15
		return Outcome{
			Epoch: 1, Share: 0.8, Unit: u, Candidate: spread(u)%10 < 8, Failed: r.Float64() < 0.01, Kind: "status_500",
			Latency: 1 + r.Float64(), TTFT: r.Float64(), Cost: r.Float64(), Trace: "0123456789abcdef0123456789abcdef",
		}
	}
	for range 500_000 {
		o := next()
		e.Observe(&o)
	}
	outcomes := make([]Outcome, 1<<16)
	for i := range outcomes {
		outcomes[i] = next()
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		o := outcomes[i&(1<<16-1)]
		i++
		e.Draw(o.Epoch, o.Share, o.Candidate, o.Unit)
		e.Observe(&o)
	}
}

func lookedAt(tb testing.TB) (*Plan, *Evidence) {
	tb.Helper()
	p := benchPlan(tb, GuardSpec{Name: "errors"}, GuardSpec{Name: "latency"}, GuardSpec{Name: "cost"})
	e := p.NewEvidence()
	e.Enter(p, Mark{Epoch: 1, Step: 1, Share: 0.8})
	r := rand.New(rand.NewPCG(1, 1))
	for range 3_000 {
		o := Outcome{Epoch: 1, Share: 0.8, Unit: r.Uint64(), Candidate: r.Float64() < 0.8, Failed: r.Float64() < 0.03, Latency: math.Exp(r.NormFloat64()), TTFT: math.NaN(), Cost: math.Exp(r.NormFloat64())}
		e.Observe(&o)
	}
	for _, g := range p.Judge(e) {
		tb.Logf("%s %s %s %s", g.Name, g.Outcome, g.words, g.Needed)
	}
	return p, e
}

// What a tick looks at.
func BenchmarkJudge(b *testing.B) {
	p, e := lookedAt(b)
	b.ReportAllocs()
	for b.Loop() {
		e.judge = nil // as an outcome does
		p.Judge(e)
	}
}

// What the request that decides waits for.
func BenchmarkDecided(b *testing.B) {
	p, e := lookedAt(b)
	b.ReportAllocs()
	for b.Loop() {
		p.decided(e)
	}
}
