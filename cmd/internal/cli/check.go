package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// checked is the verdict of `trailwarden check` on a running program.
type checked struct {
	Version  int      `json:"version"` // of this shape
	State    string   `json:"state"`   // ok, warning, critical or unknown
	Reasons  []string `json:"reasons"`
	Running  bool     `json:"running"`
	Ready    bool     `json:"ready"`
	Behind   float64  `json:"behind_seconds"`   // of the source that is furthest behind
	Pull     float64  `json:"pull_age_seconds"` // since the oldest last good read
	Lag      uint64   `json:"lag_frames"`
	Late     uint64   `json:"late_events"` // so far
	Parked   uint64   `json:"parked"`
	Waiting  int      `json:"notices_waiting"`
	Dead     int      `json:"notices_dead"`
	StoreMax float64  `json:"store_used_ratio"`
}

// rank orders states as Nagios numbers them.
var rank = map[string]int{"ok": 0, "warning": 1, "critical": 2, "unknown": 3}

func (c *checked) worse(state, format string, a ...any) {
	if rank[state] > rank[c.State] {
		c.State = state
	}
	c.Reasons = append(c.Reasons, text.Line(fmt.Sprintf(format, a...)))
}

// thresholds of check.
type thresholds struct {
	warnBehind, critBehind time.Duration
	warnStore, critStore   float64
}

// judge is the verdict at now.
func judge(s admin.Status, t thresholds, now time.Time) checked {
	c := checked{Version: 1, State: "ok", Reasons: []string{}, Running: true, Ready: s.Ready, StoreMax: s.Store.Fraction}
	for _, src := range s.Sources {
		c.Behind = max(c.Behind, src.BehindSeconds)
		since := src.Seen()
		if since.IsZero() {
			since = s.Started
		}
		c.Pull = max(c.Pull, now.Sub(since).Seconds())
	}
	for _, p := range s.Partitions {
		c.Lag += p.Lag
		c.Late += p.Late
	}
	for _, n := range s.Parked {
		c.Parked += n
	}
	for _, d := range s.Destinations {
		c.Waiting += d.Waiting
		c.Dead += d.Dead
	}
	state := "warning"
	if !s.Ready {
		state = "critical"
		if len(s.Problems) == 0 {
			c.worse(state, "not ready")
		}
	}
	for _, p := range s.Problems {
		c.worse(state, "%s", p)
	}
	switch b := time.Duration(c.Behind * float64(time.Second)); {
	case b >= t.critBehind:
		c.worse("critical", "%s behind the logstore", b.Round(time.Second))
	case b >= t.warnBehind:
		c.worse("warning", "%s behind the logstore", b.Round(time.Second))
	}
	switch {
	case c.StoreMax >= t.critStore:
		c.worse("critical", "the store is %.0f %% full", 100*c.StoreMax)
	case c.StoreMax >= t.warnStore:
		c.worse("warning", "the store is %.0f %% full", 100*c.StoreMax)
	}
	if c.Parked > 0 {
		c.worse("warning", "%s %s parked (trailwarden parked ls)", plural(c.Parked, "record"), isAre(c.Parked))
	}
	if s.Frozen.Frozen {
		c.worse("warning", "containment is frozen by %s", s.Frozen.By)
	}
	return c
}

