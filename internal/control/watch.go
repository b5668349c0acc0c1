package control

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// watchers calls the functions of Watch in commit order. A commit takes its place in the queue while it still holds the
// store's commit lock, and waits for its turn after it has let go of it.
type watchers struct {
	mu   sync.Mutex
	fns  map[int]watcher
	next int
	last *delivery
}

type watcher struct {
	prefix string
	fn     func([]Entry)
}

// delivery is one commit's place in the queue.
type delivery struct {
	entries []Entry
	before  <-chan struct{} // closed when the delivery before this one is over
	done    chan struct{}
}

// Watch has fn called after each successful commit that changes a record whose key begins with prefix, with the changed
// entries; Value is nil where a record was deleted. The calls come in commit order, one after the other, and before the
// Commit that caused them returns. fn may read the store, and must not modify the values it is given. It must not call
// Commit, which would wait for fn to return; nor may a caller of Commit hold a lock that fn takes.
//
// After stop has returned, no new call of fn begins.
func (s *Store) Watch(prefix string, fn func([]Entry)) (stop func()) {
	w := &s.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fns == nil {
		w.fns = make(map[int]watcher)
	}
	id := w.next
	w.next++
	w.fns[id] = watcher{prefix: prefix, fn: fn}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.fns, id)
	}
}

func (w *watchers) enqueue(entries []Entry) *delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := &delivery{entries: entries, done: make(chan struct{})}
	if w.last != nil {
		d.before = w.last.done
	}
	w.last = d
	return d
}

func (w *watchers) deliver(d *delivery) {
	if d == nil {
		return
	}
	defer close(d.done) // also when fn panics: the commits behind it must not wait for ever
	if d.before != nil {
		<-d.before
	}
	w.mu.Lock()
	ids := slices.Sorted(maps.Keys(w.fns))
	w.mu.Unlock()
	for _, id := range ids {
		w.mu.Lock()
		one, ok := w.fns[id]
		w.mu.Unlock()
		if !ok {
			continue
		}
		var touched []Entry
		for _, e := range d.entries {
			if strings.HasPrefix(e.Key, one.prefix) {
				touched = append(touched, e)
			}
		}
		if len(touched) > 0 {
			one.fn(touched)
		}
	}
}
