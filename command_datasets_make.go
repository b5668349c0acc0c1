package frontier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/optimizer"
)

// partSize is how many bytes of records are sent at once; the admin API takes bodies of 8 MiB.
const partSize = 7 << 20

func (c *cli) captureDatasetCommand() *cobra.Command {
	var (
		change                changeFlags
		route, variant, since string
		sample                int
		seed                  uint64
	)
	cmd := c.command("capture DATASET", "Makes a dataset of traces", `
Makes a dataset of what clients asked on a route and what a variant answered, without
a call to any model: a baseline. The records are the variables of the prompt that most
requests were made with, or whole messages where there is no such prompt. Of requests
that ask the same the newest counts; where there are more than are wanted, each
answer gets its share. A dataset that is there already gets the next version.

	$ caddy llm datasets capture reviews --route sentiment
	$ caddy llm datasets capture reviews --route sentiment --variant stable --since 2d --sample 100`, exactly("DATASET"), func(r *request, args []string) error {
		if route == "" {
			return usagef("--route is missing: whose traces? caddy llm routes list shows the routes")
		}
		body := change.into(map[string]any{"route": route})
		if variant != "" {
			body["variant"] = variant
		}
		if since != "" {
			t, err := parseWhen(since, time.Now())
			if err != nil {
				return usagef("--since %s", err)
			}
			body["since"] = t.UTC().Format("2006-01-02T15:04:05.000Z")
		}
		flags := r.cmd.Flags()
		if flags.Changed("sample") {
			if sample < 1 {
				return usagef("--sample %d: want 1 or more records", sample)
			}
			body["sample"] = sample
		}
		if flags.Changed("seed") {
			body["seed"] = seed
		}
		var captured optimizer.Captured
		if done, err := r.call(http.MethodPost, "/llm/datasets"+segments(args[0], "capture"), nil, body, &captured); done || err != nil {
			return err
		}
		r.captured(&captured)
		return nil
	})
	flags := cmd.Flags()
	flags.StringVar(&route, "route", "", "The route whose traces are read")
	flags.StringVar(&variant, "variant", "", "The variant whose answers are wanted (default stable)")
	flags.StringVar(&since, "since", "", "From then on: a time, a date, or how long ago (default 7d)")
	flags.IntVar(&sample, "sample", 0, "Most records (default 200)")
	flags.Uint64Var(&seed, "seed", 0, "Chooses other records where there are more")
	change.register(cmd)
	c.completeFlag(cmd, "route", "/llm/routes")
	return cmd
}

func (r *request) captured(c *optimizer.Captured) {
	prompt := ""
	if c.Prompt != nil {
		prompt = " of prompt " + *c.Prompt
	}
	var skipped []string
	for _, reason := range sortedKeys(c.Skipped) {
		skipped = append(skipped, count(float64(c.Skipped[reason]))+" "+strings.ReplaceAll(reason, "_", " "))
	}
	duplicates := ""
	if c.Duplicates > 0 {
		duplicates = count(float64(c.Duplicates)) + " asked what a newer one does"
		if c.Disagreeing > 0 {
			duplicates += fmt.Sprintf(", %s of them with another answer", count(float64(c.Disagreeing)))
		}
	}
	left := ""
	if c.LeftOut > 0 {
		left = fmt.Sprintf("%s traces have system messages besides the prompt, which variables do not tell", count(float64(c.LeftOut)))
	}
	older := ""
	if c.OlderUnseen {
		older = "not looked at: there were enough newer ones"
	}
	r.fields(
		field{"dataset", fmt.Sprintf("%s/%d", c.Dataset, c.Version.Version)},
		field{"records", count(float64(c.Used))},
		field{"inputs", c.Inputs + prompt},
		field{"traces", count(float64(c.LookedAt)) + " looked at"},
		field{"duplicates", duplicates},
		field{"not used", strings.Join(skipped, ", ")},
		field{"note", left},
		field{"older traces", older},
	)
	if len(c.Strata) > 0 {
		r.line("")
		t := table{columns: []column{{name: "answer"}, {name: "found", right: true}, {name: "used", right: true}}}
		for _, s := range c.Strata[:min(len(c.Strata), 10)] {
			t.add(excerpted(s.Answer, 80), count(float64(s.Found)), count(float64(s.Used)))
		}
		r.table(t)
		if n := len(c.Strata) - 10; n > 0 {
			r.line(fmt.Sprintf("… and %d more.", n))
		}
	}
}

