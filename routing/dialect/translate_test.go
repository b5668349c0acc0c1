package dialect_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/answer"
	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs:\n%s", path, got)
	}
}

func pretty(t testing.TB, doc []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, doc, "", "  "); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	return append(b.Bytes(), '\n')
}

var fronts = map[string]call.Front{
	"chat": call.ChatCompletions, "chat_completions": call.ChatCompletions, "responses": call.Responses, "messages": call.Messages, "generate_content": call.GenerateContent,
}

var targets = map[string]dialect.Target{
	"anthropic":       {Wire: call.Messages, Model: "claude-sonnet-4-5"},
	"anthropic-new":   {Wire: call.Messages, Model: "claude-opus-5-5"},
	"gemini":          {Wire: call.GenerateContent, Model: "gemini-3-pro-preview"},
	"gemini-2.5":      {Wire: call.GenerateContent, Model: "gemini-2.5-flash"},
	"chatcompletions": {Wire: call.ChatCompletions, Model: "gpt-5", Usage: true},
}

// Each recorded request, in the words of each provider.
func TestRequests(t *testing.T) {
	files, _ := filepath.Glob("testdata/requests/*.json")
	for _, file := range files {
		name := strings.TrimSuffix(file, ".json")
		api, _, _ := strings.Cut(filepath.Base(name), "-")
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for target, to := range targets {
			if to.Wire == fronts[api] || to.Wire == call.ChatCompletions && api == "responses" {
				continue
			}
			out, adjustments, fail := dialect.Request(fronts[api], body, to)
			if fail != nil {
				golden(t, name+"."+target+".golden", []byte("error: "+fail.Message+"\n"))
				continue
			}
			got := pretty(t, out)
			for _, a := range adjustments {
				got = append(got, "adjusted: "+a+"\n"...)
			}
			golden(t, name+"."+target+".golden", got)
		}
	}
}

func echo(front call.Front, request string) dialect.Echo {
	return dialect.Echo{Front: front, Request: []byte(request), Usage: true, Now: time.Unix(1_700_000_000, 0)}
}

// events yields the data of the events of a stream.
func events(stream []byte) (out [][]byte) {
	for line := range bytes.Lines(stream) {
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			out = append(out, bytes.TrimSpace(data))
		}
	}
	return out
}

// translate plays a stream through a translator.
func translate(t testing.TB, tr dialect.Translator, stream []byte) (out []byte) {
	t.Helper()
	done := false
	for _, data := range events(stream) {
		switch tr.Event(data) {
		case dialect.Failed, dialect.Broken:
			t.Fatalf("%s is not understood", data)
		case dialect.Done:
			done = true
		case dialect.Drop, dialect.Pass, dialect.Content:
		}
		out = append(out, tr.Output()...)
	}
	if !tr.Complete() {
		t.Fatal("not complete")
	}
	if !done {
		out = append(out, tr.Terminator()...)
	}
	return out
}

// Each recorded answer, for the clients of each front, as a stream and whole.
func TestAnswers(t *testing.T) {
	files, _ := filepath.Glob("testdata/answers/*")
	for _, file := range files {
		ext := filepath.Ext(file)
		if ext == ".golden" {
			continue
		}
		name := strings.TrimSuffix(file, ext)
		api, _, _ := strings.Cut(filepath.Base(name), "-")
		recorded, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []call.Front{call.ChatCompletions, call.Responses, call.Messages} {
			if to == fronts[api] || api == "chat_completions" && to == call.Responses {
				continue
			}
			e := echo(to, `{"thinking":{"type":"adaptive"},"tools":[],"temperature":0.5}`)
			if ext == ".json" {
				out, err := dialect.Answer(fronts[api], recorded, e)
				if err != nil {
					t.Fatal(file, err)
				}
				if wrong := answer.Whole(to, out); wrong != nil {
					t.Errorf("%s for %s: %v", file, to, wrong)
				}
				golden(t, name+"."+to.String()+".golden", pretty(t, out))
				continue
			}
			tr := dialect.NewTranslator(fronts[api], e)
			stream := translate(t, tr, recorded)
			s := tr.Summary()
			if s.Usage == nil || s.Finish == "" || s.Model == "" {
				t.Errorf("%s: summary %+v", file, s)
			}
			var a answer.Assembler
			whole, of := a.Assemble(nil, to, stream)
			if !of.Done || of.Failed || *of.Usage != *s.Usage {
				t.Errorf("%s for %s: put together it is %+v, usage %+v and %+v", file, to, of, of.Usage, s.Usage)
			}
			golden(t, name+"."+to.String()+".golden", append(append(stream, "put together:\n"...), pretty(t, whole)...))
		}
	}
}
