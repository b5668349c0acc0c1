package routing

import (
	"errors"
	"net/http"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// verbRequest says why somebody acts on a rollout, and who.
type verbRequest struct {
	Reason string `json:"reason,omitempty"`
	Actor  string `json:"actor,omitempty"`
}

// promoteRequest may skip the steps that are left.
type promoteRequest struct {
	Full   bool   `json:"full,omitempty"`
	Reason string `json:"reason,omitempty"`
	Actor  string `json:"actor,omitempty"`
}

// verbs are what operators do to a rollout.
func (h routesAPI) verbs() []api.Route {
	verb := func(kind rollout.EventKind, summary string) api.Route {
		return api.Route{
			Method: http.MethodPost, Path: "/routes/{name}/rollout/" + string(kind), Summary: summary, Body: verbRequest{}, Answer: routeAnswer{},
			Handle: func(w http.ResponseWriter, r *http.Request) error {
				var body verbRequest
				return h.verb(w, r, &body, func() rollout.Event { return rollout.Event{Kind: kind, Reason: body.Reason, Actor: body.Actor} })
			},
		}
	}
	return []api.Route{
		{
			Method: http.MethodPost, Path: "/routes/{name}/rollout/promote", Body: promoteRequest{}, Answer: routeAnswer{},
			Summary: "Enters a rollout's next step, or, with full, completes it, whatever the guards say.",
			Handle: func(w http.ResponseWriter, r *http.Request) error {
				var body promoteRequest
				return h.verb(w, r, &body, func() rollout.Event {
					return rollout.Event{Kind: rollout.Promote, Full: body.Full, Reason: body.Reason, Actor: body.Actor}
				})
			},
		},
		verb(rollout.Pause, "Holds a rollout where it is. A guard that fails still aborts it."),
		verb(rollout.Resume, "Goes on with a rollout that is paused; begins one again that was aborted."),
		verb(rollout.Abort, "Gives all traffic to the variant that the rollout comes from, until somebody resumes it."),
		verb(rollout.Undo, "Takes the last decision back, an operator's or the rollout's own."),
	}
}

func (h routesAPI) verb(w http.ResponseWriter, r *http.Request, body any, event func() rollout.Event) error {
	_, rs, err := h.find(r)
	if err != nil {
		return err
	}
	if err := api.Decode(w, r, body); err != nil {
		return err
	}
	if rs.rollout == nil {
		return api.Conflict("route %q has no rollout; declare one in the configuration: route %s { … rollout { step 5%% 1d … } }", rs.Name, rs.Name)
	}
	return h.act(w, r, rs, event())
}

// act has an operator's event happen, and, with If-Match, only to the status that the operator saw.
func (h routesAPI) act(w http.ResponseWriter, r *http.Request, rs *RouteState, ev rollout.Event) error {
	before := rs.answer()
	if err := api.CheckMatch(r, before.etag()); err != nil {
		return err
	}
	seen := anyRevision
	if r.Header.Get("If-Match") != "" {
		seen = before.Status.revision
	}
	err := rs.rollout.do(ev, seen)
	if refused, ok := errors.AsType[refusedError](err); ok {
		return api.Conflict("route %q: %s", rs.Name, refused)
	}
	if err != nil {
		return unchanged(rs, err)
	}
	return writeRoute(w, rs)
}
