package routing

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/call"
)

// modelObject is an entry of OpenAI's list of models.
type modelObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// models lists what may be named as a model here: routes and the names they
// match, then, where direct calls are allowed, the providers' models.
func (t *Table) models() []modelObject {
	var out []modelObject
	seen := map[string]bool{}
	add := func(id, owner string) {
		if !seen[id] {
			seen[id] = true
			out = append(out, modelObject{ID: id, Object: "model", OwnedBy: owner})
		}
	}
	for _, r := range t.Routes {
		add(r.Name, "route")
		if r.Config.Match != nil {
			for _, m := range r.Config.Match.Model {
				add(m, "route")
			}
		}
	}
	if !t.Direct {
		return out
	}
	for _, name := range sortedKeys(t.Providers) {
		models := slices.Clone(t.Providers[name].Models)
		if len(models) == 0 {
			models = t.Prices.Models(name)
		}
		for _, id := range models {
			if p, _, ok := t.direct(id); ok && p == name {
				add(id, name)
			} else {
				add(name+"/"+id, name)
			}
		}
	}
	return out
}

func (t *Table) serveModels(w http.ResponseWriter, c *call.Call) {
	c.SetIDs(w.Header())
	models := t.models()
	id, one := strings.CutPrefix(c.Path, "/models/")
	if !one {
		if models == nil {
			models = []modelObject{}
		}
		api.WriteJSON(w, http.StatusOK, map[string]any{"object": "list", "data": models})
		return
	}
	for _, m := range models {
		if m.ID == id {
			api.WriteJSON(w, http.StatusOK, m)
			return
		}
	}
	c.Fail(w, &call.Error{Status: http.StatusNotFound, Class: "model_not_found", Code: "model_not_found", Param: "model", Message: "there is no model " + id + " here; use " + t.suggest()})
}
