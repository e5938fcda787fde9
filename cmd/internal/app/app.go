package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/console"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/sls"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/pipeline/source"
	"github.com/trailwarden/trailwarden/pipeline/trace"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
	"github.com/trailwarden/trailwarden/rules"
)

// Roles that one process may play.
const (
	RoleIngest  = "ingest"
	RoleDetect  = "detect"
	RoleRespond = "respond"
)

// Roles lists every role.
func Roles() []string { return []string{RoleIngest, RoleDetect, RoleRespond} }

// readerName is under which the responders remember how far they have read.
const readerName = "responders"

// ErrUnusable marks what the user has to mend in the configuration or the
// rules; anything else that New returns is a dependency that cannot be reached.
var ErrUnusable = errors.New("unusable configuration")

// Options of an App.
type Options struct {
	Config *config.Config
	Log    *slog.Logger
	Roles  []string // all when empty
	// Destinations are told besides those of the configuration.
	Destinations []responders.Destination
	Version      string
	// Adopt makes streams again that are missing from a store with a history
	// (bus.Config).
	Adopt bool
	// Path is the configuration's file. Reread, when given, reads it again: of
	// what it returns, the section detect counts from then on. Hangup asks for
	// that.
	Path   string
	Reread func() (*config.Config, error)
	Hangup <-chan os.Signal
}

// App is the running program.
type App struct {
	cfg     *config.Config
	log     *slog.Logger
	version string
	started time.Time

	meters     *meters
	rules      atomic.Pointer[rules.Set]
	book       ruleBook
	judges     *judges
	configPath string
	reread     func() (*config.Config, error)
	hangup     <-chan os.Signal
	bus        *bus.Bus
	tracer     *trace.Tracer
	raw        func(*alert.Alert) string // where records are shown outside; nil for nowhere
	spans      *spanSender               // nil when nothing is traced
	pipe       *pipeline.Pipeline
	machine    *responders.Machine
	audit      *journal.Audit
	reader     *cred.Provider         // whom the trail is read as
	keys       responders.KeyInformer // nil when the cloud cannot be asked
	dispatcher *responders.Dispatcher
	sources    []*sls.Source
	listeners  []listener
	inventory  *inventoryReader
	leaks      *leakReader          // nil when nobody asked for it
	late       atomic.Pointer[came] // of the last hour, where rules are wrong by it
	closers    []func()
	unlock     func() // lets another process have the state folder

	web atomic.Pointer[string] // where /metrics is served

	index   *index.Index // with the console
	keeper  *keeper      // with the console
	console *console.Server
	ruleErr ruleErrors
}

// errNoSource is why run does not start where it would have to read.
var errNoSource = errors.New("source.sls is empty: there is nothing to read (see the README: Point it at a real trail)")

