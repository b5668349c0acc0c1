package search

import (
	"math"
	"math/rand/v2"
	"slices"
)

// effects is what all trials together say about each part of a prompt. A
// trial's chance to be right is modelled as the logistic function of how easy
// its case is plus the effects of the lines and examples its prompt had, each
// with a normal prior that pulls what was hardly measured to what is usual:
// Bayesian logistic regression by Laplace's approximation (Bishop, Pattern
// Recognition and Machine Learning, 4.5). So every trial informs about every
// line, as in a factorial experiment, where comparing one candidate with
// another would spend two trials to learn about one.
type effects struct {
	mean   []float64
	factor [][]float64 // lower Cholesky factor of the precision
}

// prior is what is believed of an effect before it was measured.
type prior struct{ mean, variance float64 }

// sample is a trial as the model sees it.
type sample struct {
	at     []int     // indexes of effects
	x      []float64 // how much of each the trial had
	y      float64   // the score, 0 to 1
	weight float64
}

// fit finds the most probable effects and how sure they are, by Newton's
// method; a step that does not go uphill is halved.
func fit(priors []prior, samples []sample) *effects {
	n := len(priors)
	e := &effects{mean: make([]float64, n)}
	h := make([][]float64, n)
	for j, p := range priors {
		e.mean[j] = p.mean
		h[j] = make([]float64, n)
	}
	gradient := make([]float64, n)
	now := e.loss(priors, samples)
	for range 30 {
		e.derive(priors, samples, gradient, h)
		e.factor = cholesky(h)
		step := solve(e.factor, gradient)
		was, from := now, slices.Clone(e.mean)
		for size := 1.0; size > 1e-3; size /= 2 {
			for j := range step {
				e.mean[j] = from[j] - size*step[j]
			}
			if now = e.loss(priors, samples); now <= was {
				break
			}
		}
		if was-now < 1e-6 {
			break
		}
	}
	return e
}

// loss is the negative logarithm of the posterior, but for a constant.
func (e *effects) loss(priors []prior, samples []sample) float64 {
	sum := 0.0
	for j, p := range priors {
		sum += (e.mean[j] - p.mean) * (e.mean[j] - p.mean) / p.variance / 2
	}
	for _, s := range samples {
		z := dot(e.mean, s.at, s.x)
		sum += s.weight * (max(z, 0) + math.Log1p(math.Exp(-math.Abs(z))) - s.y*z)
	}
	return sum
}

// derive writes the first and second derivatives of the loss.
func (e *effects) derive(priors []prior, samples []sample, gradient []float64, h [][]float64) {
	for j, p := range priors {
		clear(h[j])
		h[j][j] = 1 / p.variance
		gradient[j] = (e.mean[j] - p.mean) / p.variance
	}
	for _, s := range samples {
		p := logistic(dot(e.mean, s.at, s.x))
		w := p * (1 - p) * s.weight
		for k, i := range s.at {
			gradient[i] += (p - s.y) * s.x[k] * s.weight
			for l, j := range s.at {
				h[i][j] += w * s.x[k] * s.x[l]
			}
		}
	}
}

func dot(mean []float64, at []int, x []float64) float64 {
	sum := 0.0
	for k, i := range at {
		sum += mean[i] * x[k]
	}
	return sum
}

func logistic(z float64) float64 { return 1 / (1 + math.Exp(-z)) }

// draw returns effects as they might be: one draw of the posterior.
func (e *effects) draw(r *rand.Rand) []float64 {
	n := len(e.mean)
	z := make([]float64, n)
	for i := range z {
		z[i] = r.NormFloat64()
	}
	for i := n - 1; i >= 0; i-- { // L' x = z
		for j := i + 1; j < n; j++ {
			z[i] -= e.factor[j][i] * z[j]
		}
		z[i] /= e.factor[i][i]
	}
	for i := range z {
		z[i] += e.mean[i]
	}
	return z
}

// cholesky returns L with L L' = h, h being symmetric and positive definite.
func cholesky(h [][]float64) [][]float64 {
	n := len(h)
	l := make([][]float64, n)
	for i := range n {
		l[i] = make([]float64, n)
		for j := range i + 1 {
			sum := h[i][j]
			for k := range j {
				sum -= l[i][k] * l[j][k]
			}
			if i == j {
				l[i][i] = math.Sqrt(max(sum, 1e-12))
			} else {
				l[i][j] = sum / l[j][j]
			}
		}
	}
	return l
}

// solve returns x with L L' x = b.
func solve(l [][]float64, b []float64) []float64 {
	n := len(b)
	x := make([]float64, n)
	for i := range n {
		x[i] = b[i]
		for j := range i {
			x[i] -= l[i][j] * x[j]
		}
		x[i] /= l[i][i]
	}
	for i := n - 1; i >= 0; i-- {
		for j := i + 1; j < n; j++ {
			x[i] -= l[j][i] * x[j]
		}
		x[i] /= l[i][i]
	}
	return x
}
