package rollout

import "math"

const (
	// mismatchLevel is the chance, in each step, that a fair assignment is called unfair.
	mismatchLevel = 1e-4
	// mismatchWeight is how near the declared share an unfair one is looked for.
	mismatchWeight = 100
)

// mismatch tests whether units fell on the variants in another ratio than the
// share says: the mixture martingale of the multinomial count (Lindon, Malek:
// Anytime-valid inference for multinomial count data, 2022).
func mismatch(candidate, stable int, share float64) bool {
	if !(share > 0 && share < 1) {
		return false
	}
	m := newMixture(mismatchWeight*share, mismatchWeight*(1-share))
	return m.evidence(float64(candidate), float64(stable), share) >= -math.Log(mismatchLevel)
}