// New puts the parts together and opens the store; Run starts them. Rules and
// configuration are checked before anything is opened.
func New(ctx context.Context, o Options) (_ *App, err error) {
	c := o.Config
	roles := o.Roles
	if len(roles) == 0 {
		roles = Roles()
	}
	if err := checkRoles(c, roles); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	has := func(r string) bool { return slices.Contains(roles, r) }
	a := &App{cfg: c, log: o.Log, version: o.Version, started: time.Now(), meters: newMeters(), judges: newJudges(),
		configPath: o.Path, reread: o.Reread, hangup: o.Hangup}
	if err := a.loadRules(); err != nil {
		return nil, err
	}
	if err := a.stateDir(); err != nil {
		return nil, err
	}
	if a.reader, err = cred.New(credOf(c.Credentials)); err != nil {
		return nil, fmt.Errorf("%w: credentials: %w", ErrUnusable, err)
	}

	a.spans = newSpanSender(c.Traces, a.version, owner(), a.log)
	a.tracer = a.spans.tracer()
	a.closers = append(a.closers, a.spans.close)
	defer func() {
		if err != nil {
			a.spans.close()
		}
	}()

	// The embedded store has a lock of its own, against commands that take it alone.
	if a.unlock, err = bus.LockState(c.StateDir); errors.Is(err, bus.ErrStateLocked) {
		return nil, err
	} else if err != nil {
		a.log.Warn("it cannot be made sure that no other process uses this state_dir: give each its own", "err", err)
		a.unlock = func() {}
	}
	defer func() {
		if err != nil {
			a.unlock()
		}
	}()

	bc := BusConfig(c, a.log)
	bc.Adopt = o.Adopt
	a.bus, err = bus.Open(ctx, bc)
	if err != nil {
		return nil, fmt.Errorf("event store: %w", err)
	}
	defer func() {
		if err != nil {
			a.bus.Close()
		}
	}()

	pc := pipeline.Config{Bus: a.bus, Logger: a.log}
	if !a.bus.Embedded() {
		// Others may run the same roles on this cluster.
		pc.Leases = &pipeline.LeaseConfig{Name: owner() + "/" + rand.Text()[:8]}
	}
	if has(RoleIngest) {
		pc.Ingest = true
		pc.Ingester.TickAfter, pc.Ingester.Tracer = idleAfter(c.Detect.Grace.Std()), a.tracer
	}
	if has(RoleDetect) {
		if err = a.detect(&pc); err != nil {
			return nil, err
		}
		if !has(RoleRespond) {
			pc.Worker.Readers = []string{readerName}
		}
	}
	if has(RoleRespond) {
		if err = a.respond(ctx, o.Destinations); err != nil {
			return nil, err
		}
		r := &pipeline.AlertReader{Bus: a.bus, Name: readerName, Handle: a.meters.counting(a.dispatcher.Handle), Logger: a.log}
		if pc.Leases != nil {
			// What the process that did this before us has begun is in the
			// journal.
			r.Begin = a.dispatcher.Recover
		}
		pc.Readers = []*pipeline.AlertReader{r}
	}
	if a.pipe, err = pipeline.New(pc); err != nil {
		return nil, err
	}
	if c.Console.Enabled && has(RoleRespond) {
		if err = a.makeConsole(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
		}
	}
	if has(RoleIngest) {
		if err = a.makeSources(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
		}
	}
	return a, nil
}

// checkRoles says why these roles cannot run with the configuration.
func checkRoles(c *config.Config, roles []string) error {
	for _, r := range roles {
		if !slices.Contains(Roles(), r) {
			return fmt.Errorf("role %q: want ingest, detect or respond", r)
		}
	}
	if len(roles) < len(Roles()) && c.NATS.URL == "" {
		return errors.New("roles can only be apart with nats.url: the embedded store belongs to one process")
	}
	if slices.Contains(roles, RoleIngest) && len(c.Source.SLS) == 0 {
		return errNoSource
	}
	return nil
}

// stateDir makes the folder of the state, and warns of one that others can get into.
func (a *App) stateDir() error {
	dir := a.cfg.StateDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: state_dir: %w", ErrUnusable, err)
	}
	if st, err := os.Stat(dir); err == nil && st.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" { // where it says nothing
		a.log.Warn("state_dir is open to other users of this machine: it holds audit records and the socket that approves containment; end that with chmod 0700",
			"state_dir", dir, "mode", fmt.Sprintf("%04o", st.Mode().Perm()))
	}
	return nil
}

// detect lets the pipeline evaluate, by the rules in force.
func (a *App) detect(pc *pipeline.Config) error {
	pc.Detect = true
	if a.cfg.Detect.RAM.Enabled {
		r, client, err := inventoryOf(a.cfg, a.reader, a.judges, a.log)
		if err != nil {
			return fmt.Errorf("%w: detect.ram: %w", ErrUnusable, err)
		}
		a.inventory = r
		a.closers = append(a.closers, client.Close)
	}
	in := a.ruling(a.Rules())
	pc.Worker = pipeline.WorkerConfig{
		NewEngine:  in.NewEngine,
		NewGrouper: func() pipeline.Grouper { return alert.NewGrouper(alert.GrouperConfig{}) },
		Tracer:     a.tracer,
		Rules:      in.Rules,
		Owner:      owner(),
	}
	return nil
}

