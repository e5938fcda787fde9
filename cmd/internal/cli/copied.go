package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ram"
)

// Sources that are copied into files and then read like any file.
const (
	trailScheme = "actiontrail://" // and a region: the event history, by LookupEvents
	storeSource = "jetstream:"     // the running program's store
)

// copied reads the event history or the store into files. clean removes those
// that are for this run only; it is never nil.
func (h *historyFlags) copied(ctx context.Context, e *env, configFlag string, from, to time.Time, name string) (paths []string, clean func(), err error) {
	clean = func() {}
	if h.estimate {
		fmt.Fprintf(e.err, "%s: how much there is to read is not known before\n", text.Terminal(name))
		return nil, clean, nil
	}
	dir := h.cache
	if dir == "" {
		if dir, err = os.MkdirTemp("", "trailwarden-history-"); err != nil {
			return nil, clean, unreadable(name, h.noRoom(err))
		}
		clean = func() { _ = os.RemoveAll(dir) }
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, clean, unreadable(name, h.noRoom(err))
	}
	if name == storeSource {
		paths, err = h.readStore(ctx, e, configFlag, dir)
	} else {
		paths, err = h.lookUp(ctx, e, configFlag, dir, strings.TrimPrefix(name, trailScheme), from, to)
	}
	if err != nil && ctx.Err() != nil {
		hint := ""
		if h.cache != "" && name != storeSource {
			hint = "; the days that were read are in " + text.Terminal(h.cache) + ", the same command goes on from there"
		}
		fmt.Fprintf(e.err, "interrupted while reading %s%s\n", text.Terminal(name), hint)
		return nil, clean, exit(exitInterrupted, nil)
	}
	return paths, clean, err
}

// readStore copies what the running program has stored.
func (h *historyFlags) readStore(ctx context.Context, e *env, configFlag, dir string) ([]string, error) {
	cfg, err := loadConfig(e, configFlag)
	if err != nil {
		return nil, err
	}
	records := 0
	var first, last time.Time
	path := filepath.Join(dir, "store.jsonl")
	err = writeWhole(path, func(w *bufio.Writer) error {
		err := admin.Dial(cfg.StateDir).Tap(ctx, admin.AllFrames, false, func(t admin.Tapped) error {
			if records++; records == 1 {
				first = t.Received
			}
			last = t.Received
			return writeRecord(w, []byte(t.Record))
		})
		return operationError(errors.Join(err, ctx.Err()))
	})
	if full := h.noRoom(err); !errors.Is(full, err) {
		return nil, unreadable(storeSource, full)
	} else if err != nil {
		return nil, err
	}
	if !h.quiet {
		if records == 0 {
			fmt.Fprintf(e.err, "%s nothing is stored\n", storeSource)
		} else {
			fmt.Fprintf(e.err, "%s %s, stored from %s to %s; older ones, if there were any, are gone\n", storeSource, plural(records, "record"), stamp(first), stamp(last))
		}
	}
	if records == 0 {
		return nil, exit(exitFindings, errors.New("the store holds no record"))
	}
	return []string{path}, nil
}

// writeRecord writes a record on one line, whatever it is.
func writeRecord(w *bufio.Writer, b []byte) error {
	var line bytes.Buffer
	if json.Compact(&line, b) != nil {
		line.Reset()
		line.Write(bytes.Map(func(r rune) rune {
			if r == '\n' || r == '\r' {
				return ' '
			}
			return r
		}, b))
	}
	line.WriteByte('\n')
	_, err := w.Write(line.Bytes())
	return err
}

