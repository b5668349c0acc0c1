package frontier

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/tracing"
)

// verified is what the two stores of the data directory have shown.
type verified struct {
	DataDir string           `json:"data_dir"`
	Control verifiedControl  `json:"control"`
	Traces  tracing.Verified `json:"traces"`
}

// verifiedControl is about prompts, aliases and weights. Error is null when all copies agree.
type verifiedControl struct {
	Records  int     `json:"records"`
	Revision uint64  `json:"revision"`
	Error    *string `json:"error"`
}

func storeRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/store/verify", Summary: "Reads everything that is stored again, and compares copies and checksums.", Answer: verified{}, Handle: verifyStore},
		{Method: http.MethodGet, Path: "/store/backup", Summary: "Returns a backup of prompts, aliases and weights, which `caddy llm store restore` reads.", Handle: backupStore},
	}
}

func verifyStore(w http.ResponseWriter, r *http.Request) error {
	a, err := running()
	if err != nil {
		return err
	}
	v := verified{DataDir: a.dir}
	records, err := a.data.control.List("")
	if err != nil {
		return api.Unavailable("%s", err)
	}
	v.Control.Records, v.Control.Revision = len(records), a.data.control.Revision()
	if err := a.data.control.Verify(); errors.Is(err, control.ErrClosed) {
		return api.Unavailable("%s", err)
	} else if err != nil {
		text := err.Error()
		v.Control.Error = &text
	}
	if v.Traces, err = a.data.traces.Verify(r.Context()); err != nil {
		return api.Unavailable("%s", err)
	}
	api.WriteJSON(w, http.StatusOK, v)
	return nil
}

func backupStore(w http.ResponseWriter, _ *http.Request) error {
	a, err := running()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "frontier-backup-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "control")
	if err := a.data.control.Backup(path); err != nil {
		return api.Unavailable("%s", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="frontier.backup"`)
	_, err = io.Copy(w, f)
	return err
}
