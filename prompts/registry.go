package prompts

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
)

// Store is what the registry needs of the control store.
type Store interface {
	Get(key string) (control.Entry, error)
	List(prefix string) ([]control.Entry, error)
	Commit(changes ...control.Change) (uint64, error)
	Watch(prefix string, fn func([]control.Entry)) (stop func())
}

// Registry is the prompts of a control store. Changes are written to the
// store by compare-and-swap, and reach the snapshot by its watch before the
// change returns: they are in force for the next request. Several registries
// may stand on one store, as after a reload, and see each other's changes.
// Requests read the snapshot and nothing else.
type Registry struct {
	store   Store
	log     *zap.Logger
	now     func() time.Time
	stop    func()
	current atomic.Pointer[Snapshot]

	writing sync.Mutex // spares changes of this process the retries; never taken by watched

	mu       sync.Mutex // of what watched changes
	prompts  map[string]*stored
	watchers map[int]func(*Snapshot, []string)
	next     int
}

// NewRegistry reads the store's prompts. A record that cannot be read is
// logged and left out. Close gives back what it holds.
func NewRegistry(store Store, log *zap.Logger) (*Registry, error) {
	r := &Registry{store: store, log: log, now: time.Now, prompts: map[string]*stored{}, watchers: map[int]func(*Snapshot, []string){}}
	r.current.Store(&Snapshot{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop = store.Watch(keyPrefix, r.watched) // waits for mu
	entries, err := store.List(keyPrefix)
	if err != nil {
		r.stop()
		return nil, fmt.Errorf("reading the prompts: %w", err)
	}
	r.publish(entries)
	return r, nil
}

// Close ends the watch of the store. The last snapshot stays.
func (r *Registry) Close() { r.stop() }

// Current returns the registry as it is now.
func (r *Registry) Current() *Snapshot { return r.current.Load() }

// Get returns the prompt of that name.
func (r *Registry) Get(name string) (*Prompt, error) {
	p, ok := r.Current().Prompt(name)
	if !ok {
		return nil, api.NotFound("there is no prompt %s; %s", excerpt(name), r.Current().nearest(name))
	}
	return p, nil
}

// List returns all prompts, sorted by name.
func (r *Registry) List() []*Prompt {
	s := r.Current()
	out := make([]*Prompt, len(s.names))
	for i, name := range s.names {
		out[i] = s.prompts[name]
	}
	return out
}

// OnChange has fn called after each change with the new snapshot and the names
// of the prompts that changed, before the change returns to whom made it. fn
// must not change prompts, nor commit anything else to the store.
func (r *Registry) OnChange(fn func(s *Snapshot, changed []string)) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.next
	r.next++
	r.watchers[id] = fn
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, id)
	}
}

// Draft is a version to be registered.
type Draft struct {
	Name           string
	Template       Template
	CommitMessage  string
	Tags           map[string]string // of the version
	ResponseFormat json.RawMessage
	ModelConfig    map[string]json.RawMessage
	Author         string
	Parent         int // the version it was made from; 0: the latest
}

// Hash is the content hash of the version that the draft would become.
func (d *Draft) Hash() (string, error) {
	if err := d.check(); err != nil {
		return "", err
	}
	return contentHash(&d.Template, d.ResponseFormat, d.ModelConfig)
}

// Change says who makes a change, why, and on which condition.
type Change struct {
	Actor, Reason string
	// Check, if not nil, is given the prompt's ETag ("" when there is no
	// such prompt) and refuses the change by an error. Nothing can come
	// between the check and the change.
	Check func(etag string) error
}

// Register adds the draft as the next version of its prompt, and the prompt
// when there is none. When the latest version has the same template, response
// format and model config already, that version is returned, nothing changes,
// and created is false. Of concurrent registrations each gets its own number.
func (r *Registry) Register(d Draft) (v *Version, created bool, err error) {
	return r.RegisterIf(d, Change{Actor: d.Author})
}

