package tracing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/caddy-frontier/frontier/internal/call"
)

// Limits of feedback, in bytes.
const (
	maxFeedbackValue   = 4 << 10
	maxFeedbackComment = 16 << 10
	maxFeedback        = 1000 // of one trace
)

// ErrNoSpace says that the disk is too full to write anything.
var ErrNoSpace = errors.New("not enough space on the disk")

// feedbackError says what is wrong with a field.
type feedbackError struct{ field, message string }

func (e *feedbackError) Error() string { return fmt.Sprintf("%q %s", e.field, e.message) }

func (f *Feedback) validate() error {
	switch {
	case f.Name == "":
		return &feedbackError{"name", "is missing: say what the value is about, such as \"thumbs\""}
	case len(f.Name) > maxField:
		return &feedbackError{"name", "is longer than 256 bytes"}
	case len(f.Value) == 0 || string(f.Value) == "null":
		return &feedbackError{"value", "is missing: true, false, a number or a text"}
	case len(f.Value) > maxFeedbackValue:
		return &feedbackError{"value", "is larger than 4 KiB"}
	case len(f.Comment) > maxFeedbackComment:
		return &feedbackError{"comment", "is longer than 16 KiB"}
	case len(f.Source) > maxField:
		return &feedbackError{"source", "is longer than 256 bytes"}
	}
	return nil
}

// AddFeedback stores feedback with the trace, which may have ended just now.
func (s *Store) AddFeedback(ctx context.Context, id string, f Feedback) error {
	if err := f.validate(); err != nil {
		return err
	}
	raw, err := parseID(id)
	if err != nil {
		return ErrNotFound
	}
	return s.do(ctx, func() error { return s.writer.feedback(raw, &f) })
}

// AddSessionFeedback stores feedback with the session's newest trace, and
// returns which one that is.
func (s *Store) AddSessionFeedback(ctx context.Context, session string, f Feedback) (id string, err error) {
	if err := f.validate(); err != nil {
		return "", err
	}
	if err := s.Sync(ctx); err != nil {
		return "", err
	}
	p, err := s.Query(ctx, Filter{Session: session, Limit: 1})
	if err != nil {
		return "", err
	}
	if len(p.Items) == 0 {
		return "", ErrNotFound
	}
	return p.Items[0].ID, s.AddFeedback(ctx, p.Items[0].ID, f)
}

// feedback is called by the writer's goroutine.
func (w *writer) feedback(id [16]byte, fb *Feedback) error {
	s := w.store
	if free, err := s.options.FreeSpace(s.dir); err == nil && free < s.options.MinFree {
		return ErrNoSpace
	}
	seq := seqOf(id)
	for _, keys := range s.days(dayOf(seq), dayOf(seq)) {
		for _, key := range keys {
			if missing(s.path(key)) {
				continue
			}
			f, err := w.open(key)
			if err != nil {
				return err
			}
			found, err := f.feedback(id, fb, s.options.Now())
			if err != nil {
				w.closeFile(key)
				if noSpace(err) {
					return ErrNoSpace
				}
				return fmt.Errorf("writing %s: %w", key.name(), err)
			}
			if found {
				s.appended(key)
				return nil
			}
		}
	}
	return ErrNotFound
}

func (f *file) feedback(id [16]byte, fb *Feedback, now time.Time) (found bool, err error) {
	find, err := f.conn.Prepare("SELECT seq, id FROM calls WHERE seq BETWEEN ?1 AND ?2")
	if err != nil {
		return false, err
	}
	find.BindInt64(1, seqOf(id))
	find.BindInt64(2, seqOf(id)+maxShift)
	var seq int64
	for seq == 0 {
		more, err := find.Step()
		if err != nil {
			return false, err
		}
		if !more {
			return false, nil
		}
		var have [16]byte
		if find.ColumnBytes(1, have[:]); have == id {
			seq = find.ColumnInt64(0)
		}
	}
	_ = find.Reset()
	count, err := f.conn.Prepare("SELECT count(*) FROM feedback WHERE seq = ?1")
	if err != nil {
		return true, err
	}
	count.BindInt64(1, seq)
	n, err := sqlitex.ResultInt64(count)
	if err != nil {
		return true, err
	}
	if n >= maxFeedback {
		return true, &feedbackError{"trace_id", "has a thousand feedbacks already"}
	}
	insert, err := f.conn.Prepare("INSERT INTO feedback (seq, at_us, name, value, comment, source, crc) VALUES (?1,?2,?3,?4,?5,?6,?7)")
	if err != nil {
		return true, err
	}
	insert.BindInt64(1, seq)
	insert.BindInt64(2, now.UnixMicro())
	insert.BindText(3, fb.Name)
	insert.BindText(4, string(fb.Value))
	insert.BindText(5, fb.Comment)
	insert.BindText(6, fb.Source)
	insert.BindInt64(7, fb.checksum(seq, now.UnixMicro()))
	return true, execute(insert)
}

