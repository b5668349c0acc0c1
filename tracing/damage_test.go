package tracing

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
)

// closedStore makes a store's directory with n traces of one day, and returns
// their requests by id.
func closedStore(t testing.TB, n int) (dir string, requests map[string]string) {
	t.Helper()
	s := openStore(t, Options{FlushInterval: time.Hour})
	rec := newRecorder(t, s, Config{})
	r := rand.New(rand.NewPCG(8, 8))
	base := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s.SetRetention(100*365*24*time.Hour, 0)
	requests = map[string]string{}
	system := strings.Repeat("Be nice. ", 200)
	for i := range n {
		rc := sampleRecord(t, r, base.Add(time.Duration(i)*time.Second), i)
		if i%3 == 0 {
			c := parsed(t, "chat/completions", `{"model":"m","messages":[{"role":"system","content":"`+system+`"},{"role":"user","content":"`+prose(r, 300)+`"}]}`)
			c.ID, c.Started, c.Provider, c.Model = rc.Call.ID, rc.Call.Started, "openai", "gpt-4o"
			rc.Call = c
		}
		requests[rc.Call.ID] = string(rc.Call.Body)
		rec.Offer(rc)
		if i%100 == 99 {
			syncStore(t, s)
		}
	}
	syncStore(t, s)
	_ = s.Close()
	return s.Dir(), requests
}

