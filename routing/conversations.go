package routing

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-frontier/frontier/internal/wholefile"
)

// The bounds of the conversation table.
const (
	maxConversations = 100_000
	idleConversation = 24 * time.Hour
)

// conversations remembers which variant a conversation is on, so that it does
// not switch in the middle when weights change. It is bounded, read only for
// requests that carry an earlier turn, and written to a file now and then:
// when it is lost, a conversation may move once.
type conversations struct {
	table *lru.Cache[uint64, placed]
	now   func() time.Time
	// changes counts what was put in; a full table's length does not change.
	changes atomic.Int64
}

type placed struct {
	Variant string
	Last    int64 // Unix seconds
}

func newConversations(now func() time.Time) *conversations {
	t, _ := lru.New[uint64, placed](maxConversations)
	return &conversations{table: t, now: now}
}

func conversationKey(route, id string) uint64 { return xxhash.Sum64String(route + "\x00" + id) }

func (t *conversations) get(route, id string) (variant string, ok bool) {
	if id == "" {
		return "", false
	}
	p, ok := t.table.Get(conversationKey(route, id))
	if !ok || t.now().Unix()-p.Last > int64(idleConversation/time.Second) {
		return "", false
	}
	return p.Variant, true
}

func (t *conversations) put(route, id, variant string) {
	if id != "" {
		t.table.Add(conversationKey(route, id), placed{variant, t.now().Unix()})
		t.changes.Add(1)
	}
}

// save writes the table, oldest first, as one checksummed file.
func (t *conversations) save(path string) error {
	keys := t.table.Keys()
	rows := make(map[uint64]placed, len(keys))
	for _, k := range keys {
		if p, ok := t.table.Peek(k); ok {
			rows[k] = p
		}
	}
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(struct {
		Keys []uint64
		Rows map[uint64]placed
	}{keys, rows}); err != nil {
		return err
	}
	sum := crc32.Checksum(buf.Bytes(), crc32.MakeTable(crc32.Castagnoli))
	buf.Write([]byte{byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)})
	return wholefile.Replace(path, buf.Bytes())
}

// load reads what save wrote. A damaged file is an error, and leaves the table as it is.
func (t *conversations) load(path string) error {
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return err
	}
	if len(b) < 4 {
		return fmt.Errorf("%s is damaged", path)
	}
	body, s := b[:len(b)-4], b[len(b)-4:]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != uint32(s[0])|uint32(s[1])<<8|uint32(s[2])<<16|uint32(s[3])<<24 {
		return fmt.Errorf("%s is damaged", path)
	}
	var saved struct {
		Keys []uint64
		Rows map[uint64]placed
	}
	if err := gob.NewDecoder(bytes.NewReader(body)).Decode(&saved); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, k := range saved.Keys {
		t.table.Add(k, saved.Rows[k])
	}
	return nil
}
