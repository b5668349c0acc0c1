package frontier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/demo"
	"github.com/caddy-frontier/frontier/optimizer"
)

func (c *cli) demoCommand() *cobra.Command {
	cmd := c.demoPlay("demo", "Plays a migration from gpt-4 to gpt-4o-mini on simulated models", `
Starts a Caddy of its own with the gateway and two simulated models, and plays a
migration on it: traced calls, versions of a prompt, two models compared, traffic
split between them, and a rollout to 100% with its guards. All figures are read
from the running gateway. It needs no key and no network, and leaves the files and
servers of other Caddys alone.

The server then stays up to be looked at until it is interrupted; with --exit it
ends with the play. If a part of the play does not give what it must, the exit
code is 1.

	$ caddy llm demo
	$ caddy llm demo --exit --fast`, false)
	cmd.AddCommand(c.demoPlay("regression", "Plays a migration whose new model turns bad, and is taken back", `
Starts a Caddy as caddy llm demo does, with thousands of simulated users. A rollout
gives the new model 5% of them, then 20%; there its provider begins to fail. The
rollout's guard takes all traffic back, and meanwhile the fallback answers what the
new model does not. At the end it says what the users had of it: if a single
call got no answer, the exit code is 1.

	$ caddy llm demo regression
	$ caddy llm demo regression --exit --fast`, true))
	return cmd
}

