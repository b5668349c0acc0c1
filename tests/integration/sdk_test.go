package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"

	"github.com/caddy-frontier/frontier/internal/fakeprovider"
)

// sdkSuite is OpenAI's package for Go, unmodified, against a running gateway.
type sdkSuite struct {
	*gateway
	openai.Client
}

// The tests share a process and a provider that notes what it was asked, so
// they run one after another.
func TestOpenAIPackage(t *testing.T) {
	long(t)
	s := &sdkSuite{gateway: newGateway(t)}
	config := s.config(fmt.Sprintf(`data_dir %s
		provider dead {
			base_url http://%s/v1
			connect_timeout 1s
		}
		route assistant {
			variant stable openai/gpt-4o
		}
		route sentiment {
			match model gpt-4
			variant stable openai/gpt-4 {
				prompt sentiment@production
			}
		}
		route rescued {
			variant stable openai/gpt-4o {
				weight 0
			}
			variant candidate dead/gpt-4o {
				weight 100
			}
			fallback stable
		}`, s.data, address(freePort(t))), "llm openai")
	s.start(strings.Replace(config, "sk-test", providerKey, 1))
	s.register("sentiment", "Classify sentiment: positive, negative, or neutral.\n\nText: {{text}}")
	s.Client = openai.NewClient(option.WithBaseURL(s.url+"/v1"), option.WithAPIKey("sk-caller"), option.WithMaxRetries(0), option.WithHTTPClient(s.client))
	for _, test := range []struct {
		name string
		run  func(*testing.T, *sdkSuite)
	}{
		{"chat", sdkChat},
		{"stream", sdkStream},
		{"stream with usage asked for", sdkStreamUsage},
		{"tools in parallel", sdkTools},
		{"tools streamed", sdkToolsStreamed},
		{"structured output", sdkStructured},
		{"images and unknown fields pass untouched", sdkImages},
		{"embeddings", sdkEmbeddings},
		{"completions", sdkCompletions},
		{"responses", sdkResponses},
		{"responses streamed", sdkResponsesStreamed},
		{"the prompt parameter", sdkPrompt},
		{"a prompt that OpenAI hosted", sdkHosted},
		{"errors of the provider", sdkErrors},
		{"our key refused", sdkRefused},
		{"retries are not multiplied", sdkRetries},
		{"fallback", sdkFallback},
		{"a stream that is cut", sdkCut},
		{"timeout", sdkTimeout},
		{"cancellation", sdkCancellation},
		{"models", sdkModels},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.provider.Reset()
			test.run(t, s)
		})
	}
}

func says(text string) []openai.ChatCompletionMessageParamUnion {
	return []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}
}

// asked is what the provider was asked: one request.
func (s *sdkSuite) asked(t *testing.T) (r fakeprovider.Request, body object) {
	t.Helper()
	seen := s.provider.Requests()
	if len(seen) != 1 {
		t.Fatalf("%d requests to the provider, want 1", len(seen))
	}
	if err := json.Unmarshal([]byte(seen[0].Body), &body); err != nil {
		t.Fatal(err)
	}
	return seen[0], body
}

type sdkTrace struct {
	Status     string
	HTTPStatus int `json:"http_status"`
	Stream     bool
	Assignment string
	Usage      struct {
		Input     int64 `json:"input_tokens"`
		Output    int64 `json:"output_tokens"`
		Estimated bool
	}
	Response struct {
		Choices []struct{ Message openai.ChatCompletionMessage }
	}
}

// traced returns the trace of an answer: it can be read a moment later.
func (s *sdkSuite) traced(t *testing.T, of *http.Response) (tr sdkTrace) {
	t.Helper()
	id := of.Header.Get("X-Request-Id")
	eventually(t, 5*time.Second, "trace "+id, func() bool {
		status, _ := s.api(http.MethodGet, "/traces/"+id, nil, &tr)
		return status == http.StatusOK
	})
	return tr
}

