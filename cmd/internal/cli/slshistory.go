package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/sls"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/pipeline/source"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// slsScheme begins the name of a logstore: sls://project/logstore.
const slsScheme = "sls://"

// lateness is how long after an event its record may arrive in the logstore,
// which is read by the time of arrival.
const lateness = time.Hour

// noSink is what a source that only exports does not need.
type noSink struct{}

func (noSink) Store(context.Context, source.Page) error {
	return errors.New("an export stores no page")
}
func (noSink) Position(context.Context, string, int) (string, error) { return "", nil }

// remote says that a source is read into files first.
func remote(name string) bool {
	return strings.HasPrefix(name, slsScheme) || strings.HasPrefix(name, trailScheme) || name == storeSource
}

// sources turns logstores, event histories and the store among the sources
// into files that hold their records; the others stay as they are. done removes
// what was made for this run only.
func (h *historyFlags) sources(ctx context.Context, e *env, configFlag string, from, to time.Time, names []string) (paths []string, done func(), err error) {
	done = func() {}
	if h.resume != "" && h.cache == "" && slices.ContainsFunc(names, remote) {
		h.cache = filepath.Join(h.resume, resumeSources)
	}
	empty := "" // the last source, when it is a logstore without a record
	for _, name := range names {
		more, clean, err := []string{name}, func() {}, error(nil)
		switch empty = ""; {
		case strings.HasPrefix(name, slsScheme):
			more, clean, err = h.exported(ctx, e, configFlag, from, to, name)
			if len(more) == 0 {
				empty = name
			}
		case remote(name):
			more, clean, err = h.copied(ctx, e, configFlag, from, to, name)
		}
		before := done
		done = func() { before(); clean() }
		if err != nil {
			return nil, done, err
		}
		paths = append(paths, more...)
	}
	if len(paths) == 0 && empty != "" && !h.estimate {
		return nil, done, exit(exitFindings, fmt.Errorf("%s holds no record received in that time", empty))
	}
	return paths, done, nil
}

// exported reads the part of a logstore that lies between two times into files,
// once it has said what that costs; with --estimate it only says so.
func (h *historyFlags) exported(ctx context.Context, e *env, configFlag string, from, to time.Time, name string) (paths []string, clean func(), err error) {
	clean = func() {}
	project, logstore, ok := strings.Cut(strings.TrimPrefix(name, slsScheme), "/")
	if !ok || project == "" || logstore == "" {
		return nil, clean, usagef("%s: want sls://project/logstore", name)
	}
	if from.IsZero() {
		return nil, clean, usagef("%s: a logstore is read from a time on: say --from", name)
	}
	cfg, err := loadConfig(e, configFlag)
	if err != nil {
		return nil, clean, err
	}
	src, err := openLogstore(cfg, project, logstore)
	if err != nil {
		return nil, clean, usagef("%s: %w", name, err)
	}
	ec := sls.ExportConfig{From: from.Add(-time.Minute), To: h.receivedUntil(to), BytesPerSecond: h.readRate << 20, Dir: h.cache}
	est, err := src.Estimate(ctx, ec)
	switch {
	case ctx.Err() != nil: // whatever the service's client makes of that
		return nil, clean, h.exportFailed(ctx, e, name, ctx.Err())
	case err != nil:
		return nil, clean, unreadable(name, err)
	}
	if !h.quiet || h.estimate {
		fmt.Fprintf(e.err, "%s: %s\n", text.Terminal(name), estimateLine(est, h.readRate))
	}
	if h.maxRead > 0 && est.Bytes < 0 && !h.estimate {
		return nil, clean, exit(exitRefused, fmt.Errorf("%s: how much would be read is not known, so that --max-read %d cannot be kept: leave it out to read all the same", name, h.maxRead))
	}
	if h.maxRead > 0 && est.Bytes > int64(h.maxRead)<<20 {
		return nil, clean, exit(exitRefused, fmt.Errorf("%s: about %d MB would be read, more than --max-read %d: narrow the time range, or allow more", name, wholeMB(est.Bytes), h.maxRead))
	}
	if h.estimate {
		return nil, clean, nil
	}
	if ec.Dir == "" {
		if ec.Dir, err = os.MkdirTemp("", "trailwarden-sls-"); err != nil {
			return nil, clean, unreadable(name, h.noRoom(err))
		}
		clean = func() { _ = os.RemoveAll(ec.Dir) }
	}
	if !h.quiet && e.terminal(e.err) {
		ec.OnProgress = exportLine(e, est)
	}
	files, err := src.Export(ctx, ec)
	if ec.OnProgress != nil {
		fmt.Fprint(e.err, "\r\x1b[K")
	}
	if err != nil {
		return nil, clean, h.exportFailed(ctx, e, name, err)
	}
	var records int64
	for _, f := range files {
		records += f.Records
		if f.Records > 0 {
			paths = append(paths, f.Path)
		}
	}
	if !h.quiet {
		fmt.Fprintf(e.err, "%s: %s of %s\n", text.Terminal(name), plural(records, "record"), plural(len(files), "shard"))
	}
	return paths, clean, nil
}