// makeSources makes the readers of logstores, and that of leaked keys.
func (a *App) makeSources() error {
	var origins []source.Origin
	for _, s := range a.cfg.Source.SLS {
		src, err := a.source(s, a.reader)
		if err != nil {
			return fmt.Errorf("source %s/%s: %w", s.Project, s.Logstore, err)
		}
		a.sources = append(a.sources, src)
		origins = append(origins, src)
	}
	a.pipe.SetOrigins(origins)
	every := a.cfg.Detect.RAM.Leaks.Std()
	if every <= 0 {
		return nil
	}
	client, err := readsRAM(a.cfg, a.reader)
	if err != nil {
		return fmt.Errorf("detect.ram: %w", err)
	}
	a.closers = append(a.closers, client.Close)
	a.leaks = &leakReader{ram: client, accounts: a.cfg.Detect.RAM.Accounts, every: max(every, time.Minute), sink: a.pipe.Sink(), log: a.log, now: time.Now}
	return nil
}

func credOf(c config.Credentials) cred.Config {
	return cred.Config{AccessKeyID: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret.Reveal(), SecurityToken: c.SecurityToken.Reveal()}
}

// owner names this process in records.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

func slsConfig(s config.SLS) sls.Config {
	cfg := sls.Config{Endpoint: s.Endpoint, Project: s.Project, Logstore: s.Logstore, Group: s.Group, Consumer: s.Consumer, Start: sls.Start(s.Start)}
	if s.AuthV4 {
		cfg.Region = s.Region
	}
	if t, err := time.Parse(time.RFC3339, s.Start); err == nil {
		cfg.Start, cfg.StartTime = sls.StartTime, t
	}
	return cfg
}

func (a *App) source(s config.SLS, reader *cred.Provider) (*sls.Source, error) {
	name := "sls/" + s.Project + "/" + s.Logstore
	cfg := slsConfig(s)
	if !a.bus.Embedded() {
		// Several processes of one host may share the store, each with a folder of
		// its own, which is the same after a restart.
		dir, err := filepath.Abs(a.cfg.StateDir)
		if err != nil {
			return nil, err
		}
		h := fnv.New32a()
		_, _ = h.Write([]byte(dir)) // never fails
		cfg.Instance = strconv.FormatUint(uint64(h.Sum32()), 36)
	}
	return sls.New(cfg, a.pipe.Sink(), sls.Options{Logger: a.log, Credentials: reader, Alarm: func(al sls.Alarm) {
		if r, yes := alarmed(name, s.Group, al, time.Now()); yes {
			a.pipe.Raise(r)
		}
	}})
}

// withheld keeps back what is found on events before until, which only teach
// what is normal, and what is found on our own containment: taking a policy away
// looks like an attack. Only the calls that actions make are left out, only of
// the identities that the list own_principals names, and the rule self.own_call
// is not: a call that no action asked for is told. So nothing is withheld that
// this rule does not see: a namesake of such a call of another service, whoever
// is like one of ours only by Unicode. It returns nil when there is nothing to
// withhold.
func withheld(until time.Time, ours []string) func(*event.Event, *alert.Detection) (string, bool) {
	if until.IsZero() && len(ours) == 0 {
		return nil
	}
	return func(ev *event.Event, d *alert.Detection) (string, bool) {
		if d.Time.Before(until) {
			return "before detect.learn_until", true
		}
		if ev == nil || d.Rule == responders.RuleOwnCall || ev.Outcome != event.Success || !responders.OwnEvent(ev.Name) || !slices.Contains(ownActions, ev.Action) {
			return "", false
		}
		id, name := strings.ToLower(ev.Actor.ID), strings.ToLower(ev.Actor.Name) // as lists compare
		for _, p := range ours {
			if p = strings.ToLower(p); p != "" && (p == id || p == name) {
				return "our own containment", true
			}
		}
		return "", false
	}
}

// ownActions are those that the rule self.own_call sees.
var ownActions = []event.Action{
	event.ActIAMAccessKeyUpdate, event.ActIAMAccessKeyPolicySet, event.ActIAMLoginProfileUpdate, event.ActIAMPolicyCreate, event.ActIAMPolicyDelete,
	event.ActIAMPolicyAttach, event.ActIAMPolicyDetach, event.ActIAMPolicyVersionSetDefault, event.ActIAMRoleUpdate, event.ActIAMGroupAddUser,
	event.ActIAMGroupRemoveUser, event.ActTrailStart, event.ActTrailStop,
}