// told waits until the provider has noticed that its caller left.
func (s *sdkSuite) told(t *testing.T) {
	t.Helper()
	eventually(t, 2*time.Second, "the provider to be told", func() bool {
		return slices.ContainsFunc(s.provider.Requests(), func(r fakeprovider.Request) bool { return r.Gone })
	})
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func sdkChat(t *testing.T, s *sdkSuite) {
	var resp *http.Response
	answer := must[*openai.ChatCompletion](t)(s.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{
		Model: "gpt-4o", Messages: says("hello there"), Temperature: openai.Float(0.5),
	}, option.WithResponseInto(&resp)))
	equal(t, "text", answer.Choices[0].Message.Content, "you said: hello there")
	equal(t, "model", resp.Header.Get("LLM-Model"), "openai/gpt-4o")
	equal(t, "cookies", resp.Header.Values("Set-Cookie"), []string(nil))
	r, body := s.asked(t)
	equal(t, "key", r.Header["Authorization"], []string{"Bearer " + providerKey})
	equal(t, "body", body, object{"model": "gpt-4o", "messages": []any{object{"role": "user", "content": "hello there"}}, "temperature": 0.5})
	if strings.Contains(fmt.Sprint(r), "sk-caller") {
		t.Error("the caller's key went to the provider")
	}
	trace := s.traced(t, resp)
	equal(t, "status", trace.Status, "ok")
	equal(t, "input tokens", trace.Usage.Input, answer.Usage.PromptTokens)
	equal(t, "recorded", trace.Response.Choices[0].Message.Content, "you said: hello there")
}

// accumulate reads a stream to its end by the package's own accumulator.
func (s *sdkSuite) accumulate(t *testing.T, p openai.ChatCompletionNewParams) (acc openai.ChatCompletionAccumulator, chunks []openai.ChatCompletionChunk, resp *http.Response) {
	t.Helper()
	stream := s.Chat.Completions.NewStreaming(t.Context(), p, option.WithResponseInto(&resp))
	defer stream.Close()
	for stream.Next() {
		if !acc.AddChunk(stream.Current()) {
			t.Fatalf("not accumulated: %s", stream.Current().RawJSON())
		}
		chunks = append(chunks, stream.Current())
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	return acc, chunks, resp
}

func sdkStream(t *testing.T, s *sdkSuite) {
	acc, chunks, resp := s.accumulate(t, openai.ChatCompletionNewParams{Model: "gpt-4o", Messages: says("one two three")})
	equal(t, "text", acc.Choices[0].Message.Content, "you said: one two three")
	equal(t, "finish", acc.Choices[0].FinishReason, "stop")
	for _, c := range chunks {
		if len(c.Choices) != 1 || c.JSON.Usage.Valid() {
			t.Errorf("usage was not asked for and must not be sent: %s", c.RawJSON())
		}
	}
	_, body := s.asked(t)
	equal(t, "stream options", body["stream_options"], object{"include_usage": true})
	trace := s.traced(t, resp)
	equal(t, "stream", trace.Stream, true)
	equal(t, "output tokens", trace.Usage.Output, int64(5))
	equal(t, "recorded", trace.Response.Choices[0].Message.Content, "you said: one two three")
}

func sdkStreamUsage(t *testing.T, s *sdkSuite) {
	acc, _, _ := s.accumulate(t, openai.ChatCompletionNewParams{
		Model: "gpt-4o", Messages: says("a b"), StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
	})
	equal(t, "text", acc.Choices[0].Message.Content, "you said: a b")
	equal(t, "output tokens", acc.Usage.CompletionTokens, int64(4))
}

func weatherTool() []openai.ChatCompletionToolUnionParam {
	return []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
		Name: "get_weather", Parameters: shared.FunctionParameters{"type": "object", "properties": object{"city": object{"type": "string"}}},
	})}
}

