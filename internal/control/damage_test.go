package control

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// sample makes a store with small, large and deleted records, tables of several sessions and two backups. It returns a
// copy of its files after Close, one as kill -9 would leave them, and the contents after each revision.
func sample(t *testing.T) (closed, crashed string, history map[string]uint64) {
	t.Helper()
	dir := t.TempDir()
	history = make(map[string]uint64)
	commit := func(s *Store, changes ...Change) {
		rev := mustCommit(t, s, changes...)
		history[dump(t, s)] = rev
	}
	for session := range 4 {
		s := mustOpen(t, dir)
		for i := range 12 {
			commit(s, set(fmt.Sprintf("prompt/%d", i), fmt.Sprintf("session %d: %s", session, strings.Repeat("text ", 50*i))), set("alias", fmt.Sprint(session, i)))
		}
		commit(s, Change{Key: "big", Value: bytes.Repeat([]byte{byte(session), 1, 2}, 100<<10), Expect: Any})
		commit(s, Change{Key: "prompt/3", Expect: Any})
		if session < 3 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		crashed = copyDir(t, dir)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		closed = copyDir(t, dir)
	}
	return closed, crashed, history
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput(); err != nil { //nolint:gosec // a test
		t.Skipf("cp: %v %s", err, out)
	}
	return to
}

