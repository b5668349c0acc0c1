// Package api holds what all parts of the admin API have in common: the
// envelopes of answers, errors and lists, and how a route is declared.
package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
)

// maxBody bounds what an admin request may carry.
const maxBody = 8 << 20

// Route is one operation of the admin API. It is documented where it is
// declared: openapi.json is made of these.
type Route struct {
	Method  string
	Path    string // a ServeMux pattern below /llm, such as "/prompts/{name}"
	Summary string // one sentence
	Query   []Param
	Body    any // a value of the request body's type, nil: none
	Answer  any // a value of the answer's type
	Status  int // of success; 0: 200
	Handle  func(w http.ResponseWriter, r *http.Request) error
}

// Param is a query parameter.
type Param struct {
	Name, Summary string
}

// Error is an admin API error with its code of the closed set.
type Error struct {
	Status  int
	Code    string
	Message string
	Field   string
}

func (e *Error) Error() string { return e.Message }

// The constructors of the errors, one for each code.
func errorf(status int, code, format string, args []any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid is a 400 about a field of the request ("" when it is not about one).
func Invalid(field, format string, args ...any) *Error {
	e := errorf(http.StatusBadRequest, "invalid", format, args)
	e.Field = field
	return e
}

// NotFound is a 404.
func NotFound(format string, args ...any) *Error {
	return errorf(http.StatusNotFound, "not_found", format, args)
}

// Conflict is a 409.
func Conflict(format string, args ...any) *Error {
	return errorf(http.StatusConflict, "conflict", format, args)
}

// PreconditionFailed is a 412: If-Match names an older state.
func PreconditionFailed(format string, args ...any) *Error {
	return errorf(http.StatusPreconditionFailed, "precondition_failed", format, args)
}

// Unavailable is a 503.
func Unavailable(format string, args ...any) *Error {
	return errorf(http.StatusServiceUnavailable, "unavailable", format, args)
}

// NoSpace is a 507: the disk is full, nothing was changed.
func NoSpace(format string, args ...any) *Error {
	return errorf(http.StatusInsufficientStorage, "no_space", format, args)
}

// WriteError answers with the error's envelope; what is not an *Error is a 500 "internal".
func WriteError(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Status: http.StatusInternalServerError, Code: "internal", Message: err.Error()}
	}
	body := map[string]any{"code": e.Code, "message": e.Message}
	if e.Field != "" {
		body["field"] = e.Field
	}
	WriteJSON(w, e.Status, map[string]any{"error": body})
}

// WriteJSON answers with v.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

// List is the envelope of every collection.
type List[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"next_cursor"`
}

// WriteList answers with a page of a collection; next is "" on the last one.
func WriteList[T any](w http.ResponseWriter, items []T, next string) {
	if items == nil {
		items = []T{}
	}
	l := List[T]{Items: items}
	if next != "" {
		l.NextCursor = &next
	}
	WriteJSON(w, http.StatusOK, l)
}

// Decode reads the request's JSON body into v. Unknown fields, junk behind
// the value and bodies over 8 MiB are refused. An empty body leaves v alone.
func Decode(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		field := ""
		if _, after, ok := strings.Cut(err.Error(), "unknown field "); ok {
			field = strings.Trim(after, `"`)
		}
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return Invalid(wrong.Field, "reading the request's body: %s has a JSON %s where %s is wanted", cmp.Or(wrong.Field, "it"), wrong.Value, wanted(wrong.Type.Kind()))
		}
		return Invalid(field, "reading the request's body: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Invalid("", "the request's body has data behind its JSON value")
	}
	return nil
}

// wanted names the JSON value for a Go kind.
func wanted(k reflect.Kind) string {
	switch k {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}

// CheckMatch compares an If-Match header, if there is one, with the current
// ETag (given without quotes).
func CheckMatch(r *http.Request, etag string) error {
	want := r.Header.Get("If-Match")
	if want == "" || want == "*" {
		return nil
	}
	for tag := range strings.SplitSeq(want, ",") {
		if strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`) == etag {
			return nil
		}
	}
	return PreconditionFailed("it has changed since you read it: read it again, its ETag is now %q", etag)
}

// SetETag sends the ETag (given without quotes).
func SetETag(w http.ResponseWriter, etag string) { w.Header().Set("ETag", `"`+etag+`"`) }
