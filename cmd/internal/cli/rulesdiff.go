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
}

func (c *change) of() *alert.Alert {
	if c.New != nil {
		return c.New
	}
	return c.Old
}

func rulesDiff(e *env) *cobra.Command {
	var hf historyFlags
	var out, outFile string
	var dir string
	var rf ruleFlags
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
		RunE: func(c *cobra.Command, a []string) error {
			if err := checkOutput(out, "table", "json", "junit", "github"); err != nil {
				return err
			}
			if old, new, ok := strings.Cut(a[0], ".."); ok && !exists(a[0]) {
				if dir == "" {
					return usagef("%s: say with --rules which folder of the repository holds the rules", text.Terminal(a[0]))
				}
				var dirs []string
				for _, rev := range []string{old, new} {
					side, clean, err := ruleRevision(c.Context(), dir, rev)
					defer clean()
					if err != nil {
						return err
					}
					dirs = append(dirs, side)
				}
				a = append(dirs, a[1:]...)
			} else if dir != "" {
				return usagef("--rules is for revisions, A..B; two folders are named one after the other")
			}
			if len(a) < 3 {
				return usagef("want two sets of rules, or A..B, and at least one file or folder")
			}
			if rf.noPack && (a[0] == "pack" || a[1] == "pack") {
				return usagef("--no-pack leaves nothing of \"pack\"")
			}
			if err := canWrite(e, a[2:], outFile); err != nil {
				return err
			}
			base, err := rf.both(e)
			if err != nil {
				return err
			}
			sets := [2]*rules.Set{}
			for i := range sets { // before hours of reading
				if sets[i], err = ruleSide(a[i], base); err != nil {
					return err
				}
			}
			var results [2]replay.Result
			var alerts [2][]alert.Alert
			way, sides := hf.resume, []string{"old", "new"}
			now := time.Now()
			bounds, err := hf.config(e, sets[0], now)
			if err != nil {
				return err
			}
			now = hf.at // both sides are of the same time
			for _, side := range sides {
				if way == "" {
					break
				}
				hf.resume = filepath.Join(way, side) // each has a way of its own
				if _, err := hf.began(e, now); err != nil {
					return err
				}
			}
			hf.resume = way
			names, unspool, err := hf.spooled(c.Context(), e, a[2:])
			defer unspool()
			if err != nil {
				return err
			}
			paths, clean, err := hf.sources(c.Context(), e, rf.config, warmFrom(&bounds), bounds.To, names)
			defer clean()
			if err != nil || hf.estimate {
				return err
			}
			before := stampsOf(paths, &bounds.Options)
			last, stopped := 0, false
			for i := 0; i < len(results) && !stopped; i++ {
				if way != "" {
					hf.resume = filepath.Join(way, sides[i])
				}
				cfg, err := hf.config(e, sets[i], now)
				if err != nil {
					return err
				}
				results[i], err = replay.Run(c.Context(), paths, cfg)
				hf.done(e, &cfg)
				if stopped = errors.Is(err, context.Canceled); stopped {
					err = nil
				}
				if err == nil {
					alerts[i], err = results[i].AllAlerts()
				}
				results[i].Close()
				last = i
				if err != nil {
					return exit(exitUsage, fmt.Errorf("rules diff: %w%s", err, failures(results[i].Stats)))
				}
			}
			if path := before.changed(); path != "" {
				return exit(exitUsage, fmt.Errorf("rules diff: %s was written to between the two sets of rules, so what differs is not theirs: compare over a copy", text.Line(path)))
			}
			st := &results[last].Stats
			var unsure string
			nothing := false
			switch {
			case stopped:
				unsure = together(&alerts, last, st, bounds.Engine.Grace)
				if late := results[0].Stats.Late; last > 0 && late > 0 {
					unsure += fmt.Sprintf("; what differs may be of %s that %s far out of order", plural(late, "event"), isAre(late))
				}
			case !sameHistory(&results[0].Stats, st):
				return exit(exitUsage, fmt.Errorf("rules diff: what is read changed between the two sets of rules (%s, then %s), so what differs is not theirs: compare over a copy",
					plural(int(results[0].Stats.Records), "record"), plural(int(st.Records), "record")))
			case !evaluated(&results[1], &bounds):
				unsure, nothing = nothingEvaluated(st), true
			case len(st.FilesFailed) > 0:
				unsure = notRead(st)
			}
			changes := compareAlerts(alerts[0], alerts[1])
			write := map[string]func(io.Writer, []change, string) error{"table": changesTable, "json": func(w io.Writer, c []change, _ string) error { return printJSON(w, append([]change{}, c...)) },
				"junit": changesJUnit, "github": changesGitHub}[out]
			if err := toFile(e, outFile, func(w io.Writer) error { return write(w, changes, unsure) }); err != nil {
				return err
			}
			for _, side := range append(sides, "") {
				if way != "" && !stopped {
					hf.resume = filepath.Join(way, side)
					hf.finished(e)
				}
			}
			n := map[string]int{}
			for _, c := range changes {
				n[c.Kind]++
			}
			if !hf.quiet {
				fmt.Fprintf(e.err, "%s; %s before, %d after: %d added, %d removed, %d changed\n",
					plural(st.Events, "event"), plural(len(alerts[0]), "alert"), len(alerts[1]), n["added"], n["removed"], n["changed"])
				fmt.Fprintf(e.err, "%s%s\n%s", filesRead(st), parked(st), ignored(st))
				for _, l := range coverageLines(results[last].Coverage, 5) {
					fmt.Fprintln(e.err, l)
				}
			}
			if f := failures(*st); f != "" {
				fmt.Fprintln(e.err, strings.TrimPrefix(f, "\n"))
			}
			switch {
			case stopped:
				fmt.Fprintln(e.err, unsure+"; what was not read is named above; "+hf.hint())
				return exit(exitInterrupted, nil)
			case nothing:
				fmt.Fprintln(e.err, unsure)
			}
			if unsure != "" || len(changes) > 0 {
				return exit(exitFindings, nil)
			}
			return nil
		}}
	hf.add(c)
	rf.addShared(c)
	c.Flags().StringVar(&dir, "rules", "", "with A..B: the folder of a git repository that holds the rules")
	c.Flags().StringVarP(&out, "output", "o", "table", "output: table, json, junit, github")
	c.Flags().StringVar(&outFile, "out", "", "file for the output (default: standard output)")
	return c
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
		alerts[i] = slices.DeleteFunc(alerts[i], func(a alert.Alert) bool { return open[a.ID] })
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
// when rev is empty. clean removes it; it is never nil.
func ruleRevision(ctx context.Context, dir, rev string) (path string, clean func(), err error) {
	clean = func() {}
	if rev == "" {
		return dir, clean, nil
	}
	if strings.HasPrefix(rev, "-") {
		return "", clean, usagef("%q is no revision", rev)
	}
	if path, err = os.MkdirTemp("", "trailwarden-rules-"); err != nil {
		return "", clean, err
	}
	made := path // which an error leaves empty
	clean = func() { _ = os.RemoveAll(made) }
	// In a folder of a repository, git archives that folder alone.
	git := exec.CommandContext(ctx, "git", "-C", dir, "archive", "--format=tar", rev)
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
		return "", clean, exit(exitUsage, fmt.Errorf("the rules of %s at %s: %w", text.Terminal(dir), text.Terminal(rev), err))
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

// ruleSide loads one side's rules.
func ruleSide(where string, r app.Rules) (*rules.Set, error) {
	if where != "pack" {
		r.Dirs = []string{where}
	}
	set, err := r.Load()
	if err != nil {
		return nil, exit(exitUsage, fmt.Errorf("the rules of %s cannot be used:\n%w", where, err))
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

func changesGitHub(w io.Writer, changes []change, unsure string) error {
	if err := unsureGitHub(w, "rules diff", unsure); err != nil {
		return err
	}
	for i := range changes {
		if _, err := io.WriteString(w, gitHubCommand("warning", changes[i].line(), "title", changes[i].Kind+" "+changes[i].of().Rule)); err != nil {
			return err
		}
	}
	return nil
}
