package price

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// clause is a rule of genai-prices that says which names mean a provider or a
// model. It is matched against names in lower case.
type clause struct {
	kind  clauseKind
	text  string // lower case
	regex *regexp.Regexp
	parts []clause
}

type clauseKind uint8

const (
	equals clauseKind = iota + 1
	startsWith
	endsWith
	contains
	matchesRegex
	anyOf
	allOf
	noneOf
)

func (c *clause) matches(name string) bool {
	switch c.kind {
	case equals:
		return name == c.text
	case startsWith:
		return strings.HasPrefix(name, c.text)
	case endsWith:
		return strings.HasSuffix(name, c.text)
	case contains:
		return strings.Contains(name, c.text)
	case matchesRegex:
		return c.regex.MatchString(name)
	case anyOf:
		return c.any(name)
	case allOf:
		for i := range c.parts {
			if !c.parts[i].matches(name) {
				return false
			}
		}
		return true
	case noneOf:
		return !c.any(name)
	}
	return false
}

func (c *clause) any(name string) bool {
	for i := range c.parts {
		if c.parts[i].matches(name) {
			return true
		}
	}
	return false
}

// names adds the names the clause gives in full.
func (c *clause) names(set map[string]bool) {
	switch c.kind {
	case equals:
		set[c.text] = true
	case anyOf:
		for i := range c.parts {
			c.parts[i].names(set)
		}
	}
}

// UnmarshalJSON reads an object of one field, named for the kind of clause.
func (c *clause) UnmarshalJSON(data []byte) error {
	var fields struct {
		Equals     *string  `json:"equals"`
		StartsWith *string  `json:"starts_with"`
		EndsWith   *string  `json:"ends_with"`
		Contains   *string  `json:"contains"`
		Regex      *string  `json:"regex"`
		Or         []clause `json:"or"`
		And        []clause `json:"and"`
		Not        *clause  `json:"not"`
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	switch {
	case fields.Equals != nil:
		*c = clause{kind: equals, text: strings.ToLower(*fields.Equals)}
	case fields.StartsWith != nil:
		*c = clause{kind: startsWith, text: strings.ToLower(*fields.StartsWith)}
	case fields.EndsWith != nil:
		*c = clause{kind: endsWith, text: strings.ToLower(*fields.EndsWith)}
	case fields.Contains != nil:
		*c = clause{kind: contains, text: strings.ToLower(*fields.Contains)}
	case fields.Regex != nil:
		re, err := regexp.Compile(*fields.Regex)
		if err != nil {
			return err
		}
		*c = clause{kind: matchesRegex, regex: re}
	case fields.Or != nil:
		*c = clause{kind: anyOf, parts: fields.Or}
	case fields.And != nil:
		*c = clause{kind: allOf, parts: fields.And}
	case fields.Not != nil:
		*c = clause{kind: noneOf, parts: []clause{*fields.Not}}
	default:
		return fmt.Errorf("unrecognized clause %s", data)
	}
	return nil
}
