package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddy-frontier/frontier/internal/call"
)

// apiError is an answer in the shape of OpenAI's errors.
type apiError struct {
	status  int
	message string
	code    string
	param   string
	header  map[string]string
}

func (e *apiError) Error() string { return e.message }

func invalid(param, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...), param: param, code: "invalid_value"}
}

func notFound(format string, args ...any) *apiError {
	return &apiError{status: http.StatusNotFound, message: fmt.Sprintf(format, args...), code: "not_found"}
}

func wrongMethod(r *http.Request, allowed string) *apiError {
	return &apiError{
		status: http.StatusMethodNotAllowed, code: "method_not_allowed", header: map[string]string{"Allow": allowed},
		message: fmt.Sprintf("%s is not allowed at %s; use %s", r.Method, r.URL.Path, allowed),
	}
}

func fail(w http.ResponseWriter, e *apiError) error {
	for k, v := range e.header {
		w.Header().Set(k, v)
	}
	null := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return answer(w, e.status, object{"error": object{"message": e.message, "type": call.ErrorType(e.status), "param": null(e.param), "code": null(e.code)}})
}

type object = map[string]any

func answer(w http.ResponseWriter, status int, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(raw, '\n'))
	return err
}
