package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/backup"
	"github.com/trailwarden/trailwarden/cmd/internal/cli/table"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/report"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

// replayFlags are the flags of replay.
type replayFlags struct {
	rf ruleFlags
	hf historyFlags

	entity, state          string
	out, lang, outFile     string
	statsFile, baselineOut string
	failOn, minSev         string
	signals                bool
}

func replayCmd(e *env) *cobra.Command {
	var f replayFlags
	c := &cobra.Command{Use: "replay [flags] SOURCE...", Short: "Put recorded events through the same engine; nothing can be acted on",
		Long: `replay reads recorded ActionTrail events and runs the live engine over them.

SOURCE is a file, a folder, or - for standard input: JSON arrays or objects, JSON
lines, each also as .gz or .zst, LookupEvents answers, SLS exports with an event
field, and folders as a trail delivers them to OSS, of which --from, --to and
--region leave out what their names say is of other times and regions. What a
file holds is decided by its bytes. With a configuration, SOURCE is also

  sls://PROJECT/LOGSTORE   a logstore of it (with --from)
  actiontrail://REGION     the event history of the account (LookupEvents, with
                           --from; 90 days, at most 100 events a second)
  jetstream:               what the running program has stored

Alerts come out ordered by time, rule and id, the same for the same input.
Files that cannot be read to their end are named on standard error, with -q in
one line; with --fail-on they make the exit code 1, since what they held is not
known, and so does input without an event. Records that are no events are parked.
A replay has no way to act: it does not link the code that could.`,
		Example: `  trailwarden replay archive/
  trailwarden replay --from 2026-11-20 --to 2026-11-22 -o jsonl archive/ > alerts.jsonl
  trailwarden replay -o html --out report.html archive/
  zcat events.gz | trailwarden replay --entity LTAI5tEXAMPLEkey0001 -`,
		Args: args(1, -1, "at least one file or folder (or - for standard input)"),
		RunE: func(c *cobra.Command, sources []string) error {
			if c.Flags().Changed("entity") && strings.TrimSpace(f.entity) == "" { // a variable that is not set
				return usagef("--entity is empty: say what to show")
			}
			return f.run(c.Context(), e, sources)
		}}
	f.rf.add(c)
	c.Flags().StringVar(&f.state, "state", "", "state folder of a running program: its console shows this replay, its audit log notes it")
	f.hf.add(c)
	c.Flags().StringVar(&f.entity, "entity", "", "show what is about this key, user, role, address or network (10.0.0.0/8), account, request or event; everything is evaluated all the same")
	c.Flags().StringVar(&f.baselineOut, "baseline-out", "", "file to keep what the detectors have learned by the end, for --baseline")
	c.Flags().StringVarP(&f.out, "output", "o", "table", "output: table, jsonl, "+strings.Join(report.Formats(), ", "))
	c.Flags().StringVar(&f.lang, "lang", "en", "language of html and markdown reports: en, zh")
	c.Flags().StringVar(&f.outFile, "out", "", "file for the output (default: standard output)")
	c.Flags().StringVar(&f.statsFile, "stats", "", "file for the statistics, as JSON")
	c.Flags().StringVar(&f.failOn, "fail-on", "", "exit 1 when an alert is at least this severe, a file was not read to its end, or no event was evaluated")
	c.Flags().StringVar(&f.minSev, "min-severity", "", "show alerts from this severity on")
	c.Flags().BoolVar(&f.signals, "signals", false, "show signals in the table and in reports too (rules that only feed others)")
	return c
}

