package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// Options of the show.
type Options struct {
	Out    io.Writer
	Colour bool
	Width  int
	// Dir keeps everything (store, log, journal); empty uses a temporary
	// folder that is removed at the end.
	Dir string
	// Beat is the pause between acts, default 1.2 s; for tests it may be short.
	Beat time.Duration
	// Ask is called before the undo with a question and says whether to go
	// on; nil goes on without asking. When the context has ended meanwhile, so
	// does the show.
	Ask func(question string) bool
	// Console serves the web console beside the show and tells its address;
	// at the end Hold is called, so that people can look around, and returns when
	// the context ends. Hold may be nil.
	Console bool
	Hold    func(message string)
	// Report makes a report of all records, JSON lines, and says where it is;
	// nil makes none.
	Report func(ctx context.Context, records io.Reader) (path string, err error)
	// Now is when the story ends.
	Now time.Time
}

// Outcome is what the show came to.
type Outcome struct {
	Events     int
	Alerts     []alert.Alert
	FirstAlert time.Duration // from the start
	Contained  bool          // the stolen key went inactive
	Approved   bool          // the admin policy was taken away after a person said yes
	Restarted  bool          // the trail logs again
	Entries    uint64        // of the audit log, whose chain holds
	Undone     bool          // and was active again after the undo
	Messages   int           // in the fake chat
	Took       time.Duration
}

// you is whoever watches the show and says yes.
const you = "cli:demo"

const (
	firstDays = 8           // steps in which the ordinary days are shown
	patience  = time.Minute // for a slow machine; a good one needs a second or two
)

// Play runs the show. An error means that the story did not happen as told.
func Play(ctx context.Context, o Options) (out Outcome, err error) {
	s := &show{Options: o, began: time.Now(), story: Write(o.Now), first: make(chan struct{}), told: map[string]bool{}}
	if s.Beat == 0 {
		s.Beat = 1200 * time.Millisecond
	}
	dir := o.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "trailwarden-demo-"); err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return out, err
	}
	logFile, err := os.OpenFile(filepath.Join(dir, "trailwarden.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return out, err
	}
	defer logFile.Close()
	journal, err := os.OpenFile(filepath.Join(dir, "cloud-journal.jsonl"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return out, err
	}
	defer journal.Close()

	s.log = logFile
	s.cloud, err = fakecloud.Start(fakecloud.Options{Dir: filepath.Join(dir, "cloud"), Journal: journal, ChatRate: -1}, []string{Account})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.cloud.Close()) }()
	if err := s.start(ctx); err != nil {
		return s.result, err
	}
	defer func() {
		err = errors.Join(err, s.stop())
		out = s.result
	}()
	for _, scene := range []func(context.Context) error{s.opening, s.ordinaryDays, s.attack, s.containment, s.undo, s.thread, s.audit} {
		if err := scene(ctx); err != nil {
			return out, err
		}
	}
	return out, s.ending(ctx)
}

// show is one run of the story: the emulated cloud, the program that watches
// it, and what has come of it so far.
type show struct {
	Options
	began time.Time
	story Story
	fed   bytes.Buffer // the records so far, JSON lines, for the report
	log   *os.File
	cloud *fakecloud.Cloud
	app   *app.App
	term  *terminal

	cancel  context.CancelFunc // ends the app's Run
	ended   chan error         // what its Run returned
	stopped bool

	mu     sync.Mutex // of told, and of result while the app runs
	told   map[string]bool
	first  chan struct{} // closed with the first alert
	result Outcome
	done   responders.ActionDetail // the containment of the key
}

// start fills the cloud and runs the program beside it.
func (s *show) start(ctx context.Context) error {
	s.trail(true)
	s.result.Events = s.story.Events()
	for _, r := range s.story.All() {
		s.cloud.Seed(r.JSON)
	}
	s.term = newTerminal(s.Out, s.Colour, s.Width, s.posted)
	cfg, err := s.config()
	if err != nil {
		return err
	}
	s.app, err = app.New(ctx, app.Options{Config: cfg, Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Version:      "demo",
		Destinations: []responders.Destination{{Notifier: s.term, MinSeverity: alert.Medium, StormAt: -1, CatchUpAge: -1}}})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	s.cancel, s.ended = cancel, make(chan error, 1)
	go func() { s.ended <- s.app.Run(running) }()
	return nil
}

// trail makes the account's trail anew.
func (s *show) trail(logging bool) {
	s.cloud.RAM.AddTrail(Account, ramtest.Trail{Name: trailName, HomeRegion: "cn-hangzhou", EventRW: "All", TrailRegion: "All", Logging: logging})
}