// writeWhole writes a file that has its name only when it is whole.
func writeWhole(path string, write func(*bufio.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".part-*") // hidden: no source yet
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name()) // it has another name when all went well
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// lookUp copies the event history of a region, one file for each day.
func (h *historyFlags) lookUp(ctx context.Context, e *env, configFlag, dir, region string, from, to time.Time) ([]string, error) {
	name := trailScheme + region
	if region == "" || strings.Trim(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, usagef("%s: want actiontrail://REGION, such as actiontrail://cn-hangzhou", text.Terminal(name))
	}
	now := time.Now().UTC()
	if h.resume != "" {
		now = h.at.UTC() // of the run that goes on: the same is read
	}
	if from.IsZero() {
		return nil, usagef("%s: the event history is read from a time on: say --from", name)
	}
	kept := now.Add(-ram.LookupKept)
	if from.Before(kept) && !h.quiet {
		fmt.Fprintf(e.err, "%s: events are kept for %d days there: nothing from before %s is read\n", name, int(ram.LookupKept/(24*time.Hour)), stamp(kept))
	}
	if from.Before(kept) {
		from = kept.Truncate(time.Second).Add(time.Second)
	}
	if to.IsZero() || to.After(now) {
		to = now
	}
	if !from.Before(to) {
		return nil, usagef("%s: nothing is kept of that time", name)
	}
	cfg, err := loadConfig(e, configFlag)
	if err != nil {
		return nil, err
	}
	reader, err := cred.New(app.CredConfig(cfg.Credentials))
	if err != nil {
		return nil, usagef("credentials: %w", err)
	}
	client, err := ram.New(app.RAMConfig(cfg, reader))
	if err != nil {
		return nil, usagef("%s: %w", name, err)
	}
	defer client.Close()
	l := lookup{client: client, region: region, dir: dir, keep: h.resume != "", wait: ram.LookupPause, again: firstAgain}
	if !h.quiet && e.terminal(e.err) {
		l.progress = func(day time.Time) {
			fmt.Fprintf(e.err, "\r\x1b[K%s: %s, reading %s", name, plural(l.events, "event"), day.Format("2006-01-02"))
		}
	}
	var paths []string
	days := 0
	for day := from.Truncate(24 * time.Hour); day.Before(to); day = day.Add(24 * time.Hour) {
		path, n, err := l.day(ctx, day, from, to, now)
		if l.progress != nil {
			fmt.Fprint(e.err, "\r\x1b[K")
		}
		if err != nil {
			code := exitUsage
			if errors.Is(err, responders.ErrRetry) {
				code = exitUnreachable
			}
			err = fmt.Errorf("%s: the %s could not be read: %w", name, day.Format("2006-01-02"), h.noRoom(err))
			if days > 0 && h.cache == "" {
				err = fmt.Errorf("%w; with --cache the days before it are kept for the next time", err)
			} else if days > 0 {
				err = fmt.Errorf("%w; the days before it are kept, the same command goes on from there", err)
			}
			return nil, exit(code, err)
		}
		days++
		if n > 0 {
			paths = append(paths, path)
		}
	}
	if !h.quiet {
		fmt.Fprintf(e.err, "%s: %s of %s", name, plural(l.events, "event"), plural(days, "day"))
		if l.reused > 0 {
			fmt.Fprintf(e.err, ", %d of the days from --cache", l.reused)
		}
		fmt.Fprintf(e.err, ", in %s\n", plural(l.calls, "call"))
	}
	if len(paths) == 0 {
		return nil, exit(exitFindings, fmt.Errorf("%s has no event of that time", name))
	}
	return paths, nil
}

// lookup reads the event history of a region.
type lookup struct {
	client      *ram.Client
	region, dir string
	keep        bool                // parts of days too: the same run asks again
	progress    func(day time.Time) // nil: nobody looks

	wait  time.Duration // from one call to the next
	again time.Duration // before a page is asked for again the first time

	events, calls, reused int
	last                  time.Time // of the last call
	answered              bool      // one was
}

// settled is how long after its end a day's events are all there: late ones
// come within minutes.
const settled = 6 * time.Hour

// day reads the part of a day that lies between from and to. A whole day that
// has settled is kept under a name of its own and is not read again, and neither
// is a part when the same run goes on.
func (l *lookup) day(ctx context.Context, day, from, to, now time.Time) (path string, events int, err error) {
	start, end := day, day.Add(24*time.Hour)
	whole := !from.After(start) && !to.Before(end) && now.Sub(end) >= settled
	if from.After(start) {
		start = from
	}
	if to.Before(end) {
		end = to
	}
	path = filepath.Join(l.dir, fmt.Sprintf("lookup_%s_%s.jsonl", l.region, day.Format("2006-01-02")))
	if !whole && l.keep {
		path = filepath.Join(l.dir, fmt.Sprintf("lookup_%s_%s_%d-%d.jsonl", l.region, day.Format("2006-01-02"), start.UnixNano(), end.UnixNano()))
	} else if !whole {
		path = filepath.Join(l.dir, fmt.Sprintf("lookup_%s_%s_part.jsonl", l.region, day.Format("2006-01-02")))
	}
	if whole || l.keep {
		if n, err := countLines(path); err == nil {
			l.reused++
			l.events += n
			return path, n, nil
		}
	}
	err = writeWhole(path, func(w *bufio.Writer) error {
		events, err = l.query(ctx, w, day, start, end)
		return err
	})
	return path, events, err
}