// RegisterIf is Register on a condition.
func (r *Registry) RegisterIf(d Draft, c Change) (v *Version, created bool, err error) {
	hash, err := d.Hash()
	if err != nil {
		return nil, false, err
	}
	var number int
	err = r.change(d.Name, c, true, func(p *editing) ([]control.Change, error) {
		created = false
		last, _, err := p.version(p.record.Latest)
		if err != nil {
			return nil, err
		}
		if last != nil && last.Hash == hash {
			number = p.record.Latest
			return nil, nil
		}
		parent := d.Parent
		if parent == 0 {
			parent = p.record.Latest
		} else if v, _, err := p.version(parent); v == nil {
			return nil, cmp.Or(err, error(api.Invalid("parent", "prompt %s has no version %d; it has: %s", d.Name, parent, p.inventory())))
		}
		if p.record.Latest >= maxVersion {
			return nil, api.Conflict("prompt %s has %d versions; it can have no more", d.Name, maxVersion)
		}
		created = true
		p.record.Latest++
		number = p.record.Latest
		record := versionRecord{
			Template: d.Template, CommitMessage: d.CommitMessage, Tags: d.Tags, ResponseFormat: d.ResponseFormat,
			ModelConfig: d.ModelConfig, Hash: hash, Parent: parent, Author: d.Author, CreatedAt: r.now().UTC().Truncate(time.Millisecond),
		}
		return put(nil, versionKey(d.Name, number), 0, record)
	})
	if err != nil {
		return nil, false, err
	}
	ref := Reference{Name: d.Name, Version: number}
	if v, err = r.Current().Resolve(ref); err != nil {
		// Registered this moment through another registry, whose change has not reached us yet.
		if err := r.refresh(d.Name); err != nil {
			return nil, false, err
		}
		v, err = r.Current().Resolve(ref)
	}
	if err == nil && created {
		r.log.Info("prompt registered", zap.String("prompt", d.Name), zap.Int("version", number), zap.String("actor", c.Actor),
			zap.String("reason", c.Reason), zap.String("unrecognizable", v.unrecognizable))
	}
	return v, created, err
}

// SetAlias lets the alias of the prompt point to the version.
func (r *Registry) SetAlias(name, alias string, version int, c Change) (*Prompt, error) {
	if err := checkAlias(alias); err != nil {
		return nil, err
	}
	from := 0
	p, err := r.edit(name, c, func(p *editing) ([]control.Change, error) {
		if v, _, err := p.version(version); v == nil {
			return nil, cmp.Or(err, error(api.Invalid("version", "prompt %s has no version %d; it has: %s", name, version, p.inventory())))
		}
		from = p.record.Aliases[alias]
		p.record.Aliases[alias] = version
		return nil, nil
	})
	if err == nil {
		r.log.Info("prompt alias set", zap.String("prompt", name), zap.String("alias", alias), zap.Int("from", from),
			zap.Int("to", version), zap.String("actor", c.Actor), zap.String("reason", c.Reason))
	}
	return p, err
}

// DeleteAlias removes the alias from the prompt.
func (r *Registry) DeleteAlias(name, alias string, c Change) (*Prompt, error) {
	from := 0
	p, err := r.edit(name, c, func(p *editing) ([]control.Change, error) {
		var ok bool
		if from, ok = p.record.Aliases[alias]; !ok {
			return nil, api.NotFound("prompt %s has no alias %s; it has: %s", name, excerpt(alias), p.inventory())
		}
		delete(p.record.Aliases, alias)
		return nil, nil
	})
	if err == nil {
		r.log.Info("prompt alias deleted", zap.String("prompt", name), zap.String("alias", alias), zap.Int("from", from),
			zap.String("actor", c.Actor), zap.String("reason", c.Reason))
	}
	return p, err
}

// SetTags changes tags of the prompt, or of its version when that is not 0. A
// nil value deletes the tag.
//
// The prompt's tag "recognize" with the value "off" exempts it from
// recognition everywhere; it can still be named.
func (r *Registry) SetTags(name string, version int, tags map[string]*string, c Change) (*Prompt, error) {
	for key, value := range tags {
		if value == nil {
			value = new(string)
		}
		if err := checkTag(key, *value); err != nil {
			return nil, err
		}
	}
	return r.edit(name, c, func(p *editing) ([]control.Change, error) {
		if version == 0 {
			var err error
			p.record.Tags, err = retag(p.record.Tags, tags)
			return nil, err
		}
		v, revision, err := p.version(version)
		if v == nil {
			return nil, cmp.Or(err, error(api.NotFound("prompt %s has no version %d; it has: %s", name, version, p.inventory())))
		}
		before := v.Tags
		if v.Tags, err = retag(before, tags); err != nil || maps.Equal(before, v.Tags) {
			return nil, err
		}
		return put(nil, versionKey(name, version), revision, v)
	})
}

