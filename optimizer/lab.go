package optimizer

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/optimizer/scorer"
	"github.com/caddy-frontier/frontier/optimizer/search"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing"
)

// lab tries an optimiser's prompts on the model that they are for.
type lab struct {
	ctx     context.Context // of the run, for notes
	session *session
	model   string
	// reflector is the model that proposes prompts.
	reflector  string
	parameters map[string]json.RawMessage // of the model, such as temperature
	cases      []scorer.Case
	judging    *judging
	asks       int // calls that judging an answer takes
	// kept is what of the budget is not the search's: for what comes after it.
	kept int
	// original is named in the traces of its trials; candidates have no name yet.
	original prompts.Template
	config   *prompts.Version // the original, for its model config and response format
	served   call.ServedPrompt
}

// Try makes trials.
func (l *lab) Try(ctx context.Context, trials []search.Trial) ([]search.Outcome, error) {
	if len(trials) == 0 {
		return nil, nil
	}
	questions := make([]asked, len(trials))
	for i, t := range trials {
		q, err := l.question(t)
		if err != nil {
			return nil, err // the optimiser keeps the variables; one that does not is broken
		}
		questions[i] = q
	}
	if l.price(questions) > l.Left() {
		return nil, search.ErrBudget
	}
	answers, err := l.session.ask(ctx, questions)
	if err != nil {
		return nil, err
	}
	outcomes := make([]search.Outcome, len(trials))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(l.session.parallel)
	for i, a := range answers {
		if outcomes[i].Err = a.Err; a.Err != nil {
			continue
		}
		group.Go(func() (err error) {
			outcomes[i], err = l.score(ctx, l.cases[trials[i].Case], a.Reply)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return outcomes, nil
}

// score judges an answer, as often as it takes. A scorer that fails makes an
// outcome without a score; only the context's end is an error.
func (l *lab) score(ctx context.Context, c scorer.Case, r *routing.Reply) (search.Outcome, error) {
	out := search.Outcome{Output: shown(r)}
	score, err := judgeRepeatedly(ctx, l.session, l.judging, c, scorer.Answer{Text: r.Text, ToolCalls: toolCalls(r)})
	switch {
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	case ends(err):
		return out, err
	case err != nil:
		out.Err = err
	default:
		out.Score, out.Feedback = score.Value, score.Why
	}
	return out, nil
}

// Ask asks the reflector.
func (l *lab) Ask(ctx context.Context, questions []search.Question) ([]search.Reply, error) {
	if len(questions) == 0 {
		return nil, nil
	}
	list := make([]asked, len(questions))
	for i, q := range questions {
		messages, err := json.Marshal(q.Messages)
		if err != nil {
			return nil, err
		}
		list[i] = asked{Repeat: q.Repeat, Question: routing.Question{
			Model: l.reflector, Messages: messages,
			Parameters: map[string]json.RawMessage{"temperature": strconv.AppendFloat(nil, q.Temperature, 'g', -1, 64)},
			Tags:       l.session.run.tags("reflection", nil),
		}}
	}
	if l.session.cost(list) > l.Left() {
		return nil, search.ErrBudget
	}
	answers, err := l.session.ask(ctx, list)
	if err != nil {
		return nil, err
	}
	replies := make([]search.Reply, len(answers))
	for i, a := range answers {
		if replies[i].Err = a.Err; a.Err == nil {
			replies[i].Text = a.Text
		}
	}
	return replies, nil
}

// Cost is how many calls the trials would be, those of judges included.
func (l *lab) Cost(trials []search.Trial) int {
	questions := make([]asked, 0, len(trials))
	for _, t := range trials {
		if q, err := l.question(t); err == nil {
			questions = append(questions, q)
		}
	}
	return l.price(questions)
}

func (l *lab) price(questions []asked) int { return l.session.cost(questions) * (1 + l.asks) }

// Left is how many more calls the search may make.
func (l *lab) Left() int { return max(0, l.session.left()-l.kept) }

// Note keeps and shows a step of the search.
func (l *lab) Note(e search.Event) {
	if err := l.session.note(l.ctx, e.Kind, e); err != nil && l.ctx.Err() == nil {
		l.session.run.runs.log.Warn("an event of a run is not kept", zap.String("run", l.session.run.id), zap.Error(err))
	}
}

var errRender = errors.New("the prompt does not render")

func (l *lab) question(t search.Trial) (asked, error) {
	rendered, err := t.Prompt.Render(l.cases[t.Case].Inputs)
	if err != nil {
		return asked{}, errors.Join(errRender, err)
	}
	messages, err := json.Marshal(rendered)
	if err != nil {
		return asked{}, err
	}
	q := asked{Repeat: t.Repeat, Question: routing.Question{
		Model: l.model, Messages: messages, Parameters: l.parameters, Config: l.config, Tags: l.session.run.tags("trial", map[string]string{"record": l.cases[t.Case].ID}),
	}}
	if same(t.Prompt, l.original) {
		q.Prompt = l.served
	}
	return q, nil
}

// same reports whether two templates say the same.
func same(a, b prompts.Template) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// shown is an answer as a text: that of its tool calls where it has no other.
func shown(r *routing.Reply) string {
	if r.Text != "" || len(r.ToolCalls) == 0 {
		return r.Text
	}
	b, _ := json.Marshal(toolCalls(r))
	return string(b)
}

func toolCalls(r *routing.Reply) (calls []scorer.ToolCall) {
	for _, c := range r.ToolCalls {
		calls = append(calls, scorer.ToolCall(c))
	}
	return calls
}

// Interface guards
var _ search.Lab = (*lab)(nil)
