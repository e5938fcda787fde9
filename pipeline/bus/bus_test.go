package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testConfig(dir string) Config {
	return Config{Dir: dir, Partitions: 4, MaxBytes: 256 << 20, Logger: quiet()}
}

func open(t testing.TB, cfg Config) *Bus {
	t.Helper()
	b, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func mustPublish(t testing.TB, b *Bus, p Publish) uint64 {
	t.Helper()
	seq, err := b.Publish(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func wantErr(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v, want one that is %q", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestOpenMakesAPrivateStoreAndReopensIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	b := open(t, testConfig(dir))
	if b.Partitions() != 4 || !b.Embedded() {
		t.Fatalf("partitions %d, embedded %v", b.Partitions(), b.Embedded())
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Fatalf("store directory: %v, %v", st.Mode(), err)
	}
	if addr := b.srv.Addr(); addr != nil {
		t.Errorf("the embedded server listens on %v", addr)
	}
	if c := b.srv.JetStreamConfig(); !c.SyncAlways {
		t.Error("an acknowledged message is not on the disk: SyncAlways is off")
	}
	seq := mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.0.aa", ID: "1", Data: []byte("x")})
	h := b.Health(t.Context())
	if !h.OK || h.Frozen || len(h.Streams) != 5 || len(h.Problems) != 0 {
		t.Errorf("health %+v", h)
	}
	b.Close()
	if h := b.Health(t.Context()); h.OK {
		t.Error("a closed store calls itself healthy")
	}

	cfg := testConfig(dir)
	cfg.Partitions = 0
	cfg.MaxBytes = 128 << 20 // a budget may shrink without losing streams
	b = open(t, cfg)
	if b.Partitions() != 4 {
		t.Errorf("partitions %d after reopening", b.Partitions())
	}
	m, err := b.Last(t.Context(), StreamEvents, "ev.0.aa")
	if err != nil || m.Seq != seq || string(m.Data) != "x" || m.ID != "1" {
		t.Errorf("message %+v, %v", m, err)
	}
	if st, err := b.State(t.Context(), StreamEvents); err != nil || st.MaxBytes != (128<<20)/100*45 {
		t.Errorf("state %+v, %v", st, err)
	}
}

func TestOpenRefusesASecondProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, testConfig(dir))
	_, err := Open(t.Context(), testConfig(dir))
	wantErr(t, err, ErrLocked, dir, fmt.Sprintf("process %d", os.Getpid()))
}

func TestOpenTakesOverAStaleLock(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, lockFile), []byte("999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, testConfig(dir))
}

func TestOpenRefusesAnotherPartitionCount(t *testing.T) {
	dir := t.TempDir()
	open(t, testConfig(dir)).Close()
	cfg := testConfig(dir)
	cfg.Partitions = 8
	_, err := Open(t.Context(), cfg)
	wantErr(t, err, ErrDrift, "8", "4", "empty state_dir")
}

func TestOpenRefusesDrift(t *testing.T) {
	dir := t.TempDir()
	b := open(t, testConfig(dir))
	s, err := b.js.Stream(t.Context(), StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.Discard = jetstream.DiscardOld
	if _, err := b.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	b.Close()
	_, err = Open(t.Context(), testConfig(dir))
	wantErr(t, err, ErrDrift, "EVENTS", "discard")
}

func TestOpenRefusesAMissingStream(t *testing.T) {
	for _, name := range streamOrder {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, testConfig(dir))
			mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.0.aa", Data: []byte("x")})
			if err := b.js.DeleteStream(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			b.Close()
			_, err := Open(t.Context(), testConfig(dir))
			wantErr(t, err, ErrDamaged, name, "10059")
			cfg := testConfig(dir)
			cfg.Adopt = true
			open(t, cfg).Close()
			open(t, testConfig(dir)).Close()
		})
	}
}

