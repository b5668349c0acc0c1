package tracing

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Filter says which traces are wanted. Zero values ask for all.
type Filter struct {
	Route, Variant string
	Model          string // the model's id, or provider/id
	Prompt         string
	Version        int
	Status         string
	Session, User  string
	Tags           map[string]string // all of them
	Since, Until   time.Time         // Until itself is not included
	Text           string            // in the request or the answer; ASCII letters of either case are the same
	Cursor         string            // of the page before
	Limit          int               // 0: 50; at most 1000
}

// Page is a part of a list of traces, the newest first.
type Page struct {
	Items []Row
	Next  string // the cursor of the next page; "" on the last one

	// Damaged names files that could not be read (whole).
	Damaged []string
}

// The limits of a page.
const (
	DefaultLimit = 50
	MaxLimit     = 1000
)

// searchTime is how long a text is searched for before the page is cut.
const searchTime = 2 * time.Second

// ErrNotFound says that there is no such trace.
var ErrNotFound = errors.New("no such trace")

// ErrCursor says that a cursor is not one, or is another query's.
var ErrCursor = errors.New("not a cursor of this list")

// Query returns a page of the traces that the filter asks for.
func (s *Store) Query(ctx context.Context, f Filter) (p Page, err error) {
	before := int64(math.MaxInt64)
	if f.Cursor != "" {
		if before, err = f.readCursor(); err != nil {
			return p, err
		}
	}
	if f.Limit <= 0 {
		f.Limit = DefaultLimit
	}
	f.Limit = min(f.Limit, MaxLimit)
	end, err := s.readers.begin(ctx)
	if err != nil {
		return p, err
	}
	defer end()
	q := query{Filter: f, matcher: newMatcher(&f), before: before}
	q.to = min(q.to, before)
	if f.Text != "" {
		q.text = newSearch(f.Text)
		q.deadline = time.Now().Add(searchTime)
	}
	if q.from >= q.to {
		return p, nil
	}
	for _, day := range s.days(dayOf(q.from), dayOf(min(q.to, seqAt(maxTime)))) {
		if err := s.queryDay(ctx, &q, day, &p); err != nil {
			return Page{}, err
		}
		if q.over {
			break
		}
	}
	if q.over {
		p.Next = f.cursor(q.last)
	}
	return p, nil
}

var maxTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// query is one that runs.
type query struct {
	Filter
	matcher
	before   int64
	text     *search
	deadline time.Time
	last     int64 // key of the last trace looked at
	over     bool  // the page is full, or its time is up, and there is more
}

// queryDay adds a day's traces to the page. The files of a day can overlap in
// time, so they are looked at together.
func (s *Store) queryDay(ctx context.Context, q *query, keys []fileKey, p *Page) (err error) {
	files, damaged, err := s.openDay(ctx, keys)
	p.Damaged = append(p.Damaged, damaged...)
	defer func() {
		for _, f := range files {
			s.readers.done(f, err)
		}
	}()
	if err != nil {
		return err
	}
	var spans []span
	selected := map[*readFile][]bool{}
	for _, f := range files {
		choice, some := q.chooseSeries(f)
		if !some {
			continue
		}
		selected[f] = choice
		if spans, err = f.spans(spans, q.from, q.to); err != nil {
			return err
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(b.max, a.max) })
	before := q.to
	for {
		want := q.Limit - len(p.Items) + 1
		if q.text != nil {
			want = max(want, 256)
		}
		found, err := q.candidates(ctx, spans, selected, before, want)
		if err != nil {
			return err
		}
		for _, c := range found {
			if len(p.Items) >= q.Limit {
				q.over = true
				return nil
			}
			if q.text != nil && time.Now().After(q.deadline) && q.last != 0 {
				q.over = true
				return nil
			}
			r, ok, err := q.read(c)
			if err != nil {
				return err
			}
			if ok {
				p.Items = append(p.Items, r)
			}
			q.last = c.seq
			before = c.seq
		}
		if len(found) < want {
			return nil
		}
	}
}

// openDay opens the files; those that cannot be read are named.
func (s *Store) openDay(ctx context.Context, keys []fileKey) (files []*readFile, damaged []string, err error) {
	for _, key := range keys {
		f, err := s.readers.open(ctx, key)
		switch {
		case err == nil && f == nil:
		case err == nil:
			files = append(files, f)
		case ctx.Err() != nil || errors.Is(err, ErrClosed) || ctxErr(err):
			return files, damaged, cmp.Or(ctx.Err(), err)
		default:
			s.noteDamage(key.name(), "file", err)
			damaged = append(damaged, key.name())
		}
	}
	return files, damaged, nil
}

// matcher is what a digest can tell of a filter.
type matcher struct {
	from, to      int64
	bySeries      bool
	session, user uint32
	tags          []uint64
	filter        *Filter
}

func newMatcher(f *Filter) matcher {
	m := matcher{to: math.MaxInt64, filter: f, session: hash32(f.Session), user: hash32(f.User)}
	if !f.Since.IsZero() {
		m.from = seqAt(f.Since)
	}
	if !f.Until.IsZero() {
		m.to = seqAt(f.Until)
	}
	m.bySeries = f.Route != "" || f.Variant != "" || f.Model != "" || f.Prompt != "" || f.Version != 0 || f.Status != ""
	for k, v := range f.Tags {
		m.tags = append(m.tags, tagHash(k, v))
	}
	return m
}

