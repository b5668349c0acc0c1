package optimizer

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/caddy-frontier/frontier/prompts"
)

var hostile = []string{
	`<script>alert(1)</script>`, `</pre></style><img src=x onerror="alert(1)">`, `" onmouseover="alert(1)`, `]]><svg onload=alert(1)>`, `-->`,
	"nul \x00 bell \a escape \x1b[31m delete \x7f", "bad utf8 \xff\xfe end", "a | b\n\n# heading\n```\ncode", "![x](http://evil.example/x.png) [y](javascript:z)",
	`=HYPERLINK("http://evil.example")`, "+1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "-2.5", "{{.Body}} ${x}$", "\u202eright to left", "\ufffe\uffff\u0085",
}

// untrusted are both reports with such a text wherever others write.
func untrusted(t *testing.T, text string) (*Comparison, *Optimization) {
	t.Helper()
	c, o := sentiment(), improved(t)
	quoted, _ := json.Marshal(text)
	c.Dataset.Name, c.Incomplete, c.Summary, o.Reason, o.Evidence, o.Model, o.Prompt = text, text, text, text, text, text, text
	for k := range c.Candidates {
		cand := &c.Candidates[k]
		cand.Name, cand.Model, cand.Why = fmt.Sprint(text, k), text, text
		cand.Confusion.Labels = slices.Repeat([]string{text}, len(cand.Confusion.Labels))
	}
	for i := range c.Records {
		rec := &c.Records[i]
		rec.ID, rec.Expected, rec.Inputs = text, quoted, map[string]string{"v": text, text: text}
		if i == 0 {
			rec.Inputs, rec.Messages = nil, json.RawMessage(`[{"role":"user","content":`+string(quoted)+`}]`)
		}
		for k := range rec.Answers {
			a := &rec.Answers[k]
			a.Output, a.Why, a.Error, a.Trace = text, text, text, text
		}
	}
	for i := range o.Records {
		rec := &o.Records[i]
		rec.ID, rec.Expected, rec.Inputs = text, quoted, map[string]string{"v": text}
		rec.Before.Output, rec.After.Output, rec.Before.Why = text, text, text
	}
	for i := range o.Lines {
		o.Lines[i].Text = text
	}
	for i := range o.Tried {
		o.Tried[i].Move = text
	}
	to := prompts.Version{URI: "optimised", Template: o.Template}
	if best, err := prompts.ParseText(text); err == nil {
		o.Template, to.Template = best, best
	}
	o.Diff = prompts.Compare(&prompts.Version{Template: o.Original}, &to).Diff
	return c, o
}

func TestReportOfUntrustedText(t *testing.T) {
	for _, text := range hostile {
		t.Run(fmt.Sprintf("%.12q", text), func(t *testing.T) {
			c, o := untrusted(t, text)
			run := finishedRun(KindComparison)
			run.Actor, run.Reason = text, text
			other := finishedRun(KindOptimization)
			for name, out := range map[string]map[string][]byte{"comparison": forms(t, run, c), "optimization": forms(t, other, o)} {
				wellFormed(t, out["html"])
				drawings(t, out["html"])
				for ending, doc := range out {
					if !utf8.Valid(doc) {
						t.Errorf("%s.%s is no UTF-8", name, ending)
					}
				}
				for _, r := range string(out["html"]) + string(out["md"]) {
					if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
						t.Fatalf("%s has the control character %q", name, r)
					}
				}
				outside := withoutFences(string(out["md"]))
				links := strings.ReplaceAll(outside, `\](`, "")
				for _, bad := range []string{"<script", "<img", "<svg", "](", "\n# heading"} {
					if strings.Contains(links, bad) {
						t.Errorf("%s.md has %q", name, bad)
					}
				}
				sameColumns(t, outside)
				rows, err := csv.NewReader(bytes.NewReader(out["csv"])).ReadAll()
				if err != nil {
					t.Fatalf("%s.csv: %v", name, err)
				}
				for _, row := range rows {
					for _, cell := range row {
						if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) && !plainNumber(cell) {
							t.Errorf("%s.csv has the cell %q", name, cell)
						}
					}
				}
			}
		})
	}
}

