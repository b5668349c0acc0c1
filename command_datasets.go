package frontier

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/optimizer"
)

func (c *cli) datasetsCommand() *cobra.Command {
	return group(
		&cobra.Command{
			Use: "datasets", Short: "Shows and makes datasets",
			Long: "Shows and makes datasets: named lists of records, which are what was asked and the answer that is wanted. A\nversion never changes; whatever changes the records makes the next one.\n\n\t$ caddy llm datasets capture reviews --route sentiment\n\t$ caddy llm datasets import reviews reviews.csv",
		},
		c.command("list", "Lists datasets", `
Lists the datasets with their latest versions.

	$ caddy llm datasets list`, exactly(), func(r *request, _ []string) error {
			if r.json {
				return r.printPages("/llm/datasets", nil)
			}
			t := table{columns: []column{{name: "name"}, {name: "version", right: true}, {name: "records", right: true}, {name: "source"}, {name: "made"}, {name: "description", wrap: true}}}
			err := pages(r, "/llm/datasets", nil, func(d optimizer.Dataset) error {
				latest, ok := latestVersion(&d)
				if !ok {
					t.add(d.Name, "-", "0", "-", "-", d.Description)
					return nil
				}
				t.add(d.Name, strconv.Itoa(latest.Version), count(float64(latest.Records)), sourceText(&latest), latest.CreatedAt.Local().Format(time.DateTime), d.Description)
				return nil
			})
			if err != nil {
				return err
			}
			if len(t.rows) == 0 {
				r.note("There are no datasets yet: caddy llm datasets capture makes one of traces, caddy llm datasets import of a file.")
				return nil
			}
			r.table(t)
			return nil
		}),
		c.showDatasetCommand(),
		c.captureDatasetCommand(),
		c.importDatasetCommand(),
		c.exportDatasetCommand(),
		c.deleteDatasetCommand(),
	)
}

func (c *cli) showDatasetCommand() *cobra.Command {
	records := 5
	cmd := c.command("show DATASET", "Shows a dataset and its first records", `
Shows a dataset: its versions, and the first records of the latest, or of the one
that is named. A version that a run has used is kept; of the others the newest are.

	$ caddy llm datasets show reviews
	$ caddy llm datasets show reviews/1 --records 20`, exactly("DATASET"), func(r *request, args []string) error {
		name, version, err := datasetVersion(args[0])
		if err != nil {
			return err
		}
		if records < 0 || records > 1000 {
			return usagef("--records %d: want 0 to 1000; caddy llm datasets export has all", records)
		}
		var d optimizer.Dataset
		if done, err := r.get("/llm/datasets"+segments(name), nil, &d); done || err != nil {
			return err
		}
		r.fields(field{"name", d.Name}, field{"description", d.Description}, field{"tags", labels(d.Tags)}, field{"made", d.CreatedAt.Local().Format(time.DateTime)})
		if len(d.Versions) == 0 {
			r.note("It has no records yet: caddy llm datasets import %s FILE", d.Name)
			return nil
		}
		r.line("")
		t := table{columns: []column{{name: "version", right: true}, {name: "records", right: true}, {name: "source"}, {name: "made"}, {name: "by"}, {name: "used by a run"}, {name: "hash"}}}
		for i := len(d.Versions) - 1; i >= 0; i-- {
			v := &d.Versions[i]
			by, used, hash := v.Actor, "", v.Hash
			if v.Reason != "" {
				by = strings.TrimSpace(by + ": " + v.Reason)
			}
			if v.Pinned {
				used = "yes"
			}
			t.add(strconv.Itoa(v.Version), count(float64(v.Records)), sourceText(v), v.CreatedAt.Local().Format(time.DateTime), by, used, hash[:min(len(hash), 12)])
		}
		r.table(t)
		if records == 0 {
			return nil
		}
		return r.firstRecords(name, version, records)
	})
	cmd.Flags().IntVarP(&records, "records", "n", records, "How many records to show, up to 1000")
	return cmd
}