// config is that of the fake cloud with the playbooks of the story.
func (s *show) config() (*config.Config, error) {
	cfg, err := config.Load(s.cloud.Config, nil)
	if err != nil {
		return nil, err
	}
	cfg.Accounts = map[string]string{Account: AccountName}
	cfg.Detect.Grace = responders.Duration(time.Second)
	// One key is enough for a story: the new key is only watched, and cut off
	// when it is used from where its user never was.
	for i := range cfg.Respond.Playbooks {
		if cfg.Respond.Playbooks[i].Name == "new-key-for-other" {
			cfg.Respond.Playbooks[i].Mode = responders.Observe
		}
	}
	if s.Console {
		cfg.Console.Enabled, cfg.Console.Listen = true, "127.0.0.1:0"
	}
	// A stopped trail is switched on again at once; what was granted is taken
	// away when a person says so.
	cfg.Respond.Playbooks = append(cfg.Respond.Playbooks,
		responders.Playbook{Name: "stopped-trail", Mode: responders.Auto}, responders.Playbook{Name: "granted-admin", Mode: responders.Approve})
	cfg.Respond.Approvers = []responders.Approver{{Name: "you", IDs: []string{you}}}
	return cfg, nil
}

// posted notes an alert that the terminal shows.
func (s *show) posted(a alert.Alert) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[a.Rule] = true
	if s.result.FirstAlert == 0 {
		s.result.FirstAlert = time.Since(s.began)
		close(s.first)
	}
}

// stop ends the program and waits for it; once.
func (s *show) stop() error {
	if s.stopped {
		return nil
	}
	s.stopped = true
	s.cancel()
	return <-s.ended
}

// fails says why what was waited for did not happen.
func (s *show) fails(ctx context.Context, what string) error {
	if ctx.Err() != nil {
		return ctx.Err() // which ends the program too
	}
	select {
	case e := <-s.ended:
		if s.stopped = true; e != nil {
			return fmt.Errorf("the pipeline stopped: %w", e)
		}
	default:
	}
	return fmt.Errorf("%s did not happen within %s; the log is in %s (keep it with --dir)", what, patience, s.log.Name())
}

// opening says what will be seen, and where the console is.
func (s *show) opening(ctx context.Context) error {
	s.term.Print("%s", "")
	s.term.Say("  trailwarden demo: an invented company, %d audit events of 30 identities over three days,", s.result.Events)
	s.term.Say("  read from an emulated cloud on this machine through the real SDKs. Nothing leaves this machine.")
	s.term.Print("%s", "")
	if !s.Console {
		return nil
	}
	var link string
	if !until(ctx, patience, func() bool {
		l, err := s.app.ConsoleLink(ctx, "cli:demo")
		link = l.URL
		return err == nil && !strings.Contains(link, ":0/")
	}) {
		return s.fails(ctx, "serving the console")
	}
	s.term.Print("  %s  %s", s.term.paint(bold, "The console:"), link)
	s.term.Say("  (that link signs one browser in; watch the alerts come in there too)")
	s.term.Print("%s", "")
	return nil
}

// ordinaryDays plays ordinary life, fast.
func (s *show) ordinaryDays(ctx context.Context) error {
	days := s.story.Days
	step := (len(days) + firstDays - 1) / firstDays
	for i := 0; i < len(days); i += step {
		part := days[i:min(i+step, len(days))]
		s.feed(part...)
		s.term.Say("  %s  %5d events of ordinary work", part[len(part)-1].Time.Format("Mon 15:04Z"), min(i+step, len(days)))
		if err := pause.For(ctx, s.Beat/4); err != nil {
			return err
		}
	}
	if !until(ctx, patience, func() bool { return s.evaluated(ctx) >= uint64(len(days)) }) {
		return s.fails(ctx, "reading the ordinary days")
	}
	s.term.Say("  %s  all quiet: %d events evaluated, nobody was disturbed", days[len(days)-1].Time.Format("Mon 15:04Z"), len(days))
	s.term.Print("%s", "")
	return nil
}

// evaluated counts the events that the program has evaluated.
func (s *show) evaluated(ctx context.Context) (sum uint64) {
	st, err := s.app.Status(ctx)
	if err != nil {
		return 0
	}
	for _, p := range st.Partitions {
		sum += p.Evaluated
	}
	return sum
}

