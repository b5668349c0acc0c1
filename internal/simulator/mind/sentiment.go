package mind

import "strings"

// opinion is what a text says about its subject.
type opinion struct {
	score      float64 // above zero: favourable
	lukewarm   int     // words and phrases that neither praise nor complain
	praise     float64
	complaint  float64
	exclaiming bool
}

// clear reports whether nobody would doubt it.
func (o opinion) clear() bool {
	return o.verdict() != 0 && o.lukewarm == 0 && min(o.praise, o.complaint) < 0.34*max(o.praise, o.complaint)
}

// verdict is 1, -1 or 0.
func (o opinion) verdict() int {
	bar := 0.75
	if o.lukewarm > 0 {
		bar = 1.75
	}
	switch {
	case o.score >= bar:
		return 1
	case o.score <= -bar:
		return -1
	}
	return 0
}

// judge weighs a text's words. Negation turns a word around and weakens it,
// intensifiers strengthen it, and what comes after "but" counts for more.
func judge(text string) opinion {
	text = strings.ReplaceAll(strings.ToLower(text), "’", "'")
	var o opinion
	o.exclaiming = strings.Contains(text, "!")
	for _, p := range phrases {
		if n := strings.Count(text, p.text); n > 0 {
			if p.lukewarm {
				o.lukewarm += n
			}
			o.add(p.score * float64(n))
			text = strings.ReplaceAll(text, p.text, " . ")
		}
	}
	const far = 99
	negated, factor, clause := far, 1.0, 1.0
	for w := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ' ' || r == '\n' || r == '\t' || r == '\r' }) {
		end := strings.ContainsAny(w, ".,;!?:")
		w = strings.Trim(w, ".,;!?:\"'()*…-“”")
		switch score, known := lexicon[w], false; {
		case w == "but" || w == "however" || w == "although":
			clause, negated = 1.3, far
		case w == "not" || w == "no" || w == "never" || w == "without" || w == "hardly" || w == "barely" || strings.HasSuffix(w, "n't"):
			negated = 0
		case intensity[w] != 0:
			factor, known = intensity[w], true
			negated++
		case score != 0:
			score *= factor * clause
			switch {
			case negated > 3:
			case score > 0:
				score *= -0.9 // not good is bad
			default:
				score *= -0.4 // not bad is hardly good
			}
			o.add(score)
			factor = 1
		case lukewarm[w]:
			o.lukewarm++
			factor = 1
		default:
			negated = min(negated+1, far)
			if !known {
				factor = 1
			}
		}
		if end {
			negated, factor = far, 1
		}
	}
	o.score = o.praise - o.complaint
	return o
}

func (o *opinion) add(score float64) {
	if score > 0 {
		o.praise += score
	} else {
		o.complaint -= score
	}
}

var phrases = []struct {
	text     string
	score    float64
	lukewarm bool
}{
	{"nothing special", 0, true},
	{"nothing to complain", 0.2, true},
	{"no complaints", 0.2, true},
	{"not bad", 0.3, true},
	{"not too bad", 0.2, true},
	{"gets the job done", 0.3, true},
	{"does the job", 0.3, true},
	{"does what it", 0.2, true},
	{"works as", 0.2, true},
	{"as described", 0.1, true},
	{"as expected", 0.1, true},
	{"as advertised", 0.1, true},
	{"so-so", 0, true},
	{"could be better", -0.3, true},
	{"could be worse", 0.1, true},
	{"neither good nor bad", 0, true},
	{"neither", 0, true},
	{"nothing more", 0, true},
	{"no strong feelings", 0, true},
	{"run of the mill", 0, true},
	{"middle of the road", 0, true},
	{"not great", -0.6, true},
	{"can't believe", 0, false},
	{"cannot believe", 0, false},
	{"can't wait", 1.5, false},
	{"can't recommend", -2, false},
	{"cannot recommend", -2, false},
	{"can't get enough", 2.5, false},
	{"no problem", 0.8, false},
	{"waste of", -2.5, false},
	{"money back", -1, false},
	{"fell apart", -2.5, false},
	{"falls apart", -2.5, false},
	{"never again", -2.5, false},
	{"never buy", -2.5, false},
	{"not worth", -2, false},
	{"nothing wrong", 0.2, true},
	{"not be happier", 2.5, false},
	{"n't be happier", 2.5, false},
	{"stopped working", -2.5, false},
	{"doesn't work", -2.5, false},
	{"does not work", -2.5, false},
	{"didn't work", -2.5, false},
	{"let down", -2, false},
	{"arrived cold", -1.5, false},
	{"arrived late", -1.5, false},
	{"too long", -0.8, false},
	{"too expensive", -1.2, false},
	{"five stars", 2.5, false},
	{"one star", -2.5, false},
	{"well made", 1.8, false},
	{"worth it", 1.5, false},
	{"worth every", 2, false},
	{"exceeded", 1.5, false},
	{"thank you", 1, false},
}

