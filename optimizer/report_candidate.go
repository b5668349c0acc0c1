package optimizer

import (
	"fmt"
	"strings"
)

// shownCandidate is a candidate as tables and plots call it.
type shownCandidate struct {
	*CandidateReport
	Number int    // its place in the list; pages give it a colour by that
	Short  string // its name where there is little room
	Word   string // original or optimised, or the prompt's version where that says nothing
	// Before is the index of the same model and prompt before an optimiser had it; -1: it is not among them.
	Before int
}

// PromptWords are what tables call the candidates' prompts: original and
// optimised where there is such a pair, else name/version; "": none.
func PromptWords(list []CandidateReport) []string {
	words := make([]string, len(list))
	for i, s := range shownCandidates(list) {
		words[i] = s.Word
	}
	return words
}

func shownCandidates(list []CandidateReport) []shownCandidate {
	out := make([]shownCandidate, len(list))
	for i := range list {
		s := shownCandidate{CandidateReport: &list[i], Number: i, Word: promptWord(list, i), Before: -1}
		if from := unoptimized(list, &list[i]); from != nil {
			for k := range list {
				if from == &list[k] {
					s.Before = k
				}
			}
		}
		out[i] = s
	}
	// original and optimised are enough where they tell candidates apart.
	for i := range out {
		for k := range out {
			if i != k && out[i].Model == out[k].Model && out[i].Word == out[k].Word && out[i].Prompt != "" {
				out[i].Word = promptWord(list, i)
				if out[i].Word != list[i].Prompt {
					out[i].Word += " " + list[i].Prompt
				}
				break
			}
		}
	}
	for i := range out {
		_, model, ok := strings.Cut(out[i].Model, "/")
		if !ok {
			model = out[i].Model
		}
		out[i].Short = strings.TrimSpace(model + " " + out[i].Word)
	}
	for i := range out {
		same := false
		for k := range out {
			same = same || k != i && (out[k].Short == out[i].Short || out[k].Model == out[i].Model && out[k].Word == out[i].Word)
		}
		if same || out[i].Short == "" || out[i].Name != "" && !out[i].named() {
			out[i].Short = out[i].Name
		}
		if out[i].Short == "" {
			out[i].Short = fmt.Sprintf("candidate %d", i)
		}
	}
	return out
}

// named reports whether the candidate's name is only what it consists of: nobody has chosen it.
func (s *shownCandidate) named() bool {
	spec := CandidateSpec{Model: s.Model, Prompt: s.Prompt}
	return s.Name == spec.label() || s.Baseline && s.Name == "baseline"
}

// promptWord is original or optimised where there is such a pair of a prompt, else the prompt's version.
func promptWord(list []CandidateReport, i int) string {
	if list[i].Optimized {
		return "optimised"
	}
	name, _, _ := strings.Cut(list[i].Prompt, "/")
	for k := range list {
		if of, _, _ := strings.Cut(list[k].Prompt, "/"); list[k].Optimized && of == name {
			return "original"
		}
	}
	return list[i].Prompt
}

// tone is the colour of a verdict.
func (s *shownCandidate) Tone() string {
	switch s.Verdict {
	case Production:
		return "calm"
	case Ready:
		return "good"
	case NotReady:
		return "bad"
	}
	return "unsure"
}

// Agreed is the consistency as a table has it: the baseline agrees with itself, which needs no interval.
func (s *shownCandidate) Agreed() string {
	if s.Baseline && s.Consistency.Of > 0 {
		return hundredths(s.Consistency.Share, s.Consistency.Of) + " %"
	}
	return showShare(s.Consistency)
}

// changed says how an optimiser's prompts did on a record against the prompts
// that they were made from, by agreement with the baseline.
func changed(list []shownCandidate, rec *RecordReport) (fixed, broken bool) {
	for i := range list {
		if list[i].Before < 0 {
			continue
		}
		before, after := rec.Answers[list[i].Before].Agrees, rec.Answers[i].Agrees
		if before == nil || after == nil {
			continue
		}
		fixed, broken = fixed || !*before && *after, broken || *before && !*after
	}
	return fixed, broken
}

// quality of all candidates is of one kind: scores where all have one, else consistency.
func qualityOf(list []shownCandidate) (what string, of func(*shownCandidate) (at, low, high float64, ok bool)) {
	scored := len(list) > 0
	for i := range list {
		scored = scored && list[i].Score != nil
	}
	if scored {
		return "score", func(s *shownCandidate) (at, low, high float64, ok bool) {
			return s.Score.Mean, s.Score.Low, s.Score.High, true
		}
	}
	return "consistency", func(s *shownCandidate) (at, low, high float64, ok bool) {
		c := s.Consistency
		if s.Baseline { // by definition
			return c.Share, c.Share, c.Share, c.Of > 0
		}
		return c.Share, c.Low, c.High, c.Of > 0
	}
}
