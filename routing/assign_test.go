package routing

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-frontier/frontier/internal/call"
)

func TestSplitShares(t *testing.T) {
	s := newSplit([]uint16{7000, 2000, 1000})
	counts := make([]int, 3)
	const n = 1_000_000
	for i := range n {
		counts[s.pick(bucket("sentiment", fmt.Sprintf("user-%d", i)))]++
	}
	for i, want := range []float64{70, 20, 10} {
		if got := 100 * float64(counts[i]) / n; math.Abs(got-want) > 0.3 {
			t.Errorf("variant %d has %.2f %% of the units, want %.0f ± 0.3", i, got, want)
		}
	}
}

func TestGrowthKeepsWhatWasThere(t *testing.T) {
	steps := []uint16{500, 2000, 5000, 10000}
	for i := range 20_000 {
		b := bucket("r", fmt.Sprint(i))
		was := 0
		for _, w := range steps {
			now := newSplit([]uint16{hundred - w, w}).pick(b)
			if was == 1 && now != 1 {
				t.Fatalf("unit %d left the candidate when it grew to %d", i, w)
			}
			was = now
		}
		if was != 1 {
			t.Fatalf("unit %d is not on the candidate at 100 %%", i)
		}
	}
}

// Ranges divide the buckets without gap or overlap, whatever the weights.
func TestSplitCoversEveryBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "variants")
		weights := make([]uint16, n)
		left := hundred
		for i := range n - 1 {
			weights[i] = uint16(rapid.IntRange(0, left).Draw(t, "weight"))
			left -= int(weights[i])
		}
		weights[n-1] = uint16(left)
		s := newSplit(weights)
		counts := make([]uint16, n)
		for b := range uint16(hundred) {
			counts[s.pick(b)]++
		}
		for i := range weights {
			if counts[i] != weights[i] {
				t.Fatalf("weights %v own %v buckets", weights, counts)
			}
		}
	})
}

func TestUnit(t *testing.T) {
	full := call.Call{ID: "id", Session: "s", User: "u", Key: "k", Conversation: "c"}
	tests := map[string]struct {
		sticky  string
		call    call.Call
		want    string
		missing bool
	}{
		"session first":         {"", full, "s", false},
		"then user":             {"session", call.Call{User: "u", Conversation: "c"}, "u", false},
		"then conversation":     {"", call.Call{Key: "k", Conversation: "c"}, "c", false},
		"never the key":         {"", call.Call{ID: "id", Key: "k"}, "id", true},
		"user":                  {"user", full, "u", false},
		"user is missing":       {"user", call.Call{Session: "s", Conversation: "c"}, "c", true},
		"key when asked for":    {"key", full, "k", false},
		"conversation":          {"conversation", full, "c", false},
		"nothing is kept":       {"request", full, "id", false},
		"nothing to tell it by": {"conversation", call.Call{ID: "id"}, "id", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, missing := unit(tt.sticky, &tt.call); got != tt.want || missing != tt.missing {
				t.Errorf("got %q, missing %v; want %q, %v", got, missing, tt.want, tt.missing)
			}
		})
	}
}

func TestConversations(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	table := newConversations(func() time.Time { return now })
	table.put("r", "c1", "candidate")
	table.put("other", "c1", "stable")
	table.put("r", "", "stable")
	if v, ok := table.get("r", "c1"); !ok || v != "candidate" {
		t.Errorf("got %q, %v", v, ok)
	}
	if _, ok := table.get("r", ""); ok {
		t.Error("a call without a conversation has one")
	}
	file := filepath.Join(t.TempDir(), "conversations")
	if err := table.save(file); err != nil {
		t.Fatal(err)
	}
	again := newConversations(func() time.Time { return now })
	if err := again.load(file); err != nil {
		t.Fatal(err)
	}
	if v, ok := again.get("other", "c1"); !ok || v != "stable" {
		t.Errorf("after a restart: %q, %v", v, ok)
	}
	now = now.Add(25 * time.Hour)
	if _, ok := again.get("r", "c1"); ok {
		t.Error("a conversation idle for 25 hours is still held")
	}
}

func TestConversationsAreBounded(t *testing.T) {
	table := newConversations(time.Now)
	for i := range maxConversations + 1000 {
		table.put("r", fmt.Sprint(i), "stable")
	}
	if n := table.table.Len(); n != maxConversations {
		t.Errorf("%d entries, want %d", n, maxConversations)
	}
}

func BenchmarkPick(b *testing.B) {
	s := newSplit([]uint16{8000, 2000})
	c := &call.Call{User: "user-123456"}
	b.ReportAllocs()
	for b.Loop() {
		u, _ := unit("user", c)
		s.pick(bucket("sentiment", u))
	}
}
