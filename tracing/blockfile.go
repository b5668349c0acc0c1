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

// openBlocks opens the file of blocks and cuts off what is behind the last
// one that a row refers to, if that is in order.
func (f *file) openBlocks(path string) (*blockFile, error) {
	b, err := openBlocks(path)
	if err != nil {
		return nil, err
	}
	stmt, err := f.conn.Prepare("SELECT n, codec, size, crc, place, length FROM blocks ORDER BY n DESC LIMIT 1")
	if err != nil {
		b.close()
		return nil, err
	}
	defer func() { _ = stmt.Reset() }()
	more, err := stmt.Step()
	if err != nil {
		b.close()
		return nil, err
	}
	last := int64(0)
	if more {
		place, length := stmt.ColumnInt64(4), stmt.ColumnInt64(5)
		blob, err := readBlob(b.file, place, length)
		if err != nil || checksum(blob, stmt.ColumnInt64(0), stmt.ColumnInt64(1), stmt.ColumnInt64(2)) != stmt.ColumnInt64(3) {
			return b, nil
		}
		last = place + length
	}
	return b, b.cut(last)
}

// putBlock stores a block and the row that refers to it.
func (f *file) putBlock(raw, scratch []byte, compress bool) ([]byte, error) {
	blob, codec := pack(scratch, raw, compress)
	if codec != codecRaw {
		scratch = blob
	}
	place, err := f.blocks.append(blob)
	if err != nil {
		return scratch, err
	}
	stmt := f.insertBlock
	stmt.BindInt64(1, f.nextBlock)
	stmt.BindInt64(2, codec)
	stmt.BindInt64(3, int64(len(raw)))
	stmt.BindInt64(4, checksum(blob, f.nextBlock, codec, int64(len(raw))))
	stmt.BindInt64(5, place)
	stmt.BindInt64(6, int64(len(blob)))
	if err := execute(stmt); err != nil {
		return scratch, err
	}
	f.nextBlock++
	return scratch, nil
}
