package frontier_test

import (
	"strings"
	"testing"
)

func TestCompletion(t *testing.T) {
	f := newFake(t)
	for line, want := range map[string]string{
		"prompts show ":                "chat",
		"prompts show ch":              "chat",
		"routes show ":                 "sentiment",
		"models loc":                   "local",
		"rollout weights senti":        "sentiment",
		"rollout watch su":             "support",
		"rollout promote ":             "support",
		"datasets show emp":            "empty",
		"datasets import ":             "empty",
		"runs watch 019a":              "019a2b3c-4d5e-7f60-8123-456789abcdef",
		"optimize ch":                  "chat",
		"compare --dataset ":           "empty",
		"rollout und":                  "undo",
		"prompts ":                     "register",
		"prompts alias nothing-like-i": "",
	} {
		args := append([]string{"__complete", "llm", "--address", f.address()}, strings.Split(line, " ")...)
		r := run(t.Context(), "", args...)
		if r.code != 0 || want != "" && !strings.Contains(r.stdout, want) || want == "" && !strings.HasPrefix(r.stdout, ":") {
			t.Errorf("%q: got %q, want %q in it", line, r.stdout, want)
		}
	}
	f.Close()
	if r := run(t.Context(), "", "__complete", "llm", "--address", f.address(), "prompts", "show", ""); r.code != 0 || !strings.HasPrefix(r.stdout, ":") {
		t.Errorf("without a server: %q", r.stdout)
	}
}
