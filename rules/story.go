package rules

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// storyDoc is a story file as written.
type storyDoc struct {
	Title  string              `yaml:"title" required:"true" doc:"What happens, short."`
	About  string              `yaml:"about" required:"true" doc:"The story in a few sentences: who, how, and what should be noticed."`
	Lists  map[string][]string `yaml:"lists" doc:"Named lists that the story needs."`
	Life   lifeDoc             `yaml:"life" doc:"Ordinary life around it."`
	Events []eventDoc          `yaml:"events" required:"true" doc:"Events in order, abbreviated as in the tests of rules."`
	Expect map[string]int      `yaml:"expect" required:"true" doc:"Rule to number of alerts: the ground truth. Rules that are not named raise none."`
}

type lifeDoc struct {
	Identities int `yaml:"identities" doc:"How many identities."`
	Days       int `yaml:"days" doc:"For how many days up to the end of the story."`
}

// Story is a sequence of events in the abbreviated form of rule tests, with
// the alerts that must come of it: an attack for a corpus with ground truth.
type Story struct {
	Title, About string
	// Lists are the named lists that it needs.
	Lists map[string][]string
	// Identities and Days are the ordinary life that it is to be set in.
	Identities, Days int
	// Expect is the number of alerts by rule.
	Expect map[string]int

	test testDoc
}

// ReadStory reads a story file. The error is an Errors with every fault.
func ReadStory(path string, data []byte) (*Story, error) {
	f := newFile(path, data)
	f.what = "a story"
	var d storyDoc
	if root := f.parse(data); root != nil {
		f.structure(root, reflect.ValueOf(&d).Elem())
	}
	s := &Story{Title: d.Title, About: strings.TrimSpace(d.About), Lists: d.Lists, Identities: d.Life.Identities, Days: d.Life.Days,
		Expect: d.Expect, test: testDoc{Events: d.Events}}
	for i := range s.test.Events {
		if e := &s.test.Events[i]; e.ID == "" {
			// Ids look like the real ones and are the same every time.
			h := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", d.Title, i))
			e.ID = fmt.Sprintf("%X-%X-4%03X-A%03X-%X", h[:4], h[4:6], (int(h[6])<<8|int(h[7]))&0xfff, (int(h[8])<<8|int(h[9]))&0xfff, h[10:16])
			if e.Repeat > 1 {
				e.ID += "{n}"
			}
		}
	}
	if len(f.errs) == 0 {
		if err := s.test.check(); err != nil {
			f.at(0, 0, "", "%s", err)
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(d.Expect)) {
		if d.Expect[rule] < 1 {
			f.at(0, 0, "leave it out", "expect of %s is %d", rule, d.Expect[rule])
		}
	}
	if len(f.errs) > 0 {
		f.errs.sort()
		return nil, f.errs
	}
	return s, nil
}

// Records writes the story as ActionTrail records, in order.
func (s *Story) Records() ([][]byte, error) { return s.test.records() }

// Record writes one record: the keys of over are laid over an ordinary call
// of a RAM user; a nil value takes a key away.
func Record(over map[string]any) []byte { return record(over) }
