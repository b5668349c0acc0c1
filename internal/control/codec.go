package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// castagnoli is the polynomial that processors compute in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errChecksum = errors.New("checksum does not match")

// A frame is what Badger stores as a value: kind, revision, length, checksum of all that and of the key, body. Badger
// can return a wrong or an empty value without an error; a frame cannot.
//
//	+------+----------+--------+-------+------+
//	| kind | revision | length | crc32 | body |
//	|  1   |    8     |   4    |   4   |      |
//	+------+----------+--------+-------+------+
const frameHeader = 17

type frameKind byte

const (
	kindInline   frameKind = iota + 1 // body is the record's value
	kindSpilled                       // body is a spill: the value is in parts
	kindPart                          // body is a piece of a value
	kindManifest                      // body is a manifest
)

func encodeFrame(kind frameKind, key []byte, rev uint64, body []byte) []byte {
	f := make([]byte, frameHeader, frameHeader+len(body))
	f[0] = byte(kind)
	binary.LittleEndian.PutUint64(f[1:], rev)
	binary.LittleEndian.PutUint32(f[9:], uint32(len(body)))
	sum := crc32.Update(crc32.Checksum(f[:13], castagnoli), castagnoli, key)
	binary.LittleEndian.PutUint32(f[13:], crc32.Update(sum, castagnoli, body))
	return append(f, body...)
}

// decodeFrame returns a body that shares f's memory.
func decodeFrame(key, f []byte) (kind frameKind, rev uint64, body []byte, err error) {
	if len(f) < frameHeader {
		return 0, 0, nil, fmt.Errorf("record %q: %d bytes, want at least %d", key, len(f), frameHeader)
	}
	body = f[frameHeader:]
	if n := binary.LittleEndian.Uint32(f[9:]); uint64(n) != uint64(len(body)) {
		return 0, 0, nil, fmt.Errorf("record %q: %d bytes, want %d", key, len(body), n)
	}
	sum := crc32.Update(crc32.Checksum(f[:13], castagnoli), castagnoli, key)
	if crc32.Update(sum, castagnoli, body) != binary.LittleEndian.Uint32(f[13:]) {
		return 0, 0, nil, fmt.Errorf("record %q: %w", key, errChecksum)
	}
	return frameKind(f[0]), binary.LittleEndian.Uint64(f[1:]), body, nil
}

// manifest is our own record of what Badger must contain. Every transaction that changes a record rewrites it.
type manifest struct {
	id     storeID
	rev    uint64
	count  uint64
	digest uint64
}

const (
	manifestKey  = "m"
	manifestSize = 16 + 3*8
)

func (m manifest) encode() []byte {
	b := append(make([]byte, 0, manifestSize), m.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, m.rev)
	b = binary.LittleEndian.AppendUint64(b, m.count)
	return binary.LittleEndian.AppendUint64(b, m.digest)
}

func decodeManifest(b []byte) (m manifest, err error) {
	if len(b) != manifestSize {
		return m, fmt.Errorf("manifest of %d bytes, want %d", len(b), manifestSize)
	}
	copy(m.id[:], b)
	m.rev = binary.LittleEndian.Uint64(b[16:])
	m.count = binary.LittleEndian.Uint64(b[24:])
	m.digest = binary.LittleEndian.Uint64(b[32:])
	return m, nil
}

// spill says where a value is that is too large for the transaction that writes its record: in n parts, whose keys are
// made of the revision and seq.
type spill struct {
	seq, parts, size uint32
}

const spillSize = 12

func (sp spill) encode() []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, spillSize), sp.seq)
	b = binary.LittleEndian.AppendUint32(b, sp.parts)
	return binary.LittleEndian.AppendUint32(b, sp.size)
}

func decodeSpill(b []byte) (sp spill, err error) {
	if len(b) != spillSize {
		return sp, fmt.Errorf("spilled record of %d bytes, want %d", len(b), spillSize)
	}
	return spill{
		seq:   binary.LittleEndian.Uint32(b),
		parts: binary.LittleEndian.Uint32(b[4:]),
		size:  binary.LittleEndian.Uint32(b[8:]),
	}, nil
}

func recordKey(key string) []byte { return append([]byte{'r'}, key...) }

func partKey(rev uint64, seq, part uint32) []byte {
	b := binary.BigEndian.AppendUint64([]byte{'p'}, rev)
	b = binary.BigEndian.AppendUint32(b, seq)
	return binary.BigEndian.AppendUint32(b, part)
}

// appendEntry and takeEntry are the form of a record in journal and backup: length of the key, key, revision, length of
// the value plus one (0: deleted), value.
func appendEntry(b []byte, e Entry) []byte {
	b = binary.AppendUvarint(b, uint64(len(e.Key)))
	b = append(b, e.Key...)
	b = binary.AppendUvarint(b, e.Revision)
	if e.Value == nil {
		return binary.AppendUvarint(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Value))+1)
	return append(b, e.Value...)
}

var errShort = errors.New("ends too early")

func takeEntry(b []byte) (e Entry, rest []byte, err error) {
	n, b, err := takeUvarint(b)
	if err != nil || n > uint64(len(b)) {
		return e, nil, errShort
	}
	e.Key, b = string(b[:n]), b[n:]
	if e.Revision, b, err = takeUvarint(b); err != nil {
		return e, nil, err
	}
	n, b, err = takeUvarint(b)
	if err != nil {
		return e, nil, err
	}
	if n == 0 {
		return e, b, nil
	}
	if n--; n > uint64(len(b)) {
		return e, nil, errShort
	}
	e.Value = append(make([]byte, 0, n), b[:n]...)
	return e, b[n:], nil
}

func takeUvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errShort
	}
	return v, b[n:], nil
}
