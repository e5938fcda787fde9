package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/raced"
)

// window packs records, and space behind them up to so many bytes, into one zstd
// frame with a window of that size.
func window(t testing.TB, records string, size, length int) string {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(size), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	// Written in pieces, so that the frame has a window and no size.
	if _, err := z.Write([]byte(records)); err != nil {
		t.Fatal(err)
	}
	pad := bytes.Repeat([]byte(" "), 1<<20)
	for n := len(records); n < length; n += len(pad) {
		if _, err := z.Write(pad); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestWindowsTogether: what the decoders of all open archives hold is
// bounded, and the result is the same however many may be open.
func TestWindowsTogether(t *testing.T) {
	n := raced.Size(20, 8)
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("f%02d.jsonl.zst", i)] = window(t, lines(recs(fmt.Sprintf("f%02d", i), i, 20)), 16<<20, 2<<20)
	}
	dir := write(t, files)
	var want []string
	for _, c := range []struct {
		workers int
		most    int64
	}{{1, 64 << 20}, {4, 64 << 20}, {8, 64 << 20}, {2, 1 << 20}} {
		o := Options{MaxDecoders: c.most, RatioFloor: 1 << 30, held: new(gauge)}
		res, _, order := play(t, RunConfig{Workers: c.workers, Options: o}, dir)
		if s := res.Stats; s.Events != int64(20*n) || s.FilesRead != int64(n) || len(s.FilesFailed) != 0 {
			t.Errorf("%+v: %+v", c, s)
		}
		// One alone is read even where it is over the budget.
		if peak := o.held.peak.Load(); peak > max(c.most, 16<<20) || peak < 16<<20 {
			t.Errorf("%+v: windows of %d MiB were held at once", c, peak>>20)
		}
		if now := o.held.now.Load(); now != 0 {
			t.Errorf("%+v: %d bytes are still held", c, now)
		}
		if c.most == 64<<20 {
			if want == nil {
				want = order
			} else if !slices.Equal(order, want) {
				t.Errorf("%+v: another order", c)
			}
		}
	}
}

// TestWindowsHeap: many archives with large windows do not add up in memory.
func TestWindowsHeap(t *testing.T) {
	raced.Skip(t)
	files := map[string]string{}
	for i := range 16 {
		files[fmt.Sprintf("f%02d.jsonl.zst", i)] = window(t, lines(recs(fmt.Sprintf("f%02d", i), i, 20)), 32<<20, 32<<20)
	}
	dir := write(t, files)
	set := newTestSet()
	runtime.GC()
	var most uint64
	set.order.every = func(int) {
		// What is in use, not what the collector has not come to yet.
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}
	res, _, _ := play(t, RunConfig{Rules: set, Workers: 2, Options: Options{MaxDecoders: 64 << 20, RatioFloor: 1 << 30}}, dir)
	if res.Stats.Events != 320 {
		t.Errorf("%+v", res.Stats)
	}
	// The budget, and more than as much for blocks; all windows together are
	// 512 MiB.
	if most > 300<<20 {
		t.Errorf("peak heap %d MiB", most>>20)
	}
	t.Logf("peak heap %d MiB", most>>20)
}