func cities(t *testing.T, calls []openai.ChatCompletionMessageToolCallUnion) (out []string) {
	t.Helper()
	for _, c := range calls {
		var arguments struct{ City string }
		if err := json.Unmarshal([]byte(c.Function.Arguments), &arguments); err != nil {
			t.Fatal(err)
		}
		out = append(out, arguments.City)
	}
	return out
}

func sdkTools(t *testing.T, s *sdkSuite) {
	p := openai.ChatCompletionNewParams{Model: "assistant", Messages: says("weather?"), Tools: weatherTool()}
	message := must[*openai.ChatCompletion](t)(s.Chat.Completions.New(t.Context(), p)).Choices[0].Message
	equal(t, "cities", cities(t, message.ToolCalls), []string{"Paris", "Oslo"})
	p.Messages = append(p.Messages, message.ToParam())
	for _, c := range message.ToolCalls {
		p.Messages = append(p.Messages, openai.ToolMessage("sunny", c.ID))
	}
	answer := must[*openai.ChatCompletion](t)(s.Chat.Completions.New(t.Context(), p))
	equal(t, "text", answer.Choices[0].Message.Content, "you said: weather?")
}

func sdkToolsStreamed(t *testing.T, s *sdkSuite) {
	acc, _, resp := s.accumulate(t, openai.ChatCompletionNewParams{Model: "assistant", Messages: says("weather?"), Tools: weatherTool()})
	equal(t, "cities", cities(t, acc.Choices[0].Message.ToolCalls), []string{"Paris", "Oslo"})
	equal(t, "finish", acc.Choices[0].FinishReason, "tool_calls")
	equal(t, "recorded", cities(t, s.traced(t, resp).Response.Choices[0].Message.ToolCalls), []string{"Paris", "Oslo"})
}

func sdkStructured(t *testing.T, s *sdkSuite) {
	schema := object{"type": "object", "properties": object{"label": object{"type": "string"}}, "required": []any{"label"}, "additionalProperties": false}
	answer := must[*openai.ChatCompletion](t)(s.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{
		Model: "assistant", Messages: says("x"), ResponseFormat: openai.ChatCompletionNewParamsResponseFormatUnion{
			OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "label", Schema: schema, Strict: openai.Bool(true)}},
		},
	}))
	equal(t, "text", answer.Choices[0].Message.Content, `{"label":"positive"}`)
	_, body := s.asked(t)
	equal(t, "format", body["response_format"], object{"type": "json_schema", "json_schema": object{"name": "label", "strict": true, "schema": schema}})
}

func sdkImages(t *testing.T, s *sdkSuite) {
	const image = "data:image/png;base64,AAAA"
	unknown := object{"a": []any{1.5, object{"b": nil}}}
	must[*openai.ChatCompletion](t)(s.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{
		Model: "assistant", N: openai.Int(2), Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
			openai.TextContentPart("what is it?"),
			openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: image, Detail: "low"}),
		})},
	}, option.WithJSONSet("x_new", unknown)))
	_, body := s.asked(t)
	equal(t, "content", body["messages"].([]any)[0].(object)["content"], []any{
		object{"type": "text", "text": "what is it?"}, object{"type": "image_url", "image_url": object{"url": image, "detail": "low"}},
	})
	equal(t, "unknown field", body["x_new"], unknown)
	equal(t, "n", body["n"], 2.0)
}

func sdkEmbeddings(t *testing.T, s *sdkSuite) {
	var resp *http.Response
	answer := must[*openai.CreateEmbeddingResponse](t)(s.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: "text-embedding-3-small", Dimensions: openai.Int(8), Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "bb"}},
	}, option.WithResponseInto(&resp)))
	if len(answer.Data) != 2 || len(answer.Data[0].Embedding) != 8 || len(answer.Data[1].Embedding) != 8 {
		t.Error(answer.RawJSON())
	}
	equal(t, "input tokens", s.traced(t, resp).Usage.Input, int64(3))
}

