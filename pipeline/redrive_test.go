package pipeline

import (
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

func TestRedrive(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	all := trail(30)
	all[7] = rec(7, account(1), "Panic")
	all[8] = []byte(`{"eventId":"e-`)
	if err := in.Store(t.Context(), page(all, 0, 30)); err != nil {
		t.Fatal(err)
	}
	drainAll(t, b, nil)
	parked := func() (out []bus.Parked) {
		if err := b.EachParked(t.Context(), func(p bus.Parked) bool { out = append(out, p); return true }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	list := parked()
	if len(list) != 2 {
		t.Fatalf("%d records are parked", len(list))
	}
	if err := in.Redrive(t.Context(), list[0]); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("a broken record was taken: %v", err)
	}
	if err := in.Redrive(t.Context(), bus.Parked{Cut: true}); err == nil {
		t.Error("a cut record was taken")
	}
	// The rule is mended; the record is evaluated by the partition it
	// belongs to, and leaves quarantine.
	for range 2 { // the second time changes nothing
		if err := in.Redrive(t.Context(), list[1]); err != nil {
			t.Fatal(err)
		}
	}
	if left := parked(); len(left) != 1 || left[0].Reason != "truncated" {
		t.Errorf("left in quarantine: %+v", left)
	}
	p := event.Partition(account(1), partitions)
	before := drainAll(t, b, nil)[p].Evaluated
	mended := func(c *WorkerConfig) { c.NewEngine = func(int) Engine { return &calm{newFake(0).(*fakeEngine)} } }
	if err := in.Redrive(t.Context(), bus.Parked{ID: "again", Raw: list[1].Raw}); err != nil {
		t.Fatal(err)
	}
	if after := drainAll(t, b, mended)[p].Evaluated; after != before+1 {
		t.Errorf("%d events evaluated, %d before", after, before)
	}
}

// calm is the engine after the fault was mended.
type calm struct{ *fakeEngine }

func (c *calm) Apply(ev *event.Event, shard string) {
	mended := *ev
	mended.Name = "Mended"
	c.fakeEngine.Apply(&mended, shard)
}
