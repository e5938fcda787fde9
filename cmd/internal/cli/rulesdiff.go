package cli

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

// change is one alert that only one of two rule sets makes, or both make
// differently.
type change struct {
	Kind   string       `json:"change"` // "added", "removed", "changed"
	Fields []string     `json:"fields,omitempty"`
	Old    *alert.Alert `json:"old,omitempty"`
	New    *alert.Alert `json:"new,omitempty"`

	like int // how many of its kind and rule there are, if it is the first
}

// like counts changes of one kind and rule at the first of them, and how many of
// these there are.
func like(changes []change) (kinds int) {
	at := map[string]int{}
	for i := range changes {
		k := changes[i].Kind + changes[i].of().Rule
		if at[k] == 0 {
			at[k] = i + 1
		}
		changes[at[k]-1].like++
	}
	return len(at)
}

func (c *change) of() *alert.Alert {
	if c.New != nil {
		return c.New
	}
	return c.Old
}

// diffFlags are the flags of rules diff.
type diffFlags struct {
	hf           historyFlags
	rf           ruleFlags
	dir          string    // of A..B
	revs         [2]string // of A..B, each with the folder as git names it; empty where it is a folder
	out, outFile string
}

func rulesDiff(e *env) *cobra.Command {
	var f diffFlags
	c := &cobra.Command{Use: "diff [flags] OLD NEW SOURCE... | diff [flags] --rules DIR A..B SOURCE...", Short: "What a change of rules would change in what recorded events give",
		Long: `rules diff replays the same history through two sets of rules and shows the alerts
that only one of them makes, or both make differently. OLD and NEW are a folder of
rule files or one file, each together with the shipped rules (a rule with the id of a
shipped one stands in its place); "pack" is the shipped rules alone. With A..B they are
the folder of --rules at two revisions of its git repository; without B, as it is now.
The exit code is 1 when anything differs, so that a change of rules can be reviewed by what it does,
and when a file was not read to its end or no event was evaluated, since then nothing is known.
Ctrl-C ends with what both sides had evaluated by then; the old side is evaluated first, so
that in the first half of the time this is nothing.
SOURCE is what replay reads. What comes from a service or from standard input is read once,
into files, and both sets of rules are evaluated on these. Lists, owners and networks
are those of the configuration and of the flags, for both sides; exceptions are those
of the flags alone.`,
		Example: "  trailwarden rules diff pack my-rules/ archive/\n  trailwarden rules diff -o github main/rules branch/rules archive/\n  trailwarden rules diff --rules my-rules/ -o github origin/main..HEAD archive/\n  trailwarden rules diff --from 90d pack my-rules/ sls://PROJECT/LOGSTORE",
		Args:    args(2, -1, "two sets of rules, or A..B, and at least one file or folder"),
		RunE:    func(c *cobra.Command, a []string) error { return f.run(c.Context(), e, a) }}
	f.hf.add(c)
	f.rf.addShared(c)
	c.Flags().StringVar(&f.dir, "rules", "", "with A..B: the folder of a git repository that holds the rules")
	c.Flags().StringVarP(&f.out, "output", "o", "table", "output: table, json, junit, github")
	c.Flags().StringVar(&f.outFile, "out", "", "file for the output (default: standard output)")
	return c
}

// sideNames are the folders below that of --resume, as each side has a way of its own.
var sideNames = [2]string{"old", "new"}

