package optimizer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
	"github.com/caddy-frontier/frontier/routing"
)

// job is what one kind of run does. Like an optimiser it is a deterministic
// function of its spec and of what its session answers: after a crash it is
// run again from the start, on a session that remembers what was paid for.
type job interface {
	// run returns the run's report, which must be one that json.Marshal can write, and the part of it that is the run's result.
	run(ctx context.Context, s *session) (report, result any, err error)
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

// session is what a job works with, for one run of it from the start. All that
// costs goes through it: what the journal knows is answered from there.
type session struct {
	run      *execution
	journal  *journal
	ledger   *ledger
	parallel int
	// calls is the context of the calls that are under way: it outlasts the job's when the run is paused, so that nothing
	// that is paid for is thrown away.
	calls context.Context

	paying singleflight.Group

	mu      sync.Mutex
	answers map[string]answered
	paid    map[string]answeredEntry // of answers, until the job has used them
	judged  map[string]judgedEntry
	noted   int // events of this run of the job
}

// known takes what is in the journal.
func (s *session) known(entries []entry) {
	pending := map[string]int{} // asked and not answered, by key: a crash may have lost several of one
	for _, e := range entries {
		switch {
		case len(e.Asked) > 0:
			for _, k := range e.Asked {
				pending[k]++
			}
		case e.Answered != nil:
			a := *e.Answered
			pending[a.Key]--
			if a.Reply == nil && a.Err == nil { // given up before there was an answer
				s.ledger.lose(a.Calls)
				continue
			}
			s.ledger.settle(0, 0, a.Calls, a.USD)
			s.answers[a.Key], s.paid[a.Key] = a.outcome(), a
		case e.Judged != nil:
			s.judged[e.Judged.Key] = *e.Judged
		}
	}
	for _, n := range pending {
		s.ledger.lose(max(n, 0))
	}
}

// ask makes calls, several at once, and returns the answers in order. The same
// question with the same repeat is paid for once in a run. The error is
// errBudget when the budget does not allow all that are new, a *pauseError, or
// the context's; failures of single calls are in the answers.
func (s *session) ask(ctx context.Context, questions []asked) ([]answered, error) {
	keys := make([]string, len(questions))
	group, inside := errgroup.WithContext(ctx)
	group.SetLimit(s.parallel)
	started := map[string]bool{}
	for i, q := range questions {
		keys[i] = q.key()
		if s.use(keys[i]) || started[keys[i]] {
			continue
		}
		started[keys[i]] = true
		group.Go(func() error {
			_, err, _ := s.paying.Do(keys[i], func() (any, error) {
				if s.use(keys[i]) {
					return nil, nil
				}
				return nil, s.pay(inside, keys[i], q)
			})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	list := make([]answered, len(questions))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range keys {
		list[i] = s.answers[k]
	}
	return list, nil
}

// use reports whether the answer is known, and books it when the job asks for it the first time.
func (s *session) use(key string) bool {
	s.mu.Lock()
	_, known := s.answers[key]
	paid, first := s.paid[key]
	delete(s.paid, key)
	s.mu.Unlock()
	if first {
		s.ledger.use(paid.Calls, paid.USD)
	}
	return known
}

// pay makes a call and keeps its answer, in the journal before anything else.
func (s *session) pay(ctx context.Context, key string, q asked) error {
	usd := 0.0
	if s.ledger.usd > 0 {
		q = bounded(q)
		usd = s.run.runs.worst(q)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !s.ledger.reserve(1, usd) {
		return errBudget
	}
	if err := s.write(ctx, true, entry{Asked: []string{key}}); err != nil {
		s.ledger.settle(1, usd, 0, nil)
		return err
	}
	a := answeredEntry{Key: key}
	reserved := 1
	err := s.try(ctx, q, &a, &reserved, usd)
	s.ledger.settle(reserved, float64(reserved)*usd, a.Calls, a.USD)
	// Written even when the run is being ended: the call was paid for.
	if werr := s.write(s.calls, true, entry{Answered: &a}); werr != nil {
		return werr
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.answers[key] = a.outcome()
	s.mu.Unlock()
	s.ledger.use(a.Calls, a.USD)
	s.run.spent(s.ledger)
	return nil
}

const (
	// tries is how often a call is made that fails otherwise than by a 429.
	tries = 3
	// patience is for how long a provider is asked again that answers with 429.
	patience = 10 * time.Minute
	// firstWait is before the second try; each further one waits twice as long.
	firstWait = 500 * time.Millisecond
)

// try makes a call until there is an answer or no hope. a.Calls counts those that may have been paid for.
func (s *session) try(ctx context.Context, q asked, a *answeredEntry, reserved *int, usd float64) error {
	began, wait := time.Now(), firstWait
	for failed := 0; ; {
		reply, err := s.run.runs.call(ctx, s, q)
		if err == nil {
			a.Reply, a.Err = reply, nil
			a.add(1, reply.CostUSD)
			return nil
		}
		fault, ok := errors.AsType[*routing.AskError](err)
		if !ok {
			if ctx.Err() == nil && s.calls.Err() == nil {
				return err // a *pauseError, or whatever keeps calls from being made
			}
			if errors.Is(err, errAborted) {
				a.add(1, nil)
			}
			return context.Cause(ctx)
		}
		if fault.Paid {
			a.add(1, nil)
		}
		a.Err = fault
		if reason := outOfService(fault); reason != "" {
			a.Err = nil
			return &pauseError{reason}
		}
		if !fault.Retry {
			return nil
		}
		pause := max(wait, fault.RetryAfter)
		if fault.Status == 429 {
			if time.Since(began)+pause > patience {
				return nil
			}
		} else if failed++; failed >= tries || pause > longestWait {
			return nil
		}
		if fault.Paid {
			if !s.ledger.reserve(1, usd) {
				return nil
			}
			*reserved++
		}
		wait = min(2*wait, 30*time.Second)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			a.Err = nil
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}

func (a *answeredEntry) outcome() answered {
	if a.Reply != nil {
		return answered{Reply: a.Reply}
	}
	return answered{Err: a.Err}
}

// add counts calls that may have been paid for, and their cost; nil: unknown.
func (a *answeredEntry) add(calls int, usd *float64) {
	a.Calls += calls
	switch {
	case usd == nil:
		a.USD = nil
	case a.Calls == calls:
		a.USD = usd
	case a.USD != nil:
		sum := *a.USD + *usd
		a.USD = &sum
	}
}

// outOfService says in words why a provider takes no calls at all until
// somebody does something about it; "": it is not that.
func outOfService(e *routing.AskError) string {
	switch {
	case e.Code == "insufficient_quota" || e.Status == 402:
		return "the provider says that its quota is used up (" + e.Message + "); mend that and resume the run"
	case e.Status == 401 || e.Status == 403:
		return "the provider does not accept its key (" + e.Message + "); mend that and resume the run"
	}
	return ""
}

// pauseError pauses the run that meets it.
type pauseError struct{ reason string }

func (e *pauseError) Error() string { return e.reason }

// write appends to the journal. While there is no space on the disk it waits: what was paid for stays in memory.
func (s *session) write(ctx context.Context, sync bool, e entry) error {
	for {
		err := s.journal.append(sync, e)
		if err == nil {
			return nil
		}
		if errors.Is(err, errClosed) {
			return err
		}
		if err := pass(ctx, s.run, "waits for the disk: "+err.Error(), time.After(diskRetry)); err != nil {
			return err
		}
	}
}

// diskRetry is how often a full disk is tried again.
const diskRetry = 2 * time.Second

// cost is how many calls the questions would be: those that were not made before.
func (s *session) cost(questions []asked) int {
	new := map[string]bool{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range questions {
		k := q.key()
		_, known := s.answers[k]
		_, unused := s.paid[k]
		if !known || unused {
			new[k] = true
		}
	}
	return len(new)
}

// left is how many more calls the job may make.
func (s *session) left() int { return s.ledger.left() }

// judge has an answer judged. What was judged before is remembered, by the
// scorer's configuration, the case, the answer and its repeat. A scorer's error
// is remembered, too; the error is the job's when it is errBudget, a *pauseError or the context's.
func (s *session) judge(ctx context.Context, j *judging, c scorer.Case, a scorer.Answer) (scorer.Score, error) {
	key := digest("judge", j.Hash, c, a)
	s.mu.Lock()
	known, ok := s.judged[key]
	s.mu.Unlock()
	if !ok {
		known = judgedEntry{Key: key}
		score, err := j.guarded(ctx, c, a)
		if ctx.Err() != nil {
			return score, context.Cause(ctx)
		}
		if ends(err) {
			return score, err
		}
		if err != nil {
			known.Err = err.Error()
		} else {
			known.Score = &score
		}
		if err := s.write(ctx, false, entry{Judged: &known}); err != nil {
			return score, err
		}
		s.mu.Lock()
		s.judged[key] = known
		s.mu.Unlock()
	}
	if known.Score == nil {
		return scorer.Score{}, &judgeError{known.Err}
	}
	return *known.Score, nil
}

// guarded is Score, with an error for a panic of a guest module's.
func (j *judging) guarded(ctx context.Context, c scorer.Case, a scorer.Answer) (s scorer.Score, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the scorer met a programming error: %v", p)
		}
	}()
	return j.Score(ctx, c, a)
}

// judgeError says that a scorer gave no score.
type judgeError struct{ text string }

func (e *judgeError) Error() string { return e.text }

// ends reports whether an error is about the whole run, not about one call.
func ends(err error) bool {
	_, pause := errors.AsType[*pauseError](err)
	return pause || errors.Is(err, errBudget) || errors.Is(err, errClosed)
}

// Ask lets a scorer ask a model.
func (s *session) Ask(ctx context.Context, q scorer.Question) (string, error) {
	messages, err := json.Marshal(q.Messages)
	if err != nil {
		return "", err
	}
	answers, err := s.ask(ctx, []asked{{Repeat: q.Repeat, Question: routing.Question{
		Model: q.Model, Messages: messages, Parameters: q.Parameters, Tags: s.run.tags("judge", nil),
	}}})
	if err != nil {
		return "", err
	}
	if answers[0].Err != nil {
		return "", answers[0].Err
	}
	return answers[0].Text, nil
}

// note keeps an event of the run, and shows it to those who watch. What an
// earlier run of the job has noted is not noted again.
func (s *session) note(ctx context.Context, kind string, data any) error {
	doc, err := json.Marshal(data)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.noted++
	number := s.noted
	s.mu.Unlock()
	e := Event{Number: number, Kind: kind, Data: doc, At: time.Now().UTC()}
	if s.run.heard(number) {
		return nil
	}
	e.Calls, e.SpentUSD = s.ledger.spending()
	if err := s.write(ctx, false, entry{Noted: &e}); err != nil {
		return err
	}
	s.run.tell(e)
	return nil
}

// progress says how far the job is.
func (s *session) progress(done, total int) { s.run.progress(done, total) }

// key is a question's content: what its answer depends on.
func (q *asked) key() string {
	var config, format any
	if q.Config != nil {
		config, format = q.Config.ModelConfig, q.Config.ResponseFormat
	}
	return digest("ask", q.Model, q.Messages, q.Parameters, config, format, q.Stream, q.Repeat)
}

// digest is a hash of values, by their JSON.
func digest(parts ...any) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, p := range parts {
		if err := enc.Encode(p); err != nil {
			fmt.Fprintf(h, "%T %v\n", p, err) // a raw message that is no JSON
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// providerOf is the provider of provider/model-id.
func providerOf(model string) string {
	name, _, _ := strings.Cut(model, "/")
	return name
}
