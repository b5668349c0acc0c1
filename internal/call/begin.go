package call

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// DefaultMaxBody is the largest request body that is read unless configured: 32 MiB.
const DefaultMaxBody = 32 << 20

// maxModel bounds a model's name: it is sent back in a header.
const maxModel = 512

// maxDepth bounds how deep a request's JSON may nest.
const maxDepth = 128

// Begin returns the request's call. The first handler on a path below /v1
// makes it: the body is read, bounded, and parsed; the returned request
// carries the call and can be read again by a stock handler. A nil call and
// nil error mean that the path is none of ours. When err is non-nil the
// request is no call that could be answered; the call is still there, so that
// the refusal can be traced, and the request is as it came.
func Begin(r *http.Request, admission *Admission) (c *Call, _ *http.Request, first bool, err *Error) {
	if c := From(r.Context()); c != nil {
		return c, r, false, c.Refused
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok {
		return nil, r, false, nil
	}
	c = &Call{Started: time.Now(), Path: "/" + path, Front: frontOf(r.Method, path)}
	id, _ := uuid.NewV7()
	c.ID = hexID(id)
	c.identify(r)
	c.Refused = c.begin(r, admission)
	return c, c.With(r), true, c.Refused
}

func (c *Call) begin(r *http.Request, admission *Admission) *Error {
	if err := admission.authenticate(c, r.Header); err != nil {
		return err
	}
	switch c.Front {
	case Other, Models, Realtime:
		return nil
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return &Error{
			Status: http.StatusUnsupportedMediaType, Class: "invalid_request", Code: "unsupported_encoding",
			Message: fmt.Sprintf("Content-Encoding %.40q is not supported for requests; send the body as it is", coding),
		}
	}
	if err := c.read(r, admission.maxBody()); err != nil {
		return err
	}
	body := c.Body
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return c.parse()
}

func frontOf(method, path string) Front {
	if path == "realtime" || strings.HasPrefix(path, "realtime/") {
		return Realtime
	}
	switch {
	case method == http.MethodGet && (path == "models" || strings.HasPrefix(path, "models/")):
		return Models
	case method != http.MethodPost:
		return Other
	}
	switch path {
	case "chat/completions":
		return ChatCompletions
	case "completions":
		return Completions
	case "embeddings":
		return Embeddings
	case "responses":
		return Responses
	case "feedback":
		return Feedback
	case "messages":
		return Messages
	case "messages/count_tokens":
		return CountTokens
	}
	return Other
}

func (c *Call) read(r *http.Request, maxBody int64) *Error {
	if r.ContentLength > maxBody {
		return tooLarge(maxBody)
	}
	// What is announced is not yet there: memory follows what has come.
	body := Buffer(int(min(max(r.ContentLength, 0), trustedLength)))
	for {
		if len(body) == cap(body) {
			grown := append(Buffer(4*cap(body)), body...)
			FreeBuffer(body)
			body = grown
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > maxBody:
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
			return tooLarge(maxBody)
		case int64(len(body)) == r.ContentLength, errors.Is(err, io.EOF):
			c.Body = body
			return nil
		case err != nil:
			return unreadable(err)
		}
	}
}

// trustedLength is up to which size a body's announced length is allocated at once.
const trustedLength = 256 << 10

func unreadable(err error) *Error {
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(large.Limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{
			Status: http.StatusRequestTimeout, Class: "request_timeout", Code: "request_timeout",
			Message: "the request's body did not come in time (Caddy's servers option timeouts read_body)",
		}
	}
	return &Error{Status: http.StatusBadRequest, Class: Disconnected, Code: "incomplete_body", Message: "the request's body ended before it was complete"}
}

func tooLarge(limit int64) *Error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Class: "body_too_large", Code: "request_too_large",
		Message: fmt.Sprintf("the request's body is larger than the limit of %d bytes (limits max_body)", limit),
	}
}

