package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// alpha is the chance, for a whole rollout, that a candidate which is not
// worse is aborted. It is divided among the guards.
const alpha = 0.01

// Variant is what a rollout has to know of a variant of its route.
type Variant struct {
	Name string
	// Definition is what makes it a variant (its model, prompt reference and
	// parameters), written canonically: when it changes, it is another variant.
	Definition []byte
}

// Plan is a valid spec on a route's variants, with defaults filled in. It is immutable.
type Plan struct {
	spec     Spec
	variants []string
	hash     string
	target   string // hash of the candidate's definition
	guards   []guard
	alpha    float64 // of each guard

	errors *failureGuard // what failures are counted with, guarded or not
	format *failureGuard // nil without the guard
}

// NewPlan checks the spec against the route's variants.
func NewPlan(spec Spec, variants []Variant) (*Plan, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	p := &Plan{spec: spec, alpha: alpha / float64(max(len(spec.Guards), 1)), errors: newFailureGuard(errorsGuard)}
	p.spec.From, p.spec.To = spec.from(), spec.to()
	p.spec.Steps = slices.Clone(spec.Steps)
	for i := range p.spec.Steps {
		p.spec.Steps[i].MinRequests = spec.Steps[i].minRequests()
	}
	for _, g := range spec.Guards {
		parsed, _ := parseGuard(g)
		p.guards = append(p.guards, parsed)
		if f, ok := parsed.(*failureGuard); ok && f.kind == errorsGuard {
			p.errors = f
		} else if ok {
			p.format = f
		}
	}
	definitions := map[string][]byte{}
	for _, v := range variants {
		p.variants = append(p.variants, v.Name)
		definitions[v.Name] = v.Definition
	}
	for _, name := range []string{p.spec.From, p.spec.To} {
		if _, ok := definitions[name]; !ok {
			return nil, fmt.Errorf("%q is not one of its variants; want one of: %s", name, strings.Join(p.variants, ", "))
		}
	}
	canonical := p.spec
	canonical.Webhook = "" // where events go does not change the rollout
	b, err := json.Marshal(canonical)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	for _, part := range [][]byte{b, definitions[p.spec.From], definitions[p.spec.To]} {
		sum := sha256.Sum256(part)
		h.Write(sum[:])
	}
	p.hash = hex.EncodeToString(h.Sum(nil)[:16])
	target := sha256.Sum256(definitions[p.spec.To])
	p.target = hex.EncodeToString(target[:16])
	return p, nil
}

// Hash identifies the spec: from and to with their definitions, steps and guards.
func (p *Plan) Hash() string { return p.hash }

// Spec is the spec with defaults filled in.
func (p *Plan) Spec() Spec { return p.spec }

// Needs are what the guards need of the route, each with the guard that does:
// `price` (for both variants), `scorer`. The caller checks that it is there.
func (p *Plan) Needs() map[string]string {
	out := map[string]string{}
	for _, g := range p.guards {
		if n := g.needs(); n != "" {
			out[n] = g.name()
		}
	}
	return out
}

// weights gives the candidate a percentage and stable the rest.
func (p *Plan) weights(percent float64) map[string]float64 {
	w := make(map[string]float64, len(p.variants))
	for _, v := range p.variants {
		w[v] = 0
	}
	w[p.spec.To] = percent
	w[p.spec.From] = float64(10_000-int(percent*100+0.5)) / 100
	return w
}

// fits reports whether weights are of the route's variants, and all of the traffic.
func (p *Plan) fits(weights map[string]float64) bool {
	sum := 0.0
	for _, v := range p.variants {
		w, ok := weights[v]
		if !ok || !(w >= 0 && w <= 100) {
			return false
		}
		sum += w
	}
	return len(weights) == len(p.variants) && math.Abs(sum-100) < 0.001
}

// kept are weights without those of variants that are gone, which go to stable.
func (p *Plan) kept(weights map[string]float64) map[string]float64 {
	out := p.weights(0)
	out[p.spec.From] = 0
	rest := 10_000
	for _, v := range slices.Sorted(maps.Keys(weights)) {
		if _, ok := out[v]; ok && v != p.spec.From {
			out[v] = weights[v]
			rest -= int(weights[v]*100 + 0.5)
		}
	}
	out[p.spec.From] = float64(rest) / 100
	if !p.fits(out) {
		return p.weights(0)
	}
	return out
}
