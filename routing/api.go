package routing

import (
	"encoding/json"
	"errors"
	"hash/fnv"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// routeAnswer is a route in the admin API.
type routeAnswer struct {
	Name    string             `json:"name"`
	Spec    *Route             `json:"spec"`
	Status  routeStatus        `json:"status"`
	Weights map[string]float64 `json:"weights"`
}

// routeStatus is what has happened to a route since it was declared.
type routeStatus struct {
	Phase      rollout.Phase         `json:"phase"` // "none": no rollout
	Step       int                   `json:"step"`  // from 1; 0: none was entered
	Steps      int                   `json:"steps"`
	Since      *time.Time            `json:"since"`
	HeldMS     int64                 `json:"held_ms"` // how long the step was held on fresh data
	Generation int                   `json:"generation"`
	SpecHash   string                `json:"spec_hash"`
	Reason     string                `json:"reason"`
	Actor      string                `json:"actor,omitempty"`
	Guards     []rollout.GuardStatus `json:"guards"`
	Units      map[string]int        `json:"units"` // with an outcome, in this step
	Persisted  bool                  `json:"persisted"`
	Log        []rollout.Entry       `json:"log"`
	Manual     bool                  `json:"manual"`  // the weights are an operator's
	Prompts    map[string]string     `json:"prompts"` // of a rollout: the versions that its variants answer with, such as "sentiment/2"
	Declared   map[string]float64    `json:"declared"`
	Unitless   int64                 `json:"unitless"` // calls that lacked what the route is sticky by
	// Of a rollout, the requests in this step in which no prompt was recognised, and in which one was or none was looked for.
	Unrecognized int64 `json:"unrecognized"`
	Recognized   int64 `json:"recognized"`

	revision int
}

func (r *RouteState) answer() routeAnswer {
	a := routeAnswer{
		Name: r.Name, Spec: r.Config, Weights: r.Config.named(r.split.Load().weights),
		Status: routeStatus{
			Phase: rollout.PhaseNone, Declared: r.Config.named(r.declared), Persisted: true, Unitless: r.unitless.Load(),
			Guards: []rollout.GuardStatus{}, Units: map[string]int{}, Log: []rollout.Entry{}, Prompts: map[string]string{},
		},
	}
	if r.rollout != nil {
		a.Status.of(r.rollout)
		return a
	}
	if o := r.override.Load(); o != nil {
		a.Status.Since, a.Status.Reason, a.Status.Actor = &o.ChangedAt, o.Reason, o.Actor
	}
	return a
}

// of fills in a rollout's status.
func (a *routeStatus) of(c *controller) {
	s := c.state()
	a.Phase, a.Step, a.Steps, a.Since, a.HeldMS, a.revision = s.Phase, s.Step, s.Steps, &s.Since, s.HeldMS, s.Revision
	a.Generation, a.SpecHash, a.Reason, a.Actor, a.Persisted = s.Generation, s.SpecHash, s.Reason, s.Actor, s.Persisted
	a.Guards = append(a.Guards, s.Guards...)
	a.Log = append(a.Log, s.Log...)
	maps.Copy(a.Units, s.Units)
	maps.Copy(a.Prompts, s.Served)
	a.Manual = s.Manual
	a.Recognized, a.Unrecognized = c.recognized.Load(), c.unrecognized.Load()
}

// etag covers the route's spec and its status, not its counters.
func (a *routeAnswer) etag() string {
	h := fnv.New64a()
	_ = json.NewEncoder(h).Encode([]any{a.Spec, a.Weights, a.Status.Since, a.Status.Generation, a.Status.revision})
	return strconv.FormatUint(h.Sum64(), 36)
}

// Routes are the admin API's operations on routes. lookup returns the table of the running configuration.
func Routes(lookup func() (*Table, error)) []api.Route {
	h := routesAPI{lookup}
	return append(h.verbs(), []api.Route{
		h.modelsRoute(),
		{Method: http.MethodGet, Path: "/routes", Summary: "Lists the routes.", Answer: api.List[routeAnswer]{}, Handle: h.list},
		{Method: http.MethodGet, Path: "/routes/{name}", Summary: "Shows a route with its weights in force.", Answer: routeAnswer{}, Handle: h.get},
		{Method: http.MethodPost, Path: "/routes/{name}/rollout/weights", Summary: "Sets a route's weights for the next request.", Body: weightsRequest{}, Answer: routeAnswer{}, Handle: h.weights},
	}...)
}

// weightsRequest names every variant, in percent.
type weightsRequest struct {
	Weights map[string]float64 `json:"weights"`
	Reason  string             `json:"reason,omitempty"`
	Actor   string             `json:"actor,omitempty"`
}

type routesAPI struct {
	lookup func() (*Table, error)
}

func (h routesAPI) list(w http.ResponseWriter, _ *http.Request) error {
	t, err := h.lookup()
	if err != nil {
		return err
	}
	items := make([]routeAnswer, 0, len(t.Routes))
	for _, r := range t.Routes {
		items = append(items, r.answer())
	}
	api.WriteList(w, items, "")
	return nil
}

func (h routesAPI) find(r *http.Request) (*Table, *RouteState, error) {
	t, err := h.lookup()
	if err != nil {
		return nil, nil, err
	}
	rs := t.byName[r.PathValue("name")]
	if rs == nil {
		return nil, nil, api.NotFound("there is no route %q; GET /llm/routes lists them", r.PathValue("name"))
	}
	return t, rs, nil
}

func (h routesAPI) get(w http.ResponseWriter, r *http.Request) error {
	_, rs, err := h.find(r)
	if err != nil {
		return err
	}
	return writeRoute(w, rs)
}

func writeRoute(w http.ResponseWriter, rs *RouteState) error {
	a := rs.answer()
	api.SetETag(w, a.etag())
	api.WriteJSON(w, http.StatusOK, a)
	return nil
}

func (h routesAPI) weights(w http.ResponseWriter, r *http.Request) error {
	t, rs, err := h.find(r)
	if err != nil {
		return err
	}
	var body weightsRequest
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	if _, err := rs.Config.weights(body.Weights); err != nil {
		return api.Invalid("weights", "route %q: %s", rs.Name, err)
	}
	if rs.rollout != nil {
		return h.act(w, r, rs, rollout.Event{Kind: rollout.SetWeights, Weights: body.Weights, Reason: body.Reason, Actor: body.Actor})
	}
	seen := rs.revision.Load()
	before := rs.answer()
	if err := api.CheckMatch(r, before.etag()); err != nil {
		return err
	}
	revision := control.Any
	if r.Header.Get("If-Match") != "" {
		revision = seen
	}
	o := Override{
		Weights: body.Weights, Declared: rs.Config.named(rs.declared), ChangedAt: time.Now().UTC().Truncate(time.Millisecond),
		Reason: body.Reason, Actor: body.Actor,
	}
	if err := t.state.setWeights(rs, o, revision); err != nil {
		return unchanged(rs, err)
	}
	return writeRoute(w, rs)
}

// unchanged is why a change could not be made.
func unchanged(rs *RouteState, err error) error {
	switch {
	case errors.Is(err, errStale), errors.Is(err, control.ErrConflict):
		return api.PreconditionFailed("route %q: %s; read it again", rs.Name, err)
	case errors.Is(err, control.ErrNoSpace):
		return api.NoSpace("route %q stays as it is: %s", rs.Name, err)
	default:
		return api.Unavailable("route %q stays as it is: %s", rs.Name, err)
	}
}
