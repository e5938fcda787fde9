package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/responders/ram"
)

// State of a check.
type State string

// The states of a check, from the best to the worst.
const (
	OK   State = "ok"
	Info State = "info" // worth knowing, nothing to do
	Warn State = "warn" // works, and will not do all that its author may believe
	Fail State = "fail" // does not work
)

// Check is one thing looked at.
type Check struct {
	// Group is what it belongs to: configuration, store, credentials, a source,
	// trail, a destination, containment, program.
	Group string `json:"group"`
	Name  string `json:"name"`
	State State  `json:"state"`
	// Code names the fault; `trailwarden explain CODE` has a page on it. Empty
	// when there is none.
	Code   string `json:"code,omitempty"`
	Detail string `json:"detail"`
	// Remedy is what to do, empty when nothing.
	Remedy string `json:"remedy,omitempty"`
	// Unreachable says that something did not answer.
	Unreachable bool `json:"unreachable,omitempty"`
}

// Account is one account that the newest records are of.
type Account struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Newest is the event time of its newest record among those looked at.
	Newest time.Time `json:"newest"`
	Events int       `json:"events"`
}

// Report is all that was found.
type Report struct {
	Version  int       `json:"version"` // of this shape
	At       time.Time `json:"at"`
	Config   string    `json:"config"`
	Checks   []Check   `json:"checks"`
	Accounts []Account `json:"accounts,omitempty"`
}

// Worst is the state of the worst check.
func (r *Report) Worst() State {
	worst := OK
	rank := map[State]int{OK: 0, Info: 1, Warn: 2, Fail: 3}
	for _, c := range r.Checks {
		if rank[c.State] > rank[worst] {
			worst = c.State
		}
	}
	return worst
}

// Unreachable says that a failed check is one of a thing that does not answer.
func (r *Report) Unreachable() bool {
	for _, c := range r.Checks {
		if c.State == Fail && c.Unreachable {
			return true
		}
	}
	return false
}

// Count is how many checks are in a state.
func (r *Report) Count(s State) (n int) {
	for _, c := range r.Checks {
		if c.State == s {
			n++
		}
	}
	return n
}

// Options of Run.
type Options struct {
	Config *config.Config
	// Path is where the configuration was read from.
	Path string
	// Now is the clock, default time.Now.
	Now func() time.Time
	// Each, when set, is given every check as soon as it is known.
	Each func(Check)
	// Timeout bounds one look at one thing, default 20 s.
	Timeout time.Duration
}

// Run looks at everything. It changes nothing: no message is sent, no consumer
// group joined, no stream made. It never fails; what fails is in the report.
func Run(ctx context.Context, o Options) *Report {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Timeout = cmp.Or(o.Timeout, 20*time.Second)
	r := &run{Options: o, cfg: o.Config, log: slog.New(slog.DiscardHandler), report: &Report{Version: 1, At: o.Now().UTC(), Config: o.Path, Checks: []Check{}}}
	r.configuration()
	r.store(ctx)
	if r.credentials(ctx) {
		r.sources(ctx)
	} else {
		r.info("source", "all", "not looked at without credentials: neither logstore, accounts nor trail")
	}
	r.containment(ctx)
	r.destinations(ctx)
	r.program(ctx)
	return r.report
}

type run struct {
	Options
	cfg    *config.Config
	log    *slog.Logger
	report *Report

	reader *cred.Provider
	who    ram.Whoami // of the reader, once known
	cloud  *ram.Client
	trails []ram.Trail
	// trailsKnown says that they could be listed.
	trailsKnown bool
}

func (r *run) add(c Check) {
	r.report.Checks = append(r.report.Checks, c)
	if r.Each != nil {
		r.Each(c)
	}
}

func (r *run) ok(group, name, format string, args ...any) {
	r.add(Check{Group: group, Name: name, State: OK, Detail: fmt.Sprintf(format, args...)})
}

func (r *run) info(group, name, format string, args ...any) {
	r.add(Check{Group: group, Name: name, State: Info, Detail: fmt.Sprintf(format, args...)})
}

func (r *run) bad(state State, code, group, name, detail, remedy string) {
	r.add(Check{Group: group, Name: name, State: state, Code: code, Detail: detail, Remedy: remedy})
}

func (r *run) down(code, group, name, detail, remedy string) {
	r.add(Check{Group: group, Name: name, State: Fail, Code: code, Detail: detail, Remedy: remedy, Unreachable: true})
}

func (r *run) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.Timeout)
}