// checked are the severities that the flags name, once all flags are known to be right.
func (f *replayFlags) checked(e *env, sources []string) (failAt, least alert.Severity, err error) {
	if f.out != "table" && f.out != "jsonl" && report.Writer(f.out) == nil {
		return 0, 0, usagef("output %q: want table, jsonl, %s", f.out, strings.Join(report.Formats(), ", "))
	}
	if f.lang != "en" && f.lang != "zh" {
		return 0, 0, usagef("--lang %q: want en or zh", f.lang)
	}
	if f.out == "html" && f.outFile == "" && isTerminal(e.out) {
		return 0, 0, usagef("an HTML page does not belong on a terminal: add --out report.html, or redirect the output")
	}
	if err := replay.CheckEntity(f.entity); err != nil {
		return 0, 0, usagef("--entity: %w", err)
	}
	if f.failOn != "" {
		if failAt, err = alert.ParseSeverity(f.failOn); err != nil {
			return 0, 0, usagef("--fail-on: %w", err)
		}
	}
	if f.minSev != "" {
		if least, err = alert.ParseSeverity(f.minSev); err != nil {
			return 0, 0, usagef("--min-severity: %w", err)
		}
	}
	return failAt, least, canWrite(e, sources, f.outFile, f.statsFile, f.baselineOut)
}

func (f *replayFlags) run(ctx context.Context, e *env, sources []string) error {
	failAt, least, err := f.checked(e, sources)
	if err != nil {
		return err
	}
	set, err := f.rf.load(e)
	if err != nil {
		return err
	}
	cfg, err := f.hf.config(e, set, time.Now())
	if err != nil {
		return err
	}
	var tell *replayTeller
	if f.state != "" && !f.hf.estimate {
		tell, err = tellReplay(ctx, f.state, admin.Replaying{Inputs: sources[:min(len(sources), 100)], Rules: set.Hash()})
		if err != nil {
			return err
		}
	}
	paths, clean, err := f.hf.sources(ctx, e, f.rf.config, warmFrom(&cfg), cfg.To, sources)
	defer clean()
	if err != nil || f.hf.estimate {
		if tell != nil {
			tell.end(ctx, nil, err)
		}
		return err
	}
	cfg.Entity = f.entity
	cfg.Options.Hash = report.Writer(f.out) != nil && !report.Streams(f.out)
	var unwritten []error // what one full disk takes, the others still get
	if f.baselineOut != "" {
		cfg.Finish = func(eng *detectors.Engine) error {
			unwritten = append(unwritten, writeBaseline(e, f.baselineOut, eng))
			return nil
		}
	}
	res, runErr := runTold(ctx, paths, cfg, tell)
	f.hf.done(e, &cfg)
	if runErr != nil && !errors.Is(runErr, context.Canceled) {
		res.Close()
		return exit(exitUsage, fmt.Errorf("replay: %w%s", runErr, failures(res.Stats)))
	}
	defer res.Close()
	picked := &pick{res: &res, least: least, signals: f.signals || f.out != "table" && f.out != "html" && f.out != "markdown"}
	write, err := f.writer(e, picked, report.In{Stats: res.Stats, Scope: report.Scope{From: cfg.From, To: cfg.To, Entity: f.entity, Sources: sources},
		Tool: Version(), RuleSet: set.Hash(), Rules: rulesForReport(set, cfg.Engine.Judge != nil), Interrupted: runErr != nil, Lang: f.lang, GapsKnown: len(res.Coverage) > 0, Trail: res.Trail})
	if err != nil {
		return err
	}
	unwritten = append(unwritten, toFile(e, f.outFile, write))
	if f.statsFile != "" {
		res.Stats.Coverage, res.Stats.Trail = res.Coverage, res.Trail
		unwritten = append(unwritten, toFile(e, f.statsFile, func(w io.Writer) error { _, err := w.Write(res.Stats.JSON()); return err }))
	}
	if !f.hf.quiet {
		summarize(e, picked)
	} else if n := len(res.Stats.FilesFailed); n > 0 {
		first := res.Stats.FilesFailed[0]
		fmt.Fprintf(e.err, "replay: %d not read to the end, the first: %s: %s\n", n, text.Terminal(first.Path), text.Terminal(first.Error))
	}
	var noted error
	if f.state != "" {
		// Also when it was interrupted.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		noted = admin.Dial(f.state).AuditReplay(ctx, admin.Replayed{Inputs: sources[:min(len(sources), 100)], Rules: set.Hash(), Events: uint64(max(res.Stats.Events, 0)), Alerts: int(res.Stats.Alerts)})
		cancel()
		if noted != nil {
			noted = operationError(fmt.Errorf("the replay is done, and could not be noted in the audit log: %w", noted))
		}
	}
	f.remarkBaselines(e, &res.Stats)
	if err := f.hf.lost("this part of the result", errors.Join(unwritten...)); err != nil {
		return errors.Join(err, noted)
	}
	if runErr != nil {
		fmt.Fprintln(e.err, "interrupted: what is above covers only what was read until then; what was not is named above; "+f.hf.hint())
		return cmp.Or(noted, exit(exitInterrupted, nil))
	}
	if noted != nil {
		return noted
	}
	f.hf.finished(e)
	nothing := failAt != 0 && !evaluated(&res, &cfg)
	if nothing {
		fmt.Fprintln(e.err, nothingEvaluated(&res.Stats))
	}
	if failAt != 0 && (nothing || picked.worst >= failAt || len(res.Stats.FilesFailed) > 0) {
		return exit(exitFindings, nil)
	}
	return nil
}

