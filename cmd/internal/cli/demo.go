package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/demo"
)

func demoCmd(e *env) *cobra.Command {
	var headless bool
	var dir string
	c := &cobra.Command{Use: "demo", Short: "The first minute: an intrusion, caught and contained; no account, no network", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o := demo.Options{Out: e.out, Colour: e.terminal(e.out), Width: e.width(e.out), Dir: dir, Now: time.Now()}
			if !headless || dir != "" { // headless leaves nothing behind that nobody asked for
				o.Report = func(ctx context.Context, records io.Reader) (string, error) { return demoReport(ctx, dir, records) }
			}
			if !headless && e.terminal(e.out) {
				p := newPrompt(c.Context(), e, e.out)
				o.Ask = func(q string) bool {
					a, err := p.ask(q + " [Y/n] ")
					a = strings.ToLower(a)
					return err != nil || a == "" || a == "y" || a == "yes" // also with nobody there to ask; when interrupted, Play ends
				}
				o.Console = true
				o.Hold = func(message string) { _, _ = p.ask(message + "\n") } // what is typed means nothing
			}
			if _, err := demo.Play(c.Context(), o); err != nil {
				return exit(exitFindings, fmt.Errorf("demo: %w", err))
			}
			return nil
		}}
	c.Flags().BoolVar(&headless, "headless", false, "never ask, no console; end by itself, and leave nothing behind without --dir")
	c.Flags().StringVar(&dir, "dir", "", "keep the store, the log, the cloud's journal and the report in this folder")
	return c
}

// demoReport replays the records of the demo, as anybody would, and leaves the page in
// dir, or in a temporary folder that stays.
func demoReport(ctx context.Context, dir string, records io.Reader) (path string, err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "trailwarden-demo-"); err != nil {
			return "", err
		}
	}
	// Of the user's own configuration nothing counts here.
	conf := filepath.Join(dir, "report.yaml")
	if err := os.WriteFile(conf, []byte("state_dir: "+strconv.Quote(dir)+"\naccounts: {\""+demo.Account+"\": prod}\n"), 0o600); err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(conf) }()
	path = filepath.Join(dir, "report.html")
	var errs strings.Builder
	c := replayCmd(&env{records, io.Discard, &errs, nil})
	c.SetArgs([]string{"--quiet", "--config", conf, "--output", "html", "--out", path, "-"})
	c.SilenceErrors, c.SilenceUsage = true, true
	if err := c.ExecuteContext(ctx); err != nil {
		return "", fmt.Errorf("%w %s", err, strings.TrimSpace(errs.String()))
	}
	return path, nil
}
