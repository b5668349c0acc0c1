package frontier

import (
	"net/http"
	"slices"
	"strings"

	_ "embed"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/optimizer"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/tracing"
)

// adminAPI mounts the gateway's routes below /llm/ of Caddy's admin endpoint.
// It looks the app up on every request: the admin server is replaced before
// apps are loaded, and stays when the load fails.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.llm", New: func() caddy.Module { return adminAPI{} }}
}

//go:embed openapi.json
var openAPI []byte

// Routes returns the admin routes.
func (adminAPI) Routes() []caddy.AdminRoute {
	mux := newAdminMux(adminRoutes())
	return []caddy.AdminRoute{{Pattern: "/llm/", Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		mux.ServeHTTP(w, r)
		return nil
	})}}
}

// running returns the app of the running configuration.
func running() (*App, error) {
	v, err := caddy.ActiveContext().AppIfConfigured("llm")
	if err != nil {
		return nil, api.NotFound("the running configuration has no LLM gateway: it has neither the directive llm nor the global option llm")
	}
	a := v.(*App)
	if err := a.open(); err != nil {
		return nil, api.Unavailable("%s", err)
	}
	return a, nil
}

// adminRoutes are all operations, each declared by the package that has the thing.
func adminRoutes() []api.Route {
	return slices.Concat(
		[]api.Route{
			{Method: http.MethodGet, Path: "/{$}", Summary: "The gateway in a few figures.", Handle: serveStatus},
			{Method: http.MethodGet, Path: "/openapi.json", Summary: "This API's description.", Handle: func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Type", "application/json")
				_, err := w.Write(openAPI)
				return err
			}},
		},
		prompts.Routes(func() (*prompts.View, error) {
			a, err := running()
			if err != nil {
				return nil, err
			}
			return a.view, nil
		}),
		routing.Routes(func() (*routing.Table, error) {
			a, err := running()
			if err != nil {
				return nil, err
			}
			return a.table, nil
		}),
		storeRoutes(),
		optimizer.DatasetRoutes(func() (*optimizer.Datasets, *tracing.Store, *prompts.View, error) {
			a, err := running()
			if err != nil {
				return nil, nil, nil, err
			}
			return a.data.datasets, a.data.traces, a.view, nil
		}),
		optimizer.RunRoutes(func() (*optimizer.Runs, error) {
			a, err := running()
			if err != nil {
				return nil, err
			}
			return a.data.runs, nil
		}),
		tracing.Routes(func() (*tracing.Store, error) {
			a, err := running()
			if err != nil {
				return nil, err
			}
			return a.data.traces, nil
		}),
	)
}

// newAdminMux serves routes below /llm, with errors in our envelope, those of
// the mux itself included.
func newAdminMux(routes []api.Route) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range routes {
		mux.HandleFunc(rt.Method+" /llm"+rt.Path, func(w http.ResponseWriter, r *http.Request) {
			if err := rt.Handle(w, r); err != nil {
				api.WriteError(w, err)
			}
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		if allowed := allowedMethods(mux, r); len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			api.WriteError(w, &api.Error{Status: http.StatusMethodNotAllowed, Code: "invalid", Message: r.Method + " is not possible on " + r.URL.Path + "; possible are " + strings.Join(allowed, ", ")})
			return
		}
		api.WriteError(w, api.NotFound("there is nothing at %s; GET /llm/openapi.json lists what there is", r.URL.Path))
	})
}

func allowedMethods(mux *http.ServeMux, r *http.Request) (allowed []string) {
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := mux.Handler(probe); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	return allowed
}

// Interface guards
var _ caddy.AdminRouter = adminAPI{}