// runTold runs a replay, of which a running program is told if there is a tell.
func runTold(ctx context.Context, paths []string, cfg replay.RunConfig, tell *replayTeller) (replay.Result, error) {
	if tell == nil {
		return replay.Run(ctx, paths, cfg)
	}
	show := cfg.OnProgress
	cfg.OnProgress = func(p replay.Progress) {
		if show != nil {
			show(p)
		}
		tell.progress(p)
	}
	res, err := replay.Run(ctx, paths, cfg)
	tell.end(ctx, &res.Stats, err)
	return res, err
}

// writer is what writes the output. in is what a report shows besides the
// alerts and the files.
func (f *replayFlags) writer(e *env, picked *pick, in report.In) (func(w io.Writer) error, error) {
	writeReport := report.Writer(f.out)
	if f.out == "jsonl" {
		return func(w io.Writer) error { return alertLines(w, picked.alerts()) }, nil
	}
	if report.Streams(f.out) {
		return func(w io.Writer) error {
			return writeReport(w, report.In{Stream: picked.alerts(), Stats: in.Stats, Tool: in.Tool})
		}, nil
	}
	// What must see them all.
	for a, err := range picked.alerts() {
		if err != nil {
			return nil, err
		}
		in.Alerts = append(in.Alerts, *a)
	}
	if writeReport == nil {
		return func(w io.Writer) error { return alertTable(w, e, in.Alerts) }, nil
	}
	in.Hidden = int(picked.hidden)
	for _, c := range picked.res.Coverage {
		in.Sparse, in.Apart = in.Sparse || c.Sparse, in.Apart || c.Apart
		for _, g := range c.Gaps {
			if g.Usual {
				in.Quiet++
				continue
			}
			in.Gaps = append(in.Gaps, report.Gap{Account: c.Account, Region: c.Region, From: g.From, To: g.To})
		}
	}
	in.Files = inputFiles(picked.res)
	return func(w io.Writer) error { return writeReport(w, in) }, nil
}

// remarkBaselines says what is odd about the baseline that was read, and about
// the one that was written.
func (f *replayFlags) remarkBaselines(e *env, s *replay.Stats) {
	if n := s.Duplicates; f.hf.baseline != "" && n > 0 && !f.hf.quiet {
		are := "are repeated, or were"
		if n == 1 {
			are = "is repeated, or was"
		}
		fmt.Fprintf(e.err, "\n%s %s in the baseline already: what is in it is not evaluated again\n", plural(n, "event"), are)
	}
	if f.baselineOut != "" && s.Events == 0 && f.hf.baseline == "" {
		fmt.Fprintln(e.err, "\n--baseline-out: no event was evaluated, and nothing was written")
	}
	if last := s.LastEvent; f.baselineOut != "" && last != nil && last.After(f.hf.at.Add(24*time.Hour)) {
		fmt.Fprintf(e.err, "\n--baseline-out: the last event is of %s, which is to come: with that baseline all that is before is late; leave it out with --to\n", stamp(*last))
	}
	if f.hf.baseline != "" && 2*s.Late >= s.Events && s.Late > 0 {
		fmt.Fprintf(e.err, "\n%d of %s are older than what the baseline ends with, so that detectors cannot put them in order: build it from what came before\n", s.Late, plural(int(s.Events), "event"))
	} else {
		remarkOrder(e, s)
	}
}

