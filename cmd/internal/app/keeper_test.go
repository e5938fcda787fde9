package app

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/console"
	"github.com/trailwarden/trailwarden/cmd/internal/console/evidence"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/responders"
)

// stream is an event stream that forgets.
type stream struct {
	t       *testing.T
	index   *index.Index
	records map[index.Pos][]byte
	asked   int
}

func newStream(t *testing.T) *stream {
	return &stream{t: t, index: index.New(index.Limits{}), records: map[index.Pos][]byte{}}
}

func (s *stream) add(id string) {
	s.t.Helper()
	raw := fmt.Appendf(nil, `{"eventId":%q,"eventName":"CreateAccessKey","serviceName":"Ram","eventTime":"2026-03-01T08:00:00Z"}`, id)
	ev, err := event.Parse(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	pos := index.Pos{Seq: uint64(len(s.records) + 1)}
	s.records[pos] = raw
	s.index.AddEvent(ev, pos)
}

func (s *stream) record(_ context.Context, pos index.Pos) ([]byte, error) {
	s.asked++
	if r, ok := s.records[pos]; ok {
		return r, nil
	}
	return nil, console.ErrGone
}

func about(id string, events ...string) responders.Change {
	return responders.Change{AlertID: id, Alert: &alert.Alert{ID: id, Rule: "ak.created", EventIDs: events}}
}

// The records of an alert are kept while the stream has them, whatever comes
// first, and are there when the stream and the process are gone.
func TestKeeper(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	store, err := evidence.Open(dir, evidence.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s := newStream(t)
	k := newKeeper(store, s.index, s.record, slog.New(slog.DiscardHandler))
	kept := func(id string, want ...string) {
		t.Helper()
		records, err := store.Records(id)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range records {
			ev, err := event.Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ev.ID)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v are kept, want %v", id, got, want)
		}
	}
	keep := func(at time.Time, more bool) {
		t.Helper()
		if got := k.keep(t.Context(), at); got != more {
			t.Errorf("something is still wished for: %v, want %v", got, more)
		}
	}
	s.add("e1")
	k.note(about("a1", "e1", "e2"))
	k.note(about("a2", "none"))
	k.note(responders.Change{AlertID: "a1", Triage: &responders.Triage{}})
	keep(now, true)
	kept("a1", "e1")
	s.add("e2") // the index reads events beside alerts
	keep(now, true)
	kept("a1", "e1", "e2")
	keep(now.Add(2*keepTrying), false) // what never comes is given up
	kept("a2")

	// An alert that grows: what was kept stays, also when the stream has forgotten it.
	clear(s.records)
	for i := 3; i <= 9; i++ {
		s.add(fmt.Sprintf("e%d", i))
	}
	k.note(about("a1", "e1", "e2", "e3"))
	keep(now, false)
	kept("a1", "e1", "e2", "e3")
	many := []string{"e1", "e2", "e3", "e4", "e5", "e6", "e7"}
	k.note(about("a1", many...))
	keep(now, false)
	kept("a1", "e1", "e2", "e3", "e4", "e5")
	asked := s.asked
	for range 100 {
		k.note(about("a1", many...))
		keep(now, false)
	}
	if s.asked != asked {
		t.Errorf("an alert that is kept whole asks for %d records", s.asked-asked)
	}

	// An earlier event that comes late takes its place, and what cannot be found
	// takes nobody's.
	s.add("e0")
	late := []string{"e0", "e1", "e2", "e3", "e4", "e5", "e6"}
	k.note(about("a1", late...))
	keep(now, false)
	kept("a1", "e0", "e1", "e2", "e3", "e4")
	gone := append([]string{"gone"}, late...)
	k.note(about("a1", gone...))
	keep(now, true)
	k.note(about("a1", late...)) // while it is wished for, it becomes another wish
	keep(now, false)
	k.note(about("a1", gone...))
	keep(now.Add(2*keepTrying), false)
	kept("a1", "e0", "e1", "e2", "e3", "e4")

	// The next process finds what was kept, and adds to it.
	if store, err = evidence.Open(dir, evidence.Limits{}); err != nil {
		t.Fatal(err)
	}
	s = newStream(t)
	k = newKeeper(store, s.index, s.record, slog.New(slog.DiscardHandler))
	k.note(about("a1", late...))
	k.note(about("a3", "f1", "f2"))
	s.add("f2")
	keep(now.Add(2*keepTrying), false)
	kept("a1", "e0", "e1", "e2", "e3", "e4")
	kept("a3", "f2")
}

// A store of years of alerts takes no more than its share, and the newest count.
func TestKeeperIsBounded(t *testing.T) {
	store, err := evidence.Open(t.TempDir(), evidence.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s := newStream(t)
	k := newKeeper(store, s.index, s.record, slog.New(slog.DiscardHandler))
	s.add("e1")
	for i := range 3 * maxWishes / 2 {
		k.note(about(fmt.Sprintf("a%d", i), "none"))
	}
	k.note(about("last", "e1"))
	flood := true
	k.record = func(ctx context.Context, pos index.Pos) ([]byte, error) {
		if flood {
			flood = false
			for i := range maxWishes { // while it is looked for, all that wait make room for others
				k.note(about(fmt.Sprintf("b%d", i), "none"))
			}
		}
		return s.record(ctx, pos)
	}
	if len(k.wishes) != maxWishes || len(k.order) != maxWishes {
		t.Errorf("%d and %d wait", len(k.wishes), len(k.order))
	}
	later := time.Now().Add(2 * keepTrying)
	if !k.keep(t.Context(), later) || len(k.wishes) != maxWishes || len(k.order) != maxWishes {
		t.Errorf("after a flood %d and %d wait", len(k.wishes), len(k.order))
	}
	if k.keep(t.Context(), later) || len(k.order) != 0 {
		t.Errorf("%d still wait", len(k.order))
	}
	if r, err := store.Records("last"); err != nil || len(r) != 1 {
		t.Errorf("of the last alert %d records are kept, %v", len(r), err)
	}
}
