package optimizer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/optimizer/scorer"
	"github.com/caddy-frontier/frontier/prompts"
)

// loaded is a version of a dataset with its records.
type loaded struct {
	Version DatasetRef
	Records []Record
}

// load reads the records of name or name/version, and makes that an exact version.
func (r *Runs) load(field string, ref *string) (*loaded, error) {
	name, number, given := strings.Cut(*ref, "/")
	version := 0
	if given {
		var err error
		if version, err = strconv.Atoi(number); err != nil || version < 1 {
			return nil, api.Invalid(field, "%q is not a dataset; want its name, or name/version", *ref)
		}
	}
	if name == "" {
		return nil, api.Invalid(field, "no dataset is named; caddy llm datasets list shows those there are")
	}
	v, records, err := r.datasets.Load(name, version)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, api.Invalid(field, "dataset %s has no records", name)
	}
	*ref = name + "/" + strconv.Itoa(v.Version)
	return &loaded{DatasetRef{Name: name, Version: v.Version, Hash: v.Hash, Records: len(records)}, records}, nil
}

// scorerFor fills in the default scorer, and makes it.
func scorerFor(ctx caddy.Context, raw *json.RawMessage, records []Record) (*judging, error) {
	if len(*raw) == 0 || string(*raw) == "null" {
		cases := make([]scorer.Case, len(records))
		for i := range records {
			cases[i] = caseOf(&records[i], records[i].Expected)
		}
		*raw = scorer.Default(cases)
	}
	s, err := scorer.Load(ctx, *raw)
	if err != nil {
		return nil, api.Invalid("scorer", "%s", err)
	}
	canonical, err := scorer.Canonical(*raw)
	if err != nil {
		return nil, api.Invalid("scorer", "%s", err)
	}
	return &judging{s, digest(string(canonical))}, nil
}