// remarkOrder says that much of what was read was in no order, as files are that are
// put behind each other into a pipe: what goes by order did not see it.
func remarkOrder(e *env, s *replay.Stats) {
	if 10*s.Late >= s.Events && s.Late > 0 {
		fmt.Fprintf(e.err, "\n%d of %s came too late behind newer ones for detectors that go by order (bursts, sequences, what is usual): name the files or their folder in place of a pipe, or sort by eventTime\n", s.Late, plural(int(s.Events), "event"))
	}
}

// toFile writes to path, or to stdout when it is empty. A file appears whole
// or not at all; what is no regular file (/dev/null, a pipe) is written to and
// never replaced.
func toFile(e *env, path string, write func(io.Writer) error) error {
	if path == "" {
		return flushed(e.out, write)
	}
	if err := intoFile(path, write); err != nil {
		return cannotWrite(path, err)
	}
	return nil
}

// cannotWrite leaves out the name of the file that is written before it takes path.
func cannotWrite(path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) && pe.Op != "read" {
		err = pe.Err
	}
	return exit(exitUsage, fmt.Errorf("cannot write %s: %w", path, err))
}

func intoFile(path string, write func(io.Writer) error) error {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(flushed(f, write), f.Close())
	}
	tmp, err := os.CreateTemp(dirOf(path), ".trailwarden-*")
	if err != nil {
		return err
	}
	err = errors.Join(flushed(tmp, write), tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // ours, and useless
	}
	return err
}

// flushed writes through a buffer. A full disk, of which both tell, is told once.
func flushed(w io.Writer, write func(io.Writer) error) error {
	b := bufio.NewWriter(w)
	if err := write(b); err != nil {
		return err
	}
	return b.Flush()
}

// canWrite says why toFile could not write one of these later, before anything
// is read. What is there stays as it is: what is read, above all, which may be
// evidence of which there is no copy.
func canWrite(e *env, sources []string, paths ...string) error {
	for i, path := range paths {
		if path == "" {
			continue
		}
		st, err := os.Stat(path)
		switch {
		case err != nil: // as a rule it is not there yet
		case st.IsDir():
			return usagef("cannot write %s: it is a folder", text.Terminal(path))
		case !st.Mode().IsRegular():
			continue // a pipe waits for its reader
		case isRead(e, sources, path, st):
			return usagef("%s is among what is read, and would be written over: give another name", text.Terminal(path))
		}
		if slices.ContainsFunc(paths[:i], func(other string) bool { return samePath(path, other) || err == nil && isFile(st, other) }) {
			return usagef("%s is to be written twice: give another name", text.Terminal(path))
		}
		tmp, err := os.CreateTemp(dirOf(path), ".trailwarden-*")
		if err == nil {
			err = errors.Join(tmp.Close(), os.Remove(tmp.Name()))
		}
		if err != nil {
			return cannotWrite(path, err)
		}
	}
	return nil
}

// isRead says that a file, which is at path, is one of the sources or read with one.
func isRead(e *env, sources []string, path string, st os.FileInfo) bool {
	return slices.ContainsFunc(sources, func(source string) bool {
		if source != "-" {
			return isFile(st, source) || replay.Wanted(filepath.Base(path)) && backup.Inside(source, path)
		}
		in, ok := e.in.(*os.File)
		if !ok {
			return false
		}
		other, err := in.Stat()
		return err == nil && os.SameFile(st, other)
	})
}

