package cli

import (
	"fmt"
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
	c.Flags().BoolVar(&headless, "headless", false, "never ask, no console; end by itself")
	c.Flags().StringVar(&dir, "dir", "", "keep the store, the log and the cloud's journal in this folder")
	return c
}
