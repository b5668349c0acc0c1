package control

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// storeID tells the files of one store from those of another that were copied into its directory.
type storeID [16]byte

// item is one record. The value is never modified in place, so copies of an item may share it.
type item struct {
	value []byte
	rev   uint64
}

// state is the contents of a store at one revision.
type state struct {
	id     storeID
	rev    uint64
	items  map[string]item
	digest uint64 // sum of recordHash over all items: does not depend on order, so a commit changes it in O(changes)
	bytes  int64  // what the items cost, see cost
}

func newState(id storeID) *state {
	return &state{id: id, items: make(map[string]item)}
}

// clone shares keys and values, which are immutable.
func (st *state) clone() *state {
	c := *st
	c.items = maps.Clone(st.items)
	return &c
}

func (st *state) put(key string, it item) {
	st.remove(key)
	st.items[key] = it
	st.digest += recordHash(key, it)
	st.bytes += cost(len(key), len(it.value))
}

func (st *state) remove(key string) {
	old, ok := st.items[key]
	if !ok {
		return
	}
	delete(st.items, key)
	st.digest -= recordHash(key, old)
	st.bytes -= cost(len(key), len(old.value))
}

// apply makes the changes of the commit that wrote revision rev.
func (st *state) apply(rev uint64, changes []Change) {
	for _, c := range changes {
		if c.Value == nil {
			st.remove(c.Key)
			continue
		}
		st.put(c.Key, item{value: c.Value, rev: rev})
	}
	st.rev = rev
}

// after is the number of records and the digest that apply would leave. The keys of changes are distinct.
func (st *state) after(rev uint64, changes []Change) (count int, digest uint64) {
	count, digest = len(st.items), st.digest
	for _, c := range changes {
		if old, ok := st.items[c.Key]; ok {
			count--
			digest -= recordHash(c.Key, old)
		}
		if c.Value != nil {
			count++
			digest += recordHash(c.Key, item{value: c.Value, rev: rev})
		}
	}
	return count, digest
}

// verify computes the digest anew.
func (st *state) verify() error {
	var digest uint64
	for key, it := range st.items {
		digest += recordHash(key, it)
	}
	if digest != st.digest {
		return fmt.Errorf("memory: digest %016x, want %016x", digest, st.digest)
	}
	return nil
}

// differs says in words how other differs, or nothing.
func (st *state) differs(other *state) string {
	switch {
	case st.rev != other.rev:
		return fmt.Sprintf("revision %d, want %d", other.rev, st.rev)
	case len(st.items) != len(other.items):
		return fmt.Sprintf("%d records, want %d", len(other.items), len(st.items))
	case st.digest != other.digest:
		return fmt.Sprintf("digest %016x, want %016x", other.digest, st.digest)
	}
	return ""
}

// diff lists what turns st into next, sorted by key; Value nil where next has no such record.
func (st *state) diff(next *state) []Entry {
	var out []Entry
	for key, it := range next.items {
		if old, ok := st.items[key]; !ok || old.rev != it.rev {
			out = append(out, Entry{Key: key, Value: it.value, Revision: it.rev})
		}
	}
	for key := range st.items {
		if _, ok := next.items[key]; !ok {
			out = append(out, Entry{Key: key, Revision: next.rev})
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// cost is an upper bound of what a record takes in Badger's write-ahead log and in its memtable: 160 covers the headers
// of the log, our frame, and the largest node of the skip list.
func cost(key, value int) int64 { return int64(key) + int64(value) + 160 }

func recordHash(key string, it item) uint64 {
	var head [16]byte
	binary.LittleEndian.PutUint64(head[:8], uint64(len(key)))
	binary.LittleEndian.PutUint64(head[8:], it.rev)
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(head[:])
	_, _ = d.WriteString(key)
	_, _ = d.Write(it.value)
	return d.Sum64()
}
