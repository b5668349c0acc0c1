package mind

import (
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
)

// width is how many numbers a text's vector has here.
const width = 512

type vector [width]float32

// vectorOf makes of a text a bag of its words, hashed: of their stems, and of
// the subjects that they belong to.
func vectorOf(text string) vector {
	var v vector
	features(text, func(h uint32, weight float32) { v[h%width] += signed(h, weight) })
	return v
}

func (v *vector) cosine(w *vector) float64 {
	var dot, a, b float32
	for i := range v {
		dot += v[i] * w[i]
		a += v[i] * v[i]
		b += w[i] * w[i]
	}
	if a == 0 || b == 0 {
		return 0
	}
	return float64(dot) / math.Sqrt(float64(a)*float64(b))
}

// Embed is the vector of length one that stands for a text: texts with many
// words in common have similar ones.
func Embed(text string, dimensions int) []float32 {
	v := make([]float32, dimensions)
	features(text, func(h uint32, weight float32) { v[h%uint32(dimensions)] += signed(h, weight) })
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		v[0], sum = 1, 1
	}
	norm := float32(1 / math.Sqrt(sum))
	for i := range v {
		v[i] *= norm
	}
	return v
}

func signed(h uint32, weight float32) float32 {
	if h>>31 == 1 {
		return -weight
	}
	return weight
}

// features are a text's, hashed.
func features(text string, yield func(hash uint32, weight float32)) {
	text = strings.ToLower(clip(text))
	for w := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\'' }) {
		w = strings.Trim(w, "'")
		if w == "" || stopWords[w] {
			continue
		}
		s := stem(w)
		yield(hash32(s), 1)
		for _, subject := range subjectsOf[s] {
			yield(hash32("#"+subject), 0.8)
		}
	}
}

func hash32(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	h ^= h >> 16
	h *= 0x85ebca6b
	return h ^ h>>13
}

// stem cuts the commonest English endings.
func stem(w string) string {
	for _, end := range []string{"'s", "ing", "edly", "ed", "ies", "es", "s", "ly", "e"} {
		if rest, ok := strings.CutSuffix(w, end); ok && len(rest) >= 3 && !(end == "s" && strings.HasSuffix(rest, "s")) {
			if n := len(rest); n > 3 && rest[n-1] == rest[n-2] && strings.IndexByte("bdgmnprt", rest[n-1]) >= 0 {
				return rest[:n-1] // stopped, stop
			}
			return strings.TrimSuffix(rest, "e")
		}
	}
	return w
}

var stopWords = set(`a an the and or but if then of to in on at for with from by as is are was were be been being it its it's this that these those i i'm i've
	me my we our you your he she they them their his her what which who whom when where how why do does did done have has had having can could would should will
	just about into over under than too very so not no nor only own same there here all any both each few more most other some such up down out off again once
	text message following please one label category answer customer user wants want asks ask says say about something someone`)

// subjects are the few things that every model knows to belong together.
var subjects = map[string]string{
	"refund":   "refund refunds reimburse reimbursement return returned returns money-back credit chargeback repay",
	"shipping": "shipping shipment ship shipped delivery deliver delivered package parcel courier tracking track arrive arrived late delayed delay warehouse post",
	"billing":  "billing bill billed invoice charge charged charges payment pay paid card fee fees price subscription receipt tax twice overcharged cost",
	"account":  "account login log password username sign signin profile locked register registration reset email access authentication credentials",
	"fault":    "bug bugs crash crashes crashed error errors broken fault faulty fix freeze freezes freezing technical tech app software update install screen load loading slow fails outage down glitch",
	"cancel":   "cancel cancelled cancellation unsubscribe terminate stop end close",
	"product":  "product item quality defective damaged size color colour material model feature features stock available availability",
	"praise":   "praise thanks thank compliment great love excellent amazing wonderful appreciate feedback",
	"spam":     "spam scam win winner won prize free click lottery offer offers congratulations urgent claim guaranteed cash viagra bitcoin phishing junk",
	"sports":   "sport sports game match team player players coach goal league season championship football soccer tennis basketball scored cup tournament won",
	"politics": "politics political government president minister parliament senate election vote voted law policy party congress campaign world war treaty",
	"business": "business company market markets stock stocks shares profit profits revenue economy economic trade bank investors earnings merger finance financial",
	"science":  "science scientific technology tech computer research researchers scientists software space nasa study internet chip chips ai robot phone device",
	"health":   "health medical doctor hospital patient disease vaccine medicine symptoms pain treatment drug",
	"travel":   "travel flight flights hotel booking book booked trip airport ticket reservation vacation",
	"food":     "food restaurant meal dish menu taste tasty pizza coffee dinner lunch chef waiter",
	"anger":    "angry anger furious mad outraged rage hate annoyed irritated",
	"joy":      "joy happy happiness glad delighted excited love fun cheerful thrilled smile",
	"sadness":  "sad sadness unhappy cry crying depressed lonely grief miss heartbroken lost",
	"fear":     "fear afraid scared terrified worried anxious nervous panic frightening",
	"surprise": "surprise surprised unexpected shocked astonished suddenly wow unbelievable",
	"urgent":   "urgent urgently asap immediately emergency critical now outage high down severe blocking",
	"question": "question how what when where why which inquiry enquiry information wondering tell know explain",
}

var subjectsOf = func() map[string][]string {
	m := map[string][]string{}
	for _, subject := range slices.Sorted(maps.Keys(subjects)) {
		for w := range strings.FieldsSeq(subjects[subject]) {
			if s := stem(w); !slices.Contains(m[s], subject) {
				m[s] = append(m[s], subject)
			}
		}
	}
	return m
}()