// manyEvents is from how many events on the end of a query is looked at once more.
const manyEvents = 1000

// query reads all events of a time range. What the service answers to a page's
// token that it does not take (any more) is not documented, nor how many events
// one query gives: where the next page is refused, and behind a query of many
// events, another one is asked, from the last event's time on. That goes on as
// long as it brings events that were not there yet, so that nothing is skipped
// and nothing is read twice but what is of that moment.
func (l *lookup) query(ctx context.Context, w *bufio.Writer, day, start, end time.Time) (events int, err error) {
	have := overlap{start: start, end: end, last: start}
	from, next, asked, fresh := start, "", 0, 0 // asked and fresh: events of this query, and those of them that are new
	for {
		page, err := l.page(ctx, from, end, next)
		if err == nil && next != "" && page.Next == next {
			err = errors.New("the service gives the same page again and again")
		}
		if err != nil {
			if next == "" || fresh == 0 || errors.Is(err, responders.ErrRetry) || ctx.Err() != nil {
				return events, err
			}
			page.Events, page.Next = nil, ""
		}
		asked += len(page.Events)
		for _, ev := range page.Events {
			if !have.add(ev) {
				continue
			}
			if err := writeRecord(w, ev); err != nil {
				return events, err
			}
			fresh++
			events++
			l.events++
		}
		have.forget()
		if l.progress != nil {
			l.progress(day)
		}
		if next = page.Next; next != "" {
			continue
		}
		if err == nil && (asked < manyEvents || fresh == 0) {
			return events, nil
		}
		asked, fresh = 0, 0
		if at := have.until(); at.After(from) {
			from = at
		}
	}
}

// overlap is what two queries may both give: the events around the last one.
type overlap struct {
	start, end time.Time // of what is asked for

	last  time.Time            // of the events so far
	slack time.Duration        // how far one was behind those before it
	seen  map[string]time.Time // by what they are
}

// add says that an event is new.
func (o *overlap) add(ev []byte) bool {
	var head struct {
		At time.Time `json:"eventTime"`
	}
	digest := sha256.Sum256(ev)
	sum := string(digest[:])
	if _, ok := o.seen[sum]; ok {
		return false
	}
	if json.Unmarshal(ev, &head) != nil || head.At.Before(o.start) || head.At.After(o.end) {
		head.At = o.last // of no time, or one that was not asked for: as the one before it
	}
	if head.At.After(o.last) {
		o.last = head.At
	}
	o.slack = max(o.slack, o.last.Sub(head.At))
	if o.seen == nil {
		o.seen = map[string]time.Time{}
	}
	o.seen[sum] = head.At
	return true
}

// until is the time up to which all events are there. Whether a range has its
// first second is not documented.
func (o *overlap) until() time.Time { return o.last.Add(-o.slack - time.Second) }

// forget drops what lies before that.
func (o *overlap) forget() {
	for sum, at := range o.seen {
		if at.Before(o.until()) {
			delete(o.seen, sum)
		}
	}
}

// page reads a page, not sooner after the last than the service allows. One that
// has answered and does not any more is asked again for some minutes, twice as long
// after each time: a history of months takes hours, and half a day of it is nothing.
func (l *lookup) page(ctx context.Context, from, to time.Time, next string) (page ram.LookedUp, err error) {
	for again := l.again; ; again *= 2 {
		if wait := l.wait - time.Since(l.last); wait > 0 && l.calls > 0 {
			if err := pause.For(ctx, wait); err != nil {
				return ram.LookedUp{}, err
			}
		}
		l.calls++
		l.last = time.Now()
		page, err = l.client.LookupEvents(ctx, l.region, from, to, next)
		if err == nil {
			l.answered = true
			return page, nil
		}
		if !l.answered || !errors.Is(err, responders.ErrRetry) || again >= l.again<<askedAgain {
			return page, err
		}
		if pause.For(ctx, again) != nil {
			return page, err
		}
	}
}

// How long after its first failure a page is asked for again, after the attempts of
// the client, and how often: for two and a half minutes in all.
const (
	firstAgain = 5 * time.Second
	askedAgain = 5
)

// countLines counts the lines of a file that day wrote.
func countLines(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, buf := 0, make([]byte, 1<<16)
	for {
		k, err := f.Read(buf)
		n += bytes.Count(buf[:k], []byte("\n"))
		if errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return 0, err
		}
	}
}