// withoutFences is a Markdown document without its blocks.
func withoutFences(doc string) string {
	var out strings.Builder
	fence := ""
	for line := range strings.Lines(doc) {
		ticks := line[:len(line)-len(strings.TrimLeft(line, "`"))]
		switch {
		case fence == "" && len(ticks) >= 3:
			fence = ticks
		case fence != "" && len(ticks) >= len(fence):
			fence = ""
		case fence == "":
			out.WriteString(line)
		}
	}
	return out.String()
}

// sameColumns checks that each row of a Markdown table has the columns of its head.
func sameColumns(t *testing.T, doc string) {
	t.Helper()
	columns := 0
	for line := range strings.Lines(doc) {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		bare := strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\|`, "")
		if n := strings.Count(bare, "|"); columns == 0 {
			columns = n
		} else if n != columns {
			t.Errorf("%d columns, want %d: %s", n, columns, line)
		}
	}
}

func TestReportShowsTextAsItIs(t *testing.T) {
	text := `<b>"bold" & 'sharp'</b> ]]>`
	c, _ := untrusted(t, text)
	root, err := html.Parse(bytes.NewReader(forms(t, finishedRun(KindComparison), c)["html"]))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for n := range root.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data == "pre" && n.Data == text {
			found++
		}
	}
	if found < 3*len(reviews) {
		t.Errorf("%d of the answers are as they were", found)
	}
}

func TestReportOfLongText(t *testing.T) {
	long := strings.Repeat("wörd ", 40_000) // 240 kB
	c, o := sentiment(), improved(t)
	c.Records[2].Answers[1].Output, c.Records[2].Inputs["text"] = long, long
	o.Records[2].After.Output = long
	for _, out := range []map[string][]byte{forms(t, finishedRun(KindComparison), c), forms(t, finishedRun(KindOptimization), o)} {
		if !bytes.Contains(out["csv"], []byte(long)) {
			t.Error("the CSV is cut")
		}
		if len(out["html"]) > 100_000 || !bytes.Contains(out["html"], []byte("cut: 240,000 bytes in all")) {
			t.Errorf("the page has %d bytes", len(out["html"]))
		}
		if len(out["md"]) > 12_000 || !bytes.Contains(out["md"], []byte("…")) {
			t.Errorf("the Markdown has %d bytes", len(out["md"]))
		}
	}
}

func TestReportOfManyRecords(t *testing.T) {
	c, o := sentiment(), improved(t)
	for i := range 2990 {
		rec := c.Records[i%10]
		rec.ID = fmt.Sprintf("more-%d", i)
		if i < 2900 {
			rec = c.Records[0]
			rec.ID = fmt.Sprintf("same-%d", i)
		}
		c.Records = append(c.Records, rec)
		o.Records = append(o.Records, o.Records[i%10])
	}
	out := forms(t, finishedRun(KindComparison), c)
	wellFormed(t, out["html"])
	if n := bytes.Count(out["html"], []byte("<details")); n != mostShown {
		t.Errorf("%d records are shown", n)
	}
	for _, want := range []string{"1,000 of 3,000 records are shown", "those that differ (40 in all)", ">more-2988<", "differs <b>40</b>"} {
		if !bytes.Contains(out["html"], []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if rows := bytes.Count(out["csv"], []byte("\r\n")); rows != 1+3*3000 {
		t.Errorf("the CSV has %d rows", rows)
	}
	many := forms(t, finishedRun(KindOptimization), o)
	for ending, want := range map[string]string{"html": "1,000 of 3,000 records are shown", "md": "50 of 3,000 records"} {
		if !bytes.Contains(many[ending], []byte(want)) {
			t.Errorf("%s lacks %q", ending, want)
		}
	}
}

func TestReportOfNothing(t *testing.T) {
	for _, c := range []*Comparison{
		{}, {Candidates: []CandidateReport{{}, {}}, Records: []RecordReport{{}, {Answers: make([]AnswerReport, 5)}}},
	} {
		out := forms(t, finishedRun(KindComparison), c)
		wellFormed(t, out["html"])
		drawings(t, out["html"])
	}
	raw := json.RawMessage(`{"records":[{}],"tried":[{}],"curve":[{}],"lines":[{}]}`)
	page, err := writeHTML(finishedRun(KindOptimization), raw)
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, page)
	drawings(t, page)
	if _, err := writeMarkdown(finishedRun(KindOptimization), raw); err != nil {
		t.Error(err)
	}
}
