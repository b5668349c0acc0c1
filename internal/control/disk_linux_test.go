package control

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { childJobs["full"] = childFull }

func TestNoRights(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("as root every directory can be written: trying only a read-only mount")
	} else {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(filepath.Join(dir, "x"), nil); !errors.Is(err, ErrReadOnly) {
			t.Errorf("got %v, want ErrReadOnly", err)
		}
	}
	dir := tmpfs(t, 64<<20)
	s := mustOpen(t, dir, MinFree(0))
	mustCommit(t, s, set("a", "b"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skip(err)
	}
	_, err := Open(dir, nil, MinFree(0))
	if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("got %v, want ErrReadOnly", err)
	}
	t.Log(err)
}

func tmpfs(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		for range 50 {
			if unix.Unmount(dir, 0) == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%s stays mounted", dir)
	})
	return dir
}

// Another process fills the disk between the check and the write. The check is what the test makes of it: it says that
// there is space, and then takes all of it away.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("fills file systems")
	}
	dir := tmpfs(t, 96<<20)
	cmd := child(t, "full", dir)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", lastLines(string(out), 12))
	if err != nil {
		t.Fatalf("the process died: %v", err)
	}
	if !strings.Contains(string(out), "SURVIVED") {
		t.Error("not finished")
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// childFull fills the disk at free-space checks chosen at random and frees it later, while it commits, opens and closes.
func childFull() {
	base := os.Args[1]
	dir := filepath.Join(base, "store")
	ballast := filepath.Join(base, "ballast")
	r := rand.New(rand.NewPCG(7, 8))
	var mu sync.Mutex // the background backup checks too
	filling, fills := false, 0
	fill := func(on bool) {
		mu.Lock()
		defer mu.Unlock()
		filling = on
	}
	check := func(string) (uint64, error) {
		mu.Lock()
		defer mu.Unlock()
		if !filling || r.IntN(4) > 0 {
			return 1 << 40, nil
		}
		f, err := os.OpenFile(ballast, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return 0, err
		}
		defer f.Close() //nolint:errcheck // a test
		info, _ := f.Stat()
		var st unix.Statfs_t
		_ = unix.Statfs(base, &st)
		if st.Bavail > 0 && unix.Fallocate(int(f.Fd()), 0, info.Size(), int64(st.Bavail)*st.Bsize) == nil {
			fills++
		}
		return 1 << 40, nil // a lie: the check was made a moment too early
	}
	fail := func(args ...any) {
		fmt.Println(args...)
		os.Exit(1)
	}
	open := func() (*Store, error) {
		return Open(dir, nil, func(o *options) { o.free = check; o.debounce = time.Millisecond })
	}
	s, err := open()
	if err != nil {
		fail(err)
	}
	counts := map[string]int{}
	count := func(what string, err error) {
		switch {
		case err == nil:
			counts[what+" done"]++
		case errors.Is(err, ErrNoSpace):
			counts[what+" refused"]++
		default:
			fail(what, err)
		}
	}
	acknowledged := 0
	value := strings.Repeat("x", 60<<10)
	generations := 0
	for round := range 150 {
		for i := range 20 {
			fill(true)
			_, err := s.Commit(set("n", fmt.Sprint(acknowledged+1)), set(fmt.Sprint("k", i), value))
			fill(false)
			count("commit", err)
			if err == nil {
				acknowledged++
			}
			if i%3 == 0 {
				_ = os.Remove(ballast)
			}
		}
		if round%10 == 9 { // restart; Badger is closed with space, since a flush without is fatal, and opened without
			_ = os.Remove(ballast)
			generations = max(generations, s.engineNumber())
			if err := s.Close(); err != nil {
				fail("close:", err)
			}
			for {
				fill(true)
				s, err = open()
				fill(false)
				count("open", err)
				if err == nil {
					break
				}
				_ = os.Remove(ballast)
			}
		}
		_ = os.Remove(ballast)
		if _, err := s.Commit(set("n", fmt.Sprint(acknowledged+1))); err != nil {
			fail("round", round, "with space again:", err)
		}
		acknowledged++
	}
	fmt.Printf("%d fills, %d acknowledged, %d generations, outcomes: %v\n", fills, acknowledged, generations, counts)
	if err := s.Verify(); err != nil {
		fail(err)
	}
	if err := s.Close(); err != nil {
		fail(err)
	}
	s, err = Open(dir, nil, MinFree(0))
	if err != nil {
		fail(err)
	}
	e, _ := s.Get("n")
	fmt.Printf("reopened: n is %s of %d\n", e.Value, acknowledged)
	if string(e.Value) != fmt.Sprint(acknowledged) {
		fail("lost")
	}
	_ = s.Close()
	fmt.Println("SURVIVED")
}

func (s *Store) engineNumber() int {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.engine == nil {
		return 0
	}
	return s.engine.number
}
