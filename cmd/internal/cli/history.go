package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

// historyFlags say which history is read and how; all commands that replay
// share them.
type historyFlags struct {
	from, to, grace, warm string
	regions               []string // of deliveries
	baseline              string
	workers               int
	quiet                 bool

	resume            string // folder of the run's state
	cache             string // of logstores
	readRate, maxRead int    // MB/s, MB
	estimate          bool

	at time.Time // what config counted times back from
}

func (h *historyFlags) add(c *cobra.Command) {
	c.PreRun = func(*cobra.Command, []string) { collectSeldom() }
	f := c.Flags()
	f.StringVar(&h.from, "from", "", "first event time (2026-11-20, RFC 3339, 24h, 90d, yesterday)")
	f.StringVar(&h.to, "to", "", "event time to stop before")
	f.StringSliceVar(&h.regions, "region", nil, "of what a trail delivers to OSS, read only these regions' files; all other files are read whole")
	f.StringVar(&h.warm, "warm", "", "evaluate this much before --from too, only to learn what is usual (14d)")
	f.StringVar(&h.baseline, "baseline", "", "file that baseline build wrote: begin with what was learned then")
	f.StringVar(&h.grace, "grace", "", "how long ordered detectors wait for late events, in event time (default 15m)")
	f.IntVarP(&h.workers, "workers", "j", 0, "parallel decoders (default: all cores); the result does not depend on it")
	f.StringVar(&h.resume, "resume", "", "folder to keep how far the run is: after Ctrl-C or a crash, the same command goes on there; emptied at the end")
	f.StringVar(&h.cache, "cache", "", "folder to keep what is read of sls:// and actiontrail:// sources: an interrupted reading goes on there")
	f.IntVar(&h.readRate, "read-rate", 20, "most MB a second read of sls:// sources")
	f.IntVar(&h.maxRead, "max-read", 0, "refuse (exit 4) to read more MB than this of one sls:// source, by estimate")
	f.BoolVar(&h.estimate, "estimate", false, "only say how much sls:// sources would have to be read")
	f.BoolVarP(&h.quiet, "quiet", "q", false, "no progress and no summary")
}

// Beyond these nothing is sooner: each decoder has memory of its own.
const maxWorkers, maxReadRate = 1024, 100_000

// config checks the flags.
func (h *historyFlags) config(e *env, set *rules.Set, now time.Time) (cfg replay.RunConfig, err error) {
	if now, err = h.began(e, now); err != nil {
		return cfg, err
	}
	h.at = now
	if h.workers > maxWorkers {
		return cfg, usagef("--workers %d: want at most %d decoders, 0 for one on each core", h.workers, maxWorkers)
	}
	if h.readRate < 1 || h.readRate > maxReadRate {
		return cfg, usagef("--read-rate %d: want 1 to %d MB a second", h.readRate, maxReadRate)
	}
	cfg = replay.RunConfig{Rules: set, Workers: h.workers, Options: replay.Options{Stdin: e.in, Regions: h.regions}}
	if cfg.From, err = parseWhen(h.from, now); err != nil {
		return cfg, usagef("--from: %w", err)
	}
	if cfg.To, err = parseWhen(h.to, now); err != nil {
		return cfg, usagef("--to: %w", err)
	}
	if !cfg.From.IsZero() && !cfg.To.IsZero() && !cfg.From.Before(cfg.To) {
		return cfg, usagef("--from %s is not before --to %s: nothing would be read", stamp(cfg.From), stamp(cfg.To))
	}
	if h.warm != "" {
		at, err := parseWhen(h.warm, now)
		if cfg.Warm = now.Sub(at); err != nil || cfg.Warm <= 0 {
			return cfg, usagef("--warm %q: want a duration such as 14d or 48h", h.warm)
		}
		if cfg.From.IsZero() {
			return cfg, usagef("--warm is about the time before --from: say --from too")
		}
	}
	cfg.Engine = detectors.EngineConfig{Judge: app.NewJudge(), DedupHorizon: 24 * time.Hour, Grace: 15 * time.Minute}
	if h.grace != "" {
		if cfg.Engine.Grace, err = time.ParseDuration(h.grace); err != nil || cfg.Engine.Grace < 0 {
			return cfg, usagef("--grace %q: want a duration such as 2s or 15m", h.grace)
		}
	}
	if h.baseline != "" {
		b, err := readBaseline(h.baseline)
		if err != nil {
			return cfg, err
		}
		cfg.Prepare = func(eng *detectors.Engine) error {
			if err := eng.Restore(b); err != nil {
				return fmt.Errorf("--baseline %s: %w", h.baseline, err)
			}
			if n := eng.Stats().StateLost; n > 0 && !h.quiet {
				fmt.Fprintf(e.err, "--baseline %s: what %s had learned does not fit the rules any more and was left out\n", text.Terminal(h.baseline), plural(n, "detector"))
			}
			return nil
		}
	}
	if h.resume != "" {
		if cfg.Resume, err = h.way(e, set); err != nil {
			return cfg, err
		}
	}
	if !h.quiet && e.terminal(e.err) {
		cfg.OnProgress = progressLine(e, time.Now(), cfg.From, cfg.To)
	}
	return cfg, nil
}

