package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/explain"
	"github.com/trailwarden/trailwarden/rules"
)

func explainCmd(e *env) *cobra.Command {
	return &cobra.Command{Use: "explain [CODE]", Short: "Say what a fault code means and what to do; without a code, list all",
		Args: args(0, 1, "one code, such as TW303"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var out []string
			for _, p := range explain.Pages() {
				out = append(out, p.Code+"\t"+p.Title)
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, a []string) error {
			if len(a) == 0 {
				for _, p := range explain.Pages() {
					fmt.Fprintf(e.out, "%s  %s\n", p.Code, p.Title)
				}
				return nil
			}
			p, ok := explain.Find(a[0])
			if !ok {
				var codes []string
				for _, p := range explain.Pages() {
					codes = append(codes, p.Code)
				}
				hint := rules.DidYouMean(strings.ToUpper(a[0]), codes)
				if hint != "" {
					hint = "; " + hint
				}
				return usagef("there is no code %q%s\nsee: trailwarden explain", a[0], hint)
			}
			fmt.Fprintf(e.out, "%s: %s\n\n%s\n", p.Code, p.Title, p.Text)
			return nil
		}}
}