// isFile says that a path leads to a file.
func isFile(st os.FileInfo, path string) bool {
	other, err := os.Stat(path)
	return err == nil && os.SameFile(st, other)
}

// samePath says that two names are one, of files that need not be there.
func samePath(a, b string) bool {
	x, errX := filepath.Abs(a)
	y, errY := filepath.Abs(b)
	return a != "" && b != "" && errX == nil && errY == nil && x == y
}

func dirOf(path string) string {
	if i := strings.LastIndexByte(path, os.PathSeparator); i >= 0 {
		return path[:i+1]
	}
	return "."
}

// pick is which of a run's alerts are shown, and what is counted of them.
type pick struct {
	res     *replay.Result
	least   alert.Severity
	signals bool // show those too

	shown, hidden, elsewhere int64          // elsewhere: about others than the entity
	worst                    alert.Severity // of those below least, too: --fail-on is about what happened
	times                    []int64        // shown, by the time of the last event
}

// alerts yields what is shown, in order, and counts. An error comes last.
func (p *pick) alerts() iter.Seq2[*alert.Alert, error] {
	return func(yield func(*alert.Alert, error) bool) {
		p.shown, p.hidden, p.elsewhere, p.worst, p.times = 0, 0, 0, 0, nil
		if first := p.res.Stats.FirstEvent; first != nil {
			p.times = make([]int64, bars(*first, *p.res.Stats.LastEvent))
		}
		for a, err := range p.res.Alerts() {
			switch {
			case err != nil:
				yield(nil, err)
				return
			case p.res.Trail != nil && !p.res.Trail.Concerns(a):
				p.elsewhere++
				continue
			case a.Signal && !p.signals:
				p.hidden++
				continue
			}
			p.worst = max(p.worst, a.Severity)
			if a.Severity < p.least {
				p.hidden++
				continue
			}
			p.shown++
			p.time(a.Time)
			if !yield(a, nil) {
				return
			}
		}
	}
}

// time counts an alert under the bar of its time.
func (p *pick) time(at time.Time) {
	if p.times == nil {
		return
	}
	// In seconds: a duration ends after 292 years, and bad clocks do not.
	const tick = 600
	from := p.res.Stats.FirstEvent.Unix() / tick
	width := p.res.Stats.LastEvent.Unix()/tick + 1 - from
	if d := at.Unix()/tick - from; d >= 0 && d < width {
		p.times[d*int64(len(p.times))/width]++
	}
}

// linesAtOnce is how many alerts are spelled side by side. Nothing else is left
// to do by then, on no core.
const linesAtOnce = 128

// alertLines writes alerts as lines of JSON, in their order.
func alertLines(w io.Writer, as iter.Seq2[*alert.Alert, error]) error {
	some := make([]*alert.Alert, 0, linesAtOnce)
	out := make([]struct {
		lines bytes.Buffer
		err   error
	}, runtime.GOMAXPROCS(0))
	spell := func() error {
		var wg sync.WaitGroup
		for i := range out {
			wg.Go(func() {
				o := &out[i]
				o.lines.Reset()
				for _, a := range some[i*len(some)/len(out) : (i+1)*len(some)/len(out)] {
					if o.err = alert.WriteLine(&o.lines, a); o.err != nil {
						return
					}
				}
			})
		}
		wg.Wait()
		some = some[:0]
		for i := range out {
			if _, err := w.Write(out[i].lines.Bytes()); err != nil || out[i].err != nil {
				return cmp.Or(err, out[i].err)
			}
		}
		return nil
	}
	for a, err := range as {
		if err != nil {
			return cmp.Or(spell(), err)
		}
		if some = append(some, a); len(some) == linesAtOnce {
			if err := spell(); err != nil {
				return err
			}
		}
	}
	return spell()
}

