package optimizer

import (
	"math"
	"sync"
	"time"

	"github.com/caddy-frontier/frontier/optimizer/search"
)

// ledger keeps a run within its budget. Before a call is made its worst case
// is reserved, and when that does not fit, the call is not made; afterwards
// what it really took takes the reservation's place. So the budget holds
// whatever calls turn out to cost, and however many are under way.
//
// Beside what was really spent it follows what the job has used: after a crash
// a job runs again from its start, and must decide as it did before, when less
// was spent. The calls that a crash lost, asked for and not answered, are the
// difference. A small part of the calls, slack, is kept from the job for them.
type ledger struct {
	mu sync.Mutex

	calls int     // 0: no limit
	usd   float64 // 0: no limit
	until time.Time
	now   func() time.Time

	spent, reserved       int
	spentUSD, reservedUSD float64
	unpriced              bool // the cost of a call is unknown

	used    int     // calls of what the job has asked for so far
	usedUSD float64 //
	lost    int     // calls that were paid for, perhaps, and not answered
}

// slack is how many calls of a budget are kept for those that crashes lose.
func slack(calls int) int { return min(calls/32, 8) }

// limited reports whether there is a limit on calls.
func (l *ledger) limited() bool { return l.calls > 0 }

// reserve sets calls and dollars aside; false: they are not there.
func (l *ledger) reserve(calls int, usd float64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over() || l.limited() && l.spent+l.reserved+calls > l.calls {
		return false
	}
	if l.usd > 0 && l.spentUSD+l.reservedUSD+usd > l.usd {
		return false
	}
	l.reserved += calls
	l.reservedUSD += usd
	return true
}

// settle gives a reservation back, and books what was spent; a nil cost is unknown.
func (l *ledger) settle(reserved int, reservedUSD float64, spent int, usd *float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved -= reserved
	l.reservedUSD -= reservedUSD
	l.spent += spent
	switch {
	case usd != nil:
		l.spentUSD += *usd
	case spent > 0:
		l.unpriced = true
		if l.usd > 0 { // nothing is known but the worst case
			l.spentUSD += reservedUSD
		}
	}
}

// lose books calls of which a crash left no answer.
func (l *ledger) lose(calls int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spent += calls
	l.lost += calls
}

// use notes that the job has what these calls paid for.
func (l *ledger) use(calls int, usd *float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used += calls
	if usd != nil {
		l.usedUSD += *usd
	}
}

// left is how many more calls the job may make: those that the budget allows at
// what they have cost so far.
func (l *ledger) left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over() {
		return 0
	}
	left := math.MaxInt32
	if l.limited() {
		kept := slack(l.calls)
		left = l.calls - l.used - kept - max(0, l.lost-kept)
	}
	if l.usd > 0 && l.used > 0 && l.usedUSD > 0 {
		left = min(left, int((l.usd-l.usedUSD)/(l.usedUSD/float64(l.used))))
	}
	return max(left, 0)
}

// over reports whether the time is up.
func (l *ledger) over() bool { return !l.until.IsZero() && !l.now().Before(l.until) }

// spending returns what was spent; the dollars are nil when they are unknown.
func (l *ledger) spending() (calls int, usd *float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unpriced {
		return l.spent, nil
	}
	spent := l.spentUSD
	return l.spent, &spent
}

// errBudget is what there is when a call does not fit in.
var errBudget = search.ErrBudget
