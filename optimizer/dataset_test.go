package optimizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
)

// memory is a control store in memory, with the promises that datasets rely on.
type memory struct {
	mu       sync.Mutex
	revision uint64
	records  map[string]control.Entry
	fail     error // of the next commits
	room     error // for files beside it
}

func (s *memory) Room() error { return s.room }

func newMemory() *memory { return &memory{records: map[string]control.Entry{}} }

func (s *memory) Get(key string) (control.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.records[key]
	if !ok {
		return e, fmt.Errorf("%s: %w", key, control.ErrNotFound)
	}
	return e, nil
}

func (s *memory) List(prefix string) (out []control.Entry, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range sortedKeys(s.records) {
		if strings.HasPrefix(key, prefix) {
			out = append(out, s.records[key])
		}
	}
	return out, nil
}

func (s *memory) Commit(changes ...control.Change) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	for _, c := range changes {
		if c.Expect != s.records[c.Key].Revision {
			return 0, control.ErrConflict
		}
	}
	s.revision++
	for _, c := range changes {
		delete(s.records, c.Key)
		if c.Value != nil {
			s.records[c.Key] = control.Entry{Key: c.Key, Value: bytes.Clone(c.Value), Revision: s.revision}
		}
	}
	return s.revision, nil
}

// shelf is the datasets of a test.
type shelf struct {
	*testing.T
	*Datasets
	store *memory
	dir   string
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{T: t, store: newMemory(), dir: t.TempDir()}
	s.reopen()
	return s
}

func (s *shelf) reopen() {
	s.Helper()
	d, err := NewDatasets(s.store, s.dir, zap.NewNop())
	if err != nil {
		s.Fatal(err)
	}
	s.Datasets = d
}

func (s *shelf) create(name string) {
	s.Helper()
	if _, err := s.Create(name, "", nil, DatasetChange{}); err != nil {
		s.Fatal(err)
	}
}

func (s *shelf) add(name string, records ...Record) *Appended {
	s.Helper()
	a, err := s.Append(name, records, false, DatasetChange{Actor: "ann", Reason: "more"})
	if err != nil {
		s.Fatal(err)
	}
	return a
}