// began is the time that --from and --to are counted back from: now, or when the
// run was begun that --resume goes on with.
func (h *historyFlags) began(e *env, now time.Time) (time.Time, error) {
	if h.resume == "" {
		return now, nil
	}
	of := strings.Join([]string{h.from, h.to}, " to ")
	at, err := replay.Began(h.resume, of, now)
	if err != nil {
		return now, exit(exitUsage, fmt.Errorf("--resume %s: %w", h.resume, err))
	}
	for _, s := range []string{h.from, h.to} {
		then, err := parseWhen(s, at)
		if err != nil {
			return now, nil // config says what is wrong with it
		}
		if today, err := parseWhen(s, now); err == nil && !then.Equal(today) && !at.Equal(now) {
			fmt.Fprintf(e.err, "--resume %s: --from and --to are counted from when the run was begun, %s\n", text.Terminal(h.resume), stamp(at))
			break
		}
	}
	return at, nil
}

// way is where a run's state is kept, and what it belongs to.
func (h *historyFlags) way(e *env, set *rules.Set) (*replay.Resume, error) {
	of, dir := Version()+" "+set.Hash(), h.resume
	if h.baseline != "" {
		_, sum := hashFile(context.Background(), h.baseline)
		of += " " + sum
	}
	return &replay.Resume{Dir: h.resume, Of: of, OnBegin: func(r replay.Resumed) {
		switch {
		case r.Why != "":
			fmt.Fprintf(e.err, "--resume %s: everything is evaluated again: %s\n", text.Terminal(h.resume), text.Terminal(r.Why))
		case !h.quiet && r.Events > 0:
			fmt.Fprintf(e.err, "--resume %s: %s were evaluated, up to %s; they are read again, and evaluation goes on from there\n",
				text.Terminal(h.resume), plural(int(r.Events), "event"), stamp(r.At))
		}
	}, OnTrouble: func(err error) {
		fmt.Fprintf(e.err, "--resume %s: %s; the run goes on, and interrupted it begins where the state was kept last\n", text.Terminal(dir), text.Terminal(err.Error()))
	}}, nil
}

// hint says how an interrupted run goes on, or could have.
func (h *historyFlags) hint() string {
	if h.resume != "" {
		return "the same command goes on from there"
	}
	return "with --resume DIR it could have gone on from there"
}

// lost says what cannot be had any more since it could not be written, and how to
// go on; nil for no error. A reader that had enough has lost nothing.
func (h *historyFlags) lost(what string, err error) error {
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return err
	}
	return exit(exitUsage, fmt.Errorf("%w\n%s is lost: make room, or write elsewhere, and run it again; %s", err, what, h.hint()))
}

// fullDisk says of an error of a full disk where there is no room and what to do:
// name another folder with what chose this one.
func fullDisk(err error, dir, with string) error {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			return fmt.Errorf("it does not fit into %s (%w): make room there, or name another folder with %s", text.Terminal(dir), full, with)
		}
	}
	return err
}

// noRoom is fullDisk of the folder which services are copied into.
func (h *historyFlags) noRoom(err error) error {
	switch {
	case h.cache == "":
		return fullDisk(err, os.TempDir(), "--cache or TMPDIR")
	case h.resume != "" && h.cache == filepath.Join(h.resume, resumeSources):
		return fullDisk(err, h.resume, "--cache or --resume")
	}
	return fullDisk(err, h.cache, "--cache")
}

// finished removes what was kept to go on: what the run was for is written.
func (h *historyFlags) finished(e *env) {
	if h.resume == "" {
		return
	}
	err := os.RemoveAll(filepath.Join(h.resume, resumeSources))
	if err == nil {
		err = replay.Forget(h.resume)
	}
	if err != nil {
		fmt.Fprintf(e.err, "--resume: %v\n", err)
	}
}

// resumeSources is the folder, below that of --resume, of what was read from
// services. Nobody else's folder has that name: it is removed in the end.
const resumeSources = "trailwarden.resume.sources"

// done clears the progress line.
func (h *historyFlags) done(e *env, cfg *replay.RunConfig) {
	if cfg.OnProgress != nil {
		fmt.Fprint(e.err, "\r\x1b[K")
	}
}

// maxBaseline is the largest baseline file that is read, in bytes.
const maxBaseline = 1 << 30

