package prompts

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
)

// The control store has a record for each prompt and one for each version:
//
//	prompt/<name>              promptRecord
//	prompt/<name>/<version>    versionRecord, the number in ten digits
const keyPrefix = "prompt/"

func promptKey(name string) string { return keyPrefix + name }

func versionKey(name string, n int) string { return fmt.Sprintf("%s%s/%010d", keyPrefix, name, n) }

func parseKey(key string) (name string, version int, ok bool) {
	name, ok = strings.CutPrefix(key, keyPrefix)
	name, number, isVersion := strings.Cut(name, "/")
	if isVersion {
		var err error
		version, err = strconv.Atoi(number)
		ok = ok && err == nil && version > 0
	}
	return name, version, ok && checkName("name", name) == nil
}

type promptRecord struct {
	Latest  int               `json:"latest"`
	Aliases map[string]int    `json:"aliases,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
}

func (p promptRecord) clone() promptRecord {
	p.Aliases, p.Tags = maps.Clone(p.Aliases), maps.Clone(p.Tags)
	return p
}

func (p promptRecord) equal(o promptRecord) bool {
	return p.Latest == o.Latest && maps.Equal(p.Aliases, o.Aliases) && maps.Equal(p.Tags, o.Tags)
}

type versionRecord struct {
	Template       Template                   `json:"template"`
	CommitMessage  string                     `json:"commit_message,omitempty"`
	Tags           map[string]string          `json:"tags,omitempty"`
	ResponseFormat json.RawMessage            `json:"response_format,omitempty"`
	ModelConfig    map[string]json.RawMessage `json:"model_config,omitempty"`
	Hash           string                     `json:"hash"`
	Parent         int                        `json:"parent,omitempty"`
	Author         string                     `json:"author,omitempty"`
	CreatedAt      time.Time                  `json:"created_at"`
}

// stored is a prompt's records as they are in the store.
type stored struct {
	present  bool
	revision uint64 // of the prompt's record, also when that is gone
	record   promptRecord
	versions map[int]*storedVersion
}

type storedVersion struct {
	number   int
	revision uint64
	record   versionRecord
	version  *Version // compiled once; without aliases and tags
	gone     bool
}

func (p *stored) etag() string {
	if !p.present {
		return ""
	}
	return strconv.FormatUint(p.revision, 10)
}

// take puts an entry in its place, unless what is there is newer.
func (p *stored) take(name string, number int, e control.Entry) (fresh bool, err error) {
	if number == 0 {
		if e.Revision <= p.revision {
			return false, nil
		}
		var record promptRecord
		if e.Value != nil {
			if err := json.Unmarshal(e.Value, &record); err != nil {
				return false, err
			}
		}
		p.present, p.revision, p.record = e.Value != nil, e.Revision, record
		return true, nil
	}
	old := p.versions[number]
	if old != nil && e.Revision <= old.revision {
		return false, nil
	}
	v := &storedVersion{number: number, revision: e.Revision, gone: e.Value == nil}
	if e.Value != nil {
		if err := json.Unmarshal(e.Value, &v.record); err != nil {
			return false, err
		}
		if old != nil && old.version != nil && old.record.Hash == v.record.Hash {
			v.version = old.version
		} else {
			v.version = v.record.version(name, number)
		}
	}
	p.versions[number] = v
	return true, nil
}

func (r *versionRecord) version(name string, number int) *Version {
	v := &Version{
		Name: name, Version: number, Template: r.Template, CommitMessage: r.CommitMessage, ResponseFormat: r.ResponseFormat,
		ModelConfig: r.ModelConfig, Hash: r.Hash, Parent: r.Parent, Author: r.Author, CreatedAt: r.CreatedAt,
	}
	v.complete()
	return v
}

// prompt makes what the snapshot holds.
func (p *stored) prompt(name string) *Prompt {
	out := &Prompt{Name: name, Tags: maps.Clone(p.record.Tags), Aliases: maps.Clone(p.record.Aliases), Latest: p.record.Latest, ETag: p.etag()}
	aliases := map[int][]string{}
	for _, alias := range slices.Sorted(maps.Keys(p.record.Aliases)) {
		n := p.record.Aliases[alias]
		aliases[n] = append(aliases[n], alias)
	}
	for _, n := range slices.Sorted(maps.Keys(p.versions)) {
		stored := p.versions[n]
		if stored.gone {
			continue
		}
		v := *stored.version
		v.Tags, v.Aliases = stored.record.Tags, aliases[n]
		out.Versions = append(out.Versions, &v)
	}
	out.readHosted()
	return out
}

// editing is a prompt as it is in the store, for a change of it.
type editing struct {
	registry *Registry
	name     string
	revision uint64 // 0: there is no such prompt
	record   promptRecord
}

func (r *Registry) read(name string) (*editing, error) {
	p := &editing{registry: r, name: name}
	e, err := r.store.Get(promptKey(name))
	switch {
	case errors.Is(err, control.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		p.revision = e.Revision
		if err := json.Unmarshal(e.Value, &p.record); err != nil {
			return nil, fmt.Errorf("record %s: %w", e.Key, err)
		}
	}
	if p.record.Aliases == nil {
		p.record.Aliases = map[string]int{}
	}
	return p, nil
}

func (p *editing) etag() string {
	if p.revision == 0 {
		return ""
	}
	return strconv.FormatUint(p.revision, 10)
}

// version reads a version's record, nil when there is none.
func (p *editing) version(n int) (*versionRecord, uint64, error) {
	if n == 0 {
		return nil, 0, nil
	}
	e, err := p.registry.store.Get(versionKey(p.name, n))
	if errors.Is(err, control.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	var record versionRecord
	if err := json.Unmarshal(e.Value, &record); err != nil {
		return nil, 0, fmt.Errorf("record %s: %w", e.Key, err)
	}
	return &record, e.Revision, nil
}

// inventory lists what there is, for a message.
func (p *editing) inventory() string {
	if known, ok := p.registry.Current().Prompt(p.name); ok {
		return known.inventory()
	}
	return "nothing"
}

// put adds the writing of a record.
func put(changes []control.Change, key string, revision uint64, record any) ([]control.Change, error) {
	value, err := marshal(record)
	if err != nil {
		return nil, err
	}
	return append(changes, control.Change{Key: key, Value: value, Expect: revision}), nil
}

// Limits of what comes with a template.
const (
	maxMessage = 8 << 10   // bytes of a commit message
	maxTags    = 64        // of a prompt or version
	maxTag     = 4 << 10   // bytes of a tag's value
	maxExtra   = 256 << 10 // bytes of a response format or model config
)

func (d *Draft) check() error {
	if err := checkName("name", d.Name); err != nil {
		return api.Invalid("name", "%s", err)
	}
	if len(d.Template.parts) == 0 {
		return api.Invalid("template", `a template is needed: a text or a list of {"role", "content"}`)
	}
	if len(d.CommitMessage) > maxMessage || !utf8.ValidString(d.CommitMessage) {
		return api.Invalid("commit_message", "the commit message must be text of at most %d bytes", maxMessage)
	}
	if len(d.Tags) > maxTags {
		return api.Invalid("tags", "there are %d tags; the limit is %d", len(d.Tags), maxTags)
	}
	for key, value := range d.Tags {
		if err := checkTag(key, value); err != nil {
			return err
		}
	}
	if string(d.ResponseFormat) == "null" {
		d.ResponseFormat = nil
	}
	if len(d.ResponseFormat) > maxExtra {
		return api.Invalid("response_format", "the response format has %d bytes; the limit is %d", len(d.ResponseFormat), maxExtra)
	}
	if len(d.ResponseFormat) > 0 && d.ResponseFormat[0] != '{' {
		return api.Invalid("response_format", "the response format must be an object: a JSON schema")
	}
	size := 0
	for key, raw := range d.ModelConfig {
		size += len(key) + len(raw)
	}
	if size > maxExtra {
		return api.Invalid("model_config", "the model config has %d bytes; the limit is %d", size, maxExtra)
	}
	return nil
}

func checkTag(key, value string) error {
	switch {
	case key == "" || len(key) > maxName || !utf8.ValidString(key):
		return api.Invalid("tags", "the tag %q must be text of 1 to %d bytes", excerpt(key), maxName)
	case len(value) > maxTag || !utf8.ValidString(value):
		return api.Invalid("tags", "the value of tag %q must be text of at most %d bytes", excerpt(key), maxTag)
	}
	return nil
}