func (r *run) configuration() {
	const group = "configuration"
	r.ok(group, "file", "%s is valid", r.Path)
	set, err := app.RulesOf(r.cfg).Load()
	if err != nil {
		r.bad(Fail, "TW103", group, "rules", err.Error(), "mend the rule at the place given, or leave it out with detect.disable; `trailwarden rules lint` shows all of it")
	} else {
		r.ok(group, "rules", "%d rules", set.Len())
	}
	if r.cfg.Detect.GeoCountry == "" && r.cfg.Detect.GeoASN == "" {
		r.info(group, "addresses", "neither detect.geo_country nor detect.geo_asn is set: the place of an address is not known, and rules that ask for it (signin.impossible_travel) are silent")
	}
	warnings, err := app.Check(r.cfg)
	for _, w := range warnings {
		r.bad(Warn, "TW102", group, "sense", w, "")
	}
	if err != nil && set != nil {
		r.bad(Fail, "TW101", group, "parts", err.Error(), "mend the value named")
	}
}

func (r *run) store(ctx context.Context) {
	const group = "store"
	dir := r.cfg.StateDir
	if err := private(dir); err != nil {
		r.bad(Fail, "TW502", group, "state_dir", err.Error(), "give state_dir to the user that trailwarden runs as, mode 0700: install -d -m 0700 -o USER "+dir)
		return
	}
	ctx, cancel := r.within(ctx)
	defer cancel()
	in, err := bus.Inspect(ctx, app.BusConfig(r.cfg, r.log))
	switch {
	case err != nil && r.cfg.NATS.URL == "":
		r.bad(Fail, "TW501", group, "disk", err.Error(), "free space on the disk of "+dir+", or lower nats.max_bytes")
	case err != nil && in.Server == "":
		r.down("TW503", group, "nats", err.Error(), "check nats.url, the network, and creds, ca, cert and key")
	case err != nil:
		r.bad(Fail, "TW504", group, "nats", err.Error(), "mend the cluster as said")
	case in.Embedded:
		detail := fmt.Sprintf("%s used of a budget of %s in %s", size(in.Used), size(in.Budget), dir)
		if in.Free >= 0 {
			detail += ", " + size(in.Free) + " free on its disk"
		}
		if in.Held {
			detail += "; a running process has it"
		}
		r.ok(group, "disk", "%s", detail)
	default:
		what := "no streams yet, they are made at the first start"
		if in.Streams > 0 {
			what = fmt.Sprintf("%d streams, %d copies of each", in.Streams, in.Replicas)
		}
		r.ok(group, "nats", "%s (nats-server %s) answers; %s", in.Server, in.Version, what)
		if in.Streams > 0 && in.Replicas < 3 {
			r.bad(Warn, "TW505", group, "replicas", fmt.Sprintf("the streams have %d copies: one server lost is data lost", in.Replicas), "set nats.replicas: 3 on a cluster of at least three servers")
		}
	}
}

// private says whether dir, or the folder it will be made in, can be written.
func private(dir string) error {
	at := dir
	for {
		st, err := os.Stat(at)
		switch {
		case err == nil && !st.IsDir():
			return fmt.Errorf("%s is not a folder", at)
		case err == nil:
			if at == dir && st.Mode().Perm()&0o077 != 0 {
				return fmt.Errorf("%s is open to others (mode %04o): it holds audit records and the socket that approves containment", dir, st.Mode().Perm())
			}
			f, err := os.CreateTemp(at, ".trailwarden-doctor-*")
			if err != nil {
				return fmt.Errorf("%s cannot be written: %w", at, plain(err))
			}
			_ = f.Close()
			return os.Remove(f.Name())
		case !errors.Is(err, fs.ErrNotExist):
			return plain(err)
		case at == filepath.Dir(at):
			return err
		}
		at = filepath.Dir(at)
	}
}

func plain(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func (r *run) program(ctx context.Context) {
	const group = "program"
	ctx, cancel := r.within(ctx)
	defer cancel()
	s, err := admin.Dial(r.cfg.StateDir).Status(ctx)
	switch {
	case errors.Is(err, admin.ErrNotRunning):
		r.info(group, "running", "it does not run on %s now", r.cfg.StateDir)
	case err != nil:
		r.bad(Warn, "TW701", group, "running", err.Error(), "run doctor as the user that trailwarden runs as")
	case !s.Ready:
		r.bad(Fail, "TW702", group, "running", "it runs and is not ready: "+strings.Join(s.Problems, "; "), "see `trailwarden status`")
	default:
		r.ok(group, "running", "ready, version %s, since %s", s.Version, s.Started.UTC().Format(time.RFC3339))
		for _, p := range s.Problems {
			r.bad(Warn, "TW703", group, "problem", p, "see `trailwarden status`")
		}
	}
}

func size(n int64) string {
	switch {
	case n < 0:
		return "unknown"
	case n < 1<<20:
		return "less than 1 MiB"
	case n < 1<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	case n < 100<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d GiB", n>>30)
}

// age in words that fit beside a check.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s old", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min old", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h old", int(d.Hours()))
	}
	return fmt.Sprintf("%d days old", int(d.Hours()/24))
}
