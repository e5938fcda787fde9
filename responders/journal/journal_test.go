package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/responders"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// full is what both implementations offer.
type full interface {
	responders.Journal
	responders.LastReader
	responders.Scanner
	responders.Follower
	Verify(ctx context.Context) (Report, error)
}

func startServer(t testing.TB, dir string) jetstream.JetStream {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: "journal-test", JetStream: true, StoreDir: dir, DontListen: true, NoSigs: true, NoLog: true, SyncAlways: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.ReconnectBufSize(-1), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
	})
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func open(t testing.TB, js jetstream.JetStream, o Options) *JetStream {
	t.Helper()
	j, err := OpenJetStream(t.Context(), js, o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// each runs a test against both implementations.
func each(t *testing.T, f func(t *testing.T, j full)) {
	t.Run("memory", func(t *testing.T) { f(t, NewMemory()) })
	t.Run("jetstream", func(t *testing.T) { f(t, open(t, startServer(t, t.TempDir()), Options{})) })
}

func TestAppendIsCompareAndSwap(t *testing.T) {
	each(t, func(t *testing.T, j full) {
		ctx := t.Context()
		first, err := j.Append(ctx, "action", "a1", []byte("one"), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Append(ctx, "action", "a1", []byte("again"), 0); !errors.Is(err, responders.ErrConflict) {
			t.Fatalf("creating twice: %v", err)
		}
		if _, err := j.Append(ctx, "action", "a2", []byte("x"), first); !errors.Is(err, responders.ErrConflict) {
			t.Fatalf("expecting a record of another history: %v", err)
		}
		if _, err := j.Append(ctx, "notice", "a1", []byte("other kind"), 0); err != nil {
			t.Fatalf("same id, other kind: %v", err)
		}
		second, err := j.Append(ctx, "action", "a1", []byte("two"), first)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Append(ctx, "action", "a1", []byte("stale"), first); !errors.Is(err, responders.ErrConflict) {
			t.Fatalf("stale expectation: %v", err)
		}
		h, err := j.History(ctx, "action", "a1")
		if err != nil {
			t.Fatal(err)
		}
		if len(h) != 2 || string(h[0].Data) != "one" || string(h[1].Data) != "two" || h[0].Seq != first || h[1].Seq != second {
			t.Fatalf("history: %+v", h)
		}
		if h[0].Time.IsZero() || h[1].Time.Before(h[0].Time) {
			t.Fatalf("times: %v %v", h[0].Time, h[1].Time)
		}
		last, ok, err := j.Last(ctx, "action", "a1")
		if err != nil || !ok || string(last.Data) != "two" || last.Seq != second {
			t.Fatalf("last: %+v %v %v", last, ok, err)
		}
	})
}

func TestEmpty(t *testing.T) {
	each(t, func(t *testing.T, j full) {
		ctx := t.Context()
		h, err := j.History(ctx, "action", "none")
		if err != nil || len(h) != 0 {
			t.Fatalf("history: %v %v", h, err)
		}
		if _, ok, err := j.Last(ctx, "action", "none"); ok || err != nil {
			t.Fatalf("last: %v %v", ok, err)
		}
		ids, err := j.IDs(ctx, "action")
		if err != nil || len(ids) != 0 {
			t.Fatalf("ids: %v %v", ids, err)
		}
		if err := j.EachLast(ctx, "action", func(string, responders.Entry) error { return errors.New("called") }); err != nil {
			t.Fatal(err)
		}
		r, err := j.Verify(ctx)
		if err != nil || !r.OK() || r.Records != 0 {
			t.Fatalf("verify: %+v %v", r, err)
		}
	})
}

func TestRefusedNames(t *testing.T) {
	each(t, func(t *testing.T, j full) {
		ctx := t.Context()
		for _, bad := range [][2]string{
			{"", "x"}, {"Kind", "x"}, {"a.b", "x"}, {"*", "x"}, {">", "x"}, {"a b", "x"}, {strings.Repeat("k", 33), "x"},
			{"action", ""}, {"action", strings.Repeat("i", 129)},
		} {
			if _, err := j.Append(ctx, bad[0], bad[1], nil, 0); err == nil || errors.Is(err, responders.ErrConflict) {
				t.Errorf("append to %q %q: %v", bad[0], bad[1], err)
			}
			if _, err := j.History(ctx, bad[0], bad[1]); err == nil {
				t.Errorf("history of %q %q: no error", bad[0], bad[1])
			}
		}
		if _, err := j.Append(ctx, "action", "big", make([]byte, MaxData+1), 0); err == nil {
			t.Error("a record over the limit was taken")
		}
		if _, err := j.Append(ctx, "action", "big", make([]byte, MaxData), 0); err != nil {
			t.Errorf("a record at the limit: %v", err)
		}
	})
}

// Ids come back exactly as given, whatever they hold, and never mean another history.
func TestHostileIDs(t *testing.T) {
	hostile := []string{">", "*", "a.b", "a b", "a_b", "_", "__", "_5f", "a\x00b", "\xff\xfe", "übermut", "a/b", "A", "a", "$JS.API.>", "x\r\ny"}
	each(t, func(t *testing.T, j full) {
		ctx := t.Context()
		for _, id := range hostile {
			if _, err := j.Append(ctx, "action", id, []byte(id), 0); err != nil {
				t.Fatalf("%q: %v", id, err)
			}
		}
		got := map[string]string{}
		if err := j.EachLast(ctx, "action", func(id string, e responders.Entry) error {
			got[id] = string(e.Data)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		ids, err := j.IDs(ctx, "action")
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) != len(hostile) || len(got) != len(hostile) {
			t.Fatalf("%d and %d ids of %d", len(ids), len(got), len(hostile))
		}
		for _, id := range hostile {
			if got[id] != id {
				t.Errorf("%q: holds %q", id, got[id])
			}
			h, err := j.History(ctx, "action", id)
			if err != nil || len(h) != 1 {
				t.Errorf("%q: %d records, %v", id, len(h), err)
			}
		}
	})
}

func TestEncodeID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := string(rapid.SliceOfN(rapid.Byte(), 1, 128).Draw(t, "a"))
		b := string(rapid.SliceOfN(rapid.Byte(), 1, 128).Draw(t, "b"))
		ea, eb := encodeID(a), encodeID(b)
		if strings.Trim(ea, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			t.Fatalf("%q is written %q", a, ea)
		}
		if (a == b) != (ea == eb) {
			t.Fatalf("%q and %q are written %q and %q", a, b, ea, eb)
		}
		if back, ok := decodeID(ea); !ok || back != a {
			t.Fatalf("%q comes back as %q", a, back)
		}
	})
}

func FuzzDecodeID(f *testing.F) {
	for _, s := range []string{"", "_", "_0", "_zz", "a_2eb", "_61", "_5F"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := decodeID(s); ok && encodeID(id) != s {
			t.Fatalf("%q decodes to %q, which is written %q", s, id, encodeID(id))
		}
	})
}