func (c *Call) parse() *Error {
	if !utf8.Valid(c.Body) {
		return &Error{Status: http.StatusBadRequest, Class: "invalid_json", Code: "invalid_json", Message: "the request's body is not valid UTF-8, which JSON has to be"}
	}
	o, err := jsonscan.Parse(c.Body, maxDepth, make([]jsonscan.Member, 0, 12))
	if err != nil {
		return &Error{Status: http.StatusBadRequest, Class: "invalid_json", Code: "invalid_json", Message: "the request's body is not acceptable JSON: " + err.Error()}
	}
	c.Object = o
	for i := range o.Members {
		m := &o.Members[i]
		var fail *Error
		switch m.Key {
		case "model":
			if c.RequestedModel, fail = c.stringMember(m); len(c.RequestedModel) > maxModel {
				c.RequestedModel, fail = "", wrongType("model", fmt.Sprintf("a name of at most %d bytes", maxModel))
			}
		case "stream":
			switch raw := m.Of(c.Body); string(raw) {
			case "true":
				c.Stream = c.Front != Embeddings && c.Front != CountTokens
			case "false", "null":
			default:
				fail = wrongType("stream", "true or false")
			}
		case "messages":
			if (c.Front == ChatCompletions || c.Front.IsMessages()) && !m.IsArray(c.Body) {
				fail = wrongType("messages", "a list of messages")
			}
		case "n":
			if raw := m.Of(c.Body); !m.IsNull(c.Body) && (c.Front == ChatCompletions || c.Front == Completions) && !isCount(raw) {
				fail = wrongType("n", "a whole number from 1")
			}
		case "stream_options":
			if !m.IsNull(c.Body) && !m.IsObject(c.Body) {
				fail = wrongType("stream_options", "an object")
			} else if repeats(c.Body, m.Value, "include_usage") {
				fail = repeated("stream_options.include_usage")
			} else if v := jsonscan.Lookup(c.Body, m.Value, "include_usage"); v.Exists() && !isSwitch(v.Of(c.Body)) {
				fail = wrongType("stream_options.include_usage", "true or false")
			}
		case "previous_response_id":
			c.PreviousResponseID, fail = c.stringMember(m)
		case "user":
			if c.User == "" && m.IsString(c.Body) {
				c.User, _ = c.stringMember(m)
			}
		}
		if fail != nil {
			return fail
		}
	}
	if v := c.Object.Get("safety_identifier"); c.User == "" && v.IsString(c.Body) {
		c.User = cloneText(v.Of(c.Body))
	}
	c.readMetadata(c.Object.Get("metadata"))
	if fail := c.scanMessages(); fail != nil {
		return fail
	}
	c.fingerprint()
	return nil
}

func (c *Call) stringMember(m *jsonscan.Member) (string, *Error) {
	if m.IsNull(c.Body) {
		return "", nil
	}
	if !m.IsString(c.Body) {
		return "", wrongType(m.Key, "a string")
	}
	s, ok := jsonscan.Unquote(m.Of(c.Body))
	if !ok {
		return "", wrongType(m.Key, "valid text")
	}
	return strings.Clone(s), nil
}

func isSwitch(raw []byte) bool {
	switch string(raw) {
	case "true", "false", "null":
		return true
	}
	return false
}

