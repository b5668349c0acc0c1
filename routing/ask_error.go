package routing

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// AskError says why a question has no answer.
type AskError struct {
	Status     int           // the provider's; 0: none
	Class      string        // as error_class of traces
	Code       string        // the provider's code, such as insufficient_quota
	Message    string        // without secrets
	RetryAfter time.Duration // how long the provider asks to wait; 0: it does not say
	Retry      bool          // whether the same question may succeed later
	Paid       bool          // whether the provider may have charged for it
	Trace      string
}

func (e *AskError) Error() string { return e.Message }

// unpaidAccount are codes of 429s that no waiting helps against: somebody has to pay.
var unpaidAccount = []string{"insufficient_quota", "billing_not_active", "billing_hard_limit_reached"}

// askError says what a failure of the call means to who asked.
func askError(err error, c *call.Call) *AskError {
	e := &AskError{Class: c.ErrorClass, Message: cmp.Or(c.Message, err.Error())}
	if refused, ok := errors.AsType[*call.Error](err); ok { // nothing could be sent
		e.Code = refused.Code
		return e
	}
	f, ok := errors.AsType[*upstream.Fault](err)
	if !ok {
		return e
	}
	e.Status, e.RetryAfter = f.Status, max(f.RetryAfter(time.Now()), dialect.RetryDelay(f.Body))
	e.Code = "upstream_" + string(f.Class)
	switch f.Class {
	case upstream.StatusError:
		e.refused(f)
	case upstream.TooLarge:
		e.Paid = true
	case upstream.Cancelled:
		e.Paid = f.Sent()
	default: // silence, a broken connection, an answer that is none
		e.Retry, e.Paid = true, f.Sent()
		if code, message := dialect.ReadError(f.Body); message != "" { // an error event
			e.Code, e.Message = cmp.Or(code, e.Code), message
		}
	}
	return e
}

// refused is about an error status.
func (e *AskError) refused(f *upstream.Fault) {
	e.Code = "status_" + strconv.Itoa(f.Status)
	if f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden {
		e.Code = "upstream_credentials" // the provider's text may show a part of the key
		return
	}
	code, message := dialect.ReadError(f.Body)
	e.Code, e.Message = cmp.Or(code, e.Code), cmp.Or(message, e.Message)
	if dialect.TooLong(f.Body) {
		e.Code = "context_length_exceeded"
	}
	switch f.Status {
	case http.StatusTooManyRequests:
		e.Retry = !slices.Contains(unpaidAccount, code)
	case http.StatusRequestTimeout:
		e.Retry = true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
	case http.StatusBadGateway, http.StatusGatewayTimeout, 524: // a proxy's: the model behind it may have worked
		e.Retry, e.Paid = true, true
	default:
		e.Retry = f.Status >= 500
	}
}