// checkStore reads everything: nothing may panic, and nothing may be wrong
// without saying so. It returns how many traces were found whole.
func checkStore(t testing.TB, dir string, requests map[string]string) (whole, damaged int, partial bool) {
	t.Helper()
	s, err := Open(dir, nil, Options{Retain: 100 * 365 * 24 * time.Hour, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	f := Filter{Limit: 100}
	for {
		p, err := s.Query(ctx, f)
		if err != nil {
			t.Fatalf("query: %v", err)
		}
		partial = partial || len(p.Damaged) > 0
		for _, r := range p.Items {
			want, ok := requests[r.ID]
			if !ok && r.Damaged == "" {
				t.Fatalf("a trace that never was: %+v", r)
			}
			tr, err := s.Trace(ctx, r.ID)
			if err != nil {
				if r.Damaged == "" {
					t.Fatalf("trace %s: %v", r.ID, err)
				}
				damaged++
				continue
			}
			if tr.Damaged != "" {
				damaged++
				continue
			}
			if string(tr.Request) != want {
				t.Fatalf("wrong request of %s: %.100s", r.ID, tr.Request)
			}
			if len(tr.Spans) > 0 && *tr.Spans[0].HTTPStatus != 200 {
				t.Fatalf("wrong span of %s", r.ID)
			}
			whole++
		}
		if p.Next == "" {
			break
		}
		f.Cursor = p.Next
	}
	if _, err := s.Stats(ctx, ByVariant, Filter{}); err != nil {
		t.Fatalf("stats: %v", err)
	}
	if _, err := s.Query(ctx, Filter{Text: "nothing like it"}); err != nil {
		t.Fatalf("search: %v", err)
	}
	partial = partial || s.Counters().Damaged > 0
	return whole, damaged, partial
}

func dbFile(t testing.TB, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q %v", files, err)
	}
	return files[0]
}

// writeDay writes a copy of a day's database and of its file of blocks.
func writeDay(t testing.TB, dir, name string, db, blocks []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.Base(name))
	if err := errors.Join(os.WriteFile(path, db, 0o600), os.WriteFile(path+blocksSuffix, blocks, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func TestBitFlips(t *testing.T) {
	dir, requests := closedStore(t, 400)
	if whole, damaged, partial := checkStore(t, dir, requests); whole != 400 || damaged != 0 || partial {
		t.Fatalf("before: %d whole, %d damaged, partial %v", whole, damaged, partial)
	}
	name := dbFile(t, dir)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := os.ReadFile(name + blocksSuffix)
	if err != nil || len(blocks) == 0 {
		t.Fatal(len(blocks), err)
	}
	flips := 60
	if n, err := strconv.Atoi(os.Getenv("FRONTIER_FLIPS")); err == nil {
		flips = n
	} else if testing.Short() {
		flips = 15
	}
	r := rand.New(rand.NewPCG(9, 9))
	silent := 0
	for range flips {
		bad := append(bytes.Clone(good), blocks...)
		for range 1 + r.IntN(8) {
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		}
		copyDir := t.TempDir()
		writeDay(t, copyDir, name, bad[:len(good)], bad[len(good):])
		whole, _, said := checkStore(t, copyDir, requests)
		if whole < 400 && !said {
			silent++
		}
		if v := verify(t, copyDir); whole < 400 && v.Damaged == 0 && v.Traces == 400 {
			t.Errorf("%d traces are whole, and Verify finds nothing: %+v", whole, v)
		}
	}
	if silent > 0 {
		t.Errorf("%d of %d damaged files lost traces without a word", silent, flips)
	}
}

func verify(t *testing.T, dir string) Verified {
	t.Helper()
	s, err := Open(dir, nil, Options{Retain: 100 * 365 * 24 * time.Hour, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	v, err := s.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerify(t *testing.T) {
	dir, _ := closedStore(t, 400)
	if v := verify(t, dir); v.Traces != 400 || v.Damaged != 0 || v.Files != 1 || len(v.Faults) != 0 {
		t.Errorf("in order: %+v", v)
	}
	name := dbFile(t, dir)
	blocks, err := os.ReadFile(name + blocksSuffix)
	if err != nil {
		t.Fatal(err)
	}
	blocks[len(blocks)/2] ^= 1
	if err := os.WriteFile(name+blocksSuffix, blocks, 0o600); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, dir); v.Traces != 400 || v.Damaged == 0 || len(v.Faults) == 0 || len(v.Faults) > maxFaults {
		t.Errorf("one byte of a block is wrong: %+v", v)
	}
}

func TestCutFiles(t *testing.T) {
	dir, requests := closedStore(t, 400)
	name := dbFile(t, dir)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := os.ReadFile(name + blocksSuffix)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, len(blocks) / 2, len(blocks) - 1} {
		copyDir := t.TempDir()
		writeDay(t, copyDir, name, good, blocks[:size])
		if whole, damaged, said := checkStore(t, copyDir, requests); whole+damaged != 400 || damaged == 0 || !said {
			t.Errorf("blocks cut to %d bytes: %d whole, %d damaged, said %v", size, whole, damaged, said)
		}
	}
	for _, size := range []int{10, 100, 8192, len(good) / 2, len(good) - 8192, len(good) - 100} {
		copyDir := t.TempDir()
		writeDay(t, copyDir, name, good[:size], blocks)
		if whole, _, said := checkStore(t, copyDir, requests); whole < 400 && !said {
			t.Errorf("cut to %d bytes: %d whole, and nothing said", size, whole)
		}
	}
}

// A file that is none is put aside, and the day goes on in a new one.
func TestQuarantine(t *testing.T) {
	dir := t.TempDir()
	today := fileKey{dayOf(seqAt(time.Now())), 1}.name()
	if err := os.WriteFile(filepath.Join(dir, today), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, nil, Options{MinFree: 1, FlushInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p, err := s.Query(context.Background(), Filter{}); err != nil || len(p.Damaged) != 1 {
		t.Errorf("damaged %q, %v", p.Damaged, err)
	}
	rec := newRecorder(t, s, Config{})
	rec.Offer(NewRecord(parsed(t, "chat/completions", chatRequest)))
	if tr := onlyTrace(t, s); string(tr.Request) != chatRequest {
		t.Errorf("request %s", tr.Request)
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, today+".damaged-*")); len(aside) != 1 {
		t.Errorf("put aside: %q", aside)
	}
	if c := s.Counters(); c.Written != 1 || c.Damaged == 0 || len(c.Dropped) != 0 {
		t.Errorf("%+v", c)
	}
}

// A process that writes is killed, again and again; what its store said to be
// written must be there, and the store must open.
func TestKill(t *testing.T) {
	if dir := os.Getenv("FRONTIER_KILL_DIR"); dir != "" {
		killed(t, dir)
		return
	}
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	told := 0
	r := rand.New(rand.NewPCG(10, 10))
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "FRONTIER_KILL_DIR="+dir)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var kill *time.Timer
		last := 0
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			n := 0
			if _, err := fmt.Sscanf(lines.Text(), "written %d.", &n); err == nil {
				last = max(last, n)
			}
			if last > 0 && kill == nil {
				kill = time.AfterFunc(time.Duration(r.IntN(120))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
		told += last
		start := time.Now()
		s, err := Open(dir, nil, Options{MinFree: 1})
		if err != nil {
			t.Fatal(err)
		}
		have := count(t, s)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("opening took %s", took)
		}
		c := s.Counters()
		_ = s.Close()
		if have < int64(told) || c.Damaged > 0 {
			t.Fatalf("%d traces, %d were written, %+v", have, told, c)
		}
		told = int(have)
	}
	if told == 0 {
		t.Error("nothing was written at all")
	}
}

func count(t testing.TB, s *Store) (n int64) {
	t.Helper()
	st, err := s.Stats(context.Background(), ByRoute, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range st.Items {
		n += i.Requests
	}
	return n
}

// killed writes until it is killed.
func killed(t *testing.T, dir string) {
	s, err := Open(dir, nil, Options{MinFree: 1, FlushInterval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	rec := newRecorder(t, s, Config{})
	go func() {
		for {
			time.Sleep(time.Millisecond)
			fmt.Printf("written %d.\n", s.Counters().Written)
		}
	}()
	for start := time.Now(); time.Since(start) < 10*time.Second; {
		c := parsed(t, "chat/completions", chatRequest)
		r := NewRecord(c)
		r.Status = call.StatusOK
		rec.Offer(r)
		time.Sleep(50 * time.Microsecond)
	}
}

func TestFeedbackValidation(t *testing.T) {
	for _, f := range []Feedback{{}, {Name: "x"}, {Name: "x", Value: json.RawMessage("null")}, {Name: strings.Repeat("x", 300), Value: json.RawMessage("1")}} {
		if f.validate() == nil {
			t.Errorf("%+v was accepted", f)
		}
	}
}
