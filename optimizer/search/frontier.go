package search

import (
	"cmp"
	"context"
)

// Frontier finds a better prompt with solved examples and with instructions
// that a reflector proposes from wrong answers, taken together: every trial is
// a mix of both, what each line and each example earns is learned from all
// trials, and the best mix is what is left when that is known well enough.
type Frontier struct {
	// MaxDemos is how many solved examples a prompt may have. Default: 6.
	MaxDemos int `json:"max_demos,omitempty"`
	// MaxDemoTokens bounds the tokens of all solved examples of a prompt, estimated at four bytes each. Default: 2000.
	MaxDemoTokens int `json:"max_demo_tokens,omitempty"`
}

const (
	defaultDemos      = 6
	defaultDemoTokens = 2000
	defaultProposals  = 3
)

// Optimize implements Optimizer.
func (f Frontier) Optimize(ctx context.Context, p Problem, lab Lab) (*Result, error) {
	return optimize(ctx, &p, lab, moves{
		demos:      cmp.Or(f.MaxDemos, defaultDemos),
		demoTokens: cmp.Or(f.MaxDemoTokens, defaultDemoTokens),
		reflect:    true,
	})
}

// Interface guards
var (
	_ Optimizer = Frontier{}
	_ Optimizer = FewShot{}
	_ Optimizer = Rewrite{}
)
