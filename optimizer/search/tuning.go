package search

// tuning is what the search does without being asked. None of it depends on
// the task. The values were measured on a simulated benchmark of six tasks at
// 300 calls, over tens of seeds, where within a factor of two most of them
// change the mean held-out score by less than 0.01.
type tuning struct {
	Block     int     // records on which a mix is tried at once
	Mixes     int     // mixes a round
	First     int     // questions to the reflector before the first round
	Questions int     // questions a round
	Failing   int     // failing records in a question
	Passing   int     // passing ones
	Bundles   int     // whole proposals tried a round
	Finals    int     // passes over all records that are kept for the last choices
	Edits     int     // edits in a prompt at most
	Pool      float64 // examples to choose from, for each that a prompt may have

	// What is expected of effects before they are measured, in logits, and how
	// much they may differ from that: on the content of answers, and on their form.
	EditMean, EditSD float64
	Vote             float64 // more, for each further proposal that had the edit
	TouchMean        float64 // more, for one that drops or changes a line of the original
	DemoMean, DemoSD float64
	EditLength       float64 // for each 100 tokens of edits
	DemoLength       float64 // and of examples
	LengthSD         float64
	EditForm         float64
	DemoForm         float64
	FormSD           float64
	FormLengthSD     float64
	CaseSD           float64 // how much easier one record is than another

	Mixing  float64 // of the expected score, that a part of a mix must seem to earn
	Worth   float64 // and that a part of the final prompt must
	Sure    float64 // chance that the best is better than the original, below which the original stays
	Luck    float64 // chance of as many wins over losses without a difference, above which it stays too
	Epsilon float64 // what a shorter prompt may be worse by
	Patient int     // rounds without a new choice that end the search
}

var tune = tuning{
	Block: 3, Mixes: 10, First: 6, Questions: 3, Failing: 7, Passing: 1, Bundles: 1, Finals: 2, Edits: 16, Pool: 1.5,
	EditMean: 0, EditSD: 0.5, Vote: 0.15, TouchMean: -0.4, DemoMean: 0.3, DemoSD: 0.3,
	EditLength: -2, DemoLength: -1, LengthSD: 0.5,
	EditForm: 0.1, DemoForm: 0.1, FormSD: 0.6, FormLengthSD: 0.2, CaseSD: 1.2,
	Mixing: 0.002, Worth: 0.003, Sure: 0.8, Luck: 0.2, Epsilon: 0.01, Patient: 10,
}
