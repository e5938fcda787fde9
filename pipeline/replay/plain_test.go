package replay

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// leaving counts the blocks that workers read themselves in files of at least
// so many blocks.
func leaving(t *testing.T, least int64) *atomic.Int64 {
	was, hook := leastPlain, spoil
	t.Cleanup(func() { leastPlain, spoil = was, hook })
	n := new(atomic.Int64)
	leastPlain, spoil = least, func(b *batch) {
		if b.left.File != nil {
			n.Add(1)
		}
		hook(b)
	}
	return n
}

// TestPropLeft: a file whose records are left in it gives what one gives that is
// read in order and held, whatever stands in it.
func TestPropLeft(t *testing.T) {
	blocks := leaving(t, 0)
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		var body strings.Builder
		if rapid.Bool().Draw(rt, "mark") {
			body.WriteString("\ufeff")
		}
		sec := 0
		for i := range rapid.IntRange(5, 150).Draw(rt, "n") {
			r := rec(fmt.Sprintf("e%04d", rapid.IntRange(i/2, i).Draw(rt, "id")), sec, rapid.SampledFrom([]string{"GetUser", "CreateUser"}).Draw(rt, "name"))
			sec += rapid.SampledFrom([]int{0, 1, 1, 7, -3, 500, 2 * 86_400}).Draw(rt, "step")
			switch kind := rapid.IntRange(0, 19).Draw(rt, "kind"); {
			case i == 0 || kind > 8:
			case kind == 0: // no event, and a part of it is told
				r = r[:rapid.IntRange(1, len(r)-1).Draw(rt, "cut")]
			case kind == 1: // over the cap
				r = strings.Replace(r, `"x"`, `"`+strings.Repeat("x", 5000)+`"`, 1)
			case kind == 2: // longer than what is looked at of a block's end
				r = strings.Replace(r, `"x"`, `"`+strings.Repeat("x", 2500)+`"`, 1)
			case kind == 3: // in a container, as text and as it is
				r = `{"__topic__":"t","event":` + fmt.Sprintf("%q", r) + `}`
			case kind == 4:
				r = `{"__topic__":"t","event":` + r + `}`
			case kind == 5:
				r = base64.StdEncoding.EncodeToString([]byte(r))
			case kind == 6: // without a time
				r = strings.Replace(r, `"eventTime"`, `"eventThyme"`, 1)
			case kind == 7:
				r = "  " + r + "\t\r"
			default:
				r = ""
			}
			body.WriteString(r + "\n")
		}
		in := body.String()
		if rapid.Bool().Draw(rt, "no end") {
			in = strings.TrimSuffix(in, "\n")
		}
		path := filepath.Join(dir, "in.jsonl")
		if err := os.WriteFile(path, []byte(in), 0o600); err != nil {
			rt.Fatal(err)
		}
		block := rapid.SampledFrom([]int{300, 1000, 3000, 9000, 20_000}).Draw(rt, "block")
		run := func(least int64, workers int) (string, Stats, []string, []string, []Cover) {
			leastPlain = least
			var parked []string
			set := newTestSet()
			res, err := Run(context.Background(), []string{path}, RunConfig{Rules: set, Workers: workers, Options: Options{BlockSize: block, MaxRecord: 4000},
				OnParked: func(p Parked) {
					parked = append(parked, fmt.Sprintf("%d %s %d %q %v", p.Record, p.Reason, p.Offset, p.Raw, p.Err))
				}})
			if err != nil {
				rt.Fatal(err)
			}
			defer res.Close()
			s := res.Stats
			s.Seconds, s.PeakRSSBytes = 0, 0
			return asLines(t, found(t, &res)), s, parked, set.order.ids, res.Coverage
		}
		alerts, stats, parked, order, cover := run(math.MaxInt64, 1)
		for workers := 1; workers <= 3; workers += 2 {
			a, s, p, o, c := run(0, workers)
			if a != alerts || !reflect.DeepEqual(s, stats) || !reflect.DeepEqual(p, parked) || !reflect.DeepEqual(o, order) || !reflect.DeepEqual(c, cover) {
				rt.Fatalf("held\n%s\n%+v\n%q\n%q\nleft\n%s\n%+v\n%q\n%q", alerts, stats, parked, order, a, s, p, o)
			}
		}
	})
	if blocks.Load() == 0 {
		t.Error("nothing was left in a file")
	}
}

