package responders_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	. "github.com/trailwarden/trailwarden/responders"
)

// A refused press is recorded with its incident; those about no incident of ours
// share one history of bounded length, so that nobody fills the journal with them.
func TestRefusedPresses(t *testing.T) {
	w, d, _ := triageWorld(t)
	if err := d.Handle(t.Context(), 0, 1, []alert.Alert{leakedAlert("a1", aliceAK, "alice", w.clock.Now())}); err != nil {
		t.Fatal(err)
	}
	for i := range 55 {
		for _, id := range []string{"a1", fmt.Sprintf("made-up-%d", i)} {
			if err := d.RefusePress(t.Context(), Press{By: "dingtalk:mallory", Do: "approve", AlertID: id}, "it is none"); err != nil {
				t.Fatal(err)
			}
		}
	}
	ids, err := w.mem.IDs(t.Context(), "click")
	if err != nil || len(ids) != 2 {
		t.Fatalf("%v, %v", ids, err)
	}
	for _, id := range ids {
		h, err := w.mem.History(t.Context(), "click", id)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Clicks  []Click
			Dropped int
		}
		if err := json.Unmarshal(h[len(h)-1].Data, &c); err != nil {
			t.Fatal(err)
		}
		if len(c.Clicks) != 50 || c.Dropped != 5 || c.Clicks[0].By != "dingtalk:mallory" || c.Clicks[0].What != "approve" || c.Clicks[0].Reason != "it is none" {
			t.Errorf("%s: %d clicks, %d dropped, %+v", id, len(c.Clicks), c.Dropped, c.Clicks[0])
		}
	}
}

// byNotice finds a message by incident and copy, as where a card's id is made of
// both.
type byNotice struct {
	*chat

	copies []int // that were looked for
}

func (b *byNotice) FindNotice(_ context.Context, n Notice, _ time.Time) (MessageRef, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.copies = append(b.copies, n.Copy)
	for _, m := range b.messages {
		if m.first.Alert.ID == n.Alert.ID && m.first.Copy == n.Copy {
			return MessageRef{Channel: b.name, ID: m.ref}, true, nil
		}
	}
	return MessageRef{}, false, nil
}

// A second message of an incident whose answer was lost is looked for as the second:
// the first, which is there, says nothing about it.
func TestFinderIsAskedForTheCopy(t *testing.T) {
	for _, f := range []fault{lostBefore, lostAfter} {
		bubble(t, func(t *testing.T, w *world) {
			b := &byNotice{chat: w.chat("cards")}
			p := w.start([]Destination{{Notifier: b}})
			defer p.stop()
			a := w.plain("a1", "root.login", alert.High)
			p.give(t, 1, a)
			synctest.Wait()
			b.set(func() { b.nextEdit, b.next = []fault{final}, []fault{f} }) // it was deleted, and the answer to the next is lost
			a.Revision, a.Severity = 2, alert.Critical
			p.give(t, 2, a)
			time.Sleep(time.Minute)
			synctest.Wait()
			ms := b.of("a1")
			if len(ms) != 2 || ms[1].first.Copy != 1 || ms[1].last.Alert.Severity != alert.Critical {
				t.Fatalf("%d messages: %+v", len(ms), ms)
			}
			if len(b.copies) != 1 || b.copies[0] != 1 || len(b.made("find")) != 0 {
				t.Errorf("looked for the copies %v, and %d times by the incident alone", b.copies, len(b.made("find")))
			}
		})
	}
}