// rulesForReport lists the rules, and why some could not match anything.
func rulesForReport(set *rules.Set, judged bool) []report.Rule {
	policy := map[string]bool{}
	for _, r := range set.Rules() {
		policy[r.ID] = r.Policy
	}
	var out []report.Rule
	for _, in := range set.List() {
		r := report.Rule{ID: in.ID, Title: in.Title}
		switch {
		case in.Status == "off":
			r.NotRun = report.Off
		case in.Status == "shadow":
			r.NotRun = report.Shadow
		case policy[in.ID] && !judged:
			r.NotRun = report.NoPolicy
		}
		out = append(out, r)
	}
	return out
}

// inputFiles names the files that were read, with the hashes of what was read.
func inputFiles(res *replay.Result) []report.File {
	var out []report.File
	for _, f := range res.Files {
		out = append(out, report.File{Path: f.Path, Size: f.Size, SHA256: f.SHA256})
	}
	return out
}

// hashFile reads a regular file to its end; -1 and "" when that fails.
func hashFile(ctx context.Context, path string) (int64, string) {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() {
		return -1, ""
	}
	f, err := os.Open(path)
	if err != nil {
		return st.Size(), ""
	}
	defer f.Close()
	h := sha256.New()
	for {
		if ctx.Err() != nil {
			return st.Size(), ""
		}
		switch _, err := io.CopyN(h, f, 16<<20); {
		case errors.Is(err, io.EOF):
			return st.Size(), hex.EncodeToString(h.Sum(nil))
		case err != nil:
			return st.Size(), ""
		}
	}
}

// isTerminal says whether w is a terminal, coloured or not.
func isTerminal(w io.Writer) bool {
	f, ok := fileOf(w)
	return ok && term.IsTerminal(int(f.Fd()))
}

// told is the reason of an alert for one line of a list, with what was only
// attempted marked as such.
func told(a *alert.Alert) string { return a.Mark(false) + text.Terminal(a.Reason) }

func alertTable(w io.Writer, e *env, as []alert.Alert) error {
	if len(as) == 0 {
		_, err := fmt.Fprintln(w, "no alerts")
		return err
	}
	width := e.width(e.out)
	if width == 0 {
		width = 160
	}
	several := slices.ContainsFunc(as, func(a alert.Alert) bool { return a.AccountID != as[0].AccountID })
	if e.terminal(e.out) && width < 120 {
		for _, a := range as {
			n := ""
			if a.Count > 1 {
				n = " ×" + strconv.Itoa(a.Count)
			}
			if several {
				n += "  " + text.Terminal(a.AccountID)
			}
			fmt.Fprintf(w, "%s  %s  %s%s\n", stamp(a.Time), strings.ToUpper(a.Severity.String()), a.Rule, n)
			for _, l := range wrapWords(told(&a), width-4) {
				fmt.Fprintf(w, "    %s\n", l)
			}
		}
		return nil
	}
	if several {
		width -= 18 // the account's id
	}
	te := &env{in: e.in, out: w, err: e.err, environ: e.environ}
	var rows []table.Row
	for _, a := range as {
		what := text.Cut(told(&a), max(40, width-72)+len(a.Mark(false)))
		n := ""
		if a.Count > 1 {
			n = "×" + strconv.Itoa(a.Count)
		}
		rows = append(rows, table.Row{stamp(a.Time), a.AccountID, strings.ToUpper(a.Severity.String()), a.Rule, n, what})
	}
	printAccounts(te, table.Row{"time", "account", "severity", "rule", "n", "why"}, rows)
	return nil
}

// bars is how many bars a sparkline of a time range has.
func bars(from, to time.Time) int { return min(60, replay.Ticks(from, to)) }

// forgotten says which rules forgot entities for lack of room; empty where none did.
func forgotten[N int64 | uint64](by map[string]N) string {
	s, sep := "", "forgotten to stay within max_keys and max_bytes, and learned anew: "
	for _, rule := range slices.Sorted(maps.Keys(by)) {
		s, sep = s+fmt.Sprintf("%s%d of %s", sep, by[rule], text.Terminal(rule)), ", "
	}
	if s != "" {
		s += "\n"
	}
	return s
}

