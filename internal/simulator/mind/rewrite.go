package mind

import (
	"slices"
	"strings"
)

// failure is a case of which a request to improve a prompt tells.
type failure struct{ input, got, want string }

// rewrite answers a request to improve a prompt, given cases in which it
// failed: the prompt as it was, with a rule for every kind of difference
// between what came and what was expected. Its variables stay.
func rewrite(m Mind, r Request) (string, bool) {
	text := wantsRewrite(r.Messages)
	if text == "" {
		return "", false
	}
	current, before, after, ok := currentPrompt(text)
	if !ok {
		return "", false
	}
	improved := insert(current, m.remedies(current, failures(before+"\n"+after)))
	if r.JSON || strings.Contains(strings.ToLower(before+after), "json") {
		key := "prompt"
		if keys := quotedKeys(before + after); len(keys) > 0 {
			key = keys[0]
		}
		return "{" + quote(key) + ":" + quote(improved) + "}", true
	}
	return "```\n" + improved + "\n```", true
}

// wantsRewrite returns the whole text of a request to improve a prompt, or "".
func wantsRewrite(messages []Message) string {
	var all strings.Builder
	for _, m := range messages {
		if m.Role != "assistant" {
			all.WriteString(clip(m.Text) + "\n")
		}
	}
	text := all.String()
	lower := strings.ToLower(text)
	if containsAny(lower, []string{"improve", "rewrite", "revise", "optimiz", "optimis", "better prompt", "better instruction", "new prompt", "new instruction"}) &&
		containsAny(lower, []string{"prompt", "instruction"}) && containsAny(lower, []string{"current", "<prompt", "<instruction", "```", "prompt:", "instruction:", "instructions:"}) {
		return text
	}
	return ""
}

// currentPrompt finds the prompt to improve: in tags, in a fence, or behind a heading.
func currentPrompt(text string) (prompt, before, after string, ok bool) {
	for _, tag := range []string{"current_prompt", "current_instruction", "current_instructions", "prompt", "instruction", "instructions"} {
		before, rest, found := strings.Cut(text, "<"+tag+">")
		if !found {
			continue
		}
		if prompt, after, found = strings.Cut(rest, "</"+tag+">"); found {
			return strings.TrimSpace(prompt), before, after, true
		}
	}
	if before, rest, found := strings.Cut(text, "```"); found {
		if i := strings.IndexByte(rest, '\n'); i >= 0 && i < 20 {
			rest = rest[i+1:] // behind the name of a language
		}
		if prompt, after, found = strings.Cut(rest, "```"); found {
			return strings.TrimSpace(prompt), before, after, true
		}
	}
	from, to := -1, 0
	at := 0
	for line := range strings.Lines(text) {
		trimmed := strings.ToLower(strings.Trim(strings.TrimSpace(line), "#* "))
		switch name, value := slot(line); {
		case from < 0 && (strings.HasSuffix(trimmed, "prompt:") || strings.HasSuffix(trimmed, "instruction:") || strings.HasSuffix(trimmed, "instructions:")):
			from, to = at+len(line), len(text)
		case from >= 0 && to == len(text) && (name == "got" || name == "want" || name == "input" && !strings.Contains(value, "{{") || containsAny(trimmed, []string{"fail", "wrong", "mistake", "case", "cases:"})):
			to = at
		}
		at += len(line)
	}
	if from < 0 {
		return "", "", "", false
	}
	prompt = strings.TrimSpace(text[from:to])
	return prompt, text[:from], text[to:], prompt != ""
}

// slot says what a line of a failing case holds: its input, what came (got) or what was expected (want).
func slot(line string) (name, value string) {
	line = strings.TrimLeft(strings.TrimSpace(line), "-*#> ")
	var head string
	if strings.HasPrefix(line, "<") {
		var ok bool
		if head, value, ok = strings.Cut(line[1:], ">"); !ok || strings.HasPrefix(head, "/") {
			return "", ""
		}
		value, _, _ = strings.Cut(value, "</"+head+">")
	} else {
		var ok bool
		if head, value, ok = strings.Cut(line, ":"); !ok || len(head) > 40 {
			return "", ""
		}
	}
	head = strings.ToLower(strings.Trim(head, "* "))
	value = unquote(strings.Trim(strings.TrimLeft(value, "*"), " \n"))
	switch {
	case strings.Count(head, " ") > 3:
		return "", ""
	case containsAny(head, []string{"expected", "correct", "want", "gold", "target", "reference", "desired", "should"}):
		return "want", value
	case containsAny(head, []string{"got", "output", "actual", "answer", "response", "prediction", "generated", "wrong"}):
		return "got", value
	case inputNames[strings.TrimRight(head[strings.LastIndexAny(head, " _")+1:], "0123456789#) ")]:
		return "input", value
	}
	return "", ""
}