// modelsOf are the models that a spec, or a scorer's configuration, names.
func modelsOf(raw json.RawMessage) (models []string) {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range []string{"model", "reflector"} {
				if name, ok := v[key].(string); ok && !slices.Contains(models, name) {
					models = append(models, name)
				}
			}
			for _, k := range sortedKeys(v) {
				if k != "parameters" { // which may say anything
					walk(v[k])
				}
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(v)
	return models
}

func parallelism(n *int) error {
	if *n = cmp.Or(*n, defaultParallelism); *n < 1 || *n > maxParallelism {
		return api.Invalid("parallelism", "parallelism %d: want 1 to %d calls at once", *n, maxParallelism)
	}
	return nil
}

// moduleContext is for the guest modules of one plan or run; cancel lets go of them.
func moduleContext(ctx context.Context) (caddy.Context, context.CancelFunc) {
	return caddy.NewContext(caddy.Context{Context: ctx})
}

// comparison checks a spec, fills in its defaults, and makes the job and the plan.
func (r *Runs) comparison(ctx caddy.Context, g Gateway, spec *ComparisonSpec) (*comparison, *Plan, error) {
	data, err := r.load("dataset", &spec.Dataset)
	if err != nil {
		return nil, nil, err
	}
	c := &comparison{runs: r, spec: spec, dataset: data}
	if len(spec.Candidates) == 0 {
		return nil, nil, api.Invalid("candidates", "there are no candidates to compare; want at least one: {\"model\": \"provider/model-id\", \"prompt\": …}")
	}
	if err := parallelism(&spec.Parallelism); err != nil {
		return nil, nil, err
	}
	if spec.Stream == nil {
		stream := true
		spec.Stream = &stream
	}
	plan := &Plan{Kind: KindComparison, Records: len(data.Records), Warnings: []string{}, Spec: spec, Cost: new(float64)}
	if c.judging, err = scorerFor(ctx, &spec.Scorer, data.Records); err != nil {
		return nil, nil, err
	}
	judges := modelsOf(spec.Scorer)
	if err := firstError(judges, g.CheckModel); err != nil {
		return nil, nil, api.Invalid("scorer", "%s", err)
	}
	if err := c.ready(); err != nil {
		return nil, nil, err
	}
	names := map[string]bool{}
	add := func(field string, cand *CandidateSpec) (*prompts.Version, error) {
		v, err := cand.resolve(field, g, r.registry.Current())
		if err != nil {
			return nil, err
		}
		warnings, err := checkInputs(field, v, data.Records)
		if err != nil {
			return nil, err
		}
		plan.Warnings = append(plan.Warnings, warnings...)
		if names[cand.label()] {
			return nil, api.Invalid(field+".name", "there are two candidates %q; give them names", cand.label())
		}
		names[cand.label()] = true
		in, out := sizes(v, data.Records)
		plan.estimate(g, cand.Model, len(data.Records), in, out)
		return v, nil
	}
	models := slices.Clone(judges)
	if spec.Baseline != nil {
		if c.baseline, err = add("baseline", spec.Baseline); err != nil {
			return nil, nil, err
		}
		models = append(models, spec.Baseline.Model)
	} else if n := withoutExpected(data.Records); n == len(data.Records) {
		return nil, nil, api.Invalid("dataset", "no record of %s has an expected answer; name a baseline, whose answers are then the measure", data.Version.Name)
	} else if n > 0 {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%d of %d records have no expected answer, and are not compared", n, len(data.Records)))
	}
	for i := range spec.Candidates {
		v, err := add("candidates["+strconv.Itoa(i)+"]", &spec.Candidates[i])
		if err != nil {
			return nil, nil, err
		}
		plan.warnUnbounded(g, spec.Budget, spec.Candidates[i].Model, spec.Candidates[i].Parameters)
		c.versions = append(c.versions, v)
		models = append(models, spec.Candidates[i].Model)
	}
	if err := c.loadLabelled(); err != nil {
		return nil, nil, err
	}
	if asks := asksOf(c.judging.Scorer); asks > 0 {
		n := (len(data.Records)*len(names) + len(c.labelled)) * asks
		plan.estimate(g, cmp.Or(slices.Concat(judges, models)...), n, n*1200, n*200)
	}
	plan.warn(g, models)
	if err := spec.Budget.check(g, plan.Calls, "the comparison", models...); err != nil {
		return nil, nil, err
	}
	return c, plan, nil
}

// warn says which models have no price.
func (p *Plan) warn(g Gateway, models []string) {
	for _, m := range slices.Compact(slices.Sorted(slices.Values(models))) {
		if _, _, ok := g.ModelCost(m); !ok {
			p.Warnings = append(p.Warnings, fmt.Sprintf("the price of %s is not known, and so the cost is not", m))
		}
	}
}

// warnUnbounded says what calls that have no bound of their answers set aside of a budget in dollars.
func (p *Plan) warnUnbounded(g Gateway, b *Budget, model string, parameters map[string]json.RawMessage) {
	if b == nil || b.USD == 0 || maxOutput(parameters) > 0 {
		return
	}
	if _, output, ok := g.ModelCost(model); ok {
		p.Warnings = append(p.Warnings, fmt.Sprintf("calls to %s have no max_tokens: each is bound to %d tokens, and sets $%.4f of the budget aside until its answer is there; a lower max_tokens lets more of the budget be used", model, boundOutput, float64(boundOutput)*output/1e6))
	}
}

// asksOf is how many calls judging one answer takes.
func asksOf(s scorer.Scorer) int {
	if c, ok := s.(scorer.Caller); ok {
		return c.Asks() * repeatsOf(s)
	}
	return 0
}

// ready fills in when a candidate is ready.
func (c *comparison) ready() error {
	if c.spec.Ready == nil {
		c.spec.Ready = new(ReadySpec)
	}
	ready := c.spec.Ready
	ready.Consistency = cmp.Or(ready.Consistency, 0.9)
	if ready.Agree == 0 {
		ready.Agree = 1
		if isNoisy(c.judging.Scorer) {
			ready.Agree = 0.5
		}
	}
	if ready.Consistency < 0 || ready.Consistency > 1 {
		return api.Invalid("ready.consistency", "%g is no share of records; want above 0 up to 1", ready.Consistency)
	}
	if ready.Agree < 0 || ready.Agree > 1 {
		return api.Invalid("ready.agree", "%g is no score; want above 0 up to 1", ready.Agree)
	}
	return nil
}

// loadLabelled reads the judgements of people.
func (c *comparison) loadLabelled() error {
	if c.spec.Labelled == "" {
		return nil
	}
	data, err := c.runs.load("labelled", &c.spec.Labelled)
	if err != nil {
		return err
	}
	for i := range data.Records {
		rec := &data.Records[i]
		score, err := strconv.ParseFloat(rec.Tags["score"], 64)
		if _, ok := rec.Tags["answer"]; !ok || err != nil || score < 0 || score > 1 {
			return api.Invalid("labelled", "record %q of %s needs the tags answer (a text) and score (0 to 1)", rec.ID, c.spec.Labelled)
		}
	}
	c.labelled = data.Records
	return nil
}

// sizes are the bytes of what is sent for the records, and about those of the answers.
func sizes(v *prompts.Version, records []Record) (in, out int) {
	for i := range records {
		if v == nil {
			in += len(records[i].Messages)
		} else if messages, err := v.Render(records[i].Inputs); err == nil {
			for _, m := range messages {
				in += len(m.Content) + 16
			}
		}
		out += max(len(plain(records[i].Expected)), 4)
	}
	return in, out
}

func withoutExpected(records []Record) (n int) {
	for i := range records {
		if !known(records[i].Expected) {
			n++
		}
	}
	return n
}

// optimization checks a spec, fills in its defaults, and makes the job and the plan.
func (r *Runs) optimization(ctx caddy.Context, g Gateway, id string, spec *OptimizationSpec) (*optimization, *Plan, error) {
	data, err := r.load("dataset", &spec.Dataset)
	if err != nil {
		return nil, nil, err
	}
	o := &optimization{runs: r, id: id, spec: spec, dataset: data}
	if spec.Prompt == "" {
		return nil, nil, api.Invalid("prompt", "no prompt is named; caddy llm prompts list shows those there are")
	}
	if o.version, err = resolvePrompt("prompt", &spec.Prompt, r.registry.Current()); err != nil {
		return nil, nil, err
	}
	if err := (&CandidateSpec{Model: spec.Model, Parameters: spec.Parameters}).check(g); err != nil {
		return nil, nil, err
	}
	spec.Reflector = cmp.Or(spec.Reflector, spec.Model)
	if err := g.CheckModel(spec.Reflector); err != nil {
		return nil, nil, api.Invalid("reflector", "%s", err)
	}
	if err := parallelism(&spec.Parallelism); err != nil {
		return nil, nil, err
	}
	plan := &Plan{Kind: KindOptimization, Warnings: []string{}, Spec: spec, Cost: new(float64)}
	plan.Warnings, err = checkInputs("prompt", o.version, data.Records)
	if err != nil {
		return nil, nil, err
	}
	usable := slices.DeleteFunc(slices.Clone(data.Records), func(rec Record) bool { return !known(rec.Expected) })
	if len(usable) == 0 {
		return nil, nil, api.Invalid("dataset", "no record of %s has an expected answer, so there is nothing to learn from", data.Version.Name)
	}
	if n := len(data.Records) - len(usable); n > 0 {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%d of %d records have no expected answer, and are left out", n, len(data.Records)))
	}
	spec.Seed = cmp.Or(spec.Seed, 1)
	if o.train, err = trainOn(usable, spec.Train, spec.Seed); err != nil {
		return nil, nil, err
	}
	if o.judging, err = scorerFor(ctx, &spec.Scorer, o.train); err != nil {
		return nil, nil, err
	}
	judges := modelsOf(spec.Scorer)
	if err := firstError(judges, g.CheckModel); err != nil {
		return nil, nil, api.Invalid("scorer", "%s", err)
	}
	if len(spec.Optimizer) == 0 {
		spec.Optimizer = json.RawMessage(`"frontier"`)
	}
	if o.optimizer, err = loadOptimizer(ctx, spec.Optimizer); err != nil {
		return nil, nil, err
	}
	spec.Register = cmp.Or(spec.Register, RegisterIfBetter)
	if !slices.Contains([]Register{RegisterIfBetter, RegisterAlways, RegisterNever}, spec.Register) {
		return nil, nil, api.Invalid("register", "%q: want if_better, always or never", spec.Register)
	}
	if spec.Budget == nil || *spec.Budget == (Budget{}) {
		spec.Budget = &Budget{Calls: defaultCalls}
	}
	pass := len(o.train) * (1 + asksOf(o.judging.Scorer))
	models := append(judges, spec.Model, spec.Reflector)
	if err := spec.Budget.check(g, pass, "scoring the original once", models...); err != nil {
		return nil, nil, err
	}
	plan.warnUnbounded(g, spec.Budget, spec.Model, spec.Parameters)
	plan.Records = len(o.train)
	in, out := sizes(o.version, o.train)
	calls := spec.Budget.Calls
	if calls == 0 {
		calls = defaultCalls
	}
	each := max(1, len(o.train))
	plan.estimate(g, spec.Model, calls*9/10, 2*in*calls*9/10/each, out*calls*9/10/each)
	plan.estimate(g, spec.Reflector, calls-calls*9/10, (calls-calls*9/10)*8000, (calls-calls*9/10)*2000)
	if spec.Budget.Calls > 0 && spec.Budget.Calls < 4*pass {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("a budget of %d calls allows fewer than 3 proposals to be scored on all %d records; %d or more are better", spec.Budget.Calls, len(o.train), 10*pass))
	}
	if len(o.train) < certain {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("%d records cannot prove that a prompt is better; one that gains and loses on no record is registered as evidence=small_sample", len(o.train)))
	}
	plan.warn(g, models)
	return o, plan, nil
}

