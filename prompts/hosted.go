package prompts

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// The tags of a version by which requests find it that name the prompt as
// OpenAI did when it hosted it.
const (
	// TagOpenAIID is the id that the prompt had at OpenAI: pmpt_….
	TagOpenAIID = "openai.id"
	// TagOpenAIVersion is the version's number at OpenAI; where several had the same content, all of them, with spaces between.
	TagOpenAIVersion = "openai.version"
	// HostedPrefix begins the ids of prompts that OpenAI hosted.
	HostedPrefix = "pmpt_"
)

// published is the alias that an id without a version means, if the prompt has it.
const published = "production"

// hosted is what an id of OpenAI's means: a prompt, and its versions by their numbers at OpenAI.
type hosted struct {
	prompt   *Prompt
	versions map[string]int
}

// readHosted collects the ids of OpenAI's that the versions' tags hold. Of two
// versions with the same number the later has it.
func (p *Prompt) readHosted() {
	for _, v := range p.Versions {
		id := v.Tags[TagOpenAIID]
		if id == "" {
			continue
		}
		h := p.hosted[id]
		if h == nil {
			if p.hosted == nil {
				p.hosted = map[string]*hosted{}
			}
			h = &hosted{prompt: p, versions: map[string]int{}}
			p.hosted[id] = h
		}
		for number := range strings.FieldsSeq(v.Tags[TagOpenAIVersion]) {
			h.versions[number] = v.Version
		}
	}
}

// indexHosted makes the index by OpenAI's ids. Of two prompts with the same id
// the first by name has it.
func (s *Snapshot) indexHosted() {
	s.hosted = map[string]*hosted{}
	for _, name := range s.names {
		for id, h := range s.prompts[name].hosted {
			if s.hosted[id] == nil {
				s.hosted[id] = h
			}
		}
	}
}

// reference reads the parameter's version, a number of OpenAI's. Without one
// it is what the alias production points to or, without that, the latest.
func (h *hosted) reference(id string, body []byte, v jsonscan.Value) (Reference, *call.Error) {
	ref := Reference{Name: h.prompt.Name}
	if !v.Exists() || v.IsNull(body) {
		if _, ok := h.prompt.Aliases[published]; ok {
			ref.Alias = published
		}
		return ref, nil
	}
	text := string(v.Of(body))
	if v.IsString(body) {
		text, _ = jsonscan.Unquote(v.Of(body))
	}
	var ok bool
	if ref.Version, ok = h.versions[text]; ok {
		return ref, nil
	}
	return ref, &call.Error{
		Status: http.StatusNotFound, Class: "prompt_not_found", Code: "prompt_not_found", Param: "prompt.version",
		Message: fmt.Sprintf("OpenAI's version %s of %s is not among those that were imported as prompt %s: %s; import it with: caddy llm prompts import openai FILE",
			excerpt(text), excerpt(id), h.prompt.Name, h.inventory()),
	}
}

// inventory lists the versions by OpenAI's numbers.
func (h *hosted) inventory() string {
	const most = 10
	numbers := slices.SortedFunc(maps.Keys(h.versions), func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	more := ""
	if n := len(numbers) - most; n > 0 {
		numbers, more = numbers[n:], fmt.Sprintf("%d more, ", n)
	}
	for i, number := range numbers {
		numbers[i] = number + " (here " + strconv.Itoa(h.versions[number]) + ")"
	}
	return more + strings.Join(numbers, ", ")
}
