package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// merged is what came of one rule file.
type merged struct {
	Name string
	// What is said of it: kept, updated, merged, conflict, new, removed.
	What string
	Data []byte
	// Conflicts are the keys that both changed.
	Conflicts []string
}

// section is one top-level key of a rule file with the lines that belong to it,
// comments above included.
type section struct {
	key  string
	text string
}

// sections cuts a rule file at its top-level keys. Rule files are block YAML
// mappings (the loader wants that), so a key begins in the first column. What
// stands before the first key is the section "".
func sections(data []byte) []section {
	var out []section
	var held strings.Builder // comments and blank lines: they belong to the key that follows
	cur := section{}
	for _, line := range strings.SplitAfter(string(data), "\n") {
		if line == "" {
			continue
		}
		key, _, isKey := strings.Cut(line, ":")
		switch {
		case isKey && line[0] != ' ' && line[0] != '#' && line[0] != '-' && line[0] != '\n':
			if cur.key != "" {
				out = append(out, cur)
			}
			cur = section{key: key, text: held.String() + line}
			held.Reset()
		case strings.TrimSpace(line) == "" || line[0] == '#':
			held.WriteString(line)
		case cur.key == "":
			held.WriteString(line) // a document marker
		default:
			cur.text += held.String() + line
			held.Reset()
		}
	}
	if cur.key != "" {
		out = append(out, cur)
	}
	if held.Len() > 0 {
		out = append(out, section{"", held.String()})
	}
	return out
}

// mergeRule is the three-way merge of one file, key by key: what only one side
// changed is taken from it; what both changed is a conflict, in which mine
// stands and theirs follows as a comment.
func mergeRule(name string, base, mine, theirs []byte) merged {
	switch {
	case bytes.Equal(mine, theirs), bytes.Equal(base, theirs):
		return merged{name, "kept", mine, nil}
	case bytes.Equal(base, mine):
		return merged{name, "updated", theirs, nil}
	}
	at := func(list []section) map[string]string {
		m := map[string]string{}
		for _, s := range list {
			m[s.key] += s.text
		}
		return m
	}
	b, t, m := at(sections(base)), at(sections(theirs)), at(sections(mine))
	var order []string
	for _, list := range [][]section{sections(mine), sections(theirs)} {
		for _, s := range list {
			if !slices.Contains(order, s.key) {
				order = append(order, s.key)
			}
		}
	}
	out := merged{Name: name, What: "merged"}
	var text strings.Builder
	for _, key := range order {
		switch {
		case m[key] == t[key], t[key] == b[key]:
			text.WriteString(m[key])
		case m[key] == b[key]:
			text.WriteString(t[key])
		default:
			out.Conflicts = append(out.Conflicts, key)
			text.WriteString(m[key])
			fmt.Fprintf(&text, "# CONFLICT in %s: the shipped rule now says:\n", key)
			for _, line := range strings.Split(strings.TrimRight(t[key], "\n"), "\n") {
				fmt.Fprintf(&text, "# | %s\n", line)
			}
		}
	}
	out.Data = []byte(text.String())
	if len(out.Conflicts) > 0 {
		out.What = "conflict"
	}
	return out
}

// mergePack merges every file of mine. Files of theirs that mine does not have
// stay where they are, in the program: they need no copy.
func mergePack(base, mine, theirs map[string][]byte) []merged {
	var out []merged
	names := make([]string, 0, len(mine))
	for n := range mine {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		_, wasShipped := base[n]
		_, isShipped := theirs[n]
		switch {
		case !wasShipped && !isShipped:
			out = append(out, merged{n, "your own", mine[n], nil})
		case !wasShipped:
			out = append(out, merged{n, "conflict", mine[n], []string{"the whole rule: it is shipped now, and yours has the same id"}})
		case !isShipped:
			out = append(out, merged{n, "kept, no longer shipped", mine[n], nil})
		default:
			out = append(out, mergeRule(n, base[n], mine[n], theirs[n]))
		}
	}
	return out
}
