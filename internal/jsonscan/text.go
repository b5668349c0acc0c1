package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// knownKeys are the member names that requests carry most, so that finding
// them costs no allocation.
var knownKeys = func() map[string]string {
	m := map[string]string{}
	for _, k := range []string{
		"model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens",
		"n", "stop", "user", "metadata", "tools", "tool_choice", "parallel_tool_calls", "response_format", "seed", "logprobs",
		"top_logprobs", "presence_penalty", "frequency_penalty", "reasoning_effort", "reasoning", "prompt", "input", "instructions",
		"previous_response_id", "store", "text", "include", "safety_identifier", "prompt_cache_key", "max_output_tokens", "conversation",
		"service_tier", "modalities", "logit_bias", "verbosity", "system", "stop_sequences", "thinking", "top_k", "dimensions", "encoding_format", "suffix", "truncation", "background",
	} {
		m[k] = k
	}
	return m
}()

func knownKey(raw []byte) (string, bool) {
	k, ok := knownKeys[string(raw)]
	return k, ok
}

// Unquote decodes the string literal raw (with its quotes). It is strict: a
// lone surrogate or invalid UTF-8 is not a text, and ok is false. The result
// shares raw's memory when nothing had to be unescaped: it must not outlive
// raw, nor may raw change.
func Unquote(raw []byte) (text string, ok bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return "", false
	}
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		if !utf8.Valid(raw) {
			return "", false
		}
		return unsafe.String(unsafe.SliceData(raw), len(raw)), true
	}
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		n := bytes.IndexByte(raw, '\\')
		if n < 0 {
			n = len(raw)
		}
		out = append(out, raw[:n]...)
		raw = raw[n:]
		if len(raw) < 2 {
			break
		}
		c := raw[1]
		raw = raw[2:]
		switch c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, rest, ok := unescape(raw)
			if !ok {
				return "", false
			}
			raw = rest
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
	}
	if !utf8.Valid(out) {
		return "", false
	}
	return unsafe.String(unsafe.SliceData(out), len(out)), true
}

func unescape(raw []byte) (r rune, rest []byte, ok bool) {
	if len(raw) < 4 || !hex4(raw[:4]) {
		return 0, nil, false
	}
	r, raw = rune(hexValue(raw)), raw[4:]
	if !utf16.IsSurrogate(r) {
		return r, raw, true
	}
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' || !hex4(raw[2:6]) {
		return 0, nil, false
	}
	r = utf16.DecodeRune(r, rune(hexValue(raw[2:])))
	return r, raw[6:], r != utf8.RuneError
}

func hexValue(b []byte) (v uint32) {
	for _, c := range b[:4] {
		d := uint32(c|0x20) - 'a' + 10
		if c <= '9' {
			d = uint32(c - '0')
		}
		v = v<<4 | d
	}
	return v
}

// AppendQuoted appends text as a JSON string literal. Only what RFC 8259
// requires is escaped.
func AppendQuoted(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	b := unsafe.Slice(unsafe.StringData(text), len(text))
	from := 0
	for i := 0; i < len(text); i++ {
		for i+8 <= len(b) {
			m := special(binary.LittleEndian.Uint64(b[i:]))
			if m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i == len(text) {
			break
		}
		c := text[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	dst = append(dst, text[from:]...)
	return append(dst, '"')
}
