// Command bench measures the optimisers on simlm, a simulated benchmark for
// prompt optimisers: it starts a gateway and a simlm server, and for each task
// and seed registers the task's prompt, uploads its training records, lets the
// gateway optimise the prompt under a budget that the server itself enforces,
// and has simlm score the result on records that no optimiser has seen.
//
// The first rows are the scores of other optimisers on the same benchmark and
// budget; the last line is the mean over tasks and seeds.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// options are what is measured.
type options struct {
	simlm       string // simlm's directory
	tasks       string // public, or the path of a tasks.py
	seeds       []int
	mode        string // full or instructions
	optimizer   string
	calls       int
	parallelism int
	at          int // runs at once
}

func main() {
	var o options
	seeds := ""
	flag.StringVar(&o.simlm, "simlm", "", "the directory of simlm.py")
	flag.StringVar(&o.tasks, "tasks", "public", "public, or the path of a tasks.py")
	flag.StringVar(&seeds, "seeds", "1,2,3,4,5", "seeds, with commas between")
	flag.StringVar(&o.mode, "mode", "full", "full, or instructions: without solved examples")
	flag.StringVar(&o.optimizer, "optimizer", "frontier", "which optimizer")
	flag.IntVar(&o.calls, "calls", 300, "the budget, task and reflection calls together")
	flag.IntVar(&o.parallelism, "parallelism", 8, "calls of a run at once")
	flag.IntVar(&o.at, "runs", 2, "runs at once")
	flag.Parse()
	for text := range strings.SplitSeq(seeds, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			fail(fmt.Errorf("-seeds %q: want numbers above zero with commas between", seeds))
		}
		o.seeds = append(o.seeds, n)
	}
	switch {
	case o.simlm == "":
		fail(fmt.Errorf("-simlm: want the directory of simlm.py"))
	case o.mode != "full" && o.mode != "instructions":
		fail(fmt.Errorf("-mode %q: want full or instructions", o.mode))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measure(ctx, &o); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// measure runs all tasks with all seeds, and prints the table.
func measure(ctx context.Context, o *options) error {
	began := time.Now()
	lm := &simlm{dir: o.simlm, tasks: o.tasks}
	tasks, err := lm.list(ctx)
	if err != nil {
		return err
	}
	if err := lm.serve(ctx); err != nil {
		return err
	}
	defer lm.close()
	gw, err := startGateway(lm, tasks, o)
	if err != nil {
		return err
	}
	defer gw.stop()
	scores := make([][]float64, len(tasks)) // by task and seed; negative: missing
	spent := make([][]spending, len(tasks))
	var group sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, max(o.at, 1))
	for i := range tasks {
		scores[i], spent[i] = make([]float64, len(o.seeds)), make([]spending, len(o.seeds))
		for k := range o.seeds {
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				score, used, err := gw.run(ctx, &tasks[i], o.seeds[k])
				if err != nil {
					score = -1
				}
				mu.Lock()
				defer mu.Unlock()
				scores[i][k], spent[i][k] = score, used
				if err != nil {
					fmt.Fprintf(os.Stderr, "%s, seed %d: %s\n", tasks[i].ID, o.seeds[k], err)
					return
				}
				fmt.Fprintf(os.Stderr, "%s, seed %d: %.3f with %d task and %d reflection calls\n", tasks[i].ID, o.seeds[k], score, used.Task, used.Reflect)
			})
		}
	}
	group.Wait()
	var most int
	for _, row := range spent {
		for _, s := range row {
			most = max(most, s.Task+s.Reflect)
		}
	}
	fmt.Fprintf(os.Stderr, "%s; at most %d of %d calls a run\n", time.Since(began).Round(time.Second), most, o.calls)
	if missing := table(o, tasks, scores); missing > 0 {
		return fmt.Errorf("%d of %d results are missing", missing, len(tasks)*len(o.seeds))
	}
	return nil
}

// anchor is what another optimiser reached; by task.
type anchor struct {
	name   string
	scores map[string]float64
}

// anchors are rows that were measured on the public tasks with 300 calls and five seeds.
func anchors() []anchor {
	row := func(name string, sent3, invoice, mhqa, triage, noisy, stay float64) anchor {
		return anchor{name, map[string]float64{"sent3": sent3, "invoice": invoice, "mhqa": mhqa, "triage": triage, "noisy": noisy, "stay": stay}}
	}
	return []anchor{
		row("original prompt", .16, .10, .15, .18, .16, .85),
		row("MLflow MetaPrompt", .21, .22, .16, .31, .13, .70),
		row("dspy.GEPA", .49, .75, .58, .29, .43, .88),
		row("gepa, 50/50 split", .49, .75, .57, .50, .41, .82),
		row("MLflow GepaPromptOptimizer", .48, .65, .64, .55, .43, .82),
		row("BootstrapFewShot", .62, .87, .52, .63, .67, .69),
		row("MIPROv2", .59, .83, .56, .61, .62, .86),
		row("BootstrapFewShot + random search", .60, .87, .49, .64, .68, .81),
	}
}

// table prints the anchors, if the tasks are theirs, one row a seed, the mean row, and the mean. It counts what is missing.
func table(o *options, tasks []task, scores [][]float64) (missing int) {
	fmt.Print("| |")
	for _, t := range tasks {
		fmt.Printf(" %s |", t.ID)
	}
	fmt.Print(" mean |\n|---|")
	for range len(tasks) + 1 {
		fmt.Print("---|")
	}
	fmt.Println()
	line := func(name string, values []float64) {
		fmt.Printf("| %s |", name)
		sum := 0.0
		for _, v := range values {
			if v < 0 {
				fmt.Print(" – |")
			} else {
				fmt.Printf(" %.2f |", v)
			}
			sum += max(v, 0)
		}
		fmt.Printf(" %.3f |\n", sum/float64(len(values)))
	}
	for _, a := range anchors() {
		var values []float64
		for _, t := range tasks {
			if v, ok := a.scores[t.ID]; ok {
				values = append(values, v)
			}
		}
		if len(values) == len(tasks) && len(values) == len(a.scores) {
			line(a.name, values)
		}
	}
	means := make([]float64, len(tasks))
	for k, seed := range o.seeds {
		values := make([]float64, len(tasks))
		for i := range tasks {
			values[i] = scores[i][k]
			means[i] += max(scores[i][k], 0) / float64(len(o.seeds))
			if scores[i][k] < 0 {
				missing++
			}
		}
		line(fmt.Sprintf("%s, seed %d", o.optimizer, seed), values)
	}
	line(cmp.Or(map[string]string{"instructions": o.optimizer + ", instructions only"}[o.mode], o.optimizer), means)
	all := 0.0
	for _, m := range means {
		all += m / float64(len(means))
	}
	fmt.Printf("mean %.3f\n", all)
	return missing
}

// sortTasks brings them into the order of the public tasks' table.
func sortTasks(list []task) {
	order := []string{"sent3", "invoice", "mhqa", "triage", "noisy", "stay"}
	at := func(id string) int {
		if i := slices.Index(order, id); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(list, func(a, b task) int { return cmp.Compare(at(a.ID), at(b.ID)) })
}
