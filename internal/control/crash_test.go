package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A process that commits is killed at random moments, also while it opens.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	r := rand.New(rand.NewPCG(5, uint64(time.Now().UnixNano())))
	acknowledged, total := 0, 0
	var slowest time.Duration
	for round := range rounds {
		cmd := child(t, "commit", dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(r.IntN([]int{600, 60}[round%2]))*time.Millisecond+5*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line := lines.Text()
			if n, err := strconv.Atoi(line); err == nil {
				acknowledged = n
				total++
			} else if line != "READY" {
				t.Fatal(line)
			}
		}
		_ = cmd.Wait()
		if round%2 == 1 {
			continue // the next process finds what this one left
		}
		core, logs := observer.New(zap.ErrorLevel)
		start := time.Now()
		s, err := Open(dir, zap.New(core))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		slowest = max(slowest, time.Since(start))
		n := 0
		if e, err := s.Get("n"); err == nil {
			n, _ = strconv.Atoi(string(e.Value))
		}
		// Each killed process may have written one more than it could tell.
		if n < acknowledged || n > acknowledged+2 {
			t.Errorf("round %d: found %d, acknowledged %d", round, n, acknowledged)
		}
		acknowledged = n
		if err := s.Verify(); err != nil {
			t.Error(err)
		}
		if logs.Len() > 0 {
			t.Errorf("round %d: a crash was reported as damage: %v", round, logs.All())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if d := damagedDirs(t, dir); len(d) > 0 {
		t.Errorf("moved aside: %v", d)
	}
	t.Logf("%d kills, %d acknowledged commits, slowest open %v", rounds, total, slowest)
	if slowest > 2*time.Second {
		t.Error("opening took more than two seconds")
	}
}

func TestLockedByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := child(t, "hold", dir)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "READY\n" {
		t.Fatal(line)
	}
	_, err := Open(dir, nil, func(o *options) { o.lockWait = 50 * time.Millisecond })
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("pid ", cmd.Process.Pid)) {
		t.Errorf("got %v", err)
	}
	t.Log(err)
	_, _ = io.WriteString(in, "\n")
	mustOpen(t, dir)
	_ = cmd.Wait()
}

// Below the floor nothing is written, and it passes by itself.
func TestFloor(t *testing.T) {
	dir := t.TempDir()
	var free atomic.Uint64
	free.Store(10 << 30)
	full := func(o *options) { o.free = func(string) (uint64, error) { return free.Load(), nil } }
	s := mustOpen(t, dir, full)
	mustCommit(t, s, set("a", "1"))
	free.Store(255 << 20)
	for range 3 {
		if _, err := s.Commit(set("a", "2")); !errors.Is(err, ErrNoSpace) {
			t.Fatalf("got %v, want ErrNoSpace", err)
		}
	}
	if e, err := s.Get("a"); err != nil || string(e.Value) != "1" || s.Revision() != 1 {
		t.Errorf("got %v %v", e, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// It opens all the same, serves, refuses, and goes on when there is space.
	s = mustOpen(t, dir, full)
	if e, err := s.Get("a"); err != nil || string(e.Value) != "1" {
		t.Errorf("on a full disk: got %v %v", e, err)
	}
	if s.engine != nil {
		t.Error("Badger was opened on a full disk")
	}
	if _, err := s.Commit(set("a", "2")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("got %v, want ErrNoSpace", err)
	}
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
	free.Store(10 << 30)
	if rev := mustCommit(t, s, set("a", "2")); rev != 2 {
		t.Errorf("revision %d, want 2", rev)
	}
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
	if got := damagedDirs(t, dir); len(got) > 0 {
		t.Errorf("moved aside: %v", got)
	}
	// A new store cannot begin on a full disk.
	free.Store(1 << 20)
	if _, err := Open(t.TempDir(), nil, full); !errors.Is(err, ErrNoSpace) {
		t.Errorf("got %v, want ErrNoSpace", err)
	}
}
