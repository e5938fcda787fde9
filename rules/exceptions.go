package rules

import (
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// exceptionDoc is an exception file as written.
type exceptionDoc struct {
	ID      text   `yaml:"id" required:"true" doc:"Equal to the file's name without .yaml."`
	Rules   []text `yaml:"rules" required:"true" doc:"Ids or patterns of the rules it is about."`
	Match   text   `yaml:"match" required:"true" doc:"An expression: which events are excepted."`
	Owner   text   `yaml:"owner" required:"true" doc:"Who answers for it."`
	Reason  text   `yaml:"reason" required:"true" doc:"Why this is no attack."`
	Expires text   `yaml:"expires" required:"true" doc:"The last day, or the time (RFC 3339), after which it has no effect."`
}

// exception is a compiled exception.
type exception struct {
	doc     exceptionDoc
	file    *file
	match   *program
	expires time.Time
}

// ExceptionInfo describes an exception.
type ExceptionInfo struct {
	ID      string    `json:"id"`
	Rules   []string  `json:"rules"` // ids and patterns as written
	Match   string    `json:"match"`
	Owner   string    `json:"owner"`
	Reason  string    `json:"reason"`
	Expires time.Time `json:"expires"` // from then on it has no effect
	File    string    `json:"file"`
	// Withheld is how many detections a running program has withheld by it; nil
	// when that is not known.
	Withheld *uint64 `json:"withheld,omitempty"`
}

// ExceptedBy is how a withheld detection is accounted for: the reason in
// detectors.EngineStats.ByReason.
func ExceptedBy(id string) string { return "exception " + id }

// Exceptions lists the exceptions of a set by id.
func (s *Set) Exceptions() []ExceptionInfo {
	out := make([]ExceptionInfo, len(s.exceptions))
	for i, x := range s.exceptions {
		out[i] = x.info()
	}
	return out
}

// ExceptionsOf lists the exceptions that are about a rule, by id.
func (s *Set) ExceptionsOf(rule string) (out []ExceptionInfo) {
	for _, x := range s.exceptions {
		if x.isAbout(rule) {
			out = append(out, x.info())
		}
	}
	return out
}

func (x *exception) info() ExceptionInfo {
	in := ExceptionInfo{ID: x.doc.ID.value, Match: strings.TrimSpace(x.doc.Match.value), Owner: x.doc.Owner.value,
		Reason: x.doc.Reason.value, Expires: x.expires, File: x.file.path}
	for _, t := range x.doc.Rules {
		in.Rules = append(in.Rules, t.value)
	}
	return in
}

func (x *exception) isAbout(rule string) bool {
	return slices.ContainsFunc(x.doc.Rules, func(t text) bool { return globID(t.value, rule) })
}

// NewExcept implements detectors.Excepter: it returns what withholds the
// detections that an exception is about, for use by one goroutine; nil when
// there are no exceptions. Whether one has expired is told by the
// detection's own time, so that a replay withholds what was withheld.
func (s *Set) NewExcept() func(ev *event.Event, d *alert.Detection) (string, bool) {
	if len(s.exceptions) == 0 {
		return nil
	}
	about := make(map[string][]*exception)
	for _, r := range s.all {
		for _, x := range s.exceptions {
			if x.isAbout(r.id()) {
				about[r.id()] = append(about[r.id()], x)
			}
		}
	}
	sess := newSession(s)
	return func(ev *event.Event, d *alert.Detection) (string, bool) {
		if ev == nil {
			return "", false
		}
		begun := false
		for _, x := range about[d.Rule] {
			if !d.Time.Before(x.expires) {
				continue
			}
			if !begun {
				sess.Begin(ev)
				begun = true
			}
			// An exception that cannot be evaluated withholds nothing.
			if ok, err := sess.holds(x.match); err == nil && ok {
				return ExceptedBy(x.doc.ID.value), true
			}
		}
		return "", false
	}
}

var _ detectors.Excepter = (*Set)(nil)

// exceptions reads the exception files of the options.
func (l *loader) exceptions(s *Set) {
	for _, p := range l.files(l.opts.Exceptions, EmptyDir{"exceptions", "exception file (*.yaml)", ""}, ".yaml", ".yml") {
		if data, ok := l.readFile(p, maxFile); ok {
			l.exception(s, p, data)
		}
	}
	sort.Slice(s.exceptions, func(i, j int) bool { return s.exceptions[i].doc.ID.value < s.exceptions[j].doc.ID.value })
}

func (l *loader) exception(s *Set, path string, data []byte) {
	f := newFile(path, data)
	f.what = "an exception"
	x := &exception{file: f}
	defer func() { l.errs = append(l.errs, f.errs...) }()
	root := f.parse(data)
	if root == nil {
		return
	}
	f.structure(root, reflectOf(&x.doc))
	d := &x.doc
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	if d.ID.set() {
		switch {
		case !idPattern.MatchString(d.ID.value):
			f.node(d.ID.node, "lower case letters, digits, _ and dots", "%q is not an id", clean(d.ID.value))
		case d.ID.value != name:
			f.node(d.ID.node, fmt.Sprintf("call the file %s.yaml", d.ID.value), "the id is not the file's name %q", name)
		}
		for _, o := range s.exceptions {
			if o.doc.ID.value == d.ID.value {
				f.node(d.ID.node, "", "exception %q stands in %s already", d.ID.value, o.file.path)
			}
		}
	}
	for _, t := range []text{d.Owner, d.Reason} {
		if t.set() && strings.TrimSpace(t.value) == "" {
			f.node(t.node, "", "this text is empty")
		}
	}
	for _, t := range d.Rules {
		if !slices.ContainsFunc(s.all, func(r *rule) bool { return globID(t.value, r.id()) }) {
			known := make([]string, len(s.all))
			for i, r := range s.all {
				known[i] = r.id()
			}
			f.node(t.node, DidYouMean(t.value, known), "there is no rule %q", clean(t.value))
		}
	}
	if d.Expires.set() {
		at, err := time.Parse(time.DateOnly, d.Expires.value)
		if err == nil {
			at = at.AddDate(0, 0, 1) // the last day counts
		} else if at, err = time.Parse(time.RFC3339, d.Expires.value); err != nil {
			f.node(d.Expires.node, "", "want a day like 2026-12-31, or a time")
		}
		x.expires = at
	}
	if d.Match.set() {
		x.match = l.c.expression(f, d.Match, d.Match.value, 0, useMatch, allowed{})
		if x.match != nil && len(namesIn(d.Match.value)) == 0 {
			f.node(d.Match.node, "say whose: actor.id, source.ip, target.id …", "the condition looks at nothing of the event: to silence a rule for everybody use detect.disable")
		}
	}
	if len(f.errs) == 0 {
		s.exceptions = append(s.exceptions, x)
		l.keep("exceptions", d.ID.value+".yaml", data)
		l.sum = append(l.sum, "exception\x00"+d.ID.value+"\x00"+hash(string(data)))
	}
}

// Expired lists the exceptions that have no effect at a time any more, as
// warnings.
func (s *Set) Expired(now time.Time) []*Error {
	var out []*Error
	for _, x := range s.exceptions {
		if !now.Before(x.expires) {
			n := x.doc.Expires.node
			out = append(out, x.file.fault(n.Line, n.Column, "delete the file, or look at it again and say a later day",
				"the exception of %s has expired and withholds nothing", clean(x.doc.Owner.value)))
		}
	}
	return out
}
