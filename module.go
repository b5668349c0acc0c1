// Package frontier is an LLM gateway as a Caddy app: it traces every LLM API
// call, keeps a prompt registry, and splits traffic over models and prompt
// versions, so that a team can move from one model to another without touching its applications.
package frontier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/metrics"
	"github.com/caddy-frontier/frontier/internal/price"
	"github.com/caddy-frontier/frontier/optimizer"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/tracing"
	"github.com/caddy-frontier/frontier/tracing/export"
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(adminAPI{})
	registerCaddyfile()
	registerCommand()
}

// App is the LLM gateway's app: the providers, the routes, the prompt
// registry and the trace store that the handlers llm_trace, llm_prompt,
// llm_router and llm_proxy work with. It needs no configuration: without any,
// calls are traced and go to the provider that the directive names.
//
// What is learnt and decided at run time (prompts, aliases, weights, traces)
// lives in the data directory, survives reloads and restarts, and is never
// written into the configuration. If the directory cannot be opened, the
// configuration is refused; if it fails later, traffic goes on with what is in memory.
type App struct {
	// Where prompts, weights and traces are kept. One process at a time.
	// Default: `llm` in Caddy's data directory.
	DataDir string `json:"data_dir,omitempty"`
	// Upstream LLM services by name. `openai`, `openrouter`, `ollama` and `vllm` are known without being declared.
	Provider map[string]*routing.Provider `json:"provider,omitempty"`
	// Routes by name.
	Route map[string]*routing.Route `json:"route,omitempty"`
	// Whether calls that no route takes may go to providers directly. Default: true.
	Direct *bool `json:"direct,omitempty"`
	// What is recorded of calls.
	Traces *tracing.Config `json:"traces,omitempty"`
	// A file of prices, over those of the embedded table: `{"models": {"provider/model": {"input": 1.0, "output": 2.0, "cached": 0.5}}}`,
	// in US dollars per million tokens.
	Prices string `json:"prices,omitempty"`
	// The keys of those who may call, by name: `sha256:` and the digest in hex, or a placeholder such as `{env.TEAM_KEY}`. With any, a request
	// needs one of them (`Authorization: Bearer …`), which is never passed on; without, every caller is let in.
	ClientKey map[string]string `json:"client_key,omitempty"`
	// What the gateway takes of requests.
	Limits *Limits `json:"limits,omitempty"`

	log     *zap.Logger
	dir     string
	table   *routing.Table
	prices  *price.Table
	admit   *call.Admission
	since   time.Time
	exports []tracing.Exporter

	opening  sync.Mutex
	opened   atomic.Bool
	started  atomic.Bool
	cleaned  bool
	data     *data
	kept     *tracing.Config // Traces, or the defaults
	view     *prompts.View
	recorder *tracing.Recorder
}