func TestDataIsCopied(t *testing.T) {
	each(t, func(t *testing.T, j full) {
		ctx := t.Context()
		data := []byte("before")
		if _, err := j.Append(ctx, "action", "a", data, 0); err != nil {
			t.Fatal(err)
		}
		copy(data, "XXXXXX")
		h, err := j.History(ctx, "action", "a")
		if err != nil {
			t.Fatal(err)
		}
		copy(h[0].Data, "YYYYYY")
		e, _, err := j.Last(ctx, "action", "a")
		if err != nil || string(e.Data) != "before" {
			t.Fatalf("%q %v", e.Data, err)
		}
	})
}

// Many writers on few histories: every success is in the history, once, in
// the order in which the expectations chained, and nothing else is.
func TestRace(t *testing.T) {
	each(t, func(t *testing.T, j full) {
		ctx := t.Context()
		const writers, rounds = 8, 25
		won := make([]map[uint64]string, writers)
		var wg sync.WaitGroup
		for w := range writers {
			won[w] = map[uint64]string{}
			wg.Go(func() {
				for i := range rounds {
					id := fmt.Sprint("h", i%3)
					e, ok, err := j.Last(ctx, "action", id)
					if err != nil {
						t.Error(err)
						return
					}
					expect := uint64(0)
					if ok {
						expect = e.Seq
					}
					data := fmt.Sprintf("%d/%d after %d", w, i, expect)
					seq, err := j.Append(ctx, "action", id, []byte(data), expect)
					switch {
					case err == nil:
						won[w][seq] = data
					case !errors.Is(err, responders.ErrConflict):
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		total := 0
		for _, m := range won {
			total += len(m)
		}
		stored := 0
		for i := range 3 {
			h, err := j.History(ctx, "action", fmt.Sprint("h", i))
			if err != nil {
				t.Fatal(err)
			}
			prev := uint64(0)
			for _, e := range h {
				stored++
				if !bytes.HasSuffix(e.Data, fmt.Appendf(nil, " after %d", prev)) {
					t.Fatalf("%q follows %d", e.Data, prev)
				}
				prev = e.Seq
				found := false
				for _, m := range won {
					found = found || m[e.Seq] == string(e.Data)
				}
				if !found {
					t.Fatalf("%q at %d was never acknowledged", e.Data, e.Seq)
				}
			}
		}
		if stored != total {
			t.Fatalf("%d acknowledged, %d stored", total, stored)
		}
		r, err := j.Verify(ctx)
		if err != nil || !r.OK() || r.Records != total || r.Histories != 3 {
			t.Fatalf("verify: %+v %v", r, err)
		}
	})
}

// Any sequence of appends, right and stale, leaves what an obvious model holds.
func TestModel(t *testing.T) {
	js := startServer(t, t.TempDir())
	ctx := t.Context()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		kind := fmt.Sprint("run", run) // one stream for all runs, apart by kind
		j, err := OpenJetStream(ctx, js, Options{})
		if err != nil {
			t.Fatal(err)
		}
		mem := NewMemory()
		type key struct{ id string }
		seqs := map[key][2][]uint64{}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			k := key{rapid.SampledFrom([]string{"a", "b.c", "*"}).Draw(t, "id")}
			data := []byte(rapid.StringN(0, 20, 60).Draw(t, "data"))
			back := rapid.IntRange(0, 2).Draw(t, "back") // 0: the newest is expected
			s := seqs[k]
			expect := func(list []uint64) uint64 {
				if i := len(list) - 1 - back; i >= 0 {
					return list[i]
				}
				return 0
			}
			a, errA := j.Append(ctx, kind, k.id, data, expect(s[0]))
			b, errB := mem.Append(ctx, kind, k.id, data, expect(s[1]))
			if (errA == nil) != (errB == nil) || errors.Is(errA, responders.ErrConflict) != errors.Is(errB, responders.ErrConflict) {
				t.Fatalf("jetstream says %v, memory says %v", errA, errB)
			}
			if errA == nil {
				seqs[k] = [2][]uint64{append(s[0], a), append(s[1], b)}
			}
			ha, errA := j.History(ctx, kind, k.id)
			hb, errB := mem.History(ctx, kind, k.id)
			if errA != nil || errB != nil || len(ha) != len(hb) {
				t.Fatalf("histories of %d and %d records: %v %v", len(ha), len(hb), errA, errB)
			}
			for i := range ha {
				if !bytes.Equal(ha[i].Data, hb[i].Data) {
					t.Fatalf("record %d: %q and %q", i, ha[i].Data, hb[i].Data)
				}
			}
		}
	})
}

func TestSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	var seq uint64
	t.Run("write", func(t *testing.T) {
		j := open(t, startServer(t, dir), Options{})
		var err error
		if seq, err = j.Append(t.Context(), "action", "a", []byte("one"), 0); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("read", func(t *testing.T) {
		j := open(t, startServer(t, dir), Options{})
		if _, err := j.Append(t.Context(), "action", "a", []byte("two"), seq); err != nil {
			t.Fatal(err)
		}
		h, err := j.History(t.Context(), "action", "a")
		if err != nil || len(h) != 2 {
			t.Fatalf("%d records: %v", len(h), err)
		}
		r, err := j.Verify(t.Context())
		if err != nil || !r.OK() || r.Records != 2 {
			t.Fatalf("verify: %+v %v", r, err)
		}
	})
}

// An answer that is lost after the record was stored is found by reading.
func TestLostAnswer(t *testing.T) {
	j := open(t, startServer(t, t.TempDir()), Options{})
	real := j.publish
	lost := 0
	j.publish = func(ctx context.Context, msg *nats.Msg, expect uint64) (uint64, error) {
		seq, err := real(ctx, msg, expect)
		if lost > 0 && err == nil {
			lost--
			return 0, context.DeadlineExceeded
		}
		return seq, err
	}
	lost = 1
	seq, err := j.Append(t.Context(), "action", "a", []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	lost = 1
	if _, err = j.Append(t.Context(), "action", "a", []byte("two"), seq); err != nil {
		t.Fatal(err)
	}
	h, err := j.History(t.Context(), "action", "a")
	if err != nil || len(h) != 2 {
		t.Fatalf("%d records: %v", len(h), err)
	}
}

// A request that never arrives is offered again; when none arrives, the error
// is neither success nor conflict.
func TestNoAnswer(t *testing.T) {
	j := open(t, startServer(t, t.TempDir()), Options{})
	real := j.publish
	drop := 2
	j.publish = func(ctx context.Context, msg *nats.Msg, expect uint64) (uint64, error) {
		if drop > 0 {
			drop--
			return 0, nats.ErrTimeout
		}
		return real(ctx, msg, expect)
	}
	if _, err := j.Append(t.Context(), "action", "a", nil, 0); err != nil {
		t.Fatalf("two lost requests: %v", err)
	}
	drop = 100
	if _, err := j.Append(t.Context(), "action", "b", nil, 0); err == nil || errors.Is(err, responders.ErrConflict) {
		t.Fatalf("all requests lost: %v", err)
	}
}

// Somebody who appended between our lost answer and our look makes it a conflict.
func TestLostAnswerOvertaken(t *testing.T) {
	j := open(t, startServer(t, t.TempDir()), Options{})
	real := j.publish
	other := open(t, j.js, Options{})
	first := true
	j.publish = func(ctx context.Context, msg *nats.Msg, expect uint64) (uint64, error) {
		seq, err := real(ctx, msg, expect)
		if first && err == nil {
			first = false
			if _, err := other.Append(ctx, "action", "a", []byte("theirs"), seq); err != nil {
				t.Fatal(err)
			}
			return 0, context.DeadlineExceeded
		}
		return seq, err
	}
	if _, err := j.Append(t.Context(), "action", "a", []byte("ours"), 0); !errors.Is(err, responders.ErrConflict) {
		t.Fatal(err)
	}
}

func TestVerifySeesTampering(t *testing.T) {
	ctx := t.Context()
	fill := func(m *Memory) {
		seq := uint64(0)
		for i := range 5 {
			var err error
			if seq, err = m.Append(ctx, "action", "a", fmt.Appendf(nil, "record %d", i), seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, harm := range map[string]func(m *Memory){
		"changed": func(m *Memory) { m.all[2].entry.Data = []byte("record X") },
		"removed": func(m *Memory) { m.all = append(m.all[:2:2], m.all[3:]...) },
		"swapped": func(m *Memory) { m.all[1], m.all[2] = m.all[2], m.all[1] },
		"doubled": func(m *Memory) { m.all = append(m.all, m.all[4]) },
		"new hash": func(m *Memory) {
			m.all[2].entry.Data = []byte("X")
			m.all[2].sum = link(m.all[2].prev, "action", "a", []byte("X"))
		},
		"moved": func(m *Memory) { m.all[2].id = "b" },
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMemory()
			fill(m)
			if r, err := m.Verify(ctx); err != nil || !r.OK() {
				t.Fatalf("untouched: %+v %v", r, err)
			}
			harm(m)
			if r, err := m.Verify(ctx); err != nil || r.OK() {
				t.Fatalf("not seen: %+v %v", r, err)
			}
		})
	}
}

// Somebody who writes to the stream past us is seen, too.
func TestVerifySeesStrangers(t *testing.T) {
	js := startServer(t, t.TempDir())
	j := open(t, js, Options{})
	if _, err := j.Append(t.Context(), "action", "a", []byte("ours"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "act.action.a", []byte("theirs")); err != nil {
		t.Fatal(err)
	}
	r, err := j.Verify(t.Context())
	if err != nil || r.Broken != 1 {
		t.Fatalf("%+v %v", r, err)
	}
}

// The stream keeps the newest records of a history; the rest verifies.
func TestTrimmed(t *testing.T) {
	j := open(t, startServer(t, t.TempDir()), Options{PerHistory: 3})
	seq := uint64(0)
	var err error
	for i := range 10 {
		if seq, err = j.Append(t.Context(), "action", "a", fmt.Appendf(nil, "%d", i), seq); err != nil {
			t.Fatal(err)
		}
	}
	h, err := j.History(t.Context(), "action", "a")
	if err != nil || len(h) != 3 || string(h[0].Data) != "7" {
		t.Fatalf("%d records: %v", len(h), err)
	}
	r, err := j.Verify(t.Context())
	if err != nil || !r.OK() || r.Trimmed != 1 || r.Records != 3 {
		t.Fatalf("%+v %v", r, err)
	}
}

// A full journal refuses new records and keeps what it has.
func TestFull(t *testing.T) {
	j := open(t, startServer(t, t.TempDir()), Options{MaxBytes: 64 << 10})
	var err error
	n := 0
	for ; n < 100; n++ {
		if _, err = j.Append(t.Context(), "action", fmt.Sprint("a", n), make([]byte, 4<<10), 0); err != nil {
			break
		}
	}
	if err == nil || errors.Is(err, responders.ErrConflict) {
		t.Fatalf("after %d records: %v", n, err)
	}
	h, herr := j.History(t.Context(), "action", "a0")
	if herr != nil || len(h) != 1 {
		t.Fatalf("the first record is gone: %v", herr)
	}
}

func TestForeignStream(t *testing.T) {
	js := startServer(t, t.TempDir())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: Stream, Subjects: []string{"something.else"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJetStream(t.Context(), js, Options{}); err == nil {
		t.Fatal("a stream of somebody else was taken for the journal")
	}
}

func TestEachLastStopsOnError(t *testing.T) {
	each(t, func(t *testing.T, j full) {
		for i := range 5 {
			if _, err := j.Append(t.Context(), "action", fmt.Sprint(i), nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		stop := errors.New("stop")
		n := 0
		err := j.EachLast(t.Context(), "action", func(string, responders.Entry) error {
			n++
			if n == 2 {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || n != 2 {
			t.Fatalf("%d calls, %v", n, err)
		}
	})
}

func TestEachLastIsTheNewest(t *testing.T) {
	each(t, func(t *testing.T, j full) {
		const ids = 1200 // more than one batch
		for i := range ids {
			seq, err := j.Append(t.Context(), "notice", fmt.Sprint(i), []byte("old"), 0)
			if err == nil && i%3 == 0 {
				_, err = j.Append(t.Context(), "notice", fmt.Sprint(i), []byte("new"), seq)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got := map[string]string{}
		if err := j.EachLast(t.Context(), "notice", func(id string, e responders.Entry) error {
			got[id] = string(e.Data)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(got) != ids {
			t.Fatalf("%d of %d", len(got), ids)
		}
		for i := range ids {
			want := "old"
			if i%3 == 0 {
				want = "new"
			}
			if got[fmt.Sprint(i)] != want {
				t.Fatalf("%d: %q", i, got[fmt.Sprint(i)])
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	data := bytes.Repeat([]byte("x"), 1500)
	b.Run("memory", func(b *testing.B) { benchAppend(b, NewMemory(), data) })
	b.Run("jetstream", func(b *testing.B) { benchAppend(b, open(b, startServer(b, b.TempDir()), Options{}), data) })
}

func benchAppend(b *testing.B, j full, data []byte) {
	seq := uint64(0)
	i := 0
	for b.Loop() {
		if i%5 == 0 {
			seq = 0
		}
		var err error
		if seq, err = j.Append(b.Context(), "action", fmt.Sprint("a", i/5), data, seq); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// Whoever follows meets the newest record of each history, is told when that
// is all, and then meets every new one.
func TestFollow(t *testing.T) {
	each(t, func(t *testing.T, j full) {
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		defer stop()
		put := func(kind, id, data string, expect uint64) uint64 {
			t.Helper()
			seq, err := j.Append(ctx, kind, id, []byte(data), expect)
			if err != nil {
				t.Fatal(err)
			}
			return seq
		}
		old := put("alert", "a", "old", 0)
		last := put("alert", "a", "new", old)
		put("notice", "n", "not asked for", 0)
		var mu sync.Mutex
		newest := map[string]responders.Entry{}
		seen := make(chan struct{}, 100)
		caught := make(chan struct{})
		ended := make(chan error, 1)
		fctx, end := context.WithCancel(ctx)
		go func() {
			ended <- j.Follow(fctx, []string{"alert", "triage"}, func(kind, id string, e responders.Entry) error {
				mu.Lock()
				defer mu.Unlock()
				if p := newest[kind+id]; e.Seq < p.Seq {
					t.Errorf("%s %s at %d after %d", kind, id, e.Seq, p.Seq)
				}
				newest[kind+id] = e
				seen <- struct{}{}
				return nil
			}, func() { close(caught) })
		}()
		wait := func(key, data string) {
			t.Helper()
			for {
				mu.Lock()
				ok := string(newest[key].Data) == data
				mu.Unlock()
				if ok {
					return
				}
				select {
				case <-seen:
				case <-ctx.Done():
					t.Fatalf("%s never was %q", key, data)
				}
			}
		}
		select {
		case <-caught:
		case <-ctx.Done():
			t.Fatal("never caught up")
		}
		wait("alerta", "new")
		mu.Lock()
		if len(newest) != 1 || newest["alerta"].Seq != last {
			t.Errorf("what was there: %v", newest)
		}
		mu.Unlock()
		put("triage", "a", "seen", 0)
		put("alert", "a", "newer", last)
		wait("triagea", "seen")
		wait("alerta", "newer")
		end()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		boom := errors.New("boom")
		if err := j.Follow(ctx, []string{"alert"}, func(string, string, responders.Entry) error { return boom }, func() {}); !errors.Is(err, boom) {
			t.Errorf("an error of the reader: %v", err)
		}
	})
}

// Reading leaves nothing behind on the server.
func TestReadingLeavesNoConsumers(t *testing.T) {
	j := open(t, startServer(t, t.TempDir()), Options{})
	if _, err := j.Append(t.Context(), "alert", "a", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		for _, kind := range []string{"alert", "notice"} { // one that has records, one that has none
			if err := j.EachLast(t.Context(), kind, func(string, responders.Entry) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	info, err := j.stream.Info(t.Context())
	if err != nil || info.State.Consumers != 0 {
		t.Fatalf("%d consumers are left, %v", info.State.Consumers, err)
	}
}
