package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/source"
)

func newIngester(b *bus.Bus) *Ingester {
	return NewIngester(IngesterConfig{Bus: b, Logger: silent()})
}

func position(t testing.TB, in *Ingester) int {
	t.Helper()
	p, err := in.Position(t.Context(), src, 0)
	if err != nil {
		t.Fatal(err)
	}
	return number(t, p)
}

func TestPositionIsRecovered(t *testing.T) {
	dir := t.TempDir()
	b := openBus(t, dir)
	in := newIngester(b)
	all := trail(500)
	if p, err := in.Position(t.Context(), src, 0); p != "" || err != nil {
		t.Fatalf("position of a new shard is %q, %v", p, err)
	}
	for from := 0; from < 500; from += 50 {
		if err := in.Store(t.Context(), page(all, from, from+50)); err != nil {
			t.Fatal(err)
		}
		if got := position(t, in); got != from+50 {
			t.Fatalf("position %d after page to %d", got, from+50)
		}
		if got := position(t, newIngester(b)); got != from+50 {
			t.Fatalf("recovered position %d after page to %d", got, from+50)
		}
	}
	b.Close()
	b = openBus(t, dir)
	if got := position(t, newIngester(b)); got != 500 {
		t.Fatalf("position %d after a restart", got)
	}
	eachOnce(t, b, 500)
}

