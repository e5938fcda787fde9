package detectors

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Ids say nothing about what came first within a second. What is made is judged before what
// needs it, whatever the ids are, and what ends something after that.
func TestTurnsOfASecond(t *testing.T) {
	var r reorder
	at := time.Unix(1, 0)
	for i, a := range []event.Action{event.ActIAMPolicyDelete, event.ActIAMGroupRemoveUser, event.ActIAMPolicyDetach, event.ActIAMPolicyVersionSetDefault, event.ActIAMPolicyAttach, "", event.ActSTSAssumeRole,
		event.ActIAMAccessKeyCreate, event.ActIAMPolicyVersionCreate, event.ActIAMPolicyCreate, event.ActIAMUserCreate} {
		r.push(&pending{at: at, turn: turn(a), ev: &event.Event{ID: fmt.Sprintf("%02d", i), Action: a}})
	}
	r.push(&pending{at: at.Add(-1), turn: 3, ev: &event.Event{ID: "before"}})
	var got []string
	for r.len() > 0 {
		p := r.pop()
		got = append(got, p.ev.ID)
	}
	if want := []string{"before", "09", "10", "06", "07", "08", "03", "04", "05", "00", "01", "02"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestPropReorder compares the calendar with a slice that is sorted each time.
func TestPropReorder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r reorder
		var slow []pending
		base := time.Unix(rapid.Int64Range(-5, 5).Draw(t, "base"), 0)
		for range rapid.IntRange(0, 120).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0, 1:
				at := base.Add(time.Duration(rapid.IntRange(-8, 8).Draw(t, "half seconds")) * time.Second / 2)
				if rapid.IntRange(0, 15).Draw(t, "odd") == 0 {
					at = rapid.SampledFrom([]time.Time{{}, time.Date(9999, 1, 1, 0, 0, 0, 1, time.UTC), base.Add(1)}).Draw(t, "odd time")
				}
				id := rapid.StringMatching("[ab]{0,10}").Draw(t, "id")
				p := pending{at: at, turn: rapid.Uint8Range(0, 3).Draw(t, "turn"), ev: &event.Event{ID: id, Recipient: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "recipient")}}
				r.push(&p)
				slow = append(slow, p)
				slices.SortStableFunc(slow, func(a, b pending) int { return a.before(&b) })
			case 2:
				if r.len() > 0 {
					if got := r.pop(); got.before(&slow[0]) != 0 {
						t.Fatalf("popped %v, want %v", got.ev.ID, slow[0].ev.ID)
					}
					slow = slow[1:]
				}
			default:
				mark := base.Add(time.Duration(rapid.IntRange(-8, 8).Draw(t, "mark")) * time.Second / 2)
				if got, want := r.dueBefore(mark), len(slow) > 0 && slow[0].at.Before(mark); got != want {
					t.Fatalf("due before %v: %v, want %v", mark, got, want)
				}
			}
			if mark := base.Add(time.Duration(rapid.IntRange(-8, 8).Draw(t, "soon")) * time.Second / 2); r.dueBefore(mark) {
				most := rapid.IntRange(1, 5).Draw(t, "most")
				var want []string
				for i := range slow {
					if p := &slow[i]; p.at.Before(mark) && p.at.Unix() == slow[0].at.Unix() && i < most {
						want = append(want, p.ev.ID)
					}
				}
				var got []string
				for p := range r.soon(mark, most) {
					got = append(got, p.ev.ID)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("soon %v, want %v", got, want)
				}
			}
			if r.len() != len(slow) {
				t.Fatalf("%d waiting, want %d", r.len(), len(slow))
			}
			var newest time.Time
			if len(slow) > 0 {
				newest = slow[len(slow)-1].at
			}
			if got := r.newest(); !got.Equal(newest) {
				t.Fatalf("newest %v, want %v", got, newest)
			}
			all := r.sorted()
			if !slices.EqualFunc(all, slow, func(a, b pending) bool { return a.before(&b) == 0 }) {
				t.Fatal(fmt.Sprint(all, slow))
			}
		}
	})
}
