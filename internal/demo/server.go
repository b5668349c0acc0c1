package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	_ "embed"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// Server is the demo's Caddy, in this process: the gateway, the simulated
// models behind it, and the admin API, each at a loopback address.
type Server struct {
	Dir       string // all that it writes is in here
	Gateway   string
	Simulator string
	Admin     string
	Seed      int64         // of all that is random
	Fast      bool          // latencies are divided by Faster
	Rollout   bool          // whether the route has the scenario's
	Hold      time.Duration // of each of its steps but the last

	scenario *Scenario
}

// Faster is by what latencies are divided to play fast.
const Faster = 40

// NewServer finds addresses for a server. A port of 0 is any that is free.
func NewServer(s *Scenario, dir string, port int) (*Server, error) {
	v := &Server{Dir: dir, scenario: s}
	for _, a := range []struct {
		address *string
		port    int
	}{{&v.Gateway, port}, {&v.Simulator, 0}, {&v.Admin, 0}} {
		// Caddy itself would share the port with another Caddy that has it.
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(a.port)))
		if err != nil {
			return nil, fmt.Errorf("finding a port: %w", err)
		}
		defer l.Close() // when all three are found, so that they differ
		*a.address = l.Addr().String()
	}
	return v, nil
}

// URL is the base URL that applications use.
func (v *Server) URL() string { return "http://" + v.Gateway + "/v1" }

// Config is the file with the server's Caddyfile.
func (v *Server) Config() string { return filepath.Join(v.Dir, "Caddyfile") }

// Log is the file to which Caddy logs.
func (v *Server) Log() string { return filepath.Join(v.Dir, "caddy.log") }

//go:embed Caddyfile.tmpl
var caddyfileTemplate string

// simulated is how a model is simulated.
type simulated struct {
	ID      string
	Ability float64
	Latency time.Duration
	Price   float64
}

func (v *Server) simulate(m Model, ability float64) simulated {
	latency := time.Duration(m.LatencyMS * float64(time.Millisecond))
	if v.Fast {
		latency /= Faster
	}
	return simulated{m.ID(), ability, latency, m.USDPerMillionTokens}
}

// Caddyfile writes the server's configuration.
func (v *Server) Caddyfile() ([]byte, error) {
	t, err := template.New("Caddyfile").Parse(caddyfileTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		Server
		Dir, Log          string
		Stable, Candidate simulated
		Lines             []string
	}{
		*v, filepath.ToSlash(v.Dir), filepath.ToSlash(v.Log()),
		v.simulate(v.scenario.Models.Stable, 0.97), v.simulate(v.scenario.Models.Candidate, 0.75),
		v.Lines(),
	})
	return b.Bytes(), err
}

// Lines are what the route's block has of the rollout; none without one.
func (v *Server) Lines() (lines []string) {
	if !v.Rollout {
		return nil
	}
	lines = append(lines, "rollout {")
	for _, s := range v.scenario.Rollout {
		line := fmt.Sprintf("step %g%%", s.Percent)
		if s.Hold != "" {
			line += " " + v.Hold.String()
		}
		lines = append(lines, "\t"+line)
	}
	return append(lines, "\tguard errors", "\tguard latency", "\tguard cost", "}")
}

// FaultsURL is where a simulated model's faults are switched.
func (v *Server) FaultsURL(m Model) string {
	return "http://" + v.Simulator + "/simulator/models/" + url.PathEscape(m.ID()) + "/faults"
}

// SwitchFaults lets something go wrong with a simulated model from its next
// call on: a list such as [{"kind": "500", "percent": 60}].
func (v *Server) SwitchFaults(ctx context.Context, m Model, faults string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, v.FaultsURL(m), strings.NewReader(faults))
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("switching the faults of %s: %w", m.ID(), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("switching the faults of %s: the simulator answers %s", m.ID(), resp.Status)
	}
	return nil
}

// Start writes the Caddyfile and runs it, in place of what ran before. Nothing but Dir is written to: no
// autosaved configuration, and none of what another Caddy of this user stores.
func (v *Server) Start() error {
	text, err := v.Caddyfile()
	if err != nil {
		return fmt.Errorf("writing the Caddyfile: %w", err)
	}
	if err := os.MkdirAll(v.Dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(v.Config(), text, 0o600); err != nil {
		return err
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return errors.New("this Caddy is built without the Caddyfile")
	}
	config, _, err := adapter.Adapt(text, map[string]any{"filename": v.Config()})
	if err != nil {
		return fmt.Errorf("adapting %s: %w", v.Config(), err)
	}
	caddy.BufferedLog() // what it logs before its log file is open does not belong among the demo's output
	return caddy.Load(config, true)
}
