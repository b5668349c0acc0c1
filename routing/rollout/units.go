package rollout

// maxUnits bounds a set of units: 128 KiB of table, 64 KiB stored.
const maxUnits = 16_384

// units is a set of units, as 31 bits of a hash each, with a mark on each. It
// never holds more than maxUnits: when it is full it forgets every other unit
// and from then on takes only those it would have kept, chosen by their hash.
// What it holds is then a fair sample, the same for every outcome a unit may
// have, and twice as many units stand for each as before. Two units are
// taken for one with a chance of 1 in 100,000 at 16,000 units, of 1 in 2,000 at a million.
type units struct {
	slots  []uint32 // open addressing; hash<<1 | mark; 0 is free
	n      int
	marked int
	level  uint8 // one in 2^level is held
}

// spread mixes a unit's hash, of which the bucket was made too (the
// finalizer of SplitMix64).
func spread(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// key is a unit's entry, never 0, and whether the set takes it at its level.
func (u *units) key(unit uint64) (uint32, bool) {
	k := uint32(spread(unit)>>33) << 1
	if k == 0 {
		k = 1 << 31
	}
	return k, within(k, u.level)
}

func within(k uint32, level uint8) bool { return k>>1&(1<<level-1) == 0 }

// find is the slot of a key, or the free one where it belongs.
func (u *units) find(k uint32) int {
	mask := len(u.slots) - 1
	i := int(k*0x9e3779b1>>8) & mask
	for u.slots[i] != 0 && u.slots[i]&^1 != k {
		i = (i + 1) & mask
	}
	return i
}

// has reports whether the unit is in the set; sampled, whether it could be.
func (u *units) has(unit uint64) (found, sampled bool) {
	k, sampled := u.key(unit)
	if !sampled || u.n == 0 {
		return false, sampled
	}
	return u.slots[u.find(k)] != 0, true
}

// add puts a unit in, and reports whether it is new.
func (u *units) add(unit uint64) bool {
	k, sampled := u.key(unit)
	if !sampled {
		return false
	}
	if len(u.slots) > 0 && u.slots[u.find(k)] != 0 {
		return false
	}
	u.insert(k)
	return true
}

// mark puts a unit in if need be and marks it, and reports whether the mark is new.
func (u *units) mark(unit uint64) bool {
	k, sampled := u.key(unit)
	if !sampled {
		return false
	}
	if len(u.slots) > 0 {
		if s := &u.slots[u.find(k)]; *s != 0 {
			if *s&1 != 0 {
				return false
			}
			*s |= 1
			u.marked++
			return true
		}
	}
	u.insert(k | 1)
	return true
}

// insert puts in a slot's value that is not there yet.
func (u *units) insert(v uint32) {
	if u.n >= maxUnits {
		u.level++
		u.resize(len(u.slots))
		if !within(v, u.level) {
			return
		}
	}
	if 2*u.n >= len(u.slots) {
		u.resize(max(64, 2*len(u.slots)))
	}
	u.slots[u.find(v&^1)] = v
	u.n++
	u.marked += int(v & 1)
}

// resize moves those of the set's level to a table of another size.
func (u *units) resize(size int) {
	old := u.slots
	u.slots, u.n, u.marked = make([]uint32, size), 0, 0
	for _, v := range old {
		if v != 0 && within(v, u.level) {
			u.slots[u.find(v&^1)] = v
			u.n++
			u.marked += int(v & 1)
		}
	}
}

// count is about how many units there were.
func (u *units) count() int { return u.n << u.level }

// countMarked is about how many had their mark.
func (u *units) countMarked() int { return u.marked << u.level }

// countWithin is how many are held of those that a set of a level holds.
func (u *units) countWithin(level uint8) int {
	if level <= u.level {
		return u.n
	}
	n := 0
	for _, v := range u.slots {
		if v != 0 && within(v, level) {
			n++
		}
	}
	return n
}
