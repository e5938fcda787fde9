package alert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// WriteLine writes v to w as one line of JSON that is safe to show: besides
// what JSON requires, characters that move a terminal's cursor, turn the
// direction of text around or cannot be seen are escaped (C1 controls, DEL,
// bidirectional marks and embeddings, zero-width characters, line and
// paragraph separators, the byte order mark), and so is what the runner of a CI
// that keeps the output in its log would take for a command ("##vso[", see
// text.Log). The meaning is the same. Angle brackets and ampersands stay as they
// are.
func WriteLine(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(EscapeJSON(b.Bytes()))
	return err
}

// EscapeJSON escapes the characters of WriteLine in valid JSON. They can only
// stand inside strings, so that the meaning stays the same. Without any, it
// returns data itself.
func EscapeJSON(data []byte) []byte {
	var out []byte
	done := 0
	for i := 0; i < len(data); {
		if data[i] < 0x7f {
			if data[i] == '#' && command(data[i:]) {
				out = append(append(out, data[done:i]...), `\u0023`...)
				done = i + 1
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(data[i:])
		if hidden(r) {
			out = append(out, data[done:i]...)
			out = fmt.Appendf(out, `\u%04x`, r)
			done = i + n
		}
		i += n
	}
	if done == 0 {
		return data
	}
	return append(out, data[done:]...)
}

// command says that what a runner takes for a command to itself begins, with two
// number signs, a word and a bracket.
func command(b []byte) bool {
	if len(b) < 3 || b[1] != '#' {
		return false
	}
	for _, c := range b[2:] {
		if c == '[' {
			return true
		}
		if c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return false
}

// hidden says that a character acts on the text around it or cannot be seen.
// All of them are in the basic plane, so that one escape is enough.
func hidden(r rune) bool {
	return r >= 0x7f && r <= 0x9f || r == 0x061c || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f || r == 0xfeff
}
