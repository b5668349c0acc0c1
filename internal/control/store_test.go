package control

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

func mustOpen(t testing.TB, dir string, opts ...Option) *Store {
	t.Helper()
	s, err := Open(dir, zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel)), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func mustCommit(t testing.TB, s *Store, changes ...Change) uint64 {
	t.Helper()
	rev, err := s.Commit(changes...)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func set(key, value string) Change { return Change{Key: key, Value: []byte(value), Expect: Any} }

func dump(t testing.TB, s *Store) string {
	t.Helper()
	entries, err := s.List("")
	if err != nil {
		t.Fatal(err)
	}
	return contents(entries)
}

func contents(entries []Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s@%d=%x\n", e.Key, e.Revision, recordHash(e.Key, item{value: e.Value, rev: e.Revision}))
	}
	return b.String()
}

func TestCompareAndSwap(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	first := mustCommit(t, s, Change{Key: "a", Value: []byte("1")})
	if first != 1 {
		t.Fatalf("first revision %d, want 1", first)
	}
	for name, tc := range map[string]struct {
		changes []Change
		want    error
	}{
		"exists":           {[]Change{{Key: "a", Value: []byte("x"), Expect: 0}}, ErrConflict},
		"other revision":   {[]Change{{Key: "a", Value: []byte("x"), Expect: 7}}, ErrConflict},
		"no such record":   {[]Change{{Key: "b", Value: []byte("x"), Expect: 1}}, ErrConflict},
		"second of two":    {[]Change{set("c", "x"), {Key: "a", Value: []byte("x"), Expect: 9}}, ErrConflict},
		"delete, stale":    {[]Change{{Key: "a", Expect: 9}}, ErrConflict},
		"key too long":     {[]Change{set(strings.Repeat("k", MaxKey+1), "x")}, ErrTooLarge},
		"value too large":  {[]Change{{Key: "v", Value: make([]byte, MaxValue+1), Expect: Any}}, ErrTooLarge},
		"too many changes": {make([]Change, MaxChanges+1), ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.Commit(tc.changes...); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	for name, changes := range map[string][]Change{"empty key": {set("", "x")}, "twice": {set("d", "x"), set("d", "y")}} {
		if _, err := s.Commit(changes...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := dump(t, s); strings.Count(got, "\n") != 1 || s.Revision() != 1 {
		t.Fatalf("refused commits left traces: revision %d, %s", s.Revision(), got)
	}
	second := mustCommit(t, s, Change{Key: "a", Value: []byte("2"), Expect: first}, Change{Key: "b", Value: []byte{}})
	if e, err := s.Get("a"); err != nil || string(e.Value) != "2" || e.Revision != second {
		t.Errorf("got %v %v", e, err)
	}
	if e, err := s.Get("b"); err != nil || e.Value == nil || len(e.Value) != 0 {
		t.Errorf("empty value: got %v %v", e, err)
	}
	mustCommit(t, s, Change{Key: "a", Expect: second})
	if _, err := s.Get("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if rev, err := s.Commit(); err != nil || rev != 3 {
		t.Errorf("empty commit: %d %v, want 3", rev, err)
	}
}

func TestValuesAreCopies(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	value := []byte("before")
	mustCommit(t, s, Change{Key: "k", Value: value})
	value[0] = 'X'
	e, _ := s.Get("k")
	e.Value[1] = 'X'
	list, _ := s.List("")
	list[0].Value[2] = 'X'
	if e, _ := s.Get("k"); string(e.Value) != "before" {
		t.Errorf("got %q", e.Value)
	}
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
}

func TestList(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	for _, key := range []string{"b/2", "a", "b/10", "c", "b/1", "b"} {
		mustCommit(t, s, set(key, key))
		if _, err := s.List("b"); err != nil { // keeps the sorted keys warm, so that commits must maintain them
			t.Fatal(err)
		}
	}
	mustCommit(t, s, Change{Key: "b/2", Expect: Any}, Change{Key: "zz", Expect: Any})
	keys := func(prefix string) string {
		list, err := s.List(prefix)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, e := range list {
			keys = append(keys, e.Key)
		}
		return strings.Join(keys, " ")
	}
	for prefix, want := range map[string]string{"b/": "b/1 b/10", "b": "b b/1 b/10", "": "a b b/1 b/10 c", "x": ""} {
		if got := keys(prefix); got != want {
			t.Errorf("List(%q): got %q, want %q", prefix, got, want)
		}
	}
}

func TestWatch(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	var got []string
	stop := s.Watch("p/", func(entries []Entry) {
		for _, e := range entries {
			if _, err := s.List("p/"); err != nil { // reading inside is allowed
				t.Error(err)
			}
			got = append(got, fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Revision))
		}
	})
	mustCommit(t, s, set("p/1", "a"), set("q/1", "b"))
	mustCommit(t, s, set("q/2", "b"))
	if _, err := s.Commit(Change{Key: "p/1", Value: []byte("x"), Expect: 99}); err == nil {
		t.Error("no conflict")
	}
	mustCommit(t, s, Change{Key: "p/1", Expect: Any})
	stop()
	stop()
	mustCommit(t, s, set("p/2", "c"))
	if want := []string{"p/1=a@1", "p/1=@3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestConcurrentCommits(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	const writers, each = 8, 25
	var seen []uint64 // written by watchers only, which run one after the other
	s.Watch("", func(entries []Entry) { seen = append(seen, entries[0].Revision) })
	var conflicts atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				e, err := s.Get("n")
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
					return
				}
				_, err = s.Commit(Change{Key: "n", Value: append(e.Value, 'x'), Expect: e.Revision})
				switch {
				case errors.Is(err, ErrConflict):
					conflicts.Add(1)
				case err != nil:
					t.Error(err)
					return
				default:
					done++
				}
				_, _ = s.List("")
			}
		})
	}
	wg.Wait()
	e, err := s.Get("n")
	if err != nil || len(e.Value) != writers*each || e.Revision != writers*each {
		t.Errorf("%d increments arrived, revision %d, want %d (%v)", len(e.Value), e.Revision, writers*each, err)
	}
	if len(seen) != writers*each || !slices.IsSorted(seen) {
		t.Errorf("watcher saw %d commits in order %v", len(seen), slices.IsSorted(seen))
	}
	t.Logf("%d conflicts", conflicts.Load())
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	big := bytes.Repeat([]byte("0123456789abcdef"), 40<<10) // 640 KiB: in parts
	var want string
	for round := range 10 {
		s := mustOpen(t, dir)
		if round > 0 {
			if got := dump(t, s); got != want {
				t.Fatalf("round %d: got\n%swant\n%s", round, got, want)
			}
		}
		if err := s.Verify(); err != nil {
			t.Fatal(err)
		}
		mustCommit(t, s, set(fmt.Sprintf("k/%d", round), "v"), set("last", fmt.Sprint(round)))
		mustCommit(t, s, Change{Key: "big", Value: big[:len(big)-round], Expect: Any})
		if round == 6 {
			mustCommit(t, s, Change{Key: "k/3", Expect: Any})
		}
		if err := s.Verify(); err != nil {
			t.Fatal(err)
		}
		want = dump(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if e := damagedDirs(t, dir); len(e) > 0 {
		t.Errorf("healthy files were moved aside: %q", e)
	}
}

func damagedDirs(t testing.TB, dir string) []string {
	t.Helper()
	files, err := listDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files.damaged
}

// Commits many times the memtable, so that generations replace each other.
func TestGenerations(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	value := make([]byte, 40<<10)
	for i := range 300 {
		for at := range value {
			value[at] = byte(i * at)
		}
		mustCommit(t, s, Change{Key: fmt.Sprintf("k/%d", i%7), Value: value, Expect: Any})
	}
	huge := MaxValue
	if testing.Short() {
		huge = 4 << 20
	}
	mustCommit(t, s, Change{Key: "huge", Value: make([]byte, huge), Expect: Any})
	var many []Change
	for i := range MaxChanges {
		many = append(many, Change{Key: fmt.Sprintf("many/%04d/%s", i, strings.Repeat("x", 200)), Value: value[:500], Expect: Any})
	}
	mustCommit(t, s, many...)
	if s.engine.number < 3 {
		t.Errorf("generation %d, want several", s.engine.number)
	}
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
	want := dump(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := listDir(dir)
	if len(files.generations) != 1 {
		t.Errorf("generations left: %v", files.generations)
	}
	s = mustOpen(t, dir)
	if got := dump(t, s); got != want {
		t.Error("other contents after reopening")
	}
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
}

func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	mustCommit(t, s, set("a", "1"), set("b", "2"))
	file := filepath.Join(t.TempDir(), "mine")
	if err := s.Backup(file); err != nil {
		t.Fatal(err)
	}
	want := dump(t, s)
	mustCommit(t, s, set("a", "later"))
	if err := Restore(dir, file); !errors.Is(err, ErrLocked) {
		t.Errorf("restoring an open store: got %v, want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{dir, filepath.Join(t.TempDir(), "elsewhere")} {
		if err := Restore(to, file); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, to)
		if got := dump(t, s); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := damagedDirs(t, to); len(got) != 0 {
			t.Errorf("moved aside: %v", got)
		}
	}
	raw, _ := os.ReadFile(file)
	raw[len(raw)/2] ^= 1
	_ = os.WriteFile(file, raw, 0o600)
	if err := Restore(dir, file); err == nil {
		t.Error("restored from a damaged backup")
	}
}

// The backup in the directory follows the commits, and two are kept.
func TestOwnBackups(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, func(o *options) { o.debounce = time.Millisecond })
	for i := range 5 {
		rev := mustCommit(t, s, set("k", fmt.Sprint(i)))
		for deadline := time.Now().Add(10 * time.Second); !exists(filepath.Join(dir, backupName(rev))); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("no backup of revision %d", rev)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := listDir(dir)
	if len(files.backups) != 2 || len(files.journals) > 2 {
		t.Errorf("kept backups %v, journals %v", files.backups, files.journals)
	}
}

func TestClosed(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	mustCommit(t, s, set("a", "1"))
	var wg sync.WaitGroup
	for range 4 { // readers and writers meet the close
		wg.Go(func() {
			for {
				_, err := s.Commit(set("a", "2"))
				if _, e := s.List(""); err == nil && e != nil && !errors.Is(e, ErrClosed) {
					t.Error(e)
				}
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	_, get := s.Get("a")
	_, list := s.List("")
	_, commit := s.Commit(set("a", "3"))
	for name, err := range map[string]error{"get": get, "list": list, "commit": commit, "verify": s.Verify(), "backup": s.Backup(filepath.Join(t.TempDir(), "b"))} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: got %v, want ErrClosed", name, err)
		}
	}
	s.Watch("", func([]Entry) {})()
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	start := time.Now()
	_, err := Open(dir, nil, func(o *options) { o.lockWait = 100 * time.Millisecond })
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "caddy reload") {
		t.Errorf("got %v, want ErrLocked and what to do", err)
	}
	t.Logf("%v: %v", time.Since(start), err)
	// The old holder lets go while the new one waits.
	time.AfterFunc(200*time.Millisecond, func() { _ = s.Close() })
	mustOpen(t, dir)
}

func TestIdleHeap(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := mustOpen(t, t.TempDir())
	for i := range 100 {
		mustCommit(t, s, set(fmt.Sprint(i), strings.Repeat("x", 1000)))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("heap of an open store: %.1f MiB", float64(used)/(1<<20))
	if used > 12<<20 {
		t.Errorf("%d bytes, want at most 12 MiB", used)
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{200, 2000, 50000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, err := Open(b.TempDir(), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close() //nolint:errcheck // a benchmark
			value := make([]byte, size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Commit(Change{Key: "k", Value: value, Expect: Any}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s, err := Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // a benchmark
	if _, err := s.Commit(set("k", strings.Repeat("x", 1000))); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get("k"); err != nil {
			b.Fatal(err)
		}
	}
}
