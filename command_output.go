package frontier

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	pretty "github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// printer prints what people read. Control characters of what it is given
// never reach a terminal: names, errors and bodies come from callers and providers.
type printer struct {
	out      io.Writer
	terminal bool
	colour   bool
	width    int // of the terminal, in columns; 0: unlimited
}

// newPrinter looks whether out is a terminal. There is colour on a terminal
// only, and there not with NO_COLOR (https://no-color.org).
func newPrinter(out io.Writer) printer {
	p := printer{out: out}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return p
	}
	p.terminal = true
	p.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if w, _, err := term.GetSize(int(f.Fd())); err == nil {
		p.width = w
	}
	return p
}

func (p printer) line(s string) { fmt.Fprintln(p.out, s) }

// text prints text of several lines as it is; on a terminal without control characters.
func (p printer) text(s string) {
	if p.terminal {
		s = printable(s, true)
	}
	if !strings.HasSuffix(s, "\n") && p.terminal {
		s += "\n"
	}
	fmt.Fprint(p.out, s)
}

// printJSON prints the API's JSON: for people with indentation, else as it came.
func (p printer) printJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	if p.terminal {
		var b bytes.Buffer
		if err := json.Indent(&b, raw, "", "  "); err != nil {
			return fmt.Errorf("the server's answer is not JSON: %w", err)
		}
		raw = b.Bytes()
	}
	_, err := fmt.Fprintf(p.out, "%s\n", raw)
	return err
}

// table is rows of text under columns.
type table struct {
	columns []column
	rows    [][]string
}

type column struct {
	name  string
	right bool // aligned
	wrap  bool // on a terminal, into what the other columns leave
	paint func(cell string) text.Color
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// width is how wide the other columns are.
func (t *table) width(except int) int {
	sum := 0
	for i, c := range t.columns {
		widest := text.StringWidth(c.name)
		for _, row := range t.rows {
			widest = max(widest, text.StringWidth(row[i]))
		}
		if i != except {
			sum += widest + 2
		}
	}
	return sum + 2 // the padding of the column itself
}

// table prints a table: with a rule under its head on a terminal, else as plain columns.
func (p printer) table(t table) {
	w := pretty.NewWriter()
	w.SuppressTrailingSpaces()
	style := pretty.StyleLight
	style.Options = pretty.OptionsNoBordersAndSeparators
	style.Options.SeparateHeader = p.terminal
	style.Format.Header = text.FormatUpper
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Color = pretty.ColorOptions{}
	w.SetStyle(style)
	if p.terminal && p.width > 0 {
		w.SetAllowedRowLength(p.width)
	}
	head := make(pretty.Row, len(t.columns))
	configs := make([]pretty.ColumnConfig, len(t.columns))
	for i, c := range t.columns {
		head[i] = c.name
		configs[i] = pretty.ColumnConfig{Number: i + 1}
		if c.right {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
		if c.wrap && p.width > 0 {
			configs[i].WidthMax, configs[i].WidthMaxEnforcer = max(p.width-t.width(i), 10), text.WrapSoft
		}
		if p.colour {
			configs[i].ColorsHeader = text.Colors{text.Bold}
			if c.paint != nil {
				configs[i].Transformer = func(v any) string {
					cell := v.(string)
					if colour := c.paint(cell); colour != text.Reset {
						return paint(colour, cell)
					}
					return cell
				}
			}
		}
	}
	w.AppendHeader(head)
	w.SetColumnConfigs(configs)
	for _, row := range t.rows {
		cells := make(pretty.Row, len(row))
		for i, s := range row {
			cells[i] = printable(s, false)
		}
		w.AppendRow(cells)
	}
	p.line(w.Render())
}

// field is one named thing of many.
type field struct{ name, value string }

// fields prints what is not empty, one a line, aligned.
func (p printer) fields(fields ...field) { p.paintedFields(nil, fields...) }

// paintedFields is fields with colours, where there are any, from paint.
func (p printer) paintedFields(paintValue func(field) string, fields ...field) {
	width := 0
	for _, f := range fields {
		if f.value != "" {
			width = max(width, len(f.name))
		}
	}
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		name := fmt.Sprintf("%-*s", width, f.name)
		f.value = printable(f.value, false)
		if p.colour {
			name = paint(text.Bold, name)
			if paintValue != nil {
				f.value = paintValue(f)
			}
		}
		p.wrapped(name+"  ", f.value)
	}
}

// wrapped prints text behind a head; on a terminal, lines after the first are
// indented as far as the head is wide.
func (p printer) wrapped(head, s string) {
	indent := text.StringWidthWithoutEscSequences(head)
	if p.width > indent+20 {
		s = strings.ReplaceAll(text.WrapSoft(s, p.width-indent), "\n", "\n"+strings.Repeat(" ", indent))
	}
	fmt.Fprintf(p.out, "%s%s\n", head, s)
}

// heading prints a line above a part of an answer.
func (p printer) heading(s string) {
	if p.colour {
		s = paint(text.Bold, s)
	}
	fmt.Fprintf(p.out, "\n%s\n", s)
}

// shell prints a command line that the reader can run.
func (p printer) shell(s string) {
	if p.colour {
		s = paint(text.FgCyan, s)
	}
	fmt.Fprintf(p.out, "  %s\n", s)
}

// progress shows, on a terminal only, how much is done, in a line that the
// next call replaces. clearProgress makes room for other output.
func (p printer) progress(done, total int, what string) {
	const width = 30
	if !p.terminal || done%max(total/100, 1) != 0 {
		return
	}
	full := width * done / max(total, 1)
	fmt.Fprintf(p.out, "\r[%s%s] %d of %d %s ", strings.Repeat("=", full), strings.Repeat(" ", width-full), done, total, what)
}

func (p printer) clearProgress() {
	if p.terminal {
		fmt.Fprintf(p.out, "\r%60s\r", "")
	}
}

// diff prints a unified diff.
func (p printer) diff(d string) {
	for line := range strings.Lines(d) {
		line = strings.TrimSuffix(line, "\n")
		if p.terminal {
			line = printable(line, true)
		}
		if p.colour && line != "" {
			switch {
			case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
				line = paint(text.Bold, line)
			case line[0] == '-':
				line = paint(text.FgRed, line)
			case line[0] == '+':
				line = paint(text.FgGreen, line)
			case line[0] == '@':
				line = paint(text.FgCyan, line)
			}
		}
		p.line(line)
	}
}

// paint is independent of go-pretty's own guess at whether there is colour.
func paint(c text.Color, s string) string {
	return "\x1b[" + strconv.Itoa(int(c)) + "m" + s + "\x1b[0m"
}

func paintStatus(status string) text.Color {
	switch status {
	case "ok":
		return text.FgGreen
	case "error":
		return text.FgRed
	case "cut", "cancelled":
		return text.FgYellow
	}
	return text.Reset
}

func paintMissing(cell string) text.Color {
	if strings.HasPrefix(cell, "none") {
		return text.FgYellow
	}
	return text.Reset
}

// printable replaces what a terminal would act on. Line breaks and tabs stay
// in text of several lines.
func printable(s string, lines bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case lines && (r == '\n' || r == '\t'):
			return r
		case r == '\n', r == '\t', r == '\r':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return '\ufffd'
		}
		return r
	}, s)
}

