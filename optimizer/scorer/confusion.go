package scorer

import (
	"maps"
	"slices"
)

// Labelled is a record's label, and the one that an answer named; "": none.
type Labelled struct{ Expected, Found string }

// Confusion is how often answers named which label.
type Confusion struct {
	Labels []string `json:"labels"` // sorted
	// Counts are the answers, by expected label and then by the label found, in the order of Labels.
	Counts [][]int `json:"counts"`
	// None are the answers that named no label, or several, by expected label.
	None  []int `json:"none"`
	N     int   `json:"n"`
	Right int   `json:"right"`
}

// Confuse counts labels. Labels that the scorer label does not tell apart are one.
func Confuse(pairs []Labelled) Confusion {
	spelling := make(map[string]string)
	for _, p := range pairs {
		if p.Found != "" {
			spelling[normal(p.Found)] = p.Found
		}
	}
	for _, p := range pairs {
		if key := normal(p.Expected); spelling[key] == "" {
			spelling[key] = p.Expected
		}
	}
	keys := slices.SortedFunc(maps.Keys(spelling), func(a, b string) int {
		if spelling[a] < spelling[b] {
			return -1
		}
		return 1
	})
	c := Confusion{Labels: make([]string, len(keys)), Counts: make([][]int, len(keys)), None: make([]int, len(keys)), N: len(pairs)}
	index := make(map[string]int, len(keys))
	for i, key := range keys {
		c.Labels[i], c.Counts[i], index[key] = spelling[key], make([]int, len(keys)), i
	}
	for _, p := range pairs {
		row := index[normal(p.Expected)]
		if p.Found == "" {
			c.None[row]++
			continue
		}
		column := index[normal(p.Found)]
		c.Counts[row][column]++
		if row == column {
			c.Right++
		}
	}
	return c
}
