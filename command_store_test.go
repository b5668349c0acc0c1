package frontier_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/control"
)

func TestStoreVerifyFindsDamage(t *testing.T) {
	for name, body := range map[string]string{
		"traces":  `{"data_dir":"d","control":{"records":1,"revision":1,"error":null},"traces":{"files":1,"traces":9,"damaged":1,"faults":["traces-2026-05-01.db: trace 01: checksum"]}}`,
		"control": `{"data_dir":"d","control":{"records":1,"revision":1,"error":"backup and journal hold nothing"},"traces":{"files":0,"traces":0,"damaged":0,"faults":[]}}`,
	} {
		f := newFake(t)
		f.answers["POST /llm/store/verify"] = fakeAnswer{http.StatusOK, json.RawMessage(body)}
		r := run(t.Context(), "", "llm", "store", "verify", "--address", f.address())
		if r.code != 1 || !strings.Contains(r.stderr, "damaged") || !strings.Contains(r.stdout, "checksum") && !strings.Contains(r.stdout, "hold nothing") {
			t.Errorf("%s: exit %d\n%s%s", name, r.code, r.stdout, r.stderr)
		}
	}
}

func TestStoreRestore(t *testing.T) {
	t.Chdir(t.TempDir())
	dir := filepath.Join("data", "control")
	open := func() *control.Store {
		t.Helper()
		s, err := control.Open(dir, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if _, err := s.Commit(control.Change{Key: "a", Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup("mine"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(control.Change{Key: "a", Value: []byte("2"), Expect: control.Any}); err != nil {
		t.Fatal(err)
	}
	if r := run(t.Context(), "", "llm", "store", "restore", "mine", "--data-dir", "data"); r.code != 1 || !strings.Contains(r.stderr, "in use") {
		t.Errorf("while it is open: exit %d, %s", r.code, r.stderr)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := run(t.Context(), "", "llm", "store", "restore", "mine", "--data-dir", "data"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	s = open()
	if e, err := s.Get("a"); err != nil || string(e.Value) != "1" {
		t.Errorf("restored %q, %v", e.Value, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if kept, _ := filepath.Glob(filepath.Join(dir, "replaced-*")); len(kept) != 1 {
		t.Errorf("what was there is kept in %v", kept)
	}
	raw, _ := os.ReadFile("mine")
	raw[len(raw)/2] ^= 1
	_ = os.WriteFile("mine", raw, 0o600)
	if r := run(t.Context(), "", "llm", "store", "restore", "mine", "--data-dir", "data"); r.code != 1 || !strings.Contains(r.stderr, "mine") {
		t.Errorf("a damaged backup: exit %d, %s", r.code, r.stderr)
	}
}
