package rollout

import (
	"maps"
	"slices"
	"time"
)

// Phase is where a rollout is.
type Phase string

const (
	PhaseNone         Phase = "none" // the route has no rollout
	PhasePending      Phase = "pending"
	PhaseShadowing    Phase = "shadowing"
	PhaseProgressing  Phase = "progressing"
	PhasePaused       Phase = "paused"
	PhaseInconclusive Phase = "inconclusive"
	PhaseAborted      Phase = "aborted"
	PhaseCompleted    Phase = "completed"
)

const (
	maxLog     = 200
	maxUndo    = 10
	maxApplied = 32
)

// Status is what has happened to a rollout. It is stored as it is; Step makes the next one.
type Status struct {
	Phase Phase `json:"phase"`
	// The step in force, from 1; 0: none was entered.
	Step  int `json:"step"`
	Steps int `json:"steps"`
	// When the phase or the step began.
	Since time.Time `json:"since"`
	// How many specs the route has had, and the hash of this one.
	Generation int    `json:"generation"`
	SpecHash   string `json:"spec_hash"`
	// Why it is so, or what is missing, in words; and who decided it, if somebody did.
	Reason string `json:"reason"`
	Actor  string `json:"actor,omitempty"`
	// How the guards stood when last looked at, and the units measured in this step.
	Guards []GuardStatus  `json:"guards"`
	Units  map[string]int `json:"units"`
	// Whether this status is stored. The controller's loop sets it; Step does not.
	Persisted bool `json:"persisted"`
	// The decisions, oldest first, bounded.
	Log []Entry `json:"log"`

	// The weights in force, in percent, of every variant of the route.
	Weights map[string]float64 `json:"weights"`
	// How long the step has been held on fresh data.
	HeldMS int64 `json:"held_ms"`
	// It grows with each decision, and with nothing else.
	Revision int `json:"revision"`
	// What evidence has to be of to count; it never comes back.
	Epoch int `json:"epoch"`
	// Whether the weights were set by hand; then no guard moves them.
	Manual bool `json:"manual,omitempty"`
	// Whether it was paused because the measurement was wrong, or what stable is has changed: the evidence is not used again.
	Spoilt bool `json:"spoilt,omitempty"`
	// Whether it was paused because both variants fail: when stable recovers alone, it is aborted.
	Outage bool `json:"outage,omitempty"`
	// Why the prompts do not resolve; empty: they do.
	Unresolved string `json:"unresolved,omitempty"`
	// The prompt versions that the variants answer with, by variant.
	Served map[string]string `json:"served,omitempty"`
	// What the rollout was from and to, and the hash of the candidate's definition.
	From   string `json:"from"`
	To     string `json:"to"`
	Target string `json:"target"`

	Clock   Clock    `json:"clock"`
	Undo    []Before `json:"undo,omitempty"`
	Applied []string `json:"applied,omitempty"` // ids of events, the latest last
}

// Entry is a decision in words.
type Entry struct {
	At     time.Time `json:"at"`
	Text   string    `json:"text"`
	Actor  string    `json:"actor,omitempty"`
	Traces []string  `json:"traces,omitempty"` // the ids of the traces behind it
}

// Clock is what the controller knows of time.
type Clock struct {
	TickedAt time.Time `json:"ticked_at"`
	// When the candidate's number of outcomes in this step last changed, and that number.
	FreshAt       time.Time `json:"fresh_at"`
	FreshOutcomes int64     `json:"fresh_outcomes"`
	// How long the controller has run in this step, on fresh data or not.
	RanMS int64 `json:"ran_ms"`
}

// Before is what undo goes back to.
type Before struct {
	Phase   Phase              `json:"phase"`
	Step    int                `json:"step"`
	Reason  string             `json:"reason"`
	Weights map[string]float64 `json:"weights"`
	HeldMS  int64              `json:"held_ms"`
	Epoch   int                `json:"epoch"`
	Manual  bool               `json:"manual,omitempty"`
	Spoilt  bool               `json:"spoilt,omitempty"`
}

// Share is the candidate's share of the two variants' traffic, 0–1: what the
// outcomes of requests drawn under these weights carry.
func (s *Status) Share() float64 {
	from, to := s.Weights[s.From], s.Weights[s.To]
	if to <= 0 {
		return 0
	}
	return to / (from + to)
}

// Mark is what evidence has to be of to count for this status.
func (s *Status) Mark() Mark { return Mark{Epoch: s.Epoch, Step: s.Step, Share: s.Share()} }

// clone is a copy that shares nothing which Step changes.
func (s *Status) clone() Status {
	c := *s
	c.Guards = slices.Clone(s.Guards)
	c.Units = maps.Clone(s.Units)
	c.Log = slices.Clone(s.Log)
	c.Weights = maps.Clone(s.Weights)
	c.Served = maps.Clone(s.Served)
	c.Undo = slices.Clone(s.Undo)
	c.Applied = slices.Clone(s.Applied)
	return c
}
