package tracing

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// details is what describe writes: everything besides row and bodies. It is
// read for each trace that is exported, so it is read without reflection.
type details struct {
	Message, W3CTraceID, W3CSpanID string
	Parameters, NearMiss           json.RawMessage
	Adjustments, Notes             []string
	Variables                      map[string]string
	Spans                          []Span
}

// readDetails reads what was written as JSON by ourselves, under a checksum.
func readDetails(doc []byte) (d details, err error) {
	if !jsonscan.Valid(doc, maxNesting) {
		return d, fmt.Errorf("%w: not JSON", errDamaged)
	}
	for key, v := range jsonscan.MembersOf(doc, jsonscan.Root(doc)) {
		switch string(key) {
		case "message":
			d.Message = textOf(doc, v)
		case "w3c_trace_id":
			d.W3CTraceID = textOf(doc, v)
		case "w3c_span_id":
			d.W3CSpanID = textOf(doc, v)
		case "parameters":
			d.Parameters = v.Of(doc)
		case "near_miss":
			d.NearMiss = v.Of(doc)
		case "adjustments":
			d.Adjustments = textsOf(doc, v)
		case "notes":
			d.Notes = textsOf(doc, v)
		case "variables":
			d.Variables = map[string]string{}
			for name, value := range jsonscan.MembersOf(doc, v) {
				quoted, _ := jsonscan.Unquote(append(append([]byte{'"'}, name...), '"'))
				d.Variables[quoted] = textOf(doc, value)
			}
		case "spans":
			for e := range jsonscan.Elements(doc, v) {
				d.Spans = append(d.Spans, readSpan(doc, e))
			}
		}
	}
	return d, nil
}

// readSpan reads what appendSpan writes.
func readSpan(doc []byte, v jsonscan.Value) (s Span) {
	for key, v := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "provider":
			s.Provider = known(textOf(doc, v))
		case "model":
			s.Model = known(textOf(doc, v))
		case "variant":
			s.Variant = known(textOf(doc, v))
		case "started":
			s.StartedAt = Time{time.UnixMicro(numberOf(doc, v)).UTC()}
		case "duration":
			s.DurationMS = milliseconds(numberOf(doc, v))
		case "ttft":
			s.TTFTMS = known(milliseconds(numberOf(doc, v)))
		case "http_status":
			s.HTTPStatus = known(int(numberOf(doc, v)))
		case "error_class":
			s.ErrorClass = known(textOf(doc, v))
		case "message":
			s.Message = known(textOf(doc, v))
		case "upstream_request_id":
			s.UpstreamRequestID = known(textOf(doc, v))
		case "cost":
			if f, err := strconv.ParseFloat(string(v.Of(doc)), 64); err == nil {
				s.CostUSD = &f
			}
		case "usage":
			s.Usage = readUsage(doc, v)
		}
	}
	return s
}

func readUsage(doc []byte, v jsonscan.Value) *Usage {
	u := new(Usage)
	for key, v := range jsonscan.MembersOf(doc, v) {
		n := numberOf(doc, v)
		switch string(key) {
		case "input":
			u.InputTokens = n
		case "output":
			u.OutputTokens = n
		case "cached":
			u.CachedInputTokens = n
		case "cache_write":
			u.CacheWriteInputTokens = n
		case "reasoning":
			u.ReasoningOutputTokens = n
		case "estimated":
			u.Estimated = n != 0
		}
	}
	return u
}

func textOf(doc []byte, v jsonscan.Value) string {
	s, _ := jsonscan.Unquote(v.Of(doc))
	return s
}

func textsOf(doc []byte, v jsonscan.Value) (list []string) {
	for e := range jsonscan.Elements(doc, v) {
		list = append(list, textOf(doc, e))
	}
	return list
}

func numberOf(doc []byte, v jsonscan.Value) int64 {
	n, _ := strconv.ParseInt(string(v.Of(doc)), 10, 64)
	return n
}
