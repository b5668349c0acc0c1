package optimizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
)

// Dataset is a named list of records, in versions. A version never changes:
// whatever changes the records makes the next one.
type Dataset struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Tags        map[string]string `json:"tags"`
	CreatedAt   time.Time         `json:"created_at"`
	Latest      int               `json:"latest"` // version; 0: there is none yet
	Versions    []DatasetVersion  `json:"versions"`

	ETag string `json:"-"`
}

// DatasetVersion is what is known of a version of a dataset besides its records.
type DatasetVersion struct {
	Version   int           `json:"version"`
	Hash      string        `json:"hash"` // of the content: SHA-256 of its export as JSONL
	Records   int           `json:"records"`
	Bytes     int64         `json:"bytes"`
	Source    DatasetSource `json:"source"`
	CreatedAt time.Time     `json:"created_at"`
	Actor     string        `json:"actor"`
	Reason    string        `json:"reason"`
	Pinned    bool          `json:"pinned"` // a run uses it: it is kept
}

// DatasetSource says where the records of a version came from last.
type DatasetSource struct {
	Kind    string     `json:"kind"` // records or capture
	Route   string     `json:"route,omitempty"`
	Variant string     `json:"variant,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
}

// The kinds of sources.
const (
	SourceRecords = "records" // sent in
	SourceCapture = "capture" // taken from traces
)

// DatasetChange says who makes a change, why, and on which condition.
type DatasetChange struct {
	Actor, Reason string
	// Check, if not nil, is given the dataset's ETag ("" when there is no such
	// dataset) and refuses the change by an error. Nothing comes between the check and the change.
	Check func(etag string) error
}

// datasetStore is what is needed of the control store.
type datasetStore interface {
	Get(key string) (control.Entry, error)
	List(prefix string) ([]control.Entry, error)
	Commit(changes ...control.Change) (uint64, error)
}

// Datasets are those of a data directory. The control store has the list of
// versions of each, files have the records: a version is there once its file
// and then the list are durable, so that a crash leaves the dataset as it was or with
// the version. It is safe for concurrent use; one may be open for a directory.
type Datasets struct {
	store datasetStore
	files files
	log   *zap.Logger
	now   func() time.Time

	changing sync.Mutex // held over a change
}

// NewDatasets opens the datasets of a control store, whose records are in files
// of the directory, which is made if need be.
func NewDatasets(store datasetStore, dir string, log *zap.Logger) (*Datasets, error) {
	f, err := openFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the datasets: %w", err)
	}
	return &Datasets{store: store, files: f, log: log, now: time.Now}, nil
}

// List returns all datasets, by name.
func (d *Datasets) List() ([]*Dataset, error) {
	entries, err := d.store.List(datasetPrefix)
	if err != nil {
		return nil, datasetError("", err)
	}
	out := make([]*Dataset, 0, len(entries))
	for _, e := range entries {
		m := &manifest{revision: e.Revision}
		if err := json.Unmarshal(e.Value, m); err != nil {
			return nil, fmt.Errorf("record %s: %w", e.Key, err)
		}
		out = append(out, m.dataset(e.Key[len(datasetPrefix):]))
	}
	return out, nil
}

// Get returns a dataset, and what is known of one of its versions; 0: the latest.
func (d *Datasets) Get(name string, version int) (*Dataset, DatasetVersion, error) {
	m, err := d.read(name)
	if err != nil {
		return nil, DatasetVersion{}, err
	}
	v, err := m.version(name, version)
	if err != nil && (m.revision == 0 || version != 0) {
		return nil, v, err
	}
	return m.dataset(name), v, nil
}

// Create makes a dataset without records.
func (d *Datasets) Create(name, description string, tags map[string]string, c DatasetChange) (*Dataset, error) {
	return d.create(name, description, tags, nil, c)
}

// create makes a dataset, with checked records if there are any.
func (d *Datasets) create(name, description string, tags map[string]string, records []Record, c DatasetChange) (*Dataset, error) {
	if len(description) > maxLabel || !utf8.ValidString(description) {
		return nil, api.Invalid("description", "description: want a text of at most %d bytes", maxLabel)
	}
	if err := checkTags(tags); err != nil {
		return nil, api.Invalid("tags", "%s", err)
	}
	m, err := d.change(name, c, func(m *manifest) error {
		if m.revision != 0 {
			return api.Conflict("there is a dataset %s already; add records to it, or delete it", name)
		}
		m.Description, m.Tags = description, tags
		if len(records) == 0 {
			return nil
		}
		return d.next(name, m, records, true, DatasetSource{Kind: SourceRecords}, c, &Appended{})
	})
	if err != nil {
		return nil, err
	}
	return m.dataset(name), nil
}

// Delete removes the dataset with all its versions, those too that runs have used.
func (d *Datasets) Delete(name string, c DatasetChange) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	m, err := d.begin(name, c)
	if err != nil {
		return err
	}
	if m.revision == 0 {
		return noDataset(name)
	}
	if _, err := d.store.Commit(control.Change{Key: datasetPrefix + name, Expect: m.revision}); err != nil {
		return datasetError(name, err)
	}
	d.drop(m.Versions)
	d.log.Info("dataset deleted", zap.String("dataset", name), zap.String("actor", c.Actor), zap.String("reason", c.Reason))
	return nil
}

// Pin keeps a version (0: the latest) for as long as there is the dataset: a run
// uses it. It returns the version, whose number and hash no longer depend on what comes after.
func (d *Datasets) Pin(name string, version int) (v DatasetVersion, err error) {
	_, err = d.change(name, DatasetChange{}, func(m *manifest) error {
		if v, err = m.version(name, version); err != nil {
			return err
		}
		if v.Pinned {
			return errUnchanged
		}
		v.Pinned = true
		m.Versions[slices.IndexFunc(m.Versions, func(o DatasetVersion) bool { return o.Version == v.Version })] = v
		return nil
	})
	return v, err
}

// Load returns a version (0: the latest) with its records. A file that is not
// what was written is an error.
func (d *Datasets) Load(name string, version int) (DatasetVersion, []Record, error) {
	for try := 1; ; try++ {
		m, err := d.read(name)
		if err != nil {
			return DatasetVersion{}, nil, err
		}
		v, err := m.version(name, version)
		if err != nil {
			return DatasetVersion{}, nil, err
		}
		records := make([]Record, 0, v.Records)
		err = d.files.scan(v.Hash, func(line []byte) error {
			r, err := readRecord(line)
			records = append(records, r)
			return err
		})
		if err == nil {
			return v, records, nil
		}
		if try < 2 && errors.Is(err, errDamaged) {
			continue // it may have been removed this moment, after a change
		}
		return DatasetVersion{}, nil, damagedError(name, v, err)
	}
}

// page returns some of a version's records.
func (d *Datasets) page(name string, v DatasetVersion, from, limit int) ([]Record, error) {
	var out []Record
	n := 0
	err := d.files.scan(v.Hash, func(line []byte) (err error) {
		if n >= from && len(out) < limit {
			var r Record
			r, err = readRecord(line)
			out = append(out, r)
		}
		n++
		return err
	})
	if err != nil {
		return nil, damagedError(name, v, err)
	}
	return out, nil
}

// readRecord reads a line of a version's file.
func readRecord(line []byte) (r Record, err error) {
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return r, nil
}

func damagedError(name string, v DatasetVersion, err error) error {
	if !errors.Is(err, errDamaged) {
		return fmt.Errorf("dataset %s, version %d: %w", name, v.Version, err)
	}
	return fmt.Errorf("dataset %s, version %d: %w; put a copy of it back into the directory datasets of the data directory, or make a new version with replace", name, v.Version, err)
}