// Pages of which most partitions get nothing, and pages with nothing at all,
// move the position all the same.
func TestPositionWithoutRecords(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	one := [][]byte{rec(0, account(1), "X")}
	for i, records := range [][][]byte{nil, one, nil, {[]byte("not json")}, nil} {
		p := source.Page{Source: src, From: cursor(i), To: cursor(i + 1), Records: records, Received: epoch}
		if err := in.Store(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if got := position(t, newIngester(b)); got != i+1 {
			t.Fatalf("position %d after page %d", got, i)
		}
	}
	// A page that covers nothing costs nothing.
	before, _ := b.State(t.Context(), bus.StreamEvents)
	for _, p := range []source.Page{{From: cursor(5), To: cursor(5)}, {From: cursor(2), To: cursor(3)}} { // nothing, and before what is stored
		p.Source = src
		if err := in.Store(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if after, _ := b.State(t.Context(), bus.StreamEvents); after != before {
		t.Errorf("an empty page was written: %+v then %+v", before, after)
	}
}

func TestShardsAndSourcesAreApart(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	all := trail(100)
	for shard, to := range []int{10, 20, 30} {
		p := page(all, 0, to)
		p.Shard = shard
		if err := in.Store(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	other := page(all, 0, 40)
	other.Source = "sls/other/logstore"
	if err := in.Store(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	in = newIngester(b)
	for shard, want := range []int{10, 20, 30} {
		if p, err := in.Position(t.Context(), src, shard); err != nil || number(t, p) != want {
			t.Errorf("shard %d is at %q, %v", shard, p, err)
		}
	}
	if p, err := in.Position(t.Context(), other.Source, 0); err != nil || number(t, p) != 40 {
		t.Errorf("other source is at %q, %v", p, err)
	}
}

func TestPageTwiceIsStoredOnce(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	all := trail(300)
	for _, span := range [][2]int{{0, 100}, {0, 100}, {100, 200}, {0, 100}, {100, 200}, {50, 150}, {200, 300}, {0, 300}} {
		if err := in.Store(t.Context(), page(all, span[0], span[1])); err != nil {
			t.Fatal(err)
		}
	}
	eachOnce(t, b, 300)
	if got := position(t, in); got != 300 {
		t.Errorf("position %d", got)
	}
	if got := position(t, newIngester(b)); got != 300 {
		t.Errorf("recovered position %d", got)
	}
	if s := in.Stats(); s.Records != 300 || s.Repeated != 700 || s.Skips != 0 {
		t.Errorf("stats %+v", s)
	}
}

// A page is cut short after k of its frames, in every way, then read again
// with other boundaries, by the same or another process.
func TestInterruptedPageIsFinishedWithOtherBoundaries(t *testing.T) {
	all := trail(400)
	b := openBus(t, t.TempDir())
	shard := 0
	for _, again := range []int{100, 30, 101, 400} {
		for cut := 0; cut <= partitions; cut++ {
			for _, restart := range []bool{false, true} {
				in := newIngester(b)
				at := func(from, to int) source.Page {
					p := page(all, from, to)
					p.Shard = shard
					return p
				}
				if err := in.Store(t.Context(), at(0, 20)); err != nil {
					t.Fatal(err)
				}
				interrupted(t, in, at(20, 120), cut)
				if restart {
					in = newIngester(b)
				}
				pos, err := in.Position(t.Context(), src, shard)
				if err != nil {
					t.Fatal(err)
				}
				want := 20
				if cut == partitions {
					want = 120
				}
				if number(t, pos) != want {
					t.Fatalf("cut %d: position %d, want %d", cut, number(t, pos), want)
				}
				for from := want; from < 400; from += again {
					if err := in.Store(t.Context(), at(from, min(from+again, 400))); err != nil {
						t.Fatal(err)
					}
				}
				if s := in.Stats(); !restart && s.Records+uint64(cutRecords(all[20:120], cut)) != 400 {
					t.Errorf("cut %d, again %d: %d records stored here", cut, again, s.Records)
				}
				countShard(t, b, shard, 400)
				shard++
			}
		}
	}
}

// interrupted stores a page's frames in its first cut partitions only, as a
// crash does.
func interrupted(t testing.TB, in *Ingester, p source.Page, cut int) {
	t.Helper()
	s := in.shard(p.Source, p.Shard)
	groups, _, _ := in.split(s, p)
	// The frames say what the whole page was.
	frames := make([][]*bus.Frame, in.n)
	var counts []bus.PartitionCount
	for part, g := range groups {
		recs := g.records
		if len(recs) == 0 {
			t.Fatal("the page leaves a partition out")
		}
		frames[part] = []*bus.Frame{{Kind: bus.Data, Records: recs}}
		counts = append(counts, bus.PartitionCount{Partition: part, After: s.parts[part].counter + 1, InPage: 1})
	}
	for part := range cut {
		f, ps := frames[part][0], s.parts[part]
		f.Source, f.Shard, f.From, f.To, f.PrevTo, f.Reach, f.Partition = p.Source, p.Shard, p.From, p.To, s.position, p.To, part
		f.Counter, f.Page, f.PrevSeq, f.Counts, f.Received = ps.counter+1, s.page+1, ps.seq, counts, p.Received
		data, err := bus.EncodeFrame(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.b.Publish(t.Context(), bus.Publish{Stream: bus.StreamEvents, Subject: bus.EventsSubject(part, s.token), ID: f.ID(data), Data: data, Fenced: true, Expect: ps.seq}); err != nil {
			t.Fatal(err)
		}
	}
	s.known = false
}

func cutRecords(recs [][]byte, cut int) int {
	in := &Ingester{n: partitions}
	groups, _, _ := in.split(&shardState{}, source.Page{Records: recs})
	n := 0
	for _, g := range groups[:cut] {
		n += len(g.records)
	}
	return n
}

func countShard(t testing.TB, b *bus.Bus, shard, n int) {
	t.Helper()
	if err := shardHolds(t, b, shard, n); err != nil {
		t.Fatal(err)
	}
}

func shardHolds(t testing.TB, b *bus.Bus, shard, n int) error {
	t.Helper()
	count := map[string]int{}
	_, frames := storedAt(t, b, "ev.*."+bus.ShardToken(src, shard))
	for _, f := range frames {
		for _, r := range f.Records {
			count[string(r[:23])]++
		}
	}
	if len(count) != n {
		return fmt.Errorf("shard %d: %d different records stored, want %d", shard, len(count), n)
	}
	for id, k := range count {
		if k != 1 {
			return fmt.Errorf("shard %d: record %s is stored %d times", shard, id, k)
		}
	}
	return nil
}

// Any walk over a trail, forwards and back, with any boundaries and restarts,
// stores every record once.
func TestAnyWalkStoresEachRecordOnce(t *testing.T) {
	all := trail(150)
	b := openBus(t, t.TempDir())
	shard := 1000
	rapid.Check(t, func(rt *rapid.T) {
		shard++
		in := newIngester(b)
		for pos := 0; pos < len(all); {
			from := pos
			switch rapid.SampledFrom([]string{"on", "on", "on", "back", "restart", "cut"}).Draw(rt, "step") {
			case "back":
				from = rapid.IntRange(0, pos).Draw(rt, "from")
			case "restart":
				in = newIngester(b)
			case "cut":
				s := in.shard(src, shard)
				p := page(all, from, min(from+60, len(all)))
				p.Shard = shard
				if groups, _, _ := in.split(&shardState{}, p); s.known && s.ahead == nil && full(groups) {
					interrupted(t, in, p, rapid.IntRange(0, partitions-1).Draw(rt, "frames"))
				}
			}
			to := rapid.IntRange(from, min(from+80, len(all))).Draw(rt, "to")
			p := page(all, from, to)
			p.Shard = shard
			if err := in.Store(t.Context(), p); err != nil {
				rt.Fatal(err)
			}
			pos = max(pos, to)
			got, err := in.Position(t.Context(), src, shard)
			if err != nil {
				rt.Fatal(err)
			}
			if n := number(t, got); n > pos {
				rt.Fatalf("position %d, stored to %d", n, pos)
			} else {
				pos = n
			}
		}
		if err := shardHolds(t, b, shard, len(all)); err != nil {
			rt.Fatal(err)
		}
	})
}

func full(groups []part) bool {
	for _, g := range groups {
		if len(g.records) == 0 {
			return false
		}
	}
	return true
}

func TestTwoIngestersOnOneShard(t *testing.T) {
	b := openBus(t, t.TempDir())
	one, two := newIngester(b), newIngester(b)
	all := trail(300)
	if err := one.Store(t.Context(), page(all, 0, 100)); err != nil {
		t.Fatal(err)
	}
	if got := position(t, two); got != 100 {
		t.Fatal(got)
	}
	if err := two.Store(t.Context(), page(all, 100, 200)); err != nil {
		t.Fatal(err)
	}
	// The first does not know; it is refused, looks again, and its repeated
	// page adds nothing.
	err := one.Store(t.Context(), page(all, 100, 150))
	if !errors.Is(err, bus.ErrFenced) {
		t.Fatalf("the former owner of a shard stored a page: %v", err)
	}
	if err := one.Store(t.Context(), page(all, 100, 150)); err != nil {
		t.Fatal(err)
	}
	if got := position(t, one); got != 200 {
		t.Errorf("position %d", got)
	}
	if err := one.Store(t.Context(), page(all, 200, 300)); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, b, 300)
}

// A process that has known a shard, and is given it after another one stored pages of
// it, goes on where that one was.
func TestPositionOfAnotherProcess(t *testing.T) {
	b := openBus(t, t.TempDir())
	one, two := newIngester(b), newIngester(b)
	all := trail(300)
	if got := position(t, two); got != 0 {
		t.Fatal(got)
	}
	if err := one.Store(t.Context(), page(all, 0, 100)); err != nil {
		t.Fatal(err)
	}
	if got := position(t, two); got != 100 {
		t.Errorf("position %d after the other stored 100", got)
	}
	for i, in := range []*Ingester{two, one} { // and back
		from := 100 * (i + 1)
		if got := position(t, in); got != from {
			t.Errorf("position %d, want %d", got, from)
		}
		if err := in.Store(t.Context(), page(all, from, from+100)); err != nil {
			t.Errorf("after a hand-over in order: %v", err)
		}
	}
	eachOnce(t, b, 300)
}

func TestBadRecordsAreParked(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	records := [][]byte{
		rec(0, account(0), "X"),
		[]byte(""),
		[]byte("{\"eventId\":\"e"),
		[]byte("\x00\x01\x02\xff"),
		[]byte(strings.Repeat("[", 100) + strings.Repeat("]", 100)),
		[]byte(`{"some":"thing"}`),
		bytes.Repeat([]byte(" "), 6<<20),
		[]byte("[" + string(rec(1, account(1), "X")) + "," + string(rec(2, account(2), "X")) + "]"),
	}
	for range 3 { // a page that is stored again parks nothing again
		if err := in.Store(t.Context(), source.Page{Source: src, From: cursor(0), To: cursor(1), Records: records, Received: epoch}); err != nil {
			t.Fatal(err)
		}
		in = newIngester(b)
	}
	eachOnce(t, b, 3)
	byReason := map[string]int{}
	if err := b.EachParked(t.Context(), func(p bus.Parked) bool {
		byReason[p.Reason]++
		if p.Source != src || p.Message == "" || p.Size != len(p.Raw) && !p.Cut {
			t.Errorf("parked %+v", p)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range byReason {
		sum += n
	}
	if sum != 6 || byReason["truncated"] != 1 || byReason["binary"] != 1 || byReason["not-an-event"] == 0 {
		t.Errorf("parked %v", byReason)
	}
}

func TestLargeRecords(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	big := func(n int, pad string) []byte {
		r := rec(n, account(0), "X")
		return append(append(bytes.TrimSuffix(r, []byte("}")), `,"pad":"`+pad...), `"}`...)
	}
	var noise strings.Builder
	for i, x := 0, uint64(88172645463325252); i < 2<<20; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		noise.WriteByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[x%64])
	}
	records := [][]byte{big(0, strings.Repeat("a", 4<<20)), big(1, strings.Repeat("b", 700<<10)), big(2, strings.Repeat("c", 700<<10)), big(3, noise.String()), rec(4, account(0), "X")}
	if err := in.Store(t.Context(), source.Page{Source: src, From: cursor(0), To: cursor(1), Records: records, Received: epoch}); err != nil {
		t.Fatal(err)
	}
	ids, frames := stored(t, b)
	if fmt.Sprint(ids) != "[e-00000000 e-00000001 e-00000002 e-00000004]" || len(frames) != 3 {
		t.Errorf("stored %v in %d frames", ids, len(frames))
	}
	if counts, _ := b.ParkedCounts(t.Context()); fmt.Sprint(counts) != "map[too-large:1]" {
		t.Errorf("parked %v", counts)
	}
}

func TestTicks(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	all := trail(60)
	p := page(all, 0, 60)
	if err := in.Store(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	ticks := func() (n int) {
		_, frames := stored(t, b)
		for _, f := range frames {
			if f.Kind == bus.Tick {
				n++
			}
		}
		return n
	}
	tick := func(in *Ingester, after time.Duration, want int) {
		t.Helper()
		if err := in.TickAll(t.Context(), p.Received.Add(after)); err != nil {
			t.Fatal(err)
		}
		if got := ticks(); got != want {
			t.Fatalf("%d ticks after %v, want %d", got, after, want)
		}
	}
	tick(in, time.Second, 0)
	tick(in, 5*time.Second, partitions)
	tick(in, 6*time.Second, partitions) // once
	tick(in, 4*time.Minute, partitions)
	tick(in, 6*time.Minute, 2*partitions) // rarely
	if got := position(t, newIngester(b)); got != 60 {
		t.Errorf("position %d after ticks", got)
	}
	// A process that starts ticks for what the one before left waiting.
	if err := in.Store(t.Context(), source.Page{Source: src, From: cursor(60), To: cursor(61), Records: [][]byte{rec(60, account(1), "X")}, Received: p.Received.Add(10 * time.Minute)}); err != nil {
		t.Fatal(err)
	}
	next := newIngester(b)
	if got := position(t, next); got != 61 {
		t.Fatal(got)
	}
	tick(next, 10*time.Minute+5*time.Second, 2*partitions+1)
	if err := next.Store(t.Context(), page(trail(70), 61, 70)); err != nil {
		t.Fatal(err)
	}
	if got := position(t, newIngester(b)); got != 70 {
		t.Errorf("position %d", got)
	}
}

// A tick decides what waits. It is not written before everything that the
// sources held by then is stored, however long ago the last records came, and
// again after it when a shard was behind; a source that is silent is not waited
// for for ever.
func TestTicksWaitForTheSources(t *testing.T) {
	b := openBus(t, t.TempDir())
	all := trail(60)
	p := page(all, 0, 60)
	settled, behind := p.Received, []int(nil)
	in := NewIngester(IngesterConfig{Bus: b, Logger: silent(), IdleTick: -1,
		Settled: func() time.Time { return settled }, Behind: func(string) []int { return behind }})
	in.born = p.Received
	if err := in.Store(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	want := 0
	tick := func(why string, after time.Duration, more int) {
		t.Helper()
		if err := in.TickAll(t.Context(), p.Received.Add(after)); err != nil {
			t.Fatal(err)
		}
		want += more
		n := 0
		_, frames := stored(t, b)
		for _, f := range frames {
			if f.Kind != bus.Tick {
				continue
			}
			if n++; n > want-more && f.Received.After(settled) && after < unsettledFor {
				t.Errorf("%s: a tick says %v, and things are settled up to %v only", why, f.Received, settled)
			}
		}
		if n != want {
			t.Fatalf("%s: %d ticks, want %d", why, n, want)
		}
	}
	tick("a page is on its way since the last one", time.Minute, 0)
	settled = p.Received.Add(4 * time.Second)
	tick("it has come, the next has not", time.Minute, 0)
	settled, behind = p.Received.Add(6*time.Second), []int{3}
	tick("all have, and one has more to give", time.Minute, partitions)
	tick("the same again", time.Minute, 0)
	settled = p.Received.Add(12 * time.Second)
	tick("it still has", time.Minute, partitions)
	settled, behind = p.Received.Add(20*time.Second), nil
	tick("it has not", time.Minute, partitions)
	settled = p.Received.Add(40 * time.Second)
	tick("nothing waits", time.Minute, 0)

	p = page(trail(70), 60, 70)
	if err := in.Store(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	settled = p.Received.Add(-time.Second)
	fed := 0
	for _, c := range in.parts {
		if c.waiting {
			fed++
		}
	}
	if fed == 0 {
		t.Fatal("nothing waits")
	}
	tick("no answer for a minute", time.Minute, 0)
	in.noted = in.noted.Add(-unsettledFor) // as if it had lasted
	tick("nor for longer", unsettledFor+time.Minute, fed)
}

// A clock that is set a year ahead while nothing answers is not believed: what comes
// after such a tick would be late for a year.
func TestTicksOfAWrongClock(t *testing.T) {
	b := openBus(t, t.TempDir())
	p := page(trail(60), 0, 60)
	p.Received = time.Now()
	settled := p.Received
	in := NewIngester(IngesterConfig{Bus: b, Logger: silent(), IdleTick: time.Minute, Settled: func() time.Time { return settled.Round(0) }})
	if err := in.Store(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	in.noted = time.Now().Add(-3 * time.Minute)
	if err := in.TickAll(t.Context(), settled.AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	n := 0
	_, frames := stored(t, b)
	for _, f := range frames {
		if f.Kind == bus.Tick {
			n++
			if f.Received.Sub(settled) > time.Hour {
				t.Errorf("a tick says %v", f.Received)
			}
		}
	}
	if n != partitions {
		t.Errorf("%d ticks, want %d: what waits is to be decided", n, partitions)
	}
}

func TestStoreAfterCloseAndHold(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	in.hold.Store(true)
	if err := in.Store(t.Context(), page(trail(1), 0, 1)); !errors.Is(err, bus.ErrBackpressure) {
		t.Errorf("with EVENTS full: %v", err)
	}
	in.hold.Store(false)
	in.Close()
	if err := in.Store(t.Context(), page(trail(1), 0, 1)); !errors.Is(err, ErrStopping) {
		t.Errorf("after Close: %v", err)
	}
	if s := in.Stats(); s.Refused != 1 || s.Pages != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestStoreFailsCleanly(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	all := trail(200)
	if err := in.Store(t.Context(), page(all, 0, 100)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := in.Store(ctx, page(all, 100, 200)); err == nil {
		t.Fatal("a cancelled store succeeded")
	}
	if err := in.Store(t.Context(), page(all, 100, 200)); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, b, 200)
}

// Positions that cannot be compared are still exact when the source resumes
// where it was told to.
func TestOpaquePositions(t *testing.T) {
	b := openBus(t, t.TempDir())
	all := trail(300)
	opaque := func(from, to int) source.Page {
		p := page(all, from, to)
		p.From, p.To = fmt.Sprintf("file-a@%d", from), fmt.Sprintf("file-a@%d", to)
		return p
	}
	in := newIngester(b)
	for from := 0; from < 300; from += 100 {
		if err := in.Store(t.Context(), opaque(from, from+60)); err != nil {
			t.Fatal(err)
		}
		interrupted(t, in, opaque(from+60, from+100), 2)
		in = newIngester(b)
		if pos, err := in.Position(t.Context(), src, 0); err != nil || pos != fmt.Sprintf("file-a@%d", from+60) {
			t.Fatalf("position %q, %v", pos, err)
		}
		for _, span := range [][2]int{{60, 85}, {85, 100}} {
			if err := in.Store(t.Context(), opaque(from+span[0], from+span[1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	eachOnce(t, b, 300)
}

// The last frames of one partition are lost (a damaged block). The others
// know, so the position goes back and the records are read again.
func TestLostTailIsReadAgain(t *testing.T) {
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	all := trail(500)
	storeAll(t, in, all, 100)
	ctx := t.Context()
	js, err := b.JetStream().Stream(ctx, bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	s := in.shard(src, 0)
	subject := bus.EventsSubject(2, s.token)
	for range 2 {
		m, err := b.Last(ctx, bus.StreamEvents, subject)
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteMsg(ctx, m.Seq); err != nil {
			t.Fatal(err)
		}
	}
	in = newIngester(b)
	if got := position(t, in); got != 300 {
		t.Fatalf("position %d, want 300: pages from 300 on lost a frame", got)
	}
	for from := 300; from < 500; from += 40 {
		if err := in.Store(ctx, page(all, from, min(from+40, 500))); err != nil {
			t.Fatal(err)
		}
	}
	ids, _ := stored(t, b)
	count := map[string]int{}
	for _, id := range ids {
		count[id]++
	}
	if len(count) != 500 || len(ids) != 500 {
		t.Errorf("%d records, %d different", len(ids), len(count))
	}
	stats := drainAll(t, b, nil)
	if stats[2].Gaps != 2 || stats[0].Gaps+stats[1].Gaps+stats[3].Gaps != 0 {
		t.Errorf("gaps %d %d %d %d: the lost frames must show in partition 2", stats[0].Gaps, stats[1].Gaps, stats[2].Gaps, stats[3].Gaps)
	}
	if got := position(t, newIngester(b)); got != 500 {
		t.Errorf("position %d", got)
	}
}

// What is parked of a page may lie in more spans of time than a frame counts; a page
// that could not be stored for that would be tried again for ever.
func TestTallyIsBounded(t *testing.T) {
	m := map[int64]uint64{}
	for span := range int64(bus.MaxTally + 50) {
		m[span] = uint64(span) + 1
	}
	got := tallied(m)
	f := &bus.Frame{Kind: bus.Mark, Source: src, From: cursor(0), To: cursor(1), Counter: 1, Page: 1, Received: epoch, Tally: got,
		Counts: []bus.PartitionCount{{Partition: 0, After: 1, InPage: 1}}}
	if _, err := bus.EncodeFrame(f); err != nil {
		t.Error(err)
	}
	for i, s := range got {
		if s.Span != int64(i) || s.Count != uint64(i)+1 {
			t.Fatalf("span %d is %+v", i, s)
		}
	}
}

// A page that leaves something out is cut short: what it left out is read before it is
// read again.
func TestInterruptedSkip(t *testing.T) {
	all := trail(400)
	b := openBus(t, t.TempDir())
	in := newIngester(b)
	if err := in.Store(t.Context(), page(all, 0, 20)); err != nil {
		t.Fatal(err)
	}
	interrupted(t, in, page(all, 200, 300), 2)
	for _, in := range []*Ingester{in, newIngester(b)} {
		if got := position(t, in); got != 20 {
			t.Errorf("position %d, want 20", got)
		}
	}
	for from := 20; from < 400; from += 20 {
		if err := in.Store(t.Context(), page(all, from, from+20)); err != nil {
			t.Fatal(err)
		}
	}
	eachOnce(t, b, 400)
}

// What is stored beyond the position is recognised until the source has caught up, no
// longer, and only by a reading that has not been there.
func TestAheadSet(t *testing.T) {
	var none *aheadSet
	none.passed(cursor(1))
	if none.take([]byte("x")) || !none.done() || none.covers(cursor(0)) {
		t.Error("nothing is stored ahead")
	}
	set := func() *aheadSet {
		return &aheadSet{count: map[[16]byte]int{digest([]byte("a")): 2, digest([]byte("b")): 1}, next: cursor(10), to: cursor(30)}
	}
	a := set()
	for _, c := range []struct {
		rec  string
		want bool
	}{{"x", false}, {"a", true}, {"b", true}, {"b", false}, {"a", true}, {"a", false}} {
		if got := a.take([]byte(c.rec)); got != c.want {
			t.Errorf("%s: %v", c.rec, got)
		}
	}
	if !a.done() {
		t.Error("all were met again")
	}
	a = set()
	for at, want := range map[int]bool{9: false, 10: true, 11: true} {
		if a.covers(cursor(at)) != want {
			t.Errorf("a page from %d: %v", at, !want)
		}
	}
	for at, want := range map[int]bool{29: false, 30: true, 31: true} {
		if a.passed(cursor(at)); a.done() != want {
			t.Errorf("caught up at %d: %v", at, !want)
		}
	}
	// Positions that say nothing of their order are given some pages.
	a = set()
	a.next, a.to = "p", "q"
	for n := range 64 {
		if a.done() {
			t.Fatalf("given up after %d pages", n)
		}
		a.passed("p")
	}
	if !a.done() {
		t.Error("records are compared for ever")
	}
}
