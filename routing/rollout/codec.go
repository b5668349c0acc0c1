package rollout

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// ErrDamaged means that stored evidence is not what was stored.
var ErrDamaged = errors.New("the stored evidence is damaged")

// version of the stored form. Another one is not read: the epoch then begins anew.
const version = 1

// mostCount bounds what is counted, so that counting on does not overflow.
const mostCount = 1 << 53

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendBinary appends the evidence in a compact form with a checksum: some
// hundred bytes at first, about 300 KB at most. Read again, it decides as this one would.
func (e *Evidence) AppendBinary(b []byte) ([]byte, error) {
	start := len(b)
	c := codec{bytes: b, writing: true}
	c.bytes = append(c.bytes, version)
	c.evidence(e)
	sum := crc32.Checksum(c.bytes[start:], castagnoli)
	return binary.LittleEndian.AppendUint32(c.bytes, sum), nil
}

// DecodeEvidence reads what AppendBinary wrote under the same plan.
func (p *Plan) DecodeEvidence(b []byte) (*Evidence, error) {
	if len(b) < 5 {
		return nil, ErrDamaged
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return nil, ErrDamaged
	}
	return p.decode(body)
}

func (p *Plan) decode(body []byte) (*Evidence, error) {
	if len(body) == 0 || body[0] != version {
		return nil, fmt.Errorf("%w, or of another version", ErrDamaged)
	}
	e := p.NewEvidence()
	c := codec{bytes: body[1:]}
	c.evidence(e)
	if c.bad || len(c.bytes) > 0 {
		return nil, ErrDamaged
	}
	return e, nil
}

// codec writes values, or reads them into the same places. What is read is
// checked; after the first mistake everything is zero.
type codec struct {
	bytes   []byte
	writing bool
	bad     bool
}

func (c *codec) evidence(e *Evidence) {
	whole(c, &e.mark.Epoch, math.MaxInt32)
	whole(c, &e.mark.Step, maxSteps)
	c.float(&e.mark.Share, 0, 1)
	c.float(&e.limit, 0, math.MaxFloat64)
	c.failures(e.errors)
	has := e.format != nil
	if c.flag(&has); has != (e.format != nil) {
		c.bad = true
	}
	if e.format != nil {
		c.failures(e.format)
	}
	for v := range e.steps {
		m := &e.steps[v]
		whole(c, &m.outcomes, mostCount)
		whole(c, &m.unknown, math.MaxInt32)
		c.units(&m.units)
		c.units(&m.scored)
		for _, h := range []*histogram{&m.latency, &m.ttft, &m.cost, &m.score} {
			c.histogram(h)
		}
	}
}

func (c *codec) failures(f *failures) {
	c.units(&f.failed)
	n := len(f.strata)
	whole(c, &n, maxStrata)
	if !c.writing {
		f.strata = make(strata, n)
	}
	for i := range f.strata {
		s := &f.strata[i]
		c.float(&s.share, 0, 1)
		for v := range s.requests {
			whole(c, &s.requests[v], mostCount)
			whole(c, &s.failures[v], s.requests[v])
		}
	}
	// What a test would judge by another limit than the plan's is not its evidence.
	tolerance, limit := f.conditional.tolerance, f.limit
	c.float(&tolerance, f.conditional.tolerance, f.conditional.tolerance)
	c.float(&limit, f.limit, f.limit)
	c.starts(&f.conditional.starts)
	for i := range f.conditional.ratio {
		c.float(&f.conditional.ratio[i], 0, most)
	}
	c.starts(&f.alone.starts)
	for i := range f.alone.ratio {
		c.float(&f.alone.ratio[i], 0, most)
		r := &f.alone.runs[i]
		c.float(&r.score, 0, most)
		for v := range r.requests {
			whole(c, &r.requests[v], mostCount)
			whole(c, &r.failures[v], r.requests[v])
		}
	}
	for v := range f.recent.failed {
		whole(c, &f.recent.failed[v], math.MaxUint32)
		whole(c, &f.recent.seen[v], outageOf)
	}
	whole(c, &f.verdict, outage)
	c.float(&f.base, 0, baseMost)
	if f.base != 0 && f.base < baseFloor {
		c.bad = true
	}
	whole(c, &f.baseOf, mostCount)
	whole(c, &f.baseNew, mostCount)
	for i := range f.kinds {
		c.text(&f.kinds[i].name)
		whole(c, &f.kinds[i].n, mostCount)
	}
	for i := range f.traces {
		c.text(&f.traces[i])
	}
	whole(c, &f.traced, mostCount)
}