// A stream whose description is unreadable is gone for the server; its blocks
// are still there, and adoption finds them.
func TestAdoptTakesOverBlocks(t *testing.T) {
	dir := t.TempDir()
	b := open(t, testConfig(dir))
	seq := mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.0.aa", Data: []byte("x")})
	b.Close()
	var meta string
	if err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(p, filepath.Join("EVENTS", "meta.inf")) {
			meta = p
		}
		return err
	}); err != nil || meta == "" {
		t.Fatalf("no meta.inf found: %v", err)
	}
	if err := os.Truncate(meta, 0); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), testConfig(dir))
	wantErr(t, err, ErrDamaged, "EVENTS")
	cfg := testConfig(dir)
	cfg.Adopt = true
	b = open(t, cfg)
	if m, err := b.Last(t.Context(), StreamEvents, "ev.0.aa"); err != nil || m.Seq != seq {
		t.Errorf("after adoption: %+v, %v", m, err)
	}
}

// The server tries at its start whether it can write. A kill in the middle of
// that leaves a file behind, which it would take for an account ever after.
func TestOpenSweepsWhatTheServerTried(t *testing.T) {
	dir := t.TempDir()
	b := open(t, testConfig(dir))
	mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.0.aa", Data: []byte("x")})
	b.Close()
	root := filepath.Join(dir, "bus", "jetstream")
	left := []string{filepath.Join(root, "_test_123"), filepath.Join(root, "$G", "streams", "EVENTS", "_test_456")}
	kept := filepath.Join(root, "$G", "streams", "EVENTS", "_test_full")
	for _, name := range left {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(kept, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	b = open(t, testConfig(dir))
	defer b.Close()
	if h := b.Health(t.Context()); !h.OK || h.Frozen || len(h.Problems) > 0 {
		t.Errorf("%+v", h)
	}
	for _, name := range left {
		if _, err := os.Lstat(name); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if _, err := os.Lstat(kept); err != nil {
		t.Error(err)
	}
	if m, err := b.Last(t.Context(), StreamEvents, "ev.0.aa"); err != nil || string(m.Data) != "x" {
		t.Errorf("%+v, %v", m, err)
	}
}

// A kill between a stream's description and its checksum, at the first start
// or at a change of settings, loses nothing and is mended once.
func TestOpenMendsAChecksum(t *testing.T) {
	for _, how := range []string{"missing", "of before"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, testConfig(dir))
			seq := mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.0.aa", Data: []byte("x")})
			b.Close()
			sums, err := filepath.Glob(filepath.Join(dir, "bus", "jetstream", "$G", "streams", "*", "meta.sum"))
			if err != nil || len(sums) < len(streamOrder) {
				t.Fatalf("%d checksums, %v", len(sums), err)
			}
			want := map[string]string{}
			for _, name := range sums {
				text, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				want[name] = string(text)
				if how == "missing" {
					err = os.Remove(name)
				} else {
					err = os.WriteFile(name, []byte("0123456789abcdef"), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the store stays whole
				b = open(t, testConfig(dir))
				if m, err := b.Last(t.Context(), StreamEvents, "ev.0.aa"); err != nil || m.Seq != seq {
					t.Errorf("after it: %+v, %v", m, err)
				}
				b.Close()
			}
			for name, w := range want {
				if text, err := os.ReadFile(name); err != nil || string(text) != w {
					t.Errorf("%s is %q, %v; the server wrote %q", name, text, err, w)
				}
			}
		})
	}
}

func TestOpenGoesOnAfterAnInterruptedFirstStart(t *testing.T) {
	dir := t.TempDir()
	b := open(t, testConfig(dir))
	if err := b.js.DeleteStream(t.Context(), StreamEvents); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := os.Remove(filepath.Join(dir, markerFile)); err != nil {
		t.Fatal(err)
	}
	open(t, testConfig(dir))
}

func TestOpenRefusesBadConfigAndFullDisk(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing":    {},
		"partitions": {Dir: "x", Partitions: 1000},
		"small":      {Dir: "x", MaxBytes: 1},
		"replicas":   {Dir: "x", Replicas: 3},
		"cert":       {URL: "tls://127.0.0.1:1", Cert: "a"},
		"both":       {URL: "tls://127.0.0.1:1", Creds: "a", NKey: "b"},
		"scheme":     {URL: "http://127.0.0.1:1"},
		"password":   {URL: "nats://u:hunter2@127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Logger = quiet()
			b, err := Open(t.Context(), cfg)
			if err == nil {
				b.Close()
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
	c := Config{Dir: "d", MaxBytes: 1 << 30}
	if _, err := c.budget(1 << 30); err == nil {
		t.Error("a budget of the whole disk was accepted")
	}
	if n, err := c.budget(2 << 30); err != nil || n != 1<<30 {
		t.Errorf("budget %d, %v", n, err)
	}
	c.MaxBytes = 0
	for room, want := range map[int64]int64{100 << 30: 10 << 30, 8 << 30: 5 << 30, 1 << 30: 512 << 20, -1: 10 << 30} {
		if n, err := c.budget(room); err != nil || n != want {
			t.Errorf("default budget with room %d is %d (%v), want %d", room, n, err, want)
		}
	}
	if _, err := c.budget(100 << 20); err == nil {
		t.Error("a full disk was accepted")
	}
}

func TestPublishFence(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	p := Publish{Stream: StreamCommits, Subject: "cm.1", ID: "a", Data: []byte("one"), Fenced: true}
	first := mustPublish(t, b, p)
	// The same message again is the same message, inside the deduplication
	// window and, by reading back, outside it.
	if again := mustPublish(t, b, p); again != first {
		t.Errorf("resent message has sequence %d, first was %d", again, first)
	}
	other := p
	other.ID, other.Data = "b", []byte("two")
	_, err := b.Publish(t.Context(), other)
	wantErr(t, err, ErrFenced, "cm.1")
	other.Expect = first
	second := mustPublish(t, b, other)
	if second != first+1 {
		t.Errorf("sequence %d after %d", second, first)
	}
	same := other
	same.ID = "b2" // as after the window: the server does not know the id
	if _, err := b.Publish(t.Context(), same); !errors.Is(err, ErrFenced) {
		t.Errorf("another message in the same place: %v", err)
	}
	if seq, mine, err := b.readBack(t.Context(), other); err != nil || !mine || seq != second {
		t.Errorf("read back %d %v %v", seq, mine, err)
	}
	_, err = b.Publish(t.Context(), Publish{Stream: StreamCommits, Subject: "cm.1", Data: make([]byte, maxPayload+1)})
	wantErr(t, err, ErrTooLarge)
}

func TestPublishBackpressureAndHealth(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.MaxBytes = MinBudget
	b := open(t, cfg)
	data := make([]byte, 512<<10)
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = b.Publish(t.Context(), Publish{Stream: StreamCommits, Subject: "cm.0", ID: fmt.Sprint(n), Data: data})
	}
	wantErr(t, err, ErrBackpressure, "COMMITS")
	h := b.Health(t.Context())
	if h.OK || h.Frozen || len(h.Problems) == 0 || !strings.Contains(h.Problems[0], "COMMITS is full") {
		t.Errorf("health %+v", h)
	}
	// It works again after a purge.
	if err := b.PurgeAll(t.Context(), StreamCommits, "cm.0"); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, b, Publish{Stream: StreamCommits, Subject: "cm.0", ID: "after", Data: data})
}

// The audit log fills up beside the streams of the store; nothing else stops for it.
func TestAuditLogFull(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	if _, err := b.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: StreamAudit, Subjects: []string{"aud.log"}, Discard: jetstream.DiscardNew, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	b.Audited()
	for _, want := range []string{"AUDIT is 88 % full (of 1 MiB): nothing more", "AUDIT is full (98 % of 1 MiB): nothing more"} {
		size := 900 << 10
		if strings.Contains(want, "98") {
			size = 100 << 10
		}
		mustPublish(t, b, Publish{Stream: StreamAudit, Subject: "aud.log", Data: make([]byte, size)})
		if h := b.Health(t.Context()); !h.OK || len(h.Problems) != 1 || !strings.Contains(h.Problems[0], want) {
			t.Errorf("health %+v, want %q", h, want)
		}
	}
}

// Others fill the disk, which no limit of ours sees; a full one ends storing.
func TestDiskNearlyFull(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	if h := b.Health(t.Context()); h.Free != 0 || len(h.Problems) > 0 {
		t.Fatalf("health %+v", h)
	}
	b.budget = 1 << 61 // no disk has a tenth of that
	if h := b.Health(t.Context()); !h.OK || h.Free == 0 || len(h.Problems) != 1 || !strings.Contains(h.Problems[0], "others fill it") {
		t.Errorf("health %+v", h)
	}
}

func TestActionsAreKept(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	seq := mustPublish(t, b, Publish{Stream: StreamActions, Subject: "act.key.1", ID: "a", Data: []byte("x")})
	s, err := b.handle(t.Context(), StreamActions)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), seq); err == nil {
		t.Error("a journal record could be deleted")
	}
	for i := range actionHistory - 1 {
		mustPublish(t, b, Publish{Stream: StreamActions, Subject: "act.key.1", ID: fmt.Sprint(i), Data: []byte("y")})
	}
	if m, err := b.At(t.Context(), StreamActions, seq); err != nil || string(m.Data) != "x" {
		t.Errorf("the oldest record is %+v, %v", m, err)
	}
	// A history that is written for ever goes on: its newest records are kept.
	over := mustPublish(t, b, Publish{Stream: StreamActions, Subject: "act.key.1", ID: "over", Data: []byte("z")})
	if m, err := b.At(t.Context(), StreamActions, over); err != nil || string(m.Data) != "z" {
		t.Errorf("the newest record is %+v, %v", m, err)
	}
}

