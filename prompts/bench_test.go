package prompts

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/call"
)

// prose is n bytes of ordinary text.
func prose(n int) string {
	words := strings.Fields("the quick brown fox jumps over a lazy dog and the customer writes that her parcel came late on monday but she liked it very much indeed 42 times")
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		b.WriteString(words[(i*i*7+i*3)%len(words)])
		b.WriteByte(" \n"[i%17/16])
	}
	return b.String()[:n]
}

func benchmarkRecognize(b *testing.B, m *matcher, c *call.Call, want bool) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		p, _ := m.recognize(c, 0)
		if (p.Name != "") != want {
			b.Fatalf("recognised %q", p.Name)
		}
	}
}

func BenchmarkRecognize(b *testing.B) {
	const n = 1000
	build := func(template func(i int) string) (*matcher, []*Version) {
		var versions []*Version
		for i := range n {
			versions = append(versions, versionOf(fmt.Sprintf("prompt-%d", i), 1, textOf(b, template(i))))
		}
		return matcherOf(versions...), versions
	}
	text := prose(4 << 10)
	values := map[string]string{"text": text, "b": "twenty words"}
	render := func(v *Version) *call.Call {
		messages, err := v.Render(values)
		if err != nil {
			b.Fatal(err)
		}
		return chatCall(b, "system", "You are an assistant.", "user", messages[0].Content)
	}
	sets := []struct {
		name     string
		template func(i int) string
	}{
		{"distinct openings", func(i int) string {
			return fmt.Sprintf("%d. Classify the sentiment of this text.\n\nText: {{text}}\n\nIn {{b}}: ", i)
		}},
		{"one opening, other closings", func(i int) string {
			return fmt.Sprintf("Classify the sentiment of this text.\n\nText: {{text}}\n\nIn %d of {{b}}, as number %d: ", i, i)
		}},
		{"one opening, other inner literals", func(i int) string {
			return fmt.Sprintf("Classify the sentiment of this text.\n\nText: {{text}}\n\nIn %d of {{b}}", i)
		}},
		{"one opening of 2 KB, then others", func(i int) string {
			return strings.Repeat("Classify it. ", 160) + fmt.Sprintf("%d: {{text}} in {{b}}.", i)
		}},
		{"no opening, one closing", func(i int) string {
			return fmt.Sprintf("{{text}}\n\nIn %d of {{b}}, classify it.", i)
		}},
		{"neither", func(i int) string { return fmt.Sprintf("{{text}}\n\nClassify, in %d of {{b}}", i) }},
	}
	for _, set := range sets {
		m, versions := build(set.template)
		b.Run(set.name+"/match", func(b *testing.B) { benchmarkRecognize(b, m, render(versions[n/2]), true) })
		near, err := textOfSource(b, set.template(n+7)).Render(values)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(set.name+"/near miss", func(b *testing.B) {
			benchmarkRecognize(b, m, chatCall(b, "user", near[0].Content), false)
		})
		b.Run(set.name+"/miss", func(b *testing.B) { benchmarkRecognize(b, m, chatCall(b, "user", text), false) })
	}
	m, _ := build(sets[0].template)
	b.Run("miss of 100 KB", func(b *testing.B) { benchmarkRecognize(b, m, chatCall(b, "user", prose(100<<10)), false) })
	chat := matcherOf(versionOf("bench", 1, chatOf(b, "system", "You are a terse assistant. Answer with care.", "user", "{{text}}")))
	for _, size := range []int{1 << 10, 4 << 10, 100 << 10} {
		b.Run(fmt.Sprintf("chat of %d KB", size>>10), func(b *testing.B) {
			benchmarkRecognize(b, chat, chatCall(b, "system", "You are a terse assistant. Answer with care.", "user", prose(size)), true)
		})
	}
}

func textOfSource(t testing.TB, source string) *Template {
	t.Helper()
	out := textOf(t, source)
	return &out
}

func BenchmarkCompile(b *testing.B) {
	var versions []*Version
	for i := range 1000 {
		versions = append(versions, versionOf(fmt.Sprintf("prompt-%d", i), 1, textOf(b, fmt.Sprintf("%d. Classify: {{text}} in {{b}}.", i))))
	}
	b.ReportAllocs()
	for b.Loop() {
		matcherOf(versions...)
	}
}

func BenchmarkRender(b *testing.B) {
	t := textOf(b, "Classify the sentiment of this text.\n\nText: {{text}}\n\nIn {{b}}: ")
	values := map[string]string{"text": prose(4 << 10), "b": "one word"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Render(values); err != nil {
			b.Fatal(err)
		}
	}
}
