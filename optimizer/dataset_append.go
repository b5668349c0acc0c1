package optimizer

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/api"
)

// Appended is what became of records that were added.
type Appended struct {
	Dataset    *Dataset
	Version    DatasetVersion // that has them
	Created    bool           // false: the content is as it was, and so is the version
	Added      int
	Duplicates int // were there already, and are passed over
}

// Append adds records to a dataset, or, with replace, puts them in the place of all it
// has; either makes the next version. A record without an id gets one made of
// what it asks; one that is there already, with the same content, is passed over,
// so that a part can be sent again. The dataset must exist.
func (d *Datasets) Append(name string, records []Record, replace bool, c DatasetChange) (*Appended, error) {
	checked := slices.Clone(records)
	for i := range checked {
		if err := checked[i].check(); err != nil {
			return nil, recordError(i, err)
		}
	}
	return d.put(name, checked, replace, false, DatasetSource{Kind: SourceRecords}, c)
}

// recordError says which record is wrong.
func recordError(i int, err error) error {
	place := fmt.Sprintf("records.%d", i)
	if wrong, ok := errors.AsType[*fieldError](err); ok && wrong.field != "" {
		return api.Invalid(place+"."+wrong.field, "%s.%s", place, wrong)
	}
	return api.Invalid(place, "%s: %s", place, err)
}

// put makes the next version of checked records. create says whether the
// dataset is made when there is none.
func (d *Datasets) put(name string, records []Record, replace, create bool, source DatasetSource, c DatasetChange) (*Appended, error) {
	if len(records) == 0 {
		return nil, api.Invalid("records", "records: there are none")
	}
	a := &Appended{}
	m, err := d.change(name, c, func(m *manifest) error {
		if m.revision == 0 && !create {
			return noDataset(name)
		}
		return d.next(name, m, records, replace, source, c, a)
	})
	if err != nil {
		return nil, err
	}
	a.Dataset = m.dataset(name)
	if a.Created {
		d.log.Info("dataset has a new version", zap.String("dataset", name), zap.Int("version", a.Version.Version), zap.Int("records", a.Version.Records),
			zap.String("source", source.Kind), zap.String("actor", c.Actor), zap.String("reason", c.Reason))
	}
	return a, nil
}

// next writes the file of the next version, and adds that to the manifest, which is yet to be stored.
func (d *Datasets) next(name string, m *manifest, records []Record, replace bool, source DatasetSource, c DatasetChange, a *Appended) error {
	if store, ok := d.store.(interface{ Room() error }); ok { // it says what it needs of the disk for itself
		if err := store.Room(); err != nil {
			return datasetError(name, err)
		}
	}
	w, err := d.files.write()
	if err != nil {
		return err
	}
	if err := d.fill(w, name, m, records, replace, a); err != nil {
		w.abort()
		return err
	}
	var last DatasetVersion
	if m.Latest > 0 {
		if last, err = m.version(name, 0); err != nil {
			w.abort()
			return err
		}
	}
	if a.Added == 0 && !replace {
		w.abort()
		a.Version = last
		return errUnchanged
	}
	hash, err := w.commit()
	if err != nil {
		return err
	}
	if hash == last.Hash {
		a.Version = last
		return errUnchanged
	}
	m.Latest++
	a.Created = true
	a.Version = DatasetVersion{
		Version: m.Latest, Hash: hash, Records: w.records, Bytes: w.bytes, Source: source, Actor: c.Actor, Reason: c.Reason,
		CreatedAt: d.now().UTC().Truncate(time.Millisecond),
	}
	m.Versions = append(m.Versions, a.Version)
	m.prune()
	return nil
}

// fill writes what the next version has: what was there, and the new records.
func (d *Datasets) fill(w *fileWriter, name string, m *manifest, records []Record, replace bool, a *Appended) error {
	known := map[string][sha256.Size]byte{} // lines by their records' ids
	if !replace && m.Latest > 0 {
		last, err := m.version(name, 0)
		if err != nil {
			return err
		}
		err = d.files.scan(last.Hash, func(line []byte) error {
			var r struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal(line, &r); err != nil {
				return fmt.Errorf("%w: %w", errDamaged, err)
			}
			known[r.ID] = sha256.Sum256(line)
			return w.add(line)
		})
		if errors.Is(err, errDamaged) {
			return damagedError(name, last, err)
		}
		if err != nil {
			return tooMuch(err)
		}
	}
	for i := range records {
		r := &records[i]
		own := r.ID == ""
		if own {
			r.ID = r.asked()
		}
		line, err := r.line()
		if err != nil {
			return recordError(i, err)
		}
		before, there := known[r.ID]
		if there && own && before != sha256.Sum256(line) { // the same was asked, and something else answered
			r.ID = r.answered()
			if line, err = r.line(); err != nil {
				return recordError(i, err)
			}
			if _, there = known[r.ID]; there {
				a.Duplicates++
				continue
			}
		}
		switch {
		case there && before == sha256.Sum256(line):
			a.Duplicates++
			continue
		case there:
			return recordError(i, wrongField("id", "there is a record %q already, with another content; ids are unique: send all records with replace to change some", cutText(r.ID)))
		}
		known[r.ID] = sha256.Sum256(line)
		if err := w.add(line); err != nil {
			return tooMuch(err)
		}
		a.Added++
	}
	return nil
}

func tooMuch(err error) error {
	if errors.Is(err, errTooMuch) {
		return api.Invalid("records", "records: %s", err)
	}
	return err
}

// prune lets go of old versions that no run uses.
func (m *manifest) prune() {
	kept, size := 0, int64(0)
	var out []DatasetVersion
	for _, v := range slices.Backward(m.Versions) {
		if !v.Pinned && v.Version != m.Latest {
			kept++
			size += v.Bytes
			if kept >= maxVersions || size > maxKept {
				continue
			}
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b DatasetVersion) int { return cmp.Compare(a.Version, b.Version) })
	m.Versions = out
}
