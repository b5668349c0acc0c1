package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/tracing"
)

// MLflowServer is a client of an MLflow tracking server's REST API.
type MLflowServer struct {
	base   string // without a slash at its end
	client *client
}

// NewMLflowServer returns a client for the server. Placeholders in address and
// header values are replaced. A timeout of 0 is 30s.
func NewMLflowServer(address string, header map[string]string, timeout time.Duration) (*MLflowServer, error) {
	if address == "" {
		return nil, errors.New("the URL of the server is missing, as an argument or in MLFLOW_TRACKING_URI")
	}
	repl := caddy.NewReplacer()
	address, err := repl.ReplaceOrErr(address, true, true)
	if err != nil {
		return nil, fmt.Errorf("%w; set it where Caddy runs", err)
	}
	u, err := parseURL(address)
	if err != nil {
		return nil, err
	}
	headers, err := resolveHeaders(repl, header)
	if err != nil {
		return nil, err
	}
	if a := authorization(); a != "" && headers.Get("Authorization") == "" {
		headers.Set("Authorization", a)
	}
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	return &MLflowServer{base: strings.TrimRight(u.String(), "/"), client: newClient(headers, timeout, nil)}, nil
}

func resolveHeaders(repl *caddy.Replacer, header map[string]string) (http.Header, error) {
	out := http.Header{}
	for name, value := range header {
		value, err := repl.ReplaceOrErr(value, true, true)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w; set it where Caddy runs", name, err)
		}
		out.Set(name, strings.TrimSpace(value))
	}
	return out, nil
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// MLflowError is an error as MLflow's REST API answers it.
type MLflowError struct {
	Status  int
	Code    string `json:"error_code"`
	Message string `json:"message"`
	err     error
}

func (e *MLflowError) Error() string {
	if e.Message == "" {
		return e.err.Error()
	}
	return fmt.Sprintf("MLflow answered with status %d: %s", e.Status, e.Message)
}

func (e *MLflowError) Unwrap() error { return e.err }

// Call calls the REST API: path is that behind /api, body becomes the request's
// JSON, and the answer's is read into answer; both may be nil.
func (s *MLflowServer) Call(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	target := s.base + "/api" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return err
		}
	}
	got, err := s.client.do(ctx, method, target, http.Header{"Content-Type": {"application/json"}}, raw)
	if refused, ok := errors.AsType[*statusError](err); ok {
		e := &MLflowError{Status: refused.status, err: err}
		_ = json.Unmarshal([]byte(refused.body), e) // what is none of MLflow's own is shown as it is
		return e
	}
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal(got, answer); err != nil {
		return fmt.Errorf("reading the answer of %s: %w; is it an MLflow server?", target, err)
	}
	return nil
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*MLflowError](err); ok {
		return e.Code
	}
	return ""
}

// NotFound reports whether MLflow says that there is no such thing.
func NotFound(err error) bool { return codeOf(err) == "RESOURCE_DOES_NOT_EXIST" }

// experiment finds the experiment's id. It is created when it is not there,
// and restored when it is deleted.
func (s *MLflowServer) experiment(ctx context.Context, name string) (string, error) {
	type experiment struct {
		ID    string `json:"experiment_id"`
		Stage string `json:"lifecycle_stage"`
	}
	var found struct {
		Experiment experiment `json:"experiment"`
	}
	err := s.Call(ctx, http.MethodGet, "/2.0/mlflow/experiments/get-by-name", url.Values{"experiment_name": {name}}, nil, &found)
	if NotFound(err) {
		var made experiment
		err = s.Call(ctx, http.MethodPost, "/2.0/mlflow/experiments/create", nil, map[string]string{"name": name}, &made)
		if codeOf(err) == "RESOURCE_ALREADY_EXISTS" { // by somebody else, this moment
			err = s.Call(ctx, http.MethodGet, "/2.0/mlflow/experiments/get-by-name", url.Values{"experiment_name": {name}}, nil, &found)
			made = found.Experiment
		}
		return made.ID, err
	}
	if err != nil {
		return "", err
	}
	if e := found.Experiment; e.Stage == "deleted" {
		return e.ID, s.Call(ctx, http.MethodPost, "/2.0/mlflow/experiments/restore", nil, map[string]string{"experiment_id": e.ID}, nil)
	}
	return found.Experiment.ID, nil
}

// linkPrompt makes the trace findable by its prompt version. It can be done
// twice. A link that MLflow does not want, because the trace has been deleted
// there meanwhile, is let go.
func (s *MLflowServer) linkPrompt(ctx context.Context, t *tracing.Trace, version string) error {
	err := s.Call(ctx, http.MethodPost, "/2.0/mlflow/traces/link-prompts", nil, map[string]any{
		"trace_id": "tr-" + t.ID, "prompt_versions": []map[string]string{{"name": t.Prompt.Name, "version": version}},
	}, nil)
	if code := codeOf(err); code == "RESOURCE_DOES_NOT_EXIST" || code == "INVALID_PARAMETER_VALUE" {
		return nil
	}
	return err
}

// feedbackKey is where an assessment has which feedback it is.
const feedbackKey = "frontier.feedback"

// addFeedback adds the feedback to its trace. One that MLflow does not have is
// older than the export: there is nothing to be added to.
func (s *MLflowServer) addFeedback(ctx context.Context, f *tracing.TraceFeedback, again bool) error {
	id := "tr-" + f.TraceID
	if again {
		have, err := s.hasFeedback(ctx, id, f.ID)
		if err != nil || have {
			return err
		}
	}
	source := f.Source
	if source == "" {
		source = "admin"
	}
	err := s.Call(ctx, http.MethodPost, "/3.0/mlflow/traces/"+id+"/assessments", nil, map[string]any{"assessment": map[string]any{
		"assessment_name": f.Name, "trace_id": id, "source": map[string]string{"source_type": "HUMAN", "source_id": source},
		"feedback": map[string]any{"value": f.Value}, "rationale": f.Comment, "metadata": map[string]string{feedbackKey: f.ID},
		"create_time": f.At.UTC().Format(time.RFC3339Nano), "last_update_time": f.At.UTC().Format(time.RFC3339Nano),
	}}, nil)
	switch {
	case NotFound(err):
		return nil
	case codeOf(err) == "INVALID_PARAMETER_VALUE":
		return &tracing.RejectedError{Err: err}
	}
	return err
}

func (s *MLflowServer) hasFeedback(ctx context.Context, trace, id string) (bool, error) {
	var found struct {
		Trace struct {
			Info struct {
				Assessments []struct {
					Metadata map[string]string `json:"metadata"`
				} `json:"assessments"`
			} `json:"trace_info"`
		} `json:"trace"`
	}
	err := s.Call(ctx, http.MethodGet, "/3.0/mlflow/traces/get", url.Values{"trace_id": {trace}}, nil, &found)
	if NotFound(err) {
		return false, nil
	}
	for _, a := range found.Trace.Info.Assessments {
		if a.Metadata[feedbackKey] == id {
			return true, nil
		}
	}
	return false, err
}