// Limits bound requests.
type Limits struct {
	// The largest request body, in bytes. Default: 32 MiB.
	MaxBody int64 `json:"max_body,omitempty"`
	// How many calls may be under way at once; more are answered with 429 and Retry-After. Default: 0, no limit.
	MaxInFlight int `json:"max_in_flight,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm", New: func() caddy.Module { return new(App) }}
}

// Provision compiles providers and routes. At the start of a process it opens
// no store: a configuration can be validated beside a running server. On a
// reload it opens the data directory, before a server of the new configuration
// takes any request: what is wrong with the directory must not be felt by requests.
func (a *App) Provision(ctx caddy.Context) error {
	a.log = ctx.Logger()
	a.since = time.Now()
	if err := a.check(); err != nil {
		return err
	}
	dir := a.DataDir
	if dir == "" {
		dir = defaultDataDir()
	}
	dir, err := caddy.NewReplacer().ReplaceOrErr(dir, true, true)
	if err != nil {
		return fmt.Errorf("data_dir: %w; set it where Caddy runs", err)
	}
	if a.dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if a.Provider == nil {
		a.Provider = map[string]*routing.Provider{}
	}
	for name, p := range a.Provider {
		if p == nil { // null in JSON
			p = new(routing.Provider)
			a.Provider[name] = p
		}
		if err := p.Provision(name); err != nil {
			return err
		}
	}
	for _, r := range a.Route {
		for _, v := range r.Variants {
			if err := a.UseProvider(v.Provider()); err != nil {
				return err
			}
		}
	}
	if a.prices, err = a.loadPrices(); err != nil {
		return err
	}
	a.table, err = routing.NewTable(a.Provider, a.Route, a.Direct == nil || *a.Direct, a.prices)
	if err != nil {
		return err
	}
	if a.Limits != nil {
		a.table.MaxInFlight = a.Limits.MaxInFlight
	}
	if err := a.announce(ctx); err != nil {
		return err
	}
	if a.exports, err = a.loadExporters(ctx); err != nil {
		return err
	}
	if err := a.registerMetrics(ctx); err != nil {
		return err
	}
	if a.admit, err = a.admission(); err != nil || !reloading() {
		return err
	}
	return a.open()
}

// announce connects what happens to rollouts with Caddy's events and metrics.
func (a *App) announce(ctx caddy.Context) error {
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.table.Emit = func(name string, data map[string]any) { events.(*caddyevents.App).Emit(ctx, name, data) }
	return metrics.Register(ctx, a.table)
}

func (a *App) loadExporters(ctx caddy.Context) (list []tracing.Exporter, err error) {
	if a.Traces == nil || a.Traces.ExportRaw == nil {
		return nil, nil
	}
	modules, err := ctx.LoadModule(a.Traces, "ExportRaw")
	if err != nil {
		return nil, fmt.Errorf("traces export: %w", err)
	}
	for _, m := range modules.([]any) {
		e, ok := m.(tracing.Exporter)
		if !ok {
			return nil, fmt.Errorf("traces export: module %T is no trace exporter", m)
		}
		list = append(list, e)
	}
	return list, export.Check(list)
}

// reloading reports whether this process runs a configuration already; caddy
// validate does not.
func reloading() bool { return caddy.ActiveContext().Context != nil }

// check finds the mistakes that can be found without the environment: no
// variable and no file is looked at.
func (a *App) check() error {
	if err := routing.Check(a.Provider, a.Route); err != nil {
		return err
	}
	if a.Traces != nil {
		if err := a.Traces.Validate(); err != nil {
			return err
		}
	}
	if a.Limits != nil && a.Limits.MaxBody < 0 {
		return fmt.Errorf("limits max_body %d: want a size above zero", a.Limits.MaxBody)
	}
	if a.Limits != nil && a.Limits.MaxInFlight < 0 {
		return fmt.Errorf("limits max_in_flight %d: want a number above zero", a.Limits.MaxInFlight)
	}
	return nil
}

func (a *App) loadPrices() (*price.Table, error) {
	t := price.Embedded()
	if a.Prices != "" {
		file, err := caddy.NewReplacer().ReplaceOrErr(a.Prices, true, true)
		if err != nil {
			return nil, fmt.Errorf("prices: %w; set it where Caddy runs", err)
		}
		layer, err := price.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("prices: %w", err)
		}
		t = t.With(layer)
	}
	for name, p := range a.Provider {
		t = t.With(p.Prices(name))
	}
	return t, nil
}

// UseProvider makes sure, while the configuration is provisioned, that a
// provider is there: a declared one, or a built-in name.
func (a *App) UseProvider(name string) error {
	if a.Provider[name] != nil {
		return nil
	}
	if !routing.IsPreset(name) {
		return noProvider(name)
	}
	p := new(routing.Provider)
	if err := p.Provision(name); err != nil {
		return err
	}
	a.Provider[name] = p
	return nil
}

func noProvider(name string) error {
	return fmt.Errorf("there is no provider %q; declare it in the global option: { llm { provider %s { base_url … } } }", name, name)
}

// Start opens the data directory, and starts the export of traces. At the start
// of the process, what reading configuration, prices and stores took of memory
// goes back to the system.
func (a *App) Start() error {
	if err := a.open(); err != nil {
		return err
	}
	a.data.exports.Use(a.exports)
	a.data.runs.Use(a)
	a.started.Store(true)
	if !reloading() {
		debug.FreeOSMemory()
	}
	return nil
}

// Stop has nothing to do: requests that are under way still use the app.
func (a *App) Stop() error { return nil }

// open opens the data directory once: on a reload in Provision, else on Start
// or on the first request, whichever comes first.
func (a *App) open() error {
	if a.opened.Load() {
		return nil
	}
	a.opening.Lock()
	defer a.opening.Unlock()
	if a.opened.Load() {
		return nil
	}
	if a.cleaned {
		return errors.New("the configuration is not in use any more")
	}
	d, err := openData(a.dir, a.log)
	if err != nil {
		return err
	}
	if a.kept = a.Traces; a.kept == nil {
		a.kept = new(tracing.Config)
	}
	recorder, err := tracing.NewRecorder(*a.kept, d.traces, a.prices)
	if err != nil {
		closeData(a.dir, a.log)
		return err
	}
	d.retain(a.kept)
	a.data, a.recorder = d, recorder
	a.view = prompts.NewView(d.registry, a.table.Scopes())
	a.table.Recorder = recorder
	a.table.Attach(d.routing, a.view, a.log)
	a.opened.Store(true)
	return nil
}

// Cleanup gives the data directory back once the requests that are under way
// have ended. On reload they may stream on for long: that is waited for off the reload's path.
func (a *App) Cleanup() error {
	for _, p := range a.Provider {
		p.Close()
	}
	a.opening.Lock()
	defer a.opening.Unlock()
	a.cleaned = true
	if !a.opened.Load() {
		return nil
	}
	a.table.Detach()
	a.data.release(a.kept)
	a.data.exports.Release(a.exports)
	a.data.runs.Release(a)
	release := func(limit time.Duration) {
		a.recorder.Wait(limit)
		a.view.Close()
		closeData(a.dir, a.log)
	}
	if caddy.Exiting() {
		a.data.runs.Close(exitWait)
		// Configurations before this one may still hold the directory, for the sake of streams that end with the process.
		a.recorder.Wait(exitWait)
		a.data.flush(exitWait)
		a.data.exports.Close(exitWait)
		release(0)
		return nil
	}
	go func() { // ends when the last request has: providers' timeouts bound them
		time.Sleep(lateRequests)
		release(24 * time.Hour)
	}()
	return nil
}

const (
	// lateRequests is for how long the servers of a replaced configuration may
	// still get a request: net/http leaves connections on which none has come yet open for five seconds.
	lateRequests = 6 * time.Second
	// exitWait bounds how long the end of the process waits for each of: calls, traces to be written, and to be exported.
	exitWait = 3 * time.Second
)

// The methods below are what the handlers ask of the app.

// Routing returns the providers and routes.
func (a *App) Routing() *routing.Table {
	a.ready()
	return a.table
}

// Recorder returns where finished calls go.
func (a *App) Recorder() *tracing.Recorder {
	a.ready()
	return a.recorder
}

// Prompts returns the registry as this configuration sees it.
func (a *App) Prompts() *prompts.View {
	a.ready()
	return a.view
}

// The methods below are what runs ask of the app.

// Ask calls a model, and keeps a trace of it.
func (a *App) Ask(ctx context.Context, q routing.Question) (*routing.Reply, error) {
	return a.table.Ask(ctx, q)
}

// CheckModel says why provider/model-id cannot be asked, or nil.
func (a *App) CheckModel(model string) error { return a.table.CheckModel(model) }

// ModelCost is what a model's tokens cost at most, in US dollars per million of input and output.
func (a *App) ModelCost(model string) (input, output float64, ok bool) {
	return a.table.ModelCost(model)
}

// ready opens the data directory on a request that comes before Start. If it
// cannot be opened, the process is about to end, or to refuse its first
// configuration: Start says why, and the request gets no answer.
func (a *App) ready() {
	if a.opened.Load() {
		return
	}
	if err := a.open(); err != nil {
		a.log.Error("the data directory is not open; a request that came before is dropped", zap.Error(err))
		panic(http.ErrAbortHandler)
	}
}

// admission resolves the client keys.
func (a *App) admission() (*call.Admission, error) {
	admit := new(call.Admission)
	if a.Limits != nil {
		admit.MaxBody = a.Limits.MaxBody
	}
	repl := caddy.NewReplacer()
	for _, name := range slices.Sorted(maps.Keys(a.ClientKey)) {
		declared := a.ClientKey[name]
		value, err := repl.ReplaceOrErr(declared, true, true)
		if err != nil {
			return nil, fmt.Errorf("client_key %q: %w", name, err)
		}
		if value == declared && !strings.HasPrefix(value, "sha256:") {
			return nil, fmt.Errorf("client_key %q: a key does not belong into the configuration; want sha256:<hex> or a placeholder such as {env.TEAM_KEY}", name)
		}
		k, err := call.ParseClientKey(name, strings.TrimSpace(value))
		if err != nil {
			return nil, err
		}
		admit.Keys = append(admit.Keys, k)
	}
	return admit, nil
}

// Admission is what is asked of requests before they are read.
func (a *App) Admission() *call.Admission { return a.admit }

// RouteFor names the route that a call reaches by its model or headers, or "".
func (a *App) RouteFor(c *call.Call, h http.Header) string {
	if r := a.table.RouteFor(c, h); r != nil {
		return r.Name
	}
	return ""
}

// IsProvider reports whether there is a provider of that name.
func (a *App) IsProvider(name string) bool { return a.Provider[name] != nil }

// defaultDataDir is the data directory unless one is configured.
func defaultDataDir() string { return filepath.Join(caddy.AppDataDir(), "llm") }

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
	_ optimizer.Gateway  = (*App)(nil)
)
