package optimizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
	"github.com/caddy-frontier/frontier/routing"
)

// journal is a run's memory: an append-only file of what was asked, answered,
// judged and noted. A result that was paid for is on disk before anything is
// made of it, and a call is in the journal before it is made: after a crash it
// is known which calls may have been paid for without an answer.
//
// A line is a checksum (CRC-32C of the rest, in hex), a space and a JSON
// object. What follows a line that is not whole was never acknowledged: it is
// cut off when the journal is opened.
type journal struct {
	mu   sync.Mutex
	file *os.File
	// room says whether the disk has space left; what is written must not take it from the control store.
	room func() error
}

// entry is a line of a journal; one of its members is set.
type entry struct {
	Asked    []string       `json:"asked,omitempty"`    // keys of calls that are about to be made
	Answered *answeredEntry `json:"answered,omitempty"` // what became of one
	Judged   *judgedEntry   `json:"judged,omitempty"`
	Noted    *Event         `json:"noted,omitempty"`
}

type answeredEntry struct {
	Key   string            `json:"key"`
	Reply *routing.Reply    `json:"reply,omitempty"`
	Err   *routing.AskError `json:"err,omitempty"`
	// Calls is how many calls it took that may have been paid for, retries included.
	Calls int      `json:"calls"`
	USD   *float64 `json:"usd"` // what they cost; null: unknown
}

type judgedEntry struct {
	Key   string        `json:"key"`
	Score *scorer.Score `json:"score,omitempty"`
	Err   string        `json:"err,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxLine bounds a line; answers are bounded far below it.
const maxLine = 64 << 20

// openJournal opens a journal, and returns what is in it.
func openJournal(path string, room func() error) (_ *journal, entries []entry, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the journal: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	entries, whole, err := readEntries(f)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the journal %s: %w", path, err)
	}
	if err := keepDamaged(path, f, whole); err != nil {
		return nil, nil, err
	}
	if err := f.Truncate(whole); err != nil {
		return nil, nil, fmt.Errorf("opening the journal %s: %w", path, err)
	}
	if _, err := f.Seek(whole, io.SeekStart); err != nil {
		return nil, nil, fmt.Errorf("opening the journal %s: %w", path, err)
	}
	return &journal{file: f, room: room}, entries, nil
}

// readEntries reads the whole entries at the beginning of a journal, which are that many bytes.
func readEntries(f io.Reader) (entries []entry, whole int64, err error) {
	r := bufio.NewReaderSize(f, 1<<16)
	for {
		line, err := readLine(r)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		e, ok := parseLine(line)
		if !ok {
			return entries, whole, nil
		}
		whole += int64(len(line))
		entries = append(entries, e)
	}
}

// notedIn are the events in a journal that nobody writes to; none if it cannot be read.
func notedIn(path string) (events []Event) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	entries, _, _ := readEntries(f)
	for _, e := range entries {
		if e.Noted != nil {
			events = append(events, *e.Noted)
		}
	}
	return events
}

// keepDamaged copies what is behind the last whole line, if it is more than the
// torn line of a crash, to a file beside the journal.
func keepDamaged(path string, f *os.File, whole int64) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == whole {
		return err
	}
	rest := io.NewSectionReader(f, whole, end-whole)
	b, err := io.ReadAll(io.LimitReader(rest, maxLine))
	if err != nil {
		return fmt.Errorf("reading the journal %s: %w", path, err)
	}
	if i := bytes.IndexByte(b, '\n'); i < 0 || i == len(b)-1 {
		return nil
	}
	if err := os.WriteFile(path+".damaged", b, 0o600); err != nil {
		return fmt.Errorf("keeping the damaged end of the journal %s: %w", path, err)
	}
	return nil
}

// readLine reads a line with its end; one that is not ended or too long is io.EOF.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(line) > maxLine {
			return nil, io.EOF
		}
	}
}

func parseLine(line []byte) (e entry, ok bool) {
	sum, rest, found := bytes.Cut(bytes.TrimSuffix(line, []byte{'\n'}), []byte{' '})
	if !found {
		return e, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(rest, castagnoli) {
		return e, false
	}
	return e, json.Unmarshal(rest, &e) == nil
}

// append writes entries, and returns when they are on disk if sync. After an error
// nothing of them counts: the same may be appended again.
func (j *journal) append(sync bool, entries ...entry) error {
	var b []byte
	for _, e := range entries {
		doc, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("writing the journal: %w", err)
		}
		b = fmt.Appendf(b, "%08x ", crc32.Checksum(doc, castagnoli))
		b = append(append(b, doc...), '\n')
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return errClosed
	}
	if err := j.room(); err != nil {
		return err
	}
	at, err := j.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	_, err = j.file.Write(b)
	if err == nil && sync {
		err = j.file.Sync()
	}
	if err != nil {
		// What was written in part must not stand before what is written next.
		if undo := j.file.Truncate(at); undo == nil {
			_, _ = j.file.Seek(at, io.SeekStart)
		}
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}

var errClosed = errors.New("the journal is closed")

// close ends it; what is appended later is refused.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil {
		_ = j.file.Sync()
		j.file.Close()
		j.file = nil
	}
}
