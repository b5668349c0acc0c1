package tracing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Trace returns everything that is known of the trace.
func (s *Store) Trace(ctx context.Context, id string) (t Trace, err error) {
	raw, err := parseID(id)
	if err != nil {
		return t, ErrNotFound
	}
	end, err := s.readers.begin(ctx)
	if err != nil {
		return t, err
	}
	defer end()
	day := dayOf(seqOf(raw))
	for _, keys := range s.days(day, day) {
		files, damaged, err := s.openDay(ctx, keys)
		found := false
		for _, f := range files {
			if err == nil && !found {
				t, found, err = f.trace(raw)
			}
		}
		for _, f := range files {
			s.readers.done(f, err)
		}
		if err != nil {
			return Trace{}, err
		}
		if found {
			return t, nil
		}
		if len(damaged) > 0 {
			return t, fmt.Errorf("%w: it may have been in %s, which is damaged", ErrNotFound, strings.Join(damaged, ", "))
		}
	}
	return t, ErrNotFound
}

// find returns the key of a trace in the file; 0: it is not there.
func (f *readFile) find(id [16]byte) (seq int64, err error) {
	seq = seqOf(id)
	stmt, err := f.conn.Prepare("SELECT seq, id FROM calls WHERE seq BETWEEN ?1 AND ?2")
	if err != nil {
		return 0, err
	}
	stmt.BindInt64(1, seq)
	stmt.BindInt64(2, seq+maxShift)
	defer func() { _ = stmt.Reset() }()
	for {
		more, err := stmt.Step()
		if err != nil && !ctxErr(err) {
			break
		}
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
		var have [16]byte
		if stmt.ColumnBytes(1, have[:]) == len(have) && have == id {
			return stmt.ColumnInt64(0), nil
		}
	}
	// Not among the rows; if its digest is there, its row is damaged.
	spans, err := f.spans(nil, seq, seq+maxShift+1)
	if err != nil {
		return 0, err
	}
	for _, s := range spans {
		b, err := f.digests(s)
		if err != nil && !errors.Is(err, errDamaged) {
			return 0, err
		}
		for ; len(b) >= digestSize; b = b[digestSize:] {
			if d := digest(b[:digestSize]); d.id() == id {
				return d.seq(), nil
			}
		}
	}
	return 0, nil
}

func (f *readFile) trace(id [16]byte) (t Trace, found bool, err error) {
	seq, err := f.find(id)
	if err != nil || seq == 0 {
		return t, false, err
	}
	if t, err = f.traceAt(seq, id); err != nil {
		if errors.Is(err, errDamaged) {
			t.Row = damagedRow(id, seq, err)
			return t, true, nil
		}
		return t, false, err
	}
	t.Feedback, err = f.feedback(seq)
	if errors.Is(err, errDamaged) {
		t.Damaged = strings.TrimPrefix(t.Damaged+"; feedback: "+err.Error(), "; ")
		err = nil
	}
	return t, true, err
}

// traceAt reads the trace with that key, without its feedback. Only a damaged
// row is an error; what else is damaged is said in the trace.
func (f *readFile) traceAt(seq int64, id [16]byte) (Trace, error) {
	t := Trace{Request: null, Response: null, Parameters: null, Adjustments: []string{}, Variables: map[string]string{}, Spans: []Span{}, Feedback: []Feedback{}, NearMiss: null}
	w, err := f.call(seq)
	if err == nil && w.id != id {
		err = fmt.Errorf("%w: the row is another trace's", errDamaged)
	}
	if errors.Is(err, errDamaged) {
		f.store.noteDamage(f.key.name(), fmt.Sprintf("row of %x", id[:]), err)
	}
	if err != nil {
		return t, err
	}
	t.Row = w.show()
	t.Truncated = w.flags&flagTruncated != 0
	e, err := f.entry(&w)
	switch {
	case errors.Is(err, errDamaged):
		t.Damaged = "bodies: " + err.Error()
	case err != nil:
		return t, err
	default:
		t.fill(&e)
	}
	return t, nil
}

func (t *Trace) fill(e *entry) {
	var d details
	if len(e.details) > 0 {
		var err error
		if d, err = readDetails(e.details); err != nil {
			t.Damaged = "details: " + err.Error()
		}
	}
	t.Message, t.W3CTraceID, t.W3CSpanID, t.Notes = known(d.Message), known(d.W3CTraceID), known(d.W3CSpanID), d.Notes
	if d.Parameters != nil {
		t.Parameters = d.Parameters
	}
	if d.Adjustments != nil {
		t.Adjustments = d.Adjustments
	}
	if d.Variables != nil {
		t.Variables = d.Variables
	}
	if d.NearMiss != nil {
		t.NearMiss = d.NearMiss
	}
	t.Spans = append(t.Spans, d.Spans...)
	t.Request, t.Response = payload(e.request), payload(e.response)
	if d.Parameters == nil && e.request != nil {
		if o, err := jsonscan.Parse(e.request, maxNesting, nil); err == nil {
			t.Parameters = appendParameters(nil, &o)
		}
	}
}

var null = json.RawMessage("null")

// payload is a body as JSON: itself, or a text when it is none.
func payload(b []byte) json.RawMessage {
	switch {
	case b == nil:
		return null
	case json.Valid(b):
		return b
	}
	return jsonscan.AppendQuoted(nil, strings.ToValidUTF8(string(b), "\ufffd"))
}
