package tracing

import "testing"

func TestRedact(t *testing.T) {
	x, err := newRedactor([]string{"ssn", `\d{3}-\d{4}`})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		`{"ssn":"1","a":[{"ssn":{"x":1}}],"t":"call 555-1234 \n now","n":5}`: `{"ssn":"[redacted]","a":[{"ssn":"[redacted]"}],"t":"call [redacted] \n now","n":5}`,
		` {"\u0073sn":1.5 , "k" : true} `:                                    ` {"\u0073sn":"[redacted]" , "k" : true} `,
		`{"a":"nothing \ud800 here"}`:                                        `{"a":"nothing \ud800 here"}`,
		`not json 555-1234`:                                                  `"[withheld: not JSON, and there are redact rules]"`,
		`{"a":"555-1234`:                                                     `"[withheld: not JSON, and there are redact rules]"`,
		`"555-1234"`:                                                         `"[redacted]"`,
	} {
		if got := string(x.body(nil, []byte(in))); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	for _, rule := range []string{"(", "a*"} {
		if _, err := newRedactor([]string{rule}); err == nil {
			t.Errorf("%q was accepted", rule)
		}
	}
}
