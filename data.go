package frontier

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/tracing"
)

// data is what one data directory holds, opened. Configurations before and
// after a reload share it; it is closed when the last one has let go of it.
type data struct {
	control  *control.Store
	registry *prompts.Registry
	traces   *tracing.Store
	routing  *routing.State
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
		return nil, fmt.Errorf("creating the data directory: %w; make it writable for the user that Caddy runs as, or set data_dir", err)
	}
	d := new(data)
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
	d.traces, err = tracing.Open(filepath.Join(dir, "traces"), log.Named("traces"), tracing.Options{})
	return d, err
}

// Destruct closes whatever is open.
func (d *data) Destruct() error {
	var errs []error
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
