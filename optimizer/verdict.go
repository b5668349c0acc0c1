package optimizer

import (
	"fmt"
	"math"
	"strings"
)

const (
	// certain is from how many records on the interval decides, not the point estimate: below it, the interval of a
	// candidate that is right everywhere still reaches under 90 %.
	certain = 35
	// mostErrors is the share of records without an answer or a score from which nothing can be said.
	mostErrors = 0.05
)

// judge is the readiness rule.
func (r *CandidateReport) judge(want float64, records int) {
	n := r.Consistency
	r.SmallSample = n.Of < certain
	failed := r.Errors + r.Unjudged
	switch {
	case r.Baseline:
		r.Verdict, r.SmallSample, r.Why = Production, false, "what runs now"
		return
	case n.Of == 0:
		r.Verdict, r.Why = Inconclusive, fmt.Sprintf("no answer could be compared with the baseline: %d of %d records have no answer, %d no score", r.Errors, records, r.Unjudged)
		return
	case float64(failed) > mostErrors*float64(records):
		r.Verdict, r.Why = Inconclusive, fmt.Sprintf("%d of %d records have no answer and %d no score; mend that first", r.Errors, records, r.Unjudged)
		return
	case r.SmallSample && n.Share >= want:
		r.Verdict = Ready
	case r.SmallSample:
		r.Verdict = NotReady
	case n.Low >= want:
		r.Verdict = Ready
	case n.High < want:
		r.Verdict = NotReady
	default:
		r.Verdict = Inconclusive
	}
	r.Why = fmt.Sprintf("agrees with the baseline on %d of %d records, %s are wanted", n.Count, n.Of, percent(want))
	switch {
	case r.SmallSample:
		r.Why += fmt.Sprintf("; with fewer than %d records the interval (%s–%s) cannot decide", certain, percent(n.Low), percent(n.High))
	case r.Verdict == Inconclusive:
		r.Why += fmt.Sprintf("; the interval %s–%s holds both outcomes, so more records are needed", percent(n.Low), percent(n.High))
	default:
		r.Why += fmt.Sprintf(" (interval %s–%s)", percent(n.Low), percent(n.High))
	}
}

// Status is the verdict as a table has it.
func (r *CandidateReport) Status() string {
	if r.SmallSample && r.Verdict == Ready {
		return fmt.Sprintf("%s (small sample, n=%d)", r.Verdict, r.Consistency.Of)
	}
	return string(r.Verdict)
}

func percent(share float64) string {
	return fmt.Sprintf("%.4g%%", math.Round(share*1000)/10)
}

// summarize says in a line what is gained with the best candidate.
func summarize(list []CandidateReport) string {
	base, best := -1, -1
	for i := range list {
		switch {
		case list[i].Baseline:
			base = i
		case best < 0 || better(&list[i], &list[best]):
			best = i
		}
	}
	if base < 0 || best < 0 {
		return ""
	}
	var parts []string
	if b, c := list[base].LatencyMS, list[best].LatencyMS; b != nil && c != nil {
		parts = append(parts, ratio(b.P50, c.P50, "faster", "slower")...)
	}
	million := ratio(value(list[base].CostPerMillion), value(list[best].CostPerMillion), "cheaper", "dearer")
	request := ratio(value(list[base].CostPer1K), value(list[best].CostPer1K), "cheaper", "dearer")
	if len(million) > 0 && len(request) > 0 && million[0] != request[0] { // prompts of different lengths
		parts = append(parts, million[0]+" per token, "+request[0]+" per request")
	} else {
		parts = append(parts, request...)
	}
	if from := unoptimized(list, &list[best]); from != nil {
		parts = append(parts, fmt.Sprintf("%+.0f points after optimisation", 100*(list[best].Consistency.Share-from.Consistency.Share)))
	}
	return strings.Join(parts, " · ")
}

// better prefers what is ready, then what agrees more.
func better(a, b *CandidateReport) bool {
	if (a.Verdict == Ready) != (b.Verdict == Ready) {
		return a.Verdict == Ready
	}
	return a.Consistency.Share > b.Consistency.Share
}

// ratio says how many times less the second is.
func ratio(base, now float64, less, more string) []string {
	if math.IsNaN(base) || math.IsNaN(now) || base <= 0 || now <= 0 {
		return nil
	}
	if now > base {
		return []string{fmt.Sprintf("%s× %s", figure(now/base), more)}
	}
	return []string{fmt.Sprintf("%s× %s", figure(base/now), less)}
}

// figure has a decimal where there are few digits before it.
func figure(x float64) string {
	if x >= 9.95 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.1f", x)
}

// unoptimized is the same model under the same prompt before an optimiser had it; nil: it is not among them.
func unoptimized(list []CandidateReport, of *CandidateReport) *CandidateReport {
	name, _, _ := strings.Cut(of.Prompt, "/")
	for i := range list {
		have, _, _ := strings.Cut(list[i].Prompt, "/")
		if of.Optimized && !list[i].Optimized && !list[i].Baseline && list[i].Model == of.Model && have == name {
			return &list[i]
		}
	}
	return nil
}
