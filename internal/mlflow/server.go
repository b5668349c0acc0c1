// Package mlflow is a client of the REST API of an MLflow tracking server, as
// far as the gateway needs it: experiments, traces' links and feedback, and
// the prompt registry.
package mlflow

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Server is a tracking server. Calls can be made by several goroutines at once.
type Server struct {
	URL    string // without a slash at its end
	Header http.Header
	HTTP   *http.Client

	timeout time.Duration
}

// New returns a client for the server at the address; "": that of
// MLFLOW_TRACKING_URI. Placeholders in address and header are replaced.
// Credentials come from the environment, as for MLflow's own clients, unless
// the header has an Authorization. A timeout of 0 is 30s.
func New(address string, header map[string]string, timeout time.Duration) (*Server, error) {
	address = cmp.Or(address, os.Getenv("MLFLOW_TRACKING_URI"))
	if address == "" {
		return nil, errors.New("the URL of the server is missing, as an argument or in MLFLOW_TRACKING_URI")
	}
	repl := caddy.NewReplacer()
	address, err := repl.ReplaceOrErr(address, true, true)
	if err != nil {
		return nil, fmt.Errorf("%w; set it where Caddy runs", err)
	}
	u, err := ParseURL(address)
	if err != nil {
		return nil, err
	}
	fields, err := ResolveHeader(repl, header)
	if err != nil {
		return nil, err
	}
	if a := authorization(); a != "" && fields.Get("Authorization") == "" {
		fields.Set("Authorization", a)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 8
	return &Server{
		URL: strings.TrimRight(u.String(), "/"), Header: fields, timeout: cmp.Or(timeout, 30*time.Second),
		HTTP: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, // no credential goes elsewhere
	}, nil
}

// ParseURL checks the address of a server.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the URL of a server; want one such as http://127.0.0.1:5000", text)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q: want no user, query or fragment; credentials belong to header", u.Redacted())
	}
	return u, nil
}

// ResolveHeader replaces the placeholders in the values.
func ResolveHeader(repl *caddy.Replacer, header map[string]string) (http.Header, error) {
	out := http.Header{}
	for name, value := range header {
		value, err := repl.ReplaceOrErr(value, true, true)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w; set it where Caddy runs", name, err)
		}
		out.Set(name, strings.TrimSpace(value))
	}
	return out, nil
}

func authorization() string {
	user, password := os.Getenv("MLFLOW_TRACKING_USERNAME"), os.Getenv("MLFLOW_TRACKING_PASSWORD")
	if user != "" && password != "" {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	if token := os.Getenv("MLFLOW_TRACKING_TOKEN"); token != "" {
		return "Bearer " + token
	}
	return ""
}

// Error is an answer that is no success.
type Error struct {
	URL     string
	Status  int
	Code    string `json:"error_code"`
	Message string `json:"message"` // MLflow's, else the beginning of the answer
}

func (e *Error) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("%s answered with status %d %s: %s", e.URL, e.Status, http.StatusText(e.Status), e.Message), ": ")
}

// NewError makes an error of an answer.
func NewError(url string, status int, body []byte) *Error {
	e := &Error{URL: url, Status: status}
	if json.Unmarshal(body, e) != nil || e.Message == "" {
		e.Message = strings.Join(strings.Fields(string(body)), " ")
	}
	if len(e.Message) > 300 {
		e.Message = strings.ToValidUTF8(e.Message[:300], "") + "…"
	}
	return e
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// NotFound reports whether MLflow says that there is no such thing.
func NotFound(err error) bool { return codeOf(err) == "RESOURCE_DOES_NOT_EXIST" }

// Invalid reports whether MLflow says that the request will never be right.
func Invalid(err error) bool { return codeOf(err) == "INVALID_PARAMETER_VALUE" }

// call makes a request: path is that behind /api, body becomes the request's
// JSON, and the answer's is read into answer; both may be nil.
func (s *Server) call(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	target := s.URL + "/api" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return err
	}
	r.Header = s.Header.Clone()
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", s.URL, err)
	}
	if resp.StatusCode != http.StatusOK {
		return NewError(s.URL+"/api"+path, resp.StatusCode, got)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(got, answer); err != nil {
		return fmt.Errorf("reading the answer of %s: %w; is it an MLflow server?", s.URL, err)
	}
	return nil
}
