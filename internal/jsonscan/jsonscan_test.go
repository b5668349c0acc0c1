package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		doc  string
		want string // part of the error; "": accepted
	}{
		"empty object":      {`{}`, ""},
		"all kinds":         {` {"a":1,"b":"x\"y","c":[1,{"d":null}],"e":true,"f":-1.5e+3} `, ""},
		"repeated":          {`{"a":1,"a":2}`, `member "a" repeated at byte 7`},
		"repeated, escaped": {`{"model":1,"mod\u0065l":2}`, `member "model" repeated`},
		"nested repetition": {`{"a":{"b":1,"b":2}}`, ""}, // not ours to judge
		"array":             {`[1]`, "want a JSON object at byte 0"},
		"empty":             {"", "empty document"},
		"junk behind":       {`{} x`, "unexpected data"},
		"too deep":          {`{"a":[[[[1]]]]}`, "nested deeper than 4"},
		"control character": {"{\"a\":\"x\ny\"}", "control character"},
		"bad escape":        {`{"a":"\x"}`, "invalid escape"},
		"bad unicode":       {`{"a":"\u12g4"}`, `invalid \u escape`},
		"leading zero":      {`{"a":01}`, "want a comma"},
		"trailing comma":    {`{"a":1,}`, "want a member name"},
		"cut string":        {`{"a":"xyzxyzxyzxyz`, "string without an end"},
		"cut":               {`{"a":`, "unexpected end"},
		"NaN":               {`{"a":NaN}`, "invalid character"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := jsonscan.Parse([]byte(tt.doc), 4, nil)
			if tt.want == "" && err != nil {
				t.Fatal(err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestEdit(t *testing.T) {
	const doc = `{ "model": "gpt-4", "n" : 2,"messages":[{"role":"user","content":"hi"}] , "user":"u" }`
	tests := map[string]struct {
		edit func(o *jsonscan.Object, e *jsonscan.Editor)
		want string
	}{
		"nothing": {func(*jsonscan.Object, *jsonscan.Editor) {}, doc},
		"replace": {
			func(_ *jsonscan.Object, e *jsonscan.Editor) { e.Set("model", []byte(`"o3"`)) },
			`{ "model": "o3", "n" : 2,"messages":[{"role":"user","content":"hi"}] , "user":"u" }`,
		},
		"add": {
			func(_ *jsonscan.Object, e *jsonscan.Editor) { e.Set("a", []byte("1")); e.Set("b", []byte("2")) },
			`{"a":1,"b":2, "model": "gpt-4", "n" : 2,"messages":[{"role":"user","content":"hi"}] , "user":"u" }`,
		},
		"delete first": {
			func(_ *jsonscan.Object, e *jsonscan.Editor) { e.Delete("model") },
			`{  "n" : 2,"messages":[{"role":"user","content":"hi"}] , "user":"u" }`,
		},
		"delete last": {
			func(_ *jsonscan.Object, e *jsonscan.Editor) { e.Delete("user") },
			`{ "model": "gpt-4", "n" : 2,"messages":[{"role":"user","content":"hi"}]  }`,
		},
		"delete all": {
			func(_ *jsonscan.Object, e *jsonscan.Editor) {
				for _, k := range []string{"model", "n", "messages", "user"} {
					e.Delete(k)
				}
			},
			`{    }`,
		},
		"delete all and add": {
			func(_ *jsonscan.Object, e *jsonscan.Editor) {
				for _, k := range []string{"model", "n", "messages", "user"} {
					e.Delete(k)
				}
				e.Set("x", []byte("[]"))
			},
			`{"x":[]    }`,
		},
		"set what was deleted": {
			func(_ *jsonscan.Object, e *jsonscan.Editor) { e.Delete("n"); e.Set("n", []byte("3")) },
			`{ "model": "gpt-4", "n" : 3,"messages":[{"role":"user","content":"hi"}] , "user":"u" }`,
		},
		"inside": {
			func(o *jsonscan.Object, e *jsonscan.Editor) {
				for m := range jsonscan.Elements(o.Doc, o.Get("messages")) {
					e.Replace(jsonscan.Lookup(o.Doc, m, "content"), []byte(`"ho"`))
				}
				e.Delete("user")
			},
			`{ "model": "gpt-4", "n" : 2,"messages":[{"role":"user","content":"ho"}]  }`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := jsonscan.Parse([]byte(doc), 8, nil)
			if err != nil {
				t.Fatal(err)
			}
			e := o.Edit()
			tt.edit(&o, e)
			got := string(e.AppendTo(nil))
			if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(tt.want, " ", "") {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !json.Valid([]byte(got)) {
				t.Errorf("not JSON: %s", got)
			}
		})
	}
}

func TestUnquoteIsStrict(t *testing.T) {
	for raw, want := range map[string]string{
		`"plain"`: "plain", `"a\n\t\"\\\/\b\f\r"`: "a\n\t\"\\/\b\f\r", `"\u00e9\ud83d\ude00"`: "é😀", `""`: "",
	} {
		if got, ok := jsonscan.Unquote([]byte(raw)); !ok || got != want {
			t.Errorf("Unquote(%s) = %q, %v; want %q", raw, got, ok, want)
		}
	}
	for _, raw := range []string{`"\ud83d"`, `"\ude00\ud83d"`, "\"\xff\"", `"\ud83dx"`, `"`, ``, `x`} {
		if got, ok := jsonscan.Unquote([]byte(raw)); ok {
			t.Errorf("Unquote(%q) = %q, want no text", raw, got)
		}
	}
}

// What encoding/json accepts as an object, Parse accepts, and the other way
// round (but for what only Parse refuses); the places are the members' values.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":"b\\","c":[1,"]",{"d":"}"}]}`, `{"a":1e5,"b":-0}`, `{"a":"\ud800"}`, `{"":""}`, `{"a" : tru}`, "{\"a\":\"\x01\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		o, err := jsonscan.Parse(doc, 100, nil)
		var std map[string]json.RawMessage
		stdErr := json.Unmarshal(doc, &std)
		if err == nil && (stdErr != nil || std == nil) {
			t.Fatalf("accepted %q, which encoding/json refuses: %v", doc, stdErr)
		}
		if err != nil {
			refused := strings.Contains(err.Error(), "repeated") || strings.Contains(err.Error(), "nested") || strings.Contains(err.Error(), "valid text")
			if stdErr == nil && std != nil && !refused {
				t.Fatalf("refused %q: %v", doc, err)
			}
			return
		}
		for _, m := range o.Members {
			if !bytes.Equal(std[m.Key], m.Of(doc)) {
				t.Fatalf("member %q: got %q, want %q", m.Key, m.Of(doc), std[m.Key])
			}
			n := 0
			for v := range jsonscan.Elements(doc, m.Value) {
				if !json.Valid(v.Of(doc)) {
					t.Fatalf("element %q of %q", v.Of(doc), m.Of(doc))
				}
				n++
			}
			var list []json.RawMessage
			if m.IsArray(doc) && (json.Unmarshal(m.Of(doc), &list) != nil || len(list) != n) {
				t.Fatalf("%d elements in %q, want %d", n, m.Of(doc), len(list))
			}
			records, members := 0, 0
			jsonscan.Records(doc, m.Value, func(_ []byte, v jsonscan.Value) {
				members++
				if !json.Valid(v.Of(doc)) {
					t.Fatalf("member %q of %q", v.Of(doc), m.Of(doc))
				}
			}, func(v jsonscan.Value) {
				records++
				for range jsonscan.MembersOf(doc, v) {
					members--
				}
			})
			if records != n || members != 0 {
				t.Fatalf("%d records in %q, want %d; members differ by %d", records, m.Of(doc), n, members)
			}
			for _, v := range jsonscan.MembersOf(doc, m.Value) {
				if !json.Valid(v.Of(doc)) {
					t.Fatalf("value %q of %q", v.Of(doc), m.Of(doc))
				}
			}
		}
		e := o.Edit()
		e.Set("zz", []byte("1"))
		for i, m := range o.Members {
			if i%2 == 0 && m.Key != "zz" {
				e.Delete(m.Key)
			}
		}
		out := e.AppendTo(nil)
		var edited map[string]json.RawMessage
		if err := json.Unmarshal(out, &edited); err != nil {
			t.Fatalf("editing %q gave %q: %v", doc, out, err)
		}
		for i, m := range o.Members {
			_, there := edited[m.Key]
			if m.Key != "zz" && there == (i%2 == 0) {
				t.Fatalf("editing %q gave %q", doc, out)
			}
		}
	})
}

// Walking data that nobody has checked stays inside it and ends.
func FuzzWalkUnchecked(f *testing.F) {
	f.Add([]byte(`{"a":[1,2,}`))
	f.Add([]byte(`[}`))
	f.Fuzz(func(_ *testing.T, doc []byte) {
		v := jsonscan.Value{Start: 0, End: len(doc)}
		for e := range jsonscan.Elements(doc, v) {
			_ = e.Of(doc)
			jsonscan.Records(doc, e, func(k []byte, m jsonscan.Value) { _, _ = k, m.Of(doc) }, func(m jsonscan.Value) { _ = m.Of(doc) })
			for _, m := range jsonscan.MembersOf(doc, e) {
				_ = m.Of(doc)
			}
		}
		for k, m := range jsonscan.MembersOf(doc, v) {
			_, _ = k, m.Of(doc)
			_, _ = jsonscan.Unquote(m.Of(doc))
		}
	})
}

func FuzzQuote(f *testing.F) {
	f.Add("a\"\\\n\x00é😀")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ToValidUTF8(s, "") != s {
			return
		}
		raw := jsonscan.AppendQuoted(nil, s)
		var std string
		if err := json.Unmarshal(raw, &std); err != nil || std != s {
			t.Fatalf("%q quoted is %s: %v", s, raw, err)
		}
		if got, ok := jsonscan.Unquote(raw); !ok || got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for name, size := range map[string]int{"1KB": 1 << 10, "10KB": 10 << 10, "100KB": 100 << 10} {
		doc := []byte(`{"model":"gpt-4o-mini","temperature":0.2,"messages":[{"role":"user","content":"` + strings.Repeat("some words of text ", size/19) + `"}]}`)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(doc)))
			var members []jsonscan.Member
			for b.Loop() {
				o, err := jsonscan.Parse(doc, 128, members)
				if err != nil {
					b.Fatal(err)
				}
				members = o.Members
			}
		})
	}
}