// chooseSeries marks the file's series that the filter asks for; nil: all.
func (m *matcher) chooseSeries(f *readFile) (choice []bool, some bool) {
	if !m.bySeries {
		return nil, true
	}
	choice = make([]bool, f.lastSeries+1)
	for id, s := range f.series {
		if int64(id) <= f.lastSeries && m.filter.matches(&s) {
			choice[id], some = true, true
		}
	}
	return choice, some
}

func (f *Filter) matches(s *series) bool {
	return (f.Route == "" || f.Route == s.route) &&
		(f.Variant == "" || f.Variant == s.variant) &&
		(f.Model == "" || f.Model == s.model || s.provider != "" && f.Model == s.provider+"/"+s.model) &&
		(f.Prompt == "" || f.Prompt == s.prompt) &&
		(f.Version == 0 || s.prompt != "" && int64(f.Version) == s.version) &&
		(f.Status == "" || f.Status == s.status)
}

func (m *matcher) match(d digest, choice []bool) bool {
	if choice != nil {
		if id := d.series(); int(id) >= len(choice) || !choice[id] {
			return false
		}
	}
	if m.session != 0 && d.session() != m.session || m.user != 0 && d.user() != m.user {
		return false
	}
	for _, h := range m.tags {
		if !d.mayHaveTag(h) {
			return false
		}
	}
	return true
}

// candidate is a trace that the digests say is wanted.
type candidate struct {
	seq  int64
	id   [16]byte
	file *readFile
}

// candidates returns the newest traces before a key, at most n of them.
func (q *query) candidates(ctx context.Context, spans []span, selected map[*readFile][]bool, before int64, n int) ([]candidate, error) {
	var found []candidate
	floor := q.from
	for i := 0; i < len(spans); i++ {
		s := spans[i]
		if s.min >= before {
			continue
		}
		if len(found) >= n && s.max < found[n-1].seq {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		choice := selected[s.file]
		b, err := s.file.digests(s)
		if errors.Is(err, errDamaged) {
			s.file.store.noteDamage(s.file.key.name(), "segment", err)
			rows, err := s.file.rowSpans(nil, q.from, q.to)
			if err != nil {
				return nil, err
			}
			// From here on this file is read by its rows alone. What was found
			// in its segments so far is found again.
			spans = slices.DeleteFunc(slices.Clone(spans), func(o span) bool { return o.file == s.file })
			spans = append(spans, rows...)
			slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(b.max, a.max) })
			found, floor, i = found[:0], q.from, -1
			continue
		}
		if err != nil {
			return nil, err
		}
		for ; len(b) >= digestSize; b = b[digestSize:] {
			d := digest(b[:digestSize])
			seq := d.seq()
			if seq < floor || seq >= before || !q.match(d, choice) {
				continue
			}
			found = append(found, candidate{seq, d.id(), s.file})
		}
		if len(found) >= n {
			slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(b.seq, a.seq) })
			found = found[:n]
			floor = found[n-1].seq
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(b.seq, a.seq) })
	return found, nil
}

// read reads a candidate's row and compares it with the filter itself.
func (q *query) read(c candidate) (Row, bool, error) {
	w, err := c.file.call(c.seq)
	if err == nil && w.id != c.id {
		err = fmt.Errorf("%w: the row is another trace's", errDamaged)
	}
	if errors.Is(err, errDamaged) {
		c.file.store.noteDamage(c.file.key.name(), fmt.Sprintf("row of %x", c.id[:]), err)
		return damagedRow(c.id, c.seq, err), true, nil
	}
	if err != nil {
		return Row{}, false, err
	}
	f := &q.Filter
	if f.Session != "" && f.Session != w.session || f.User != "" && f.User != w.user || !f.matches(&w.series) {
		return Row{}, false, nil
	}
	r := w.show()
	for k, v := range f.Tags {
		if has, ok := r.Tags[k]; !ok || has != v {
			return Row{}, false, nil
		}
	}
	if q.text == nil {
		return r, true, nil
	}
	e, err := c.file.entry(&w)
	if errors.Is(err, errDamaged) {
		r.Damaged = "bodies: " + err.Error()
		return r, true, nil
	}
	if err != nil {
		return Row{}, false, err
	}
	return r, q.text.in(e.request) || q.text.in(e.response), nil
}

// cursor hides the place after a trace. It belongs to its filter.
func (f *Filter) cursor(seq int64) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(seq))
	b = binary.BigEndian.AppendUint32(b, f.mark())
	return base64.RawURLEncoding.EncodeToString(b)
}

func (f *Filter) readCursor() (int64, error) {
	b, err := base64.RawURLEncoding.DecodeString(f.Cursor)
	if err != nil || len(b) != 12 || binary.BigEndian.Uint32(b[8:]) != f.mark() {
		return 0, ErrCursor
	}
	return int64(binary.BigEndian.Uint64(b) & math.MaxInt64), nil
}

// mark tells filters apart. A since or until that is a duration moves on
// between pages, so times are left out.
func (f *Filter) mark() uint32 {
	c := *f
	c.Cursor, c.Limit, c.Since, c.Until = "", 0, time.Time{}, time.Time{}
	b, _ := json.Marshal(c)
	return uint32(xxhash.Sum64(b))
}
