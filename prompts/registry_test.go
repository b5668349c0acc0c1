package prompts

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
)

// Both stores must do for the registry.
func stores(t *testing.T, test func(t *testing.T, store Store)) {
	t.Run("fake", func(t *testing.T) { test(t, newFakeStore()) })
	t.Run("control", func(t *testing.T) { test(t, openControl(t, t.TempDir())) })
}

func openControl(t testing.TB, dir string) *control.Store {
	t.Helper()
	store, err := control.Open(dir, zap.NewNop(), control.MinFree(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func TestRegister(t *testing.T) {
	stores(t, func(t *testing.T, store Store) {
		r := newTestRegistry(t, store)
		r.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC) }
		draft := Draft{
			Name: "senti", Template: textOf(t, "Classify <{{text}}>"), CommitMessage: "first", Tags: map[string]string{"team": "a"}, Author: "eva",
			ResponseFormat: json.RawMessage(`{"type":"object"}`), ModelConfig: map[string]json.RawMessage{"temperature": json.RawMessage("0.0")},
		}
		v, created, err := r.Register(draft)
		if err != nil || !created {
			t.Fatal(v, created, err)
		}
		got, err := marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		want := `{"name":"senti","version":1,"uri":"prompts:/senti/1","type":"text","template":"Classify <{{text}}>","variables":["text"],"commit_message":"first","tags":{"team":"a"},"response_format":{"type":"object"},"model_config":{"temperature":0.0},"hash":"` + v.Hash + `","parent":null,"author":"eva","created_at":"2026-01-02T03:04:05.678Z","aliases":[]}`
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if again, created, err := r.Register(draft); err != nil || created || again.Version != 1 {
			t.Errorf("the same content again: %v, %v, %v", again, created, err)
		}
		draft.Template = textOf(t, "Sort <{{text}}>")
		if v, created, err := r.Register(draft); err != nil || !created || v.Version != 2 || v.Parent != 1 {
			t.Errorf("other content: %+v, %v, %v", v, created, err)
		}
		draft.Template = textOf(t, "Classify <{{text}}>")
		if v, created, err := r.Register(draft); err != nil || !created || v.Version != 3 {
			t.Errorf("content of an older version: %+v, %v, %v", v, created, err)
		}
		draft.Template, draft.Parent = textOf(t, "x <{{text}}>"), 1
		if v, _, err := r.Register(draft); err != nil || v.Parent != 1 {
			t.Errorf("got parent %+v, %v", v, err)
		}
		if v.Version != 1 || v.Template.Text() != "Classify <{{text}}>" {
			t.Error("version 1 changed")
		}
		if got := r.Current().Names(); !slices.Equal(got, []string{"senti"}) {
			t.Errorf("got %q", got)
		}
		// A new registry reads the same.
		other := newTestRegistry(t, store)
		a, _ := r.Get("senti")
		b, err := other.Get("senti")
		if err != nil {
			t.Fatal(err)
		}
		rawA, _ := marshal(answerOf(a))
		rawB, _ := marshal(answerOf(b))
		if string(rawA) != string(rawB) || a.ETag != b.ETag {
			t.Errorf("got  %s\nwant %s", rawB, rawA)
		}
	})
}

func TestRegisterRefuses(t *testing.T) {
	r := newTestRegistry(t, newFakeStore())
	fine := textOf(t, "x")
	many := map[string]string{}
	for i := range maxTags + 1 {
		many[fmt.Sprint(i)] = ""
	}
	for _, test := range []struct {
		name  string
		draft Draft
		field string
	}{
		{"no name", Draft{Template: fine}, "name"},
		{"bad name", Draft{Name: "a/b", Template: fine}, "name"},
		{"no template", Draft{Name: "a"}, "template"},
		{"commit message", Draft{Name: "a", Template: fine, CommitMessage: strings.Repeat("x", maxMessage+1)}, "commit_message"},
		{"many tags", Draft{Name: "a", Template: fine, Tags: many}, "tags"},
		{"empty tag", Draft{Name: "a", Template: fine, Tags: map[string]string{"": "x"}}, "tags"},
		{"long tag", Draft{Name: "a", Template: fine, Tags: map[string]string{"x": strings.Repeat("x", maxTag+1)}}, "tags"},
		{"response format", Draft{Name: "a", Template: fine, ResponseFormat: json.RawMessage(`"json"`)}, "response_format"},
		{"response format, junk", Draft{Name: "a", Template: fine, ResponseFormat: json.RawMessage(`{`)}, "response_format"},
		{"large response format", Draft{Name: "a", Template: fine, ResponseFormat: json.RawMessage(strings.Repeat(" ", maxExtra+1))}, "response_format"},
		{"model config", Draft{Name: "a", Template: fine, ModelConfig: map[string]json.RawMessage{"x": json.RawMessage(strings.Repeat(" ", maxExtra+1))}}, "model_config"},
		{"parent", Draft{Name: "a", Template: fine, Parent: 7}, "parent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := r.Register(test.draft)
			var e *api.Error
			if !errors.As(err, &e) || e.Status != http.StatusBadRequest || e.Field != test.field {
				t.Errorf("got %v, want one about %s", err, test.field)
			}
		})
	}
	if len(r.List()) != 0 {
		t.Error("something was registered")
	}
}

