package synth

import (
	"bufio"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/packed"
	"github.com/trailwarden/trailwarden/rules"
)

// attacks are the stories of the folder of that name, packed:
// `go test ./cmd/internal/synth -run TestAttacksArePacked -update` makes it anew.
//
//go:embed attacks.tar.zst
var attacks []byte

// Attack is a story that is shipped.
type Attack struct {
	Name string
	rules.Story
}

// Attacks lists the shipped stories by name.
func Attacks() ([]Attack, error) {
	files, err := packed.Files(attacks)
	if err != nil {
		return nil, fmt.Errorf("the shipped attacks: %w", err)
	}
	out := make([]Attack, 0, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		s, err := rules.ReadStory("attacks/"+name, files[name])
		if err != nil {
			return nil, err
		}
		out = append(out, Attack{strings.TrimSuffix(name, ".yaml"), *s})
	}
	return out, nil
}

// Tell returns the records of a story, set in the ordinary life that it asks
// for, in time order.
func Tell(s *rules.Story) ([]Record, error) {
	raw, err := s.Records()
	if err != nil {
		return nil, err
	}
	var out []Record
	first, last := time.Time{}, time.Time{}
	for _, rec := range raw {
		ev, err := event.Parse(bytes.Clone(rec))
		if err != nil {
			return nil, fmt.Errorf("story %q: %w", s.Title, err)
		}
		out = append(out, Record{ev.Time, rec})
		if first.IsZero() || ev.Time.Before(first) {
			first = ev.Time
		}
		if ev.Time.After(last) {
			last = ev.Time
		}
	}
	if s.Identities > 0 {
		days := max(s.Days, 1)
		life := Life{Identities: s.Identities, Days: days, Seed: 1, Start: last.Truncate(24*time.Hour).AddDate(0, 0, 1-days)}
		for rec := range life.Records {
			if !rec.Time.After(last) {
				out = append(out, rec)
			}
		}
		// Life gives way to the story where they meet: what the story sends
		// out of order stays so.
		lists.Sort(out, func(a, b Record) int { return a.Time.Compare(b.Time) })
	}
	return out, nil
}

// Write writes records as lines.
func Write(w io.Writer, records func(yield func(Record) bool)) (n int, err error) {
	b := bufio.NewWriterSize(w, 1<<16)
	for rec := range records {
		if _, err = b.Write(rec.JSON); err == nil {
			err = b.WriteByte('\n')
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, b.Flush()
}
