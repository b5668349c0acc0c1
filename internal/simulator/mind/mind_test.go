package mind_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/simulator/mind"
)

// The reference migration: what people would answer, and its prompts.
var records = []struct{ text, want string }{
	{"This movie was absolutely fantastic! I loved every minute of it.", "positive"},
	{"The service was terrible and the food arrived cold.", "negative"},
	{"It was okay, nothing special but not bad either.", "neutral"},
	{"I'm so disappointed with this purchase. Complete waste of money.", "negative"},
	{"Best experience ever! Highly recommend to everyone.", "positive"},
	{"The product works as described. No complaints.", "neutral"},
	{"I can't believe how amazing this turned out to be!", "positive"},
	{"Worst customer support I've ever dealt with.", "negative"},
	{"It's fine for the price. Gets the job done.", "neutral"},
	{"This exceeded all my expectations. Truly wonderful!", "positive"},
}

var after = []struct{ text, want string }{
	{"Amazing product!", "positive"}, {"Terrible experience.", "negative"}, {"It's okay.", "neutral"},
}

const (
	plain = "Classify sentiment: positive, negative, or neutral.\n\nText: {{text}}"
	cued  = "Classify the sentiment as positive, negative, or neutral.\n\nText: {{text}}\n\nAnswer:"
	ruled = "Classify the sentiment of the following text.\n\nText: {{text}}\n\nRules:\n- Answer ONLY with: positive, negative, or neutral\n- Use lowercase\n- No explanation needed\n\nAnswer:"
	shown = "Classify the sentiment of the following text.\n\nRules:\n- Answer ONLY with: positive, negative, or neutral\n- Use lowercase\n- No explanation needed\n\n" +
		"Text: What a lovely day this was.\nAnswer: positive\n\nText: The screen broke after a week.\nAnswer: negative\n\nText: It does what it says, no more.\nAnswer: neutral\n\nText: {{text}}\nAnswer:"
	synonyms = "What is the sentiment of the review below: positive, negative, or neutral? Reply with a single word in lower case, nothing else.\n\nReview: {{text}}"
)

func ask(m mind.Mind, prompt, text string) string {
	return m.Answer(mind.Request{Messages: []mind.Message{{Role: "user", Text: strings.ReplaceAll(prompt, "{{text}}", text)}}})
}

func share(m mind.Mind, prompt string) float64 {
	n := 0
	for _, r := range records {
		if strings.TrimSpace(strings.ToLower(ask(m, prompt, r.text))) == r.want {
			n++
		}
	}
	return float64(n) / float64(len(records))
}

func average(model string, ability float64, prompt string) float64 {
	sum := 0.0
	for seed := range int64(50) {
		sum += share(mind.Mind{Seed: seed + 1, Model: model, Ability: ability}, prompt)
	}
	return sum / 50
}

func TestUnderstandsTheReferenceMigration(t *testing.T) {
	for _, prompt := range []string{plain, cued, ruled, shown, synonyms} {
		for _, r := range append(records, after...) {
			if got := ask(mind.Mind{Seed: 1, Model: "perfect", Ability: 1}, prompt, r.text); got != r.want {
				t.Errorf("%q\n got %q, want %q, to %.40q", r.text, got, r.want, prompt)
			}
		}
	}
}