func summarize(e *env, p *pick) {
	res, s := p.res, p.res.Stats
	var span string
	if s.FirstEvent != nil {
		span = fmt.Sprintf(" from %s to %s", stamp(*s.FirstEvent), stamp(*s.LastEvent))
	}
	rate := ""
	if s.Seconds > 0 {
		rate = fmt.Sprintf(" in %.1f s (%.0f events/s)", s.Seconds, float64(s.Records)/s.Seconds)
	}
	fmt.Fprintf(e.err, "%s, %s%s%s\n", filesRead(&s), plural(int(s.Records), "record"), span, rate)
	fmt.Fprint(e.err, ignored(&s))
	switch s.FilesSkipped {
	case 0:
	case 1:
		fmt.Fprintln(e.err, "not opened: 1 delivery whose name is of another time or region")
	default:
		fmt.Fprintf(e.err, "not opened: %d deliveries whose names are of other times or regions\n", s.FilesSkipped)
	}
	if s.FirstEvent != nil {
		fmt.Fprint(e.err, timeline(res.Histogram(bars(*s.FirstEvent, *s.LastEvent)), *s.FirstEvent, *s.LastEvent, "events"))
		if p.shown > 0 {
			fmt.Fprint(e.err, timeline(p.times, *s.FirstEvent, *s.LastEvent, "alerts"))
		}
	}
	fmt.Fprintf(e.err, "evaluated %s; %s, %d parked%s, %d late", plural(int(s.Events), "event"), plural(int(s.Duplicates), "duplicate"), s.Parked, reasons(&s), s.Late)
	if s.Filtered > 0 {
		fmt.Fprintf(e.err, ", %d outside the filter, of %s to %s", s.Filtered, stamp(*s.FilteredFirst), stamp(*s.FilteredLast))
	}
	if s.RuleErrors > 0 {
		fmt.Fprintf(e.err, ", %s (not evaluated)", plural(s.RuleErrors, "rule error"))
	}
	for i, reason := range slices.Sorted(maps.Keys(s.ByException)) {
		if i == 0 {
			fmt.Fprint(e.err, "\nwithheld:")
		} else {
			fmt.Fprint(e.err, ",")
		}
		fmt.Fprintf(e.err, " %d by %s", s.ByException[reason], text.Terminal(reason))
	}
	if s.Early > 0 {
		fmt.Fprintf(e.err, "\n%s decided before their grace was over, since at most %d wait: what was older and came later was late", plural(s.Early, "event"), detectors.DefaultReorderMax)
	}
	fmt.Fprintf(e.err, "\n%s%s", forgotten(s.Evicted), plural(int(s.Alerts), "alert"))
	sep := ": "
	for i := alert.Critical; i >= alert.Info; i-- {
		if n := s.BySeverity[i.String()]; n > 0 {
			fmt.Fprintf(e.err, "%s%d %s", sep, n, i)
			sep = ", "
		}
	}
	if p.hidden > 0 {
		fmt.Fprintf(e.err, " (%d not shown: signals or below --min-severity)", p.hidden)
	}
	if p.elsewhere > 0 {
		fmt.Fprintf(e.err, " (%d about others than %s)", p.elsewhere, text.Terminal(res.Trail.Entity))
	}
	for _, l := range coverageLines(res.Coverage, 5) {
		fmt.Fprintf(e.err, "\n%s", l)
	}
	if res.Trail != nil {
		fmt.Fprint(e.err, "\n")
		showTrail(e.err, res.Trail, 5, e.width(e.err))
		showSteps(e.err, res.Trail, nil, 12, e.width(e.err))
		remarkNobody(e, res.Trail)
	}
	fmt.Fprintf(e.err, "\n%s%s", parkedAt(&s), strings.TrimPrefix(failures(s), "\n"))
	if len(s.FilesFailed) > 0 {
		fmt.Fprintln(e.err)
	}
}

