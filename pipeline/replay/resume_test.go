package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/account"
	"github.com/trailwarden/trailwarden/pipeline/raced"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/rules"
)

// told is a run's whole result as bytes, without how long it took.
func told(t rapid.TB, res *replay.Result) string {
	t.Helper()
	alerts, err := res.AllAlerts()
	if err != nil {
		t.Fatal(err)
	}
	s := res.Stats
	s.Seconds, s.PeakRSSBytes, s.Coverage, s.Trail = 0, 0, res.Coverage, res.Trail
	return lines(t, alerts) + string(s.JSON()) + fmt.Sprint(res.Histogram(40))
}

// stopping runs sources until the n-th record that is no event; 0 is to the
// end.
func stopping(t rapid.TB, set *rules.Set, paths []string, resume *replay.Resume, n, workers, held, block int) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	met := 0
	res, err := replay.Run(ctx, paths, replay.RunConfig{Rules: set, Resume: resume, Workers: workers, Held: held, Entity: "ci-deployer",
		Options: replay.Options{BlockSize: block}, Engine: detectors.EngineConfig{Judge: account.New(account.Config{}), Grace: 2 * time.Minute},
		OnParked: func(replay.Parked) {
			if met++; met == n {
				cancel()
			}
		}})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	defer res.Close()
	return told(t, &res), err == nil
}