func (f *diffFlags) run(ctx context.Context, e *env, a []string) error {
	if err := checkOutput(f.out, "table", "json", "junit", "github"); err != nil {
		return err
	}
	a, clean, err := f.twoSets(ctx, e, a)
	defer clean()
	if err != nil {
		return err
	}
	if len(a) < 3 {
		return usagef("want two sets of rules, or A..B, and at least one file or folder")
	}
	if f.rf.noPack && (a[0] == "pack" || a[1] == "pack") {
		return usagef("--no-pack leaves nothing of \"pack\"")
	}
	if err := canWrite(e, a[2:], f.outFile); err != nil {
		return err
	}
	base, err := f.rf.both(e)
	if err != nil {
		return err
	}
	sets := [2]*rules.Set{}
	for i := range sets { // before hours of reading
		if sets[i], err = ruleSide(a[i], f.revs[i], base); err != nil {
			return err
		}
		tellEmpty(e, sets[i], f.revs[i], i > 0) // what both have is said once
	}
	bounds, err := f.hf.config(e, sets[0], time.Now())
	if err != nil {
		return err
	}
	way, now := f.hf.resume, f.hf.at // both sides are of the same time
	if way != "" {
		for _, side := range sideNames {
			f.hf.resume = filepath.Join(way, side)
			if _, err := f.hf.began(e, now); err != nil {
				return err
			}
		}
		f.hf.resume = way
	}
	names, unspool, err := f.hf.spooled(ctx, e, a[2:])
	defer unspool()
	if err != nil {
		return err
	}
	paths, clean, err := f.hf.sources(ctx, e, f.rf.config, warmFrom(&bounds), bounds.To, names)
	defer clean()
	if err != nil || f.hf.estimate {
		return err
	}
	before := stampsOf(paths, &bounds.Options)
	both, err := f.runBoth(ctx, e, sets, paths, way, now)
	if err != nil {
		return err
	}
	if path := before.changed(); path != "" {
		return exit(exitUsage, fmt.Errorf("rules diff: %s was written to between the two sets of rules, so what differs is not theirs: compare over a copy", text.Line(path)))
	}
	if err := both.judge(&bounds); err != nil {
		return err
	}
	changes := compareAlerts(both.alerts[0], both.alerts[1])
	both.kinds = like(changes)
	write := map[string]func(io.Writer, []change, string) error{"table": changesTable, "json": func(w io.Writer, c []change, _ string) error { return printJSON(w, append([]change{}, c...)) },
		"junit": changesJUnit, "github": changesGitHub}[f.out]
	unwritten := toFile(e, f.outFile, func(w io.Writer) error { return write(w, changes, both.unsure) })
	if way != "" && !both.stopped && unwritten == nil {
		for _, side := range []string{sideNames[0], sideNames[1], ""} {
			f.hf.resume = filepath.Join(way, side)
			f.hf.finished(e)
		}
	}
	if !f.hf.quiet {
		both.summarize(e, changes)
	}
	if failed := failures(both.res().Stats); failed != "" {
		fmt.Fprintln(e.err, strings.TrimPrefix(failed, "\n"))
	}
	switch {
	case unwritten != nil:
		return f.hf.lost("the result", unwritten)
	case both.stopped:
		fmt.Fprintln(e.err, both.unsure+"; what was not read is named above; "+f.hf.hint())
		return exit(exitInterrupted, nil)
	case both.nothing:
		fmt.Fprintln(e.err, both.unsure)
	}
	if both.unsure != "" || len(changes) > 0 {
		return exit(exitFindings, nil)
	}
	return nil
}

// twoSets puts two folders in the place of A..B. done removes them; it is never
// nil.
func (f *diffFlags) twoSets(ctx context.Context, e *env, a []string) (args []string, done func(), err error) {
	var cleans []func()
	done = func() {
		for _, clean := range cleans {
			clean()
		}
	}
	old, new, ok := strings.Cut(a[0], "..")
	switch {
	case !ok || exists(a[0]):
		if f.dir != "" {
			return nil, done, usagef("--rules is for revisions, A..B; two folders are named one after the other")
		}
		return a, done, nil
	case f.dir == "":
		return nil, done, usagef("%s: say with --rules which folder of the repository holds the rules", text.Terminal(a[0]))
	}
	for i, rev := range []string{old, new} {
		if rev != "" {
			f.revs[i] = rev + ":" + f.dir
		}
		side, clean, err := ruleRevision(ctx, f.dir, rev)
		cleans = append(cleans, clean)
		if err != nil {
			return nil, done, err
		}
		if side == "pack" {
			if len(args) > 0 && args[0] == "pack" {
				return nil, done, usagef("there is no folder %s, at neither revision", text.Terminal(f.dir))
			}
			fmt.Fprintf(e.err, "%s: there is no folder %s then, so that this side is the shipped rules alone\n", text.Terminal(rev), text.Terminal(f.dir))
		}
		args = append(args, side)
	}
	return append(args, a[1:]...), done, nil
}

