package simulator

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/simulator/mind"
)

// reply is one choice of an answer.
type reply struct {
	tokens []string
	tool   string // the function that is called with the text
	finish string
}

func (r *reply) text() string { return strings.Join(r.tokens, "") }

// think makes the choices of an answer.
func (m *model) think(q *query) []reply {
	out := make([]reply, q.choices)
	for i := range out {
		out[i] = m.choice(q, i)
	}
	return out
}

func (m *model) choice(q *query, i int) reply {
	vary := q.vary
	if i > 0 && q.hot {
		vary += " choice " + strconv.Itoa(i)
	}
	self := mind.Mind{Seed: m.seed, Model: m.id, Ability: m.ability, Mistakes: m.Mistakes / 100}
	asked := mind.Request{Messages: q.messages, JSON: q.json, Schema: q.schema, Vary: vary}
	r := reply{finish: "stop"}
	var text string
	if said, told := m.told(q.messages); told {
		text = said
	} else if q.tool != nil {
		r.tool, r.finish = q.tool.Name, "tool_calls"
		schema := q.tool.Parameters
		if len(schema) == 0 {
			schema = []byte(`{"type":"object"}`)
		}
		text = self.Arguments(asked, schema)
	} else {
		text = self.Answer(asked)
	}
	if r.tool == "" {
		for _, s := range q.stop {
			if s != "" {
				text, _, _ = strings.Cut(text, s)
			}
		}
	}
	if r.tokens = mind.Tokens(text); q.limit > 0 && len(r.tokens) > q.limit {
		r.tokens, r.finish = r.tokens[:q.limit], "length"
	}
	return r
}

// told is the reply that the configuration has for a prompt.
func (m *model) told(messages []mind.Message) (string, bool) {
	for _, a := range m.Answer {
		for _, msg := range messages {
			if strings.Contains(msg.Text, a.Contains) {
				return a.Reply, true
			}
		}
	}
	return "", false
}

// begin finds the model, decides on a fault and times the answer.
func (h *Handler) begin(r *http.Request, m *model, q *query) (*pace, error) {
	f := m.fault()
	if err := f.failure(m.id); err != nil {
		return nil, err
	}
	parts := []string{q.vary}
	for _, msg := range q.messages {
		parts = append(parts, msg.Role, msg.Text)
	}
	return m.pace(r, strconv.FormatFloat(mind.Draw(0, parts...), 'g', -1, 64), f), nil
}

func longest(replies []reply) (n int) {
	for i := range replies {
		n = max(n, len(replies[i].tokens))
	}
	return n
}

func produced(replies []reply) (n int) {
	for i := range replies {
		n += len(replies[i].tokens)
	}
	return n
}

// usage is that of chat completions and completions.
func usage(input, output int) object {
	return object{
		"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
		"prompt_tokens_details":     object{"cached_tokens": 0, "audio_tokens": 0},
		"completion_tokens_details": object{"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
	}
}

// id makes an id that no other answer of this process has.
func id(prefix string) string { return fmt.Sprintf("%ssim%016x", prefix, answers.Add(1)) }
