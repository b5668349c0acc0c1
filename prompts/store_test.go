package prompts

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/control"
)

// fakeStore is a control store in memory, with the promises that the
// registry relies on: atomic commits, watchers in commit order before Commit
// returns. fail, if set, is what the next commits return.
type fakeStore struct {
	commit   sync.Mutex // held over delivery, too: order
	mu       sync.Mutex
	revision uint64
	records  map[string]control.Entry
	watchers map[int]func([]control.Entry)
	next     int
	fail     error
	commits  int
}

func newFakeStore() *fakeStore {
	return &fakeStore{records: map[string]control.Entry{}, watchers: map[int]func([]control.Entry){}}
}

func (s *fakeStore) Get(key string) (control.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.records[key]
	if !ok {
		return e, fmt.Errorf("%s: %w", key, control.ErrNotFound)
	}
	return e, nil
}

func (s *fakeStore) List(prefix string) (out []control.Entry, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, e := range s.records {
		if strings.HasPrefix(key, prefix) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b control.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

func (s *fakeStore) Commit(changes ...control.Change) (uint64, error) {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	if s.fail != nil {
		defer s.mu.Unlock()
		return 0, s.fail
	}
	for _, c := range changes {
		if c.Expect != control.Any && c.Expect != s.records[c.Key].Revision {
			s.mu.Unlock()
			return 0, fmt.Errorf("%s: %w", c.Key, control.ErrConflict)
		}
	}
	s.revision++
	s.commits++
	var entries []control.Entry
	for _, c := range changes {
		e := control.Entry{Key: c.Key, Value: bytes.Clone(c.Value), Revision: s.revision}
		if c.Value == nil {
			delete(s.records, c.Key)
		} else {
			s.records[c.Key] = e
		}
		entries = append(entries, e)
	}
	revision := s.revision
	var fns []func([]control.Entry)
	for i := range s.next {
		if fn, ok := s.watchers[i]; ok {
			fns = append(fns, fn)
		}
	}
	s.mu.Unlock()
	for _, fn := range fns {
		fn(entries)
	}
	return revision, nil
}

func (s *fakeStore) Watch(prefix string, fn func([]control.Entry)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next
	s.next++
	s.watchers[id] = func(entries []control.Entry) {
		if entries = slices.DeleteFunc(slices.Clone(entries), func(e control.Entry) bool { return !strings.HasPrefix(e.Key, prefix) }); len(entries) > 0 {
			fn(entries)
		}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, id)
	}
}

func newTestRegistry(t testing.TB, store Store) *Registry {
	t.Helper()
	r, err := NewRegistry(store, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// textOf and chatOf parse a template or end the test. A chat is given as role, content, role, content …
func textOf(t testing.TB, source string) Template {
	t.Helper()
	out, err := ParseText(source)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func chatOf(t testing.TB, pairs ...string) Template {
	t.Helper()
	out, err := ParseChat(messagesOf(pairs...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func messagesOf(pairs ...string) (out []Message) {
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, Message{pairs[i], pairs[i+1]})
	}
	return out
}

// versionOf makes a version outside of any registry.
func versionOf(name string, number int, t Template) *Version {
	v := &Version{Name: name, Version: number, Template: t}
	v.complete()
	return v
}

func register(t testing.TB, r *Registry, name string, template Template) *Version {
	t.Helper()
	v, _, err := r.Register(Draft{Name: name, Template: template})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// chatCall makes a call of role, content pairs.
func chatCall(t testing.TB, pairs ...string) *call.Call {
	t.Helper()
	raw, err := marshal(messagesOf(pairs...))
	if err != nil {
		t.Fatal(err)
	}
	return rawCall(t, string(raw))
}

// rawCall makes a call of the JSON of its messages.
func rawCall(t testing.TB, messages string) *call.Call {
	t.Helper()
	c, err := parseMessages([]byte(messages))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func matcherOf(versions ...*Version) *matcher {
	return newMatcher(versions, func(*Version) bool { return false })
}
