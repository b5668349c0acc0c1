package rollout

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

var everyGuard = []GuardSpec{{Name: "errors"}, {Name: "latency"}, {Name: "cost"}, {Name: "format"}, {Name: "quality"}}

func entered(tb testing.TB, p *Plan, share float64) *Evidence {
	tb.Helper()
	e := p.NewEvidence()
	e.Enter(p, Mark{Epoch: 1, Step: 1, Share: share})
	return e
}

// traffic is n outcomes that are as likely as not to be strange.
func traffic(seed uint64, n int, share float64) []Outcome {
	r := rand.New(rand.NewPCG(seed, 0))
	out := make([]Outcome, n)
	for i := range out {
		u := r.Uint64()
		out[i] = Outcome{
			Epoch: 1, Share: share, Candidate: r.Float64() < share, Unit: u % uint64(n/2+1), Failed: r.Float64() < 0.03, Format: Format(r.IntN(3)),
			Kind: []string{"status_500", "timeout"}[r.IntN(2)], Latency: math.Exp(r.NormFloat64()), TTFT: math.NaN(), Cost: r.Float64(), Trace: "t",
		}
	}
	return out
}

func TestObserveCounts(t *testing.T) {
	p := benchPlan(t, everyGuard...)
	base := Outcome{Epoch: 1, Share: 0.2, Candidate: true, Unit: 1, Latency: 1, TTFT: 1, Cost: 1}
	with := func(change func(o *Outcome)) Outcome { o := base; change(&o); return o }
	failed := with(func(o *Outcome) { o.Failed = true })
	for name, tt := range map[string]struct {
		outcomes           []Outcome
		failures, requests float64
		units, times       int
	}{
		"one":                       {[]Outcome{base}, 0, 1, 1, 1},
		"a unit's second":           {[]Outcome{base, base}, 0, 2, 1, 1},
		"first failure only":        {[]Outcome{base, failed, failed, base, failed}, 1, 2, 1, 1},
		"another epoch":             {[]Outcome{with(func(o *Outcome) { o.Epoch = 2 })}, 0, 0, 0, 0},
		"no share":                  {[]Outcome{with(func(o *Outcome) { o.Share = math.NaN() })}, 0, 0, 0, 0},
		"drawn before the step":     {[]Outcome{with(func(o *Outcome) { o.Share = 0.05; o.Failed = true })}, 1, 1, 0, 0},
		"a broken format":           {[]Outcome{with(func(o *Outcome) { o.Format = FormatBroken })}, 1, 1, 1, 1},
		"a failure of two variants": {[]Outcome{failed, with(func(o *Outcome) { o.Candidate = false; o.Failed = true })}, 1, 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e := entered(t, p, 0.2)
			for i := range tt.outcomes {
				e.Observe(&tt.outcomes[i])
			}
			f, n := e.errors.strata.total(candidate)
			_, units := e.Units()
			if f != tt.failures || n != tt.requests || units != tt.units || e.steps[candidate].latency.n != tt.times {
				t.Errorf("%v failures of %v requests, %d units, %d times; want %v of %v, %d, %d", f, n, units, e.steps[candidate].latency.n, tt.failures, tt.requests, tt.units, tt.times)
			}
		})
	}
}

func TestFailuresTakeForEver(t *testing.T) {
	e := entered(t, benchPlan(t), 0.2)
	e.Observe(&Outcome{Epoch: 1, Share: 0.2, Candidate: true, Unit: 1, Failed: true, Latency: 0.1, TTFT: math.NaN(), Cost: math.NaN()})
	if got := e.steps[candidate].latency.quantile(0.5); !math.IsInf(got, 1) {
		t.Errorf("a failure took %v s", got)
	}
}

func TestEnter(t *testing.T) {
	p := benchPlan(t)
	e := entered(t, p, 0.2)
	for _, o := range traffic(1, 500, 0.2) {
		e.Observe(&o)
	}
	_, before := e.errors.strata.total(stable)
	e.Enter(p, Mark{Epoch: 1, Step: 2, Share: 1})
	if _, n := e.errors.strata.total(stable); n != before {
		t.Errorf("a step later %v requests of stable count, want %v", n, before)
	}
	if s, c := e.Units(); s == 0 || c != 0 {
		t.Errorf("at 100 %%: %d units of stable, %d of the candidate; want stable's of the step before", s, c)
	}
	e.Enter(p, Mark{Epoch: 2, Step: 2, Share: 1})
	if _, n := e.errors.strata.total(stable); n != 0 {
		t.Errorf("in another epoch %v requests count", n)
	}
}

func TestUnitsAreBounded(t *testing.T) {
	var u units
	const n = 1_000_000
	fresh := 0
	for i := range uint64(n) {
		if u.mark(i * 0x9e3779b97f4a7c15) {
			fresh++
		}
		if i%10 == 0 {
			u.add(i * 0x9e3779b97f4a7c15)
		}
	}
	if u.n > maxUnits || len(u.slots) > 4*maxUnits {
		t.Errorf("%d units in %d slots", u.n, len(u.slots))
	}
	if c := u.countMarked(); math.Abs(float64(c)/n-1) > 0.05 {
		t.Errorf("%d units are taken for %d", n, c)
	}
	again := 0
	for i := range uint64(n) {
		if u.mark(i * 0x9e3779b97f4a7c15) {
			again++
		}
	}
	if again > 0 {
		t.Errorf("%d units are new twice", again)
	}
}

func TestUnitsLikeAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var u units
	marked, all := map[uint64]bool{}, map[uint64]bool{}
	for range 30_000 {
		x := r.Uint64N(8000)
		if r.IntN(2) == 0 {
			if got, want := u.add(x), !all[x]; got != want {
				t.Fatalf("unit %d: added %v, want %v", x, got, want)
			}
		} else {
			if got, want := u.mark(x), !marked[x]; got != want {
				t.Fatalf("unit %d: marked %v, want %v", x, got, want)
			}
			marked[x] = true
		}
		all[x] = true
	}
	if u.count() != len(all) || u.countMarked() != len(marked) {
		t.Errorf("%d, %d units, want %d, %d", u.count(), u.countMarked(), len(all), len(marked))
	}
}

// What one bad hour before a step did is not taken for the variant's fault.
func TestStrataKeepSharesApart(t *testing.T) {
	var s strata
	*s.of(0.05) = stratum{0.05, [2]int64{9500, 500}, [2]int64{950, 50}} // 10 % in a bad hour
	*s.of(0.5) = stratum{0.5, [2]int64{5000, 5000}, [2]int64{50, 50}}
	f, n := s.control()
	mine, all := s.total(candidate)
	if math.Abs(f/n-mine/all) > 1e-9 {
		t.Errorf("stable fails %v beside the candidate's %v, want the same", f/n, mine/all)
	}
	for i := range 3 * maxStrata {
		s.of(float64(i) / 1000).requests[stable]++
	}
	if _, n := s.total(stable); len(s) > maxStrata || n != 14_500+3*maxStrata {
		t.Errorf("%d strata with %v requests", len(s), n)
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	p := benchPlan(t, everyGuard...)
	e := entered(t, p, 0.8)
	outcomes := traffic(1, 100_000, 0.8)
	for i := range outcomes {
		e.Observe(&outcomes[i])
	}
	i := 0
	if n := testing.AllocsPerRun(10_000, func() {
		e.Observe(&outcomes[i])
		i++
	}); n != 0 {
		t.Errorf("%v allocations an outcome", n)
	}
}

func same(t *testing.T, p *Plan, a, b *Evidence) {
	t.Helper()
	for _, f := range []func(e *Evidence) failures{
		func(e *Evidence) failures { return *e.errors }, func(e *Evidence) failures { return *e.format },
	} {
		x, y := f(a), f(b)
		x.failed, y.failed = units{}, units{}
		if len(x.strata) == 0 {
			x.strata, y.strata = nil, nil
		}
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("failures are %+v, want %+v", y, x)
		}
	}
	ja, jb := p.Judge(a), p.Judge(b)
	for i := range ja {
		if ja[i].words != jb[i].words || ja[i].Outcome != jb[i].Outcome || ja[i].Needed != jb[i].Needed {
			t.Fatalf("%s: %s %s %s, want %s %s %s", ja[i].Name, jb[i].Outcome, jb[i].words, jb[i].Needed, ja[i].Outcome, ja[i].words, ja[i].Needed)
		}
	}
}

// Evidence that was stored and read goes on as if it had not been.
func TestEvidenceSurvives(t *testing.T) {
	p := benchPlan(t, everyGuard...)
	for _, n := range []int{0, 1, 300, 60_000} {
		a := entered(t, p, 0.8)
		outcomes := traffic(3, 2*n, 0.8)
		for i := range outcomes[:n] {
			a.Draw(1, 0.8, outcomes[i].Candidate, outcomes[i].Unit)
			a.Observe(&outcomes[i])
			a.Score(1, 0.8, outcomes[i].Candidate, outcomes[i].Unit, 0.7)
		}
		stored, err := a.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := p.DecodeEvidence(stored)
		if err != nil {
			t.Fatal(err)
		}
		if len(stored) > 400_000 {
			t.Errorf("%d outcomes take %d bytes", n, len(stored))
		}
		same(t, p, a, b)
		for i := range outcomes[n:] {
			if x, y := a.Observe(&outcomes[n+i]), b.Observe(&outcomes[n+i]); x != y {
				t.Fatalf("outcome %d decides: %v, and %v after a restart", i, x, y)
			}
		}
		same(t, p, a, b)
		for _, i := range []int{0, len(stored) / 2, len(stored) - 1} {
			damaged := append([]byte(nil), stored...)
			damaged[i] ^= 4
			if _, err := p.DecodeEvidence(damaged); !errors.Is(err, ErrDamaged) {
				t.Errorf("damaged at byte %d: %v", i, err)
			}
		}
	}
	other := benchPlan(t, GuardSpec{Name: "errors", Args: []string{"2x"}})
	stored, _ := entered(t, benchPlan(t), 0.5).AppendBinary(nil)
	if _, err := other.DecodeEvidence(stored); !errors.Is(err, ErrDamaged) {
		t.Errorf("evidence of another plan: %v", err)
	}
}

// FuzzDecode reads damaged evidence behind a right checksum: what is accepted can be worked with.
func FuzzDecode(f *testing.F) {
	p := benchPlan(f, everyGuard...)
	for _, n := range []int{0, 5, 200} {
		e := entered(f, p, 0.8)
		for _, o := range traffic(1, n, 0.8) {
			e.Observe(&o)
		}
		b, _ := e.AppendBinary(nil)
		f.Add(b[:len(b)-4])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := p.decode(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("not said to be damaged: %v", err)
			}
			return
		}
		o := Outcome{Epoch: e.mark.Epoch, Share: e.mark.Share, Candidate: true, Unit: 1, Failed: true, Latency: 1, TTFT: 1, Cost: 1}
		e.Draw(o.Epoch, o.Share, true, 1)
		e.Observe(&o)
		e.mismatched()
		p.Judge(e)
		again, _ := e.AppendBinary(nil)
		if _, err := p.DecodeEvidence(again); err != nil {
			t.Fatalf("stored again it cannot be read: %v", err)
		}
	})
}
