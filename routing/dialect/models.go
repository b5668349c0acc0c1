package dialect

import (
	"strconv"
	"strings"
)

// Claude is what a model of Anthropic's is known to accept, by its version.
// A name that tells none is taken for the newest.
//
// Source: Anthropic's models overview, its pages on thinking, structured
// outputs and API versions, as of October 2026.
type Claude struct {
	version int // 406 is 4.6
}

const newest = 9900

// ClaudeOf reads the version out of a model's id: claude-3-5-sonnet-20241022,
// claude-opus-4-1, claude-sonnet-4@20250514, us.anthropic.claude-haiku-4-5.
func ClaudeOf(model string) Claude {
	_, rest, ok := strings.Cut(model, "claude-")
	if !ok {
		return Claude{newest}
	}
	version, seen := 0, 0
	for part := range strings.FieldsFuncSeq(rest, func(c rune) bool { return c == '-' || c == '@' || c == ':' || c == '.' }) {
		n, err := strconv.Atoi(part)
		if err != nil {
			if seen > 0 {
				break
			}
			continue
		}
		if len(part) > 2 || seen == 2 {
			break // a date
		}
		if seen++; seen == 1 {
			version = 100 * n
		} else {
			version += n
		}
	}
	if seen == 0 {
		return Claude{newest}
	}
	return Claude{version}
}

// Known reports whether the model's id is one of Anthropic's.
func (Claude) Known(model string) bool { return strings.Contains(model, "claude-") }

// MaxTokens is the most that the model can write; 4096 when it is not known.
func (c Claude) MaxTokens(model string) int {
	switch {
	case !c.Known(model), c.version < 305:
		return 4096
	case c.version < 307:
		return 8192
	case c.version >= 406:
		return 128_000
	case c.version < 405 && strings.Contains(model, "opus"):
		return 32_000
	}
	return 64_000
}

// Samples reports whether the model takes temperature, top_p and top_k.
func (c Claude) Samples() bool { return c.version < 407 }

// OneSampler reports whether it takes either temperature or top_p.
func (c Claude) OneSampler() bool { return c.version >= 401 }

// Adaptive reports whether the model decides itself how much to think, and is
// told an effort; others are told a budget of tokens, or do not think at all.
func (c Claude) Adaptive() bool { return c.version >= 406 }

// Budgets reports whether it can be told a budget of tokens for its thinking.
func (c Claude) Budgets() bool { return c.Thinks() && c.version < 407 }

// Thinks reports whether the model can be told to think.
func (c Claude) Thinks() bool { return c.version >= 307 }

// Structured reports whether the model can be held to a JSON schema.
func (c Claude) Structured() bool { return c.version >= 405 }

// geminiVersion reads the version out of a model's id: 205 of gemini-2.5-pro,
// 300 of gemini-3-pro; a name that tells none is taken for the newest.
func geminiVersion(model string) int {
	_, rest, ok := strings.Cut(model, "gemini-")
	if !ok {
		return newest
	}
	rest, _, _ = strings.Cut(rest, "-")
	major, minor, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		return newest
	}
	m, _ := strconv.Atoi(minor)
	return 100*n + m
}