// comparison is what two sets of rules gave of the same history.
type comparison struct {
	results [2]replay.Result
	alerts  [2][]alert.Alert
	last    int // the side that was evaluated last
	stopped bool
	kinds   int // of changes

	unsure  string // why the comparison does not say all; empty where it does
	nothing bool   // since no event was evaluated
}

// res is the result of the side that was evaluated last.
func (b *comparison) res() *replay.Result { return &b.results[b.last] }

// runBoth replays the same history through both sets, one after the other. Stopped
// on the way, it returns what there is.
func (f *diffFlags) runBoth(ctx context.Context, e *env, sets [2]*rules.Set, paths []string, way string, now time.Time) (*comparison, error) {
	b := new(comparison)
	for i := 0; i < len(sets) && !b.stopped; i++ {
		if way != "" {
			f.hf.resume = filepath.Join(way, sideNames[i])
		}
		cfg, err := f.hf.config(e, sets[i], now)
		if err != nil {
			return nil, err
		}
		b.last = i
		b.results[i], err = replay.Run(ctx, paths, cfg)
		f.hf.done(e, &cfg)
		if b.stopped = errors.Is(err, context.Canceled); b.stopped {
			err = nil
		}
		if err == nil {
			b.alerts[i], err = b.results[i].AllAlerts()
		}
		b.results[i].Close()
		if err != nil {
			return nil, exit(exitUsage, fmt.Errorf("rules diff: %w%s", err, failures(b.results[i].Stats)))
		}
	}
	return b, nil
}

// judge finds out what the comparison is worth, and leaves out what cannot be
// compared. The error says that it is worth nothing.
func (b *comparison) judge(cfg *replay.RunConfig) error {
	first, st := &b.results[0].Stats, &b.res().Stats
	switch {
	case b.stopped:
		b.unsure = together(&b.alerts, b.last, st, cfg.Engine.Grace)
		if b.last > 0 && first.Late > 0 {
			b.unsure += fmt.Sprintf("; what differs may be of %s that %s far out of order", plural(first.Late, "event"), isAre(first.Late))
		}
	case !sameHistory(first, st):
		return exit(exitUsage, fmt.Errorf("rules diff: what is read changed between the two sets of rules (%s, then %s), so what differs is not theirs: compare over a copy",
			plural(int(first.Records), "record"), plural(int(st.Records), "record")))
	case !evaluated(b.res(), cfg):
		b.unsure, b.nothing = nothingEvaluated(st), true
	case len(st.FilesFailed) > 0:
		b.unsure = notRead(st)
	}
	return nil
}

// summarize says how much was compared and how much differs.
func (b *comparison) summarize(e *env, changes []change) {
	n := map[string]int{}
	for _, c := range changes {
		n[c.Kind]++
	}
	st := &b.res().Stats
	fmt.Fprintf(e.err, "%s; %s before, %d after: %d added, %d removed, %d changed\n",
		plural(st.Events, "event"), plural(len(b.alerts[0]), "alert"), len(b.alerts[1]), n["added"], n["removed"], n["changed"])
	if b.kinds < len(changes) {
		for i := range changes {
			if c := &changes[i]; c.like > 0 {
				fmt.Fprintf(e.err, "  %s: %d %s\n", c.of().Rule, c.like, c.Kind)
			}
		}
	}
	fmt.Fprintf(e.err, "%s%s\n%s", filesRead(st), parked(st), ignored(st)+parkedAt(st))
	for _, l := range coverageLines(b.res().Coverage, 5) {
		fmt.Fprintln(e.err, l)
	}
}

// spooled puts standard input, which can be read only once, into a file. done
// removes it; it is never nil.
func (h *historyFlags) spooled(ctx context.Context, e *env, names []string) (paths []string, done func(), err error) {
	done = func() {}
	if h.estimate || !slices.Contains(names, "-") {
		return names, done, nil
	}
	dir, hint := filepath.Join(h.resume, resumeSources), "make room there, or name another folder with --resume"
	if h.resume != "" {
		err = os.MkdirAll(dir, 0o700)
	} else {
		dir, err = os.MkdirTemp("", "trailwarden-stdin-")
		done, hint = func() { _ = os.RemoveAll(dir) }, "make room there, or name another folder with TMPDIR"
	}
	path := filepath.Join(dir, "standard-input")
	if err == nil {
		err = writeWhole(path, func(w *bufio.Writer) error {
			_, err := io.Copy(w, replay.Patient(ctx, e.in))
			return err
		})
	}
	if ctx.Err() != nil {
		fmt.Fprintln(e.err, "interrupted while reading standard input")
		return nil, done, exit(exitInterrupted, nil)
	}
	if err != nil {
		return nil, done, exit(exitUsage, fmt.Errorf("standard input is read twice, and could not be put into a file: %w; %s", err, hint))
	}
	for _, name := range names {
		if name == "-" {
			name = path
		}
		paths = append(paths, name) // the same name twice is read once
	}
	return paths, done, nil
}

