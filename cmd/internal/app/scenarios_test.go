package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/cmd/internal/synth"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/rules"
)

var update = flag.Bool("update", false, "write want.golden of every scenario anew")

// A scenario is a folder of recorded events and want.golden, the alerts that
// the shipped rules must raise on them, and no others. A new one needs no Go.
func scenarios(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(root(t), "testdata", "scenarios", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	return dirs
}

func events(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "events*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no events: %v", dir, err)
	}
	return files
}

// stories are the shipped attacks by name: the ground truth of the scenarios
// of the same names.
func stories(t *testing.T) map[string]*rules.Story {
	t.Helper()
	list, err := synth.Attacks()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*rules.Story{}
	for i := range list {
		out[list[i].Name] = &list[i].Story
	}
	return out
}

func listsOf(s *rules.Story) map[string][]string {
	if s == nil {
		return nil
	}
	return s.Lists
}

var packs sync.Map // of lists, as text

// packWith is the shipped rules with named lists, loaded once.
func packWith(t testing.TB, lists map[string][]string) *rules.Set {
	t.Helper()
	key := fmt.Sprint(lists)
	if set, ok := packs.Load(key); ok {
		return set.(*rules.Set)
	}
	set, err := Rules{Pack: true, Lists: lists}.Load()
	if err != nil {
		t.Fatal(err)
	}
	packs.Store(key, set)
	return set
}

func play(t *testing.T, files []string, workers int, lists map[string][]string) []alert.Alert {
	t.Helper()
	set := packWith(t, lists)
	res, err := replay.Run(context.Background(), files, replay.RunConfig{Rules: set, Workers: workers,
		Engine: detectors.EngineConfig{Judge: NewJudge(), Grace: 15 * time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Stats.FilesFailed) > 0 || res.Stats.Parked > 0 || res.Stats.RuleErrors > 0 {
		t.Fatalf("not everything was evaluated: %s", res.Stats.JSON())
	}
	alerts, err := res.AllAlerts()
	if err != nil {
		t.Fatal(err)
	}
	return alerts
}

func lines(t *testing.T, as []alert.Alert) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i := range as {
		if err := enc.Encode(&as[i]); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestScenariosInReplay(t *testing.T) {
	truth := stories(t)
	for _, dir := range scenarios(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			story := truth[filepath.Base(dir)]
			alerts := play(t, events(t, dir), 1, listsOf(story))
			if story != nil {
				have := map[string]int{}
				for _, a := range alerts {
					have[a.Rule]++
				}
				if d := cmp.Diff(story.Expect, have, cmpopts.EquateEmpty()); d != "" {
					t.Errorf("alerts by rule, expected (-) and raised (+):\n%s", d)
				}
			}
			got := lines(t, alerts)
			if more := lines(t, play(t, events(t, dir), 4, listsOf(story))); !bytes.Equal(got, more) {
				t.Errorf("the alerts depend on the number of workers")
			}
			// Every alert names the rules, which change with each rule: apart.
			stamp := packWith(t, listsOf(story)).Stamp()
			for i := range alerts {
				if alerts[i].Pack != stamp {
					t.Errorf("alert %s names the rules %q, they are %q", alerts[i].ID, alerts[i].Pack, stamp)
				}
				alerts[i].Pack = ""
			}
			got = lines(t, alerts)
			path := filepath.Join(dir, "want.golden")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("alerts changed; look at the difference after -update\n got: %s\nwant: %s", got, want)
			}
		})
	}
}

var errEqual = errors.New("live and replay agree")

// live are the scenarios that are played through the whole program in every
// run; with TRAILWARDEN_LONG all are.
var live = []string{"intrusion", "leaked-key", "weak-signals", "undone-containment"}

// inChinese is what the public form of alerts does not have.
func inChinese(as []alert.Alert) []byte {
	var b bytes.Buffer
	for i := range as {
		fmt.Fprintf(&b, "%s %s %s\n", as[i].ID, as[i].TitleZH, as[i].ReasonZH)
	}
	return b.Bytes()
}

// The live pipeline, from the wire of SLS to the journal of notices, raises
// the alerts that a replay of the same records raises: same ids, same counts.
func TestLiveEqualsReplay(t *testing.T) {
	truth := stories(t)
	for _, dir := range scenarios(t) {
		if os.Getenv("TRAILWARDEN_LONG") == "" && !slices.Contains(live, filepath.Base(dir)) {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			lists := listsOf(truth[filepath.Base(dir)])
			in, err := replay.Open(events(t, dir), replay.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var records [][]byte
			for _, r := range in.Records(context.Background()) {
				records = append(records, bytes.Clone(r))
			}
			cloud, err := fakecloud.Start(fakecloud.Options{Dir: t.TempDir(), ChatRate: -1}, fakecloud.Accounts(records))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cloud.Close() })
			for _, r := range records {
				cloud.Seed(r)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			t.Cleanup(cancel)
			a := runApp(t, ctx, cloud.Config, func(cfg *config.Config) {
				// What we do ourselves comes back as events, which the recording
				// does not have: only watch.
				cfg.Respond.Mode = "observe"
				cfg.Detect.Grace = 0
				cfg.Detect.Lists = lists
			})
			// One record after another, so that both see the same order.
			cloud.SLS.Append(0, records...)

			replayed := play(t, events(t, dir), 2, lists)
			want := append(lines(t, replayed), inChinese(replayed)...)
			// What was committed, signals included; the highest revision counts.
			newest := map[string]alert.Alert{}
			var got []byte
			err = pipeline.ReadAlerts(ctx, a.bus, nil, func(_ context.Context, _ int, _ uint64, as []alert.Alert) error {
				for _, x := range as {
					if x.Revision >= newest[x.ID].Revision {
						newest[x.ID] = x
					}
				}
				if len(newest) < len(replayed) {
					return nil
				}
				all := slices.Collect(maps.Values(newest))
				alert.Sort(all)
				if got = append(lines(t, all), inChinese(all)...); bytes.Equal(got, want) {
					return errEqual
				}
				return nil
			})
			if !errors.Is(err, errEqual) {
				t.Fatalf("%v\nlive (%d alerts):\n%s\nreplay (%d alerts):\n%s", err, len(newest), got, len(replayed), want)
			}
		})
	}
}

// What lies before learn_until teaches and is not told.
func TestLearnUntil(t *testing.T) {
	fn := withheld(time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC), nil)
	for at, want := range map[string]bool{"2026-11-24T23:59:59Z": true, "2026-11-25T00:00:00Z": false} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := fn(nil, &alert.Detection{Time: when}); got != want {
			t.Errorf("%s: withheld %v, want %v", at, got, want)
		}
	}
	if withheld(time.Time{}, nil) != nil {
		t.Error("without learn_until nothing may be withheld")
	}
}
