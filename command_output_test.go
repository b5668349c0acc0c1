package frontier

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestTableOnATerminal(t *testing.T) {
	rows := table{columns: []column{{name: "status", paint: paintStatus}, {name: "cost", right: true}}}
	rows.add("ok", "$1")
	rows.add("error", "$0.5")
	rows.add("other", "\x1b[2J")
	for name, step := range map[string]struct {
		p    printer
		want string
	}{
		"pipe":      {printer{}, "STATUS  COST\nok        $1\nerror   $0.5\nother   �[2J\n"},
		"terminal":  {printer{terminal: true}, "STATUS  COST\n──────────────\nok        $1\nerror   $0.5\nother   �[2J\n"},
		"in colour": {printer{terminal: true, colour: true}, "\x1b[1mSTATUS  \x1b[0m\x1b[1mCOST  \x1b[0m\n──────────────\n\x1b[32mok\x1b[0m        $1\n\x1b[31merror\x1b[0m   $0.5\nother   �[2J\n"},
		"narrow":    {printer{terminal: true, width: 9}, "STATUS ≈\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			step.p.out = &b
			step.p.table(rows)
			got := b.String()
			if name == "narrow" {
				for line := range strings.Lines(got) {
					if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 9 {
						t.Errorf("a line of %d columns: %q", n, line)
					}
				}
				return
			}
			if got != step.want {
				t.Errorf("got\n%q\nwant\n%q", got, step.want)
			}
		})
	}
}

// The last column of a table is wrapped into what a terminal has left.
func TestTableWraps(t *testing.T) {
	rows := table{columns: []column{{name: "guard"}, {name: "missing", wrap: true}}}
	rows.add("errors", "140 more candidate requests")
	var b bytes.Buffer
	printer{out: &b, terminal: true, width: 25}.table(rows)
	if want := "GUARD   MISSING\n─────────────────────────\nerrors  140 more\n        candidate\n        requests\n"; b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestPrinterText(t *testing.T) {
	for name, step := range map[string]struct {
		p        printer
		in, want string
	}{
		"pipe":     {printer{}, "a\tb\n\x1b[31mc", "a\tb\n\x1b[31mc"},
		"terminal": {printer{terminal: true}, "a\tb\n\x1b[31mc\u202e", "a\tb\n�[31mc�\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			step.p.out = &b
			step.p.text(step.in)
			if b.String() != step.want {
				t.Errorf("got %q, want %q", b.String(), step.want)
			}
		})
	}
}

func TestPrinterDiff(t *testing.T) {
	var b bytes.Buffer
	printer{out: &b, terminal: true, colour: true}.diff("--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n z\n")
	want := "\x1b[1m--- a\x1b[0m\n\x1b[1m+++ b\x1b[0m\n\x1b[36m@@ -1 +1 @@\x1b[0m\n\x1b[31m-x\x1b[0m\n\x1b[32m+y\x1b[0m\n z\n"
	if b.String() != want {
		t.Errorf("got %q\nwant %q", b.String(), want)
	}
}

func TestPrinterJSON(t *testing.T) {
	for name, step := range map[string]struct {
		p    printer
		want string
	}{
		"pipe":     {printer{}, "{\"a\":[1]}\n"},
		"terminal": {printer{terminal: true}, "{\n  \"a\": [\n    1\n  ]\n}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			step.p.out = &b
			if err := step.p.printJSON([]byte("{\"a\":[1]}\n")); err != nil || b.String() != step.want {
				t.Errorf("%v, got %q", err, b.String())
			}
		})
	}
}

func TestParseWhen(t *testing.T) {
	now := time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC)
	for given, want := range map[string]time.Time{
		"2026-05-01T09:30:00Z":        time.Date(2026, 5, 1, 9, 30, 0, 0, time.UTC),
		"2026-05-01T09:30:00.5+02:00": time.Date(2026, 5, 1, 7, 30, 0, 500_000_000, time.UTC),
		"2026-05-01":                  time.Date(2026, 5, 1, 0, 0, 0, 0, time.Local),
		"2026-05-01 09:30":            time.Date(2026, 5, 1, 9, 30, 0, 0, time.Local),
		"2026-05-01T09:30:10":         time.Date(2026, 5, 1, 9, 30, 10, 0, time.Local),
		"90m":                         now.Add(-90 * time.Minute),
		"2d":                          now.Add(-48 * time.Hour),
	} {
		if got, err := parseWhen(given, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v, %v, want %v", given, got, err, want)
		}
	}
	for _, given := range []string{"", "yesterday", "-1h", "12:30", "2026-13-01"} {
		if got, err := parseWhen(given, now); err == nil {
			t.Errorf("%q: got %v, want an error", given, got)
		}
	}
}

func TestFigures(t *testing.T) {
	f := func(x float64) *float64 { return &x }
	for _, step := range []struct{ got, want string }{
		{dollars(nil), "-"},
		{dollars(f(0)), "$0"},
		{dollars(f(0.0000204)), "$0.000020"},
		{dollars(f(0.0042)), "$0.004200"},
		{dollars(f(0.25)), "$0.2500"},
		{dollars(f(12.5)), "$12.50"},
		{dollars(f(1234.567)), "$1,234.57"},
		{milliseconds(nil), "-"},
		{milliseconds(f(0.04)), "0 ms"},
		{milliseconds(f(3.21)), "3.2 ms"},
		{milliseconds(f(999.4)), "999 ms"},
		{milliseconds(f(1500)), "1.5 s"},
		{milliseconds(f(61_000)), "1m1s"},
		{percents(33.33), "33.33%"},
		{percents(0), "0%"},
		{share(0.005), "0.5%"},
		{count(1234567), "1,234,567"},
	} {
		if step.got != step.want {
			t.Errorf("got %s, want %s", step.got, step.want)
		}
	}
}
