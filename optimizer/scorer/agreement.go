package scorer

import "math"

// Rated is an answer that a person and a scorer judged, each from 0 to 1.
type Rated struct {
	Human  float64 `json:"human"`
	Scorer float64 `json:"scorer"`
}

// Agreement is how far a scorer judges as people do.
type Agreement struct {
	N         int     `json:"n"`
	Threshold float64 `json:"threshold"` // values from here on are a pass
	// Accuracy is the share of answers that both passed or both failed; null: there are none.
	Accuracy *float64 `json:"accuracy"`
	// Kappa is Cohen's: 1 is full agreement, 0 what chance would give. Null: one and the
	// same judgement of all answers leaves nothing to agree on.
	Kappa *float64 `json:"kappa"`
	// MeanAbsoluteError is how far the values are apart; null: there are none.
	MeanAbsoluteError *float64 `json:"mean_absolute_error"`
}

// Agree compares a scorer with hand labels.
func Agree(rated []Rated, threshold float64) Agreement {
	a := Agreement{N: len(rated), Threshold: threshold}
	if a.N == 0 {
		return a
	}
	var both, human, scorer, apart float64
	for _, r := range rated {
		h, s := r.Human >= threshold, r.Scorer >= threshold
		if h == s {
			both++
		}
		if h {
			human++
		}
		if s {
			scorer++
		}
		apart += math.Abs(r.Human - r.Scorer)
	}
	n := float64(a.N)
	accuracy, apart := both/n, apart/n
	a.Accuracy, a.MeanAbsoluteError = &accuracy, &apart
	human, scorer = human/n, scorer/n
	if chance := human*scorer + (1-human)*(1-scorer); chance < 1 {
		kappa := (accuracy - chance) / (1 - chance)
		a.Kappa = &kappa
	}
	return a
}