// demoPlay makes a command that plays.
func (c *cli) demoPlay(use, short, long string, regression bool) *cobra.Command {
	o := demoOptions{regression: regression}
	least, hold := time.Second, 2*time.Second
	if regression { // a failure is known when the candidate was asked twice
		least, hold = 3*time.Second, 4*time.Second
	}
	cmd := c.command(use, short, long, exactly(), func(r *request, _ []string) error {
		for _, flag := range []string{"address", "config", "adapter", "json"} {
			if r.cmd.Flags().Changed(flag) {
				return usagef("the demo takes no --%s: it starts a server of its own and prints a play", flag)
			}
		}
		switch {
		case o.port < 0 || o.port > 65535:
			return usagef("--port %d: want 1 to 65535, or 0 for one that is free", o.port)
		case o.seed < 1:
			return usagef("--seed %d: want a number above zero", o.seed)
		case o.hold < least || o.hold > time.Hour:
			return usagef("--hold %s: want a time from %s to 1h", o.hold, least)
		}
		ctx, stop := signal.NotifyContext(r.ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		r.ctx = ctx
		return r.demo(o)
	})
	flags := cmd.Flags()
	flags.IntVarP(&o.port, "port", "p", 0, "The gateway's port on 127.0.0.1; default: one that is free")
	flags.StringVar(&o.dir, "data-dir", "", "Keep everything in this directory; default: a temporary one, removed at the end")
	flags.BoolVar(&o.exit, "exit", false, "End after the play")
	flags.BoolVar(&o.fast, "fast", false, fmt.Sprintf("Divide the models' latencies by %d", demo.Faster))
	flags.DurationVar(&o.hold, "hold", hold, "How long the rollout holds each step at least; in earnest it would be days")
	flags.Int64Var(&o.seed, "seed", 1, "Begins what is random: the models' answers, the users' names and turns")
	return cmd
}

type demoOptions struct {
	dir        string // "": a temporary one
	port       int    // of the gateway; 0: any
	seed       int64
	hold       time.Duration
	fast, exit bool
	regression bool
}

// demo starts the server, plays, and leaves the server up unless it shall exit.
func (r *request) demo(o demoOptions) error {
	began := time.Now()
	scenario, err := demo.Load()
	if err != nil {
		return err
	}
	dir, keep := o.dir, false // keep: for its log
	if dir == "" {
		if dir, err = os.MkdirTemp("", "frontier-demo-"); err != nil {
			return err
		}
		remove := func(context.Context) { _ = os.RemoveAll(dir) }
		caddy.OnExit(remove) // caddy stop
		defer func() {
			if !keep {
				remove(r.ctx)
			}
		}()
	} else if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	defer stopDemo()
	server, err := demo.NewServer(scenario, dir, o.port)
	if err == nil {
		server.Seed, server.Fast, server.Hold = o.seed, o.fast, o.hold
		server.Rollout = o.regression // else it is declared later
		err = server.Start()
	}
	if err != nil {
		return fmt.Errorf("starting the demo's server: %w", err)
	}
	if r.server, err = newAdminClient(server.Admin); err != nil {
		return err
	}
	p := newPlay(r, scenario, server, o.regression)
	defer p.end()
	p.opening()
	err = p.all()
	switch {
	case r.ctx.Err() != nil:
		return errors.New("the demo was interrupted")
	case err != nil:
		keep = true
		return fmt.Errorf("%w; Caddy's log is %s", err, server.Log())
	}
	took := float64(time.Since(began).Milliseconds())
	p.heading("Done in " + milliseconds(&took) + ". All of it was real but the models.")
	if o.exit {
		return nil
	}
	if !o.regression {
		p.lookAround()
		<-r.ctx.Done()
		p.line("\nStopped.")
		return nil
	}
	p.lookAfter()
	traffic := p.users("after", calmRate)
	<-r.ctx.Done()
	tally := traffic.Stop()
	p.line(fmt.Sprintf("\nStopped. Meanwhile %d of %s calls failed.", tally.Failed, count(float64(tally.Calls))))
	return nil
}

// stopDemo stops this process's Caddy and stores what is still in memory.
func stopDemo() {
	app, err := running()
	_ = caddy.Stop()
	if err == nil {
		app.data.flush(exitWait)
	}
}

// play is one performance of the scenario.
type play struct {
	*request
	*demo.Scenario
	host *demo.Server
	app  *demo.Application

	opened time.Time
	parts  []part
	number int       // of the part that is played
	began  time.Time // when it was begun

	// What parts hand on to later ones.
	traced             string                      // the first call's trace
	production, better *versionView                // versions of sentiment_production
	dataset            string                      // name/version
	compared           *optimizer.ComparisonResult // of the new model with the same prompt
	ran                string                      // the last comparison's run
	splitSince         time.Time
	answered           map[string]int // calls of the split, by variant
	bad                regression
}

func newPlay(r *request, s *demo.Scenario, host *demo.Server, regression bool) *play {
	p := &play{request: r, Scenario: s, host: host, app: demo.NewApplication(host.URL(), s.Parameters), opened: time.Now()}
	p.parts = p.migrationParts()
	if regression {
		p.parts = p.regressionParts()
	}
	return p
}

// end ends what the play has begun.
func (p *play) end() {
	if p.bad.watch != nil {
		p.bad.watch.traffic.Stop()
	}
	p.app.Close()
}

// Parts are played in their order. Each ends with an error when what it has
// read of the gateway is not what it must be.
func (p *play) migrationParts() []part {
	return []part{
		{"One call, traced", p.tracedCall},
		{"A prompt and its versions", p.versions},
		{"The prompt that production uses", p.register},
		{"A baseline, from what production answers", p.baseline},
		{"The new model, with the same prompt", p.compare},
		{"A better prompt for it, found by itself", p.optimize},
		{"Is it ready?", p.evaluate},
		{"A fifth of the users", p.split},
		{"What it comes to", p.figures},
		{"To 100%, guarded", p.rollOut},
	}
}

type part struct {
	title string
	play  func() error
}

func (p *play) all() error {
	for i, part := range p.parts {
		p.heading(fmt.Sprintf("%d/%d  %s", i+1, len(p.parts), part.title))
		p.line("")
		p.number, p.began = i+1, time.Now()
		if err := part.play(); err != nil {
			return fmt.Errorf("part %d, %q: %w", i+1, part.title, err)
		}
	}
	return nil
}

func (p *play) opening() {
	title := "A sentiment classifier moves from " + p.Models.Stable.ID() + " to " + p.Models.Candidate.ID()
	if p.host.Rollout {
		title += ", which turns bad on the way"
	}
	p.heading(title)
	p.line("")
	p.line("The two models are simulated; the gateway, its traces and its figures are real.")
	if p.host.Fast {
		p.line(fmt.Sprintf("Their latencies are divided by %d (--fast).", demo.Faster))
	}
	p.line("")
	p.fields(
		field{"gateway", p.host.URL()},
		field{"admin API", p.host.Admin},
		field{"configuration", p.host.Config()},
		field{"Caddy's log", p.host.Log()},
	)
}

// lookAround says what there is to see of the server that stays up.
func (p *play) lookAround() {
	p.line("")
	p.line("The server is still up. Look around from another terminal:")
	p.line("")
	p.commands("traces list --limit 5", "traces show "+p.traced, "prompts list", "routes show sentiment", "stats", "datasets list", "runs list", "runs report "+p.ran+" --md",
		"rollout weights sentiment stable=50 candidate=50")
	p.line("")
	p.shell("curl -i " + p.host.URL() + "/chat/completions \\")
	p.shell(`  -d '{"model": "` + p.Models.Stable.ID() + `", "user": "you", "messages": [{"role": "user", "content":`)
	p.shell(`       "Classify sentiment: positive, negative, or neutral.\n\nText: I love it"}]}'`)
	p.line("")
	p.line("Ctrl-C stops it.")
}

// commands prints commands of `caddy llm` for the demo's server.
func (p *play) commands(commands ...string) {
	program := os.Args[0]
	if strings.ContainsAny(program, " \t'\"\\") {
		program = "caddy"
	}
	for _, command := range commands {
		p.shell(program + " llm " + command + " --address " + p.host.Admin)
	}
}

// wait ends early when the demo is interrupted.
func (p *play) wait(d time.Duration) error {
	select {
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	case <-time.After(d):
		return nil
	}
}
