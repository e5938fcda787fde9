package replay_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/absence"
	"github.com/trailwarden/trailwarden/detectors/account"
	"github.com/trailwarden/trailwarden/detectors/baseline"
	"github.com/trailwarden/trailwarden/detectors/distinct"
	"github.com/trailwarden/trailwarden/detectors/lastseen"
	"github.com/trailwarden/trailwarden/detectors/peer"
	"github.com/trailwarden/trailwarden/detectors/rate"
	"github.com/trailwarden/trailwarden/detectors/risk"
	"github.com/trailwarden/trailwarden/detectors/sequence"
	"github.com/trailwarden/trailwarden/detectors/threshold"
	"github.com/trailwarden/trailwarden/detectors/travel"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/rules"
)

func pack(t testing.TB) *rules.Set {
	t.Helper()
	set, err := rules.Load(rules.LoadOptions{Pack: true, Judge: func() detectors.PolicyJudge { return account.New(account.Config{}) },
		Lists: map[string][]string{"office_networks": {"203.0.113.0/24"}},
		Factories: map[string]detectors.Factory{
			"threshold": threshold.Factory, "distinct": distinct.Factory, "first_seen": baseline.Factory, "sequence": sequence.Factory,
			"last_seen": lastseen.Factory, "absence": absence.Factory, "travel": travel.Factory, "rate": rate.Factory, "risk": risk.Factory, "peer": peer.Factory,
		}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// plain evaluates records the obvious way: each is parsed into memory of its
// own, every rule without state and every condition is asked of every event
// (no index, nothing concluded from it), and nothing is used twice.
func plain(t rapid.TB, set *rules.Set, records [][]byte) []alert.Alert {
	t.Helper()
	engine := detectors.NewEngine(everyRule{set}, detectors.EngineConfig{Judge: account.New(account.Config{}), Grace: 2 * time.Minute})
	eval := detectors.NewEvaluator(everyRule{set})
	var last time.Time
	for _, r := range records {
		ev, err := event.Parse(bytes.Clone(r))
		if err != nil {
			continue
		}
		if ev.Time.IsZero() {
			ev.Time = last
		}
		last = ev.Time
		engine.Apply(eval.Evaluate(ev), "replay")
	}
	engine.Close()
	grouper := alert.NewGrouper(alert.GrouperConfig{Max: math.MaxInt, Keep: math.MaxInt64})
	found := map[string]alert.Alert{}
	for _, d := range engine.Take() {
		if a := grouper.Add(d); a != nil {
			found[a.ID] = *a
		}
	}
	var out []alert.Alert
	for _, a := range found {
		out = append(out, a)
	}
	return out
}

// everyRule is a set whose index knows nothing.
type everyRule struct{ *rules.Set }

func (e everyRule) Index() *detectors.Index {
	conds := make([]detectors.Cond, len(e.Rules()))
	for i := range conds {
		conds[i] = detectors.Any()
	}
	return detectors.NewIndex(conds)
}

// NewSession hides what leaves out of conditions what the set's own index proves.
func (e everyRule) NewSession() detectors.Session {
	return struct{ detectors.Session }{e.Set.NewSession()}
}

func lines(t rapid.TB, as []alert.Alert) string {
	t.Helper()
	var out []string
	for i := range as {
		var b bytes.Buffer
		if err := alert.WriteLine(&b, &as[i]); err != nil {
			t.Fatal(err)
		}
		out = append(out, b.String())
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

func intrusion(t testing.TB) [][]byte {
	t.Helper()
	f, err := os.Open("../../testdata/scenarios/intrusion/events.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(b.Bytes()), []byte("\n"))
}

// TestPropFastEqualsPlain: whatever replay leaves out, remembers, shares and
// reuses, it finds what the plain way finds, byte for byte, in records that
// were mixed up and damaged.
func TestPropFastEqualsPlain(t *testing.T) {
	set := pack(t)
	base := intrusion(t)
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		// What a file is (lines, oldest first) is told by its beginning.
		from := rapid.IntRange(0, len(base)-61).Draw(t, "from")
		records := slices.Clone(base[from:min(len(base), from+rapid.IntRange(60, 160).Draw(t, "n"))])
		for range rapid.IntRange(0, 40).Draw(t, "changes") {
			i := rapid.IntRange(1, len(records)-1).Draw(t, "i")
			r := bytes.Clone(records[i])
			switch rapid.IntRange(0, 5).Draw(t, "change") {
			case 0: // a word of another record
				word := rapid.SampledFrom([]string{`"eventName":"`, `"serviceName":"`, `"type":"`, `"userName":"`, `"accessKeyId":"`, `"sourceIpAddress":"`, `"eventId":"`, `"recipientAccountId":"`, `"acsRegion":"`}).Draw(t, "word")
				other := base[rapid.IntRange(0, len(base)-1).Draw(t, "other")]
				r = graft(r, other, word)
			case 1: // a damaged byte
				k := rapid.IntRange(0, len(r)-1).Draw(t, "at")
				r[k] = rapid.SampledFrom([]byte("x\"\\{}, 0\xff")).Draw(t, "byte")
			case 2: // cut off
				r = r[:rapid.IntRange(0, len(r)).Draw(t, "cut")]
			case 3: // again
				records = slices.Insert(records, i, r)
			case 4: // neighbours swapped
				j := min(len(records)-1, i+rapid.IntRange(0, 5).Draw(t, "far"))
				records[i], records[j] = records[j], records[i]
				r = records[i]
			default: // an escape, and a name that no table has
				r = bytes.Replace(r, []byte(`"eventName":"`), []byte(`"eventName":"\u0044x`), 1)
			}
			if bytes.ContainsAny(r, "\n") || len(bytes.TrimSpace(r)) == 0 {
				continue
			}
			records[i] = r
		}
		n++
		path := filepath.Join(dir, fmt.Sprintf("%d.jsonl", n))
		if err := os.WriteFile(path, append(bytes.Join(records, []byte("\n")), '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		res, err := replay.Run(context.Background(), []string{path}, replay.RunConfig{Rules: set,
			Workers: rapid.IntRange(1, 3).Draw(t, "workers"), Held: rapid.SampledFrom([]int{1, 3, 0}).Draw(t, "held"),
			Options: replay.Options{BlockSize: rapid.SampledFrom([]int{3000, 20_000, 256 << 10}).Draw(t, "block")},
			Engine:  detectors.EngineConfig{Judge: account.New(account.Config{}), Grace: 2 * time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		alerts, err := res.AllAlerts()
		if err != nil {
			t.Fatal(err)
		}
		res.Close()
		if got, want := lines(t, alerts), lines(t, plain(t, set, records)); got != want {
			t.Fatalf("replay found\n%s\nthe plain way\n%s", got, want)
		}
	})
}

// graft gives r the value that other has after word.
func graft(r, other []byte, word string) []byte {
	i, j := bytes.Index(r, []byte(word)), bytes.Index(other, []byte(word))
	if i < 0 || j < 0 {
		return r
	}
	i, j = i+len(word), j+len(word)
	a, b := bytes.IndexByte(r[i:], '"'), bytes.IndexByte(other[j:], '"')
	if a < 0 || b < 0 {
		return r
	}
	return append(append(bytes.Clone(r[:i]), other[j:j+b]...), r[i+a:]...)
}