func checkCmd(e *env) *cobra.Command {
	var path, state, format string
	t := thresholds{warnBehind: 5 * time.Minute, critBehind: 30 * time.Minute, warnStore: 0.8, critStore: 0.95}
	c := &cobra.Command{Use: "check", Short: "Ask the running program whether it sees and works, for monitoring",
		Long: `check asks the running program over its socket and prints one verdict.

  text        one line for people
  json        one object, for scripts
  nagios      one line with performance data, for Nagios, Icinga, Checkmk and Sensu
  prometheus  the exposition format, for the textfile collector of the node exporter

Exit: 0 ok, 1 something is wrong, 2 usage, 3 it does not run. With --format nagios the codes
are Nagios's own: 0 ok, 1 warning, 2 critical, 3 unknown.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nagios := format == "nagios"
			if !slices.Contains([]string{"text", "json", "nagios", "prometheus"}, format) {
				return usagef("format %q: want text, json, nagios or prometheus", format)
			}
			if most := max(t.warnStore, t.critStore); most > 1 { // it would warn of nothing
				return usagef("--warn-store and --crit-store want a part of the store, such as 0.8, and not %g", most)
			}
			v := checked{Version: 1, State: "ok", Reasons: []string{}}
			fail := func(err error) { v.worse("unknown", "%v", err) }
			dir, err := stateDir(e, path, state)
			switch {
			case err != nil && !nagios:
				return err
			case err != nil:
				fail(errors.New("the configuration cannot be used; give --state"))
			default:
				ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
				defer cancel()
				s, err := admin.Dial(dir).Status(ctx)
				switch {
				case errors.Is(err, admin.ErrNotRunning):
					v.worse("critical", "it does not run: attacks are not seen")
				case err != nil:
					fail(err)
				default:
					v = judge(s, t, time.Now())
				}
			}
			if err := printVerdictOf(e, v, format); err != nil {
				return err
			}
			switch {
			case nagios:
				return exit(rank[v.State], nil)
			case !v.Running:
				return exit(exitUnreachable, nil)
			case v.State != "ok":
				return exit(exitFindings, nil)
			}
			return nil
		}}
	addConfigFlag(c, &path)
	f := c.Flags()
	f.StringVar(&state, "state", "", "state folder of the running program (default: as the configuration says)")
	f.StringVarP(&format, "format", "f", "text", "text, json, nagios or prometheus")
	f.DurationVar(&t.warnBehind, "warn-behind", t.warnBehind, "warning when the newest record read was this old")
	f.DurationVar(&t.critBehind, "crit-behind", t.critBehind, "critical when it was this old")
	f.Float64Var(&t.warnStore, "warn-store", t.warnStore, "warning when this part of the fullest stream is used")
	f.Float64Var(&t.critStore, "crit-store", t.critStore, "critical when this part is")
	return c
}

func printVerdictOf(e *env, v checked, format string) error {
	summary := strings.Join(v.Reasons, "; ")
	if summary == "" {
		summary = fmt.Sprintf("ready, %.0f s behind", v.Behind)
	}
	switch format {
	case "json":
		return printJSON(e.out, v)
	case "nagios":
		// A bar would begin the performance data.
		line := strings.ReplaceAll(fmt.Sprintf("TRAILWARDEN %s - %s", strings.ToUpper(v.State), text.Terminal(summary)), "|", "/")
		if v.Running {
			line += fmt.Sprintf(" | behind=%.1fs pull_age=%.1fs lag=%d late=%dc parked=%d waiting=%d dead=%d store=%.1f%%", v.Behind, v.Pull, v.Lag, v.Late, v.Parked, v.Waiting, v.Dead, 100*v.StoreMax)
		}
		fmt.Fprintln(e.out, line)
	case "prometheus":
		g := func(name, help string, value float64) {
			fmt.Fprintf(e.out, "# HELP trailwarden_check_%s %s\n# TYPE trailwarden_check_%s gauge\ntrailwarden_check_%s %g\n", name, help, name, name, value)
		}
		flag := map[bool]float64{true: 1}
		g("running", "Whether the program runs.", flag[v.Running])
		g("ready", "Whether it sees everything and can write.", flag[v.Ready])
		g("state", "0 ok, 1 warning, 2 critical, 3 unknown.", float64(rank[v.State]))
		if v.Running {
			g("behind_seconds", "Age of the newest record when it was read, and for how long reading has stood still.", v.Behind)
			g("pull_age_seconds", "Time since the oldest last good read of a source.", v.Pull)
			g("lag_frames", "Frames stored and not yet evaluated.", float64(v.Lag))
			g("late_events", "Events that came after the watermark, so far.", float64(v.Late))
			g("parked_records", "Records in quarantine.", float64(v.Parked))
			g("notices_waiting", "Messages and edits that wait.", float64(v.Waiting))
			g("notices_dead", "Messages given up.", float64(v.Dead))
			g("store_used_ratio", "Used part of the fullest stream.", v.StoreMax)
		}
	default:
		fmt.Fprintf(e.out, "%s: %s\n", v.State, text.Terminal(summary))
	}
	return nil
}