func TestAliases(t *testing.T) {
	stores(t, func(t *testing.T, store Store) {
		r := newTestRegistry(t, store)
		other := newTestRegistry(t, store) // as after a reload
		register(t, r, "s", textOf(t, "1 {{a}}"))
		register(t, r, "s", textOf(t, "2 {{a}}"))
		for alias, want := range map[string]string{"latest": "reserved", "3": "looks like", "v3": "looks like", "V10": "looks like", "a/b": "may hold", "": "empty"} {
			if _, err := r.SetAlias("s", alias, 1, Change{}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: got %v, want …%s…", alias, err, want)
			}
		}
		if _, err := r.SetAlias("s", "production", 3, Change{}); err == nil || err.Error() != "prompt s has no version 3; it has: versions 1–2" {
			t.Errorf("got %v", err)
		}
		if _, err := r.SetAlias("x", "production", 1, Change{}); err == nil || err.Error() != "there is no prompt x; there is: s" {
			t.Errorf("got %v", err)
		}
		p, err := r.SetAlias("s", "candidate", 2, Change{Actor: "eva"})
		if err != nil || p.Aliases["candidate"] != 2 {
			t.Fatal(p, err)
		}
		if _, err := r.Current().Resolve(Reference{Name: "s", Alias: "production"}); err == nil || err.Error() != "prompt s has no alias production; it has: candidate → 2; versions 1–2" {
			t.Errorf("got %v", err)
		}
		for _, r := range []*Registry{r, other} {
			v, err := r.Current().Resolve(Reference{Name: "s", Alias: "candidate"})
			if err != nil || v.Version != 2 || !slices.Equal(v.Aliases, []string{"candidate"}) {
				t.Errorf("got %+v, %v", v, err)
			}
		}
		old := other.Current()
		if _, err := other.SetAlias("s", "candidate", 1, Change{}); err != nil {
			t.Fatal(err)
		}
		if v, err := r.Current().Resolve(Reference{Name: "s", Alias: "candidate"}); err != nil || v.Version != 1 {
			t.Errorf("the other registry: got %+v, %v", v, err)
		}
		if v, _ := old.Resolve(Reference{Name: "s", Alias: "candidate"}); v.Version != 2 {
			t.Error("an old snapshot changed")
		}
		if _, err := r.DeleteAlias("s", "candidate", Change{}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.DeleteAlias("s", "candidate", Change{}); err == nil || !strings.Contains(err.Error(), "has no alias candidate") {
			t.Errorf("got %v", err)
		}
		if v, err := r.Current().Resolve(Reference{Name: "s", Alias: "latest"}); err != nil || v.Version != 2 {
			t.Errorf("got %+v, %v", v, err)
		}
		if _, err := r.Current().Resolve(Reference{Name: "s", Version: 9}); err == nil || !strings.Contains(err.Error(), "has no version 9; it has: versions 1–2") {
			t.Errorf("got %v", err)
		}
	})
}

func TestTags(t *testing.T) {
	stores(t, func(t *testing.T, store Store) {
		r := newTestRegistry(t, store)
		register(t, r, "s", textOf(t, "1 {{a}}"))
		before, _ := r.Get("s")
		one := "1"
		p, err := r.SetTags("s", 0, map[string]*string{"a": &one, "b": &one}, Change{})
		if err != nil || p.Tags["a"] != "1" || p.ETag == before.ETag {
			t.Errorf("got %+v, %v", p, err)
		}
		if p, err = r.SetTags("s", 0, map[string]*string{"a": nil}, Change{}); err != nil || len(p.Tags) != 1 {
			t.Errorf("got %+v, %v", p, err)
		}
		etag := p.ETag
		if p, err = r.SetTags("s", 1, map[string]*string{"quality": &one}, Change{}); err != nil || p.Version(1).Tags["quality"] != "1" || p.ETag == etag {
			t.Errorf("got %+v, %v", p, err)
		}
		etag = p.ETag
		if p, err = r.SetTags("s", 1, map[string]*string{"quality": &one}, Change{}); err != nil || p.ETag != etag {
			t.Errorf("the same tag again: %+v, %v", p, err)
		}
		if _, err = r.SetTags("s", 2, map[string]*string{"quality": &one}, Change{}); err == nil {
			t.Error("a version that is not there was tagged")
		}
		if _, err = r.SetTags("s", 0, map[string]*string{"": &one}, Change{}); err == nil {
			t.Error("an empty tag was accepted")
		}
	})
}

// Of concurrent registrations, through several registries, no number is lost
// or given twice, and each is in the snapshot when its call returns.
func TestConcurrentRegistrations(t *testing.T) {
	stores(t, func(t *testing.T, store Store) {
		registries := []*Registry{newTestRegistry(t, store), newTestRegistry(t, store), newTestRegistry(t, store)}
		const workers, each = 6, 8
		var wg sync.WaitGroup
		numbers := make(chan int, workers*each)
		for w := range workers {
			r := registries[w%len(registries)]
			wg.Go(func() {
				for i := range each {
					template, _ := ParseText(fmt.Sprintf("worker %d version %d {{a}}", w, i))
					v, created, err := r.Register(Draft{Name: "s", Template: template})
					if err != nil || !created {
						t.Errorf("got %v, %v", created, err)
						return
					}
					got, err := r.Current().Resolve(v.Reference())
					if err != nil || got.Template.Text() != template.Text() {
						t.Errorf("version %d is not in force: %v", v.Version, err)
					}
					if _, err := r.SetAlias("s", fmt.Sprintf("w%d-x", w), v.Version, Change{}); err != nil {
						t.Error(err)
					}
					if p, _ := r.Get("s"); p.Aliases[fmt.Sprintf("w%d-x", w)] != v.Version {
						t.Error("the alias is not in force")
					}
					numbers <- v.Version
				}
			})
		}
		wg.Wait()
		close(numbers)
		var got []int
		for n := range numbers {
			got = append(got, n)
		}
		slices.Sort(got)
		for i, n := range got {
			if n != i+1 {
				t.Fatalf("got versions %v", got)
			}
		}
		for _, r := range registries {
			if p, err := r.Get("s"); err != nil || len(p.Versions) != workers*each || p.Latest != workers*each || len(p.Aliases) != workers {
				t.Errorf("got %+v, %v", p, err)
			}
		}
	})
}

func TestSameContentConcurrently(t *testing.T) {
	store := newFakeStore()
	r := newTestRegistry(t, store)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if v, _, err := r.Register(Draft{Name: "s", Template: textOf(t, "x {{a}}")}); err != nil || v.Version != 1 {
				t.Errorf("got %+v, %v", v, err)
			}
		})
	}
	wg.Wait()
	if store.commits != 1 {
		t.Errorf("got %d commits", store.commits)
	}
}

