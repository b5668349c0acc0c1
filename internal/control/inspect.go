package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// inspect checks every byte that Badger would interpret on opening path, because Badger itself exits, panics on
// goroutines of its own, or opens empty when it meets damage (v4.9.6: y.AssertTrue is log.Fatalf; newLevelsController
// leaves out a table whose checksum is wrong; a cut MANIFEST drops the tables it does not name). It reads with read(2)
// only. Files that Badger can do without, and writes anew, are deleted; a write-ahead log is cut behind its last whole
// transaction, as Badger would. It returns the bytes of the longest write-ahead log.
func inspect(path string) (logged int64, err error) {
	tables, err := inspectManifest(filepath.Join(path, badger.ManifestFilename))
	if err != nil {
		return 0, err
	}
	for id := range tables {
		if err := inspectTable(table.NewFilename(id, path)); err != nil {
			return 0, err
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		switch {
		case strings.HasSuffix(name, ".mem"):
			n, err := inspectLog(name)
			if err != nil {
				return 0, err
			}
			logged = max(logged, n)
		case strings.HasSuffix(name, ".sst") || e.Name() == badger.ManifestFilename:
		case strings.HasSuffix(e.Name(), "REWRITE") || strings.HasPrefix(e.Name(), "REWRITE"):
			// MANIFEST-REWRITE or REWRITE-KEYREGISTRY: the process died before it renamed it.
			if err := os.Remove(name); err != nil {
				return 0, err
			}
		case strings.HasSuffix(name, ".vlog") || e.Name() == "DISCARD" || e.Name() == badger.KeyRegistryFileName:
			// No value ever goes to the value log, nothing is encrypted, and the statistics are of the value log.
			if err := os.Remove(name); err != nil {
				return 0, err
			}
		default:
			return 0, fmt.Errorf("%s: does not belong to a database", name)
		}
	}
	return logged, nil
}

func inspectManifest(path string) (map[uint64]badger.TableManifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	var m badger.Manifest
	var whole int64
	err = guarded(func() error {
		m, whole, err = badger.ReplayManifestFile(f, 0, badger.Options{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != whole {
		return nil, fmt.Errorf("%s: only %d of %d bytes are whole", path, whole, info.Size())
	}
	for id, t := range m.Tables {
		if t.Level > 6 || t.KeyID != 0 || t.Compression != 0 {
			return nil, fmt.Errorf("%s: table %d is none of ours", path, id)
		}
	}
	return m.Tables, nil
}

// inspectTable follows Badger's table format from the end to every block. See table.Table.initIndex and block.
//
//	blocks, index, length of the index, checksum of the index, length of the checksum
func inspectTable(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum, rest, err := takeChecksum(data)
	if err != nil {
		return fmt.Errorf("%s: index: %w", path, err)
	}
	index, _, err := takeTail(rest)
	if err == nil {
		err = verifySum(index, sum)
	}
	if err != nil {
		return fmt.Errorf("%s: index: %w", path, err)
	}
	var root *fb.TableIndex
	var blocks int
	err = guarded(func() error {
		root = fb.GetRootAsTableIndex(index, 0)
		blocks = root.OffsetsLength()
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: index: %w", path, err)
	}
	if blocks == 0 {
		return fmt.Errorf("%s: no blocks", path)
	}
	for i := range blocks {
		err := guarded(func() error {
			var at fb.BlockOffset
			if !root.Offsets(&at, i) {
				return errShort
			}
			from, n := uint64(at.Offset()), uint64(at.Len())
			if from+n > uint64(len(data)) || len(at.KeyBytes()) < 8 {
				return errShort
			}
			return inspectBlock(data[from : from+n])
		})
		if err != nil {
			return fmt.Errorf("%s: block %d: %w", path, i, err)
		}
	}
	return nil
}

func inspectBlock(b []byte) error {
	sum, body, err := takeChecksum(b)
	if err != nil {
		return err
	}
	if err := verifySum(body, sum); err != nil {
		return err
	}
	if len(body) < 4 {
		return errShort
	}
	if n := uint64(binary.BigEndian.Uint32(body[len(body)-4:])); n == 0 || n*4+4 > uint64(len(body)) {
		return errShort
	}
	return nil
}

// takeTail splits off the last field, which is followed by its length.
func takeTail(b []byte) (field, before []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errShort
	}
	n := binary.BigEndian.Uint32(b[len(b)-4:])
	b = b[:len(b)-4]
	if uint64(n) > uint64(len(b)) {
		return nil, nil, errShort
	}
	return b[len(b)-int(n):], b[:len(b)-int(n)], nil
}

func takeChecksum(b []byte) (sum *pb.Checksum, before []byte, err error) {
	field, before, err := takeTail(b)
	if err != nil {
		return nil, nil, err
	}
	sum = new(pb.Checksum)
	if err := proto.Unmarshal(field, sum); err != nil {
		return nil, nil, err
	}
	if sum.Algo != pb.Checksum_CRC32C && sum.Algo != pb.Checksum_XXHash64 { // y.CalculateChecksum panics on others
		return nil, nil, errChecksum
	}
	return sum, before, nil
}

func verifySum(b []byte, sum *pb.Checksum) error {
	if y.CalculateChecksum(b, sum.Algo) != sum.Sum {
		return errChecksum
	}
	return nil
}

const (
	logHeader = 20 // key id, iv
	metaTxn   = 1 << 6
	metaFin   = 1 << 7
)

// inspectLog cuts a write-ahead log behind its last whole transaction and returns its length. What is behind that was
// being written when the process died, or is damaged: which of the two, the journal knows. See logFile.iterate.
func inspectLog(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if len(data) < logHeader {
		return 0, os.Remove(path) // just created
	}
	if !bytes.Equal(data[:8], make([]byte, 8)) {
		return 0, fmt.Errorf("%s: names an encryption key", path)
	}
	whole, _ := scanLog(data)
	if whole == len(data) {
		return int64(whole), nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	err = errors.Join(f.Truncate(int64(whole)), f.Sync(), f.Close())
	return int64(whole), err
}

// scanLog finds the end and the timestamp of the last whole transaction.
func scanLog(data []byte) (whole int, last uint64) {
	whole = logHeader
	var txn uint64
	for at := whole; ; {
		e, n, err := logEntryAt(data[at:])
		if err != nil || len(e.key) == 0 {
			break
		}
		at += n
		if e.meta&metaTxn != 0 {
			ts := y.ParseTs(e.key)
			if txn == 0 {
				txn = ts
			}
			if ts != txn {
				break
			}
			continue
		}
		if e.meta&metaFin != 0 {
			if string(e.value) != fmt.Sprint(txn) {
				break
			}
			last, txn = txn, 0
		}
		if txn != 0 {
			break
		}
		whole = at
	}
	return whole, last
}

type logEntry struct {
	meta       byte
	key, value []byte
}

func logEntryAt(b []byte) (e logEntry, n int, err error) {
	if len(b) < 2 {
		return e, 0, errShort
	}
	e.meta = b[0]
	klen, rest, err := takeUvarint(b[2:])
	if err != nil {
		return e, 0, err
	}
	vlen, rest, err := takeUvarint(rest)
	if err != nil {
		return e, 0, err
	}
	expires, rest, err := takeUvarint(rest)
	if err != nil {
		return e, 0, err
	}
	if klen > 1<<16 || vlen > uint64(len(rest)) || klen+vlen+4 > uint64(len(rest)) || expires != 0 {
		return e, 0, errShort
	}
	head := len(b) - len(rest)
	n = head + int(klen+vlen)
	if crc32.Checksum(b[:n], y.CastagnoliCrcTable) != binary.BigEndian.Uint32(b[n:]) {
		return e, 0, errChecksum
	}
	e.key, e.value = rest[:klen], rest[klen:klen+vlen]
	if klen > 0 && klen < 8 { // Badger takes a timestamp from the end of the key
		return e, 0, errShort
	}
	return e, n + 4, nil
}