// A prompt is understood in whatever words and layout it comes.
func TestLayouts(t *testing.T) {
	for _, prompt := range []string{
		"Determine if the sentiment of this text is positive, negative or neutral: {{text}}",
		"What's the sentiment (Positive / Negative / Neutral) of: \"{{text}}\"?",
		"You are an expert sentiment analyst.\n\nYour task: read the review and decide whether it is positive, negative, or neutral.\n\n## Guidelines\n1. Respond with exactly one word.\n2. Use all lowercase letters.\n\n## Review\n{{text}}\n\n## Answer\n",
		"Classify the following text into one of these categories: [positive, negative, neutral].\n\n{{text}}",
		"Classify the text.\n\nLabels:\n- positive\n- negative\n- neutral\n\nText: {{text}}\nLabel:",
		"Sentiment analysis. Possible outputs are \"positive\", \"negative\", and \"neutral\". Output just the label.\n\nInput: {{text}}",
		"<instructions>\nLabel the text as positive, negative or neutral. Output one word only.\n</instructions>\n<text>\n{{text}}\n</text>",
		"{{text}}\n\nIs the sentiment of the text above positive, negative, or neutral?",
		"Text: {{text}}\n\nClassify the sentiment as positive, negative, or neutral.",
		"Review: {{text}}\nSentiment (positive/negative/neutral):",
		"Classify sentiment as POSITIVE, NEGATIVE, or NEUTRAL. Examples:\nText: I like it\nSentiment: POSITIVE\nText: I hate it\nSentiment: NEGATIVE\nText: {{text}}\nSentiment:",
		"### Instruction\nClassify the sentiment of the text as positive, negative, or neutral.\n\n### Input\n{{text}}\n\n### Response\n",
		"Given a text, classify its sentiment.\n\n---\n\nFollow the following format.\n\nText: the text\nSentiment: one of positive, negative, neutral\n\n---\n\nText: I like it\nSentiment: positive\n\n---\n\nText: {{text}}\nSentiment:",
		"Classify sentiment: positive, negative, or neutral. Definitions:\n- positive: the writer is pleased\n- negative: the writer is displeased\n- neutral: neither\nReturn nothing but the label.\n\nText: {{text}}",
		"Please classify the review's sentiment. Answer with 'positive', 'negative' or 'neutral', all lowercase, and don't explain yourself.\n\nThe review: {{text}}",
		"```\n{{text}}\n```\nClassify the sentiment of the text in the block as one of: positive | negative | neutral",
		"Sentiment of the sentence?\n\nSentence: {{text}}",
	} {
		for _, r := range append(records, after...) {
			if got := ask(mind.Mind{Seed: 1, Model: "perfect", Ability: 1}, prompt, r.text); !strings.EqualFold(got, r.want) {
				t.Errorf("%.60q, %q\n got %q, want %q", prompt, r.text, got, r.want)
			}
		}
	}
	for text, want := range map[string]string{
		"Return JSON {\"sentiment\": \"good|bad\"} for this text: I love it.":   `{"sentiment":"good"}`,
		"Summarize the following in at most 3 words: The parcel came too late.": "The parcel came …",
		"Is the customer angry? Answer yes or no.\n\nI hate this place!":        "yes",
	} {
		if got := ask(mind.Mind{Seed: 1, Model: "perfect", Ability: 1}, text, ""); got != want {
			t.Errorf("%q\n got %q, want %q", text, got, want)
		}
	}
}

func TestBetterPromptsGiveBetterAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, model string
		ability     float64
		prompt      string
		low, high   float64
	}{
		{"a strong model, plain prompt", "gpt-4", 0.97, plain, 0.95, 1},
		{"a small model, plain prompt", "gpt-4o-mini", 0.75, plain, 0.40, 0.85},
		{"a small model, rules", "gpt-4o-mini", 0.75, ruled, 0.90, 1},
		{"a small model, the same rules in other words", "gpt-4o-mini", 0.75, synonyms, 0.88, 1},
		{"a small model, rules and examples", "gpt-4o-mini", 0.75, shown, 0.95, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := average(tt.model, tt.ability, tt.prompt)
			first := share(mind.Mind{Seed: 1, Model: tt.model, Ability: tt.ability}, tt.prompt)
			t.Logf("average %.3f, seed 1 %.1f", got, first)
			if got < tt.low || got > tt.high || first < tt.low-0.001 || first > tt.high {
				t.Errorf("average over 50 seeds %.3f, seed 1 %.1f; want %.2f to %.2f", got, first, tt.low, tt.high)
			}
		})
	}
}

func TestContentOfThePrompt(t *testing.T) {
	base := average("m", 0.75, plain)
	with := func(rule string) float64 {
		return average("m", 0.75, strings.Replace(plain, "\n\n", " "+rule+"\n\n", 1))
	}
	if got := with("The weather in Lisbon is mild throughout the year."); got < base-0.03 || got > base+0.03 {
		t.Errorf("irrelevant text: %.3f instead of %.3f", got, base)
	}
	if got := with("Say nothing more than the label."); got < base+0.15 {
		t.Errorf("a rule in other words: %.3f instead of %.3f", got, base)
	}
	if got := with("Answer in a full sentence and explain why."); got > 0.1 {
		t.Errorf("asked for a sentence: %.3f", got)
	}
	ruledShare := average("m", 0.75, ruled)
	if got := average("m", 0.75, strings.Replace(ruled, "- No explanation needed", "- Explain your answer", 1)); got > ruledShare-0.2 {
		t.Errorf("contradicting rules: %.3f instead of %.3f", got, ruledShare)
	}
	wrong := strings.NewReplacer("Answer: positive", "Answer: negative", "Answer: negative", "Answer: positive").Replace(shown)
	if got := average("m", 0.75, wrong); got > average("m", 0.75, ruled)-0.1 {
		t.Errorf("wrong examples: %.3f instead of %.3f", got, ruledShare)
	}
	long := strings.Replace(ruled, "Rules:\n", "Rules:\n"+strings.Repeat("- Remember that our company was founded long ago in a small town\n", 700), 1)
	if got := average("m", 0.75, long); got > ruledShare-0.01 || got < ruledShare-0.3 {
		t.Errorf("9,000 tokens of rules: %.3f instead of %.3f", got, ruledShare)
	}
	for rule, want := range map[string]string{"Use uppercase.": "POSITIVE", "Answer with the label in lowercase.": "positive", "Answer in title case.": "Positive"} {
		if got := ask(mind.Mind{Seed: 1, Model: "m", Ability: 1}, strings.Replace(plain, "\n\n", " "+rule+"\n\n", 1), records[0].text); got != want {
			t.Errorf("%s: got %q, want %q", rule, got, want)
		}
	}
}

