package prompts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sergi/go-diff/diffmatchpatch"
)

// Diff is what changed between two versions of a prompt.
type Diff struct {
	Name    string        `json:"name"`
	From    int           `json:"from"`
	To      int           `json:"to"`
	Diff    string        `json:"diff"`    // of the template, by lines, as diff -u prints it; "" when it is the same
	Changes []FieldChange `json:"changes"` // of everything else
}

// FieldChange is one field that differs; null stands for none.
type FieldChange struct {
	Field string          `json:"field"` // such as "type", "variables" or "model_config.temperature"
	From  json.RawMessage `json:"from"`
	To    json.RawMessage `json:"to"`
}

// Compare says what changed from one version to another.
func Compare(from, to *Version) Diff {
	d := Diff{Name: from.Name, From: from.Version, To: to.Version, Changes: []FieldChange{}}
	d.Diff = unified(readable(&from.Template), readable(&to.Template), from.URI, to.URI)
	d.field("type", from.Type, to.Type)
	d.field("variables", from.Variables, to.Variables)
	d.field("response_format", from.ResponseFormat, to.ResponseFormat)
	keys := slices.Concat(slices.Collect(maps.Keys(from.ModelConfig)), slices.Collect(maps.Keys(to.ModelConfig)))
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		d.field("model_config."+key, from.ModelConfig[key], to.ModelConfig[key])
	}
	return d
}

func (d *Diff) field(name string, from, to any) {
	raw := func(v any) json.RawMessage {
		if r, ok := v.(json.RawMessage); ok {
			if r == nil {
				return json.RawMessage("null")
			}
			c, err := canonical(r)
			if err != nil {
				return r
			}
			v = c
		}
		out, _ := marshal(v)
		return out
	}
	if f, t := raw(from), raw(to); !bytes.Equal(f, t) {
		d.Changes = append(d.Changes, FieldChange{name, f, t})
	}
}

// readable is the template as text, a chat with a line before each message.
func readable(t *Template) string {
	if !t.chat {
		return t.Text()
	}
	var b strings.Builder
	for i, p := range t.parts {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "[%s]\n%s\n", p.role, p.source)
	}
	return b.String()
}

// around is how many unchanged lines stand around a change.
const around = 3

type line struct {
	mark byte // ' ', '-' or '+'
	text string
}

// unified compares two texts by lines.
func unified(from, to, fromName, toName string) string {
	if from == to {
		return ""
	}
	dmp := diffmatchpatch.New()
	dmp.DiffTimeout = time.Second // beyond it the diff is correct, but not the shortest
	a, b, table := dmp.DiffLinesToRunes(from, to)
	var lines []line
	for _, d := range dmp.DiffCharsToLines(dmp.DiffMainRunes(a, b, false), table) {
		mark := map[diffmatchpatch.Operation]byte{diffmatchpatch.DiffEqual: ' ', diffmatchpatch.DiffDelete: '-', diffmatchpatch.DiffInsert: '+'}[d.Type]
		for text := range strings.Lines(d.Text) {
			lines = append(lines, line{mark, text})
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", fromName, toName)
	fromLine, toLine := 1, 1 // of lines[i]
	for i := 0; i < len(lines); {
		start, end := hunk(lines, i)
		for ; i < start; i++ {
			fromLine++
			toLine++
		}
		if start == end {
			break
		}
		var body strings.Builder
		f, t := 0, 0
		for _, l := range lines[start:end] {
			if l.mark != '+' {
				f++
			}
			if l.mark != '-' {
				t++
			}
			body.WriteByte(l.mark)
			body.WriteString(l.text)
			if !strings.HasSuffix(l.text, "\n") {
				body.WriteString("\n\\ No newline at end of file\n")
			}
		}
		fmt.Fprintf(&out, "@@ -%s +%s @@\n%s", span(fromLine, f), span(toLine, t), body.String())
		fromLine, toLine, i = fromLine+f, toLine+t, end
	}
	return out.String()
}

// hunk finds the next group of changes from line i on, with the lines around it.
func hunk(lines []line, i int) (start, end int) {
	first := i
	for first < len(lines) && lines[first].mark == ' ' {
		first++
	}
	if first == len(lines) {
		return first, first
	}
	last := first
	for j := first; j < len(lines) && j-last <= 2*around; j++ {
		if lines[j].mark != ' ' {
			last = j
		}
	}
	return max(i, first-around), min(len(lines), last+1+around)
}

func span(line, count int) string {
	if count == 0 {
		line--
	}
	if count == 1 {
		return fmt.Sprint(line)
	}
	return fmt.Sprintf("%d,%d", line, count)
}
