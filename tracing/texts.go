package tracing

import (
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"zombiezen.com/go/sqlite"
)

// sharedTexts remembers which long texts a file already has, and what they
// say: a hash alone could be made to collide.
type sharedTexts struct {
	known map[uint64]string
	bytes int
	seen  map[uint64]struct{} // texts that came once: one that never comes again is not worth a row
}

const (
	maxSharedTexts = 4 << 20
	maxSeenTexts   = 32 << 10
)

// key is the text's key, 0 when it must stay where it is; isNew says that it
// has to be stored first.
func (t *sharedTexts) key(text []byte) (key uint64, isNew bool) {
	key = xxhash.Sum64(text)
	if s, ok := t.known[key]; ok {
		if s != string(text) {
			return 0, false
		}
		return key, false
	}
	if _, again := t.seen[key]; !again {
		if t.seen == nil || len(t.seen) >= maxSeenTexts {
			t.seen = map[uint64]struct{}{}
		}
		t.seen[key] = struct{}{}
		return 0, false
	}
	return key, key != 0
}

func (t *sharedTexts) remember(key uint64, text string) {
	if t.known == nil || t.bytes+len(text) > maxSharedTexts {
		t.known, t.bytes = map[uint64]string{}, 0
	}
	t.known[key] = text
	t.bytes += len(text)
}

// shareText makes sure that the file has the text, and returns its key; 0: it
// must stay where it is.
func (f *file) shareText(text []byte, scratch []byte) (key uint64, _ []byte, err error) {
	key, isNew := f.texts.key(text)
	if !isNew {
		return key, scratch, nil
	}
	blob, codec := pack(scratch, text, true)
	if codec != codecRaw {
		scratch = blob
	}
	stmt := f.insertText
	stmt.BindInt64(1, int64(key))
	stmt.BindInt64(2, codec)
	stmt.BindInt64(3, int64(len(text)))
	stmt.BindInt64(4, checksum(blob, int64(key), codec, int64(len(text))))
	stmt.BindBytes(5, blob)
	if err := execute(stmt); err != nil {
		return 0, scratch, err
	}
	if f.conn.Changes() == 0 {
		have, err := readText(f.selectText, key)
		if err != nil && !errors.Is(err, errDamaged) {
			return 0, scratch, err
		}
		if string(have) != string(text) {
			return 0, scratch, nil
		}
	}
	f.texts.remember(key, string(text))
	return key, scratch, nil
}

func readText(stmt *sqlite.Stmt, key uint64) ([]byte, error) {
	stmt.BindInt64(1, int64(key))
	defer func() { _ = stmt.Reset() }()
	more, err := stmt.Step()
	if err != nil {
		return nil, err
	}
	if !more {
		return nil, fmt.Errorf("%w: a shared text is missing", errDamaged)
	}
	codec, size, blob := stmt.ColumnInt64(0), stmt.ColumnInt64(1), columnBytes(stmt, 3)
	if checksum(blob, int64(key), codec, size) != stmt.ColumnInt64(2) {
		return nil, fmt.Errorf("%w: checksum of a shared text", errDamaged)
	}
	text, err := unpack(blob, codec, size)
	if err == nil && xxhash.Sum64(text) != key {
		err = fmt.Errorf("%w: key of a shared text", errDamaged)
	}
	return text, err
}