// A store made when a full history refused new records is brought along.
func TestActionsOfAnOlderStore(t *testing.T) {
	dir := t.TempDir()
	b := open(t, testConfig(dir))
	old := streamConfigs(b.partitions, 1, b.budget)[StreamActions]
	old.DiscardNewPerSubject = true
	if _, err := b.js.UpdateStream(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	b.Close()
	b = open(t, testConfig(dir))
	for i := range actionHistory + 5 {
		mustPublish(t, b, Publish{Stream: StreamActions, Subject: "act.ledger.all", ID: fmt.Sprint(i), Data: []byte("y")})
	}
}

func TestReaderFollows(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	for i := range 10 {
		mustPublish(t, b, Publish{Stream: StreamEvents, Subject: fmt.Sprintf("ev.%d.aa", i%2), ID: fmt.Sprint(i), Data: []byte{byte(i)}})
	}
	r := b.NewReader(StreamEvents, 4, 4, "ev.1.*")
	defer r.Stop()
	for _, want := range []uint64{4, 6, 8, 10} {
		d, err := r.Next(t.Context())
		if err != nil || d.Seq != want || d.Pending != (10-want)/2 {
			t.Fatalf("delivery %d pending %d, %v; want %d", d.Seq, d.Pending, err, want)
		}
	}
	got := make(chan Delivery)
	go func() {
		d, err := r.Next(t.Context())
		if err != nil {
			t.Error(err)
		}
		got <- d
	}()
	mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.1.bb", ID: "x", Data: []byte("new")})
	if d := <-got; string(d.Data) != "new" || d.Subject != "ev.1.bb" {
		t.Fatalf("%+v", d)
	}
	// The server may lose a consumer; the reader does not lose its place.
	s, err := b.handle(t.Context(), StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	for name := range s.ConsumerNames(t.Context()).Name() {
		if err := s.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.1.bb", ID: "y", Data: []byte("newer")})
	if d, err := r.Next(t.Context()); err != nil || string(d.Data) != "newer" {
		t.Fatalf("%+v %v", d, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
	b.Close()
	if _, err := r.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func snap(p int, input uint64, size int) *Snapshot {
	r := rand.New(rand.NewPCG(uint64(p), input))
	e := make([]byte, size)
	for i := range e {
		e[i] = byte(r.Uint32())
	}
	return &Snapshot{Partition: p, Epoch: 1, Input: input, Rules: "r", Made: time.Unix(1, 0).UTC(), Engine: e, Grouper: []byte(strings.Repeat("g", size/2))}
}

func load(t *testing.T, b *Bus, p int) (*Snapshot, []Refused) {
	t.Helper()
	var got *Snapshot
	_, refused, err := b.LoadSnapshot(t.Context(), p, func(s *Snapshot) error { got = s; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return got, refused
}

func TestSnapshotsKeepTwo(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	if s, refused := load(t, b, 1); s != nil || refused != nil {
		t.Fatalf("%v %v", s, refused)
	}
	for i, size := range []int{0, 100, 3 << 20, 1 << 20} {
		want := snap(1, uint64(10*(i+1)), size)
		older, err := b.SaveSnapshot(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		if older != uint64(10*i) {
			t.Errorf("older kept input is %d, want %d", older, 10*i)
		}
		got, refused := load(t, b, 1)
		if refused != nil || got.Input != want.Input || !bytes.Equal(got.Engine, want.Engine) || !bytes.Equal(got.Grouper, want.Grouper) {
			t.Fatalf("snapshot %d of %d bytes does not come back: %v", i, size, refused)
		}
	}
	// 3 MiB and 1 MiB of noise are kept, nothing else.
	st, err := b.State(t.Context(), StreamSnap)
	if err != nil || st.Bytes > 5<<20 || st.Msgs != 1+7+3 {
		t.Errorf("SNAP holds %+v, %v", st, err)
	}
	if s, _ := load(t, b, 2); s != nil {
		t.Error("another partition sees it")
	}
}

// A snapshot that has no room leaves nothing behind in the way of others.
func TestSnapshotWithoutRoom(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.MaxBytes = MinBudget // 4.8 MiB of it for snapshots
	b := open(t, cfg)
	if _, err := b.SaveSnapshot(t.Context(), snap(1, 10, 3<<20)); err != nil {
		t.Fatal(err)
	}
	_, err := b.SaveSnapshot(t.Context(), snap(1, 20, 3<<20))
	wantErr(t, err, ErrBackpressure)
	if _, err := b.SaveSnapshot(t.Context(), snap(2, 20, 1<<20)); err != nil {
		t.Errorf("one for which there is room: %v", err)
	}
	if got, refused := load(t, b, 1); refused != nil || got == nil || got.Input != 10 {
		t.Errorf("the one before does not come back: %v", refused)
	}
}

func TestSnapshotDamageFallsBack(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	for _, in := range []uint64{10, 20} {
		if _, err := b.SaveSnapshot(t.Context(), snap(0, in, 2<<20)); err != nil {
			t.Fatal(err)
		}
	}
	// A chunk of the newer one goes.
	list, _, err := b.manifests(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := b.handle(t.Context(), StreamSnap)
	if err := s.DeleteMsg(t.Context(), list[0].First+1); err != nil {
		t.Fatal(err)
	}
	got, refused := load(t, b, 0)
	if got == nil || got.Input != 10 || len(refused) != 1 || refused[0].Input != 20 || !errors.Is(refused[0].Reason, ErrCorrupt) {
		t.Fatalf("got %v, refused %v", got, refused)
	}
	// One that the caller refuses, too.
	n := 0
	ok, refused, err := b.LoadSnapshot(t.Context(), 0, func(*Snapshot) error { n++; return errors.New("no") })
	if ok || len(refused) != 2 || n != 1 || err != nil {
		t.Errorf("ok %v refused %v, %d calls, %v", ok, refused, n, err)
	}
	// The manifest itself.
	if _, err := b.Publish(t.Context(), Publish{Stream: StreamSnap, Subject: snapIndex(0), Data: []byte("{}\n0000000000000000")}); err != nil {
		t.Fatal(err)
	}
	got, refused = load(t, b, 0)
	if got != nil || len(refused) != 1 || !errors.Is(refused[0].Reason, ErrCorrupt) {
		t.Fatalf("got %v, refused %v", got, refused)
	}
	// A new one can be made all the same.
	if _, err := b.SaveSnapshot(t.Context(), snap(0, 30, 100)); err != nil {
		t.Fatal(err)
	}
	if got, _ = load(t, b, 0); got == nil || got.Input != 30 {
		t.Errorf("got %v", got)
	}
}

func TestSnapshotFence(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	if _, err := b.SaveSnapshot(t.Context(), snap(0, 10, 10)); err != nil {
		t.Fatal(err)
	}
	list, at, _ := b.manifests(t.Context(), 0)
	if at == 0 || len(list) != 1 {
		t.Fatal(at, list)
	}
	_, err := b.Publish(t.Context(), Publish{Stream: StreamSnap, Subject: snapIndex(0), ID: "late", Data: []byte("x"), Fenced: true, Expect: at - 1})
	wantErr(t, err, ErrFenced)
}

// An owner that stood still after its last commit, while another one went on and
// saved snapshots, does not put its own in their place.
func TestSnapshotOfAFormerOwner(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	commit := func() (seq uint64) {
		t.Helper()
		seq, err := b.Publish(t.Context(), Publish{Stream: StreamCommits, Subject: CommitSubject(0), Data: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	save := func(input, commit uint64) error {
		s := snap(0, input, 10)
		s.Commit = commit
		_, err := b.SaveSnapshot(t.Context(), s)
		return err
	}
	former := commit()
	for _, input := range []uint64{20, 30} {
		if err := save(input, commit()); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, save(10, former), ErrFenced)
	if got, refused := load(t, b, 0); got == nil || got.Input != 30 || len(refused) > 0 {
		t.Errorf("got %v, refused %v", got, refused)
	}
}

func TestPark(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	raw := []byte("\x00 not a record")
	noise := make([]byte, 2<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for i, p := range []Parked{
		{Reason: "Truncated *> \n", Partition: 3, Source: "sls/p/l", Shard: 1, Message: strings.Repeat("é", 4000), Raw: raw},
		{Reason: "", Partition: -1, Source: "sls/p/l", Raw: []byte(strings.Repeat("a", 3<<20))},
		{Reason: "too-large", Partition: 0, Source: "sls/p/l", Raw: noise},
		{Reason: "empty", Partition: 0, Source: "sls/p/l"},
		{Reason: "huge", Partition: 0, Source: "sls/p/l", Raw: []byte(strings.Repeat("b", MaxRaw+1))}, // small when packed
	} {
		for try := range 2 {
			fresh, err := b.Park(t.Context(), p)
			if err != nil || fresh != (try == 0) {
				t.Errorf("record %d, try %d: fresh %v, %v", i, try, fresh, err)
			}
		}
	}
	counts, err := b.ParkedCounts(t.Context())
	if err != nil || fmt.Sprint(counts) != "map[empty:1 huge:1 too-large:1 truncated-----:1 unknown:1]" {
		t.Errorf("counts %v, %v", counts, err)
	}
	var got []Parked
	if err := b.EachParked(t.Context(), func(p Parked) bool { got = append(got, p); return true }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 || !bytes.Equal(got[0].Raw, raw) || got[0].Source != "sls/p/l" || got[0].Shard != 1 || len(got[1].Raw) != 3<<20 {
		t.Fatalf("%d records came back", len(got))
	}
	if c := got[2]; !c.Cut || c.Size != len(noise) || !bytes.HasPrefix(noise, c.Raw) || len(c.Raw) < 512<<10 {
		t.Errorf("cut %v, size %d, %d bytes kept", c.Cut, c.Size, len(c.Raw))
	}
	if c := got[4]; !c.Cut || c.Size != MaxRaw+1 || len(c.Raw) < 512<<10 {
		t.Errorf("cut %v, size %d, %d bytes kept", c.Cut, c.Size, len(c.Raw))
	}
	for range 2 {
		if err := b.Unpark(t.Context(), got[0]); err != nil {
			t.Fatal(err)
		}
	}
	if counts, _ = b.ParkedCounts(t.Context()); len(counts) != 4 {
		t.Errorf("counts %v", counts)
	}
}

func TestCursors(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	for _, v := range []uint64{0, 7, 9} {
		if v > 0 {
			if err := b.SaveCursor(t.Context(), "respond", 2, v); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := b.LoadCursor(t.Context(), "respond", 2); err != nil || got != v {
			t.Errorf("cursor %d, %v; want %d", got, err, v)
		}
	}
	if st, _ := b.State(t.Context(), StreamCommits); st.Msgs != 1 {
		t.Errorf("%d messages for one cursor", st.Msgs)
	}
	for _, bad := range []string{"", "a.b", "*", "A", strings.Repeat("a", 65)} {
		if err := b.SaveCursor(t.Context(), bad, 0, 1); err == nil {
			t.Errorf("reader name %q was accepted", bad)
		}
	}
}

// The quarantine drops its oldest when it is full: what cannot be evaluated must
// not stop what can. It is said before.
func TestQuarantineFull(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.MaxBytes = MinBudget
	b := open(t, cfg)
	raw := make([]byte, 200<<10)
	warned := 0
	for i := range 30 {
		for j := range raw {
			raw[j] = byte(rand.Uint32()) // nothing to compress
		}
		if fresh, err := b.Park(t.Context(), Parked{Reason: "test", Partition: 0, Source: fmt.Sprintf("record %02d", i), Raw: raw}); err != nil || !fresh {
			t.Fatalf("record %d: fresh %v, %v", i, fresh, err)
		}
		h := b.Health(t.Context())
		if !h.OK || h.Frozen {
			t.Fatalf("record %d: a full quarantine stops everything: %+v", i, h)
		}
		if counts, err := b.ParkedCounts(t.Context()); err != nil {
			t.Fatal(err)
		} else if len(h.Problems) > 0 && counts["test"] == uint64(i+1) {
			warned++
		}
	}
	var got []string
	if err := b.EachParked(t.Context(), func(p Parked) bool { got = append(got, p.Source); return true }); err != nil {
		t.Fatal(err)
	}
	if n := len(got); n == 0 || n == 30 || got[n-1] != "record 29" || got[0] != fmt.Sprintf("record %02d", 30-n) {
		t.Errorf("%d records are there: %v", n, got)
	}
	if warned == 0 {
		t.Error("it was not said before records were dropped")
	}
	mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.0.aa", Data: []byte("x")})
}

// A reader's position means nothing in a stream that was deleted and made again: it
// waited there for messages until as many had been stored as before.
func TestReaderOfAStreamMadeAgain(t *testing.T) {
	b := open(t, testConfig(t.TempDir()))
	for i := range 3 {
		mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.0.aa", ID: fmt.Sprint(i), Data: []byte("x")})
	}
	r := b.NewReader(StreamEvents, 1, 4, "ev.0.*")
	defer r.Stop()
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Stop() // as when the connection was lost
	s, err := b.js.Stream(t.Context(), StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.js.DeleteStream(t.Context(), StreamEvents); err != nil {
		t.Fatal(err)
	}
	_, err = b.NewReader(StreamEvents, 1, 4, "ev.0.*").Next(t.Context())
	wantErr(t, err, ErrGone, "EVENTS", "somebody deleted it")
	if _, err := b.js.CreateStream(t.Context(), s.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, b, Publish{Stream: StreamEvents, Subject: "ev.0.aa", ID: "new", Data: []byte("x")})
	_, err = r.Next(t.Context())
	wantErr(t, err, ErrDamaged, "made again")

	// While it waits for a message the library sets reading up again by itself.
	r = b.NewReader(StreamEvents, 1, 4, "ev.0.*")
	defer r.Stop()
	r.look = 10 * time.Millisecond
	if _, err := r.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := r.Next(t.Context()); ended <- err }()
	if err := b.js.DeleteStream(t.Context(), StreamEvents); err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.CreateStream(t.Context(), s.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	wantErr(t, <-ended, ErrDamaged)
}
