package optimizer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// labelled are records with as many of each answer as counts say.
func labelled(counts ...int) (out []Record) {
	for a, n := range counts {
		for i := range n {
			r := asks("x", fmt.Sprint("answer ", a))
			r.ID = fmt.Sprint(a, "-", i)
			out = append(out, r)
		}
	}
	return out
}

func idsOf(records []Record, indices []int) map[string]bool {
	out := map[string]bool{}
	for _, i := range indices {
		out[records[i].ID] = true
	}
	return out
}

func TestSplitKeepsProportions(t *testing.T) {
	for _, tt := range []struct {
		counts []int
		share  float64
	}{{[]int{100, 40, 10}, 0.2}, {[]int{500, 500}, 0.5}, {[]int{37, 23, 11, 5}, 0.3}, {slices.Repeat([]int{1}, 60), 0.2}, {[]int{10}, 0.9}} {
		records := labelled(tt.counts...)
		first, second := Split(records, tt.share, 1)
		if len(first)+len(second) != len(records) {
			t.Fatalf("%v: %d and %d", tt.counts, len(first), len(second))
		}
		for a, n := range tt.counts {
			got := 0
			for _, i := range first {
				if records[i].label() == fmt.Sprint("answer ", a) {
					got++
				}
			}
			if want := tt.share * float64(n); n > 1 && math.Abs(float64(got)-want) >= 1 && want >= 1 {
				t.Errorf("%v: %d of %d with answer %d, want %.1f", tt.counts, got, n, a, want)
			}
		}
		if want := tt.share * float64(len(records)); math.Abs(float64(len(first))-want) > float64(len(tt.counts)) {
			t.Errorf("%v: %d of %d, want %.1f", tt.counts, len(first), len(records), want)
		}
	}
}

// Properties of any split: a partition, the same again, whatever the order, and
// stable: of the records that were there, hardly any changes sides when some are added.
func TestSplitProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var counts []int
		for range 1 + r.IntN(6) {
			counts = append(counts, 1+r.IntN(40))
		}
		records, share, seed := labelled(counts...), float64(1+r.IntN(19))/20, r.Uint64N(5)
		first, second := Split(records, share, seed)
		all := slices.Sorted(slices.Values(append(slices.Clone(first), second...)))
		for i := range records {
			if i >= len(all) || all[i] != i {
				t.Fatalf("%v: not a partition: %v, %v", counts, first, second)
			}
		}
		if len(records) >= 2 && (len(first) == 0 || len(second) == 0) {
			t.Fatalf("%v: %v, %v: one is empty", counts, first, second)
		}
		shuffled := slices.Clone(records)
		r.Shuffle(len(shuffled), func(i, k int) { shuffled[i], shuffled[k] = shuffled[k], shuffled[i] })
		again, _ := Split(shuffled, share, seed)
		was := idsOf(records, first)
		for id := range idsOf(shuffled, again) {
			if !was[id] {
				t.Fatalf("%v: %s is there only in another order", counts, id)
			}
		}
		added := asks("new", fmt.Sprint("answer ", r.IntN(len(counts))))
		added.ID = "added"
		more := append(slices.Clone(records), added)
		now, _ := Split(more, share, seed)
		is := idsOf(more, now)
		moved := 0
		for _, rec := range records {
			if was[rec.ID] != is[rec.ID] {
				moved++
			}
		}
		// A group that is no longer rare is divided on its own: at most as many as it has.
		if most := 2 + int(1/min(share, 1-share)); moved > most {
			t.Fatalf("%v, share %.2f: %d records moved", counts, share, moved)
		}
	}
}

func TestSplitEdges(t *testing.T) {
	records := labelled(3)
	for _, tt := range []struct {
		share        float64
		first, after int
	}{{0, 0, 3}, {1, 3, 0}, {-1, 0, 3}, {2, 3, 0}, {0.01, 1, 2}, {0.99, 2, 1}} {
		first, second := Split(records, tt.share, 0)
		if len(first) != tt.first || len(second) != tt.after {
			t.Errorf("share %v: %d and %d", tt.share, len(first), len(second))
		}
	}
	if first, second := Split(nil, 0.5, 0); first != nil || second != nil {
		t.Errorf("of nothing: %v, %v", first, second)
	}
}

func TestSample(t *testing.T) {
	records := labelled(800, 150, 50, 1, 1, 1)
	picked := Sample(records, 100, 1)
	if len(picked) != 100 || !slices.IsSorted(picked) || len(slices.Compact(slices.Clone(picked))) != 100 {
		t.Fatalf("picked %d: %v", len(picked), picked)
	}
	counts := map[string]int{}
	for _, i := range picked {
		counts[records[i].label()]++
	}
	if counts["answer 0"] != 80 || counts["answer 1"] != 15 || counts["answer 2"] != 5 {
		t.Errorf("got %v", counts)
	}
	if !slices.Equal(picked, Sample(records, 100, 1)) || slices.Equal(picked, Sample(records, 100, 2)) {
		t.Error("the seed does not decide")
	}
	if got := Sample(records, 5000, 1); len(got) != len(records) {
		t.Errorf("%d of all", len(got))
	}
}