// names are those of the files in the directory.
func (s *shelf) names() (out []string) {
	s.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func asks(question, answer string) Record {
	r := Record{Inputs: map[string]string{"text": question}}
	if answer != "" {
		r.Expected, _ = marshal(answer)
	}
	return r
}

func code(err error) string {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestDatasetVersions(t *testing.T) {
	s := newShelf(t)
	s.create("senti")
	first := s.add("senti", asks("good", "positive"), asks("bad", "negative"))
	if !first.Created || first.Version.Version != 1 || first.Version.Records != 2 || first.Added != 2 || first.Version.Actor != "ann" || first.Version.Reason != "more" {
		t.Errorf("got %+v", first)
	}
	second := s.add("senti", asks("so <so> & é", "neutral"))
	if second.Version.Version != 2 || second.Version.Records != 3 || second.Version.Hash == first.Version.Hash {
		t.Errorf("got %+v", second)
	}
	v, records, err := s.Load("senti", 0)
	if err != nil || v.Hash != second.Version.Hash || len(records) != 3 || records[2].Inputs["text"] != "so <so> & é" || string(records[0].Expected) != `"positive"` {
		t.Errorf("got %+v, %v, %v", v, records, err)
	}
	if v, records, err = s.Load("senti", 1); err != nil || v.Hash != first.Version.Hash || len(records) != 2 {
		t.Errorf("got %+v, %v, %v", v, records, err)
	}
	// Sent again, a part changes nothing.
	again := s.add("senti", asks("good", "positive"), asks("so <so> & é", "neutral"))
	if again.Created || again.Version.Version != 2 || again.Duplicates != 2 || again.Added != 0 {
		t.Errorf("got %+v", again)
	}
	// The same content is the same version, wherever it comes from.
	whole, err := s.Append("senti", records, true, DatasetChange{})
	if err != nil || !whole.Created || whole.Version.Version != 3 || whole.Version.Hash != first.Version.Hash {
		t.Errorf("got %+v, %v", whole, err)
	}
	if n := len(s.names()); n != 2 {
		t.Errorf("%d files", n)
	}
	s.reopen()
	one, v, err := s.Get("senti", 2)
	if err != nil || one.Latest != 3 || len(one.Versions) != 3 || v.Hash != second.Version.Hash || one.ETag == "" {
		t.Errorf("got %+v, %v, %v", one, v, err)
	}
	all, err := s.List()
	if err != nil || len(all) != 1 || all[0].Name != "senti" {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestRecordsIDs(t *testing.T) {
	s := newShelf(t)
	s.create("d")
	named := asks("x", "1")
	named.ID = "mine"
	a := s.add("d", named, asks("x", "1"), asks("x", "2"), asks("x", "2"), asks("x", "3"))
	if a.Added != 4 || a.Duplicates != 1 {
		t.Errorf("got %+v", a)
	}
	// In another order the records are the same ones.
	if a = s.add("d", asks("x", "3"), asks("x", "2"), asks("x", "1"), named); a.Added != 0 || a.Duplicates != 4 {
		t.Errorf("got %+v", a)
	}
	named.Expected = json.RawMessage(`"other"`)
	_, err := s.Append("d", []Record{asks("y", ""), named}, false, DatasetChange{})
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Field != "records.1.id" || !strings.Contains(e.Message, "replace") {
		t.Errorf("got %v", err)
	}
	if _, records, _ := s.Load("d", 0); len(records) != 4 {
		t.Errorf("%d records", len(records))
	}
}

func TestDatasetConditionsAndErrors(t *testing.T) {
	s := newShelf(t)
	s.create("d")
	for _, name := range []string{"", ".", "..", "a/b", "ü", strings.Repeat("x", 101)} {
		if _, err := s.Create(name, "", nil, DatasetChange{}); code(err) != "invalid" {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := s.Create("d", "", nil, DatasetChange{}); code(err) != "conflict" {
		t.Errorf("got %v", err)
	}
	for _, err := range []error{
		func() error {
			_, err := s.Append("nowhere", []Record{asks("x", "")}, false, DatasetChange{})
			return err
		}(),
		func() error { _, _, err := s.Load("nowhere", 0); return err }(),
		func() error { _, _, err := s.Load("d", 0); return err }(),
		func() error { _, _, err := s.Get("d", 7); return err }(),
		func() error { _, err := s.Pin("d", 7); return err }(),
		s.Delete("nowhere", DatasetChange{}),
	} {
		if code(err) != "not_found" {
			t.Errorf("got %v", err)
		}
	}
	if _, err := s.Append("d", nil, false, DatasetChange{}); code(err) != "invalid" {
		t.Errorf("got %v", err)
	}
	stale := DatasetChange{Check: func(etag string) error { return api.PreconditionFailed("now %s", etag) }}
	if _, err := s.Append("d", []Record{asks("x", "")}, false, stale); code(err) != "precondition_failed" {
		t.Errorf("got %v", err)
	}
	if err := s.Delete("d", stale); code(err) != "precondition_failed" {
		t.Errorf("got %v", err)
	}
	if n := len(s.names()); n != 0 {
		t.Errorf("%d files", n)
	}
	wrong := map[string]Record{
		"records.1:":                 {},
		"records.1.messages":         {Messages: json.RawMessage(`{"role":"user"}`)},
		"records.1.messages.0.role":  {Messages: json.RawMessage(`[{"content":"x"}]`)},
		"records.1.expected":         {Inputs: map[string]string{"a": ""}, Expected: json.RawMessage("{")},
		"records.1.weight":           {Inputs: map[string]string{"a": ""}, Weight: new(float64)},
		"records.1.id":               {Inputs: map[string]string{"a": ""}, ID: "a\nb"},
		"records.1.trace_id":         {Inputs: map[string]string{"a": ""}, Trace: strings.Repeat("x", 300)},
		"records.1.inputs.a":         {Inputs: map[string]string{"a": "\xff"}},
		"records.1: want either":     {Inputs: map[string]string{"a": ""}, Messages: json.RawMessage(`[{"role":"user"}]`)},
		"records.1.tags: the tag \"": {Inputs: map[string]string{"a": ""}, Tags: map[string]string{"": "x"}},
		"it has 8388":                asks(strings.Repeat("x", maxRecord), ""),
	}
	for want, r := range wrong {
		_, err := s.Append("d", []Record{asks("fine", ""), r}, false, DatasetChange{})
		if code(err) != "invalid" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestDatasetLimits(t *testing.T) {
	s := newShelf(t)
	s.create("d")
	records := make([]Record, maxRecords)
	for i := range records {
		records[i] = Record{ID: fmt.Sprint(i), Inputs: map[string]string{"n": fmt.Sprint(i)}}
	}
	s.add("d", records...)
	if _, err := s.Append("d", []Record{asks("one more", "")}, false, DatasetChange{}); code(err) != "invalid" || !strings.Contains(err.Error(), "100000 records") {
		t.Errorf("got %v", err)
	}
	if n := len(s.names()); n != 1 {
		t.Errorf("%d files", n)
	}
	w := fileWriter{bytes: maxDataset - 2}
	if err := w.add([]byte("12")); !errors.Is(err, errTooMuch) {
		t.Errorf("got %v", err)
	}
}

func TestOldVersionsGo(t *testing.T) {
	s := newShelf(t)
	s.create("d")
	s.add("d", asks("0", ""))
	pinned, err := s.Pin("d", 0)
	if err != nil || pinned.Version != 1 || !pinned.Pinned {
		t.Fatalf("got %+v, %v", pinned, err)
	}
	for i := range 30 {
		s.add("d", asks(fmt.Sprint(i+1), ""))
	}
	one, _, err := s.Get("d", 0)
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, v := range one.Versions {
		numbers = append(numbers, v.Version)
	}
	want := []int{1}
	for n := 12; n <= 31; n++ {
		want = append(want, n)
	}
	if !slices.Equal(numbers, want) || len(s.names()) != len(want) {
		t.Errorf("versions %v, %d files", numbers, len(s.names()))
	}
	if v, _, err := s.Load("d", 1); err != nil || v.Hash != pinned.Hash {
		t.Errorf("got %+v, %v", v, err)
	}
	if _, _, err := s.Load("d", 2); code(err) != "not_found" {
		t.Errorf("got %v", err)
	}
	m := manifest{Latest: 4}
	for n := 1; n <= 4; n++ {
		m.Versions = append(m.Versions, DatasetVersion{Version: n, Bytes: maxKept / 2})
	}
	if m.prune(); len(m.Versions) != 3 || m.Versions[0].Version != 2 {
		t.Errorf("kept %+v", m.Versions)
	}
}

func TestDeleteKeepsWhatOthersHave(t *testing.T) {
	s := newShelf(t)
	s.create("a")
	s.create("b")
	s.add("a", asks("x", "y"))
	s.add("b", asks("x", "y"))
	if n := len(s.names()); n != 1 {
		t.Errorf("%d files", n)
	}
	if err := s.Delete("a", DatasetChange{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Load("b", 0); err != nil {
		t.Error(err)
	}
	if err := s.Delete("b", DatasetChange{}); err != nil {
		t.Fatal(err)
	}
	if all, _ := s.List(); len(all) != 0 || len(s.names()) != 0 {
		t.Errorf("%d datasets, files %q", len(all), s.names())
	}
}

func TestConcurrentAppends(t *testing.T) {
	s := newShelf(t)
	s.create("d")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 4 {
				if _, err := s.Append("d", []Record{asks(fmt.Sprint(i, " ", k), "")}, false, DatasetChange{}); err != nil {
					t.Error(err)
				}
				if _, _, err := s.Load("d", 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, records, err := s.Load("d", 0); err != nil || len(records) != 32 {
		t.Errorf("%d records, %v", len(records), err)
	}
	if one, _, _ := s.Get("d", 0); one.Latest != 32 {
		t.Errorf("latest is %d", one.Latest)
	}
}

// The real control store, over a restart.
func TestDatasetsInTheControlStore(t *testing.T) {
	dir := t.TempDir()
	open := func() (*control.Store, *Datasets) {
		c, err := control.Open(filepath.Join(dir, "control"), zap.NewNop(), control.MinFree(1))
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDatasets(c, filepath.Join(dir, "datasets"), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return c, d
	}
	c, d := open()
	if _, err := d.Create("d", "about", map[string]string{"team": "a"}, DatasetChange{}); err != nil {
		t.Fatal(err)
	}
	put, err := d.Append("d", []Record{asks("x", "y")}, false, DatasetChange{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Append("d", []Record{asks("z", "y")}, false, DatasetChange{}); code(err) != "unavailable" {
		t.Errorf("got %v", err)
	}
	c, d = open()
	defer c.Close()
	if v, records, err := d.Load("d", 1); err != nil || v.Hash != put.Version.Hash || len(records) != 1 {
		t.Errorf("got %+v, %v, %v", v, records, err)
	}
	if one, _, err := d.Get("d", 0); err != nil || one.Description != "about" || one.Tags["team"] != "a" {
		t.Errorf("got %+v, %v", one, err)
	}
}