// datasetVersion takes NAME or NAME/VERSION apart; version is "" for the latest.
func datasetVersion(ref string) (name, version string, err error) {
	name, version, given := strings.Cut(ref, "/")
	if n, err := strconv.Atoi(version); name == "" || given && (err != nil || n < 1) {
		return "", "", usagef("%q is no dataset: want NAME or NAME/VERSION, such as reviews/2", ref)
	}
	return name, version, nil
}

func (r *request) firstRecords(name, version string, most int) error {
	q := url.Values{"limit": {strconv.Itoa(most)}}
	if version != "" {
		q.Set("version", version)
	}
	var page api.List[optimizer.Record]
	if _, err := r.get("/llm/datasets"+segments(name, "records"), q, &page); err != nil {
		return err
	}
	r.line("")
	t := table{columns: []column{{name: "record"}, {name: "expected"}, {name: "asked", wrap: true}}}
	for i := range page.Items {
		rec := &page.Items[i]
		expected := "-"
		if len(rec.Expected) > 0 && string(rec.Expected) != "null" {
			expected = excerpted(answerText(rec.Expected), 60)
		}
		t.add(rec.ID, expected, excerpted(askedText(&optimizer.RecordReport{Inputs: rec.Inputs, Messages: rec.Messages}), 200))
	}
	r.table(t)
	return nil
}

func latestVersion(d *optimizer.Dataset) (optimizer.DatasetVersion, bool) {
	for _, v := range d.Versions {
		if v.Version == d.Latest {
			return v, true
		}
	}
	return optimizer.DatasetVersion{}, false
}

func sourceText(v *optimizer.DatasetVersion) string {
	if v.Source.Kind == optimizer.SourceCapture {
		return "traces of " + v.Source.Route + "/" + v.Source.Variant
	}
	return v.Source.Kind
}

func (c *cli) exportDatasetCommand() *cobra.Command {
	format, output := "", ""
	cmd := c.command("export DATASET", "Writes a dataset's records", `
Writes the records of a dataset, of the latest version or the one that is named, as
JSON Lines or CSV. Either can be imported again.

	$ caddy llm datasets export reviews
	$ caddy llm datasets export reviews/1 --output reviews.csv`, exactly("DATASET"), func(r *request, args []string) error {
		name, version, err := datasetVersion(args[0])
		if err != nil {
			return err
		}
		if format == "" {
			format = optimizer.FormatJSONL
			if strings.HasSuffix(strings.ToLower(output), ".csv") {
				format = optimizer.FormatCSV
			}
		}
		if format != optimizer.FormatJSONL && format != optimizer.FormatCSV {
			return usagef("--format %s: want jsonl or csv", format)
		}
		q := url.Values{}
		if version != "" {
			q.Set("version", version)
		}
		raw, err := r.server.do(r.ctx, http.MethodGet, "/llm/datasets"+segments(name, "export."+format), q, nil)
		if err != nil {
			return err
		}
		if output == "" || output == "-" {
			r.text(string(raw))
			return nil
		}
		if err := os.WriteFile(output, raw, 0o600); err != nil {
			return fmt.Errorf("writing the records: %w", err)
		}
		r.note("The records are in %s.", output)
		return nil
	})
	cmd.Flags().StringVar(&format, "format", "", "jsonl or csv (default: by the ending of --output, else jsonl)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "File to write them to, - for standard output")
	return cmd
}

func (c *cli) deleteDatasetCommand() *cobra.Command {
	var change changeFlags
	cmd := c.command("delete DATASET", "Removes a dataset", `
Removes a dataset with all its versions, those too that runs have used. Reports of
runs stay.

	$ caddy llm datasets delete reviews --reason "it had personal data"`, exactly("DATASET"), func(r *request, args []string) error {
		if strings.Contains(args[0], "/") {
			return usagef("%q: a dataset is removed as a whole; want its name alone", args[0])
		}
		if _, err := r.server.do(r.ctx, http.MethodDelete, "/llm/datasets"+segments(args[0]), nil, change.into(map[string]any{})); err != nil {
			return err
		}
		r.note("Dataset %s is removed.", args[0])
		return nil
	})
	change.register(cmd)
	return cmd
}