// tellsOwnCalls says whether the rule is on that tells of our own calls.
func tellsOwnCalls(set *rules.Set) bool {
	for _, r := range set.List() {
		if r.ID == responders.RuleOwnCall {
			return r.Status == "on"
		}
	}
	return false
}

// respond makes the machine, the dispatcher and the destinations.
func (a *App) respond(ctx context.Context, extra []responders.Destination) error {
	c := a.cfg
	j, err := journal.OpenJetStream(ctx, a.bus.JetStream(), journal.Options{})
	if err != nil {
		return fmt.Errorf("action journal: %w", err)
	}
	if a.audit, err = journal.OpenAudit(ctx, j, a.log); err != nil {
		return err
	}
	a.bus.Audited()
	mo := responders.MachineOptions{Journal: j, Guards: c.Respond.Guards, Units: c.Units, Production: a.production, Approvers: c.Respond.Approvers,
		MaxMode: c.Respond.Mode, UndoFor: c.Respond.Undo.Std(), Tracer: a.tracer, Log: a.log}
	if tellsOwnCalls(a.Rules()) {
		mo.ConfirmWithin = c.Respond.Confirm.Std()
	}
	if a.bus.Embedded() {
		// The store's lock keeps a second process out, so what a dead
		// predecessor left is ours at once.
		mo.Owner = "embedded"
	}
	if err := a.executors(&mo); err != nil {
		return fmt.Errorf("%w: respond.ram: %w", ErrUnusable, err)
	}
	playbooks := responders.MergePlaybooks(responders.DefaultPlaybooks(), c.Respond.Playbooks)
	mo.Playbooks = playbooks
	if a.machine, err = responders.NewMachine(mo); err != nil {
		return fmt.Errorf("%w: respond: %w", ErrUnusable, err)
	}
	kinds := a.machine.Kinds()
	if len(kinds) == 0 {
		kinds = nil // without executors nothing is done, whatever a playbook says
	}
	if err := responders.ValidatePlaybooks(playbooks, c.Respond.Approvers, kinds); err != nil {
		return fmt.Errorf("%w: respond: %w", ErrUnusable, err)
	}
	dests := slices.Clone(extra)
	configured, err := a.destinations()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	dests = append(dests, configured...)
	tree, err := c.Notify.Tree()
	if err != nil {
		return fmt.Errorf("%w: notify: %w", ErrUnusable, err)
	}
	if s := a.logstore(); s != nil && !strings.HasPrefix(s.Endpoint, "http://") { // not the fake cloud
		a.raw = rawLink(s)
	}
	a.dispatcher, err = responders.NewDispatcher(responders.DispatcherOptions{Journal: j, Machine: a.machine, Playbooks: playbooks,
		Destinations: dests, Accounts: c.Accounts, Units: c.Units, Keys: a.keys, Routes: tree, Link: linkTo(c.Console.BaseURL), Raw: a.raw, Ask: c.Respond.Ask, Tracer: a.tracer, Log: a.log})
	if err != nil {
		return fmt.Errorf("%w: respond: %w", ErrUnusable, err)
	}
	return nil
}

// Check says what New would refuse, and what will not do what its author may
// believe, without opening the store or calling anything.
func Check(c *config.Config) ([]string, error) {
	var errs []error
	set, err := RulesOf(c).Load()
	if err != nil {
		errs = append(errs, fmt.Errorf("the rules cannot be used:\n%w", err))
	}
	if len(c.Source.SLS) == 0 && c.NATS.URL == "" { // no other process can read for this one
		errs = append(errs, errNoSource)
	}
	for i, s := range c.Source.SLS {
		if err := slsConfig(s).Validate(); err != nil {
			errs = append(errs, fmt.Errorf("source.sls[%d]: %w", i, err))
		}
	}
	kinds := responders.Kinds()
	if !c.Respond.RAM.Enabled {
		kinds = nil // nothing is done, whatever a playbook says
	}
	if err := responders.ValidatePlaybooks(responders.MergePlaybooks(responders.DefaultPlaybooks(), c.Respond.Playbooks), c.Respond.Approvers, kinds); err != nil {
		errs = append(errs, fmt.Errorf("respond: %w", err))
	}
	return warnings(c, set), errors.Join(errs...)
}

