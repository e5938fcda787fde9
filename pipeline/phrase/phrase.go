package phrase

import (
	"cmp"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Joined takes apart a text that consists of several sentences: it returns it
// with say applied to each, or false when it is none.
type Joined func(s string, say func(string) string) (string, bool)

// Book knows sentences. It is safe for concurrent use.
type Book struct {
	exact         map[string]string
	forms         []form
	before, after Joined
}

// form is a sentence with places in it.
type form struct {
	re    *regexp.Regexp
	other string
	inner []bool // places that hold a sentence
}

// New makes a book of pairs: a sentence, and what it is in the other language.
// %s in them stands for a value that stays as it is, %p in the first for a
// sentence of its own, which %s stands for in the second; they are in the same
// order in both. before is asked about a text that is no sentence without
// places, after about one that is no sentence at all; both may be nil.
func New(pairs [][2]string, before, after Joined) *Book {
	b := &Book{exact: map[string]string{}, before: before, after: after}
	list := slices.Clone(pairs)
	// The form with the most words of its own is tried first, and one that begins with
	// a place, which takes in whatever stands there, after all that begin with a word.
	place := func(p [2]string) int {
		if strings.HasPrefix(p[0], "%") {
			return 1
		}
		return 0
	}
	sort.SliceStable(list, func(i, j int) bool {
		x, y := list[i], list[j]
		return cmp.Or(cmp.Compare(place(x), place(y)), cmp.Compare(len(y[0]), len(x[0]))) < 0
	})
	for _, p := range list {
		if !strings.Contains(p[0], "%") {
			b.exact[p[0]] = p[1]
			continue
		}
		f := form{other: p[1]}
		var re strings.Builder
		re.WriteString(`(?s)^`)
		rest := p[0]
		for {
			i := strings.IndexByte(rest, '%')
			if i < 0 {
				re.WriteString(regexp.QuoteMeta(rest))
				break
			}
			re.WriteString(regexp.QuoteMeta(rest[:i]))
			f.inner = append(f.inner, rest[i+1] == 'p')
			re.WriteString(`(.*?)`)
			rest = rest[i+2:]
		}
		re.WriteString(`$`)
		f.re = regexp.MustCompile(re.String())
		b.forms = append(b.forms, f)
	}
	return b
}

// deepest is how many sentences may stand inside of each other.
const deepest = 6

// Say says a text in the other language; what is not known stays as it is.
func (b *Book) Say(s string) string { return b.say(s, 0) }

func (b *Book) say(s string, depth int) string {
	if s == "" || depth > deepest {
		return s
	}
	if other, ok := b.exact[s]; ok {
		return other
	}
	within := func(s string) string { return b.say(s, depth+1) }
	if b.before != nil {
		if out, ok := b.before(s, within); ok {
			return out
		}
	}
	for i := range b.forms {
		if m := b.forms[i].re.FindStringSubmatch(s); m != nil {
			return b.forms[i].fill(m[1:], within)
		}
	}
	if b.after != nil {
		if out, ok := b.after(s, within); ok {
			return out
		}
	}
	return s
}

func (f *form) fill(values []string, say func(string) string) string {
	var b strings.Builder
	for i, part := range strings.Split(f.other, "%s") {
		if i > 0 && i <= len(values) {
			if f.inner[i-1] {
				b.WriteString(say(values[i-1]))
			} else {
				b.WriteString(values[i-1])
			}
		}
		b.WriteString(part)
	}
	return b.String()
}