// The functions below write single values; "-" stands for unknown or none.

func orDash(s *string) string {
	if s == nil || *s == "" {
		return "-"
	}
	return *s
}

func milliseconds(ms *float64) string {
	if ms == nil {
		return "-"
	}
	switch v := *ms; {
	case v < 10:
		return trimZeros(v, 1) + " ms"
	case v < 1000:
		return fmt.Sprintf("%.0f ms", v)
	case v < 60_000:
		return trimZeros(v/1000, 2) + " s"
	}
	return (time.Duration(*ms) * time.Millisecond).Round(time.Second).String()
}

func dollars(usd *float64) string {
	switch {
	case usd == nil:
		return "-"
	case *usd == 0:
		return "$0"
	case math.Abs(*usd) < 0.01:
		return "$" + strconv.FormatFloat(*usd, 'f', 6, 64)
	case math.Abs(*usd) < 1:
		return "$" + strconv.FormatFloat(*usd, 'f', 4, 64)
	}
	return "$" + humanize.FormatFloat("#,###.##", *usd)
}

func share(x float64) string { return trimZeros(x*100, 2) + "%" }

func percents(x float64) string { return trimZeros(x, 2) + "%" }

func count(n float64) string { return humanize.Comma(int64(n)) }

func trimZeros(x float64, digits int) string {
	s := strconv.FormatFloat(x, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// localTime writes an API time in the local zone, to the second.
func localTime(rfc3339 string) string {
	t, err := time.Parse(time.RFC3339Nano, rfc3339)
	if err != nil {
		return rfc3339
	}
	return t.Local().Format(time.DateTime)
}

// labels writes tags and the like in the order of their names.
func labels[V any](m map[string]V) string {
	parts := make([]string, 0, len(m))
	for _, k := range sortedKeys(m) {
		parts = append(parts, fmt.Sprintf("%s=%v", k, m[k]))
	}
	return strings.Join(parts, " ")
}
