package scorer

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// violations says in words where an answer breaks the schema.
func violations(err error) []string {
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return []string{"the schema is broken: " + err.Error()}
	}
	var broken []string
	english := message.NewPrinter(language.English)
	var collect func(*jsonschema.ValidationError)
	collect = func(e *jsonschema.ValidationError) {
		if len(broken) > 2*mostFaults {
			return
		}
		for _, cause := range e.Causes {
			collect(cause)
		}
		if len(e.Causes) == 0 {
			path := "$"
			for _, key := range e.InstanceLocation {
				if i, err := strconv.Atoi(key); err == nil {
					path = element(path, i)
				} else {
					path = member(path, key)
				}
			}
			broken = append(broken, fmt.Sprintf("%s breaks the schema: %s", path, cut(e.ErrorKind.LocalizedString(english), longestQuote)))
		}
	}
	collect(invalid)
	return broken
}
