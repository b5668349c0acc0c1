package frontier

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/tracing"
)

func (c *cli) tailTracesCommand() *cobra.Command {
	var (
		filter   traceFilter
		lines    int
		interval = time.Second
	)
	cmd := c.command("tail", "Prints traces as they come", `
Prints the last calls, then each call that ends from now on, until it is
interrupted or the reader of its output goes away. It goes on when the server
restarts. With --json each line is one trace without its bodies.

	$ caddy llm traces tail
	$ caddy llm traces tail --route sentiment --status error --json`, exactly(), func(r *request, _ []string) error {
		if lines < 0 || lines > 1000 {
			return usagef("--lines %d: want 0 to 1000", lines)
		}
		q, err := filter.query(time.Now())
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(r.ctx, os.Interrupt)
		defer stop()
		r.ctx = ctx
		err = (&tail{request: r, query: q, lines: lines}).run(interval)
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	filter.register(cmd, false)
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "How many of the last traces to begin with")
	cmd.Flags().DurationVar(&interval, "interval", interval, "How often to look for new ones")
	return cmd
}

// tail prints rows that it has not printed before. Rows are listed by the time
// at which calls began but appear when calls end, so that a new one may stand
// behind others that were printed already: each look goes back until a whole
// page has nothing new, at most as far as a call usually takes.
type tail struct {
	*request
	query url.Values
	lines int
	seen  map[string]time.Time // id and beginning of what was listed
	floor time.Time            // when the last call of the first look ended: what ended before is history
	told  bool                 // that the server is away
}

const (
	tailWindow = 10 * time.Minute // back from the newest row seen
	tailPage   = 200
	tailPages  = 20              // of one look
	tailDelay  = 2 * time.Second // from a call's end until it is listed
)

func (t *tail) run(interval time.Duration) error {
	if interval <= 0 {
		return usagef("--interval %s: want a time such as 1s", interval)
	}
	rows, err := t.look(max(t.lines, 1))
	if err != nil {
		return err
	}
	t.header()
	if len(rows) > t.lines {
		rows = rows[:t.lines]
	}
	t.print(rows)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return nil
		case <-tick.C:
		}
		rows, err := t.look(0)
		var away *unreachableError
		var refused *serverError
		switch {
		case err == nil:
			t.told = false
			t.print(rows)
		case t.ctx.Err() != nil:
			return nil
		case errors.As(err, &away), errors.As(err, &refused) && refused.status >= http.StatusInternalServerError:
			if !t.told {
				t.note("%s; waiting for it", err)
			}
			t.told = true
		default:
			return err
		}
	}
}

// look returns the rows that are new, the newest first. most bounds the first
// look; everything that it finds counts as seen.
func (t *tail) look(most int) ([]tailRow, error) {
	q := url.Values{}
	maps.Copy(q, t.query)
	first := t.seen == nil
	if first {
		t.seen = map[string]time.Time{}
	}
	q.Set("limit", strconv.Itoa(tailPage))
	if since := t.horizon(); !since.IsZero() {
		q.Set("since", since.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	var fresh []tailRow
	for n := range tailPages {
		answer, err := t.server.do(t.ctx, http.MethodGet, "/llm/traces", q, nil)
		if err != nil {
			if first {
				t.seen = nil
			}
			return nil, err
		}
		var page api.List[json.RawMessage]
		if err := t.decode(answer, &page); err != nil {
			return nil, err
		}
		found := false
		for _, raw := range page.Items {
			row := tailRow{raw: raw}
			if err := t.decode(raw, &row.Row); err != nil {
				return nil, err
			}
			if _, old := t.seen[row.ID]; old {
				continue
			}
			t.seen[row.ID] = row.StartedAt.Time
			if first || row.ended().After(t.floor.Add(-tailDelay)) {
				fresh = append(fresh, row)
				found = true
			}
		}
		if !found || page.NextCursor == nil || first && len(fresh) >= most {
			break
		}
		if n == tailPages-1 && !first {
			t.note("More than %d traces came at once: some are left out.", tailPages*tailPage)
		}
		q.Set("cursor", *page.NextCursor)
	}
	if first {
		for _, row := range fresh {
			if end := row.ended(); end.After(t.floor) {
				t.floor = end
			}
		}
	}
	t.forget()
	return fresh, nil
}

// horizon is the time before which no new row is expected.
func (t *tail) horizon() time.Time {
	var newest time.Time
	for _, at := range t.seen {
		if at.After(newest) {
			newest = at
		}
	}
	if newest.IsZero() {
		return newest
	}
	return newest.Add(-tailWindow)
}

// forget drops what lies before the horizon.
func (t *tail) forget() {
	if horizon := t.horizon(); len(t.seen) > 10*tailPage {
		for id, at := range t.seen {
			if at.Before(horizon) {
				delete(t.seen, id)
			}
		}
	}
}

// tailRow is a row with the JSON it was read from.
type tailRow struct {
	tracing.Row
	raw json.RawMessage
}

func (r *tailRow) ended() time.Time {
	return r.StartedAt.Add(time.Duration(r.DurationMS * float64(time.Millisecond)))
}

const tailFormat = "%-12s  %-32s  %-9s  %8s  %8s  %-12s  %-28s  %-16s  %s\n"

func (t *tail) header() {
	if t.json {
		return
	}
	head := fmt.Sprintf(tailFormat, "STARTED", "ID", "STATUS", "LATENCY", "COST", "VARIANT", "MODEL", "PROMPT", "ROUTE")
	if t.colour {
		head = paint(text.Bold, strings.TrimSuffix(head, "\n")) + "\n"
	}
	fmt.Fprint(t.out, head)
}

// print prints rows, the oldest first.
func (t *tail) print(rows []tailRow) {
	for i := len(rows) - 1; i >= 0; i-- {
		row := &rows[i]
		if t.json {
			fmt.Fprintf(t.out, "%s\n", row.raw)
			continue
		}
		status := fmt.Sprintf("%-9s", row.Status)
		if t.colour {
			status = paint(paintStatus(row.Status), status)
		}
		line := fmt.Sprintf(tailFormat, row.StartedAt.Local().Format("15:04:05.000"), row.ID, status, milliseconds(&row.DurationMS), dollars(row.CostUSD),
			printable(orDash(row.Variant), false), printable(modelOf(row.Provider, row.Model), false), printable(servedPrompt(row.Prompt), false), printable(orDash(row.Route), false))
		fmt.Fprint(t.out, line)
	}
}
