package tracing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/s2"
)

// A block holds the payloads of up to 64 traces or about 256 KiB, compressed
// together. Each of its entries is: the id, then details, request and
// response, each with its length. Long texts of a request that are kept apart
// are cut out of it.
const (
	blockEntries = 64
	blockBytes   = 256 << 10
)

// The codecs of blocks and texts.
const (
	codecRaw = iota
	codecS2
)

// The forms of a payload in an entry.
const (
	formNone = iota
	formInline
	formShared // how many texts are cut out; for each what is before it, its key (8), its length; then the rest
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers a blob and the numbers that say what it is.
func checksum(blob []byte, numbers ...int64) int64 {
	var b [8]byte
	sum := crc32.Update(0, castagnoli, blob)
	for _, n := range numbers {
		binary.LittleEndian.PutUint64(b[:], uint64(n))
		sum = crc32.Update(sum, castagnoli, b[:])
	}
	return int64(sum)
}

// appendEntry writes an entry. A shared text of the request whose key is not
// 0 is kept elsewhere under that key.
func appendEntry(dst []byte, e *entry, keys []uint64) []byte {
	apart := 0
	for _, key := range keys {
		if key != 0 {
			apart++
		}
	}
	dst = append(dst, e.id[:]...)
	dst = appendBytes(dst, e.details)
	switch {
	case e.request == nil:
		dst = append(dst, formNone)
	case apart == 0:
		dst = append(dst, formInline)
		dst = appendBytes(dst, e.request)
	default:
		dst = append(dst, formShared)
		dst = binary.AppendUvarint(dst, uint64(apart))
		at := 0
		for i, key := range keys {
			if key == 0 {
				continue
			}
			v := e.shared[i]
			dst = appendBytes(dst, e.request[at:v.Start])
			dst = binary.LittleEndian.AppendUint64(dst, key)
			dst = binary.AppendUvarint(dst, uint64(v.End-v.Start))
			at = v.End
		}
		dst = appendBytes(dst, e.request[at:])
	}
	if e.response == nil {
		return append(dst, formNone)
	}
	dst = append(dst, formInline)
	return appendBytes(dst, e.response)
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

var errDamaged = errors.New("damaged")

// readEntry reads an entry; text finds a shared text.
func readEntry(b []byte, text func(key uint64) ([]byte, error)) (e entry, err error) {
	r := entryReader{b: b}
	copy(e.id[:], r.take(16))
	e.details = r.bytes()
	switch r.form() {
	case formInline:
		e.request = r.bytes()
	case formShared:
		e.request = []byte{}
		for n := r.uvarint(); n > 0; n-- {
			e.request = append(e.request, r.bytes()...)
			key, length := r.take(8), r.uvarint()
			if r.err != nil {
				return e, r.err
			}
			shared, err := text(binary.LittleEndian.Uint64(key))
			if err != nil {
				return e, err
			}
			if uint64(len(shared)) != length {
				return e, fmt.Errorf("%w: shared text of another length", errDamaged)
			}
			e.request = append(e.request, shared...)
		}
		e.request = append(e.request, r.bytes()...)
	}
	if r.form() == formInline {
		e.response = r.bytes()
	}
	return e, r.err
}

type entryReader struct {
	b   []byte
	err error
}

func (r *entryReader) take(n uint64) []byte {
	if uint64(len(r.b)) < n {
		r.err = fmt.Errorf("%w: entry ends early", errDamaged)
		r.b = nil
		return make([]byte, min(n, 16))
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *entryReader) uvarint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.err = fmt.Errorf("%w: entry ends early", errDamaged)
		r.b = nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *entryReader) bytes() []byte { return r.take(r.uvarint()) }

func (r *entryReader) form() byte { return r.take(1)[0] }

// pack compresses a blob when that is worth it.
func pack(dst, raw []byte, compress bool) (blob []byte, codec int64) {
	if !compress || len(raw) < 64 {
		return raw, codecRaw
	}
	if n := s2.MaxEncodedLen(len(raw)); cap(dst) < n {
		dst = make([]byte, n)
	}
	out := s2.Encode(dst[:cap(dst)], raw)
	if len(out) >= len(raw) {
		return raw, codecRaw
	}
	return out, codecS2
}

func unpack(blob []byte, codec, size int64) ([]byte, error) {
	switch codec {
	case codecRaw:
	case codecS2:
		if n, err := s2.DecodedLen(blob); err != nil || int64(n) != size {
			return nil, fmt.Errorf("%w: length of a compressed block", errDamaged)
		}
		var err error
		if blob, err = s2.Decode(nil, blob); err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
	default:
		return nil, fmt.Errorf("%w: unknown codec %d", errDamaged, codec)
	}
	if int64(len(blob)) != size {
		return nil, fmt.Errorf("%w: length of a block", errDamaged)
	}
	return blob, nil
}