func (c *codec) starts(s *starts) {
	whole(c, &s.n, mostCount)
	c.float(&s.left, 0, 1)
}

func (c *codec) units(u *units) {
	whole(c, &u.level, 31)
	n := u.n
	whole(c, &n, maxUnits)
	if c.writing {
		for _, v := range u.slots {
			if v != 0 {
				c.bytes = binary.LittleEndian.AppendUint32(c.bytes, v)
			}
		}
		return
	}
	if c.bad || len(c.bytes) < 4*n {
		c.bad = true
		return
	}
	for i := range n {
		v := binary.LittleEndian.Uint32(c.bytes[4*i:])
		if v>>1 == 0 || !within(v&^1, u.level) || u.n > 0 && u.slots[u.find(v&^1)] != 0 {
			c.bad = true
			return
		}
		u.insert(v)
	}
	c.bytes = c.bytes[4*n:]
}

// histogram has its buckets as pairs of how many empty ones come before, and its count.
func (c *codec) histogram(h *histogram) {
	used := 0
	for _, n := range h.counts {
		if n != 0 {
			used++
		}
	}
	whole(c, &used, h.buckets())
	if c.writing {
		last := -1
		for i, n := range h.counts {
			if n == 0 {
				continue
			}
			skip := i - last - 1
			whole(c, &skip, h.buckets())
			whole(c, &n, math.MaxUint32)
			last = i
		}
		return
	}
	if used > 0 {
		h.counts = make([]uint32, h.buckets())
	}
	for at := 0; used > 0 && !c.bad; used-- {
		var skip int
		var n uint32
		whole(c, &skip, h.buckets())
		whole(c, &n, math.MaxUint32)
		if at += skip; at >= len(h.counts) || n == 0 {
			c.bad = true
			return
		}
		h.counts[at] = n
		h.n += int(n)
		at++
	}
}

// whole is a number from 0 to most.
func whole[T ~int | ~int64 | ~uint32 | ~uint8](c *codec, v *T, most T) {
	if c.writing {
		c.bytes = binary.AppendUvarint(c.bytes, uint64(*v))
		return
	}
	n, size := binary.Uvarint(c.bytes)
	if c.bad || size <= 0 || n > uint64(most) {
		c.bad, *v = true, 0
		return
	}
	*v = T(n)
	c.bytes = c.bytes[size:]
}

func (c *codec) float(v *float64, least, most float64) {
	if c.writing {
		c.bytes = binary.LittleEndian.AppendUint64(c.bytes, math.Float64bits(*v))
		return
	}
	if c.bad || len(c.bytes) < 8 {
		c.bad, *v = true, 0
		return
	}
	f := math.Float64frombits(binary.LittleEndian.Uint64(c.bytes))
	if !(f >= least && f <= most) {
		c.bad, *v = true, 0
		return
	}
	*v = f
	c.bytes = c.bytes[8:]
}

func (c *codec) flag(v *bool) {
	n := uint8(0)
	if *v {
		n = 1
	}
	whole(c, &n, 1)
	*v = n == 1
}

func (c *codec) text(s *string) {
	n := len(*s)
	whole(c, &n, maxText)
	if c.writing {
		c.bytes = append(c.bytes, *s...)
		return
	}
	if c.bad || len(c.bytes) < n {
		c.bad, *s = true, ""
		return
	}
	*s = string(c.bytes[:n])
	c.bytes = c.bytes[n:]
}
