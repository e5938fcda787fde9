package synth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/packed/packedtest"
	"github.com/trailwarden/trailwarden/pipeline/raced"
)

var update = flag.Bool("update", false, "write the events of every attack in testdata, and the packed attacks, anew")

// packFrom is the size from which a corpus file is packed.
const packFrom = 64 << 10

// The recorded scenarios in testdata are what the stories tell, so that
// nobody edits records by hand, and others can make the same.
func TestCorpusIsTheStories(t *testing.T) {
	list, err := Attacks()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 25 {
		t.Errorf("%d attacks, want at least 25", len(list))
	}
	for i := range list {
		a := &list[i]
		t.Run(a.Name, func(t *testing.T) {
			recs, err := Tell(&a.Story)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if _, err := Write(&b, slices.Values(recs)); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join("..", "..", "..", "testdata", "scenarios", a.Name)
			path := filepath.Join(dir, "events.jsonl")
			if b.Len() > packFrom {
				path += ".gz"
			}
			if *update {
				writeCorpus(t, path, b.Bytes())
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var r io.Reader = f
			if filepath.Ext(path) == ".gz" {
				if r, err = gzip.NewReader(f); err != nil {
					t.Fatal(err)
				}
			}
			have, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(have, b.Bytes()) {
				t.Errorf("%s is not what the story tells: go test ./cmd/internal/synth -update", path)
			}
		})
	}
}

func writeCorpus(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(path) == ".gz" {
		var z bytes.Buffer
		w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		data = z.Bytes()
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A life is in time order, parses, has unique ids, and is the same every
// time; another seed is another life.
func TestLife(t *testing.T) {
	days := raced.Size(8, 2)
	l := Life{Identities: 100, Days: days, Seed: 3, Start: time.Date(2026, 1, 5, 17, 0, 0, 0, time.UTC)}
	text := func(l Life) (out []byte) {
		for rec := range l.Records {
			out = append(out, rec.JSON...)
		}
		return out
	}
	ids, kinds := map[string]bool{}, map[event.CallerKind]int{}
	var last time.Time
	n := 0
	for rec := range l.Records {
		ev, err := event.Parse(bytes.Clone(rec.JSON))
		if err != nil {
			t.Fatal(err)
		}
		if ev.Time.Before(last) || !ev.Time.Equal(rec.Time.Truncate(time.Second)) {
			t.Fatalf("event %d at %s after %s, recorded as %s", n, ev.Time, last, rec.Time)
		}
		if ids[ev.ID] {
			t.Fatalf("id %s twice", ev.ID)
		}
		ids[ev.ID], last = true, ev.Time
		kinds[ev.Actor.Kind]++
		n++
	}
	if n < 100*days*10 || kinds[event.Human] == 0 || kinds[event.Workload] == 0 || kinds[event.Service] == 0 {
		t.Errorf("%d events of kinds %v", n, kinds)
	}
	if first := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC); last.Before(first.AddDate(0, 0, days-1)) || last.After(first.AddDate(0, 0, days).Add(time.Hour)) {
		t.Errorf("the last event is at %s", last)
	}
	same, other := l, l
	other.Seed = 4
	if !bytes.Equal(text(l), text(same)) {
		t.Error("the same settings gave another life")
	}
	if bytes.Equal(text(l), text(other)) {
		t.Error("another seed gave the same life")
	}
	for range l.Records {
		break // a reader may stop
	}
}

// A seed gives the bytes that it gave when this was written, however much of a day is
// held at once.
func TestLifeGolden(t *testing.T) {
	const want = "1d1e0c78011dc898760cc3de584608570ebf2e19fdb9a098e55aec16dbb7fd73"
	for _, hold := range []int{0, 1000, 100} {
		h := sha256.New()
		for rec := range (Life{Identities: 70, Days: 2, Seed: 7, Start: time.Date(2026, 3, 6, 0, 0, 0, 0, time.UTC), hold: hold}).Records {
			_, _ = h.Write(rec.JSON) // never fails
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("with %d held: %s", hold, got)
		}
	}
}

// A life that is asked to stop does, while a day is made too.
func TestLifeStops(t *testing.T) {
	for after := range 5 {
		asked, n := 0, 0
		stop := func() bool { asked++; return asked > after }
		for range (Life{Identities: 1100, Days: 1000, Start: time.Date(2026, 3, 6, 0, 0, 0, 0, time.UTC), Stop: stop}).Records {
			n++
		}
		if n > 10_000 || asked > after+5 {
			t.Errorf("%d records, asked %d times", n, asked)
		}
	}
}

func TestAttacksArePacked(t *testing.T) {
	packedtest.Check(t, "attacks.tar.zst", "attacks/*.yaml", *update)
}