// sameHistory says that two runs read the same: none of this depends on rules.
func sameHistory(a, b *replay.Stats) bool {
	return a.Records == b.Records && a.Events == b.Events && a.Duplicates == b.Duplicates && a.Parked == b.Parked && a.Filtered == b.Filtered &&
		a.FilesRead == b.FilesRead && slices.Equal(a.FilesFailed, b.FilesFailed) && a.FilesIgnored == b.FilesIgnored
}

// together leaves of a comparison that was stopped the alerts that were over on both
// sides by then, and says what that is. The old side was evaluated to its end,
// unless it was the one that was stopped; the new side, so far with st, has all
// events that are older than its last one by the grace, but for those that are far
// out of order. What went on after that is not as it was then, on one side.
func together(alerts *[2][]alert.Alert, stopped int, st *replay.Stats, grace time.Duration) (unsure string) {
	if stopped == 0 || st.LastEvent == nil {
		*alerts = [2][]alert.Alert{}
		return "interrupted before NEW was evaluated: nothing is compared"
	}
	until := st.LastEvent.Add(-grace)
	open := map[string]bool{}
	for _, side := range alerts {
		for i := range side {
			if side[i].LastAt.After(until) {
				open[side[i].ID] = true
			}
		}
	}
	for i := range alerts {
		alerts[i] = lists.Keep(alerts[i], func(a *alert.Alert) bool { return !open[a.ID] })
	}
	return "interrupted: compared is only what was over on both sides by " + stamp(until)
}

// stamps are size and time of files, by path.
type stamps map[string]stampOf

type stampOf struct {
	size int64
	at   time.Time
}

// stampsOf looks at the files that are about to be read.
func stampsOf(paths []string, o *replay.Options) stamps {
	in, _ := replay.Open(paths, *o) // what is wrong with it is for the run to say
	out := stamps{}
	for _, path := range in.Paths() {
		if st, err := os.Lstat(path); err == nil {
			out[path] = stampOf{st.Size(), st.ModTime()}
		}
	}
	return out
}

// changed is the first file that is not as it was; empty when all are.
func (s stamps) changed() string {
	for _, path := range slices.Sorted(maps.Keys(s)) {
		if st, err := os.Lstat(path); err != nil || st.Size() != s[path].size || !st.ModTime().Equal(s[path].at) {
			return path
		}
	}
	return ""
}

// maxRuleFiles bounds what is taken from a revision, in bytes.
const maxRuleFiles = 64 << 20