// warnings says what will not do what its author may believe. Without a set nothing
// is said of rules.
func warnings(c *config.Config, set *rules.Set) (out []string) {
	if len(c.Source.SLS) == 0 && c.NATS.URL != "" {
		out = append(out, "source.sls is empty: run starts only with a --role that does not read (detect, respond)")
	}
	for _, at := range c.Written() {
		out = append(out, at+" stands in the file, and so in every copy and backup of it: write ${ENV} or ${file:…}")
	}
	if dir := filepath.Join(c.StateDir, "store"); c.NATS.URL != "" {
		if layout, _ := bus.StoreLayout(dir); layout != "" {
			out = append(out, fmt.Sprintf("nats.url is set, and what the embedded store in %s holds (positions, alerts, the journal with its undo) is not in that cluster: move it (deploy/UPGRADING.md), or move the folder away", dir))
		}
	}
	if len(c.Notify.Destinations()) == 0 {
		out = append(out, "notify is empty: nobody is told")
	}
	playbooks := responders.MergePlaybooks(responders.DefaultPlaybooks(), c.Respond.Playbooks)
	if set != nil {
		for _, dir := range set.Empty() {
			out = append(out, "detect."+dir.Key+": "+dir.String())
		}
		out = append(out, unanswered(c.Respond.Playbooks, playbooks, set.List())...)
	}
	acts := false
	for _, p := range playbooks {
		acts = acts || p.Mode == responders.Auto || p.Mode == responders.Approve
	}
	switch {
	case c.Respond.Mode != responders.Observe && !acts:
		out = append(out, fmt.Sprintf("respond.mode is %s, but every playbook only observes: nothing will be contained (for example: playbooks: [{name: leaked-key, mode: auto}])", c.Respond.Mode))
	case c.Respond.Mode == responders.Observe && len(c.Respond.Playbooks) > 0 && acts:
		out = append(out, "respond.mode is observe and bounds every playbook: nothing will be contained")
	case c.Respond.Mode != responders.Observe && !c.Respond.RAM.Enabled:
		out = append(out, "respond.ram.enabled is false: nothing in the cloud can be changed")
	}
	if t := c.Respond.Guards.TwoPerson; (t.Production || len(t.Accounts)+len(t.Units) > 0) && len(c.Respond.Approvers) < 2 {
		out = append(out, "respond.guards.two_person wants two people, and fewer are listed under respond.approvers: nothing can be approved there")
	}
	return out
}

// unanswered says which rules ask for a playbook that there is not, and which of the
// configured playbooks name rules that there are not. The program's own alerts (self.…)
// are of no file.
func unanswered(configured, all []responders.Playbook, infos []rules.Info) (out []string) {
	for _, r := range infos {
		if r.Playbook != "" && !slices.ContainsFunc(all, func(p responders.Playbook) bool { return p.Name == r.Playbook }) {
			out = append(out, fmt.Sprintf("rule %s: respond: there is no playbook %s: nothing is proposed for its alerts", r.ID, r.Playbook))
		}
	}
	for i, p := range configured {
		for _, name := range p.When.Rules {
			if !strings.HasPrefix(name, "self.") && !slices.ContainsFunc(infos, func(r rules.Info) bool { return responders.Takes([]string{name}, r.ID) }) {
				out = append(out, fmt.Sprintf("respond.playbooks[%d].when.rules: there is no rule %s (see: trailwarden rules list)", i, name))
			}
		}
	}
	return out
}

// drainFor is how long what was read and stored is worked off after the end was asked
// for at asked, the sources' own drain included: the program ends within 10 s, which
// its supervisors and people count on, and the next start goes on where this one is.
const drainFor = 8 * time.Second

// drainUntil is when working off ends, when the sources have stopped at now: where they
// took all of the time, still a moment later, for what needs no more.
func drainUntil(asked, now time.Time) time.Time {
	end := asked.Add(drainFor)
	if least := now.Add(time.Second); least.After(end) {
		return least
	}
	return end
}

