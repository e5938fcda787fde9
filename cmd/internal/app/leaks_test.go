package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/pipeline/source"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// leakSink keeps pages in memory.
type leakSink struct {
	pages []source.Page
	fail  error
}

func (s *leakSink) Store(_ context.Context, p source.Page) error {
	if s.fail != nil {
		return s.fail
	}
	s.pages = append(s.pages, p)
	return nil
}

func (s *leakSink) Position(context.Context, string, int) (string, error) {
	if len(s.pages) == 0 {
		return "", nil
	}
	return s.pages[len(s.pages)-1].To, nil
}

// take returns the records stored since the last call, each as an event.
func (s *leakSink) take(t *testing.T, from *int) (out []*event.Event) {
	t.Helper()
	for ; *from < len(s.pages); *from++ {
		for _, r := range s.pages[*from].Records {
			ev, err := event.Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, ev)
		}
	}
	return out
}

// From Security Center's list, read over the real SDK under the shipped policy,
// to an alert: each finding once, again when it changes, and none is lost when
// storing fails or the program starts anew.
func TestLeaksReachTheRule(t *testing.T) {
	const acct, key = "1000000000000001", "LTAI5tEXAMPLEreader0001"
	cloud := ramtest.New(ramtest.Options{Enforce: true})
	defer cloud.Close()
	cloud.AddAccount(acct, "corp")
	cloud.AddUser(acct, "reader")
	if err := cloud.AddKey(acct, "reader", ramtest.Key{ID: key, Secret: "example-secret"}); err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile("../../../deploy/ram/reader-leaks.json")
	if err != nil {
		t.Fatal(err)
	}
	cloud.AddPolicy(acct, "reads", string(shipped))
	if err := cloud.Attach(acct, "Custom", "reads", "user", "reader"); err != nil {
		t.Fatal(err)
	}
	provider, err := cred.New(cred.Config{AccessKeyID: key, AccessKeySecret: "example-secret"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{}
	cfg.Detect.RAM = config.DetectRAM{Endpoint: cloud.URL()}
	client, err := readsRAM(cfg, provider)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	now := time.Now().UTC().Truncate(time.Second)
	sink := &leakSink{}
	reader := func() *leakReader {
		return &leakReader{ram: client, every: time.Minute, sink: sink, log: slog.New(slog.DiscardHandler), now: time.Now}
	}
	r, at := reader(), 0
	look := func(what string, want ...string) []*event.Event {
		t.Helper()
		r.readAll(t.Context())
		evs := sink.take(t, &at)
		var got []string
		for _, ev := range evs {
			got = append(got, ev.Target.Key)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: %v, want %v", what, got, want)
		}
		return evs
	}
	look("an empty list")
	old := ramtest.Leak{ID: 1, AccessKeyID: "LTAI5tEXAMPLEold00001", URL: "https://git.example.com/a", Modified: now.Add(-900 * 24 * time.Hour)}
	cloud.AddLeak(acct, old)
	cloud.AddLeak(acct, ramtest.Leak{ID: 2, AccessKeyID: "LTAI5tEXAMPLEbob00001", URL: "https://git.example.com/b", Modified: now.Add(-time.Hour)})
	cloud.AddLeak(acct, ramtest.Leak{ID: 3, AccessKeyID: "LTAI5tEXAMPLEdone0001", Status: "dealed", Modified: now})
	sink.fail = errors.New("no room")
	look("while nothing can be stored")
	sink.fail = nil
	evs := look("both", "LTAI5tEXAMPLEold00001", "LTAI5tEXAMPLEbob00001")
	if ev := evs[1]; ev.Recipient != acct || ev.Action != event.ActSASLeakFinding || !ev.Time.Equal(now.Add(-time.Hour)) || ev.Actor.Kind != event.Service {
		t.Errorf("%+v", ev)
	}
	look("nothing new")
	for i := range 150 { // more than a page of the service
		cloud.AddLeak(acct, ramtest.Leak{ID: int64(100 + i), AccessKeyID: "LTAI5tEXAMPLEmany0001", Modified: now.Add(-2 * time.Hour)})
	}
	if n := len(look("many, listed late", slices.Repeat([]string{"LTAI5tEXAMPLEmany0001"}, 150)...)); n != 150 {
		t.Fatal(n)
	}
	old.Modified = now
	cloud.AddLeak(acct, old)
	again := look("seen again elsewhere", old.AccessKeyID)
	if again[0].ID == evs[0].ID {
		t.Error("a finding that changed has the id that it had")
	}
	// A new process tells the last day again, and the engine knows the ids.
	r = reader()
	r.readAll(t.Context())
	set := packWith(t, nil)
	engine, eval := detectors.NewEngine(set, detectors.EngineConfig{Judge: NewJudge()}), set.NewEvaluator()
	at = 0
	for _, ev := range sink.take(t, &at) {
		engine.Apply(eval.Evaluate(ev), "sas")
	}
	engine.Close()
	keys := map[string]int{}
	for _, d := range engine.Take() {
		if d.Rule == "ak.leak_finding" {
			keys[d.TargetKey]++
		}
	}
	if len(keys) != 3 || keys["LTAI5tEXAMPLEbob00001"] != 1 || keys["LTAI5tEXAMPLEmany0001"] != 150 || keys["LTAI5tEXAMPLEold00001"] != 2 {
		t.Errorf("%v", keys)
	}
	if st := engine.Stats(); st.Duplicates == 0 {
		t.Error("the new process told nothing again: the test proves nothing")
	}
}
