// Package upstream is the client for LLM providers. It sends one call to one
// or more targets, within one budget of attempts and time, and hands the
// answer back only when it is certain: a whole answer when all of it is
// there, a stream when its first content has come. It speaks HTTP/1.1 over
// its own pooled connections, so that each phase of an exchange (connecting,
// headers, first token, the gap between events) is bounded by a deadline of
// the connection, and so that a request needs no goroutine besides its own.
package upstream

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/caddy-frontier/frontier/internal/call"
)

// Limits bound one call at a provider. A zero field takes the provider's.
type Limits struct {
	Connect    time.Duration
	Header     time.Duration // 0: for streams the default, else none
	FirstToken time.Duration
	Idle       time.Duration
	Total      time.Duration
	Attempts   int
}

// The defaults of limits.
const (
	DefaultConnect     = 5 * time.Second
	DefaultHeader      = 60 * time.Second // of streams; a plain answer sends its headers when it is complete
	DefaultFirstToken  = 2 * time.Minute
	DefaultIdle        = 2 * time.Minute
	DefaultTotal       = 10 * time.Minute // what the vendors' SDKs use
	DefaultAttempts    = 2
	DefaultMaxResponse = 64 << 20
)

// Over returns the limits l, with those of base where l has none.
func (l Limits) Over(base Limits) Limits {
	pick := func(a, b time.Duration) time.Duration {
		if a != 0 {
			return a
		}
		return b
	}
	l.Connect, l.Header = pick(l.Connect, base.Connect), pick(l.Header, base.Header)
	l.FirstToken, l.Idle, l.Total = pick(l.FirstToken, base.FirstToken), pick(l.Idle, base.Idle), pick(l.Total, base.Total)
	if l.Attempts == 0 {
		l.Attempts = base.Attempts
	}
	return l
}

// Options describe a provider.
type Options struct {
	Name        string
	BaseURL     string // with /v1
	Keys        []string
	KeyHeader   string      // the field that carries the key as it is; "": Authorization, as a bearer token
	Header      http.Header // sent with every request
	Limits      Limits
	MaxResponse int64 // bytes of a whole answer, or of a stream
	MaxConns    int   // at once; 0: no limit
	StreamUsage bool  // ask for usage in streams
}

// Client sends requests to one provider. It is safe for concurrent use.
type Client struct {
	Options
	base    *url.URL
	address string
	host    string
	tls     *tls.Config
	proxy   *url.URL
	slots   chan struct{}
	health  health
	secrets [][]byte // never shown to anybody: see mask
	longest int      // of secrets

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

// maxIdle is how many unused connections are kept, and idleTimeout how long:
// less than the time after which common servers close them.
const (
	maxIdle     = 512
	idleTimeout = 55 * time.Second
)

// New makes a client. The errors name the option that is wrong.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("base_url: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("base_url %q: want a URL such as https://llm.example.com/v1", o.BaseURL)
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("base_url %q: want no user, query or fragment; keys belong to api_key and header", base.Redacted())
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	o.Limits = o.Limits.Over(Limits{
		Connect: DefaultConnect, FirstToken: DefaultFirstToken, Idle: DefaultIdle, Total: DefaultTotal, Attempts: DefaultAttempts,
	})
	if o.MaxResponse <= 0 {
		o.MaxResponse = DefaultMaxResponse
	}
	c := &Client{Options: o, base: base, host: base.Host, address: base.Host}
	port := base.Port()
	if base.Scheme == "https" {
		c.tls = &tls.Config{ServerName: base.Hostname(), NextProtos: []string{"http/1.1"}, ClientSessionCache: tls.NewLRUClientSessionCache(0), MinVersion: tls.VersionTLS12}
		if port == "" {
			port = "443"
		}
	} else if port == "" {
		port = "80"
	}
	c.address = net.JoinHostPort(base.Hostname(), port)
	if c.proxy, err = httpproxy.FromEnvironment().ProxyFunc()(base); err != nil {
		return nil, fmt.Errorf("proxy of the environment: %w", err)
	}
	c.keepSecret()
	if o.MaxConns > 0 {
		c.slots = make(chan struct{}, o.MaxConns)
	}
	return c, nil
}