func sdkCompletions(t *testing.T, s *sdkSuite) {
	answer := must[*openai.Completion](t)(s.Completions.New(t.Context(), openai.CompletionNewParams{
		Model: "gpt-3.5-turbo-instruct", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("say it")},
	}))
	equal(t, "text", answer.Choices[0].Text, "you said: say it")
}

func input(text string) responses.ResponseNewParamsInputUnion {
	return responses.ResponseNewParamsInputUnion{OfString: openai.String(text)}
}

func sdkResponses(t *testing.T, s *sdkSuite) {
	var resp *http.Response
	answer := must[*responses.Response](t)(s.Responses.New(t.Context(), responses.ResponseNewParams{
		Model: "gpt-4o", Input: input("hi you"), Instructions: openai.String("be brief"),
	}, option.WithResponseInto(&resp)))
	equal(t, "text", answer.OutputText(), "you said: hi you")
	trace := s.traced(t, resp)
	equal(t, "tokens", []int64{trace.Usage.Input, trace.Usage.Output}, []int64{answer.Usage.InputTokens, answer.Usage.OutputTokens})
}

func sdkResponsesStreamed(t *testing.T, s *sdkSuite) {
	stream := s.Responses.NewStreaming(t.Context(), responses.ResponseNewParams{Model: "assistant", Input: input("hi you")})
	defer stream.Close()
	var kinds []string
	var deltas strings.Builder
	final := ""
	for stream.Next() {
		e := stream.Current()
		kinds = append(kinds, e.Type)
		switch e.Type {
		case "response.output_text.delta":
			deltas.WriteString(e.Delta)
		case "response.completed":
			final = e.Response.OutputText()
		}
	}
	if err := stream.Err(); err != nil || len(kinds) == 0 {
		t.Fatal(kinds, err)
	}
	equal(t, "first and last event", []string{kinds[0], kinds[len(kinds)-1]}, []string{"response.created", "response.completed"})
	equal(t, "deltas, whole", []string{deltas.String(), final}, []string{"you said: hi you", "you said: hi you"})
}

func sdkPrompt(t *testing.T, s *sdkSuite) {
	var resp *http.Response
	must[*responses.Response](t)(s.Responses.New(t.Context(), responses.ResponseNewParams{
		Model: "gpt-4", Input: input(""), Prompt: responses.ResponsePromptParam{
			ID: "sentiment", Version: openai.String("1"), Variables: map[string]responses.ResponsePromptVariableUnionParam{"text": {OfString: openai.String("fine")}},
		},
	}, option.WithResponseInto(&resp)))
	equal(t, "prompt", resp.Header.Get("LLM-Prompt"), "sentiment/1")
	_, body := s.asked(t)
	if _, has := body["prompt"]; has || !strings.Contains(fmt.Sprint(body["input"]), "Text: fine") {
		t.Errorf("sent on: %v", body)
	}
	// On chat completions the package has no such field: the extra one is the same.
	s.provider.Reset()
	must[*openai.ChatCompletion](t)(s.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: "gpt-4", Messages: []openai.ChatCompletionMessageParamUnion{}},
		option.WithJSONSet("prompt", object{"id": "sentiment", "variables": object{"text": "so so"}}), option.WithResponseInto(&resp)))
	equal(t, "prompt", resp.Header.Get("LLM-Prompt"), "sentiment/1")
	_, body = s.asked(t)
	equal(t, "messages", body["messages"], []any{object{"role": "user", "content": "Classify sentiment: positive, negative, or neutral.\n\nText: so so"}})
}