// ruleRevision is a folder of rules as it was at a revision, or as it is now
// when rev is empty; "pack" where there was none, as before the first rule. clean
// removes it; it is never nil.
func ruleRevision(ctx context.Context, dir, rev string) (path string, clean func(), err error) {
	clean = func() {}
	if rev == "" {
		if dir == "pack" {
			dir = "./pack" // the folder
		}
		return dir, clean, nil
	}
	if strings.HasPrefix(rev, "-") {
		return "", clean, usagef("%q is no revision", rev)
	}
	if path, err = os.MkdirTemp("", "trailwarden-rules-"); err != nil {
		return "", clean, exit(exitUsage, fmt.Errorf("the rules of %s at %s: %w", text.Terminal(dir), text.Terminal(rev), fullDisk(err, os.TempDir(), "TMPDIR")))
	}
	made := path // which an error leaves empty
	clean = func() { _ = os.RemoveAll(made) }
	// The folder may be gone by now: what is above it names it.
	at, tree := dir, ""
	for st, err := os.Stat(at); (err != nil || !st.IsDir()) && at != filepath.Dir(at); st, err = os.Stat(at) {
		at, tree = filepath.Dir(at), filepath.Join(filepath.Base(at), tree)
	}
	tree = rev + ":./" + filepath.ToSlash(tree)
	find := exec.CommandContext(ctx, "git", "-C", at, "rev-parse", "--absolute-git-dir", tree)
	found, err := find.Output()
	repo, id, _ := strings.Cut(strings.TrimSpace(string(found)), "\n")
	var no *exec.ExitError
	switch {
	case err == nil:
	case !errors.As(err, &no):
		return "", clean, exit(exitUsage, fmt.Errorf("git cannot be run for %s: %w", text.Terminal(rev), err))
	case repo != "" && exec.CommandContext(ctx, "git", "-C", at, "rev-parse", "--quiet", "--verify", rev+"^{tree}").Run() == nil:
		return "pack", clean, nil
	default:
		return "", clean, exit(exitUsage, fmt.Errorf("the rules of %s at %s cannot be had: %s", text.Terminal(dir), text.Terminal(rev), text.Terminal(strings.TrimSpace(string(no.Stderr)))))
	}
	// From outside of the folder: git looks in a tree for the one that it is called in.
	git := exec.CommandContext(ctx, "git", "--git-dir", repo, "archive", "--format=tar", id)
	git.Dir = path
	var said bytes.Buffer
	git.Stderr = &said
	out, err := git.StdoutPipe()
	if err == nil {
		err = git.Start()
	}
	if err != nil {
		return "", clean, exit(exitUsage, fmt.Errorf("git cannot be run for %s: %w", text.Terminal(rev), err))
	}
	err = untarRules(io.LimitReader(out, maxRuleFiles), path)
	_, _ = io.Copy(io.Discard, out) // so that git ends
	if failed := git.Wait(); failed != nil {
		return "", clean, exit(exitUsage, fmt.Errorf("the rules of %s at %s cannot be had: %s", text.Terminal(dir), text.Terminal(rev), text.Terminal(strings.TrimSpace(said.String()))))
	}
	if err != nil {
		return "", clean, exit(exitUsage, fmt.Errorf("the rules of %s at %s: %w", text.Terminal(dir), text.Terminal(rev), fullDisk(err, os.TempDir(), "TMPDIR")))
	}
	return path, clean, nil
}

// untarRules writes the regular files of a tar archive into dir.
func untarRules(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is written through it any more
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name := filepath.FromSlash(h.Name)
		if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		data, err := io.ReadAll(tr)
		if err == nil {
			err = root.WriteFile(name, data, 0o600)
		}
		if err != nil {
			return err
		}
	}
}

// both is what the two sides share: lists, owners and networks, which rules ask for,
// also those of a configuration; and the exceptions that are named. Those of the
// configuration are of the rules that run, which neither side has to be.
func (f *ruleFlags) both(e *env) (app.Rules, error) {
	r := app.Rules{Pack: !f.noPack, AllowFewTests: true}
	if path := configPath(e, f.config); f.config != "" || exists(path) {
		cfg, err := loadConfig(e, f.config)
		if err != nil {
			return r, err
		}
		of := app.RulesOf(cfg)
		r.Lists, r.ListDirs, r.Owners, r.GeoCountry, r.GeoASN = of.Lists, of.ListDirs, of.Owners, of.GeoCountry, of.GeoASN
	}
	r.Exceptions, r.ListDirs, r.Owners = f.except, slices.Concat(r.ListDirs, f.lists), slices.Concat(r.Owners, f.owners)
	return r, nil
}

// ruleSide loads one side's rules. Errors tell the place under another name, if
// it has one.
func ruleSide(where, name string, r app.Rules) (*rules.Set, error) {
	if where != "pack" {
		r.Dirs = []string{where}
	}
	set, err := r.Load()
	if err != nil {
		said := err.Error()
		if name != "" { // where it is now is gone when this is read
			said, where = strings.ReplaceAll(said, where, name), name
		}
		return nil, exit(exitUsage, fmt.Errorf("the rules of %s cannot be used:\n%s", where, said))
	}
	return set, nil
}

