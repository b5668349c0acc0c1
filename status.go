package frontier

import (
	"net/http"
	"runtime/debug"
	"time"

	"github.com/caddy-frontier/frontier/internal/api"
)

// Version is the module's version as it was built, "(devel)" in a work tree.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == "github.com/caddy-frontier/frontier" {
			return m.Version
		}
	}
	return "(unknown)"
}

// serveStatus answers with the gateway in a few figures.
func serveStatus(w http.ResponseWriter, _ *http.Request) error {
	a, err := running()
	if err != nil {
		return err
	}
	providers := map[string]any{}
	for name, p := range a.Provider {
		providers[name] = map[string]any{"base_url": p.URL(), "key": p.HasKey()}
	}
	api.WriteJSON(w, http.StatusOK, map[string]any{
		"version":   Version(),
		"since":     a.since.UTC().Format(time.RFC3339),
		"data_dir":  a.dir,
		"routes":    len(a.Route),
		"providers": providers,
		"prompts":   len(a.view.Current().Names()),
		"traces":    a.data.traces.Counters(),
		"exports":   a.data.exports.Status(),
	})
	return nil
}
