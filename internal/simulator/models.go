package simulator

import (
	"net/http"
)

// listModels serves /v1/models.
func (h *Handler) listModels(w http.ResponseWriter, _ *http.Request, _ []byte) error {
	data := make([]object, len(h.ids))
	for i, id := range h.ids {
		data[i] = h.describe(h.models[id])
	}
	return answer(w, http.StatusOK, object{"object": "list", "data": data})
}

// oneModel serves /v1/models/{id}.
func (h *Handler) oneModel(w http.ResponseWriter, id string) error {
	m, err := h.find(id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, h.describe(m))
}

// describe is a model in OpenAI's shape; pricing is in US dollars per million tokens.
func (h *Handler) describe(m *model) object {
	v := object{"id": m.id, "object": "model", "created": h.started.Unix(), "owned_by": "simulator"}
	if m.Price != nil {
		v["pricing"] = m.Price
	}
	return v
}