// isCount reports whether raw is a whole number from 1 to 999.
func isCount(raw []byte) bool {
	for _, c := range raw {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(raw) <= 3 && raw[0] != '0'
}

// repeats reports whether an object has a member more than once.
func repeats(doc []byte, v jsonscan.Value, name string) bool {
	n := 0
	for key := range jsonscan.MembersOf(doc, v) {
		if string(key) == name {
			n++
		}
	}
	return n > 1
}

func repeated(param string) *Error {
	return &Error{Status: http.StatusBadRequest, Class: "invalid_json", Code: "invalid_json", Param: param, Message: fmt.Sprintf("%q is there more than once; JSON leaves open which one counts", param)}
}

func wrongType(param, want string) *Error {
	return &Error{Status: http.StatusBadRequest, Class: "invalid_request", Code: "invalid_type", Param: param, Message: fmt.Sprintf("%q must be %s", param, want)}
}

// readMetadata takes OpenAI's metadata for tags, and Anthropic's user_id.
func (c *Call) readMetadata(v jsonscan.Value) {
	if !v.IsObject(c.Body) {
		return
	}
	var fields map[string]any
	if json.Unmarshal(v.Of(c.Body), &fields) != nil {
		return
	}
	for k, value := range fields {
		s, ok := value.(string)
		if !ok {
			continue
		}
		switch k {
		case "user_id":
			if c.User == "" {
				c.User = s
			}
		case "session_id":
			if c.Session == "" {
				c.Session = s
			}
		default:
			c.tag(k, s)
		}
	}
}

func (c *Call) tag(key, value string) {
	if c.Tags == nil {
		c.Tags = map[string]string{}
	}
	if _, set := c.Tags[key]; !set && len(c.Tags) < 64 {
		c.Tags[key] = value
	}
}

// identify reads everything that headers say of the call.
func (c *Call) identify(r *http.Request) {
	h := r.Header
	c.Session = bounded(h.Get("Llm-Session"))
	c.User = bounded(h.Get("Llm-User"))
	for pair := range strings.SplitSeq(h.Get("Llm-Tags"), ",") {
		if k, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && k != "" {
			c.tag(strings.TrimSpace(k), strings.TrimSpace(v))
		}
	}
	switch strings.ToLower(h.Get("Llm-Capture")) {
	case "", "full":
	case "off", "none":
		c.Capture = CaptureOff
	default: // metadata; a word that we do not know asks for less than everything
		c.Capture = CaptureMetadata
	}
	c.W3CTraceID, c.W3CSpanID = readTraceparent(h.Get("Traceparent"))
	if b := h.Get("Baggage"); b != "" {
		c.readBaggage(b)
	}
	if n := h.Get("X-Stainless-Retry-Count"); n != "" && n != "0" {
		c.Retry = true
	}
	c.Key = keyFingerprint(h)
}

// readTraceparent reads a W3C traceparent header, which later versions may
// make longer: 00-<trace id>-<span id>-<flags>.
func readTraceparent(header string) (traceID, spanID string) {
	const length = len("00-") + 32 + len("-") + 16 + len("-01")
	if len(header) < length || header[2] != '-' || header[35] != '-' || header[52] != '-' || header[:2] == "ff" {
		return "", ""
	}
	traceID, spanID = header[3:35], header[36:52]
	if !isHexID(traceID) || !isHexID(spanID) {
		return "", ""
	}
	return traceID, spanID
}

// Traceparent is the W3C traceparent for what is done for the call: in the
// caller's trace, below the call's own span, whose id is the second half of
// the call's. It is "" when the caller sent none.
func (c *Call) Traceparent(h http.Header) string {
	if c.W3CTraceID == "" {
		return ""
	}
	return "00-" + c.W3CTraceID + "-" + c.ID[16:] + h.Get("Traceparent")[52:55]
}

// isHexID reports whether s is of lower-case hex digits, not all of them zero.
func isHexID(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == "" && strings.Trim(s, "0") != ""
}

// readBaggage reads session.id and user.id of a W3C baggage header.
func (c *Call) readBaggage(header string) {
	for pair := range strings.SplitSeq(header, ",") {
		pair, _, _ = strings.Cut(pair, ";")
		k, v, ok := strings.Cut(pair, "=")
		v, err := url.PathUnescape(strings.TrimSpace(v))
		if !ok || err != nil {
			continue
		}
		switch strings.TrimSpace(k) {
		case "session.id":
			if c.Session == "" {
				c.Session = bounded(v)
			}
		case "user.id":
			if c.User == "" {
				c.User = bounded(v)
			}
		}
	}
}

// bounded keeps identifiers to 256 bytes, so that no row grows without limit.
func bounded(s string) string {
	if len(s) > 256 {
		return s[:256]
	}
	return s
}