func retag(old map[string]string, tags map[string]*string) (map[string]string, error) {
	out := maps.Clone(old)
	if out == nil {
		out = map[string]string{}
	}
	for key, value := range tags {
		if value == nil {
			delete(out, key)
			continue
		}
		out[key] = *value
	}
	if len(out) > maxTags {
		return nil, api.Invalid("tags", "there would be %d tags; the limit is %d", len(out), maxTags)
	}
	return out, nil
}

// edit changes a prompt that exists.
func (r *Registry) edit(name string, c Change, fn func(*editing) ([]control.Change, error)) (*Prompt, error) {
	if err := r.change(name, c, false, fn); err != nil {
		return nil, err
	}
	return r.Get(name)
}

// change commits what fn makes of the prompt's records, and does it again when
// they were changed meanwhile. fn may write to the record it is given, which
// is always written with the changes that fn returns, so that the prompt's
// revision counts every change. When fn returns nothing and leaves the
// record as it was, nothing is written.
func (r *Registry) change(name string, c Change, create bool, fn func(*editing) ([]control.Change, error)) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	const tries = 100
	for i := 1; ; i++ {
		p, err := r.read(name)
		if err != nil {
			return storeError(name, err)
		}
		if p.revision == 0 && !create {
			return api.NotFound("there is no prompt %s; %s", excerpt(name), r.Current().nearest(name))
		}
		if c.Check != nil {
			if err := c.Check(p.etag()); err != nil {
				return err
			}
		}
		before := p.record.clone()
		changes, err := fn(p)
		if err != nil {
			return err
		}
		if len(changes) == 0 && p.record.equal(before) {
			return nil
		}
		if changes, err = put(changes, promptKey(name), p.revision, p.record); err != nil {
			return err
		}
		_, err = r.store.Commit(changes...)
		if err == nil {
			return nil
		}
		if !errors.Is(err, control.ErrConflict) || i == tries {
			return storeError(name, err)
		}
	}
}

// storeError says in the admin API's terms what the store says.
func storeError(name string, err error) error {
	switch {
	case errors.Is(err, control.ErrNoSpace):
		return api.NoSpace("prompt %s was not changed: %s", name, err)
	case errors.Is(err, control.ErrConflict):
		return api.Conflict("prompt %s was not changed, because others keep changing it: %s", name, err)
	case errors.Is(err, control.ErrTooLarge):
		return api.Invalid("", "prompt %s was not changed: %s", name, err)
	case errors.Is(err, control.ErrClosed), errors.Is(err, control.ErrReadOnly), errors.Is(err, control.ErrLocked):
		return api.Unavailable("prompt %s was not changed: %s", name, err)
	}
	return fmt.Errorf("changing prompt %s: %w", name, err)
}

// watched takes changes of the store over; it is called in their order.
func (r *Registry) watched(entries []control.Entry) {
	r.mu.Lock()
	changed := r.publish(entries)
	s := r.Current()
	fns := make([]func(*Snapshot, []string), 0, len(r.watchers))
	for _, id := range slices.Sorted(maps.Keys(r.watchers)) {
		fns = append(fns, r.watchers[id])
	}
	r.mu.Unlock()
	if len(changed) == 0 {
		return
	}
	for _, fn := range fns {
		fn(s, changed)
	}
}

// refresh takes over what the store has of a prompt.
func (r *Registry) refresh(name string) error {
	p, err := r.store.Get(promptKey(name))
	if err != nil {
		return storeError(name, err)
	}
	versions, err := r.store.List(promptKey(name) + "/")
	if err != nil {
		return storeError(name, err)
	}
	r.watched(append(versions, p))
	return nil
}

// publish makes a new snapshot with the entries. It holds mu.
func (r *Registry) publish(entries []control.Entry) []string {
	changed := map[string]*Prompt{}
	for _, e := range entries {
		name, number, ok := parseKey(e.Key)
		if !ok {
			r.log.Warn("unknown record among the prompts", zap.String("key", e.Key))
			continue
		}
		p := r.prompts[name]
		if p == nil {
			p = &stored{versions: map[int]*storedVersion{}}
			r.prompts[name] = p
		}
		fresh, err := p.take(name, number, e)
		if err != nil {
			r.log.Error("prompt record left out", zap.String("key", e.Key), zap.Error(err))
			continue
		}
		if fresh {
			changed[name] = nil
		}
	}
	for name := range changed {
		if p := r.prompts[name]; p.present {
			changed[name] = p.prompt(name)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	r.current.Store(r.Current().with(changed))
	return slices.Sorted(maps.Keys(changed))
}