func failures(text string) []failure {
	var out []failure
	var f failure
	flush := func() {
		if f.got != "" && f.want != "" && len(out) < maxExamples {
			out = append(out, f)
			f = failure{}
		}
	}
	for line := range strings.Lines(text) {
		switch name, value := slot(line); name {
		case "input":
			flush()
			f = failure{input: value}
		case "got":
			if f.got != "" {
				flush()
			}
			f.got = value
		case "want":
			if f.want != "" {
				flush()
			}
			f.want = value
		}
	}
	flush()
	return out
}

// remedies are the rules that would have prevented the failures, as far as the model sees them.
func (m Mind) remedies(current string, failed []failure) []string {
	var wants, confused []string
	lower, upper := true, true
	for _, f := range failed {
		wants = append(wants, f.want)
		lower = lower && f.want == strings.ToLower(f.want)
		upper = upper && f.want == strings.ToUpper(f.want)
	}
	var extra, letterCase, punctuation bool
	for _, f := range failed {
		if Draw(uint64(m.Seed), m.Model, "notice", f.input, f.got) < 0.8*(1-m.Ability) {
			continue
		}
		got, want := strings.Trim(strings.ToLower(f.got), " .!*"), strings.Trim(strings.ToLower(f.want), " .!*")
		switch {
		case f.got == f.want:
		case strings.EqualFold(f.got, f.want):
			letterCase = true
		case got == want:
			punctuation = true
			letterCase = letterCase || !strings.Contains(f.got, f.want)
		case mentions(got, want):
			extra = true
			letterCase = letterCase || !strings.Contains(f.got, f.want)
		default:
			if f.input != "" && len(f.want) < 60 && len(confused) < 8 {
				confused = append(confused, f.want+`: for texts such as "`+strings.ReplaceAll(snippet(f.input, 30), `"`, "'")+`"`)
			}
			extra = extra || len(f.got) > 3*len(f.want)+20
		}
	}
	has := rulesIn(current)
	var lines []string
	add := func(needed bool, has Rule, line string) {
		if needed && has.For < 2 {
			lines = append(lines, line)
		}
	}
	only := "Answer with only the result, nothing else"
	if labels := distinct(wants); len(labels) > 0 && len(labels) < 12 && !slices.ContainsFunc(wants, func(w string) bool { return len(w) > 40 }) {
		only = "Answer with only the label, nothing else"
	}
	add(extra || len(failed) == 0, has.Only, only)
	switch {
	case lower:
		add(letterCase, has.Lower, "Use lowercase")
	case upper:
		add(letterCase, has.Upper, "Use uppercase")
	default:
		add(letterCase, Rule{}, "Write the answer exactly as the labels are written")
	}
	add(extra, has.NoExplain, "No explanation")
	add(punctuation, has.NoPunct, "No punctuation")
	for _, c := range confused {
		if !strings.Contains(current, c) {
			lines = append(lines, c)
		}
	}
	return lines
}

// insert puts rules in front of the line that has the first variable, or at
// the end but before a closing "Answer:".
func insert(prompt string, lines []string) string {
	if len(lines) == 0 {
		return prompt
	}
	rules := "- " + strings.Join(lines, "\n- ")
	if !strings.Contains(prompt, "Rules:\n") {
		rules = "Rules:\n" + rules
	} else if head, tail, ok := strings.Cut(prompt, "Rules:\n"); ok {
		return head + "Rules:\n" + rules + "\n" + tail
	}
	if before, _, ok := strings.Cut(prompt, "{{"); ok {
		if at := strings.LastIndexByte(before, '\n') + 1; at > 0 {
			return prompt[:at] + rules + "\n\n" + prompt[at:]
		}
	}
	body, ended := strings.CutSuffix(strings.TrimSpace(prompt), cue)
	body = strings.TrimRight(body, "\n ") + "\n\n" + rules
	if ended {
		body += "\n\n" + cue
	}
	return body
}
