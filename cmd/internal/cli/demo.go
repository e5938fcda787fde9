package cli

import (
	"bufio"
	"context"
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
				in := bufio.NewReader(e.in)
				o.Ask = func(q string) bool {
					fmt.Fprintf(e.out, "%s [Y/n] ", q)
					s, err := in.ReadString('\n')
					if err != nil {
						return true // nobody there to ask
					}
					a := strings.ToLower(strings.TrimSpace(s))
					return a == "" || a == "y" || a == "yes"
				}
				o.Console = true
				o.Hold = func(ctx context.Context, message string) {
					fmt.Fprintln(e.out, message)
					entered := make(chan struct{})
					go func() { _, _ = in.ReadString('\n'); close(entered) }() // ends with the program
					select {
					case <-entered:
					case <-ctx.Done():
					}
				}
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
