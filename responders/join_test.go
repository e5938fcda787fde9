package responders

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Whatever comes in about an incident while its item waits or is being worked
// on, and in whichever order: the item that knows its notice stays what it is,
// and people wait no longer than they must.
func TestJoinModel(t *testing.T) {
	t0 := time.Unix(1e9, 0)
	rapid.Check(t, func(t *rapid.T) {
		severity := rapid.SampledFrom([]alert.Severity{alert.Medium, alert.High, alert.Critical})
		known := item{
			alert: "a", rule: "r", severity: severity.Draw(t, "severity"), fresh: rapid.Bool().Draw(t, "fresh"), held: rapid.Bool().Draw(t, "held"),
			idle: rapid.Bool().Draw(t, "idle"), due: t0.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "due")) * time.Hour), order: 100,
		}
		known.old = known.fresh && known.severity < alert.High && rapid.Bool().Draw(t, "old")
		if known.idle {
			known.fresh, known.old, known.held = false, false, false
		}
		items := []item{known}
		worst, hurry, urgent := known.severity, false, false
		for range rapid.IntRange(0, 4).Draw(t, "nudges") {
			x := changed("a")
			if rapid.Bool().Draw(t, "repeat") {
				x = item{alert: "a", nudge: true, rule: "r", severity: severity.Draw(t, "now"), fresh: rapid.Bool().Draw(t, "as if fresh")}
			}
			x.order = uint64(rapid.IntRange(1, 200).Draw(t, "order"))
			items = append(items, x)
			urgent = urgent || x.urgent
			hurry = hurry || known.idle || x.urgent || x.severity > known.severity
			worst = max(worst, x.severity)
		}
		order := slices.MinFunc(items, func(a, b item) int { return int(a.order) - int(b.order) }).order
		got := rapid.Permutation(items).Draw(t, "as they came")
		it := got[0]
		for _, x := range got[1:] {
			it.join(x)
		}
		want := known
		want.severity, want.urgent, want.order = worst, urgent, order
		want.old = known.old && worst < alert.High
		if hurry {
			want.due, want.idle = time.Time{}, false
		}
		if it != want {
			t.Fatalf("joined in the order %+v:\n got %+v\nwant %+v", got, it, want)
		}
	})
}

// An item that waits to tell again, or is new, has its place; a nudge about
// what is nowhere in memory finds its facts when its turn comes.
func TestAddKeepsTheTurn(t *testing.T) {
	o := &outlet{d: &Dispatcher{now: func() time.Time { return time.Unix(1e9, 0) }}, items: map[string]*item{}, firsts: map[string]time.Time{}, wake: make(chan struct{}, 1)}
	o.dst.StormAt = 1
	o.add(item{alert: "first", rule: "r", severity: alert.Medium, fresh: true})
	o.firsts["r"] = o.d.now()
	first, _, _ := o.pick(o.d.now())
	// While it is being posted, the incident goes on and others come.
	o.add(item{alert: "first", rule: "r", severity: alert.Medium, nudge: true})
	for _, id := range []string{"second", "third"} {
		o.add(item{alert: id, rule: "r", severity: alert.Medium, fresh: true})
	}
	o.add(*first) // it was not sent
	one, digest, _ := o.pick(o.d.now())
	if one != nil || len(digest) != 3 || digest[0].alert != "first" {
		t.Fatalf("one %+v, %d in the digest", one, len(digest))
	}
}