// startResponders starts what hears of alerts.
func (a *App) startResponders(ctx context.Context, start func(name string, fn func() error)) {
	if a.dispatcher != nil {
		start("audit log", func() error { a.keepAudit(ctx); return nil })
		// The dispatcher runs the machine too.
		start("responders", func() error { return a.dispatcher.Run(ctx) })
		for _, l := range a.listeners {
			start("buttons of "+l.name, func() error {
				if err := l.run(ctx); err != nil {
					// Alerts still go out, and the command line can approve.
					a.log.Error("buttons do not work; approve on the command line", "destination", l.name, "error", err)
				}
				return nil
			})
		}
	}
	if a.console != nil {
		start("console", func() error { a.feedConsole(ctx); return nil })
	}
}

// startSources starts what reads: logstores, the cloud's facts, and the files of rules.
func (a *App) startSources(ctx context.Context, start func(name string, fn func() error)) {
	if a.inventory != nil {
		start("reader of permissions", func() error { a.inventory.run(ctx); return nil })
	}
	if a.leaks != nil {
		start("reader of leaked keys", func() error { a.leaks.run(ctx); return nil })
	}
	start("reader of rules", func() error { a.watchRules(ctx); return nil })
	for _, s := range a.sources {
		start(s.Name(), func() error { return s.Run(ctx) })
	}
	if len(a.sources) > 0 {
		start("watch over the sources", func() error { a.watch(ctx); return nil })
	}
}

// Run works until ctx ends, then drains: no more pages are taken, what is
// stored is evaluated and handed on, and everything is closed. An error is a
// part that could not go on.
func (a *App) Run(ctx context.Context) error {
	defer a.unlock()
	defer a.bus.Close()
	for _, c := range a.closers {
		defer c()
	}
	// Layers stop one after another, from the source to the responders.
	srcCtx, stopSources := context.WithCancel(ctx)
	defer stopSources()
	lasting := context.WithoutCancel(ctx)
	pipeCtx, stopPipe := context.WithCancel(lasting)
	defer stopPipe()
	respCtx, stopResp := context.WithCancel(lasting)
	defer stopResp()

	failed := make(chan error, 16)
	start := func(wg *sync.WaitGroup, name string, fn func() error) {
		wg.Go(func() {
			if err := fn(); err != nil && !errors.Is(err, context.Canceled) {
				select {
				case failed <- fmt.Errorf("%s: %w", name, err):
				default: // the first few say enough
				}
			}
		})
	}
	adm, err := admin.Serve(a.cfg.StateDir, a)
	if err != nil {
		return err
	}
	defer adm.Close()
	web, err := a.serveHTTP()
	if err != nil {
		return err
	}
	defer web()
	if a.console != nil {
		if err := a.console.Start(); err != nil {
			return err
		}
		defer a.console.Close()
		a.log.Info("the console is served", "url", a.console.URL(), "sign_in", a.cfg.Console.Auth.Mode)
	}

	var resp, pipe, src sync.WaitGroup
	a.startResponders(respCtx, func(name string, fn func() error) { start(&resp, name, fn) })
	start(&pipe, "pipeline", func() error { return a.pipe.Run(pipeCtx) })
	a.startSources(srcCtx, func(name string, fn func() error) { start(&src, name, fn) })
	a.keepRules()
	a.log.Info("running", "rules", a.Rules().Len(), "pack", a.Rules().Stamp(), "sources", len(a.sources), "partitions", a.bus.Partitions(), "mode", string(a.cfg.Respond.Mode))

	for _, w := range warnings(a.cfg, a.Rules()) {
		a.log.Warn("configuration", "warning", w)
	}
	// Compiling the rules takes several times the memory that running does; the
	// runtime would keep it for hours.
	debug.FreeOSMemory()

	stopping := notify(lasting, a.log, a.Status)
	var first error
	select {
	case <-ctx.Done():
	case first = <-failed:
	}
	stopping()
	asked := time.Now()
	stopSources()
	src.Wait()
	drain, cancel := context.WithDeadline(lasting, drainUntil(asked, time.Now()))
	if err := a.pipe.Close(drain); err != nil {
		a.log.Warn("the pipeline was stopped before it had drained; nothing is lost, the next start goes on there", "error", err)
	}
	cancel()
	stopPipe()
	pipe.Wait()
	stopResp()
	resp.Wait()
	if first == nil {
		select {
		case first = <-failed:
		default:
		}
	}
	a.log.Info("stopped")
	return first
}
