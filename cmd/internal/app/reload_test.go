package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/detectors/geo/geotest"
	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// wait polls for a condition; a busy machine may take long.
func wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// reloading is a program with rule files that change under it.
type reloading struct {
	t      *testing.T
	cloud  *fakecloud.Cloud
	cfg    *config.Config
	dir    string
	a      *App
	hangup chan os.Signal
	stop   func()
	n      int
	reread func() (*config.Config, error)

	mu     sync.Mutex
	alerts map[string]alert.Alert // newest by id
}

func newReloading(t *testing.T) *reloading {
	t.Helper()
	cloud, err := fakecloud.Start(fakecloud.Options{Dir: t.TempDir(), ChatRate: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	cfg, err := config.Load(cloud.Config, nil)
	if err != nil {
		t.Fatal(err)
	}
	no := false
	r := &reloading{t: t, cloud: cloud, cfg: cfg, dir: t.TempDir(), alerts: map[string]alert.Alert{}}
	cfg.Respond.Mode, cfg.Detect.Pack, cfg.Detect.Grace = "observe", &no, 0
	cfg.Detect.Rules, cfg.Detect.Exceptions, cfg.Detect.ListDirs = []string{r.folder("rules")}, []string{r.folder("exceptions")}, []string{r.folder("lists")}
	cfg.Detect.Reload = 0
	return r
}

func (r *reloading) folder(name string) string {
	dir := filepath.Join(r.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	return dir
}

func (r *reloading) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// start runs the program until stop.
func (r *reloading) start() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.hangup = make(chan os.Signal, 1)
	a, err := New(ctx, Options{Config: r.cfg, Log: slog.New(slog.DiscardHandler), Hangup: r.hangup, Reread: r.reread})
	if err != nil {
		cancel()
		r.t.Fatal(err)
	}
	r.a = a
	ended, read := make(chan error, 1), make(chan struct{})
	go func() { ended <- a.Run(ctx) }()
	go func() {
		defer close(read)
		_ = pipeline.ReadAlerts(ctx, a.bus, nil, func(_ context.Context, _ int, _ uint64, as []alert.Alert) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, x := range as {
				r.alerts[x.ID] = x
			}
			return nil
		})
	}()
	once := sync.OnceFunc(func() {
		cancel()
		<-read
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
	r.stop = once
	r.t.Cleanup(once)
}

// of returns the alerts of a rule.
func (r *reloading) of(rule string) (out []alert.Alert) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.alerts {
		if a.Rule == rule {
			out = append(out, a)
		}
	}
	return out
}

// act makes calls of a user, seconds apart.
func (r *reloading) act(user, event string, times int) {
	for range times {
		r.n++
		rec, err := json.Marshal(map[string]any{"eventId": fmt.Sprintf("reload-%04d", r.n), "eventName": event, "eventType": "ApiCall", "eventVersion": "1",
			"eventTime": time.Date(2026, 1, 5, 10, 0, r.n, 0, time.UTC).Format(time.RFC3339), "serviceName": "Ram", "acsRegion": "cn-hangzhou",
			"recipientAccountId": "1000000000000001", "sourceIpAddress": "203.0.113.7", "requestParameters": map[string]any{"UserName": "x"},
			"userIdentity": map[string]any{"type": "ram-user", "accountId": "1000000000000001", "principalId": "200000000000000001", "userName": user, "accessKeyId": "LTAI5tEXAMPLEreload0001"}})
		if err != nil {
			r.t.Fatal(err)
		}
		r.cloud.Append(rec)
	}
}

// evaluated waits until every event made so far is.
func (r *reloading) evaluated() {
	r.t.Helper()
	wait(r.t, "everything is evaluated", func() bool {
		n := uint64(0)
		for _, w := range r.a.pipe.Stats(context.Background()).Workers {
			n += w.Evaluated
		}
		return n >= uint64(r.n)
	})
}

// reload asks for it and waits until it is done everywhere, or refused.
func (r *reloading) reload(refused bool) {
	r.t.Helper()
	was := r.a.Rules().Hash()
	r.hangup <- syscall.SIGHUP
	wait(r.t, "the rules are read again", func() bool {
		s, err := r.a.Status(context.Background())
		if err != nil {
			return false
		}
		if refused {
			return len(s.Refused) > 0
		}
		for _, w := range r.a.pipe.Stats(context.Background()).Workers {
			if w.Rules == was {
				return false
			}
		}
		return r.a.Rules().Hash() != was
	})
}

const (
	countingRule = `id: t.count
version: 1
title: many
description: counts deletions
severity: medium
match: event.name == "DeleteUser"
detector: {type: threshold, by: actor.id, count: 4, window: 1h}
reason: "{actor.name} deleted {verdict.count} users"
tests:
  - {name: four, events: [{event: "Ram:DeleteUser", repeat: 4}], expect: {alerts: 1}}
`
	makingRule = `id: t.made
version: %d
title: made
description: a user was made
severity: high
match: action == "iam.user.create" && !one_of_list("builders", actor.name)
reason: "{actor.name} made a user (%s)"
tests:
  - {name: made, events: [{event: "Ram:CreateUser"}], expect: {alerts: 1}}
`
	letGo = `id: ci_makes_users
rules: [t.made]
match: actor.name == "ci"
owner: platform team
reason: it does that
expires: 2099-12-31
`
)

// Rules, exceptions and lists change under a running program: all of a change or
// nothing, what detectors have counted goes on, every alert names its rules, and
// people and the audit log hear of what was refused.
func TestReload(t *testing.T) {
	r := newReloading(t)
	r.write("rules/t.count.yaml", countingRule)
	r.write("rules/t.made.yaml", fmt.Sprintf(makingRule, 1, "first"))
	countries := func(code string) {
		r.write("countries.mmdb", string(geotest.File(map[string]any{"203.0.113.0/24": map[string]any{"country": code}})))
	}
	countries("NL")
	r.cfg.Detect.GeoCountry = filepath.Join(r.dir, "countries.mmdb")
	r.start()
	first := r.a.Rules().Stamp()
	r.act("alice", "DeleteUser", 2)
	r.act("alice", "CreateUser", 1)
	wait(t, "the first rule speaks", func() bool { return len(r.of("t.made")) == 1 })
	if a := r.of("t.made")[0]; a.Details["country"] != "NL" {
		t.Errorf("the country of the address: %v", a.Details["country"])
	} else if a.Pack != first || a.RuleVersion != 1 || !strings.Contains(a.Reason, "(first)") {
		t.Errorf("the alert is of %q, not %q: %+v", a.Pack, first, a)
	}
	r.evaluated()

	// A rule in shadow makes no alert and is measured.
	r.write("rules/t.quiet.yaml", strings.Replace(fmt.Sprintf(makingRule, 1, "quiet"), "t.made", "t.quiet", 1)+"status: shadow\n")

	// One rule changes, an exception and a list come; the other rule's count stays.
	r.write("rules/t.made.yaml", fmt.Sprintf(makingRule, 2, "second"))
	r.write("exceptions/ci_makes_users.yaml", letGo)
	r.write("lists/builders.txt", "# who may\nbuilder\n")
	countries("FR")
	r.reload(false)
	second := r.a.Rules().Stamp()
	r.act("ci", "CreateUser", 1)
	r.act("builder", "CreateUser", 1)
	r.act("bob", "CreateUser", 1)
	r.act("alice", "DeleteUser", 2)
	wait(t, "the second rules speak, and the count went on", func() bool { return len(r.of("t.made")) == 2 && len(r.of("t.count")) == 1 })
	for _, a := range append(r.of("t.made"), r.of("t.count")...) {
		if a.Actor.Name == "bob" && (a.Details["country"] != "FR" || a.Pack != second || a.RuleVersion != 2 || !strings.Contains(a.Reason, "(second)")) {
			t.Errorf("the new alert is of %q, not %q: %+v", a.Pack, second, a)
		}
		if a.Rule == "t.count" && a.Pack != second {
			t.Errorf("the count is of %q, not %q", a.Pack, second)
		}
		if a.Actor.Name == "alice" && a.Rule == "t.made" && a.Pack != first {
			t.Errorf("the old alert is of %q, not %q", a.Pack, first)
		}
	}

	// What exceptions withheld and what shadow would have made is told.
	wait(t, "it is counted", func() bool {
		w, err := r.a.RuleWork(t.Context())
		return err == nil && w.Pack == second && w.Excepted["exception ci_makes_users"] == 1 && w.Shadow["t.quiet"].Alerts == 2 && w.Partitions == w.Of
	})

	// One fault anywhere: nothing of the change counts.
	r.write("rules/t.made.yaml", fmt.Sprintf(makingRule, 3, "third"))
	r.write("lists/builders.txt", "builder\n203.0.113.0/240\n")
	r.write("rules/t.wrong.yaml", strings.Replace(fmt.Sprintf(makingRule, 1, "x"), "t.made", "t.wrong", 1)+"colour: red\n")
	r.reload(true)
	s, err := r.a.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Join(s.Refused, "\n")
	if s.Pack != second || !strings.Contains(said, "builders.txt:2:1") || !strings.Contains(said, "t.wrong.yaml:") || len(s.Problems) == 0 {
		t.Errorf("status: pack %q, refused %q, problems %q", s.Pack, s.Refused, s.Problems)
	}
	wait(t, "people are told", func() bool { return len(r.of(pipeline.RuleRefused)) == 1 })
	r.act("carol", "CreateUser", 1)
	wait(t, "the second rules go on", func() bool { return len(r.of("t.made")) == 3 })

	// A restart with the broken files goes on with the rules that were in force.
	r.stop()
	r.start()
	if got := r.a.Rules().Stamp(); got != second {
		t.Errorf("started with %q, want the kept %q", got, second)
	}
	r.act("dora", "CreateUser", 1)
	r.act("builder", "CreateUser", 1)
	wait(t, "the kept rules go on", func() bool { return len(r.of("t.made")) == 4 })
	r.evaluated()

	// Mended: everything of it counts.
	if err := os.Remove(filepath.Join(r.dir, "rules/t.wrong.yaml")); err != nil {
		t.Fatal(err)
	}
	r.write("lists/builders.txt", "builder\n")
	countries("DE")
	r.reload(false)
	if s, err := r.a.Status(t.Context()); err != nil || len(s.Refused) > 0 || s.Pack == second {
		t.Errorf("status after mending: %+v %v", s, err)
	}
	r.act("eve", "CreateUser", 1)
	wait(t, "the third rules speak", func() bool { return len(r.of("t.made")) == 5 })
	third := r.a.Rules().Stamp()

	// Address data that is none changes nothing, and hides no other fault.
	r.write("countries.mmdb", "no such data")
	r.write("lists/builders.txt", "203.0.113.0/240\n")
	r.reload(true)
	if s, err = r.a.Status(t.Context()); err != nil || s.Pack != third {
		t.Errorf("status: %+v %v", s, err)
	} else if said := strings.Join(s.Refused, "\n"); !strings.Contains(said, "countries.mmdb") || !strings.Contains(said, "builders.txt:1:1") {
		t.Errorf("refused for %q", said)
	}
	r.act("frank", "CreateUser", 1)
	wait(t, "the third rules go on, with the address data they had", func() bool { return len(r.of("t.made")) == 6 })
	for _, a := range r.of("t.made") {
		if (a.Actor.Name == "eve" || a.Actor.Name == "frank") && (a.Pack != third || a.Details["country"] != "DE") {
			t.Errorf("%s from %v by %s", a.Actor.Name, a.Details["country"], a.Pack)
		}
		if a.Actor.Name == "ci" || a.Actor.Name == "builder" {
			t.Errorf("excepted, and yet: %+v", a)
		}
	}
	// The audit log knows the changes and the refusal.
	wait(t, "the audit log has it", func() bool {
		lines, err := r.a.AuditLines(t.Context(), 0, 1000)
		if err != nil {
			return false
		}
		all, err := json.Marshal(lines)
		return err == nil && strings.Count(string(all), "rules changed") >= 2 && strings.Contains(string(all), "rules refused, those in force stay")
	})
}

// Without a signal, a change of the files is enough; the configuration is one of
// them.
func TestReloadByWatching(t *testing.T) {
	r := newReloading(t)
	r.write("rules/t.made.yaml", fmt.Sprintf(makingRule, 1, "first"))
	r.cfg.Detect.Reload = 1 // as often as it goes
	more, other := false, false
	var wrong error
	var mu sync.Mutex
	r.reread = func() (*config.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		if wrong != nil {
			return nil, wrong
		}
		c := *r.cfg
		if more {
			c.Detect.Disable = []string{"t.made"}
		}
		if other {
			c.Detect.Grace, c.Notify.Slack = c.Detect.Grace+1, nil
		}
		return &c, nil
	}
	r.start()
	r.write("rules/t.count.yaml", countingRule)
	wait(t, "the new file is seen", func() bool { return r.a.Rules().Len() == 2 })
	mu.Lock()
	more = true
	mu.Unlock()
	r.hangup <- syscall.SIGHUP
	wait(t, "the section detect counts", func() bool { return r.a.Rules().Len() == 1 })
	if err := os.Remove(filepath.Join(r.dir, "rules/t.count.yaml")); err != nil {
		t.Fatal(err)
	}
	wait(t, "a file that is gone is seen", func() bool { return r.a.Rules().Len() == 0 })
	// What counts from the start only is said to wait for it, until it is taken back.
	says := func() bool {
		s, err := r.a.Status(context.Background())
		return err == nil && strings.Contains(strings.Join(s.Problems, "\n"), "changed in notify, detect.grace; this counts when")
	}
	if says() {
		t.Error("the rules are taken for what waits for a start")
	}
	for _, waits := range []bool{true, false} {
		mu.Lock()
		other = waits
		mu.Unlock()
		r.hangup <- syscall.SIGHUP
		wait(t, "what waits for a start is said", func() bool { return says() == waits })
	}
	// A mistake elsewhere in the configuration is not told as one of the rules.
	mu.Lock()
	wrong = errors.New("notify.slack[0].chanel: unknown key")
	mu.Unlock()
	r.reload(true)
	s, err := r.a.Status(t.Context())
	if said := strings.Join(s.Problems, "\n"); err != nil || !strings.Contains(said, "the configuration is refused since ") || !strings.Contains(said, ": notify.slack[0].chanel: unknown key") {
		t.Errorf("problems %q, %v", said, err)
	}
	var told alert.Alert
	wait(t, "people are told", func() bool {
		for _, told = range r.of(pipeline.RuleRefused) { // a file that was being written may have been refused before
			if told.Title == "The configuration is refused" {
				return true
			}
		}
		return false
	})
	if !strings.Contains(told.TitleZH, "配置") || !strings.Contains(told.Runbook.EN, "config validate") {
		t.Errorf("told as %q: %q", told.TitleZH, told.Runbook.EN)
	}
}

// What is kept loads as the same rules; damaged, it is refused.
func TestKeptRules(t *testing.T) {
	r := newReloading(t)
	r.write("rules/t.made.yaml", fmt.Sprintf(makingRule, 1, "first"))
	r.write("exceptions/ci_makes_users.yaml", letGo)
	r.write("lists/builders.txt", "builder\n")
	set, err := RulesOf(r.cfg).Load()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	meta := func() keptMeta { return keptMeta{Hash: set.Hash(), Lists: r.cfg.Detect.Lists} }
	for range 2 {
		if err := keep(dir, set, meta()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := loadKept(dir, r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got.Stamp() != set.Stamp() {
		t.Errorf("kept as %s, was %s", got.Stamp(), set.Stamp())
	}
	r.write("rules/t.count.yaml", countingRule)
	if set, err = RulesOf(r.cfg).Load(); err != nil {
		t.Fatal(err)
	}
	if err := keep(dir, set, meta()); err != nil {
		t.Fatal(err)
	}
	if got, err = loadKept(dir, r.cfg); err != nil || got.Stamp() != set.Stamp() {
		t.Errorf("kept otherwise: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%d entries are kept: %v", len(entries), err)
	}
	if err := os.WriteFile(filepath.Join(dir, set.Hash(), "rules", "t.count.yaml"), []byte("id: t.count\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadKept(dir, r.cfg); err == nil {
		t.Error("damaged rules were taken")
	}
	if err := keep(dir, set, meta()); err != nil {
		t.Fatal(err)
	}
	if got, err = loadKept(dir, r.cfg); err != nil || got.Stamp() != set.Stamp() {
		t.Errorf("what was damaged is not kept anew: %v", err)
	}
	if _, err := loadKept(t.TempDir(), r.cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing kept: %v", err)
	}
}
