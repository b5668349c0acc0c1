package routing

import (
	"github.com/cespare/xxhash/v2"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// hundred is all of a route's traffic: there are as many buckets, one for each
// hundredth of a percent.
const hundred = 10_000

// split is a division of the buckets among a route's variants. It is immutable.
type split struct {
	weights []uint16 // in the order of the variants; they sum to hundred
	starts  []uint16 // of the ranges; the first variant owns the bottom, the second the top, the third what is below it, …

	// Of a rollout: what is drawn by this split is evidence of the mark. Nil: of none.
	rollout  *controller
	mark     rollout.Mark
	from, to int // variants
}

func newSplit(weights []uint16) *split {
	s := &split{weights: weights, starts: make([]uint16, len(weights))}
	end := uint16(hundred)
	for i := 1; i < len(weights); i++ {
		end -= weights[i]
		s.starts[i] = end
	}
	return s
}

// pick returns the variant that owns the bucket. A variant that grows from
// 5 % to 20 % keeps the buckets it had: ranges grow away from their owner's end.
func (s *split) pick(bucket uint16) int {
	for i := 1; i < len(s.starts); i++ {
		if bucket >= s.starts[i] && bucket-s.starts[i] < s.weights[i] {
			return i
		}
	}
	return 0
}

// bucket places a unit: the same everywhere and for ever, without a store.
func bucket(route, unit string) uint16 { return uint16(place(route, unit) % hundred) }

// place hashes a unit. Its remainder by hundred is the unit's bucket.
func place(route, unit string) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(route)
	_, _ = d.WriteString("\x00")
	_, _ = d.WriteString(unit)
	return d.Sum64()
}

// unit is what is kept on one variant. missing says that what the route asks
// for is not in the request, and the conversation was used.
func unit(sticky string, c *call.Call) (u string, missing bool) {
	switch sticky {
	case "request":
		return c.ID, false
	case "user":
		u = c.User
	case "key":
		u = c.Key
	case "conversation":
	default:
		if u = c.Session; u == "" {
			u = c.User
		}
		if u != "" {
			return u, false
		}
		sticky = "conversation" // the design's own order: not counted as missing
	}
	if u != "" {
		return u, false
	}
	if c.Conversation != "" {
		return c.Conversation, sticky != "conversation"
	}
	return c.ID, true
}
