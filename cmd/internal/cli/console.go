package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
)

func consoleCmd(e *env) *cobra.Command {
	c := operation(e, "console", "Print a link that signs a browser in to the running program's web console", noArgs,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			l, err := c.ConsoleLink(ctx)
			if err != nil {
				return err
			}
			fmt.Fprintln(e.err, "open this within five minutes; it signs one browser in as you, once:")
			fmt.Fprintln(e.out, l.URL)
			return nil
		})
	c.Long = `console prints a link to the web console of the running program. The link is good for one
browser and five minutes; what is done in that browser is recorded as done by the system user
who ran this command, as with "action approve". The program needs console: {enabled: true}.`
	return c
}
