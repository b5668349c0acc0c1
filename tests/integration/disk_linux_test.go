package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDisk lets another process (this one) fill the disk of the data
// directory while calls and changes are made.
func TestFullDisk(t *testing.T) {
	long(t)
	disk := smallDisk(t)
	g := newGateway(t)
	g.data = filepath.Join(disk, "data")
	g.start(g.standard(""))
	t.Cleanup(g.kill) // before the disk is unmounted

	var stop atomic.Bool
	var calls, failed atomic.Int64
	var work sync.WaitGroup
	defer func() { stop.Store(true); work.Wait() }()
	for range 4 {
		work.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for !stop.Load() {
				calls.Add(1)
				if a, err := g.chat(request{model: "split", text: "on a full disk", client: client}); err != nil || a.text != "you said: on a full disk" {
					failed.Add(1)
					t.Errorf("a call failed: %v", err)
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	registered := 0
	register := func() (status int, code string) {
		var out struct{ Error struct{ Code string } }
		status, _ = g.api(http.MethodPost, "/prompts", object{"name": "full", "template": fmt.Sprintf("Version %d of {{text}}", registered+1)}, &out)
		if status == http.StatusCreated {
			registered++
		}
		return status, out.Error.Code
	}
	ballast := filepath.Join(disk, "ballast")
	dropped := int64(0)
	for round := range 3 {
		if status, _ := register(); status != http.StatusCreated {
			t.Errorf("round %d: with space, a prompt is answered with %d", round, status)
		}
		time.Sleep(300 * time.Millisecond)
		fill(t, ballast, int64(round)<<20) // to the last byte first
		full := time.Now()
		for time.Since(full) < 2500*time.Millisecond {
			if status, code := register(); status != http.StatusInsufficientStorage || code != "no_space" {
				t.Errorf("round %d: on a full disk a prompt is answered with %d %q", round, status, code)
			}
			time.Sleep(100 * time.Millisecond)
		}
		var s struct{ Traces counters }
		g.api(http.MethodGet, "/", nil, &s)
		if s.Traces.Dropped["no_space"] <= dropped {
			t.Errorf("round %d: dropped traces %v, want more for no_space", round, s.Traces.Dropped)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		freed := time.Now()
		g.eventually(15*time.Second, "changes to be possible again", func() bool { status, _ := register(); return status == http.StatusCreated })
		g.eventually(15*time.Second, "traces to be stored again", func() bool {
			before := s.Traces.Written
			g.api(http.MethodGet, "/", nil, &s)
			return s.Traces.Written > before
		})
		dropped = s.Traces.Dropped["no_space"]
		t.Logf("round %d: both stores went on %s after there was space again", round, time.Since(freed).Round(10*time.Millisecond))
	}
	stop.Store(true)
	work.Wait()
	c := g.settled()
	if c.all() != calls.Load() || c.Damaged != 0 {
		t.Errorf("%d calls, %d traces, dropped %v, damaged %d", calls.Load(), c.Written, c.Dropped, c.Damaged)
	}
	check := func(when string) {
		t.Helper()
		var v struct {
			Control struct{ Error *string }
			Traces  struct{ Traces, Damaged int64 }
		}
		if status, _ := g.api(http.MethodPost, "/store/verify", nil, &v); status != http.StatusOK || v.Control.Error != nil || v.Traces.Damaged != 0 || v.Traces.Traces != c.Written {
			t.Errorf("%s: %d %+v, %d traces were written", when, status, v, c.Written)
		}
		var p struct{ Latest int }
		if g.api(http.MethodGet, "/prompts/full", nil, &p); p.Latest != registered {
			t.Errorf("%s: %d versions, acknowledged are %d", when, p.Latest, registered)
		}
	}
	check("afterwards")
	g.kill()
	g.start(g.standard(""))
	check("started again")
	t.Logf("%d calls, %d failed; traces: %d stored, %v dropped; %d versions acknowledged", calls.Load(), failed.Load(), c.Written, c.Dropped, registered)
	g.stop()
}

// TestRolloutOnAFullDisk: what moves toward stable is in force, and stored when
// there is space again; nothing moves toward the candidate.
func TestRolloutOnAFullDisk(t *testing.T) {
	long(t)
	disk := smallDisk(t)
	p := newPilot(t)
	p.data = filepath.Join(disk, "data")
	config := p.declare(mini, "step 10% 1s min_requests 30\nstep 50% 1h\nstep 100% 1h\nguard errors margin 10%", "")
	p.start(config)
	t.Cleanup(p.kill) // before the disk is unmounted
	p.until(5*time.Second, "progressing", 10)
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast, 0)
	stop := p.traffic(4)
	defer stop()
	p.eventually(20*time.Second, "the rollout to want to go on", func() bool {
		s := p.status()
		return strings.Contains(s.Status.Reason, "could not be stored")
	})
	if s := p.status(); s.Weights["candidate"] != 10 {
		t.Errorf("it moved toward the candidate all the same: %+v", s)
	}
	if status, answer := p.verb("promote", nil); status != http.StatusInsufficientStorage {
		t.Errorf("promote: %d %v", status, answer)
	}
	p.broken.Store(true)
	if s := p.until(10*time.Second, "aborted", 0); s.Status.Persisted {
		t.Errorf("it claims to be stored: %+v", s)
	}
	stop()
	if n := p.failed.Load(); n > 0 {
		t.Errorf("%d client requests failed", n)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.eventually(15*time.Second, "the abort to be stored", func() bool { return p.status().Status.Persisted })
	p.kill()
	p.start(config)
	p.until(5*time.Second, "aborted", 0)
}

// smallDisk mounts one.
func smallDisk(t *testing.T) string {
	t.Helper()
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=900m"); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		eventually(t, 5*time.Second, "the tmpfs to be unmounted", func() bool { return unix.Unmount(disk, 0) == nil })
	})
	return disk
}

// fill takes all space of a disk but leave bytes, while others write to it.
func fill(t *testing.T, path string, leave int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it holds nothing
	for size := int64(0); ; {
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err != nil {
			t.Fatal(err)
		}
		more := int64(st.Bavail)*st.Bsize - leave
		if more <= 0 {
			return
		}
		switch err := unix.Fallocate(int(f.Fd()), 0, size, more); err {
		case nil:
			size += more
		case unix.ENOSPC, unix.EINTR:
		default:
			t.Fatal(err)
		}
	}
}