// attack plays the intruder's acts, each with what the program and the person
// who watches do about it.
func (s *show) attack(ctx context.Context) error {
	for _, act := range s.story.Acts {
		if act.Caption != "" {
			s.term.Say("  ▸ %s", act.Caption)
		}
		// What the intruder's calls did to the cloud.
		switch act.Rule {
		case "policy.admin_attached":
			if err := s.cloud.RAM.Attach(Account, "System", "AdministratorAccess", "user", Victim); err != nil {
				return err
			}
		case "trail.stopped":
			s.trail(false)
		}
		s.feed(act.Records...)
		if !until(ctx, patience, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.told[act.Rule]
		}) {
			return s.fails(ctx, "the alert "+act.Rule)
		}
		switch act.Rule {
		case "policy.admin_attached":
			if err := s.approve(ctx); err != nil {
				return err
			}
		case "trail.stopped":
			if _, s.result.Restarted = action(ctx, s.app, responders.KindStartTrail, responders.Done); !s.result.Restarted {
				return s.fails(ctx, "switching the trail on again")
			}
		}
		if err := pause.For(ctx, s.Beat); err != nil {
			return err
		}
	}
	return nil
}

// approve has the policy taken away that the intruder attached.
func (s *show) approve(ctx context.Context) error {
	d, ok := action(ctx, s.app, responders.KindDetachPolicy, responders.Proposed)
	if !ok {
		return s.fails(ctx, "asking to take the policy away")
	}
	s.term.Say("  ▸ The playbook asks before it takes the policy away; a person looks and says yes:")
	s.term.Say("  $ trailwarden action approve %s --yes", d.ID[:12])
	if _, err := s.app.Approve(ctx, d.ID, you, d.Hash); err != nil {
		return fmt.Errorf("approve: %w", err)
	}
	if _, s.result.Approved = action(ctx, s.app, responders.KindDetachPolicy, responders.Done); !s.result.Approved {
		return s.fails(ctx, "taking the policy away")
	}
	return nil
}

// containment waits until the key is inactive, and shows that it is.
func (s *show) containment(ctx context.Context) error {
	if s.result.Contained = until(ctx, patience, s.keyIs(ramtest.Inactive)); !s.result.Contained {
		return s.fails(ctx, "disabling the key")
	}
	var ok bool
	if s.done, ok = action(ctx, s.app, responders.KindDisableAccessKey, responders.Done); !ok {
		return s.fails(ctx, "recording the outcome")
	}
	select {
	case <-s.first:
	case <-time.After(patience):
		return s.fails(ctx, "the first alert")
	}
	if err := pause.For(ctx, s.Beat); err != nil {
		return err
	}
	s.term.Say("  ▸ The intruder tries again: InvalidAccessKeyId.Inactive")
	s.feed(retry(s.Now))
	return pause.For(ctx, s.Beat)
}

// keyIs asks for the status of the stolen key.
func (s *show) keyIs(status string) func() bool {
	return func() bool { return s.cloud.RAM.KeyStatus(BackdoorKey) == status }
}

// undo takes the containment back, if the person who watches wants that.
func (s *show) undo(ctx context.Context) error {
	s.term.Print("%s", "")
	s.term.Say("  The key %s is %s in the cloud now. Was it a mistake? Every action can be taken back:", text.MaskKey(BackdoorKey), s.cloud.RAM.KeyStatus(BackdoorKey))
	wanted := s.Ask == nil || s.Ask("  undo it (it goes back to Active; this is a fake cloud)?")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !wanted {
		return nil
	}
	s.term.Say("  $ trailwarden action undo %s --yes", s.done.ID[:12])
	if _, err := s.app.Undo(ctx, s.done.ID, you); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	if s.result.Undone = until(ctx, patience, s.keyIs(ramtest.Active)); !s.result.Undone {
		return s.fails(ctx, "the undo")
	}
	return pause.For(ctx, s.Beat)
}

// thread shows the message of the alert about the key as it stands in the
// channel now.
func (s *show) thread(ctx context.Context) error {
	state := "" // the card is there in any case
	if s.result.Undone {
		state = "undone"
	}
	var thread []string
	says := func(l string) bool { return strings.Contains(l, state) }
	// A long thread counts its last lines instead of showing them; the message
	// says how things stand in any case.
	if !until(ctx, 10*time.Second, func() bool { thread = replies(s.cloud, state); return slices.ContainsFunc(thread, says) }) &&
		!until(ctx, patience, func() bool { thread = replies(s.cloud, state); return len(thread) > 0 }) {
		return s.fails(ctx, "the thread that says what was done")
	}
	s.term.Print("%s", "")
	s.term.Say("  The thread under that message in the team's channel:")
	for _, l := range thread {
		s.term.Say("    │ %s", text.Cut(text.Terminal(l), 110))
	}
	return nil
}

// audit verifies the chain over everything that was said and done.
func (s *show) audit(ctx context.Context) error {
	if !until(ctx, patience, func() bool {
		r, err := s.app.AuditVerify(ctx, "")
		s.result.Entries = r.Entries
		return err == nil && r.OK() && r.Entries > 0 && r.Behind == 0
	}) {
		return s.fails(ctx, "verifying the audit log")
	}
	return nil
}

