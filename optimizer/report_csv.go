package optimizer

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strconv"
	"strings"
)

// sheet is a CSV file as RFC 4180 has it: records end with CR LF, and what is
// in their fields stays as it is.
type csvSheet struct {
	out bytes.Buffer
	err error
}

func (s *csvSheet) add(cells []string) {
	if s.err != nil {
		return
	}
	// A writer that ends records with CR LF would write the newlines in fields so too.
	w := csv.NewWriter(&s.out)
	s.err = w.Write(cells)
	w.Flush()
	s.out.Truncate(s.out.Len() - 1)
	s.out.WriteString("\r\n")
}

func (s *csvSheet) bytes() ([]byte, error) { return s.out.Bytes(), s.err }

// comparisonCSV has a row for each record and candidate.
func comparisonCSV(_ *Run, c *Comparison) ([]byte, error) {
	s := new(csvSheet)
	names, messages := map[string]bool{}, false
	for i := range c.Records {
		for name := range c.Records[i].Inputs {
			names[name] = true
		}
		messages = messages || known(c.Records[i].Messages)
	}
	variables := sortedKeys(names)
	head := []string{"record"}
	for _, name := range variables {
		head = append(head, "input."+name)
	}
	if messages {
		head = append(head, "messages")
	}
	s.add(append(head, "expected", "candidate", "model", "prompt", "output", "score", "agrees", "seen", "why", "error",
		"latency_ms", "ttft_ms", "input_tokens", "output_tokens", "cost_usd", "format_broken", "trace_id"))
	for i := range c.Records {
		rec := &c.Records[i]
		front := []string{textCell(rec.ID)}
		for _, name := range variables {
			front = append(front, textCell(rec.Inputs[name]))
		}
		if messages {
			front = append(front, textCell(expectedText(rec.Messages)))
		}
		front = append(front, textCell(expectedText(rec.Expected)))
		for k := range rec.Answers {
			a, cand := &rec.Answers[k], &c.Candidates[k]
			s.add(append(slices.Clip(front),
				textCell(cand.Name), textCell(cand.Model), textCell(cand.Prompt), textCell(a.Output), numberCell(a.Score), truthCell(a.Agrees),
				strconv.FormatBool(a.Seen), textCell(a.Why), textCell(a.Error), numberCell(a.LatencyMS), numberCell(a.TTFTMS),
				strconv.Itoa(a.InputTokens), strconv.Itoa(a.OutputTokens), numberCell(a.CostUSD), strconv.FormatBool(a.FormatBroken), textCell(a.Trace)))
		}
	}
	return s.bytes()
}

// optimizationCSV has a row for each record that was learned from.
func optimizationCSV(_ *Run, o *Optimization) ([]byte, error) {
	s := new(csvSheet)
	names := map[string]bool{}
	for i := range o.Records {
		for name := range o.Records[i].Inputs {
			names[name] = true
		}
	}
	variables := sortedKeys(names)
	head := []string{"record"}
	for _, name := range variables {
		head = append(head, "input."+name)
	}
	s.add(append(head, "expected", "change", "before_score", "after_score", "before_output", "after_output", "before_why", "after_why"))
	for i := range o.Records {
		rec := &o.Records[i]
		row := []string{textCell(rec.ID)}
		for _, name := range variables {
			row = append(row, textCell(rec.Inputs[name]))
		}
		s.add(append(row, textCell(expectedText(rec.Expected)), rec.Change, numberCell(rec.Before.Score), numberCell(rec.After.Score),
			textCell(rec.Before.Output), textCell(rec.After.Output), textCell(rec.Before.Why), textCell(rec.After.Why)))
	}
	return s.bytes()
}

// textCell keeps spreadsheets from taking what a model or a caller has written
// for a formula (https://owasp.org/www-community/attacks/CSV_Injection). A number is none.
func textCell(s string) string {
	if s == "" || !strings.ContainsRune("=+-@\t\r\n", rune(s[0])) || plainNumber(s) {
		return s
	}
	return "'" + s
}

// plainNumber is narrower than ParseFloat, which knows infinities and hexadecimals.
func plainNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil && strings.Trim(s, "0123456789.eE+-") == ""
}

// numberCell is empty where there is no number. It leaves out the digits that only come from adding up in binary.
func numberCell(x *float64) string {
	if x == nil {
		return ""
	}
	short, err := strconv.ParseFloat(strconv.FormatFloat(*x, 'g', 12, 64), 64)
	if err != nil {
		short = *x
	}
	return strconv.FormatFloat(short, 'f', -1, 64)
}

func truthCell(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}
