package prompts

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/call"
)

// begin parses a request; nil when it is refused.
func begin(path, body string) *call.Call {
	r, err := http.NewRequest(http.MethodPost, path, bytes.NewReader([]byte(body)))
	if err != nil {
		panic(err)
	}
	c, _, _, fail := call.Begin(r, nil)
	if fail != nil {
		return nil
	}
	return c
}

const (
	chatPath      = "/v1/chat/completions"
	responsesPath = "/v1/responses"
	messagesPath  = "/v1/messages"
)

func apply(t *testing.T, c *call.Call, v *Version) (string, *call.Error) {
	t.Helper()
	edit := c.Object.Edit()
	if fail := Apply(c, v, edit); fail != nil {
		return "", fail
	}
	out := string(edit.AppendTo(nil))
	if !json.Valid([]byte(out)) {
		t.Fatalf("invalid JSON: %s", out)
	}
	return out, nil
}

func TestApplyRecognized(t *testing.T) {
	text1 := textOf(t, "Classify: {{text}}")
	text2 := textOf(t, "Is “{{text}}” good?")
	chat1 := chatOf(t, "system", "You classify {{kind}}.", "user", "{{text}}")
	chat2 := chatOf(t, "system", "You sort {{kind}} well.", "user", "Sort: {{text}}")
	chatText := chatOf(t, "system", "You classify.", "user", "Text: {{text}}")
	shots := chatOf(t, "system", "You classify {{kind}}.", "user", "good", "assistant", "yes", "user", "{{text}}")
	system := chatOf(t, "system", "Classify {{text}} well.")
	onlyKind := textOf(t, "What is {{text}}, a {{kind}}?")
	for _, test := range []struct {
		name     string
		path     string
		from, to Template
		in, want string
	}{
		{
			"text to text", chatPath, text1, text2,
			`{"model": "m", "k":1.0e0,"x":{"b":1,"a":2}, "messages": [ {"role":"system","content":"hi"}, {"content" : "Classify: a \"b\"\n", "role":"user", "name":"n"} ],"z":null}`,
			`{"model": "m", "k":1.0e0,"x":{"b":1,"a":2}, "messages": [ {"role":"system","content":"hi"}, {"content" : "Is “a \"b\"\n” good?", "role":"user", "name":"n"} ],"z":null}`,
		},
		{
			"text to text, every turn", chatPath, text1, text2,
			`{"messages":[{"role":"user","content":"Classify: 1"},{"role":"assistant","content":"Classify: 2"},{"role":"user","content":"Classify: 3"}]}`,
			`{"messages":[{"role":"user","content":"Is “1” good?"},{"role":"assistant","content":"Classify: 2"},{"role":"user","content":"Is “3” good?"}]}`,
		},
		{
			"text to text, beside an image", chatPath, text1, text2,
			`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}},{"type":"text","text":"Classify: x","cache_control":{}}]}]}`,
			`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}},{"type":"text","text":"Is “x” good?","cache_control":{}}]}]}`,
		},
		{
			"text to text, in the system message", chatPath, text1, text2,
			`{"messages":[{"role":"developer","content":"Classify: x"},{"role":"user","content":"hi"}]}`,
			`{"messages":[{"role":"developer","content":"Is “x” good?"},{"role":"user","content":"hi"}]}`,
		},
		{
			"text to chat", chatPath, text1, chatText,
			`{"messages":[{"role":"user","content":"Classify: x"}, {"role":"assistant","content":"y"}]}`,
			`{"messages":[{"role":"system","content":"You classify."},{"role":"user","content":"Text: x"}, {"role":"assistant","content":"y"}]}`,
		},
		{
			"text to chat, every turn: the system message once", chatPath, text1, chatText,
			`{"messages":[{"role":"user","content":"Classify: 1"},{"role":"assistant","content":"y"},{"role":"user","content":"Classify: 2"}]}`,
			`{"messages":[{"role":"system","content":"You classify."},{"role":"user","content":"Text: 1"},{"role":"assistant","content":"y"},{"role":"user","content":"Text: 2"}]}`,
		},
		{
			"text to chat, beside an image", chatPath, text1, chatText,
			`{"messages":[{"role":"user","name":"n","content":[{"type":"text","text":"Classify: x"},{"type":"image_url","image_url":{"url":"u"}}]}]}`,
			`{"messages":[{"role":"system","content":"You classify."},{"role":"user","name":"n","content":[{"type":"text","text":"Text: x"},{"type":"image_url","image_url":{"url":"u"}}]}]}`,
		},
		{
			"text to chat without a user message, beside an image", chatPath, text1, system,
			`{"messages":[{"role":"user","content":[{"type":"text","text":"Classify: x"},{"type":"image_url","image_url":{"url":"u"}}]}]}`,
			`{"messages":[{"role":"system","content":"Classify x well."},{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]}]}`,
		},
		{
			"chat to chat of the same roles", chatPath, chat1, chat2,
			`{"messages":[{"role":"developer","content":"You classify toys.","name":"a"},{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{}}]},{"role":"assistant","content":"y"}]}`,
			`{"messages":[{"role":"developer","content":"You sort toys well.","name":"a"},{"role":"user","content":[{"type":"text","text":"Sort: x"},{"type":"image_url","image_url":{}}]},{"role":"assistant","content":"y"}]}`,
		},
		{
			"chat to chat with examples", chatPath, chat1, shots,
			`{"messages":[{"role":"system","content":"You classify toys."},{"role":"user","content":"\u0078","name":"n"},{"role":"assistant","content":"y"}]}`,
			`{"messages":[{"role":"system","content":"You classify toys."},{"role":"user","content":"good"},{"role":"assistant","content":"yes"},{"role":"user","content":"\u0078","name":"n"},{"role":"assistant","content":"y"}]}`,
		},
		{
			"chat to chat without examples", chatPath, shots, chat1,
			`{"messages":[{"role":"system","content":"You classify toys."},{"role":"user","content":"good"},{"role":"assistant","content":"yes"},{"role":"user","content":"x"}],"n":1}`,
			`{"messages":[{"role":"system","content":"You classify toys."},{"role":"user","content":"x"}],"n":1}`,
		},
		{
			"chat to text", chatPath, chat1, onlyKind,
			`{"messages":[{"role":"system","content":"You classify toys."},{"role":"user","content":[{"type":"image_url","image_url":{}},{"type":"text","text":"x"}]},{"role":"assistant","content":"y"}]}`,
			`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}},{"type":"text","text":"What is x, a toys?"}]},{"role":"assistant","content":"y"}]}`,
		},
		{
			"an unchanged text keeps its bytes", chatPath, chat1, chatOf(t, "system", "You sort {{kind}}.", "user", "{{text}}"),
			`{"messages":[{"role":"system","content":"You classify toys."},{"role":"user","content":"\u0041\/b"}]}`,
			`{"messages":[{"role":"system","content":"You sort toys."},{"role":"user","content":"\u0041\/b"}]}`,
		},
		{
			"responses, plain input", responsesPath, text1, text2,
			`{"model":"m","input":"Classify: x","instructions":"be kind"}`, `{"model":"m","input":"Is “x” good?","instructions":"be kind"}`,
		},
		{
			"responses, plain input to chat", responsesPath, text1, chatText,
			`{"input":"Classify: x"}`, `{"input":[{"role":"system","content":"You classify."},{"role":"user","content":"Text: x"}]}`,
		},
		{
			"responses, list to chat", responsesPath, text1, chatText,
			`{"input":[{"role":"user","content":[{"type":"input_text","text":"Classify: x"},{"type":"input_image","image_url":"u"}]}]}`,
			`{"input":[{"role":"system","content":"You classify."},{"role":"user","content":[{"type":"input_text","text":"Text: x"},{"type":"input_image","image_url":"u"}]}]}`,
		},
		{
			"responses, instructions and input", responsesPath, chat1, chat2,
			`{"instructions":"You classify toys.","input":"x"}`, `{"instructions":"You sort toys well.","input":"Sort: x"}`,
		},
		{
			"responses, instructions and input with examples", responsesPath, chat1, shots,
			`{"instructions":"You classify toys.","input":"x"}`,
			`{"instructions":"You classify toys.","input":[{"role":"user","content":"good"},{"role":"assistant","content":"yes"},{"role":"user","content":"x"}]}`,
		},
		{
			"responses, instructions and list with examples", responsesPath, chat1, shots,
			`{"instructions":"You classify toys.","input":[{"role":"user","content":"x"},{"type":"function_call_output","output":""}]}`,
			`{"instructions":"You classify toys.","input":[{"role":"user","content":"good"},{"role":"assistant","content":"yes"},{"role":"user","content":"x"},{"type":"function_call_output","output":""}]}`,
		},
		{
			"responses, instructions and input to text", responsesPath, chat1, onlyKind,
			`{"instructions":"You classify toys.","input":"x"}`, `{"input":"What is x, a toys?"}`,
		},
		{
			"responses, instructions and input to system alone", responsesPath, chat1, chatOf(t, "system", "Sort {{kind}}: {{text}}"),
			`{"instructions":"You classify toys.","input":"x"}`, `{"input":[{"role":"system","content":"Sort toys: x"}]}`,
		},
		{
			"responses, instructions alone to chat", responsesPath, text1, chatText,
			`{"instructions":"Classify: x","input":"go","n":1}`,
			`{"instructions":"You classify.","input":[{"role":"user","content":"Text: x"},{"role":"user","content":"go"}],"n":1}`,
		},
		{
			"responses, instructions alone to chat before a list", responsesPath, text1, chatText,
			`{"instructions":"Classify: x","input":[{"role":"user","content":"go"}]}`,
			`{"instructions":"You classify.","input":[{"role":"user","content":"Text: x"},{"role":"user","content":"go"}]}`,
		},
		{
			"responses, instructions and plain input, each a text", responsesPath, text1, chatText,
			`{"instructions":"Classify: x","input":"Classify: y"}`,
			`{"instructions":"You classify.","input":[{"role":"user","content":"Text: x"},{"role":"user","content":"Text: y"}]}`,
		},
		{
			"responses, instructions and a list, each a text", responsesPath, text1, chatText,
			`{"instructions":"Classify: x","input":[{"role":"user","content":"Classify: y"}]}`,
			`{"instructions":"You classify.","input":[{"role":"user","content":"Text: x"},{"role":"user","content":"Text: y"}]}`,
		},
		{
			"messages, text in the parameter system", messagesPath, text1, text2,
			`{"system":"Classify: x","messages":[{"role":"user","content":"hi"}]}`, `{"system":"Is “x” good?","messages":[{"role":"user","content":"hi"}]}`,
		},
		{
			"messages, text in a block of it", messagesPath, text1, text2,
			`{"system":[{"type":"text","text":"Classify: x","cache_control":{}}],"messages":[]}`, `{"system":[{"type":"text","text":"Is “x” good?","cache_control":{}}],"messages":[]}`,
		},
		{
			"messages, text to chat", messagesPath, text1, chatText,
			`{"messages":[{"role":"user","content":"Classify: x"},{"role":"assistant","content":"y"}]}`,
			`{"system":"You classify.","messages":[{"role":"user","content":"Text: x"},{"role":"assistant","content":"y"}]}`,
		},
		{
			"messages, text to chat beside a system text", messagesPath, text1, chatText,
			`{"system":"be kind","messages":[{"role":"user","content":"Classify: x"}]}`, `{"system":"You classify.\n\nbe kind","messages":[{"role":"user","content":"Text: x"}]}`,
		},
		{
			"messages, text to chat beside system blocks", messagesPath, text1, chatText,
			`{"system":[{"type":"text","text":"be kind"},{"type":"text","text":"be brief"}],"messages":[{"role":"user","content":"Classify: x"}]}`,
			`{"system":[{"type":"text","text":"You classify."},{"type":"text","text":"be kind"},{"type":"text","text":"be brief"}],"messages":[{"role":"user","content":"Text: x"}]}`,
		},
		{
			"messages, chat to chat", messagesPath, chat1, chat2,
			`{"system":"You classify toys.","messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image"}]}]}`,
			`{"system":"You sort toys well.","messages":[{"role":"user","content":[{"type":"text","text":"Sort: x"},{"type":"image"}]}]}`,
		},
		{
			"messages, chat with examples", messagesPath, chat1, shots,
			`{"system":"You classify toys.","messages":[{"role":"user","content":"x"}]}`,
			`{"system":"You classify toys.","messages":[{"role":"user","content":"good"},{"role":"assistant","content":"yes"},{"role":"user","content":"x"}]}`,
		},
		{
			"messages, chat to text", messagesPath, chat1, onlyKind,
			`{"system":"You classify toys.","messages":[{"role":"user","content":"x"}],"n":1}`, `{"messages":[{"role":"user","content":"What is x, a toys?"}],"n":1}`,
		},
		{
			"messages, chat to system alone", messagesPath, chat1, chatOf(t, "system", "Sort {{kind}}: {{text}}"),
			`{"system":"You classify toys.","messages":[{"role":"user","content":"x"}],"n":1}`, `{"messages":[{"role":"user","content":"Sort toys: x"}],"n":1}`,
		},
		{
			"messages, system to chat", messagesPath, text1, chatText,
			`{"system":"Classify: x","messages":[{"role":"user","content":"go"}]}`, `{"system":"You classify.","messages":[{"role":"user","content":"Text: x"},{"role":"user","content":"go"}]}`,
		},
		{
			"completions", "/v1/completions", text1, text2,
			`{"prompt":"Classify: x","max_tokens":1}`, `{"prompt":"Is “x” good?","max_tokens":1}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := begin(test.path, test.in)
			from := versionOf("p", 1, test.from)
			var near *call.NearMiss
			if c.Prompt, near = matcherOf(from).recognize(c, 0); c.Prompt.Name == "" {
				t.Fatalf("not recognised: %+v", near)
			}
			if got, fail := apply(t, c, versionOf("p", 2, test.to)); got != test.want {
				t.Errorf("got  %s\nwant %s\n%v", got, test.want, fail)
			}
			edit := c.Object.Edit()
			if fail := Apply(c, from, edit); fail != nil || edit.Changed() {
				t.Errorf("the version recognised: %v, changed %v", fail, edit.Changed())
			}
		})
	}
}

func TestApplyNamed(t *testing.T) {
	text := textOf(t, "Classify: {{text}}")
	chat := chatOf(t, "system", "You classify.", "user", "{{text}}")
	for _, test := range []struct {
		name, path string
		version    Template
		source     call.Source
		in, want   string
	}{
		{
			"text", chatPath, text, call.FromHeader, `{"model":"m","messages":[ {"role":"user","content":"hi"}],"n":1}`,
			`{"model":"m","messages":[{"role":"user","content":"Classify: “x”\n"}, {"role":"user","content":"hi"}],"n":1}`,
		},
		{
			"chat", chatPath, chat, call.Bound, `{"messages":[{"role":"user","content":"hi"}]}`,
			`{"messages":[{"role":"system","content":"You classify."},{"role":"user","content":"“x”\n"},{"role":"user","content":"hi"}]}`,
		},
		{"no messages", chatPath, text, call.FromHeader, `{"messages":[ ]}`, `{"messages":[{"role":"user","content":"Classify: “x”\n"}]}`},
		{"messages absent", chatPath, text, call.FromModel, `{"model":"m"}`, `{"messages":[{"role":"user","content":"Classify: “x”\n"}],"model":"m"}`},
		{
			"parameter", chatPath, text, call.FromParameter, `{"prompt":{"id":"p"},"messages":[],"model":"m"}`,
			`{"messages":[{"role":"user","content":"Classify: “x”\n"}],"model":"m"}`,
		},
		{
			"parameter, last", chatPath, text, call.FromParameter, `{"model":"m", "messages":[], "prompt":{"id":"p"}}`,
			`{"model":"m", "messages":[{"role":"user","content":"Classify: “x”\n"}]}`,
		},
		{
			"parameter alone", responsesPath, text, call.FromParameter, `{"prompt":{"id":"p"}}`,
			`{"input":[{"role":"user","content":"Classify: “x”\n"}]}`,
		},
		{
			"responses, plain input", responsesPath, chat, call.FromParameter, `{"prompt":{"id":"p"},"input":"h\u0069","instructions":"be kind"}`,
			`{"input":[{"role":"system","content":"You classify."},{"role":"user","content":"“x”\n"},{"role":"user","content":"h\u0069"}],"instructions":"be kind"}`,
		},
		{
			"responses, list", responsesPath, text, call.Bound, `{"input":[{"role":"user","content":"hi"}]}`,
			`{"input":[{"role":"user","content":"Classify: “x”\n"},{"role":"user","content":"hi"}]}`,
		},
		{"messages", messagesPath, chat, call.Bound, `{"messages":[{"role":"user","content":"hi"}]}`, `{"system":"You classify.","messages":[{"role":"user","content":"“x”\n"},{"role":"user","content":"hi"}]}`},
		{"messages, own system text", messagesPath, chat, call.FromParameter, `{"prompt":{"id":"p"},"system":"h\u0069","messages":[]}`, `{"system":"You classify.\n\nh\u0069","messages":[{"role":"user","content":"“x”\n"}]}`},
		{"responses, empty input", responsesPath, text, call.Bound, `{"input":""}`, `{"input":[{"role":"user","content":"Classify: “x”\n"}]}`},
		{"completions", "/v1/completions", text, call.FromHeader, `{"model":"m"}`, `{"prompt":"Classify: “x”\n","model":"m"}`},
		{"completions, empty", "/v1/completions", text, call.FromHeader, `{"model":"m","prompt":""}`, `{"model":"m","prompt":"Classify: “x”\n"}`},
		{"completions, parameter", "/v1/completions", text, call.FromParameter, `{"prompt":{"id":"p"},"model":"m"}`, `{"prompt":"Classify: “x”\n","model":"m"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := begin(test.path, test.in)
			c.Prompt = call.Prompt{Name: "p", Source: test.source, Variables: map[string]string{"text": "“x”\n"}}
			if got, fail := apply(t, c, versionOf("p", 2, test.version)); got != test.want {
				t.Errorf("got  %s\nwant %s\n%v", got, test.want, fail)
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	text := versionOf("p", 2, textOf(t, "Classify {{text}} by {{kind}}, {{more}}"))
	chat := versionOf("p", 2, chatOf(t, "system", "{{text}}"))
	old := matcherOf(versionOf("p", 1, textOf(t, "Classify: {{text}}")))
	for _, test := range []struct {
		name, path string
		version    *Version
		in, want   string
	}{
		{"missing", chatPath, text, `{"messages":[]}`, `prompt p/2: missing variables "kind", "more"; given: "text"`},
		{"missing, responses", responsesPath, text, `{"input":"x"}`, `missing variables "kind", "more"`},
		{"missing, completions", "/v1/completions", text, `{}`, `missing variables "kind", "more"`},
		{"missing, recognised", chatPath, text, `{"messages":[{"role":"user","content":"Classify: x"}]}`, `missing variables "kind", "more"; given: "text"`},
		{"embeddings", "/v1/embeddings", text, `{"input":"x"}`, "embeddings API has no place for a prompt"},
		{"completions, own prompt", "/v1/completions", text, `{"prompt":"x"}`, `has a "prompt" of its own`},
		{"completions, own prompts", "/v1/completions", text, `{"prompt":["x"]}`, `has a "prompt" of its own`},
		{"completions, chat", "/v1/completions", chat, `{}`, "takes one text"},
		{"completions, recognised, chat", "/v1/completions", chat, `{"prompt":"Classify: x"}`, "takes one text"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := begin(test.path, test.in)
			if c.Prompt, _ = old.recognize(c, 0); c.Prompt.Name == "" {
				c.Prompt = call.Prompt{Name: "p", Source: call.FromHeader, Variables: map[string]string{"text": "x"}}
			}
			_, fail := apply(t, c, test.version)
			if fail == nil || fail.Status != http.StatusBadRequest || !strings.Contains(fail.Message, test.want) {
				t.Errorf("got %+v, want …%s…", fail, test.want)
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	from := versionOf("p", 1, textOf(b, "Classify: {{text}}"))
	to := versionOf("p", 2, textOf(b, "Is this good or bad?\n\n{{text}}"))
	c := chatCall(b, "user", "Classify: "+prose(4<<10))
	c.Prompt, _ = matcherOf(from).recognize(c, 0)
	b.ReportAllocs()
	for b.Loop() {
		edit := c.Object.Edit()
		if fail := Apply(c, to, edit); fail != nil || !edit.Changed() {
			b.Fatal(fail)
		}
	}
}
