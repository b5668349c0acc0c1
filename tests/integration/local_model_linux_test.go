package integration_test

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

const localModel = "SmolLM2-135M-Instruct"

// localTrace is what a trace has of a call of a model whose tokens and time are real.
type localTrace struct {
	Status       string
	Stream       bool
	Duration     float64 `json:"duration_ms"`
	TTFT         float64 `json:"ttft_ms"`
	FinishReason string  `json:"finish_reason"`
	Usage        struct {
		Input     int64 `json:"input_tokens"`
		Output    int64 `json:"output_tokens"`
		Cached    int64 `json:"cached_input_tokens"`
		Estimated bool
	}
}

// startLocalModel runs examples/local-model/run.sh, which installs what it
// needs if that is not there yet, and returns the server's URL.
func startLocalModel(t *testing.T) string {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command("./run.sh", strconv.Itoa(port))
	cmd.Dir = examples + "local-model"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an installation has processes of its own
	log := new(lockedBuffer)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	limit := time.AfterFunc(5*time.Minute, stop)
	defer limit.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), address(port)) {
			return "http://" + address(port)
		}
	}
	t.Fatal("the model's server does not start")
	return ""
}

// TestLocalModel lets a real language model answer through examples/local-model.
func TestLocalModel(t *testing.T) {
	if os.Getenv("FRONTIER_LOCAL_MODEL") == "" {
		t.Skip("*** SKIPPED: installs a language model of 98 MB; run by make test-local-model, or with FRONTIER_LOCAL_MODEL=1 ***")
	}
	long(t)
	g := newGateway(t)
	g.upstream = startLocalModel(t)
	g.startExample("local-model")
	client := openai.NewClient(option.WithBaseURL(g.url+"/v1"), option.WithAPIKey("unused"), option.WithMaxRetries(0))
	var resp *http.Response
	traced := func() (tr localTrace) {
		t.Helper()
		id := resp.Header.Get("X-Request-Id")
		g.eventually(5*time.Second, "trace "+id, func() bool {
			status, _ := g.api(http.MethodGet, "/traces/"+id, nil, &tr)
			return status == http.StatusOK
		})
		return tr
	}
	question := openai.ChatCompletionNewParams{
		Model: localModel, Temperature: openai.Float(0), MaxCompletionTokens: openai.Int(7), Messages: says("What is the capital of France?"),
	}

	whole := must[*openai.ChatCompletion](t)(client.Chat.Completions.New(t.Context(), question, option.WithResponseInto(&resp)))
	if whole.Choices[0].Message.Content == "" { // what it says is not always about France
		t.Error(whole.RawJSON())
	}
	equal(t, "finish", whole.Choices[0].FinishReason, "length")
	tr := traced()
	equal(t, "trace", []any{tr.Status, tr.Stream, tr.FinishReason, tr.Usage.Estimated}, []any{"ok", false, "length", false})
	equal(t, "tokens", []int64{tr.Usage.Input, tr.Usage.Output, tr.Usage.Cached}, []int64{whole.Usage.PromptTokens, 7, 0})

	question.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Chat.Completions.NewStreaming(t.Context(), question, option.WithResponseInto(&resp))
	var acc openai.ChatCompletionAccumulator
	for stream.Next() {
		acc.AddChunk(stream.Current())
	}
	if err := stream.Err(); err != nil || len(acc.Choices) != 1 {
		t.Fatal(acc.Choices, err)
	}
	if acc.Choices[0].Message.Content == "" {
		t.Error(acc.RawJSON())
	}
	tr = traced()
	equal(t, "trace", []any{tr.Status, tr.Stream, tr.FinishReason, tr.Usage.Estimated}, []any{"ok", true, "length", false})
	equal(t, "tokens", []int64{tr.Usage.Input, tr.Usage.Output}, []int64{acc.Usage.PromptTokens, acc.Usage.CompletionTokens})
	equal(t, "input tokens of the same question", tr.Usage.Input, whole.Usage.PromptTokens)
	if tr.TTFT <= 0 || tr.TTFT >= tr.Duration {
		t.Errorf("first token after %v ms of %v", tr.TTFT, tr.Duration)
	}
	t.Logf("%d tokens in (%d cached), %d out: the first after %.0f ms, all after %.0f ms", tr.Usage.Input, tr.Usage.Cached, tr.Usage.Output, tr.TTFT, tr.Duration)

	text := must[*openai.Completion](t)(client.Completions.New(t.Context(), openai.CompletionNewParams{
		Model: localModel, Temperature: openai.Float(0), Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("One, two, three, four, five, six,")},
		Stop: openai.CompletionNewParamsStopUnion{OfString: openai.String(" eight")},
	}, option.WithResponseInto(&resp)))
	equal(t, "completion", []any{text.Choices[0].Text, string(text.Choices[0].FinishReason)}, []any{" seven,", "stop"})
	equal(t, "output tokens", traced().Usage.Output, text.Usage.CompletionTokens)

	// Callers that leave free the model: it would be busy for a minute.
	for range 3 {
		ctx, leave := context.WithCancel(t.Context())
		question.MaxCompletionTokens = openai.Int(4000)
		question.Messages = says("Count from one to one thousand, in words, without a pause.")
		stream := client.Chat.Completions.NewStreaming(ctx, question, option.WithResponseInto(&resp))
		stream.Next()
		leave()
		_ = stream.Close()
		equal(t, "trace of a caller that left", traced().Status, "cancelled")
	}
	_, err := client.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{Model: localModel, MaxTokens: openai.Int(1), Messages: says("hi")}, option.WithRequestTimeout(5*time.Second))
	if err != nil {
		t.Error("after callers that left:", err)
	}
}
