package tracing

import (
	"fmt"
	"io"
	"os"
)

// blocksSuffix names the file beside a day's database that holds its blocks.
// In the database they would be written twice, page by page, to the log and
// then to the file: of a call of 100 KB that was half of all CPU.
const blocksSuffix = "-blocks"

// blockFile is the file of blocks as the writer has it open. Blocks are only
// appended. A row refers to one once it is in the file and synchronised; what
// no row refers to, after a failed transaction or a crash, is cut off when the
// file is opened.
type blockFile struct {
	file  *os.File
	end   int64
	dirty bool
}

func openBlocks(path string) (*blockFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &blockFile{file: f, end: info.Size()}, nil
}

// cut drops what is behind end.
func (b *blockFile) cut(end int64) error {
	if b.end <= end {
		return nil
	}
	b.end = end
	return b.file.Truncate(end)
}

// append writes a block and returns its place.
func (b *blockFile) append(blob []byte) (place int64, err error) {
	place = b.end
	if _, err := b.file.WriteAt(blob, place); err != nil {
		_ = b.file.Truncate(place)
		return 0, err
	}
	b.end += int64(len(blob))
	b.dirty = true
	return place, nil
}

// sync makes what was appended survive a power failure.
func (b *blockFile) sync() error {
	if !b.dirty {
		return nil
	}
	b.dirty = false
	return b.file.Sync()
}

func (b *blockFile) close() { _ = b.file.Close() }

// readBlob reads a block that a row refers to.
func readBlob(f *os.File, place, length int64) ([]byte, error) {
	if place < 0 || length < 0 || length > maxBlob {
		return nil, fmt.Errorf("%w: place of a block", errDamaged)
	}
	blob := make([]byte, length)
	if _, err := io.ReadFull(io.NewSectionReader(f, place, length), blob); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return blob, nil
}

// maxBlob bounds what a damaged row can make a reader allocate: more than the
// largest bodies that are kept.
const maxBlob = 64 << 20
