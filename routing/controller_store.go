package routing

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/internal/wholefile"
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// rolloutPrefix is where the statuses of rollouts are kept in the control store.
const rolloutPrefix = "routing/rollout/"

// persist stores the status if it is not stored yet.
func (c *controller) persist() {
	c.moving <- struct{}{}
	defer func() { <-c.moving }()
	c.lock()
	if !c.unstored {
		c.unlock()
		return
	}
	status, moves, revision := c.status, c.moves, c.revision
	c.unlock()
	revision, err := c.commit(&status, revision)
	c.lock()
	defer c.unlock()
	if err != nil {
		c.failed(err)
		return
	}
	c.revision, c.problem, c.wanted = revision, "", ""
	c.unstored = c.moves != moves
}

// commit writes a status over the one of the revision.
func (c *controller) commit(s *rollout.Status, revision uint64) (uint64, error) {
	stored := *s
	stored.Persisted = true
	value, err := json.Marshal(stored)
	if err != nil {
		return 0, err
	}
	key := rolloutPrefix + c.route
	revision, err = c.store.Commit(control.Change{Key: key, Value: value, Expect: revision})
	if errors.Is(err, control.ErrConflict) {
		// Somebody else has written it. What is in force here is what happens here.
		if e, gone := c.store.Get(key); gone == nil {
			revision = e.Revision
		}
		revision, err = c.store.Commit(control.Change{Key: key, Value: value, Expect: revision})
	}
	return revision, err
}

// failed notes that the status could not be stored. Holds mu.
func (c *controller) failed(err error) {
	if problem := err.Error(); problem != c.problem {
		c.problem = problem
		c.log.Error("the rollout's status could not be stored; that is tried again each second. Moves toward stable are in force all the same, others wait", zap.Error(err))
	}
}

// The file of measurements holds the evidence, how long the step was held on
// it, and in how many requests prompts were recognised. It is written far more often than anything is decided; a file that is
// not of the status that is stored, or is damaged, is no evidence.
const measurementsHead = "frontier rollout measurements 1\n"

// held is the part of the measurements that is not evidence.
type held struct {
	Route    string        `json:"route"`
	SpecHash string        `json:"spec_hash"`
	HeldMS   int64         `json:"held_ms"`
	Clock    rollout.Clock `json:"clock"`

	Recognized   int64 `json:"recognized"`
	Unrecognized int64 `json:"unrecognized"`
}

// measurements writes the file if anything was measured since the last time.
func (c *controller) measurements() {
	c.saving.Lock()
	defer c.saving.Unlock()
	c.lock()
	if c.evidence == nil || !c.measured && c.status.HeldMS == c.held {
		c.unlock()
		return
	}
	c.measured, c.held = false, c.status.HeldMS
	b, err := c.encode()
	c.unlock()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(c.file), 0o700)
	}
	if err == nil {
		err = wholefile.Replace(c.file, b)
	}
	if err == nil {
		c.unsaved = false
		return
	}
	if !c.unsaved {
		c.log.Warn("the rollout's measurements could not be saved; after a crash it goes on with the last ones. That is tried again", zap.Error(err))
	}
	c.unsaved = true
	c.lock()
	c.measured = true
	c.unlock()
}

// encode holds mu.
func (c *controller) encode() ([]byte, error) {
	head, err := json.Marshal(held{
		Route: c.route, SpecHash: c.status.SpecHash, HeldMS: c.status.HeldMS, Clock: c.status.Clock,
		Recognized: c.recognized.Load(), Unrecognized: c.unrecognized.Load(),
	})
	if err != nil {
		return nil, err
	}
	b := append([]byte(measurementsHead), head...)
	b = append(b, '\n')
	if b, err = c.evidence.AppendBinary(b); err != nil {
		return nil, err
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), nil
}

// restore reads the file, and returns new evidence when there is none that counts. Holds mu.
func (c *controller) restore(plan *rollout.Plan) *rollout.Evidence {
	b, err := os.ReadFile(filepath.Clean(c.file))
	if errors.Is(err, os.ErrNotExist) {
		return plan.NewEvidence()
	}
	var h held
	var e *rollout.Evidence
	if err == nil {
		e, err = decodeMeasurements(b, &h, plan)
	}
	switch {
	case h.Route == c.route && h.SpecHash != plan.Hash(), c.status.SpecHash != plan.Hash():
		return plan.NewEvidence() // of another generation, readable or not, or of a status that is gone
	case err == nil && h.Route != c.route:
		err = fmt.Errorf("%s is of route %q", c.file, h.Route)
	}
	if err != nil {
		c.log.Warn("the rollout's measurements could not be read: its step begins to be measured anew", zap.Error(err))
		return plan.NewEvidence()
	}
	if e.Mark() == c.status.Mark() {
		c.status.HeldMS, c.status.Clock = h.HeldMS, h.Clock
		c.recognized.Store(h.Recognized)
		c.unrecognized.Store(h.Unrecognized)
	}
	return e
}

func decodeMeasurements(b []byte, h *held, plan *rollout.Plan) (*rollout.Evidence, error) {
	if len(b) < 4 || crc32.Checksum(b[:len(b)-4], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return nil, rollout.ErrDamaged
	}
	rest, ok := bytes.CutPrefix(b[:len(b)-4], []byte(measurementsHead))
	head, evidence, found := bytes.Cut(rest, []byte{'\n'})
	if !ok || !found {
		return nil, rollout.ErrDamaged
	}
	if err := json.Unmarshal(head, h); err != nil {
		return nil, err
	}
	return plan.DecodeEvidence(evidence)
}

// measurementsFile is where those of a route are. No route's file is another's temporary one.
func measurementsFile(dir, route string) string {
	return filepath.Join(dir, strings.ReplaceAll(route, ":", "%3A")+".measurements")
}
