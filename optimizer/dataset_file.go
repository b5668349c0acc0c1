package optimizer

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/caddy-frontier/frontier/internal/api"
)

// files are the records of datasets: a file for each content, under the hash of
// it. A file is written under another name, made durable and then renamed, so that
// one of the right name is whole; it is verified when it is read all the same.
type files struct {
	dir    string
	create func(dir string) (file, error) // a new file in which to write; tests set it
}

// file is what is needed of an *os.File.
type file interface {
	io.WriteCloser
	Name() string
	Sync() error
}

const (
	fileSuffix = ".jsonl"
	tempSuffix = ".tmp"
)

// openFiles makes the directory, and removes what a crash left half written.
func openFiles(dir string) (files, error) {
	f := files{dir: dir, create: func(dir string) (file, error) { return os.CreateTemp(dir, "*"+tempSuffix) }}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return f, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return f, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tempSuffix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

func (f *files) path(hash string) string { return filepath.Join(f.dir, hash+fileSuffix) }

// remove removes the file of a content that no dataset has any more.
func (f *files) remove(hash string) error {
	if err := os.Remove(f.path(hash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// errDamaged is the error of a file that is not there, or not what was written.
var errDamaged = errors.New("damaged")

// scan reads a file line by line. What it has called fn with is only certain
// when it returns nil: the file's hash is known at its end. Lines are good until fn returns.
func (f *files) scan(want string, fn func(line []byte) error) error {
	in, err := os.Open(f.path(want))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the file %s is missing", errDamaged, want+fileSuffix)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	br := bufio.NewReaderSize(io.TeeReader(in, sum), 1<<18)
	wrong := func() error {
		return fmt.Errorf("%w: the content of the file %s is not what was written", errDamaged, want+fileSuffix)
	}
	for {
		line, err := readRecordLine(br)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && len(line) == 0:
			if hex.EncodeToString(sum.Sum(nil)) != want {
				return wrong()
			}
			return nil
		case errors.Is(err, io.EOF): // no line end
			return wrong()
		default:
			return fmt.Errorf("the file %s: %w", want+fileSuffix, err)
		}
		if err := fn(line); err != nil {
			return err
		}
	}
}

// fileWriter writes the file of a version.
type fileWriter struct {
	files   *files
	file    file
	out     *bufio.Writer
	sum     hash.Hash
	records int
	bytes   int64
}

func (f *files) write() (*fileWriter, error) {
	out, err := f.create(f.dir)
	if err != nil {
		return nil, diskError(err)
	}
	w := &fileWriter{files: f, file: out, sum: sha256.New()}
	w.out = bufio.NewWriterSize(io.MultiWriter(out, w.sum), 1<<18)
	return w, nil
}

// errTooMuch is the error of a dataset that would become too large.
var errTooMuch = errors.New("too large")

// add writes a record's line.
func (w *fileWriter) add(line []byte) error {
	w.records++
	w.bytes += int64(len(line)) + 1
	if w.records > maxRecords {
		return fmt.Errorf("%w: a dataset has at most %d records", errTooMuch, maxRecords)
	}
	if w.bytes > maxDataset {
		return fmt.Errorf("%w: a dataset has at most %d MiB", errTooMuch, maxDataset>>20)
	}
	_, err := w.out.Write(line)
	if err == nil {
		err = w.out.WriteByte('\n')
	}
	return diskError(err)
}

// commit makes the file durable under its name.
func (w *fileWriter) commit() (hash string, err error) {
	err = w.out.Flush()
	if err == nil {
		err = w.file.Sync()
	}
	if closed := w.file.Close(); err == nil {
		err = closed
	}
	hash = hex.EncodeToString(w.sum.Sum(nil))
	if err == nil {
		err = os.Rename(w.file.Name(), w.files.path(hash))
	}
	if err == nil {
		err = syncDir(w.files.dir)
	}
	if err != nil {
		_ = os.Remove(w.file.Name())
	}
	return hash, diskError(err)
}

// abort removes what was written.
func (w *fileWriter) abort() {
	_ = w.file.Close()
	_ = os.Remove(w.file.Name())
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // which has no such thing
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// diskError says in the admin API's terms that the disk is full.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return api.NoSpace("there is no space left for the dataset's records; free some, nothing was changed: %s", withoutPath(err))
	}
	return err
}

func withoutPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