// sdkHosted calls prompts by the ids that they had at OpenAI, as applications
// do that were never changed: without a model, which the prompt says.
func sdkHosted(t *testing.T, s *sdkSuite) {
	for i, config := range []object{
		{"model": "gpt-4o", "temperature": 0.2, "max_tokens": 64, "reasoning_effort": "low"},
		{"model": "assistant"}, // a route
		{},
	} {
		status, _ := s.api(http.MethodPost, "/prompts", object{
			"name": "reply", "template": []object{{"role": "developer", "content": fmt.Sprintf("%d. Reply to {{customer}}.", i)}}, "model_config": config,
			"response_format": object{"type": "json_schema", "json_schema": object{"name": "reply", "schema": object{"type": "object"}}},
			"tags":            object{"openai.id": "pmpt_reply", "openai.version": fmt.Sprint(5 + i)},
		}, nil)
		if status != http.StatusCreated {
			t.Fatal(status)
		}
	}
	call := func(id, version string, value responses.ResponsePromptVariableUnionParam) (*http.Response, error) {
		s.provider.Reset()
		p := responses.ResponsePromptParam{ID: id, Variables: map[string]responses.ResponsePromptVariableUnionParam{"customer": value}}
		if version != "" {
			p.Version = openai.String(version)
		}
		var resp *http.Response
		_, err := s.Responses.New(t.Context(), responses.ResponseNewParams{Prompt: p}, option.WithResponseInto(&resp))
		return resp, err
	}
	ann := responses.ResponsePromptVariableUnionParam{OfString: openai.String("Ann")}

	resp := must[*http.Response](t)(call("pmpt_reply", "5", ann))
	equal(t, "prompt", resp.Header.Get("LLM-Prompt"), "reply/1")
	_, body := s.asked(t)
	equal(t, "sent on", body, object{
		"model": "gpt-4o", "input": []any{object{"role": "developer", "content": "0. Reply to Ann."}}, "temperature": 0.2, "max_output_tokens": 64.0,
		"reasoning": object{"effort": "low"}, "text": object{"format": object{"type": "json_schema", "name": "reply", "schema": object{"type": "object"}}},
	})

	resp = must[*http.Response](t)(call("pmpt_reply", "6", ann))
	equal(t, "route and prompt", []string{resp.Header.Get("LLM-Route"), resp.Header.Get("LLM-Prompt")}, []string{"assistant", "reply/2"})

	status, _ := s.api(http.MethodPut, "/prompts/reply/aliases/production", object{"version": 1}, nil)
	equal(t, "status of the alias", status, http.StatusOK)
	resp = must[*http.Response](t)(call("pmpt_reply", "", ann))
	equal(t, "prompt", resp.Header.Get("LLM-Prompt"), "reply/1")

	image := responses.ResponsePromptVariableUnionParam{OfInputImage: &responses.ResponseInputImageParam{Detail: "auto", ImageURL: openai.String("data:image/png;base64,AAAA")}}
	for _, step := range []struct {
		id, version string
		value       responses.ResponsePromptVariableUnionParam
		status      int
		want        string
	}{
		{"pmpt_reply", "7", ann, 400, "the request names no model, nor does the model config of prompt reply"},
		{"pmpt_reply", "8", ann, 404, "OpenAI's version 8 of pmpt_reply is not among those that were imported as prompt reply"},
		{"pmpt_other", "1", ann, 404, "caddy llm prompts import openai FILE"},
		{"pmpt_reply", "5", image, 400, `"prompt.variables.customer" is an input_image`},
	} {
		_, err := call(step.id, step.version, step.value)
		var e *openai.Error
		if !errors.As(err, &e) || e.StatusCode != step.status || !strings.Contains(e.Message, step.want) {
			t.Errorf("%s, version %s: got %v, want %d …%s…", step.id, step.version, err, step.status, step.want)
		}
		equal(t, "requests to the provider", len(s.provider.Requests()), 0)
	}
}

// fails makes a call that fails with an answer.
func (s *sdkSuite) fails(t *testing.T, model string, opts ...option.RequestOption) *openai.Error {
	t.Helper()
	_, err := s.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: model, Messages: says("x")}, opts...)
	var e *openai.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s: got %v, want an *openai.Error", model, err)
	}
	return e
}