// compareAlerts matches alerts by id, which depends on the rule, what it is
// about and when; both lists and the result are in the order of (time, rule,
// id).
func compareAlerts(before, after []alert.Alert) []change {
	old := make(map[string]*alert.Alert, len(before))
	for i := range before {
		old[before[i].ID] = &before[i]
	}
	var out []change
	for i := range after {
		b, n := old[after[i].ID], &after[i]
		if b == nil {
			out = append(out, change{Kind: "added", New: n})
			continue
		}
		delete(old, n.ID)
		if fields := differing(b, n); len(fields) > 0 {
			out = append(out, change{Kind: "changed", Fields: fields, Old: b, New: n})
		}
	}
	for i := range before {
		if old[before[i].ID] != nil {
			out = append(out, change{Kind: "removed", Old: &before[i]})
		}
	}
	lists.Sort(out, func(a, b change) int {
		x, y := a.of(), b.of()
		if c := x.Time.Compare(y.Time); c != 0 {
			return c
		}
		return strings.Compare(x.Rule+"\x00"+x.ID, y.Rule+"\x00"+y.ID)
	})
	return out
}

// differing names the members of the alerts' JSON form that differ.
func differing(a, b *alert.Alert) []string {
	var x, y map[string]json.RawMessage
	for _, s := range []struct {
		a  *alert.Alert
		to *map[string]json.RawMessage
	}{{a, &x}, {b, &y}} {
		var buf bytes.Buffer
		if alert.WriteLine(&buf, s.a) != nil || json.Unmarshal(buf.Bytes(), s.to) != nil {
			return []string{"unreadable"} // neither can happen to an alert of the engine
		}
	}
	var out []string
	for k, v := range y {
		// The name of the rule set differs whenever a rule does.
		if k != "pack" && !bytes.Equal(x[k], v) {
			out = append(out, k)
		}
	}
	for k := range x {
		if _, ok := y[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// line says a change in one line.
func (c *change) line() string {
	a := c.of()
	switch c.Kind {
	case "changed":
		what := strings.Join(c.Fields, ", ")
		if c.Old.Severity != c.New.Severity {
			what = fmt.Sprintf("%s → %s; %s", c.Old.Severity, c.New.Severity, what)
		}
		return fmt.Sprintf("%s  %s  (%s)  %s", stamp(a.Time), a.Rule, what, told(a))
	default:
		return fmt.Sprintf("%s  %s  %s  %s", stamp(a.Time), a.Rule, a.Severity, told(a))
	}
}

// changesTable and its like show what differs, and why that may not be all: unsure is
// empty where it is.
func changesTable(w io.Writer, changes []change, unsure string) error {
	if len(changes) == 0 {
		line := "no difference"
		if unsure != "" {
			line = "no difference known; " + unsure
		}
		_, err := fmt.Fprintln(w, line)
		return err
	}
	sign := map[string]string{"added": "+", "removed": "-", "changed": "~"}
	for i := range changes {
		if _, err := fmt.Fprintf(w, "%s %s\n", sign[changes[i].Kind], changes[i].line()); err != nil {
			return err
		}
	}
	return nil
}

func changesJUnit(w io.Writer, changes []change, unsure string) error {
	s := &junitSuite{Name: "trailwarden rules diff"}
	if len(changes) == 0 && unsure == "" { // a suite without a case is a fault to some that read it
		s.Cases = append(s.Cases, junitCase{Class: "rules diff", Name: "no difference"})
	}
	for i := range changes {
		a := changes[i].of()
		s.Cases = append(s.Cases, junitCase{Class: a.Rule, Name: a.ID, Failure: &junitFailure{changes[i].Kind, changes[i].line()}})
	}
	s.unsure("rules diff", unsure)
	return writeJUnit(w, s)
}

// maxAnnotations is how many annotations of one step GitHub shows. Of more changes
// there is one for each rule, so that none hides behind those of another.
const maxAnnotations = 10

func changesGitHub(w io.Writer, changes []change, unsure string) error {
	if err := unsureGitHub(w, "rules diff", unsure); err != nil {
		return err
	}
	few := len(changes) <= maxAnnotations
	for i := range changes {
		c := &changes[i]
		msg := c.line()
		switch {
		case few:
		case c.like == 0:
			continue
		default:
			msg = fmt.Sprintf("%d alerts, the first: %s", c.like, msg)
		}
		if _, err := io.WriteString(w, gitHubCommand("warning", msg, "title", c.Kind+" "+c.of().Rule)); err != nil {
			return err
		}
	}
	return nil
}
