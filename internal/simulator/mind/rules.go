package mind

import (
	"math"
	"strings"
)

// Rule is how often a prompt asks for something, and for its opposite.
type Rule struct{ For, Against int }

func (r Rule) wanted() bool { return r.For > r.Against }

// Rules are the prompt's wishes for the form of the answer.
type Rules struct {
	Only        Rule // the label and nothing beside it
	NoExplain   Rule
	NoPunct     Rule
	Lower       Rule
	Upper       Rule
	Capital     Rule
	JSON        Rule
	Sentence    Rule
	Explain     Rule
	shownBare   int // examples whose answer is the label alone
	shownLonger int // examples that say more
	cued        bool
}

func (r *Rules) any() bool {
	for _, x := range []Rule{r.Only, r.NoExplain, r.NoPunct, r.Lower, r.Upper, r.Capital, r.JSON, r.Sentence, r.Explain} {
		if x.For+x.Against > 0 {
			return true
		}
	}
	return false
}

// The ways in which rules are said. A negation shortly before turns one around.
var (
	saysOnly = []string{
		"only with", "answer only", "only answer", "reply only", "only reply", "respond only", "only respond", "output only", "only output", "return only", "only return", "write only",
		"one word", "single word", "nothing else", "nothing more", "nothing but", "only the label", "just the label", "label only", "label alone", "the label itself", "only one of",
		"exactly one of", "with just", "with only", "only the category", "just the category", "only the name of", "bare label", "single label", "one label", "one-word", "use only", "must be one of", "no other text",
		"no other words", "no extra words", "no additional words", "without any other", "without other words", "without additional", "no additional text", "no extra text", "be only",
	}
	saysNoExplain = []string{
		"no explanation", "no explanations", "without explanation", "without an explanation", "without any explanation", "do not explain", "don't explain", "never explain", "no commentary", "without commentary",
		"no comments", "no preamble", "no reasoning", "without reasoning", "no justification", "do not justify", "don't justify", "no further text", "not include any explanation",
		"not add any explanation", "omit explanation", "skip the explanation", "explanation is not needed", "no introduction", "no intro", "do not add anything", "don't add anything", "no elaboration", "do not elaborate", "don't elaborate",
	}
	saysNoPunct = []string{
		"no punctuation", "without punctuation", "without any punctuation", "no period", "no full stop", "without a period", "without a full stop", "no trailing period", "omit punctuation",
		"no final period", "do not use punctuation", "don't use punctuation", "no trailing punctuation",
	}
	saysLower    = []string{"lowercase", "lower case", "lower-case", "small letters", "uncapitalized", "uncapitalised", "no capital", "without capital", "not capitalize", "not capitalise"}
	saysUpper    = []string{"uppercase", "upper case", "upper-case", "all caps", "capital letters", "in capitals", "all capitals"}
	saysCapital  = []string{"capitalized", "capitalised", "title case", "title-case", "first letter capital", "initial capital", "capitalize the first", "capitalise the first"}
	saysJSON     = []string{"json"}
	saysSentence = []string{"full sentence", "complete sentence", "whole sentence", "a sentence"}
	saysExplain  = []string{
		"explain your", "explain why", "explain the", "give a reason", "give your reason", "with a reason", "justify your", "step by step", "briefly explain", "include an explanation", "with an explanation",
		"add an explanation", "short explanation", "brief explanation", "then explain", "reasoning first", "provide a justification", "and explain",
	}
)

// rulesIn finds the rules in instructions, in whatever words they are said.
func rulesIn(instructions string) Rules {
	text := strings.ToLower(strings.ReplaceAll(instructions, "’", "'"))
	var r Rules
	for s := text; s != ""; {
		var clause string
		clause, s = sentence(s)
		if strings.TrimSpace(clause) == "" {
			continue
		}
		r.Only.find(clause, saysOnly)
		r.NoExplain.find(clause, saysNoExplain)
		r.NoPunct.find(clause, saysNoPunct)
		r.Lower.find(clause, saysLower)
		r.Upper.find(clause, saysUpper)
		r.Capital.find(clause, saysCapital)
		r.JSON.find(clause, saysJSON)
		r.Sentence.find(clause, saysSentence)
		if r.NoExplain.For == 0 {
			r.Explain.find(clause, saysExplain)
		}
	}
	r.cued = strings.HasSuffix(strings.TrimSpace(instructions), cue)
	return r
}

// find counts a rule once in each sentence that says it, or denies it.
func (r *Rule) find(sentence string, ways []string) {
	for _, way := range ways {
		before, _, ok := strings.Cut(sentence, way)
		if !ok {
			continue
		}
		if denied(before) {
			r.Against++
		} else {
			r.For++
		}
		return
	}
}

// denied reports whether what follows is negated.
func denied(before string) bool {
	if i := strings.LastIndexAny(before, ",;:("); i >= 0 {
		before = before[i+1:]
	}
	words := strings.Fields(before)
	for _, w := range words[max(0, len(words)-3):] {
		switch w = strings.Trim(w, "\"'*_"); w {
		case "not", "never", "avoid", "don't", "without", "no", "isn't", "needn't":
			return true
		}
	}
	return false
}

// learn takes from the examples what they show of the form.
func (r *Rules) learn(p *Prompt) {
	var lower, upper, capital int
	for _, e := range p.Examples {
		if i := labelOf(e.Answer, p.Labels); i >= 0 && len(e.Answer) <= len(p.Labels[i].Name)+1 {
			r.shownBare++
		} else {
			r.shownLonger++
			continue
		}
		switch {
		case e.Answer == strings.ToLower(e.Answer):
			lower++
		case e.Answer == strings.ToUpper(e.Answer):
			upper++
		case e.Answer == capitalize(e.Answer):
			capital++
		}
	}
	// Examples show the case as well as one rule says it; they do not outvote rules that are said.
	if r.Lower.For+r.Upper.For+r.Capital.For > 0 {
		return
	}
	switch n := r.shownBare; {
	case n == 0:
	case lower == n:
		r.Lower.For++
	case upper == n:
		r.Upper.For++
	case capital == n:
		r.Capital.For++
	}
}

// focus is how much attention each rule of the prompt gets: all, up to about 3,000 tokens.
func (p *Prompt) focus() float64 {
	return 1 - math.Min(0.4, math.Max(0, float64(p.Tokens-3000))/15000)
}