// An edit that mends one aspect leaves what was right as it was.
func TestCommonRandomNumbers(t *testing.T) {
	for seed := range int64(20) {
		m := mind.Mind{Seed: seed, Model: "m", Ability: 0.75}
		for _, r := range records {
			if ask(m, plain, r.text) == r.want && ask(m, ruled, r.text) != r.want {
				t.Errorf("seed %d, %q: right with the plain prompt, %q with rules", seed, r.text, ask(m, ruled, r.text))
			}
		}
	}
}

func TestOtherLabels(t *testing.T) {
	perfect := mind.Mind{Seed: 1, Model: "perfect", Ability: 1}
	const (
		triage = "Assign the ticket to one of these categories:\n- refund: the customer wants money back\n- shipping: where a parcel is, or when it comes\n- account: signing in, passwords\n- other\n\nTicket: {{text}}\n\nAnswer with the category only."
		spam   = "Is this message spam? Answer yes or no.\n\nMessage: {{text}}"
		shots  = "Classify.\n\nInput: The striker scored twice\nOutput: alpha\n\nInput: Parliament passed the law\nOutput: beta\n\nInput: The keeper saved a penalty\nOutput: alpha\n\nInput: {{text}}\nOutput:"
		arrows = "Decide on A_1 or B_2.\n\"The striker scored twice\" -> A_1\n\"Parliament passed the law\" -> B_2\n\nText: {{text}}"
		either = "Is the following review positive or negative?\n\n{{text}}"
		pipes  = "Label the headline (sports|politics|business). Only the label.\n\n<headline>{{text}}</headline>"
		stars  = "Rate from 1 to 5. Answer with one of: 1, 2, 3, 4, 5.\n\nReview: {{text}}"
	)
	for _, tt := range []struct{ prompt, text, want string }{
		{triage, "I want my money back for these shoes.", "refund"},
		{triage, "My package has not arrived yet, where is it?", "shipping"},
		{triage, "I forgot my password and cannot log in.", "account"},
		{spam, "Congratulations, you won a free prize! Click to claim.", "yes"},
		{spam, "Shall we meet for lunch on Monday?", "no"},
		{shots, "A late goal by the striker", "alpha"},
		{shots, "The parliament debates a new law", "beta"},
		{arrows, "the striker scored again", "A_1"},
		{either, "I hate this horrible phone.", "negative"},
		{either, "It was a lovely evening.", "positive"},
		{pipes, "The coach praised his team after the match", "sports"},
		{pipes, "Bank profits rise as shares rally", "business"},
		{stars, "Absolutely terrible, worst purchase, total waste.", "1"},
		{stars, "Amazing, wonderful, perfect!", "5"},
	} {
		if got := ask(perfect, tt.prompt, tt.text); got != tt.want {
			t.Errorf("%q\n got %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestChatTurns(t *testing.T) {
	r := mind.Request{Messages: []mind.Message{
		{Role: "system", Text: "You are a sentiment classifier. Answer with exactly one of: POSITIVE, NEGATIVE, NEUTRAL."},
		{Role: "user", Text: "I love it"},
		{Role: "assistant", Text: "POSITIVE"},
		{Role: "user", Text: "It is an awful thing, I regret buying it."},
	}}
	if got := (mind.Mind{Seed: 1, Model: "m", Ability: 1}).Answer(r); got != "NEGATIVE" {
		t.Errorf("got %q", got)
	}
	p := mind.Read(r.Messages)
	if p.Text != "It is an awful thing, I regret buying it." || len(p.Examples) != 1 || len(p.Labels) != 3 {
		t.Errorf("%+v", p)
	}
}

func TestOpenEnded(t *testing.T) {
	m := mind.Mind{Seed: 1, Model: "m", Ability: 1}
	for _, tt := range []struct{ prompt, want string }{
		{"Extract the email address.\n\nText: Write to Jane Doe at jane@example.com, please.", "jane@example.com"},
		{"Extract the name of the customer.\n\nText: Hello, my name is Jane Doe and I need help.", "Jane Doe"},
		{"Extract the total amount.\n\nText: 3 items, $42.50 in all, due 2024-05-01.", "$42.50"},
		{"Extract the date.\n\nText: Let us meet on 5 March 2024 in Oslo.", "5 March 2024"},
		{"Context: The tower is 330 metres high. It was built in 1889.\n\nQuestion: When was the tower built?", "It was built in 1889."},
	} {
		if got := m.Answer(mind.Request{Messages: []mind.Message{{Role: "user", Text: tt.prompt}}}); got != tt.want {
			t.Errorf("%q\n got %q, want %q", tt.prompt, got, tt.want)
		}
	}
	for _, messages := range [][]mind.Message{nil, {{Role: "user"}}, {{Role: "user", Text: "hi"}}, {{Role: "system", Text: "Be kind."}}, {{Role: "assistant", Text: "x"}}} {
		if m.Answer(mind.Request{Messages: messages}) == "" {
			t.Errorf("no answer to %v", messages)
		}
	}
}

func TestSchema(t *testing.T) {
	m := mind.Mind{Seed: 1, Model: "m", Ability: 1}
	messages := []mind.Message{{Role: "user", Text: "Ticket: My name is Jane Doe, I hate waiting. Order #1234, jane@example.com, $20.50"}}
	for _, tt := range []struct{ schema, want string }{
		{`{"type":"object","properties":{"sentiment":{"type":"string","enum":["positive","negative","neutral"]},"email":{"type":"string"},"customer_name":{"type":"string"},"total":{"type":"number"}}}`, `{"sentiment":"negative","email":"jane@example.com","customer_name":"Jane Doe","total":20.5}`},
		{`{"type":"array","minItems":2,"items":{"type":"integer","minimum":7,"maximum":9}}`, `[7,7]`},
		{`{"$ref":"#/$defs/x","$defs":{"x":{"type":"object","properties":{"ok":{"const":true},"none":{"type":"null"}}}}}`, `{"ok":true,"none":null}`},
		{`{"$ref":"#"}`, ``},
		{`{"anyOf":[{"type":"string","maxLength":3},{"type":"null"}]}`, ``},
		{`{"type":"object","properties":{"self":{"$ref":"#/properties/self"}}}`, ``},
		{`{"type":"string","maxLength":-1}`, `""`},
		{`not a schema`, ``},
	} {
		got := m.Arguments(mind.Request{Messages: messages}, []byte(tt.schema))
		if !json.Valid([]byte(got)) || tt.want != "" && got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.schema, got, tt.want)
		}
	}
}

func TestJSONAnswers(t *testing.T) {
	m := mind.Mind{Seed: 1, Model: "m", Ability: 1}
	for prompt, want := range map[string]string{
		plain: `{"sentiment":"positive"}`,
		"Classify as positive or negative. Answer in JSON: {\"label\": \"...\"}\n\nText: {{text}}": `{"label":"positive"}`,
	} {
		text := strings.ReplaceAll(prompt, "{{text}}", "I love \"it\"")
		if got := m.Answer(mind.Request{JSON: true, Messages: []mind.Message{{Role: "user", Text: text}}}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A simulated model can propose a better prompt, and it is one.
func TestRewrite(t *testing.T) {
	student := mind.Mind{Seed: 1, Model: "gpt-4o-mini", Ability: 0.75}
	var b strings.Builder
	b.WriteString("Improve the prompt below, so that the failing cases come out right. Keep the variables.\n\n<current_prompt>\n" + plain + "\n</current_prompt>\n\nFailing cases:\n\n")
	for _, r := range records {
		if got := ask(student, plain, r.text); got != r.want {
			fmt.Fprintf(&b, "Input: %s\nOutput: %s\nExpected: %s\n\n", r.text, got, r.want)
		}
	}
	got := (mind.Mind{Seed: 1, Model: "gpt-4", Ability: 0.97}).Answer(mind.Request{Messages: []mind.Message{{Role: "user", Text: b.String()}}})
	improved := strings.TrimSuffix(strings.TrimPrefix(got, "```\n"), "\n```")
	t.Logf("%s", got)
	if improved == got || strings.Count(improved, "{{text}}") != 1 || !strings.HasPrefix(improved, "Classify sentiment: positive, negative, or neutral.") {
		t.Errorf("got %s", got)
	}
	if was, is := average("gpt-4o-mini", 0.75, plain), average("gpt-4o-mini", 0.75, improved); is < was+0.2 {
		t.Errorf("%.3f before, %.3f after", was, is)
	}
	if got := (mind.Mind{Ability: 1}).Answer(mind.Request{Messages: []mind.Message{{Role: "user", Text: strings.ReplaceAll(plain, "{{text}}", "Please improve the instructions of this awful manual")}}}); got != "negative" {
		t.Errorf("a text about instructions: got %q", got)
	}
}

func TestTokens(t *testing.T) {
	for s, want := range map[string]int{
		"": 0, "positive": 1, "Hello, world!": 4, "The sentiment is **Neutral**.": 10, "internationalisation": 3, "12345 67": 3, "\n\n": 1, "日本語": 3, "a  b": 3,
		"\xff\xfe": 2, "été à Noël": 3,
	} {
		if got := mind.Count(s); got != want || strings.Join(mind.Tokens(s), "") != s {
			t.Errorf("%q: %d tokens, want %d: %q", s, got, want, mind.Tokens(s))
		}
	}
}

func TestEmbed(t *testing.T) {
	dot := func(a, b string) (sum float32) {
		x, y := mind.Embed(a, 256), mind.Embed(b, 256)
		for i := range x {
			sum += x[i] * y[i]
		}
		return sum
	}
	if same := dot("the cat sat", "the cat sat"); same < 0.999 || same > 1.001 {
		t.Errorf("the same text: %f", same)
	}
	if near, far := dot("my parcel is late", "the parcel came late"), dot("my parcel is late", "a goal in the second half"); near < far+0.3 {
		t.Errorf("near %f, far %f", near, far)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{plain, cued, ruled, shown, synonyms, "a, b or c", "<text>", "```\nx", "\"\"\"", "-> ->", "Text:\nAnswer:", "- a: b\n- c: d", "Improve the prompt:\n```\n{{x}}\n```\nGot: a\nExpected: b", "{\"a\": \"b\"}"} {
		f.Add(s, s, `{"type":"object","properties":{"a":{"type":"string"}}}`)
	}
	m := mind.Mind{Seed: 1, Model: "m", Ability: 0.75}
	f.Fuzz(func(t *testing.T, system, user, schema string) {
		messages := []mind.Message{{Role: "system", Text: system}, {Role: "user", Text: user}, {Role: "assistant", Text: system}, {Role: "user", Text: user}}
		if a, b := m.Answer(mind.Request{Messages: messages}), m.Answer(mind.Request{Messages: messages}); a != b {
			t.Errorf("two answers: %q, %q", a, b)
		}
		if got := m.Arguments(mind.Request{Messages: messages}, []byte(schema)); json.Valid([]byte(schema)) && !json.Valid([]byte(got)) {
			t.Errorf("not JSON: %q", got)
		}
		if got := strings.Join(mind.Tokens(user), ""); got != user || len(mind.Tokens(user)) != mind.Count(user) {
			t.Errorf("tokens of %q are %q", user, got)
		}
		if got := m.Answer(mind.Request{Messages: messages, JSON: true}); !json.Valid([]byte(got)) && !strings.HasPrefix(got, "`") {
			t.Errorf("not JSON: %q", got)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	m := mind.Mind{Seed: 1, Model: "m", Ability: 0.75}
	for name, prompt := range map[string]string{
		"plain": plain, "shown": shown, "1MB text": strings.ReplaceAll(plain, "{{text}}", strings.Repeat("It was okay, nothing special. ", 35000)),
		"1MB line": strings.Repeat("a,", 1<<19), "1MB lines": strings.Repeat("- a: b or c\n", 1<<20/12),
		"1MB colons": "Text: " + strings.Repeat(":", 1<<20), "1MB quotes": strings.Repeat("a or \"b\" -> c\n", 1<<20/14), "1MB headings": strings.Repeat("Text: It was okay.\nAnswer: neutral\n\n", 1<<20/36),
		"1MB definitions": "Answer with one of: a1, b1, c1\n" + strings.Repeat("Use a1 when it is something unusual\n", 1<<20/36), "1MB tags": strings.Repeat("<text>\n", 1<<20/7),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask(m, prompt, records[2].text)
			}
		})
	}
}
