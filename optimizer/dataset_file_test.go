package optimizer

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-frontier/frontier/internal/control"
)

// What a crash leaves half written is nobody's.
func TestCrash(t *testing.T) {
	s := newShelf(t)
	s.create("d")
	s.add("d", asks("x", "y"))
	if err := os.WriteFile(filepath.Join(s.dir, "1234"+tempSuffix), []byte(`{"id":"ha`), 0o600); err != nil {
		t.Fatal(err)
	}
	// A version whose file was written, but which the control store does not know.
	w, err := s.files.write()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.add([]byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.commit(); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	if _, records, err := s.Load("d", 0); err != nil || len(records) != 1 {
		t.Errorf("%d records, %v", len(records), err)
	}
	if names := s.names(); len(names) != 2 || slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, tempSuffix) }) {
		t.Errorf("files %q", names)
	}
}

func TestDamageIsNeverSilent(t *testing.T) {
	for name, spoil := range map[string]func(path string, b []byte) error{
		"missing":      func(path string, _ []byte) error { return os.Remove(path) },
		"empty":        func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
		"cut":          func(path string, b []byte) error { return os.WriteFile(path, b[:len(b)/2], 0o600) },
		"a line short": func(path string, b []byte) error { return os.WriteFile(path, b[:bytes.IndexByte(b, '\n')+1], 0o600) },
		"a byte": func(path string, b []byte) error {
			b[bytes.IndexByte(b, 'x')] = 'z'
			return os.WriteFile(path, b, 0o600)
		},
		"junk": func(path string, _ []byte) error { return os.WriteFile(path, []byte("junk\n"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			s.create("d")
			hash := s.add("d", asks("x", "y"), asks("a", "b")).Version.Hash
			path := filepath.Join(s.dir, hash+fileSuffix)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(path, b); err != nil {
				t.Fatal(err)
			}
			_, records, err := s.Load("d", 0)
			if !errors.Is(err, errDamaged) || records != nil || !strings.Contains(err.Error(), "dataset d, version 1") {
				t.Errorf("got %v, %v", records, err)
			}
			if err := s.Export(new(bytes.Buffer), "d", 0, FormatCSV); !errors.Is(err, errDamaged) {
				t.Errorf("got %v", err)
			}
			if _, err := s.Append("d", []Record{asks("c", "d")}, false, DatasetChange{}); !errors.Is(err, errDamaged) {
				t.Errorf("got %v", err)
			}
			// What is sent whole mends it.
			if _, err := s.Append("d", []Record{asks("x", "y"), asks("a", "b")}, true, DatasetChange{}); err != nil {
				t.Error(err)
			}
			if _, _, err := s.Load("d", 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// fullDisk is a file on a disk that is full: of what is written there is room for so much.
type fullDisk struct {
	*os.File
	room int
	sync bool // the lack of it shows only then
}

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return f.File.Write(p)
}

func (f *fullDisk) Sync() error {
	if f.sync {
		return syscall.ENOSPC
	}
	return f.File.Sync()
}

func TestFullDisk(t *testing.T) {
	s := newShelf(t)
	s.create("d")
	s.add("d", asks("x", "y"))
	before := s.names()
	open := s.files.create
	for name, disk := range map[string]fullDisk{"write": {}, "sync": {room: 1 << 20, sync: true}} {
		s.files.create = func(dir string) (file, error) {
			f, err := os.CreateTemp(dir, "*"+tempSuffix)
			return &fullDisk{f, disk.room, disk.sync}, err
		}
		if _, err := s.Append("d", []Record{asks("a", "b")}, false, DatasetChange{}); code(err) != "no_space" || strings.Contains(err.Error(), s.dir) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	s.files.create = open
	s.store.fail = control.ErrNoSpace
	if _, err := s.Append("d", []Record{asks("a", "b")}, false, DatasetChange{}); code(err) != "no_space" {
		t.Errorf("got %v", err)
	}
	s.store.fail, s.store.room = nil, control.ErrNoSpace
	if _, err := s.Append("d", []Record{asks("a", "b")}, false, DatasetChange{}); code(err) != "no_space" {
		t.Errorf("got %v", err)
	}
	s.store.room = nil
	if one, _, _ := s.Get("d", 0); one.Latest != 1 || !slices.Equal(s.names(), before) {
		t.Errorf("latest %d, files %q", one.Latest, s.names())
	}
	s.add("d", asks("a", "b"))
}
