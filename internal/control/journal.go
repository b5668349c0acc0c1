package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// A journal file holds the commits after the revision in its name. It is written with write(2), never through a memory
// map, so a full disk is an error and not a signal.
//
//	header: magic, store id, base revision, crc32
//	commit: magic, length, crc32 of the payload, payload (revision, digest after it, number of changes, changes)
var (
	journalMagic = []byte("FRCTLJ1\n")
	commitMagic  = []byte{0xF7, 'C', 'M', 'T'}
)

const (
	journalHeader = 8 + 16 + 8 + 4
	commitHeader  = 4 + 4 + 4
	journalStep   = 1 << 20 // blocks are reserved in steps of this size
)

type journal struct {
	path     string
	f        *os.File
	base     uint64 // revision before the first commit
	size     int64
	reserved int64
	records  int
}

func journalName(base uint64) string { return fmt.Sprintf("journal-%020d", base) }

// createJournal begins a journal after revision base. A journal of that name holds nothing that is still needed: it can
// only have been left by an attempt that failed before its first commit.
func createJournal(dir string, id storeID, base uint64) (*journal, error) {
	path := filepath.Join(dir, journalName(base))
	header := append([]byte{}, journalMagic...)
	header = append(header, id[:]...)
	header = binary.LittleEndian.AppendUint64(header, base)
	header = binary.LittleEndian.AppendUint32(header, crc32.Checksum(header, castagnoli))
	if err := writeFile(path, func(f *os.File) error {
		_, err := f.Write(header)
		return err
	}); err != nil {
		return nil, accessError(path, err)
	}
	return openJournal(path, base, journalHeader, 0)
}

// openJournal goes on after the first size bytes, which hold so many records.
func openJournal(path string, base uint64, size int64, records int) (*journal, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, accessError(path, err)
	}
	j := &journal{path: path, f: f, base: base, size: size, records: records}
	if err := f.Truncate(size); err != nil {
		_ = f.Close()
		return nil, accessError(path, err)
	}
	return j, nil
}

// reserve makes sure that appending n bytes cannot fail for want of space.
func (j *journal) reserve(n int) error {
	if j.size+int64(n) <= j.reserved {
		return nil
	}
	want := (j.size + int64(n) + journalStep - 1) / journalStep * journalStep
	if err := reserveBeyond(j.f, want); err != nil {
		return err
	}
	j.reserved = want
	return nil
}

func (j *journal) append(record []byte) error {
	if _, err := j.f.WriteAt(record, j.size); err != nil {
		return err
	}
	if err := syncData(j.f); err != nil {
		return err
	}
	j.size += int64(len(record))
	j.records++
	return nil
}

func (j *journal) close() error {
	// What was reserved and not used is given back.
	err := j.f.Truncate(j.size)
	return errors.Join(err, j.f.Close())
}

func encodeCommit(rev, digest uint64, changes []Change) []byte {
	n := commitHeader + 32
	for _, c := range changes {
		n += len(c.Key) + len(c.Value) + 16
	}
	b := append(make([]byte, 0, n), commitMagic...)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, rev)
	b = binary.LittleEndian.AppendUint64(b, digest)
	b = binary.AppendUvarint(b, uint64(len(changes)))
	for _, c := range changes {
		b = appendEntry(b, Entry{Key: c.Key, Value: c.Value, Revision: rev})
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-commitHeader))
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[commitHeader:], castagnoli))
	return b
}

// loggedCommit is a commit read back.
type loggedCommit struct {
	rev, digest uint64
	changes     []Change
	end         int64 // offset behind it in its file
}

func decodeCommit(payload []byte) (c loggedCommit, err error) {
	if len(payload) < 17 {
		return c, errShort
	}
	c.rev = binary.LittleEndian.Uint64(payload)
	c.digest = binary.LittleEndian.Uint64(payload[8:])
	n, b, err := takeUvarint(payload[16:])
	if err != nil {
		return c, err
	}
	for range n {
		var e Entry
		if e, b, err = takeEntry(b); err != nil {
			return c, err
		}
		c.changes = append(c.changes, Change{Key: e.Key, Value: e.Value, Expect: Any})
	}
	if len(b) != 0 {
		return c, fmt.Errorf("%d bytes too many", len(b))
	}
	return c, nil
}

// loggedJournal is a journal file read back.
type loggedJournal struct {
	path    string
	id      storeID
	base    uint64
	commits []loggedCommit // up to the first that is not whole
	whole   int64          // bytes of header and commits
	torn    bool           // something follows that is not a commit: one that was being written, or damage
	known   uint64         // the highest revision seen anywhere, also behind damage
}

func readJournal(path string) (*loggedJournal, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	j := &loggedJournal{path: path}
	if len(b) >= journalHeader {
		copy(j.id[:], b[8:])
		j.base = binary.LittleEndian.Uint64(b[24:])
	}
	if len(b) < journalHeader || !bytes.Equal(b[:8], journalMagic) ||
		crc32.Checksum(b[:journalHeader-4], castagnoli) != binary.LittleEndian.Uint32(b[journalHeader-4:]) {
		return nil, fmt.Errorf("%s: header: %w", path, errChecksum)
	}
	at := journalHeader
	for at < len(b) {
		c, n, err := commitAt(b[at:])
		if err != nil {
			j.torn = true
			break
		}
		at += n
		c.end = int64(at)
		j.commits = append(j.commits, c)
		j.known = c.rev
	}
	j.whole = int64(at)
	// Whatever can be recognised behind the damage tells how much is missing.
	for j.torn && at < len(b) {
		next := bytes.Index(b[at:], commitMagic)
		if next < 0 {
			break
		}
		at += next
		if c, n, err := commitAt(b[at:]); err == nil {
			j.known = max(j.known, c.rev)
			at += n
			continue
		}
		at++
	}
	return j, nil
}

func commitAt(b []byte) (c loggedCommit, n int, err error) {
	if len(b) < commitHeader || !bytes.Equal(b[:4], commitMagic) {
		return c, 0, errShort
	}
	size := binary.LittleEndian.Uint32(b[4:])
	if uint64(size) > uint64(len(b)-commitHeader) {
		return c, 0, errShort
	}
	payload := b[commitHeader : commitHeader+int(size)]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return c, 0, errChecksum
	}
	c, err = decodeCommit(payload)
	return c, commitHeader + int(size), err
}
