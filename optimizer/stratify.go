package optimizer

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strings"
)

// Split divides records in two, of which the first has that share, 0 to 1. Each
// answer that is wanted often enough is divided in that proportion, and those that
// are rare are so together. It returns the records' indices, in order.
//
// The same records and seed give the same parts, whatever the records' order; and when
// records are added, few of the others change sides: within each answer it is the
// order of a hash of seed and id that decides. So the seed should be one that
// stays over versions. Of two records or more, each
// part has at least one, unless share is 0 or 1.
func Split(records []Record, share float64, seed uint64) (first, second []int) {
	share = min(max(share, 0), 1)
	taken := make([]bool, len(records))
	groups := strata(records, min(share, 1-share), seed)
	for _, g := range groups {
		// The part of a whole record that is left over is decided by the answer's own hash, so that no part is favoured.
		n := int(share*float64(len(g.members)) + g.place)
		for _, m := range g.members[:min(n, len(g.members))] {
			taken[m.index] = true
		}
	}
	for i, t := range taken {
		if t {
			first = append(first, i)
		} else {
			second = append(second, i)
		}
	}
	if len(records) >= 2 && share > 0 && share < 1 {
		if len(first) == 0 {
			first, second = moveOne(first, second, records, seed)
		} else if len(second) == 0 {
			second, first = moveOne(second, first, records, seed)
		}
	}
	return first, second
}

// moveOne gives an empty part the record whose hash is the lowest.
func moveOne(to, from []int, records []Record, seed uint64) (_, _ []int) {
	lowest := slices.MinFunc(from, func(a, b int) int {
		return cmp.Or(cmp.Compare(placeOf(seed, records[a].ID), placeOf(seed, records[b].ID)), cmp.Compare(a, b))
	})
	return append(to, lowest), slices.DeleteFunc(from, func(i int) bool { return i == lowest })
}

// stratum are the records that want the same answer.
type stratum struct {
	answer  string // "": the rare ones together, or those without an answer
	place   float64
	members []member
}

type member struct {
	index int
	id    string
	place float64 // in [0,1), by seed and id
}

// strata groups records by the answer that is wanted. An answer is rare when the
// share of its records is less than one: those are one group together.
// Groups are in the order of their answers, their members in that of their places.
func strata(records []Record, share float64, seed uint64) []*stratum {
	byAnswer := map[string]*stratum{}
	for i := range records {
		key := records[i].label()
		g := byAnswer[key]
		if g == nil {
			g = &stratum{answer: key, place: placeOf(seed, "answer", key)}
			byAnswer[key] = g
		}
		g.members = append(g.members, member{i, records[i].ID, placeOf(seed, records[i].ID)})
	}
	rare := &stratum{place: placeOf(seed, "rare")}
	var out []*stratum
	for _, key := range sortedKeys(byAnswer) {
		g := byAnswer[key]
		if float64(len(g.members))*share < 1 {
			rare.members = append(rare.members, g.members...)
			continue
		}
		out = append(out, g)
	}
	if len(rare.members) > 0 {
		out = append(out, rare)
	}
	for _, g := range out {
		slices.SortFunc(g.members, func(a, b member) int {
			return cmp.Or(cmp.Compare(a.place, b.place), strings.Compare(a.id, b.id), cmp.Compare(a.index, b.index))
		})
	}
	return out
}

// label is the answer that a record wants, for counting: of a text, without case and white space around it.
func (r *Record) label() string {
	var text string
	if json.Unmarshal(r.Expected, &text) == nil {
		return strings.ToLower(strings.TrimSpace(text))
	}
	return string(r.Expected)
}

// Sample picks exactly n of the records, or all when there are no more, in
// proportion to the answers that are wanted. It returns their indices, in order; the same
// records and seed give the same choice.
func Sample(records []Record, n int, seed uint64) []int {
	if n >= len(records) {
		out := make([]int, len(records))
		for i := range out {
			out[i] = i
		}
		return out
	}
	share := float64(n) / float64(len(records))
	groups := strata(records, share, seed)
	left := n
	take := make([]int, len(groups))
	order := make([]int, len(groups)) // by what is left over of whole records
	rest := make([]float64, len(groups))
	for i, g := range groups {
		exact := share * float64(len(g.members))
		take[i] = int(exact + 1e-9)
		rest[i] = exact - float64(take[i])
		left -= take[i]
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(rest[b], rest[a]), cmp.Compare(groups[a].place, groups[b].place), cmp.Compare(a, b))
	})
	for _, i := range order {
		if left > 0 && take[i] < len(groups[i].members) {
			take[i]++
			left--
		}
	}
	var out []int
	for i, g := range groups {
		for _, m := range g.members[:take[i]] {
			out = append(out, m.index)
		}
	}
	slices.Sort(out)
	return out
}

// placeOf is where a text stands in [0,1): the same at all times and everywhere.
func placeOf(seed uint64, parts ...string) float64 {
	h := sha256.New()
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], seed)
	h.Write(number[:])
	for _, p := range parts {
		binary.BigEndian.PutUint64(number[:], uint64(len(p)))
		h.Write(number[:])
		h.Write([]byte(p))
	}
	return float64(binary.BigEndian.Uint64(h.Sum(nil))>>11) / math.Exp2(53)
}
