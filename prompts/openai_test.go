package prompts

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestReadOpenAIGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/openai/*.json")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			versions, err := ReadOpenAI(raw)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(versions); err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("%s differs; look at it, then run the test with -update\ngot:\n%s", golden, got.String())
			}
		})
	}
}

func TestReadOpenAIRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ file, want string }{
		"nothing":              {``, "there is no prompt in it"},
		"an empty list":        {`[]`, "there is no prompt in it"},
		"not JSON":             {`{"id": `, "it is not JSON"},
		"a text":               {`"pmpt_1"`, `"pmpt_1" is not a prompt: want an object`},
		"another id":           {`{"id": "resp_1", "version": 1, "instructions": "x"}`, `"resp_1" is not the id of one of OpenAI's prompts`},
		"no id":                {`{"version": 1, "instructions": "x"}`, `"" is not the id`},
		"an id with a slash":   {`{"id": "pmpt_a/b", "version": 1, "instructions": "x"}`, `is not the id`},
		"no version":           {`{"id": "pmpt_1", "instructions": "x"}`, `pmpt_1: version "": want the number`},
		"version latest":       {`{"id": "pmpt_1", "version": "latest", "instructions": "x"}`, `version "latest"`},
		"no messages":          {`{"id": "pmpt_1", "version": 1, "model": "gpt-4o"}`, "version 1 of pmpt_1: the template has no messages; it needs instructions or messages with text"},
		"only images":          {`{"id": "pmpt_1", "version": 1, "input": [{"role": "user", "content": [{"type": "input_image"}]}]}`, "has no messages"},
		"messages of no kind":  {`{"id": "pmpt_1", "version": 1, "messages": 3}`, "messages: want a text or a list of messages"},
		"content of no kind":   {`{"id": "pmpt_1", "version": 1, "messages": [{"role": "user", "content": {}}]}`, "message 1 of messages: want its content as a text or a list of parts"},
		"twice":                {`[{"id": "pmpt_1", "version": 1, "instructions": "x"}, {"id": "pmpt_1", "version": "1", "instructions": "y"}]`, "version 1 of pmpt_1 is in it twice"},
		"a call":               {`{"model": "gpt-4o", "prompt": {"id": "pmpt_1", "version": "1"}}`, "is a call of a prompt, which does not have its text"},
		"a response to no one": {`{"object": "response", "instructions": "x"}`, `a response has no "prompt"`},
		"a rendered response":  {`{"object": "response", "instructions": "Dear Ann", "prompt": {"id": "pmpt_1", "version": "1", "variables": {"name": "Ann"}}}`, `"variables": {"name": "{{name}}"}`},
		"a response without a version": {
			`{"object": "response", "instructions": "x", "prompt": {"id": "pmpt_1", "version": null}}`, `pmpt_1: version "": want the number`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ReadOpenAI([]byte(tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v, want %q", got, err, tt.want)
			}
		})
	}
}