// check says whether the model can be asked with the parameters.
func (c *CandidateSpec) check(g Gateway) error {
	if c.Model == "" {
		return api.Invalid("model", "no model is named; want provider/model-id")
	}
	if err := g.CheckModel(c.Model); err != nil {
		return api.Invalid("model", "%s", err)
	}
	for _, name := range reservedParameters {
		if _, ok := c.Parameters[name]; ok {
			return api.Invalid("parameters", "the parameter %q is set by the run itself", name)
		}
	}
	return nil
}

// trainOn chooses n of the records, with answers as mixed as all are; 0: all. They are in the order of their ids, so
// that the same records are the same problem however they came into the dataset.
func trainOn(records []Record, n int, seed uint64) ([]Record, error) {
	sorted := slices.SortedFunc(slices.Values(records), func(a, b Record) int { return strings.Compare(a.ID, b.ID) })
	if n == 0 || n == len(records) {
		return sorted, nil
	}
	if n < 0 || n > len(records) {
		return nil, api.Invalid("train", "train %d: want 1 to %d records, which the dataset has with an expected answer", n, len(records))
	}
	out := make([]Record, 0, n)
	for _, k := range Sample(sorted, n, seed) {
		out = append(out, sorted[k])
	}
	return out, nil
}

// Compare plans a comparison and, unless it is a dry run, starts it.
func (r *Runs) Compare(ctx context.Context, spec *ComparisonSpec, w who, dry bool) (*Plan, *Run, error) {
	return r.begin(ctx, KindComparison, spec, w, dry, func(ctx caddy.Context, g Gateway) (*Plan, error) {
		_, plan, err := r.comparison(ctx, g, spec)
		return plan, err
	})
}

