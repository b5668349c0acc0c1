package tracing

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// readAll reads everything that the follower has, and moves it on.
func readAll(t *testing.T, f *Follower, limit int) (ids, feedback []string) {
	t.Helper()
	for {
		b, err := f.Next(context.Background(), limit, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return ids, feedback
		}
		for _, tr := range b.Traces {
			if tr.Damaged != "" || string(tr.Request) == "null" || len(tr.Spans) != 1 {
				t.Errorf("trace %s: damaged %q, request %.20s, %d spans", tr.ID, tr.Damaged, tr.Request, len(tr.Spans))
			}
			ids = append(ids, tr.ID)
		}
		for _, fb := range b.Feedback {
			feedback = append(feedback, fb.TraceID+" "+fb.Name)
		}
		f.Done(b)
	}
}

// A follower reads each trace once, in the order of storing: calls that began
// earlier but ended later too, and over midnight.
func TestFollowReadsEverythingOnce(t *testing.T) {
	s := openStore(t, Options{})
	r := newRecorder(t, s, Config{})
	random := rand.New(rand.NewPCG(1, 2))
	midnight := time.Now().UTC().Truncate(24 * time.Hour)
	var want []string
	offer := func(at time.Time, n int) string {
		rec := sampleRecord(t, random, at, n)
		id := rec.Call.ID
		r.Offer(rec)
		syncStore(t, s)
		return id
	}
	offer(midnight.Add(time.Minute), 0) // before the follower began
	f, err := s.Follow(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 600 { // more than two segments
		rec := sampleRecord(t, random, midnight.Add(time.Hour-time.Duration(n)*time.Second), n)
		want = append(want, rec.Call.ID)
		r.Offer(rec)
		if n%90 == 0 {
			syncStore(t, s)
		}
	}
	syncStore(t, s)
	got, _ := readAll(t, f, 100)
	if len(got) != 600 || !sameSet(got, want) {
		t.Fatalf("%d traces were read, want the 600 that were stored", len(got))
	}
	late := offer(midnight.Add(-time.Second), 1) // of yesterday, ended today
	if err := s.AddFeedback(context.Background(), late, Feedback{Name: "thumbs", Value: json.RawMessage("true")}); err != nil {
		t.Fatal(err)
	}
	positions := f.Positions()
	f.Stop()

	// As after a restart.
	raw, err := json.Marshal(positions)
	if err != nil {
		t.Fatal(err)
	}
	positions = nil
	if err := json.Unmarshal(raw, &positions); err != nil {
		t.Fatal(err)
	}
	if f, err = s.Follow(context.Background(), positions); err != nil {
		t.Fatal(err)
	}
	defer f.Stop()
	got, feedback := readAll(t, f, 100)
	if strings.Join(got, " ") != late || strings.Join(feedback, "|") != late+" thumbs" {
		t.Errorf("got %v and %v, want %s and its feedback", got, feedback, late)
	}
	select {
	case <-f.Ready():
	default:
	}
	last := offer(time.Now(), 2)
	select {
	case <-f.Ready():
	case <-time.After(5 * time.Second):
		t.Fatal("the follower was not told that there is more")
	}
	if got, _ := readAll(t, f, 100); strings.Join(got, " ") != last {
		t.Errorf("got %v, want %s", got, last)
	}
}

// A file that was damaged and begun again is read from its beginning.
func TestFollowFileBegunAgain(t *testing.T) {
	s := openStore(t, Options{})
	r := newRecorder(t, s, Config{})
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	for n := range 50 {
		r.Offer(sampleRecord(t, random, now, n))
	}
	syncStore(t, s)
	f, err := s.Follow(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Stop()
	path := filepath.Join(s.Dir(), fileKey{dayOf(seqAt(now)), 1}.name())
	if err := s.do(context.Background(), func() error {
		s.writer.closeFile(fileKey{dayOf(seqAt(now)), 1})
		return os.WriteFile(path, []byte(strings.Repeat("not a database", 1000)), 0o600)
	}); err != nil {
		t.Fatal(err)
	}
	rec := sampleRecord(t, random, now, 60)
	id := rec.Call.ID
	r.Offer(rec)
	syncStore(t, s)
	if got, _ := readAll(t, f, 100); strings.Join(got, " ") != id {
		t.Errorf("got %v, want %s", got, id)
	}
}

func sameSet(a, b []string) bool {
	seen := map[string]int{}
	for _, s := range a {
		seen[s]++
	}
	for _, s := range b {
		if seen[s]--; seen[s] < 0 {
			return false
		}
	}
	return len(a) == len(b)
}