// filesRead says how many files were read, and how many of them not well.
func filesRead(s *replay.Stats) string {
	line := fmt.Sprintf("read %d of %s", s.FilesWhole(), plural(s.FilesFound(), "file"))
	if bad := int64(len(s.FilesFailed)); bad > 0 {
		line += fmt.Sprintf(", %d bad (%d in part, %d not at all)", bad, s.FilesPart, bad-s.FilesPart)
	}
	return line
}

// ignored names files that were not looked at, on a line of their own.
func ignored(s *replay.Stats) string {
	if s.FilesIgnored == 0 {
		return ""
	}
	var names []string
	for _, n := range s.Ignored[:min(3, len(s.Ignored))] {
		names = append(names, text.Terminal(n))
	}
	more := ""
	if n := int(s.FilesIgnored) - len(names); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("not looked at, since hidden or no name in .json, .jsonl, .ndjson, .gz or .zst: %s%s\n", strings.Join(names, ", "), more)
}

// parked says how many records were no events; nothing where all were.
func parked(s *replay.Stats) string {
	if s.Parked == 0 {
		return ""
	}
	return fmt.Sprintf(", %d parked%s", s.Parked, reasons(s))
}

// parkedAt names the first parked records of each reason, a line each.
func parkedAt(s *replay.Stats) string {
	var b strings.Builder
	for _, p := range s.ParkedAt {
		fmt.Fprintf(&b, "  parked: record %d of %s: %s\n", p.Record, text.Terminal(p.Path), p.Reason)
	}
	return b.String()
}

// reasons says why records were parked.
func reasons(s *replay.Stats) string {
	var out []string
	for _, r := range slices.SortedFunc(maps.Keys(s.ByReason), func(a, b event.Reason) int {
		return cmp.Or(cmp.Compare(s.ByReason[b], s.ByReason[a]), strings.Compare(string(a), string(b)))
	}) {
		out = append(out, fmt.Sprintf("%d %s", s.ByReason[r], r))
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// failures lists what was not read, cut after a few.
func failures(s replay.Stats) string {
	var b strings.Builder
	for i, f := range s.FilesFailed {
		if i == 10 {
			fmt.Fprintf(&b, "\n  and %d more, see replay --stats", len(s.FilesFailed)-i)
			break
		}
		fmt.Fprintf(&b, "\n  not read to its end: %s: %s", text.Terminal(f.Path), text.Terminal(f.Error))
	}
	return b.String()
}

// progressLine draws one line that overwrites itself. Where the time range is
// known it tells how much of it is done.
func progressLine(e *env, start, from, to time.Time) func(replay.Progress) {
	last := time.Time{}
	return func(p replay.Progress) {
		now := time.Now()
		if now.Sub(last) < 200*time.Millisecond {
			return
		}
		last = now
		sec := now.Sub(start).Seconds()
		line := fmt.Sprintf("%s, %.0f/s, %.0f MB/s", plural(p.Records, "record"), float64(p.Records)/sec, float64(p.BytesRead)/1e6/sec)
		if p.BytesTotal > 0 && p.BytesRead > 0 {
			part := float64(p.BytesRead) / float64(p.BytesTotal)
			line += fmt.Sprintf(", %.0f%%, %s left", 100*part, (time.Duration((1-part)/part*sec) * time.Second).Round(time.Second))
		}
		if !p.EventTime.IsZero() {
			line += ", at " + p.EventTime.UTC().Format("2006-01-02 15:04Z")
			if !from.IsZero() && to.After(from) && p.EventTime.After(from) {
				line += fmt.Sprintf(" (%.0f%% of the time range)", 100*min(1, float64(p.EventTime.Sub(from))/float64(to.Sub(from))))
			}
		}
		if w := e.width(e.err); w > 0 {
			line = text.Cut(line, w-1)
		}
		fmt.Fprintf(e.err, "\r\x1b[K%s", line)
	}
}

// wrapWords breaks s at spaces into lines of at most n runes.
func wrapWords(s string, n int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && len([]rune(line))+1+len([]rune(w)) > max(n, 20) {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}