// TestRatioTogether: the allowance above the ratio is one for the whole run,
// and what is refused does not depend on who reads faster.
func TestRatioTogether(t *testing.T) {
	mega := raced.Size(1<<20, 1<<18)
	files := map[string]string{}
	for i := range 12 {
		files[fmt.Sprintf("f%02d.jsonl.gz", i)] = packGzip(t, lines(recs(fmt.Sprintf("f%02d", i), i, 20))+strings.Repeat(" ", 3*mega))
	}
	dir := write(t, files)
	var want string
	for _, workers := range []int{1, 2, 8} {
		res, _, _ := play(t, RunConfig{Workers: workers, Options: Options{RatioFloor: int64(8 * mega)}}, dir)
		s := res.Stats
		if len(s.FilesFailed) < 8 || len(s.FilesFailed) == 12 {
			t.Errorf("%d workers: %d files refused", workers, len(s.FilesFailed))
		}
		for _, f := range s.FilesFailed {
			if !strings.Contains(f.Error, "200 times") {
				t.Error(f)
			}
		}
		b, err := json.Marshal([]any{s.FilesFailed, s.Events, s.Records})
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = string(b)
		} else if string(b) != want {
			t.Errorf("%d workers: another result\n%s\n%s", workers, b, want)
		}
	}
	r, err := Open([]string{dir}, Options{RatioFloor: int64(8 * mega)})
	if err != nil {
		t.Fatal(err)
	}
	for range r.Records(t.Context()) {
	}
	if n := len(r.Failed()); n < 8 || n == 12 {
		t.Errorf("records: %d files refused", n)
	}
}

func timed(id, at, name string) string {
	return strings.Replace(rec(id, 0, name), t0.Format("2006-01-02T15:04:05Z"), at, 1)
}

// TestFarAhead: records with a bad clock do not make what follows late, and
// no state sees them; rules without state do.
func TestFarAhead(t *testing.T) {
	r := recs("e", 0, 100)
	bad := func(i int) string { return timed(fmt.Sprintf("bad-%d", i), "2099-01-01T00:00:00Z", "CreateUser") }
	other := lines(recs("o", 0, 100))
	for name, c := range map[string]struct {
		files map[string]string
		bad   int64
		again int64
	}{
		"none":       {map[string]string{"a": lines(r), "b": other}, 0, 0},
		"middle":     {map[string]string{"a": lines(slices.Insert(slices.Clone(r), 40, bad(1))), "b": other}, 1, 0},
		"first":      {map[string]string{"a": lines(slices.Insert(slices.Clone(r), 0, bad(1))), "b": other}, 1, 0},
		"near end":   {map[string]string{"a": lines(slices.Insert(slices.Clone(r), 99, bad(1))), "b": other}, 1, 0},
		"three":      {map[string]string{"a": lines(slices.Insert(slices.Clone(r), 40, bad(1), bad(2), bad(3))), "b": other}, 3, 0},
		"two apart":  {map[string]string{"a": lines(slices.Insert(slices.Insert(slices.Clone(r), 70, bad(1)), 30, bad(2))), "b": other}, 2, 0},
		"met again":  {map[string]string{"a": lines(slices.Insert(slices.Clone(r), 40, bad(1))), "b": lines(slices.Insert(recs("o", 0, 100), 70, bad(1)))}, 1, 1},
		"a newest 1": {map[string]string{"a": lines(reverse(slices.Insert(slices.Clone(r), 40, bad(1)))), "b": other}, 1, 0},
	} {
		var want string
		dir := write(t, c.files)
		for _, workers := range []int{1, 5} {
			for _, block := range []int{600, 5000, 256 << 10} {
				res, parked, order := play(t, RunConfig{Workers: workers, Options: Options{BlockSize: block}, Engine: detectors.EngineConfig{Grace: time.Second}}, filepath.Join(dir, "a"), filepath.Join(dir, "b"))
				s := res.Stats
				if s.Events != 200+c.bad || s.Late != c.bad || s.Duplicates != c.again || s.ByRule["user.created"] != 20+c.bad || s.ByRule["order"] != 4 || len(order) != 200 {
					t.Errorf("%s, %d workers, block %d: %d ordered, %+v", name, workers, block, len(order), s)
				}
				if s.LastEvent.Year() != 2026 {
					t.Errorf("%s: the last event is of %s", name, s.LastEvent)
				}
				for i := 2; i < len(order); i += 2 {
					if order[i][1:] < order[i-2][1:] {
						t.Errorf("%s: out of order: %s after %s", name, order[i], order[i-2])
						break
					}
				}
				res.Stats.Seconds, res.Stats.PeakRSSBytes = 0, 0
				b, err := json.Marshal([]any{res, parked, order})
				if err != nil {
					t.Fatal(err)
				}
				if want == "" {
					want = string(b)
				} else if want != string(b) {
					t.Errorf("%s, %d workers, block %d: another result", name, workers, block)
				}
			}
		}
	}
	// A gap in the records is none, however long: what follows confirms it.
	later := recs("l", 400*24*3600, 100)
	res, _, order := play(t, RunConfig{}, write(t, map[string]string{"a.jsonl": lines(r) + lines(later)}))
	if res.Stats.Late != 0 || len(order) != 200 {
		t.Errorf("a gap: %d ordered, %+v", len(order), res.Stats)
	}
}

