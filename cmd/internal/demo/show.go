package demo

import (
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
	started := time.Now()
	if o.Beat == 0 {
		o.Beat = 1200 * time.Millisecond
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

	cloud, err := fakecloud.Start(fakecloud.Options{Dir: filepath.Join(dir, "cloud"), Journal: journal, ChatRate: -1}, []string{Account})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, cloud.Close()) }()
	cloud.RAM.AddTrail(Account, ramtest.Trail{Name: trailName, HomeRegion: "cn-hangzhou", EventRW: "All", TrailRegion: "All", Logging: true})

	story := Write(o.Now)
	out.Events = story.Events()
	for _, r := range story.All() {
		cloud.Seed(r.JSON)
	}

	var mu sync.Mutex
	first := make(chan struct{})
	told := map[string]bool{}
	term := newTerminal(o.Out, o.Colour, o.Width, func(a alert.Alert) {
		mu.Lock()
		defer mu.Unlock()
		told[a.Rule] = true
		if out.FirstAlert == 0 {
			out.FirstAlert = time.Since(started)
			close(first)
		}
	})
	cfg, err := config.Load(cloud.Config, nil)
	if err != nil {
		return out, err
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
	if o.Console {
		cfg.Console.Enabled, cfg.Console.Listen = true, "127.0.0.1:0"
	}
	// A stopped trail is switched on again at once; what was granted is taken
	// away when a person says so.
	cfg.Respond.Playbooks = append(cfg.Respond.Playbooks,
		responders.Playbook{Name: "stopped-trail", Mode: responders.Auto}, responders.Playbook{Name: "granted-admin", Mode: responders.Approve})
	cfg.Respond.Approvers = []responders.Approver{{Name: "you", IDs: []string{you}}}
	a, err := app.New(ctx, app.Options{Config: cfg, Log: slog.New(slog.NewTextHandler(logFile, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Version:      "demo",
		Destinations: []responders.Destination{{Notifier: term, MinSeverity: alert.Medium, StormAt: -1, CatchUpAge: -1}}})
	if err != nil {
		return out, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(running) }()
	stopped := false
	shut := func() error {
		if stopped {
			return nil
		}
		stopped = true
		stop()
		return <-ended
	}
	defer func() { err = errors.Join(err, shut()) }()

	fails := func(what string) error {
		select {
		case e := <-ended:
			stopped = true
			return fmt.Errorf("the pipeline stopped: %w", e)
		default:
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s did not happen within %s; the log is in %s (keep it with --dir)", what, patience, logFile.Name())
	}

	term.Print("%s", "")
	term.Say("  trailwarden demo: an invented company, %d audit events of 30 identities over three days,", out.Events)
	term.Say("  read from an emulated cloud on this machine through the real SDKs. Nothing leaves this machine.")
	term.Print("%s", "")

	if o.Console {
		var link string
		if !until(ctx, patience, func() bool {
			l, err := a.ConsoleLink(ctx, "cli:demo")
			link = l.URL
			return err == nil && !strings.Contains(link, ":0/")
		}) {
			return out, fails("serving the console")
		}
		term.Print("  %s  %s", term.paint(bold, "The console:"), link)
		term.Say("  (that link signs one browser in; watch the alerts come in there too)")
		term.Print("%s", "")
	}
	// Ordinary life, played fast.
	step := (len(story.Days) + firstDays - 1) / firstDays
	for i := 0; i < len(story.Days); i += step {
		part := story.Days[i:min(i+step, len(story.Days))]
		cloud.Append(raws(part)...)
		term.Say("  %s  %5d events of ordinary work", part[len(part)-1].Time.Format("Mon 15:04Z"), min(i+step, len(story.Days)))
		if !pause(ctx, o.Beat/4) {
			return out, ctx.Err()
		}
	}
	evaluated := func(n int) bool {
		s, err := a.Status(ctx)
		if err != nil {
			return false
		}
		var sum uint64
		for _, p := range s.Partitions {
			sum += p.Evaluated
		}
		return sum >= uint64(n)
	}
	if !until(ctx, patience, func() bool { return evaluated(len(story.Days)) }) {
		return out, fails("reading the ordinary days")
	}
	term.Say("  %s  all quiet: %d events evaluated, nobody was disturbed", story.Days[len(story.Days)-1].Time.Format("Mon 15:04Z"), len(story.Days))
	term.Print("%s", "")

	for _, act := range story.Acts {
		if act.Caption != "" {
			term.Say("  ▸ %s", act.Caption)
		}
		// What the intruder's calls did to the cloud.
		switch act.Rule {
		case "policy.admin_attached":
			if err := cloud.RAM.Attach(Account, "System", "AdministratorAccess", "user", Victim); err != nil {
				return out, err
			}
		case "trail.stopped":
			cloud.RAM.AddTrail(Account, ramtest.Trail{Name: trailName, HomeRegion: "cn-hangzhou", EventRW: "All", TrailRegion: "All"})
		}
		cloud.Append(raws(act.Records)...)
		if !until(ctx, patience, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return told[act.Rule]
		}) {
			return out, fails("the alert " + act.Rule)
		}
		switch act.Rule {
		case "policy.admin_attached":
			d, ok := action(ctx, a, responders.KindDetachPolicy, responders.Proposed)
			if !ok {
				return out, fails("asking to take the policy away")
			}
			term.Say("  ▸ The playbook asks before it takes the policy away; a person looks and says yes:")
			term.Say("  $ trailwarden action approve %s --yes", d.ID[:12])
			if _, err := a.Approve(ctx, d.ID, you, d.Hash); err != nil {
				return out, fmt.Errorf("approve: %w", err)
			}
			if _, out.Approved = action(ctx, a, responders.KindDetachPolicy, responders.Done); !out.Approved {
				return out, fails("taking the policy away")
			}
		case "trail.stopped":
			if _, out.Restarted = action(ctx, a, responders.KindStartTrail, responders.Done); !out.Restarted {
				return out, fails("switching the trail on again")
			}
		}
		if !pause(ctx, o.Beat) {
			return out, ctx.Err()
		}
	}
	if out.Contained = until(ctx, patience, func() bool { return cloud.RAM.KeyStatus(BackdoorKey) == ramtest.Inactive }); !out.Contained {
		return out, fails("disabling the key")
	}
	done, ok := action(ctx, a, responders.KindDisableAccessKey, responders.Done)
	if !ok {
		return out, fails("recording the outcome")
	}
	select {
	case <-first:
	case <-time.After(patience):
		return out, fails("the first alert")
	}
	if !pause(ctx, o.Beat) {
		return out, ctx.Err()
	}
	term.Say("  ▸ The intruder tries again: InvalidAccessKeyId.Inactive")
	cloud.Append(retry(o.Now).JSON)
	if !pause(ctx, o.Beat) {
		return out, ctx.Err()
	}
	term.Print("%s", "")
	term.Say("  The key %s is %s in the cloud now. Was it a mistake? Every action can be taken back:", text.MaskKey(BackdoorKey), cloud.RAM.KeyStatus(BackdoorKey))
	undo := o.Ask == nil || o.Ask("  undo it (it goes back to Active; this is a fake cloud)?")
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	if undo {
		term.Say("  $ trailwarden action undo %s --yes", done.ID[:12])
		if _, err := a.Undo(ctx, done.ID, you); err != nil {
			return out, fmt.Errorf("undo: %w", err)
		}
		if out.Undone = until(ctx, patience, func() bool { return cloud.RAM.KeyStatus(BackdoorKey) == ramtest.Active }); !out.Undone {
			return out, fails("the undo")
		}
		if !pause(ctx, o.Beat) {
			return out, ctx.Err()
		}
	}
	// The message of that alert as it stands in the channel now, and the chain
	// over everything that was said and done.
	state := "" // the card is there in any case
	if out.Undone {
		state = "undone"
	}
	var thread []string
	says := func(l string) bool { return strings.Contains(l, state) }
	// A long thread counts its last lines instead of showing them; the message
	// says how things stand in any case.
	if !until(ctx, 10*time.Second, func() bool { thread = replies(cloud, state); return slices.ContainsFunc(thread, says) }) &&
		!until(ctx, patience, func() bool { thread = replies(cloud, state); return len(thread) > 0 }) {
		return out, fails("the thread that says what was done")
	}
	term.Print("%s", "")
	term.Say("  The thread under that message in the team's channel:")
	for _, l := range thread {
		term.Say("    │ %s", text.Cut(text.Terminal(l), 110))
	}
	if !until(ctx, patience, func() bool {
		r, err := a.AuditVerify(ctx, "")
		out.Entries = r.Entries
		return err == nil && r.OK() && r.Entries > 0 && r.Behind == 0
	}) {
		return out, fails("verifying the audit log")
	}
	if out.Alerts, err = a.Alerts(ctx, 10_000); err != nil {
		return out, err
	}
	out.Messages = len(cloud.Chat.Messages(chattest.DefaultChannel))
	out.Took = time.Since(started)
	if o.Console && o.Hold != nil {
		mu.Lock()
		summary(term, out)
		mu.Unlock()
		o.Hold("  The console stays open at " + a.ConsoleURL() + " until you press Enter.")
		return out, errors.Join(ctx.Err(), shut())
	}
	if err := shut(); err != nil {
		return out, err
	}
	out.Took = time.Since(started)
	mu.Lock()
	defer mu.Unlock()
	summary(term, out)
	return out, nil
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

func summary(t *terminal, out Outcome) {
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
	t.Print("  %.0f s, no account, nothing sent anywhere", out.Took.Seconds())
	t.Print("%s", "")
	t.Print("  %s", t.paint(bold, "Next"))
	t.Print("  trailwarden rules list                     what it looks for")
	t.Print("  trailwarden replay <your ActionTrail files>  what it finds in your own history; cannot act")
	t.Print("  trailwarden fakecloud --help               the same cloud, fed with your files, for `trailwarden run`")
}

func raws(rs []Record) [][]byte {
	out := make([][]byte, len(rs))
	for i, r := range rs {
		out[i] = r.JSON
	}
	return out
}

// pause waits for d; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
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
