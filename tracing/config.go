package tracing

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/internal/call"
)

// The defaults of Config.
const (
	DefaultRetain  = 30 * 24 * time.Hour
	DefaultMaxDisk = 10 << 30
	minMaxDisk     = 16 << 20
)

// Config says what is recorded of calls, and for how long it is kept.
type Config struct {
	// How much of a call is kept: "full" (bodies and metadata), "metadata"
	// (everything but the bodies and the prompt's variables), or "off". A
	// request may lower it with the header LLM-Capture. Default: "full".
	Capture string `json:"capture,omitempty"`

	// The share of calls that is recorded, in percent, drawn by the trace's id.
	// The others leave nothing behind, so statistics are over the sample.
	// Default: 100.
	Sample *float64 `json:"sample,omitempty"`

	// For how long traces are kept. They go a whole day's file at a time, so
	// that the disk is really freed. Default: 30d.
	Retain caddy.Duration `json:"retain,omitempty"`

	// How much disk the traces may take, in bytes. Beyond it the oldest go
	// first. At least 16 MiB. Default: 10 GiB.
	MaxDisk int64 `json:"max_disk,omitempty"`

	// What must never be stored. A plain name, such as `ssn` or `api_key`,
	// stands for the members of JSON objects that are called so, wherever they
	// are in a request, an answer, a prompt's variables or the tags: their values
	// become "[redacted]". Anything else is a regular expression (RE2); what
	// it matches in texts becomes "[redacted]". A body that is not JSON is
	// withheld when there are names. JSON inside a text, such as the
	// arguments of a tool call, is a text: expressions apply to it, names do not.
	Redact []string `json:"redact,omitempty"`

	// Where finished traces are sent to, besides being stored: as they are
	// stored, and in the background.
	ExportRaw []json.RawMessage `json:"export,omitempty" caddy:"namespace=llm.trace_exporters inline_key=exporter"`
}

// Validate says what is wrong with the configuration.
func (c *Config) Validate() error {
	if _, err := parseCapture(c.Capture); err != nil {
		return err
	}
	if c.Sample != nil && !(*c.Sample >= 0 && *c.Sample <= 100) {
		return fmt.Errorf("traces sample %v: want a percentage from 0 to 100", *c.Sample)
	}
	if c.Retain < 0 {
		return fmt.Errorf("traces retain %s: want a positive duration, such as 30d", time.Duration(c.Retain))
	}
	if c.MaxDisk != 0 && c.MaxDisk < minMaxDisk {
		return fmt.Errorf("traces max_disk %d: want at least 16MiB", c.MaxDisk)
	}
	_, err := newRedactor(c.Redact)
	return err
}

// Limits returns retain and max_disk with their defaults, for Store.SetRetention.
func (c *Config) Limits() (retain time.Duration, maxDisk int64) {
	retain, maxDisk = time.Duration(c.Retain), c.MaxDisk
	if retain == 0 {
		retain = DefaultRetain
	}
	if maxDisk == 0 {
		maxDisk = DefaultMaxDisk
	}
	return retain, maxDisk
}

func parseCapture(s string) (call.Capture, error) {
	switch s {
	case "", "full":
		return call.CaptureFull, nil
	case "metadata":
		return call.CaptureMetadata, nil
	case "off":
		return call.CaptureOff, nil
	}
	return 0, fmt.Errorf("capture %q: want full, metadata or off", s)
}
