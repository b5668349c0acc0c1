package main

import "testing"

// The figures, on fewer runs than the command makes: what a run costs decides
// how many there are, and how many may miss.
func TestFigures(t *testing.T) {
	budget := 120_000.0
	if testing.Short() {
		budget = 25_000
	}
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			steps := s.spec.Steps
			requests := max(1, 100*float64(s.warm+s.limit)/steps[len(steps)-1].Percent)
			if requests > 2*budget {
				t.Skip("too long for so few runs")
			}
			runs := max(2, min(200, s.runs, int(budget/requests)))
			got := s.run(1, runs)
			slack := 2/float64(runs) + 0.01
			if s.wanted.met != nil && !s.wanted.met(got, slack) {
				t.Errorf("of %d runs %d aborted, %d paused, %d passed, %d completed; after %s; want %s", runs, got.aborted, got.paused, got.passed, got.completed, got.times(), s.wanted.text)
			}
		})
	}
}