// TestLeftIsGone: what can not be read again is told, and the run goes on.
func TestLeftIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, path string, in string)
		want   string
	}{
		"emptied": {func(t *testing.T, path, in string) { must(t, os.Truncate(path, 0)) }, "is there no more (EOF)"},
		"rewritten": {func(t *testing.T, path, in string) {
			over(t, path, strings.ReplaceAll(in, "old-", "new-"))
		}, "is there no more (changed while it was read)"},
		"zeros": {func(t *testing.T, path, in string) { over(t, path, strings.Repeat("\x00", len(in))) }, "is there no more (changed while it was read)"},
		"the same ids": {func(t *testing.T, path, in string) {
			over(t, path, strings.ReplaceAll(in, `"userName":"user`, `"userName":"evil`))
		}, "is there no more (changed while it was read)"},
		"replaced": {func(t *testing.T, path, in string) {
			must(t, os.WriteFile(path+".new", []byte("x"), 0o600))
			must(t, os.Rename(path+".new", path))
		}, ""},
		"removed": {func(t *testing.T, path, in string) { must(t, os.Remove(path)) }, ""},
		"appended": {func(t *testing.T, path, in string) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString(in)
			must(t, errors.Join(err, f.Close()))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			blocks := leaving(t, 0)
			in := lines(recs("old", 0, 600))
			path := filepath.Join(write(t, map[string]string{"in.jsonl": in}), "in.jsonl")
			set := newTestSet()
			set.order.every = func(n int) {
				if n == 100 {
					c.change(t, path, in)
				}
			}
			var errs []string
			res, err := Run(t.Context(), []string{path}, RunConfig{Rules: set, Workers: 2, Options: Options{BlockSize: 8000}})
			must(t, err)
			defer res.Close()
			for _, f := range res.Stats.FilesFailed {
				errs = append(errs, f.Error)
			}
			got := strings.Join(errs, "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("said %q, want %q", got, c.want)
			}
			if blocks.Load() == 0 {
				t.Error("nothing was left in the file")
			}
			if c.want == "" && (res.Stats.Events != 600 || len(set.order.ids) != 600) {
				t.Errorf("%+v", res.Stats)
			}
			// Whatever became of the file: an event that was evaluated is told. Of
			// ten one is, give or take what blocks are missing.
			created := 0
			for _, a := range found(t, &res) {
				if a.Rule == "user.created" {
					created++
				}
			}
			if n := int(res.Stats.Events) / 10; created < 10 || created < n-3 || created > n+3 {
				t.Errorf("%d users created in %d events", created, res.Stats.Events)
			}
		})
	}
}

// TestLeftFilesAreClosed, however the run ends.
func TestLeftFilesAreClosed(t *testing.T) {
	open := func(dir string) (n int) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("this system does not tell which files are open")
		}
		for _, fd := range fds {
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir) {
				n++
			}
		}
		return n
	}
	for _, stop := range []int{0, 1, 300, 5000} {
		blocks := leaving(t, 0)
		files := map[string]string{}
		for i := range 30 {
			files[fmt.Sprintf("%02d.jsonl", i)] = lines(recs(fmt.Sprintf("f%d", i), i*100, 400))
		}
		dir := write(t, files)
		ctx, cancel := context.WithCancel(t.Context())
		set := newTestSet()
		most := 0
		set.order.every = func(n int) {
			if n%50 == 0 {
				most = max(most, open(dir))
			}
			if n == stop {
				cancel()
			}
		}
		_, err := Run(ctx, []string{dir}, RunConfig{Rules: set, Workers: 3, Options: Options{BlockSize: 4000, MaxOpen: 5}})
		cancel()
		if (stop > 0) != errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if n := open(dir); n > 0 || stop == 0 && (blocks.Load() == 0 || most == 0 || most > 20) {
			t.Errorf("stopped after %d: %d files are open, %d were at most, %d blocks", stop, n, most, blocks.Load())
		}
	}
}

// over writes over what is in a file.
func over(t *testing.T, path, with string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(with)
	must(t, errors.Join(err, f.Close()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
