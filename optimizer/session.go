package optimizer

import (
	"context"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
	"github.com/caddy-frontier/frontier/routing"
)

// job is what one kind of run does. Like an optimiser it is a deterministic
// function of its spec and of what its session answers: after a crash it is
// run again from the start, on a session that remembers what was paid for.
type job interface {
	// run returns the run's result, which must be one that json.Marshal can write.
	run(ctx context.Context, s session) (any, error)
}

// session is what a job works with. Everything that costs goes through it.
type session interface {
	// ask makes calls, several at once, and returns the answers in order. The same question with the same repeat is paid
	// for once in a run. The error is search.ErrBudget when the budget does not allow all that are new (nothing of it was
	// paid for then), or the context's; failures of single calls are in the answers.
	ask(ctx context.Context, questions []asked) ([]answered, error)
	// cost is how many calls the questions would be: those that were not made before.
	cost(questions []asked) int
	// left is how many more calls the budget allows.
	left() int
	// judge has an answer judged. What was judged before is remembered, by the scorer's configuration, the case, the answer and its repeat.
	judge(ctx context.Context, s *judging, c scorer.Case, a scorer.Answer) (scorer.Score, error)
	// progress says how far the job is.
	progress(done, total int)
	// note keeps an event of the run, and shows it to those who watch.
	note(kind string, data any)
	// parallelism is how many calls may be under way at once.
	parallelism() int
}

// asked is a call that a job wants made.
type asked struct {
	routing.Question
	Repeat int // asks for another answer to the same question
}

// answered is what became of it.
type answered struct {
	*routing.Reply       // nil with an error
	Err            error // a *routing.AskError: the model failed, after retries
}

// judging is a scorer with the hash of its configuration.
type judging struct {
	scorer.Scorer
	Hash string
}
