package call

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Disconnected is the error class of calls whose client left before all of the request had come.
const Disconnected = "client_disconnected"

// Overloaded is the error class of calls that are refused because there are too many.
const Overloaded = "overloaded"

// Error is an answer that the gateway itself gives to a client, in the
// dialect that the client spoke.
type Error struct {
	Status     int           // HTTP status
	Class      string        // error_class of the trace, such as "invalid_request" or "upstream_timeout"
	Code       string        // machine-readable, as OpenAI has it, such as "model_not_found"
	Param      string        // the request's field at fault
	Message    string        // says what is wrong and what to do
	RetryAfter time.Duration // sent when positive
	NoRetry    bool          // tells SDKs not to try again: we did
	Allow      string        // of a 405
}

func (e *Error) Error() string { return e.Message }

// ErrorType is OpenAI's error type for an HTTP status.
func ErrorType(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

type errorBody struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	} `json:"error"`
	RequestID string `json:"request_id,omitempty"`
}

// Body is the error in the shape of the front's dialect.
func (e *Error) Body(front Front, requestID string) []byte {
	if front.IsMessages() {
		return e.anthropicBody(requestID)
	}
	var b errorBody
	b.Error.Message, b.Error.Type, b.RequestID = e.Message, ErrorType(e.Status), requestID
	if e.Param != "" {
		b.Error.Param = &e.Param
	}
	if e.Code != "" {
		b.Error.Code = &e.Code
	}
	out, _ := json.Marshal(b)
	return out
}

func (e *Error) anthropicBody(requestID string) []byte {
	w := jsonscan.Write(nil)
	w.String("type", "error")
	w.Name("error")
	inner := jsonscan.Write(w.Dst)
	inner.String("type", e.anthropicKind())
	inner.Name("message")
	inner.Dst = jsonscan.AppendQuoted(inner.Dst, strings.ToValidUTF8(e.Message, "\ufffd"))
	w.Dst = inner.End()
	w.String("request_id", requestID)
	return w.End()
}

// anthropicKind is Anthropic's error type for a status.
func (e *Error) anthropicKind() string {
	switch e.Status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusPaymentRequired:
		return "billing_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	case 529:
		return "overloaded_error"
	}
	if e.Status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}

// Fail answers the call with the error and notes it for the trace. It must
// not be used once an answer has begun.
func (c *Call) Fail(w http.ResponseWriter, e *Error) {
	c.Status, c.ErrorClass, c.Message = StatusError, e.Class, e.Message
	if e.Class == Disconnected {
		c.Status = StatusCancelled
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	c.SetIDs(h)
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if e.NoRetry {
		h.Set("X-Should-Retry", "false")
	}
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	body := e.Body(c.Front, c.ID)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}

// SetIDs sets the headers by which SDKs and people find the trace.
func (c *Call) SetIDs(h http.Header) {
	id := []string{c.ID}
	h["X-Request-Id"], h["Request-Id"] = id, id
}