func TestStoreErrors(t *testing.T) {
	store := newFakeStore()
	r := newTestRegistry(t, store)
	for _, test := range []struct {
		err    error
		status int
	}{
		{control.ErrNoSpace, http.StatusInsufficientStorage},
		{control.ErrConflict, http.StatusConflict},
		{control.ErrTooLarge, http.StatusBadRequest},
		{control.ErrClosed, http.StatusServiceUnavailable},
		{errors.New("disk on fire"), 0},
	} {
		store.fail = fmt.Errorf("committing: %w", test.err)
		_, _, err := r.Register(Draft{Name: "s", Template: textOf(t, "x")})
		var e *api.Error
		if errors.As(err, &e) != (test.status != 0) || e != nil && e.Status != test.status {
			t.Errorf("%v: got %v", test.err, err)
		}
		if len(r.List()) != 0 {
			t.Fatal("a failed registration is in force")
		}
	}
	store.fail = nil
	if v := register(t, r, "s", textOf(t, "x")); v.Version != 1 {
		t.Errorf("got version %d after the failures", v.Version)
	}
}

func TestDamagedRecords(t *testing.T) {
	store := newFakeStore()
	first := newTestRegistry(t, store)
	register(t, first, "good", textOf(t, "x"))
	register(t, first, "good", textOf(t, "y"))
	for _, key := range []string{versionKey("good", 1), promptKey("bad"), "prompt/a b", "prompt/good/x", versionKey("orphan", 1)} {
		value := "{"
		if strings.Contains(key, "orphan") {
			value = `{"template":"x"}`
		}
		if _, err := store.Commit(control.Change{Key: key, Value: []byte(value), Expect: control.Any}); err != nil {
			t.Fatal(err)
		}
	}
	r := newTestRegistry(t, store)
	if got := r.Current().Names(); !slices.Equal(got, []string{"good"}) {
		t.Errorf("got %q", got)
	}
	if p, err := r.Get("good"); err != nil || len(p.Versions) != 1 || p.Versions[0].Version != 2 {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestOnChange(t *testing.T) {
	r := newTestRegistry(t, newFakeStore())
	var got []string
	stop := r.OnChange(func(s *Snapshot, changed []string) {
		p, _ := s.Prompt(changed[0])
		got = append(got, fmt.Sprintf("%s %d %v", strings.Join(changed, ","), p.Latest, p.Aliases))
	})
	register(t, r, "a", textOf(t, "x"))
	register(t, r, "a", textOf(t, "x"))
	if _, err := r.SetAlias("a", "live", 1, Change{}); err != nil {
		t.Fatal(err)
	}
	stop()
	register(t, r, "a", textOf(t, "y"))
	if want := []string{"a 1 map[]", "a 1 map[live:1]"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestView(t *testing.T) {
	r := newTestRegistry(t, newFakeStore())
	register(t, r, "a", textOf(t, "Classify: {{text}}"))
	register(t, r, "b", textOf(t, "Translate: {{text}}"))
	register(t, r, "c", textOf(t, "Summarise: {{text}}"))
	register(t, r, "d", textOf(t, "Continue: {{text}}"))
	v := NewView(r, []Scope{
		{Route: "one", Prompts: []string{"a@production", "prompts:/b/1"}, Match: []string{"a", "c"}, Recognize: true},
		{Route: "two", Prompts: []string{"b", "c"}, Match: []string{"c", "b", "b"}, Recognize: true},
		{Route: "off", Prompts: []string{"a"}, Match: []string{"d"}},
	})
	defer v.Close()
	recognized := func(route, text string) string {
		p, _ := v.Recognize(chatCall(t, "user", text), route)
		return p.Name
	}
	for _, test := range []struct{ route, text, want string }{
		{"one", "Classify: x", "a"},
		{"one", "Translate: x", "b"},
		{"one", "Summarise: x", ""},
		{"two", "Summarise: x", "c"},
		{"two", "Classify: x", ""},
		{"off", "Classify: x", ""},
		{"", "Classify: x", "a"},
		{"", "Translate: x", "b"},
		{"", "Summarise: x", ""}, // of two routes
		{"", "Continue: x", ""},  // of a route with recognition off
		{"unknown", "Classify: x", ""},
	} {
		if got := recognized(test.route, test.text); got != test.want {
			t.Errorf("%q in %q: got %q, want %q", test.text, test.route, got, test.want)
		}
	}
	register(t, r, "a", textOf(t, "Sort these: {{text}}"))
	if recognized("one", "Sort these: x") != "a" || recognized("", "Sort these: x") != "a" || recognized("one", "Classify: x") != "a" {
		t.Error("the new version, or the old one, is not recognised")
	}
	register(t, r, "a", textOf(t, "Sort these: {{text}} in {{order}}"))
	text := chatCall(t, "user", "Sort these: x in y")
	if p, _ := v.Recognize(text, "one"); p.Version != 3 {
		t.Errorf("got version %d, want the newest", p.Version)
	}
	if _, err := r.SetAlias("a", "production", 2, Change{}); err != nil {
		t.Fatal(err)
	}
	if p, _ := v.Recognize(text, "one"); p.Version != 2 {
		t.Errorf("got version %d, want the bound one", p.Version)
	}
	off := "off"
	if _, err := r.SetTags("a", 0, map[string]*string{"recognize": &off}, Change{}); err != nil {
		t.Fatal(err)
	}
	if recognized("one", "Classify: x") != "" || recognized("", "Classify: x") != "" || recognized("one", "Translate: x") != "b" {
		t.Error("a prompt with recognition off is recognised, or another one is not")
	}
	v.Close()
	register(t, r, "b", textOf(t, "Verdolmetsche: {{text}}"))
	if recognized("one", "Verdolmetsche: x") != "" {
		t.Error("a closed view follows the registry")
	}
}

// Requests read while prompts change.
func TestViewConcurrently(t *testing.T) {
	r := newTestRegistry(t, newFakeStore())
	register(t, r, "a", textOf(t, "Classify: {{text}}"))
	v := NewView(r, []Scope{{Route: "one", Prompts: []string{"a"}, Match: []string{"a"}, Recognize: true}})
	defer v.Close()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if p, _ := v.Recognize(chatCall(t, "user", "Classify: x"), "one"); p.Variables["text"] != "x" {
					t.Errorf("got %+v", p)
					return
				}
			}
		})
	}
	for i := range 50 {
		register(t, r, "a", textOf(t, fmt.Sprintf("Sort %d: {{text}}", i)))
	}
	close(done)
	wg.Wait()
}
