package optimizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
)

const datasetPrefix = "datasets/"

// manifest is a dataset as the control store has it.
type manifest struct {
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
	Latest      int               `json:"latest"`
	Versions    []DatasetVersion  `json:"versions"` // by number

	revision uint64 // 0: there is no such dataset
}

func (d *Datasets) read(name string) (m *manifest, err error) {
	m = &manifest{}
	e, err := d.store.Get(datasetPrefix + name)
	switch {
	case errors.Is(err, control.ErrNotFound):
		return m, nil
	case err != nil:
		return nil, datasetError(name, err)
	}
	if err := json.Unmarshal(e.Value, m); err != nil {
		return nil, fmt.Errorf("record %s: %w", e.Key, err)
	}
	m.revision = e.Revision
	return m, nil
}

func (m *manifest) etag() string {
	if m.revision == 0 {
		return ""
	}
	return strconv.FormatUint(m.revision, 10)
}

func (m *manifest) dataset(name string) *Dataset {
	out := &Dataset{
		Name: name, Description: m.Description, Tags: m.Tags, CreatedAt: m.CreatedAt, Latest: m.Latest,
		Versions: append([]DatasetVersion{}, m.Versions...), ETag: m.etag(),
	}
	if out.Tags == nil {
		out.Tags = map[string]string{}
	}
	return out
}

// version finds a version; 0: the latest.
func (m *manifest) version(name string, number int) (DatasetVersion, error) {
	if m.revision == 0 {
		return DatasetVersion{}, noDataset(name)
	}
	if m.Latest == 0 {
		return DatasetVersion{}, api.NotFound("dataset %s has no records yet", name)
	}
	if number == 0 {
		number = m.Latest
	}
	for _, v := range m.Versions {
		if v.Version == number {
			return v, nil
		}
	}
	return DatasetVersion{}, api.NotFound("dataset %s has no version %d, or not any more: the newest %d are kept, and those that runs use; it has %s", name, number, maxVersions, m.inventory())
}

func (m *manifest) inventory() string {
	var numbers []string
	for _, v := range m.Versions {
		numbers = append(numbers, strconv.Itoa(v.Version))
	}
	return strings.Join(numbers, ", ")
}

func noDataset(name string) error { return api.NotFound("there is no dataset %s", cutText(name)) }

// errUnchanged ends a change that has nothing to change.
var errUnchanged = errors.New("unchanged")

// change edits a dataset's manifest. What fn has dropped of its versions is removed afterwards.
func (d *Datasets) change(name string, c DatasetChange, fn func(*manifest) error) (*manifest, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	m, err := d.begin(name, c)
	if err != nil {
		return nil, err
	}
	before := slices.Clone(m.Versions)
	if err := fn(m); err != nil {
		if errors.Is(err, errUnchanged) {
			return m, nil
		}
		return nil, err
	}
	return m, d.commit(name, m, before)
}

// begin reads a dataset that is about to be changed.
func (d *Datasets) begin(name string, c DatasetChange) (*manifest, error) {
	if err := checkDatasetName(name); err != nil {
		return nil, err
	}
	if len(c.Reason) > maxLabel || len(c.Actor) > maxLabel || !utf8.ValidString(c.Reason) || !utf8.ValidString(c.Actor) {
		return nil, api.Invalid("reason", "actor and reason: want texts of at most %d bytes", maxLabel)
	}
	m, err := d.read(name)
	if err != nil {
		return nil, err
	}
	if c.Check != nil {
		if err := c.Check(m.etag()); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// commit stores the manifest, and removes the files of versions that it has no more.
func (d *Datasets) commit(name string, m *manifest, before []DatasetVersion) error {
	if m.revision == 0 {
		m.CreatedAt = d.now().UTC().Truncate(time.Millisecond)
	}
	value, err := json.Marshal(m)
	if err != nil {
		return err
	}
	revision, err := d.store.Commit(control.Change{Key: datasetPrefix + name, Value: value, Expect: m.revision})
	if err != nil {
		for _, nothing := range []error{control.ErrConflict, control.ErrNoSpace, control.ErrTooLarge, control.ErrClosed} {
			if errors.Is(err, nothing) { // was written: nobody knows the new version
				d.drop(m.Versions)
			}
		}
		return datasetError(name, err)
	}
	m.revision = revision
	d.drop(before)
	return nil
}

// drop removes the files of those of the versions whose content no dataset has any
// more. One that cannot be removed is only a waste of space.
func (d *Datasets) drop(versions []DatasetVersion) {
	all, err := d.List()
	if err != nil {
		return // rather keep too much
	}
	used := map[string]bool{}
	for _, s := range all {
		for _, v := range s.Versions {
			used[v.Hash] = true
		}
	}
	for _, v := range versions {
		if used[v.Hash] {
			continue
		}
		if err := d.files.remove(v.Hash); err != nil {
			d.log.Warn("records of a dataset that are not used any more were not removed", zap.String("hash", v.Hash), zap.Error(err))
		}
	}
}

// checkDatasetName allows what prompts' names may be, up to 100 bytes.
func checkDatasetName(name string) error {
	ok := name != "" && len(name) <= maxDatasetName && name != "." && name != ".."
	for i := range len(name) {
		c := name[i]
		ok = ok && (c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-')
	}
	if !ok {
		return api.Invalid("name", "the name %q of a dataset: want 1 to %d letters, digits, '_', '.' and '-'", cutText(name), maxDatasetName)
	}
	return nil
}

// datasetError says in the admin API's terms what the store says.
func datasetError(name string, err error) error {
	switch {
	case errors.Is(err, control.ErrNoSpace):
		return api.NoSpace("dataset %s was not changed: %s", name, err)
	case errors.Is(err, control.ErrConflict):
		return api.Conflict("dataset %s was not changed, because others change it: %s", name, err)
	case errors.Is(err, control.ErrTooLarge):
		return api.Invalid("", "dataset %s was not changed: %s", name, err)
	case errors.Is(err, control.ErrClosed), errors.Is(err, control.ErrReadOnly), errors.Is(err, control.ErrLocked):
		return api.Unavailable("datasets: %s", err)
	}
	return fmt.Errorf("datasets: %w", err)
}
