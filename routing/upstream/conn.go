package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// conn is one connection to a provider. It belongs to one exchange at a time.
type conn struct {
	net.Conn
	raw    net.Conn // below TLS
	br     *bufio.Reader
	client *Client
	since  time.Time
	reused bool
	fields Fields // those of the last response, reused
	head   []byte // the last request's line and header, reused
	answer []byte // the last response's status line and header, reused
}

// readBuffer is the size of a connection's read buffer: what a live stream
// costs, and larger than common events.
const readBuffer = 8 << 10

func (c *Client) dial(ctx context.Context, limit time.Duration) (*conn, error) {
	deadline := time.Now().Add(limit)
	address := c.address
	if c.proxy != nil {
		address = proxyAddress(c.proxy.Host, c.proxy.Scheme)
	}
	d := net.Dialer{Deadline: deadline, KeepAlive: 30 * time.Second}
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	cn := &conn{Conn: raw, raw: raw, client: c}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	_ = raw.SetDeadline(deadline)
	if c.proxy != nil {
		if err := c.tunnel(raw); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("proxy %s: %w", c.proxy.Redacted(), err)
		}
	}
	if c.tls != nil {
		t := tls.Client(raw, c.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		cn.Conn = t
	}
	_ = raw.SetDeadline(time.Time{})
	cn.br = bufio.NewReaderSize(cn.Conn, readBuffer)
	return cn, nil
}

func proxyAddress(host, scheme string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	if scheme == "https" {
		return net.JoinHostPort(host, "443")
	}
	return net.JoinHostPort(host, "80")
}

// tunnel asks the proxy of the environment for a connection (RFC 9110, 9.3.6).
func (c *Client) tunnel(raw net.Conn) error {
	auth := ""
	if u := c.proxy.User; u != nil {
		pw, _ := u.Password()
		auth = "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+pw)) + "\r\n"
	}
	if _, err := fmt.Fprintf(raw, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", c.address, c.address, auth); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(io.LimitReader(raw, 16<<10), 1), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

func (cn *conn) close() { _ = cn.raw.Close() }

// isTimeout reports whether a deadline of the connection has passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