var lexicon = scores(map[float64]string{
	3: `amazing awesome best brilliant delightful excellent exceptional fantastic flawless gorgeous incredible loved love loves magnificent marvelous
		outstanding perfect perfectly phenomenal spectacular stellar stunning superb terrific wonderful adore thrilled`,
	2: `beautiful beautifully charming delicious delighted enjoyable enjoyed enjoy glad grateful great happy impressed impressive lovely pleased
		recommend recommended remarkable satisfied exciting excited fun superior wow winner positive`,
	1.2:  `better comfortable convenient easy fast fresh friendly good helpful like liked nice pleasant polite quick reliable smooth smoothly solid useful intuitive thanks clean sturdy`,
	-1.2: `annoyed annoying bland boring cheap cold complicated confusing cramped dirty dull expensive hard late lacking noisy overpriced problem problems issue issues slow unclear uncomfortable weak mess missing difficult damaged cracked`,
	-2:   `angry bad broke broken complaint crash crashed crashes crashing defective disappointed disappointing disappointment failed fails failure frustrated frustrating poor poorly regret rude sad scam stale stuck ugly unhappy unhelpful unreliable upset wrong avoid refund ruined leaks negative`,
	-3:   `abysmal appalling atrocious awful disaster disgusting dreadful garbage hate hated hates horrible horrendous junk nightmare pathetic rubbish terrible trash unacceptable unusable useless waste worse worst worthless`,
})

var lukewarm = set(`okay ok fine average alright decent acceptable adequate mediocre ordinary standard passable tolerable meh unremarkable neutral fair indifferent mixed`)

var intensity = func() map[string]float64 {
	m := map[string]float64{}
	for w := range set(`very really so extremely absolutely truly incredibly totally completely highly super insanely utterly too`) {
		m[w] = 1.4
	}
	for w := range set(`somewhat slightly bit little fairly rather quite kinda mildly`) {
		m[w] = 0.6
	}
	return m
}()

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

func scores(groups map[float64]string) map[string]float64 {
	m := map[string]float64{}
	for score, words := range groups {
		for w := range strings.FieldsSeq(words) {
			m[w] = score
		}
	}
	return m
}

// polarity says which opinion a label stands for, if it stands for one.
func polarity(label string) (verdict int, ok bool) {
	name := strings.ToLower(label)
	switch name {
	case "pos", "favorable", "favourable", "+", "praise", "compliment", "optimistic", "thumbs up", "promoter":
		return 1, true
	case "neg", "unfavorable", "unfavourable", "-", "criticism", "pessimistic", "thumbs down", "detractor":
		return -1, true
	case "neu", "balanced", "none of both", "objective", "passive":
		return 0, true
	}
	for w := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == ' ' || r == '_' || r == '-' }) {
		switch score := lexicon[w]; {
		case w == "complaint", w == "refund", w == "issue", w == "issues", w == "problem", w == "problems", w == "crash", w == "late", w == "missing", w == "damaged", w == "scam":
			return 0, false // a subject, rather than an opinion
		case score > 0:
			return 1, true
		case score < 0:
			return -1, true
		case lukewarm[w]:
			return 0, true
		}
	}
	return 0, false
}