// receivedUntil is when a record of an event before to has been received at the
// latest; no time where that is still to come.
func (h *historyFlags) receivedUntil(to time.Time) time.Time {
	switch {
	case to.IsZero() && h.resume != "":
		return h.at.Truncate(time.Second).Add(time.Second) // a run that goes on reads the same
	case to.IsZero() || to.Add(lateness).After(time.Now()):
		return time.Time{}
	}
	return to.Add(lateness)
}

// exportFailed says what became of what was read before an export failed or was
// interrupted.
func (h *historyFlags) exportFailed(ctx context.Context, e *env, name string, err error) error {
	hint := ""
	if h.cache != "" {
		hint = "; what was read is in " + h.cache + ", the same command goes on from there"
	}
	if ctx.Err() != nil {
		fmt.Fprintf(e.err, "interrupted while reading %s%s\n", text.Terminal(name), hint)
		return exit(exitInterrupted, nil)
	}
	return unreadable(name, fmt.Errorf("%w%s", h.noRoom(err), hint))
}

func unreadable(name string, err error) error {
	code := exitUsage
	if errors.Is(err, sls.ErrUnreachable) {
		code = exitUnreachable
	}
	return exit(code, fmt.Errorf("%s: %w", name, err))
}

// openLogstore finds a logstore among the configuration's sources.
func openLogstore(c *config.Config, project, logstore string) (*sls.Source, error) {
	for _, s := range c.Source.SLS {
		if s.Project != project || s.Logstore != logstore {
			continue
		}
		reader, err := cred.New(app.CredConfig(c.Credentials))
		if err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		return sls.New(app.SLSConfig(s), noSink{}, sls.Options{Logger: slog.New(slog.DiscardHandler), Credentials: reader})
	}
	return nil, errors.New("the configuration's source.sls has no such logstore, and with it no endpoint")
}

// wholeMB is how many MB hold so many bytes.
func wholeMB(bytes int64) int64 { return (bytes + 1<<20 - 1) >> 20 }

func estimateLine(e sls.Estimate, rate int) string {
	line := plural(e.Shards, "shard")
	switch {
	case e.Records < 0:
		return line + ", how much is not known (the service does not count: no index, or no right to search)"
	case e.Bytes < 0:
		return line + fmt.Sprintf(", %s, of unknown size", plural(e.Records, "record"))
	}
	mb := wholeMB(e.Bytes)
	return line + fmt.Sprintf(", %s, about %d MB before compression, at %d MB/s about %s; the service bills what is read by its price list",
		plural(e.Records, "record"), mb, rate, (time.Duration(mb/int64(max(rate, 1))+1)*time.Second))
}

// exportLine draws how far an export is.
func exportLine(e *env, est sls.Estimate) func(int, int64, int64) {
	var mu sync.Mutex
	records, last := map[int]int64{}, time.Time{}
	return func(shard int, n, _ int64) {
		mu.Lock()
		defer mu.Unlock()
		records[shard] = n
		if now := time.Now(); now.Sub(last) > 200*time.Millisecond {
			last = now
			sum := int64(0)
			for _, n := range records {
				sum += n
			}
			line := plural(sum, "record") + " read"
			if est.Records > 0 {
				line += fmt.Sprintf(", %.0f%%", 100*min(1, float64(sum)/float64(est.Records)))
			}
			fmt.Fprintf(e.err, "\r\x1b[K%s", line)
		}
	}
}

// warmFrom is the first event time that is read; zero where there is no bound.
func warmFrom(c *replay.RunConfig) time.Time {
	if c.From.IsZero() {
		return c.From
	}
	return c.From.Add(-c.Warm)
}
