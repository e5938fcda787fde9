package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// logger writes the program's own log to stderr: text on a terminal, JSON
// elsewhere, unless the configuration says which.
func logger(e *env, c config.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // the configuration was validated
	format := c.Format
	if format == "" {
		format = "json"
		if e.terminal(e.err) {
			format = "text"
		}
	}
	if format == "text" {
		return slog.New(tint.NewTextHandler(e.err, &tint.Options{Level: level, NoColor: !e.terminal(e.err), TimeFormat: "15:04:05.000"}))
	}
	return slog.New(slog.NewJSONHandler(e.err, &slog.HandlerOptions{Level: level}))
}

func runCmd(e *env) *cobra.Command {
	var path string
	var roles []string
	var adopt bool
	c := &cobra.Command{Use: "run", Short: "Run the live pipeline: read, detect, alert, respond", Args: noArgs,
		Long: `run reads the trail, detects, alerts and responds until it is asked to end (SIGTERM, SIGINT).

A store that has a history but lacks one of its streams is refused: to start empty would lose
alerts without a word. When no copy of the store can be put back, --adopt-missing-streams makes
what is missing again, for this start, and takes over the data files that are left. What was
in the rest is read again from SLS within its retention, except the journal: without ACTIONS,
what was told and done is not remembered, and alerts that are still open may be told again.

Rules, exceptions, lists and address data are read again when their files change (see
detect.reload), or on SIGHUP: all of them or, with any error, none. Which files those are, and
what is left out, is read again from the section detect of the configuration; everything else
counts from the start, and status says what was changed since.`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(e, path)
			if err != nil {
				return err
			}
			stayBelow()
			log := logger(e, cfg.Log)
			hangup := make(chan os.Signal, 1)
			signal.Reset(syscall.SIGHUP) // it does not end run
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			a, err := app.New(c.Context(), app.Options{Config: cfg, Log: log, Roles: roles, Version: Version(), Path: configPath(e, path), Hangup: hangup, Adopt: adopt,
				Reread: func() (*config.Config, error) { return config.Load(configPath(e, path), e.environ) }})
			if err != nil {
				if errors.Is(err, app.ErrUnusable) {
					return exit(exitUsage, err)
				}
				return exit(exitUnreachable, err)
			}
			if err := a.Run(c.Context()); err != nil {
				return exit(exitUnreachable, err)
			}
			return nil
		}}
	addConfigFlag(c, &path)
	c.Flags().StringSliceVar(&roles, "role", nil, "ingest, detect, respond (default all); apart only with nats.url")
	c.Flags().BoolVar(&adopt, "adopt-missing-streams", false, "once, after a damage: make streams again that are missing from the store")
	return c
}

func fakecloudCmd(e *env) *cobra.Command {
	var o fakecloud.Options
	var events []string
	var journal string
	var rate float64
	var upToNow bool
	c := &cobra.Command{Use: "fakecloud", Short: "Serve SLS, RAM, STS, ActionTrail and Slack on loopback, fed from files",
		Long: `fakecloud emulates the cloud and the chat on one loopback address, feeds the records
of --events into its logstore, and prints one line of JSON with its endpoints and the path
of a configuration for "trailwarden run". Every request it receives is written to --journal
as one line of JSON. What a record says was done to users, keys, roles, policies or trails
is done in the fake account, where containment finds it. At a --rate, what trailwarden
changes there comes back as a record. With --up-to-now the newest record is of now, as
doctor and the guards of containment want it.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if journal != "" {
				f, err := os.OpenFile(journal, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
				if err != nil {
					return exit(exitUsage, fmt.Errorf("--journal: %w", err))
				}
				defer f.Close()
				o.Journal = f
			}
			if o.Dir != "" {
				if o.Dir, err = filepath.Abs(o.Dir); err != nil {
					return exit(exitUsage, err)
				}
			}
			// All of them first: the users and keys they name exist before they act.
			var seed [][]byte
			if len(events) > 0 {
				in, err := replay.Open(events, replay.Options{Stdin: e.in})
				if err != nil {
					return exit(exitUsage, fmt.Errorf("--events: %w", err))
				}
				for _, r := range in.Records(c.Context()) {
					seed = append(seed, append([]byte(nil), r...))
				}
				for _, f := range in.Failed() {
					return exit(exitUsage, fmt.Errorf("--events: %w", f))
				}
			}
			if upToNow {
				if err := fakecloud.UpToNow(seed, time.Now()); err != nil {
					return exit(exitUsage, fmt.Errorf("--up-to-now: %w", err))
				}
			}
			var newest atomic.Int64 // time of the events fed, Unix seconds
			if rate > 0 {
				o.Now = func() time.Time { return time.Unix(newest.Load(), 0) }
			}
			o.OnForget = func(account string, kept int) {
				fmt.Fprintf(e.err, "fakecloud: LookupEvents (actiontrail://) has only the newest %d events of account %s; the logstore has all of them\n", kept, text.Terminal(account))
			}
			cloud, err := fakecloud.Start(o, fakecloud.Accounts(seed))
			if err != nil {
				return exit(exitUsage, err)
			}
			defer func() { err = errors.Join(err, cloud.Close()) }()
			for _, r := range seed {
				cloud.Seed(r)
			}
			if err := printLine(e, cloud.Endpoints()); err != nil {
				return err
			}
			i := 0
			n, err := cloud.Feed(c.Context(), func() ([]byte, error) {
				if i == len(seed) {
					return nil, nil
				}
				i++
				if o.Now != nil {
					_ = event.Unwrap(seed[i-1], func(one []byte) bool {
						if ev, err := event.Parse(one); err == nil {
							newest.Store(max(newest.Load(), ev.Time.Unix()))
						}
						return true
					})
				}
				return seed[i-1], nil
			}, rate)
			if err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			fmt.Fprintf(e.err, "fakecloud: %d records are in the logstore; serving until interrupted\n  in another terminal: trailwarden run --config %s\n  the team's channel:  curl -s http://%s/fake/messages\n", n, cloud.Config, cloud.Addr)
			<-c.Context().Done()
			return nil
		}}
	c.Flags().StringSliceVar(&events, "events", nil, "file or folder of records, any form that replay reads (repeatable)")
	c.Flags().Float64Var(&rate, "rate", 0, "records a second (0: as fast as it goes)")
	c.Flags().BoolVar(&upToNow, "up-to-now", false, "move all times by one amount, so that the newest event is of now")
	c.Flags().StringVar(&journal, "journal", "", "file that gets one JSON line for every request")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:0", "loopback host:port")
	c.Flags().StringVar(&o.Dir, "dir", "", "folder for the written configuration and state (default: a temporary one, removed at the end)")
	return c
}

// printLine writes v as one line of JSON.
func printLine(e *env, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.out, "%s\n", b)
	return err
}