// TestPropResume: a run that is stopped again and again, anywhere, and goes on
// each time gives, byte for byte, what a run gives that is never stopped.
func TestPropResume(t *testing.T) {
	set := pack(t)
	base := intrusion(t)
	dir := t.TempDir()
	round := 0
	if os.Getenv("TRAILWARDEN_LONG") == "" {
		// Five runs each, of the whole pack: a quarter of the usual number.
		raced.Checks(t, 25)
	}
	rapid.Check(t, func(t *rapid.T) {
		round++
		in := filepath.Join(dir, fmt.Sprint(round))
		from := max(0, len(base)-rapid.IntRange(40, 400).Draw(t, "records"))
		parts := make([][]byte, rapid.IntRange(1, 4).Draw(t, "files"))
		bad := 0
		for i, r := range base[from:] {
			to := rapid.IntRange(0, len(parts)-1).Draw(t, "file")
			if i == 0 {
				to = 0 // what a file is, is told by its beginning
			}
			if rapid.IntRange(0, 19).Draw(t, "change") == 0 {
				bad++
				parts[to] = append(append(parts[to], "no event\n"...), r...)
			} else {
				parts[to] = append(parts[to], r...)
			}
			parts[to] = append(parts[to], '\n')
		}
		if err := os.MkdirAll(in, 0o700); err != nil {
			t.Fatal(err)
		}
		for i, p := range parts {
			if err := os.WriteFile(filepath.Join(in, fmt.Sprintf("%d.jsonl", i)), p, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		workers, held := rapid.IntRange(1, 3).Draw(t, "workers"), rapid.SampledFrom([]int{1, 3, 0}).Draw(t, "held")
		block := rapid.SampledFrom([]int{2000, 9000, 256 << 10}).Draw(t, "block")
		want, _ := stopping(t, set, []string{in}, nil, 0, workers, held, block)
		way := &replay.Resume{Dir: filepath.Join(dir, fmt.Sprint(round, "-way")), Of: set.Hash(), OnBegin: func(r replay.Resumed) {
			if r.Why != "" {
				t.Fatalf("it begins again: %s", r.Why)
			}
		}}
		stops := rapid.SliceOfN(rapid.IntRange(1, max(1, bad)), 0, 3).Draw(t, "stops")
		slices.Sort(stops)
		for _, n := range stops {
			stopping(t, set, []string{in}, way, n, workers, held, block)
		}
		got, ended := stopping(t, set, []string{in}, way, 0, workers, held, block)
		if !ended || got != want {
			t.Fatalf("after %v\n%s\nin one go\n%s", stops, got, want)
		}
		// What is done is done: to run it once more evaluates nothing.
		if got, _ := stopping(t, set, []string{in}, way, 0, workers, held, block); got != want {
			t.Fatalf("once more\n%s\nin one go\n%s", got, want)
		}
		if err := replay.Forget(way.Dir); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(way.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("something is left: %v", err)
		}
	})
}

// TestResumeKilled: a run that was killed leaves a state that is older than what
// it did after that, and more alerts than the state knows, the last one in half. What goes on
// from there gives, byte for byte, what a run in one go gives.
func TestResumeKilled(t *testing.T) {
	defer replay.KeepAfter(1024)()
	set, in := pack(t), filepath.Join(t.TempDir(), "in.jsonl")
	base := intrusion(t)
	if err := os.WriteFile(in, append(bytes.Join(base, []byte("\n")), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	const workers, held, block = 2, 1, 9000
	want, _ := stopping(t, set, []string{in}, nil, 0, workers, held, block)
	way := &replay.Resume{Dir: filepath.Join(t.TempDir(), "way"), Of: set.Hash(), Every: time.Nanosecond}
	left := filepath.Join(t.TempDir(), "left") // what a kill leaves
	told := 0
	res, err := replay.Run(t.Context(), []string{in}, replay.RunConfig{Rules: set, Resume: way, Workers: workers, Held: held, Entity: "ci-deployer",
		Options: replay.Options{BlockSize: block}, Engine: detectors.EngineConfig{Judge: account.New(account.Config{}), Grace: 2 * time.Minute},
		OnProgress: func(replay.Progress) {
			if told++; told == 2 { // the state that was kept at the first is the last one
				if err := os.CopyFS(left, os.DirFS(way.Dir)); err != nil {
					t.Error(err)
				}
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	res.Close()
	f, err := os.OpenFile(filepath.Join(left, "trailwarden.resume.alerts"), os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString("\xff\x7fhalf of an alert")
		err = errors.Join(err, f.Close(), os.WriteFile(filepath.Join(left, "trailwarden.resume.new"), []byte("half of a state"), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	var from replay.Resumed
	way = &replay.Resume{Dir: left, Of: set.Hash(), OnBegin: func(r replay.Resumed) { from = r }}
	got, ended := stopping(t, set, []string{in}, way, 0, workers, held, block)
	if !ended || got != want {
		t.Errorf("killed after %d events\n%s\nin one go\n%s", from.Events, got, want)
	}
	if from.Events != 1024 || from.Why != "" {
		t.Errorf("it goes on from %+v", from)
	}
}

// TestResumeBeginsAgain: a state that is not of this run, or is damaged, is
// not used, and the run says why it begins again.
func TestResumeBeginsAgain(t *testing.T) {
	set := pack(t)
	base := intrusion(t)
	base = base[len(base)-150:]
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	body := append(bytes.Join(base, []byte("\n")), "\nno event\n"...)
	write := func(name string, b []byte, changed time.Time) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(in, 0o700), os.WriteFile(filepath.Join(in, name), b, 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(in, name), changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		change func(way *replay.Resume)
		why    string
	}{
		{"nothing", func(*replay.Resume) {}, ""},
		{"rules", func(way *replay.Resume) { way.Of = "others" }, "rules or settings are not those"},
		{"size", func(*replay.Resume) { write("a.jsonl", append(slices.Clone(body), '\n'), then) }, "a.jsonl has changed"},
		{"time", func(*replay.Resume) { write("a.jsonl", body, then.Add(time.Second)) }, "a.jsonl has changed"},
		{"more", func(*replay.Resume) { write("b.jsonl", []byte("\n"), then) }, "there are 2 files to read, and there were 1"},
		{"name", func(*replay.Resume) {
			if err := os.Rename(filepath.Join(in, "a.jsonl"), filepath.Join(in, "c.jsonl")); err != nil {
				t.Fatal(err)
			}
		}, "is to be read where"},
		{"content", func(*replay.Resume) { // size and time do not tell
			write("a.jsonl", bytes.Replace(body, []byte(`"eventId":"`), []byte(`"eventId":"X`), 1)[:len(body)], then)
		}, map[bool]string{true: "a.jsonl has changed", false: "other events than before"}[runtime.GOOS == "linux"]},
		{"an answer", func(*replay.Resume) { // neither do ids
			if b := bytes.Replace(body, []byte("Describe"), []byte("Subscrib"), 1); runtime.GOOS != "linux" {
				write("a.jsonl", append(slices.Clone(body), '\n'), then)
			} else if write("a.jsonl", b, then); bytes.Equal(b, body) {
				t.Error("nothing was changed")
			}
		}, "a.jsonl has changed"},
		{"damage", func(way *replay.Resume) {
			path := filepath.Join(way.Dir, "trailwarden.resume")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)-100] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "it is damaged"},
		{"alerts", func(way *replay.Resume) {
			if err := os.Truncate(filepath.Join(way.Dir, "trailwarden.resume.alerts"), 10); err != nil {
				t.Fatal(err)
			}
		}, "its alerts are gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.RemoveAll(in); err != nil {
				t.Fatal(err)
			}
			write("a.jsonl", body, then)
			var begun []replay.Resumed
			way := &replay.Resume{Dir: filepath.Join(dir, c.name), Of: set.Hash(), OnBegin: func(r replay.Resumed) { begun = append(begun, r) }}
			stopping(t, set, []string{in}, way, 1, 2, 0, 9000)
			if len(begun) != 0 {
				t.Fatalf("the first run: %+v", begun)
			}
			c.change(way)
			want, _ := stopping(t, set, []string{in}, nil, 0, 2, 0, 9000)
			got, ended := stopping(t, set, []string{in}, way, 0, 2, 0, 9000)
			if !ended || got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if last := begun[len(begun)-1]; !strings.Contains(last.Why, c.why) || (c.why == "") != (last.Events > 0) {
				t.Errorf("begun %+v, want because of %q", begun, c.why)
			}
		})
	}
}

// noted writes records into one file, with a line that is no event after each n.
func noted(t *testing.T, records [][]byte, n int) (path string, notes int) {
	t.Helper()
	var b bytes.Buffer
	for i, r := range records {
		b.Write(r)
		b.WriteByte('\n')
		if (i+1)%n == 0 {
			b.WriteString("no event\n")
			notes++
		}
	}
	path = filepath.Join(t.TempDir(), "a.jsonl")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, notes
}

// TestResumeBusy: of two runs with one folder the second is refused, and harms
// nothing that the first has there.
func TestResumeBusy(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" && runtime.GOOS != "freebsd" {
		t.Skip("no locks here")
	}
	set, base := pack(t), intrusion(t)
	in, _ := noted(t, base[len(base)-300:], 50)
	want, _ := stopping(t, set, []string{in}, nil, 0, 2, 1, 9000)
	way := &replay.Resume{Dir: filepath.Join(t.TempDir(), "way"), Of: set.Hash(), Every: time.Nanosecond}
	stopping(t, set, []string{in}, way, 2, 2, 1, 9000)
	tried := 0
	res, err := replay.Run(t.Context(), []string{in}, replay.RunConfig{Rules: set, Resume: way, Workers: 2, Held: 1, Entity: "ci-deployer",
		Options: replay.Options{BlockSize: 9000}, Engine: detectors.EngineConfig{Judge: account.New(account.Config{}), Grace: 2 * time.Minute},
		OnParked: func(replay.Parked) {
			tried++
			other, err := replay.Run(t.Context(), []string{in}, replay.RunConfig{Rules: set, Resume: way})
			if other.Close(); !errors.Is(err, replay.ErrBusy) {
				t.Errorf("another run: %v", err)
			}
			if err := replay.Forget(way.Dir); !errors.Is(err, replay.ErrBusy) {
				t.Errorf("to forget what is in use: %v", err)
			}
			if _, err := replay.Began(way.Dir, "x", time.Now()); !errors.Is(err, replay.ErrBusy) {
				t.Errorf("to begin there: %v", err)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	if got := told(t, &res); got != want || tried < 3 {
		t.Errorf("%d others\n%s\nalone\n%s", tried, got, want)
	}
	if err := replay.Forget(way.Dir); err != nil {
		t.Error(err)
	}
}

// TestResumeStoppedAgain: a run that is stopped while it reads again what was
// evaluated before tells what was found then, and not half of it; what was kept
// stays.
func TestResumeStoppedAgain(t *testing.T) {
	set, base := pack(t), intrusion(t)
	in, notes := noted(t, base[len(base)-400:], 40)
	want, _ := stopping(t, set, []string{in}, nil, 0, 2, 0, 9000)
	way := &replay.Resume{Dir: filepath.Join(t.TempDir(), "way"), Of: set.Hash()}
	found := func(stop int) (alerts string, s replay.Stats) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		met := 0
		res, err := replay.Run(ctx, []string{in}, replay.RunConfig{Rules: set, Resume: way, Workers: 2, Entity: "ci-deployer",
			Options: replay.Options{BlockSize: 9000}, Engine: detectors.EngineConfig{Judge: account.New(account.Config{}), Grace: 2 * time.Minute},
			OnParked: func(replay.Parked) {
				if met++; met == stop {
					cancel()
				}
			}})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		defer res.Close()
		as, err := res.AllAlerts()
		if err != nil {
			t.Fatal(err)
		}
		return lines(t, as), res.Stats
	}
	first, s := found(notes)
	again, s2 := found(1)
	if s.Alerts == 0 || s.Detections == 0 {
		t.Fatalf("nothing to compare: %+v", s)
	}
	if again != first || s2.Events != s.Events || s2.Detections != s.Detections || !maps.Equal(s2.ByRule, s.ByRule) || !s2.LastEvent.Equal(*s.LastEvent) {
		t.Errorf("stopped again\n%s%+v\nstopped first\n%s%+v", again, s2, first, s)
	}
	if got, ended := stopping(t, set, []string{in}, way, 0, 2, 0, 9000); !ended || got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBegan: times are counted from the first run, until the question is
// another or the run is forgotten.
func TestBegan(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "way")
	now := time.Now() // with a monotonic reading, which is not kept
	began := func(of string, at, want time.Time) {
		t.Helper()
		got, err := replay.Began(dir, of, at)
		if err != nil || !got.Equal(want) || fmt.Sprint(got) != fmt.Sprint(want.UTC().Round(0)) {
			t.Errorf("%s: %v %v, want %v", of, got, err, want)
		}
	}
	began("24h", now, now)
	began("24h", now.Add(time.Hour), now)
	began("90d", now.Add(time.Hour), now.Add(time.Hour))
	began("90d", now, now) // what is kept is of the future: a clock was wrong
	if err := replay.Forget(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	began("90d", now.Add(2*time.Hour), now.Add(2*time.Hour))
}
