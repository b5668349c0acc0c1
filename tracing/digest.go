package tracing

import (
	"encoding/binary"
	"math"
	"strings"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Beside its row each trace has a digest of 64 bytes. Up to 256 of them make a
// segment, one blob: lists, filters and statistics read a million of them in
// the time in which SQL reads a few thousand rows, and, unlike indexes on
// users and sessions, they cost next to nothing to write. What a filter
// finds is then compared with the row itself.
//
// Layout, little endian: seq 8, end of the id 8, tags 8, cost 8, series 4,
// session 4, user 4, duration 4, ttft 4, input tokens 4, output tokens 4, flags 4.
const (
	digestSize    = 64
	segmentLength = 256
)

// tick is the unit of durations in a digest, in microseconds.
const tick = 10

const noTicks = math.MaxUint32

type digest []byte

func appendDigest(dst []byte, w *row) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, uint64(w.seq))
	dst = le.AppendUint64(dst, binary.BigEndian.Uint64(w.id[8:]))
	marks, many := tagMarks(w.tags)
	if many {
		w.flags |= flagManyTags
	}
	dst = le.AppendUint64(dst, marks)
	dst = le.AppendUint64(dst, math.Float64bits(w.cost))
	dst = le.AppendUint32(dst, uint32(w.seriesID))
	dst = le.AppendUint32(dst, hash32(w.session))
	dst = le.AppendUint32(dst, hash32(w.user))
	dst = le.AppendUint32(dst, uint32(min(w.duration/tick, noTicks-1)))
	ttft := uint32(noTicks)
	if w.ttft >= 0 {
		ttft = uint32(min(w.ttft/tick, noTicks-1))
	}
	dst = le.AppendUint32(dst, ttft)
	dst = le.AppendUint32(dst, uint32(min(w.usage.Input, math.MaxUint32)))
	dst = le.AppendUint32(dst, uint32(min(w.usage.Output, math.MaxUint32)))
	return le.AppendUint32(dst, uint32(w.flags))
}

func (d digest) seq() int64       { return int64(binary.LittleEndian.Uint64(d)) }
func (d digest) tags() uint64     { return binary.LittleEndian.Uint64(d[16:]) }
func (d digest) cost() float64    { return math.Float64frombits(binary.LittleEndian.Uint64(d[24:])) }
func (d digest) series() uint32   { return binary.LittleEndian.Uint32(d[32:]) }
func (d digest) session() uint32  { return binary.LittleEndian.Uint32(d[36:]) }
func (d digest) user() uint32     { return binary.LittleEndian.Uint32(d[40:]) }
func (d digest) duration() uint32 { return binary.LittleEndian.Uint32(d[44:]) }
func (d digest) ttft() uint32     { return binary.LittleEndian.Uint32(d[48:]) }
func (d digest) input() uint32    { return binary.LittleEndian.Uint32(d[52:]) }
func (d digest) output() uint32   { return binary.LittleEndian.Uint32(d[56:]) }
func (d digest) flags() uint32    { return binary.LittleEndian.Uint32(d[60:]) }

// id puts the trace's id together again.
func (d digest) id() (id [16]byte) {
	seq := uint64(d.seq()) - uint64(d.flags()>>flagShift&maxShift)
	binary.BigEndian.PutUint64(id[:8], seq>>12<<16|7<<12|seq&0xfff)
	binary.BigEndian.PutUint64(id[8:], binary.LittleEndian.Uint64(d[8:]))
	return id
}

// tagMarks makes 64 bits of the tags, a JSON object of texts: the hashes of up
// to four of them, or for more a filter with two bits each.
func tagMarks(tags string) (marks uint64, many bool) {
	if tags == "" {
		return 0, false
	}
	doc := unsafe.Slice(unsafe.StringData(tags), len(tags)) // only read
	n := 0
	var bits uint64
	for key, v := range jsonscan.MembersOf(doc, jsonscan.Value{Start: 0, End: len(doc)}) {
		k, ok := string(key), true
		if strings.IndexByte(k, '\\') >= 0 {
			k, ok = jsonscan.Unquote([]byte(`"` + k + `"`))
		}
		value, valid := jsonscan.Unquote(v.Of(doc))
		if !ok || !valid {
			return math.MaxUint64, true
		}
		h := tagHash(k, value)
		bits |= tagBits(h)
		if n < 4 {
			marks |= uint64(tagMark(h)) << (16 * n)
		}
		n++
	}
	if n > 4 {
		return bits, true
	}
	return marks, false
}

func tagHash(k, v string) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(k)
	_, _ = d.WriteString("=")
	_, _ = d.WriteString(v)
	return d.Sum64()
}

func tagMark(h uint64) uint16 { return max(uint16(h), 1) }

func tagBits(h uint64) uint64 { return 1<<(h>>16&63) | 1<<(h>>24&63) }

// mayHaveTag reports whether the trace can have the tag of that hash.
func (d digest) mayHaveTag(h uint64) bool {
	marks := d.tags()
	if d.flags()&flagManyTags != 0 {
		bits := tagBits(h)
		return marks&bits == bits
	}
	mark := tagMark(h)
	for range 4 {
		if uint16(marks) == mark {
			return true
		}
		marks >>= 16
	}
	return false
}
