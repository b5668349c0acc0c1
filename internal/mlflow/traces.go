package mlflow

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Experiment finds the experiment's id. It is created when it is not there,
// and restored when it is deleted.
func (s *Server) Experiment(ctx context.Context, name string) (string, error) {
	type experiment struct {
		ID    string `json:"experiment_id"`
		Stage string `json:"lifecycle_stage"`
	}
	var found struct {
		Experiment experiment `json:"experiment"`
	}
	byName := func() error {
		return s.call(ctx, http.MethodGet, "/2.0/mlflow/experiments/get-by-name", url.Values{"experiment_name": {name}}, nil, &found)
	}
	err := byName()
	if NotFound(err) {
		err = s.call(ctx, http.MethodPost, "/2.0/mlflow/experiments/create", nil, map[string]string{"name": name}, &found.Experiment)
		if codeOf(err) == "RESOURCE_ALREADY_EXISTS" { // somebody else made it this moment
			err = byName()
		}
	}
	if err != nil {
		return "", err
	}
	e := found.Experiment
	if e.Stage == "deleted" {
		err = s.call(ctx, http.MethodPost, "/2.0/mlflow/experiments/restore", nil, map[string]string{"experiment_id": e.ID}, nil)
	}
	return e.ID, err
}

// LinkPrompt makes the trace findable by its prompt version. It can be done
// twice. A link that MLflow does not want, because the trace has been deleted
// there meanwhile, is let go.
func (s *Server) LinkPrompt(ctx context.Context, trace, prompt, version string) error {
	err := s.call(ctx, http.MethodPost, "/2.0/mlflow/traces/link-prompts", nil, map[string]any{
		"trace_id": trace, "prompt_versions": []map[string]string{{"name": prompt, "version": version}},
	}, nil)
	if NotFound(err) || Invalid(err) {
		return nil
	}
	return err
}

// Feedback is what is said of a trace.
type Feedback struct {
	ID      string // kept with it, so that it can be found again
	Name    string
	Value   json.RawMessage
	Comment string
	Source  string
	At      time.Time
}

// feedbackKey is where an assessment has which feedback it is.
const feedbackKey = "frontier.feedback"

// AddFeedback adds the feedback to the trace.
func (s *Server) AddFeedback(ctx context.Context, trace string, f Feedback) error {
	at := f.At.UTC().Format(time.RFC3339Nano)
	return s.call(ctx, http.MethodPost, "/3.0/mlflow/traces/"+trace+"/assessments", nil, map[string]any{"assessment": map[string]any{
		"assessment_name": f.Name, "trace_id": trace, "source": map[string]string{"source_type": "HUMAN", "source_id": f.Source},
		"feedback": map[string]any{"value": f.Value}, "rationale": f.Comment, "metadata": map[string]string{feedbackKey: f.ID},
		"create_time": at, "last_update_time": at,
	}}, nil)
}

// HasFeedback reports whether the trace has the feedback already.
func (s *Server) HasFeedback(ctx context.Context, trace, id string) (bool, error) {
	var found struct {
		Trace struct {
			Info struct {
				Assessments []struct {
					Metadata map[string]string `json:"metadata"`
				} `json:"assessments"`
			} `json:"trace_info"`
		} `json:"trace"`
	}
	err := s.call(ctx, http.MethodGet, "/3.0/mlflow/traces/get", url.Values{"trace_id": {trace}}, nil, &found)
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