func (c *cli) importDatasetCommand() *cobra.Command {
	var (
		change                        changeFlags
		format, expected, description string
		replace                       bool
	)
	cmd := c.command("import DATASET FILE", "Adds records of a file to a dataset", `
Adds records of a file to a dataset, which is made if need be; - is standard input.

JSON Lines: an object a line, with "inputs" (the prompt's variables) or "messages",
and "expected"; or flat, all members but id, expected, weight and tags being
variables; MLflow's evaluation records are read, too. CSV: a header, columns as the
members of a flat object; --expected names the column with the answer that is wanted.

A record that is there already is passed over, so that an import can be repeated. A
large file is sent in parts, each of which makes a version; the last has all.

	$ caddy llm datasets import reviews reviews.csv --expected label
	$ caddy llm datasets import reviews reviews.jsonl --replace`, exactly("DATASET", "FILE"), func(r *request, args []string) error {
		raw, err := r.read(args[1])
		if err != nil {
			return fmt.Errorf("reading the records: %w", err)
		}
		records, err := readRecords(args[1], format, expected, raw)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return fmt.Errorf("%s has no records", args[1])
		}
		return r.importRecords(args[0], description, records, replace, &change)
	})
	flags := cmd.Flags()
	flags.StringVar(&format, "format", "", "jsonl or csv (default: by the file's ending, else by its content)")
	flags.StringVar(&expected, "expected", "", "CSV: the column with the answer that is wanted (default expected)")
	flags.StringVar(&description, "description", "", "What the records are, of a new dataset")
	flags.BoolVar(&replace, "replace", false, "Put the records in the place of those there are")
	change.register(cmd)
	return cmd
}

// readRecords reads a file of records.
func readRecords(file, format, expected string, raw []byte) ([]optimizer.Record, error) {
	if format == "" {
		switch strings.ToLower(filepath.Ext(file)) {
		case ".csv":
			format = optimizer.FormatCSV
		case ".jsonl", ".ndjson", ".json":
			format = optimizer.FormatJSONL
		default:
			format = optimizer.FormatCSV
			if start := bytes.TrimLeft(raw, "\xef\xbb\xbf \t\r\n"); len(start) == 0 || start[0] == '{' {
				format = optimizer.FormatJSONL
			}
		}
	}
	var (
		records []optimizer.Record
		err     error
	)
	switch {
	case format == optimizer.FormatCSV:
		records, err = optimizer.ReadCSV(bytes.NewReader(raw), optimizer.CSVOptions{Expected: expected})
	case format != optimizer.FormatJSONL:
		return nil, usagef("--format %s: want jsonl or csv", format)
	case expected != "":
		return nil, usagef("--expected names a column of CSV; in JSON Lines the answer that is wanted is the member \"expected\"")
	default:
		records, err = optimizer.ReadJSONL(bytes.NewReader(raw))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the records of %s: %w", file, err)
	}
	return records, nil
}

// imported is what the API answers to records.
type imported struct {
	Version    optimizer.DatasetVersion `json:"version"`
	Added      int                      `json:"added"`
	Duplicates int                      `json:"duplicates"`
}

// importRecords sends records part by part.
func (r *request) importRecords(name, description string, records []optimizer.Record, replace bool, change *changeFlags) error {
	lines := make([]json.RawMessage, len(records))
	for i := range records {
		raw, err := marshalJSON(&records[i])
		if err != nil {
			return err
		}
		lines[i] = raw
	}
	path := "/llm/datasets" + segments(name)
	_, err := r.server.do(r.ctx, http.MethodGet, path, nil, nil)
	var refused *serverError
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		body := map[string]any{"name": name}
		if description != "" {
			body["description"] = description
		}
		_, err = r.server.do(r.ctx, http.MethodPost, "/llm/datasets", nil, change.into(body))
	}
	if err != nil {
		return err
	}
	var (
		sum    imported
		answer json.RawMessage
	)
	for from := 0; from < len(lines); {
		to := partEnd(lines, from)
		body := change.into(map[string]any{"records": lines[from:to]})
		if replace && from == 0 {
			body["replace"] = true
		}
		answer, err = r.server.do(r.ctx, http.MethodPost, path+"/records", nil, body)
		if err != nil {
			if from > 0 {
				err = fmt.Errorf("%w; the first %d records are there: mend it and import again, what is there is passed over", err, from)
			}
			return err
		}
		var part imported
		if err := r.decode(answer, &part); err != nil {
			return err
		}
		sum.Version = part.Version
		sum.Added += part.Added
		sum.Duplicates += part.Duplicates
		from = to
		r.progress(from, len(lines), "records")
	}
	r.clearProgress()
	if r.json {
		return r.printJSON(answer)
	}
	r.line(fmt.Sprintf("%s/%d has %s records: %s added, %s there already", name, sum.Version.Version, count(float64(sum.Version.Records)), count(float64(sum.Added)), count(float64(sum.Duplicates))))
	missing := 0
	for i := range records {
		if len(records[i].Expected) == 0 || string(records[i].Expected) == "null" {
			missing++
		}
	}
	if missing > 0 {
		r.note("%s of %s records have no expected answer: comparisons need a --baseline for them, and optimisations leave them out.", count(float64(missing)), strconv.Itoa(len(records)))
	}
	return nil
}

// partEnd is where the part that begins there ends: a record at least, and as many as fit.
func partEnd(lines []json.RawMessage, from int) int {
	size := 0
	for i := from; i < len(lines); i++ {
		if size += len(lines[i]) + 1; size > partSize && i > from {
			return i
		}
	}
	return len(lines)
}