func reverse(r []string) []string {
	slices.Reverse(r)
	return r
}

// TestNoTime: an event without a time has that of the one before in its file,
// else of the one behind, so that no alert is of the year 1.
func TestNoTime(t *testing.T) {
	none := func(id string) string {
		return strings.Replace(timed(id, "X", "CreateUser"), `"eventTime":"X",`, "", 1)
	}
	at := func(sec int) string { return t0.Add(time.Duration(sec) * time.Second).Format(time.RFC3339) }
	n := func(k int) (out []string) {
		for i := range k {
			out = append(out, none(fmt.Sprintf("n-%05d", i)))
		}
		return out
	}
	pad := recs("g", 5, 3) // none of them creates a user
	for i := range pad {
		pad[i] = strings.Replace(pad[i], "CreateUser", "GetUser", 1)
	}
	for name, c := range map[string]struct {
		recs []string
		cfg  RunConfig
		want []string
	}{
		"before":   {append(slices.Clone(pad), none("x")), RunConfig{}, []string{at(7)}},
		"behind":   {append([]string{none("x"), none("y")}, pad...), RunConfig{}, []string{at(5), at(5)}},
		"between":  {slices.Insert(slices.Clone(pad), 1, none("x"), none("y")), RunConfig{}, []string{at(5), at(5)}},
		"filtered": {slices.Insert(slices.Clone(pad), 1, none("x"), none("y")), RunConfig{From: t0.Add(6 * time.Second)}, nil},
		"outside":  {append([]string{none("x")}, pad...), RunConfig{From: t0.Add(6 * time.Second)}, nil},
		"nowhere":  {n(3), RunConfig{}, []string{"1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"}},
		"too many": {append(n(maxUntimed+1), pad...), RunConfig{}, slices.Repeat([]string{"1970-01-01T00:00:00Z"}, maxUntimed+1)},
	} {
		dir := write(t, map[string]string{"a.jsonl": lines(c.recs)})
		for _, block := range []int{450, 1200, 256 << 10} {
			cfg := c.cfg
			cfg.Options.BlockSize, cfg.Workers = block, 3
			res, _, _ := play(t, cfg, dir)
			var got []string
			for _, a := range found(t, &res) {
				if a.Rule == "user.created" {
					got = append(got, a.Time.Format(time.RFC3339))
				}
			}
			if !reflect.DeepEqual(got, c.want) || res.Stats.Records != int64(len(c.recs)) || res.Stats.Records != res.Stats.Events+res.Stats.Filtered {
				t.Errorf("%s, block %d: %.200v, want %.200v; %+v", name, block, got, c.want, res.Stats)
			}
		}
	}
}

// TestReplaced: an archive that needs a larger window than its first frame
// said is refused, not served.
func TestReplaced(t *testing.T) {
	dir := write(t, map[string]string{"a.zst": packZstd(t, lines(recs("e", 0, 20))) + window(t, lines(recs("f", 30, 20)), 32<<20, 32<<20)})
	path := filepath.Join(dir, "a.zst")
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	res, _, _ := play(t, RunConfig{}, path)
	if s := res.Stats; s.Events != 20 || len(s.FilesFailed) != 1 || !strings.Contains(s.FilesFailed[0].Error, "window") {
		t.Errorf("%+v", s)
	}
}
