package tracing

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Verified is what a look at every trace has shown.
type Verified struct {
	Files   int      `json:"files"`
	Traces  int64    `json:"traces"`
	Damaged int64    `json:"damaged"`
	Faults  []string `json:"faults"` // the first ones, in words
}

const (
	maxFaults  = 20
	verifyPage = 10_000 // rows a read transaction: a longer one would hold up the writer's checkpoints
)

// Verify reads every trace with its payloads and compares checksums. What is
// damaged is counted and named; nothing is changed.
func (s *Store) Verify(ctx context.Context) (v Verified, err error) {
	end, err := s.readers.begin(ctx)
	if err != nil {
		return v, err
	}
	defer end()
	s.mu.Lock()
	keys := slices.SortedFunc(maps.Keys(s.files), fileKey.compare)
	s.mu.Unlock()
	v.Faults = []string{}
	for _, key := range keys {
		if err := s.verifyFile(ctx, key, &v); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (v *Verified) fault(format string, args ...any) {
	v.Damaged++
	if len(v.Faults) < maxFaults {
		v.Faults = append(v.Faults, fmt.Sprintf(format, args...))
	}
}

func (s *Store) verifyFile(ctx context.Context, key fileKey, v *Verified) error {
	f, err := s.readers.open(ctx, key)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.fault("%s: %s", key.name(), err)
		return nil
	}
	if f == nil { // it has just been retired, or holds nothing
		return nil
	}
	v.Files++
	for from := int64(0); err == nil; {
		var seqs []int64
		if seqs, err = f.page(from); len(seqs) == 0 {
			break
		}
		for _, seq := range seqs {
			w, err := f.call(seq)
			if err == nil {
				_, err = f.entry(&w)
			}
			v.Traces++
			if err != nil {
				v.fault("%s: trace %x: %s", key.name(), w.id, err)
			}
		}
		from = seqs[len(seqs)-1]
		if err == nil {
			err = ctx.Err()
		}
	}
	s.readers.done(f, err)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		v.fault("%s: %s", key.name(), err)
	}
	return nil
}

// page returns the keys of the next rows behind one.
func (f *readFile) page(from int64) (seqs []int64, err error) {
	stmt, err := f.conn.Prepare("SELECT seq FROM calls WHERE seq > ?1 ORDER BY seq LIMIT ?2")
	if err != nil {
		return nil, err
	}
	stmt.BindInt64(1, from)
	stmt.BindInt64(2, verifyPage)
	for {
		more, err := stmt.Step()
		if err != nil || !more {
			return seqs, err
		}
		seqs = append(seqs, stmt.ColumnInt64(0))
	}
}
