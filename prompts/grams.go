package prompts

// grams is the set of the four-byte pieces of a text, by hash. It tells in a
// nanosecond that a literal cannot occur, which matters when very many
// templates share their opening.
type grams struct {
	bits [1 << 16 / 64]uint64
}

func gram(s string, i int) uint16 {
	x := uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24
	return uint16(x * 0x9e3779b1 >> 16)
}

func (g *grams) fill(text string) {
	clear(g.bits[:])
	for i := 0; i+4 <= len(text); i++ {
		h := gram(text, i)
		g.bits[h>>6] |= 1 << (h & 63)
	}
}

// rarity is how many of the templates of a slot have a piece.
type rarity []uint32

// mostPieces bounds how much of a literal is looked at.
const mostPieces = 4 << 10

// pieces calls fn for each piece of the literals behind the opening.
func pieces(p *pattern, fn func(uint16)) {
	each := func(literal string) {
		for i := 0; i+4 <= len(literal) && i < mostPieces; i++ {
			fn(gram(literal, i))
		}
	}
	for _, literal := range p.inner {
		each(literal)
	}
	each(p.closing)
}

func (r rarity) add(p *pattern) { pieces(p, func(h uint16) { r[h]++ }) }

// telltale is the pieces of a template that fewest others have: when one is
// missing in a text, the template cannot match it.
type telltale struct {
	piece [4]uint16
	n     int
}

func (r rarity) telltale(p *pattern) (t telltale) {
	pieces(p, func(h uint16) {
		at := t.n
		for i := range t.n {
			if t.piece[i] == h {
				return
			}
			if at == t.n && r[h] < r[t.piece[i]] {
				at = i
			}
		}
		if at == len(t.piece) {
			return
		}
		copy(t.piece[at+1:], t.piece[at:])
		t.piece[at] = h
		t.n = min(t.n+1, len(t.piece))
	})
	return t
}

// mayHave reports whether all of them are in the set.
func (g *grams) mayHave(t *telltale) bool {
	for _, h := range t.piece[:t.n] {
		if g.bits[h>>6]&(1<<(h&63)) == 0 {
			return false
		}
	}
	return true
}