func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != lockName {
			rel, _ := filepath.Rel(dir, path)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// openAll opens every directory in another process and returns the line it said about each.
func openAll(t *testing.T, dirs []string) []string {
	t.Helper()
	var out []string
	for len(out) < len(dirs) {
		cmd := child(t, "open", dirs[len(out):]...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.Output()
		lines := strings.SplitSeq(strings.TrimSpace(string(stdout)), "\n")
		for line := range lines {
			if !strings.HasPrefix(line, "OPENING ") && line != "END" {
				out = append(out, line)
			}
		}
		if err != nil {
			out = append(out, fmt.Sprintf("DIED %v %.2000s", err, stderr.String()))
		}
	}
	return out
}

type damage struct {
	what string
	do   func(dir string) error
}

// flip changes one bit of a file, in what is not zero at its end two times of three.
func flip(r *rand.Rand, files ...string) damage {
	var what []string
	var dos []func(string) error
	for _, file := range files {
		at, anywhere, bit := r.Uint64(), r.IntN(3) == 0, byte(1)<<r.IntN(8)
		what = append(what, fmt.Sprintf("%s (%d)", file, at))
		dos = append(dos, func(dir string) error {
			path := filepath.Join(dir, file)
			b, err := os.ReadFile(path)
			if err != nil || len(b) == 0 {
				return err
			}
			n := len(b)
			if used := len(bytes.TrimRight(b, "\x00")); !anywhere && used > 0 {
				n = used
			}
			i := at % uint64(n)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close() //nolint:errcheck // a test
			_, err = f.WriteAt([]byte{b[i] ^ bit}, int64(i))
			return err
		})
	}
	return damage{"flip " + strings.Join(what, ", "), func(dir string) error {
		for _, do := range dos {
			if err := do(dir); err != nil {
				return err
			}
		}
		return nil
	}}
}

func cut(r *rand.Rand, file string) damage {
	at := r.Float64()
	return damage{fmt.Sprintf("cut %s at %.3f", file, at), func(dir string) error {
		path := filepath.Join(dir, file)
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, int64(at*float64(info.Size())))
	}}
}

func zeroFrom(r *rand.Rand, file string) damage {
	at := r.Float64()
	return damage{fmt.Sprintf("zero %s from %.3f", file, at), func(dir string) error {
		path := filepath.Join(dir, file)
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		clear(b[int(at*float64(len(b))):])
		return os.WriteFile(path, b, 0o600)
	}}
}

func remove(file string) damage {
	return damage{"remove " + file, func(dir string) error { return os.Remove(filepath.Join(dir, file)) }}
}

// One file is damaged: nothing may be lost, whatever the file and the damage.
func TestDamageToOneFile(t *testing.T) {
	closed, crashed, history := sample(t)
	r := rand.New(rand.NewPCG(1, 2))
	flips := 220
	if testing.Short() {
		flips = 40
	}
	var want string
	var newest uint64
	for c, rev := range history {
		if rev > newest {
			want, newest = c, rev
		}
	}
	var names, dirs []string
	prepare := func(kind, from string, d damage) {
		dir := copyDir(t, from)
		if err := d.do(dir); err != nil {
			t.Fatalf("%s: %v", d.what, err)
		}
		names = append(names, kind+": "+d.what)
		dirs = append(dirs, dir)
	}
	for kind, from := range map[string]string{"closed": closed, "crashed": crashed} {
		if testing.Short() && kind == "closed" {
			continue
		}
		files := filesIn(t, from)
		for _, file := range files {
			prepare(kind, from, remove(file))
			prepare(kind, from, cut(r, file))
			prepare(kind, from, zeroFrom(r, file))
		}
		for i := range flips / 2 {
			prepare(kind, from, flip(r, files[i%len(files)]))
		}
		prepare(kind, from, damage{"remove the whole Badger directory", func(dir string) error {
			found, err := listDir(dir)
			for _, n := range found.generations {
				err = os.RemoveAll(filepath.Join(dir, generationName(n)))
			}
			return err
		}})
		prepare(kind, from, damage{"remove backups and journals", func(dir string) error {
			for _, file := range filesIn(t, dir) {
				if !strings.HasPrefix(file, "badger-") {
					_ = os.Remove(filepath.Join(dir, file))
				}
			}
			return nil
		}})
	}
	said := map[string]int{}
	for i, line := range openAll(t, dirs) {
		said[strings.Join(strings.Fields(line)[:2], " ")]++
		if line != fmt.Sprintf("OK QUIET %q", want) && line != fmt.Sprintf("OK SAID %q", want) {
			t.Errorf("%s: %.600s", names[i], line)
		}
	}
	t.Logf("%d cases: %v", len(dirs), said)
}

// Both copies are damaged. Then something may be lost, but it must be said, and what is served must have been the
// contents at some revision.
func TestDamageEverywhere(t *testing.T) {
	closed, crashed, history := sample(t)
	r := rand.New(rand.NewPCG(3, 4))
	trials := 150
	if n, err := strconv.Atoi(os.Getenv("FRONTIER_FLIPS")); err == nil {
		trials = n
	} else if testing.Short() {
		trials = 30
	}
	newest := uint64(0)
	for _, rev := range history {
		newest = max(newest, rev)
	}
	var names, dirs []string
	for i := range trials {
		from := []string{closed, crashed}[i%2]
		dir := copyDir(t, from)
		files := filesIn(t, dir)
		var d damage
		if i%3 == 0 {
			d = flip(r, files...)
		} else {
			var some []string
			for _, f := range files {
				if r.IntN(2) == 0 {
					some = append(some, f)
				}
			}
			d = flip(r, some...)
			if i%3 == 1 && len(some) > 0 {
				more := cut(r, some[0])
				one := d
				d = damage{one.what + ", " + more.what, func(dir string) error {
					if err := one.do(dir); err != nil {
						return err
					}
					return more.do(dir)
				}}
			}
		}
		if err := d.do(dir); err != nil {
			t.Fatal(err)
		}
		names, dirs = append(names, d.what), append(dirs, dir)
	}
	said := map[string]int{}
	for i, line := range openAll(t, dirs) {
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "OK":
			how, quoted, _ := strings.Cut(rest, " ")
			said[how]++
			var got string
			if _, err := fmt.Sscanf(quoted, "%q", &got); err != nil {
				t.Fatal(err)
			}
			rev, ok := history[got]
			if !ok && got != "" {
				t.Errorf("%s: contents that never were: %.300s", names[i], got)
			}
			if rev < newest && how != "LOST" {
				t.Errorf("%s: revision %d of %d served without a word", names[i], rev, newest)
			}
		case "DAMAGED":
			said[kind]++
		default:
			t.Errorf("%s: %.1000s", names[i], line)
		}
	}
	t.Logf("%d cases: %v", len(dirs), said)
}
