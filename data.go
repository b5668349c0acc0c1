package frontier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/optimizer"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/tracing"
	"github.com/caddy-frontier/frontier/tracing/export"
)

// data is what one data directory holds, opened. Configurations before and
// after a reload share it; it is closed when the last one has let go of it.
type data struct {
	log      *zap.Logger
	control  *control.Store
	registry *prompts.Registry
	traces   *tracing.Store
	exports  *export.Set
	routing  *routing.State
	datasets *optimizer.Datasets
	runs     *optimizer.Runs

	mu   sync.Mutex
	kept []*tracing.Config // of the configurations that use it; the last one's limits are in force
}

// pool holds the open data directories by their absolute path alone: the same
// directory is never opened twice, whatever else a configuration changes.
var pool = caddy.NewUsagePool()

func openData(dir string, log *zap.Logger) (*data, error) {
	v, _, err := pool.LoadOrNew(dir, func() (caddy.Destructor, error) { return newData(dir, log) })
	if err != nil {
		return nil, err
	}
	return v.(*data), nil
}

func closeData(dir string, log *zap.Logger) {
	if _, err := pool.Delete(dir); err != nil {
		log.Error("closing the data directory", zap.String("data_dir", dir), zap.Error(err))
	}
}

func newData(dir string, log *zap.Logger) (_ *data, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		if errors.Is(err, syscall.ENOTDIR) {
			return nil, fmt.Errorf("creating the data directory: %w: a file is in the way; move it, or set data_dir to a directory", err)
		}
		return nil, fmt.Errorf("creating the data directory: %w; make it writable for the user that Caddy runs as, or set data_dir", err)
	}
	d := &data{log: log}
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening the data directory %s: %w", dir, errors.Join(err, d.Destruct()))
		}
	}()
	if d.control, err = control.Open(filepath.Join(dir, "control"), log.Named("control")); err != nil {
		return nil, err
	}
	if d.registry, err = prompts.NewRegistry(d.control, log.Named("prompts")); err != nil {
		return nil, err
	}
	if d.routing, err = routing.NewState(d.control, dir, log.Named("routing")); err != nil {
		return nil, err
	}
	if d.traces, err = tracing.Open(filepath.Join(dir, "traces"), log.Named("traces"), tracing.Options{}); err != nil {
		return nil, err
	}
	if d.datasets, err = optimizer.NewDatasets(d.control, filepath.Join(dir, "datasets"), log.Named("datasets")); err != nil {
		return nil, err
	}
	if d.runs, err = optimizer.NewRuns(optimizer.Deps{Control: d.control, Datasets: d.datasets, Registry: d.registry, Traces: d.traces}, filepath.Join(dir, "runs"), log.Named("runs")); err != nil {
		return nil, err
	}
	d.exports = export.NewSet(d.traces, filepath.Join(dir, "exports"), d.promptTags, log.Named("export"))
	return d, nil
}

func (d *data) promptTags(name string, version int) map[string]string {
	v, err := d.registry.Current().Resolve(prompts.Reference{Name: name, Version: version})
	if err != nil {
		return nil
	}
	return v.Tags
}

// retain puts a configuration's limits of traces in force, until release: a
// configuration that is refused after all must not have shortened what is kept.
func (d *data) retain(c *tracing.Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = append(d.kept, c)
	d.traces.SetRetention(c.Limits())
}

func (d *data) release(c *tracing.Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = slices.DeleteFunc(d.kept, func(k *tracing.Config) bool { return k == c })
	if n := len(d.kept); n > 0 {
		d.traces.SetRetention(d.kept[n-1].Limits())
	}
}

// flush writes what is still in memory. The directory stays open.
func (d *data) flush(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := d.traces.Sync(ctx); err != nil {
		d.log.Error("the last traces may not be stored", zap.Error(err))
	}
	d.routing.Flush()
}

// Destruct closes whatever is open.
func (d *data) Destruct() error {
	var errs []error
	if d.runs != nil {
		d.runs.Close(exitWait)
	}
	if d.exports != nil {
		d.exports.Close(exitWait)
	}
	if d.traces != nil {
		errs = append(errs, d.traces.Close())
	}
	if d.routing != nil {
		d.routing.Close()
	}
	if d.registry != nil {
		d.registry.Close()
	}
	if d.control != nil {
		errs = append(errs, d.control.Close())
	}
	return errors.Join(errs...)
}
