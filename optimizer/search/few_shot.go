package search

import (
	"cmp"
	"context"
)

// FewShot finds the solved examples that make a prompt better. It changes
// nothing else, and asks no reflector.
type FewShot struct {
	// MaxDemos is how many solved examples a prompt may have. Default: 6.
	MaxDemos int `json:"max_demos,omitempty"`
	// MaxDemoTokens bounds the tokens of all solved examples of a prompt, estimated at four bytes each. Default: 2000.
	MaxDemoTokens int `json:"max_demo_tokens,omitempty"`
}

// Optimize implements Optimizer.
func (f FewShot) Optimize(ctx context.Context, p Problem, lab Lab) (*Result, error) {
	return optimize(ctx, &p, lab, moves{
		demos:      cmp.Or(f.MaxDemos, defaultDemos),
		demoTokens: cmp.Or(f.MaxDemoTokens, defaultDemoTokens),
	})
}