// URL is the provider's base URL.
func (c *Client) URL() *url.URL { return c.base }

// Close closes the connections that are not in use. Those in use are closed
// when their exchange is over.
func (c *Client) Close() {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.closed = nil, true
	c.mu.Unlock()
	for _, cn := range idle {
		cn.close()
	}
}

// take returns an idle connection that is still open, or nil. One on which
// something has come that nobody asked for is not used: it would be taken for
// the next call's answer.
func (c *Client) take(now time.Time) *conn {
	for {
		c.mu.Lock()
		n := len(c.idle)
		if n == 0 {
			c.mu.Unlock()
			return nil
		}
		cn := c.idle[n-1]
		c.idle[n-1] = nil
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		if now.Sub(cn.since) < idleTimeout && cn.quiet() {
			cn.reused = true
			return cn
		}
		cn.close()
	}
}

// put keeps a connection for the next request.
func (c *Client) put(cn *conn, now time.Time) {
	cn.since = now
	var stale *conn
	c.mu.Lock()
	switch {
	case c.closed || len(c.idle) >= maxIdle:
		stale = cn
	default:
		if n := len(c.idle); n > 0 && now.Sub(c.idle[0].since) > idleTimeout {
			stale = c.idle[0]
			copy(c.idle, c.idle[1:])
			c.idle[n-1] = cn
		} else {
			c.idle = append(c.idle, cn)
		}
	}
	c.mu.Unlock()
	if stale != nil {
		stale.close()
	}
}

// Class says what kind of fault ended an attempt; it is the error_class of traces.
type Class string

// The classes of faults.
const (
	Connect     Class = "connect"             // no connection, or it broke before an answer began
	HeaderTime  Class = "header_timeout"      // no answer began in time
	FirstToken  Class = "first_token_timeout" // a stream without content
	Stall       Class = "stalled"             // a stream that stopped between events
	TotalTime   Class = "timeout"             // the call's budget of time is used up
	Cut         Class = "cut"                 // the answer broke off
	BadResponse Class = "bad_response"        // not an answer that the dialect knows
	TooLarge    Class = "response_too_large"
	StatusError Class = "status" // an error status of the provider
	Cancelled   Class = "cancelled"
	CircuitOpen Class = "circuit_open" // the provider is left alone after many faults
)

// Fault is how an attempt failed.
type Fault struct { //nolint:errname // the design's word: what is counted as a provider's fault
	Class  Class
	Status int        // the provider's HTTP status; 0: none
	Header Fields     // the provider's, of a StatusError
	Body   []byte     // the provider's, of a StatusError
	Wire   call.Front // the provider's API, of a StatusError
	Err    error

	stale bool // of a connection that had been kept: no fault of the provider's
	sent  bool // of a connection that broke: the request was on its way
}

// Sent reports whether the provider may have had the request, and have worked on it.
func (f *Fault) Sent() bool { return f.sent || f.Class != Connect && f.Class != CircuitOpen }

func (f *Fault) Error() string {
	if f.Err != nil {
		return string(f.Class) + ": " + f.Err.Error()
	}
	if f.Status != 0 {
		return fmt.Sprintf("%s: HTTP %d", f.Class, f.Status)
	}
	return string(f.Class)
}

// Reason is the fault in words, without its class.
func (f *Fault) Reason() string {
	if f.Err != nil {
		return f.Err.Error()
	}
	return fmt.Sprintf("HTTP status %d", f.Status)
}

func (f *Fault) Unwrap() error { return f.Err }

var errMalformed = errors.New("malformed HTTP response")

func fault(class Class, err error) *Fault { return &Fault{Class: class, Err: err} }