func sdkErrors(t *testing.T, s *sdkSuite) {
	failed := map[int]*openai.Error{}
	for _, status := range []int{400, 404, 422, 429, 500, 503} {
		e := s.fails(t, fmt.Sprintf("openai/error-%d", status))
		equal(t, "status", e.StatusCode, status)
		equal(t, "code", e.Code, fmt.Sprintf("fake_%d", status))
		if !strings.Contains(e.Message, "fake error") || strings.Contains(e.RawJSON(), providerKey) {
			t.Error(e.RawJSON())
		}
		failed[status] = e
	}
	for status, e := range failed {
		trace := s.traced(t, e.Response)
		equal(t, "trace", []any{trace.Status, trace.HTTPStatus}, []any{"error", status})
	}
}

func sdkRefused(t *testing.T, s *sdkSuite) {
	e := s.fails(t, "openai/error-401")
	if e.StatusCode != http.StatusBadGateway || strings.Contains(e.RawJSON(), "fake") {
		t.Errorf("%d %s", e.StatusCode, e.RawJSON())
	}
}

func sdkRetries(t *testing.T, s *sdkSuite) {
	e := s.fails(t, "openai/error-503", option.WithMaxRetries(2))
	equal(t, "x-should-retry", e.Response.Header.Get("X-Should-Retry"), "false")
	equal(t, "requests to the provider", len(s.provider.Requests()), 2)
}

func sdkFallback(t *testing.T, s *sdkSuite) {
	var resp *http.Response
	answer := must[*openai.ChatCompletion](t)(s.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: "rescued", Messages: says("help")}, option.WithResponseInto(&resp)))
	equal(t, "text", answer.Choices[0].Message.Content, "you said: help")
	equal(t, "variant", resp.Header.Get("LLM-Variant"), "stable")
	equal(t, "assignment", s.traced(t, resp).Assignment, "fallback")
}

// An end that is none must be an error, or half an answer is taken for a whole one.
func sdkCut(t *testing.T, s *sdkSuite) {
	var resp *http.Response
	stream := s.Chat.Completions.NewStreaming(t.Context(), openai.ChatCompletionNewParams{Model: "openai/cut", Messages: says("a b c d")}, option.WithResponseInto(&resp))
	defer stream.Close()
	chunks := 0
	for stream.Next() {
		chunks++
	}
	if stream.Err() == nil || chunks == 0 {
		t.Fatalf("%d chunks, %v", chunks, stream.Err())
	}
	trace := s.traced(t, resp)
	equal(t, "trace", []any{trace.Status, trace.Usage.Estimated}, []any{"cut", true})
}

func sdkTimeout(t *testing.T, s *sdkSuite) {
	_, err := s.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: "openai/silent", Messages: says("x")}, option.WithRequestTimeout(300*time.Millisecond))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a timeout", err)
	}
	s.told(t)
}

func sdkCancellation(t *testing.T, s *sdkSuite) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var resp *http.Response
	stream := s.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{Model: "openai/stall", Messages: says("a b c d")}, option.WithResponseInto(&resp))
	defer stream.Close()
	if !stream.Next() {
		t.Fatal(stream.Err())
	}
	cancel()
	for stream.Next() {
	}
	if !errors.Is(stream.Err(), context.Canceled) {
		t.Errorf("got %v, want to be cancelled", stream.Err())
	}
	s.told(t)
	equal(t, "trace", s.traced(t, resp).Status, "cancelled")
}

func sdkModels(t *testing.T, s *sdkSuite) {
	found := map[string]string{}
	pages := s.Models.ListAutoPaging(t.Context())
	for pages.Next() {
		found[pages.Current().ID] = pages.Current().OwnedBy
	}
	if err := pages.Err(); err != nil {
		t.Fatal(err)
	}
	if found["assistant"] != "route" || found["gpt-4"] == "" {
		t.Errorf("models: %v", slices.Sorted(maps.Keys(found)))
	}
	model := must[*openai.Model](t)(s.Models.Get(t.Context(), "sentiment"))
	equal(t, "owner", model.OwnedBy, "route")
}