// ending says what has come of it; with a console to look around in, the
// program runs on meanwhile.
func (s *show) ending(ctx context.Context) (err error) {
	if s.result.Alerts, err = s.app.Alerts(ctx, 10_000); err != nil {
		return err
	}
	s.result.Messages = len(s.cloud.Chat.Messages(chattest.DefaultChannel))
	hold := s.Console && s.Hold != nil
	if !hold {
		if err := s.stop(); err != nil {
			return err
		}
	}
	report := ""
	if s.Report != nil {
		if report, err = s.Report(ctx, &s.fed); err != nil {
			return fmt.Errorf("the report: %w", err)
		}
	}
	s.result.Took = time.Since(s.began)
	s.mu.Lock()
	summary(s.term, s.result, report)
	s.mu.Unlock()
	if hold {
		s.Hold("  The console stays open at " + s.app.ConsoleURL() + " until you press Enter.")
		return errors.Join(ctx.Err(), s.stop())
	}
	return nil
}

// action waits for an action of a kind to come to a state.
func action(ctx context.Context, a *app.App, kind string, state responders.State) (d responders.ActionDetail, ok bool) {
	ok = until(ctx, patience, func() bool {
		ds, err := a.Actions(ctx)
		if err != nil {
			return false
		}
		for _, x := range ds {
			if x.Kind == kind && x.State == state {
				d = x
				return true
			}
		}
		return false
	})
	return d, ok
}

// replies lists the thread of the message about the stolen key, once the
// message or its thread says how things stand.
func replies(cloud *fakecloud.Cloud, state string) []string {
	for _, m := range cloud.Chat.Messages(chattest.DefaultChannel) {
		all, err := json.Marshal(m)
		if err != nil || !strings.Contains(strings.ToLower(string(all)), state) || !strings.Contains(string(all), "CreateAccessKey --UserName "+Victim) {
			continue
		}
		var out []string
		for _, r := range m.Replies {
			out = append(out, strings.Split(shown(r.Content), "\n")...)
		}
		return out
	}
	return nil
}

// shown is what people see of a reply: its blocks, which keep their lines; the
// text is for notifications.
func shown(c chattest.Content) string {
	var blocks []struct{ Text struct{ Text string } }
	if err := json.Unmarshal(c.Blocks, &blocks); err != nil || len(blocks) == 0 || blocks[0].Text.Text == "" {
		return c.Text
	}
	return blocks[0].Text.Text
}

func summary(t *terminal, out Outcome, report string) {
	n := map[alert.Severity]int{}
	for _, a := range out.Alerts {
		n[a.Severity]++
	}
	var parts []string
	for s := alert.Critical; s >= alert.Info; s-- {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	t.Print("%s", "")
	t.Print("  %s", t.paint(bold, "What happened"))
	t.Print("  %d events, %d alerts (%s), the first after %.1f s", out.Events, len(out.Alerts), strings.Join(parts, ", "), out.FirstAlert.Seconds())
	t.Print("  %d messages in the team's channel: one for each alert, edited as it grew", out.Messages)
	taken := ""
	if out.Undone {
		taken = ", and the containment undone"
	}
	t.Print("  1 key contained, 1 trail switched on again (intent journalled, called, read back)%s", taken)
	t.Print("  1 policy taken away after a person approved it")
	t.Print("  %d entries in the audit log, its chain of hashes holds", out.Entries)
	if report != "" {
		t.Print("  a report of it, made by a replay of the same events, one page that opens offline: %s", report)
	}
	t.Print("  %.0f s, no account, nothing sent anywhere", out.Took.Seconds())
	t.Print("%s", "")
	t.Print("  %s", t.paint(bold, "Next"))
	if report == "" {
		t.Print("  trailwarden demo --dir DIR                 the same once more, and a report of it to keep")
	}
	t.Print("  trailwarden rules list                     what it looks for")
	t.Print("  trailwarden replay <your ActionTrail files>  what it finds in your own history; cannot act")
	t.Print("  trailwarden fakecloud --help               the same cloud, fed with your files, for `trailwarden run`")
}

// feed puts records into the cloud, and aside for the report.
func (s *show) feed(rs ...Record) {
	out := make([][]byte, len(rs))
	for i, r := range rs {
		out[i] = r.JSON
		if s.Report != nil {
			s.fed.Write(r.JSON)
			s.fed.WriteByte('\n')
		}
	}
	s.cloud.Append(out...)
}

// until polls cond for at most d.
func until(ctx context.Context, d time.Duration, cond func() bool) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.After(d)
	for {
		if cond() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-end:
			return cond()
		case <-tick.C:
		}
	}
}
