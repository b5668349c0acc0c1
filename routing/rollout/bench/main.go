// Command bench measures what rollouts decide: it simulates traffic, many
// times, through the shipped package, and prints how often and how soon
// candidates are aborted, beside the figures that the package is held to.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

func main() {
	times := flag.Float64("times", 1, "how many times as many repetitions as usual")
	only := flag.String("only", "", "only scenarios whose name contains this")
	seed := flag.Uint64("seed", 1, "of the random numbers")
	flag.Parse()
	started := time.Now()
	missed := 0
	fmt.Println("| scenario | runs | aborted | paused | passed | requests to the decision: median, 99 %, 99.9 % | wanted | met |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, s := range scenarios() {
		if !strings.Contains(s.name, *only) {
			continue
		}
		runs := max(int(float64(s.runs)**times), 3)
		t := s.run(*seed, runs)
		met := "yes"
		if s.wanted.text == "" {
			met = ""
		} else if !s.wanted.met(t, 0) {
			met = "**no**"
			missed++
		}
		fmt.Printf("| %s | %d | %s | %s | %s | %s | %s | %s |\n", s.name, runs, rate(t.aborted, runs), rate(t.paused, runs), rate(t.passed, runs), t.times(), s.wanted.text, met)
	}
	fmt.Printf("\n%s; after ± is the standard error. Requests are the candidate's, from the beginning of the fault.\n", time.Since(started).Round(time.Second))
	if missed > 0 {
		os.Exit(1)
	}
}

func rate(n, of int) string {
	p := float64(n) / float64(of)
	return fmt.Sprintf("%.2f ± %.2f %%", 100*p, 100*math.Sqrt(max(p*(1-p), 0.25/float64(of))/float64(of)))
}
