package optimizer

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestLedgerIsNeverExceeded: whatever calls are reserved, made, retried and lost in whatever order, no more is spent than the budget.
func TestLedgerIsNeverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &ledger{calls: rapid.IntRange(0, 40).Draw(t, "calls"), usd: rapid.SampledFrom([]float64{0, 0.5, 2}).Draw(t, "usd"), now: time.Now}
		if l.calls > 0 {
			l.lose(rapid.IntRange(0, min(3, l.calls)).Draw(t, "lost"))
		}
		type call struct {
			reserved int
			usd      float64
		}
		var under []call
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "begin") {
				worst := rapid.Float64Range(0, 0.3).Draw(t, "worst")
				if l.reserve(1, worst) {
					under = append(under, call{1, worst})
				}
				continue
			}
			if len(under) == 0 {
				continue
			}
			k := rapid.IntRange(0, len(under)-1).Draw(t, "which")
			c := under[k]
			if rapid.Bool().Draw(t, "retry") && l.reserve(1, c.usd) {
				under[k].reserved++
				continue
			}
			under = append(under[:k], under[k+1:]...)
			var cost *float64
			spent := rapid.IntRange(0, c.reserved).Draw(t, "spent")
			if rapid.Bool().Draw(t, "priced") {
				usd := c.usd * float64(spent) * rapid.Float64Range(0, 1).Draw(t, "share")
				cost = &usd
			}
			l.settle(c.reserved, float64(c.reserved)*c.usd, spent, cost)
			l.use(spent, cost)
		}
		if l.calls > 0 && l.spent > l.calls {
			t.Fatalf("spent %d of %d calls", l.spent, l.calls)
		}
		if l.usd > 0 && l.spentUSD > l.usd+1e-9 {
			t.Fatalf("spent %g of %g dollars", l.spentUSD, l.usd)
		}
	})
}

// TestLedgerLeftIsTheSameAfterACrash: what the job may still do does not change by the few calls that a crash loses.
func TestLedgerLeftIsTheSameAfterACrash(t *testing.T) {
	before := &ledger{calls: 300, now: time.Now}
	after := &ledger{calls: 300, now: time.Now}
	after.lose(slack(300))
	for range 100 {
		before.use(1, nil)
		after.use(1, nil)
	}
	if before.left() != after.left() {
		t.Errorf("left is %d, and %d after a crash that lost %d calls", before.left(), after.left(), slack(300))
	}
	after.lose(5)
	if got, want := after.left(), before.left()-5; got != want {
		t.Errorf("left is %d after more was lost than is kept for it, want %d", got, want)
	}
}

func TestLedgerEndsWithItsTime(t *testing.T) {
	now := time.Now()
	l := &ledger{now: func() time.Time { return now }, until: now.Add(time.Minute)}
	if !l.reserve(1, 0) || l.left() == 0 {
		t.Fatal("there is time left, and no call may be made")
	}
	now = now.Add(time.Minute)
	if l.reserve(1, 0) || l.left() != 0 {
		t.Error("a call may be made after the time is up")
	}
}
