package rampolicy

import (
	"regexp"
	"strings"
)

// hole is a part of a text that something else is to be put in place of.
var hole = regexp.MustCompile(`\$\{[^}]*\}?`)

// bounds returns the least or the most that a document can allow, whatever is
// put in place of the holes in its texts.
func (d *Document) bounds(most bool) *Document {
	if !d.Templated {
		return d
	}
	out := *d
	out.sum = [len(d.sum)]byte{}
	out.Statements = make([]Statement, 0, len(d.Statements))
	for _, s := range d.Statements {
		if !s.templated() {
			out.Statements = append(out.Statements, s)
			continue
		}
		// A statement that matches more allows more, or refuses more.
		grow := most != s.Deny
		s.Actions, s.lower = fill(s.Actions, grow != s.NotAction), nil
		s.Resources = fill(s.Resources, grow != s.NotResrc)
		var principals []Principal
		for _, p := range s.Principals {
			switch {
			case !strings.Contains(p.Value, "${"):
				principals = append(principals, p)
			case grow != s.NotPrinc:
				principals = append(principals, Principal{Value: "*"})
			}
		}
		s.Principals = principals
		var conditions []Condition
		never := false
		for _, c := range s.Conditions {
			if c.templated() {
				never = never || !grow
				continue
			}
			conditions = append(conditions, c)
		}
		s.Conditions = conditions
		if !never {
			out.Statements = append(out.Statements, s)
		}
	}
	return &out
}

// fill widens patterns with holes to all that they can become, or leaves them
// out.
func fill(list []string, widen bool) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		switch {
		case !strings.Contains(v, "${"):
			out = append(out, v)
		case widen:
			out = append(out, hole.ReplaceAllString(v, "*"))
		}
	}
	return out
}
