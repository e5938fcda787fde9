package cli

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

//go:embed cheat.md
var cheat string

func cheatCmd(e *env) *cobra.Command {
	return &cobra.Command{Use: "cheat [WORD]", Short: "Commands by what you want to do; with a word, only those about it", Args: args(0, 1, "at most one word"),
		RunE: func(_ *cobra.Command, a []string) error {
			if len(a) == 0 {
				_, err := e.out.Write([]byte(cheat))
				return err
			}
			word, found := strings.ToLower(a[0]), false
			for _, part := range strings.Split(cheat, "\n## ")[1:] {
				if strings.Contains(strings.ToLower(part), word) {
					found = true
					if _, err := e.out.Write([]byte("## " + strings.TrimRight(part, "\n") + "\n")); err != nil {
						return err
					}
				}
			}
			if !found {
				return exit(exitFindings, fmt.Errorf("nothing about %q; see: trailwarden cheat", a[0]))
			}
			return nil
		}}
}