// Optimize plans an optimisation and, unless it is a dry run, starts it.
func (r *Runs) Optimize(ctx context.Context, spec *OptimizationSpec, w who, dry bool) (*Plan, *Run, error) {
	return r.begin(ctx, KindOptimization, spec, w, dry, func(ctx caddy.Context, g Gateway) (*Plan, error) {
		_, plan, err := r.optimization(ctx, g, "", spec)
		return plan, err
	})
}

func (r *Runs) begin(ctx context.Context, kind Kind, spec any, w who, dry bool, check func(caddy.Context, Gateway) (*Plan, error)) (*Plan, *Run, error) {
	g, _ := r.current()
	if g == nil {
		return nil, nil, api.Unavailable("no configuration with an LLM gateway is running yet")
	}
	modules, cancel := moduleContext(ctx)
	defer cancel()
	plan, err := check(modules, g)
	if err != nil || dry {
		return plan, nil, err
	}
	run, err := r.start(kind, spec, w)
	if err != nil {
		return nil, nil, err
	}
	return plan, &run, nil
}

// make makes the job of a run, as it was planned.
func (r *Runs) make(ctx caddy.Context, g Gateway, run *Run) (j job, parallel int, budget Budget, err error) {
	switch run.Kind {
	case KindComparison:
		var spec ComparisonSpec
		if err := json.Unmarshal(run.Spec, &spec); err != nil {
			return nil, 0, budget, err
		}
		c, _, err := r.comparison(ctx, g, &spec)
		if err != nil {
			return nil, 0, budget, err
		}
		return c, spec.Parallelism, spec.Budget.value(), nil
	case KindOptimization:
		var spec OptimizationSpec
		if err := json.Unmarshal(run.Spec, &spec); err != nil {
			return nil, 0, budget, err
		}
		o, _, err := r.optimization(ctx, g, run.ID, &spec)
		if err != nil {
			return nil, 0, budget, err
		}
		return o, spec.Parallelism, spec.Budget.value(), nil
	}
	return nil, 0, budget, fmt.Errorf("a run of the kind %q is not known to this version", run.Kind)
}

func (b *Budget) value() Budget {
	if b == nil {
		return Budget{}
	}
	return *b
}

// deadline is when the budget's time is used up; zero: never.
func (b *Budget) deadline(worked time.Duration, now time.Time) time.Time {
	limit, err := b.limit()
	if err != nil || limit == 0 {
		return time.Time{}
	}
	return now.Add(limit - worked)
}