func (f *Feedback) checksum(seq, at int64) int64 {
	b, _ := json.Marshal([]string{f.Name, string(f.Value), f.Comment, f.Source})
	return checksum(b, seq, at)
}

// feedback reads what was said of a trace. What is damaged is left out, with an error.
func (f *readFile) feedback(seq int64) (list []Feedback, damaged error) {
	list = []Feedback{}
	stmt, err := f.conn.Prepare("SELECT n, seq, at_us, name, value, comment, source, crc FROM feedback WHERE seq = ?1 ORDER BY n")
	if err != nil {
		return list, fmt.Errorf("%w: %w", errDamaged, err)
	}
	stmt.BindInt64(1, seq)
	for {
		more, err := stmt.Step()
		if err != nil && !ctxErr(err) {
			return list, fmt.Errorf("%w: %w", errDamaged, err)
		}
		if err != nil {
			return list, err
		}
		if !more {
			return list, damaged
		}
		fb, err := readFeedback(stmt)
		if err != nil {
			damaged = err
			continue
		}
		list = append(list, fb)
	}
}

// readFeedback reads a row of feedback: all its columns, in their order.
func readFeedback(stmt *sqlite.Stmt) (Feedback, error) {
	at := stmt.ColumnInt64(2)
	fb := Feedback{
		Name: stmt.ColumnText(3), Value: json.RawMessage(stmt.ColumnText(4)), Comment: stmt.ColumnText(5), Source: stmt.ColumnText(6),
		At: Time{time.UnixMicro(at).UTC()},
	}
	if fb.checksum(stmt.ColumnInt64(1), at) != stmt.ColumnInt64(7) || !json.Valid(fb.Value) {
		return fb, fmt.Errorf("%w: checksum", errDamaged)
	}
	return fb, nil
}

// serveFeedback answers POST /v1/feedback.
func serveFeedback(w http.ResponseWriter, r *http.Request, c *call.Call, recorder *Recorder, fail *call.Error) {
	if fail == nil {
		fail = takeFeedback(w, r, c, recorder)
	}
	if fail != nil {
		c.Fail(w, fail)
	}
}

func takeFeedback(w http.ResponseWriter, r *http.Request, c *call.Call, recorder *Recorder) *call.Error {
	invalid := func(param, message string) *call.Error {
		return &call.Error{Status: http.StatusBadRequest, Class: "invalid_request", Code: "invalid_feedback", Param: param, Message: message}
	}
	var body struct {
		TraceID string          `json:"trace_id"`
		Session string          `json:"session"`
		Name    string          `json:"name"`
		Value   json.RawMessage `json:"value"`
		Comment string          `json:"comment"`
	}
	dec := json.NewDecoder(bytes.NewReader(c.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		return invalid("", "reading feedback: "+err.Error())
	}
	if (body.TraceID == "") == (body.Session == "") {
		return invalid("trace_id", "say either \"trace_id\" or \"session\"")
	}
	if recorder == nil {
		return &call.Error{Status: http.StatusServiceUnavailable, Class: "unavailable", Code: "unavailable", Message: "no traces are recorded here"}
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	fb := Feedback{Name: body.Name, Value: body.Value, Comment: body.Comment, Source: "application"}
	if x := recorder.redact; x != nil {
		fb.Comment = x.text(fb.Comment)
		fb.Value = x.body(nil, fb.Value)
	}
	var err error
	if body.TraceID != "" {
		err = recorder.store.AddFeedback(ctx, body.TraceID, fb)
	} else {
		body.TraceID, err = recorder.store.AddSessionFeedback(ctx, body.Session, fb)
	}
	var wrong *feedbackError
	switch {
	case err == nil:
		answer, _ := json.Marshal(map[string]string{"trace_id": body.TraceID})
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(answer, '\n'))
		return nil
	case errors.As(err, &wrong):
		return invalid(wrong.field, "feedback: "+wrong.Error())
	case errors.Is(err, ErrNotFound):
		return &call.Error{Status: http.StatusNotFound, Class: "not_found", Code: "trace_not_found", Message: "there is no such trace: it was not recorded, or it has been dropped"}
	case errors.Is(err, ErrNoSpace):
		return &call.Error{Status: http.StatusInsufficientStorage, Class: "no_space", Code: "no_space", Message: "feedback cannot be stored: the disk is full"}
	}
	return &call.Error{Status: http.StatusServiceUnavailable, Class: "unavailable", Code: "unavailable", Message: "feedback cannot be stored now; try again"}
}