func readBaseline(path string) ([]byte, error) {
	st, err := os.Stat(path)
	var b []byte
	if err == nil && st.Mode().IsRegular() && st.Size() <= maxBaseline {
		b, err = os.ReadFile(path)
	}
	if err == nil && !strings.HasPrefix(string(b), "TWENGINE") { // of whichever version
		err = errors.New("no file that baseline build wrote")
	}
	if err != nil {
		return nil, usagef("--baseline %s: %w", path, err)
	}
	return b, nil
}

// sparks draws counts as one line of bars; a dot is none.
func sparks(counts []int64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	top := int64(0)
	for _, c := range counts {
		top = max(top, c)
	}
	var b strings.Builder
	for _, c := range counts {
		if c <= 0 {
			b.WriteRune('·')
			continue
		}
		b.WriteRune(bars[(c*int64(len(bars))-1)/top])
	}
	return b.String()
}

// coverageLines says what was read of which account, and the hours that are
// missing; at most n of these, the longest, and none in which there usually is nothing.
func coverageLines(cover []replay.Cover, n int) []string {
	accounts, regions := map[string]bool{}, map[string]bool{}
	type gap struct {
		hours int
		line  string
	}
	var gaps []gap
	hours, sparse, usual, apart := 0, 0, 0, false
	for _, c := range cover {
		apart = apart || c.Apart
		if c.Sparse {
			sparse++
		}
		accounts[c.Account] = true
		if c.Region != "" {
			regions[c.Region] = true
		}
		for _, g := range c.Gaps {
			if g.Usual {
				usual++
				continue
			}
			long := int(g.To.Sub(g.From) / time.Hour)
			hours += long
			where := "account " + text.Terminal(c.Account)
			if c.Region != "" {
				where += ", " + text.Terminal(c.Region)
			}
			gaps = append(gaps, gap{long, fmt.Sprintf("  nothing from %s to %s (%d h): %s", stamp(g.From), stamp(g.To), long, where)})
		}
	}
	if len(cover) == 0 {
		return nil
	}
	line := fmt.Sprintf("coverage: %s, %s", plural(len(accounts), "account"), plural(len(regions), "region"))
	switch {
	case len(gaps) > 0:
		line += fmt.Sprintf(", %s missing", plural(hours, "hour"))
	case sparse == 0 && usual == 0:
		line += ", no hour missing"
	case sparse == 0:
		line += ", no hour missing that has events on other days"
	}
	if len(gaps) > 0 && usual > 0 {
		line += fmt.Sprintf(" beside %s in which other days have few events", plural(usual, "stretch"))
	}
	if sparse > 0 {
		line += "; "
		if len(accounts) > 1 {
			line += fmt.Sprintf("of %s ", plural(sparse, "account"))
		}
		line += "too few hours have events to tell which are missing"
	}
	if apart {
		line += "; a few events lie far from the others, and the time between was not looked at"
	}
	if len(gaps) == 0 {
		return []string{line}
	}
	out := []string{line + ":"}
	lists.Sort(gaps, func(a, b gap) int { return b.hours - a.hours })
	for _, g := range gaps[:min(n, len(gaps))] {
		out = append(out, g.line)
	}
	if more := len(gaps) - n; more > 0 {
		out = append(out, fmt.Sprintf("  and %s more, see replay --stats", plural(more, "stretch")))
	}
	return out
}

// plural counts things: "1 event", "2 events".
func plural[N ~int | ~int64 | ~uint64](n N, word string) string { return countOfThings(int64(n), word) }

// countOfThings is plural, compiled once.
func countOfThings(n int64, word string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(word, "ry"):
		word = strings.TrimSuffix(word, "y") + "ies"
	case strings.HasSuffix(word, "ch"):
		word += "es"
	default:
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}

// isAre is the verb after plural.
func isAre[N ~int | ~int64 | ~uint64](n N) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// timeline is a sparkline of a time range with its ends below; nothing where it
// would have less than four bars.
func timeline(counts []int64, from, to time.Time, what string) string {
	if from.IsZero() || len(counts) < 4 {
		return ""
	}
	top := int64(0)
	for _, c := range counts {
		top = max(top, c)
	}
	line := sparks(counts)
	left, right := from.UTC().Format("2006-01-02 15:04"), to.UTC().Format("2006-01-02 15:04Z")
	pad := max(1, len(counts)-len(left)-len(right))
	return fmt.Sprintf("  %s  %s, at most %d in %s\n  %s%s%s\n", line, what, top, stretch(float64(replay.Ticks(from, to))*600/float64(len(counts))), left, strings.Repeat(" ", pad), right)
}

// stretch says how long so many seconds are.
func stretch(sec float64) string {
	const hour = 3600
	switch {
	case sec >= 36*hour:
		return fmt.Sprintf("%.0f days", sec/(24*hour))
	case sec >= 2*hour:
		return fmt.Sprintf("%.0f hours", sec/hour)
	}
	return fmt.Sprintf("%.0f minutes", max(1, sec/60))
}
