package optimizer

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-frontier/frontier/routing"
)

func room() error { return nil }

func openTest(t interface {
	Helper()
	Fatal(...any)
}, path string,
) (*journal, []entry) {
	t.Helper()
	j, entries, err := openJournal(path, room)
	if err != nil {
		t.Fatal(err)
	}
	return j, entries
}

// TestJournalKeepsWhatWasAcknowledged: cut anywhere, as a crash does, it holds the whole entries before the cut and goes on behind them.
func TestJournalKeepsWhatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, "journal")
		os.Remove(path)
		j, _ := openTest(t, path)
		n := rapid.IntRange(1, 8).Draw(t, "entries")
		ends := []int64{0}
		for i := range n {
			key := rapid.String().Draw(t, "key")
			if err := j.append(i%2 == 0, entry{Answered: &answeredEntry{Key: key, Reply: &routing.Reply{Text: key}, Calls: 1}}); err != nil {
				t.Fatal(err)
			}
			info, _ := os.Stat(path)
			ends = append(ends, info.Size())
		}
		j.close()
		cut := rapid.Int64Range(0, ends[n]).Draw(t, "cut")
		if err := os.Truncate(path, cut); err != nil {
			t.Fatal(err)
		}
		whole := 0
		for whole < n && ends[whole+1] <= cut {
			whole++
		}
		j, entries := openTest(t, path)
		if len(entries) != whole {
			t.Fatalf("cut at %d of %v: %d entries, want %d", cut, ends, len(entries), whole)
		}
		if err := j.append(true, entry{Asked: []string{"behind"}}); err != nil {
			t.Fatal(err)
		}
		j.close()
		j, entries = openTest(t, path)
		defer j.close()
		if len(entries) != whole+1 || entries[whole].Asked[0] != "behind" {
			t.Fatalf("after another entry: %d entries, want %d", len(entries), whole+1)
		}
	})
}

func TestJournalKeepsADamagedEndAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, _ := openTest(t, path)
	for range 3 {
		if err := j.append(true, entry{Asked: []string{"key"}}); err != nil {
			t.Fatal(err)
		}
	}
	j.close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.IndexByte(b, '\n')+20] ^= 1 // in the second entry
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	j, entries := openTest(t, path)
	j.close()
	if len(entries) != 1 {
		t.Errorf("%d entries before the damage, want 1", len(entries))
	}
	if kept, err := os.ReadFile(path + ".damaged"); err != nil || !bytes.Contains(b, kept) || len(kept) == 0 {
		t.Errorf("the damaged end is not kept: %v", err)
	}
}

func TestJournalRefusesWithoutRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, _, err := openJournal(path, func() error { return os.ErrPermission })
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if err := j.append(true, entry{Asked: []string{"key"}}); err == nil {
		t.Error("an entry was written without room for it")
	}
	if info, _ := os.Stat(path); info.Size() != 0 {
		t.Errorf("%d bytes were written", info.Size())
	}
}
