package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

func rulesExport(e *env) *cobra.Command {
	var f ruleFlags
	var out, dir string
	c := &cobra.Command{Use: "export [RULE|GLOB]...", Short: "Rules in the Sigma language, for other systems",
		Long: `rules export writes rules in the Sigma language: one document each, or two where a correlation
counts. What cannot be said in Sigma (memory of what is usual, facts that are worked out from
several fields, the meaning of a policy) is listed with the reason, and nothing of such a rule
is written: half a condition would be another rule. Where a Sigma rule is not exactly the rule,
a comment above it says so.`,
		Example: "  trailwarden rules export --out sigma/\n  trailwarden rules export 'ak.*' > ak.yml\n  trailwarden rules export -o json",
		RunE: func(_ *cobra.Command, a []string) error {
			if err := checkOutput(out, "sigma", "json"); err != nil {
				return err
			}
			set, err := f.load(e)
			if err != nil {
				return err
			}
			list := rules.Sigma(set, a...)
			if len(list) == 0 {
				return usagef("no rule matches %s; see: trailwarden rules list", strings.Join(a, " "))
			}
			if out == "json" {
				return printJSON(e.out, list)
			}
			if dir != "" {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return exit(exitUsage, err)
				}
			}
			written := 0
			for _, r := range list {
				if r.Why != "" {
					continue
				}
				doc := r.Text
				for _, n := range r.Notes {
					doc = "# " + n + "\n" + doc
				}
				if dir != "" {
					if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(r.Rule, ".", "_")+".yml"), []byte(doc), 0o644); err != nil {
						return exit(exitUsage, err)
					}
				} else {
					if written > 0 {
						fmt.Fprintln(e.out, "---")
					}
					fmt.Fprint(e.out, doc)
				}
				written++
			}
			for _, r := range list {
				if r.Why != "" {
					fmt.Fprintf(e.err, "not in Sigma: %s: %s\n", r.Rule, text.Terminal(r.Why))
				}
			}
			fmt.Fprintf(e.err, "%d of %d rules are written\n", written, len(list))
			return nil
		}}
	f.add(c)
	c.Flags().StringVarP(&out, "output", "o", "sigma", "output: sigma, json")
	c.Flags().StringVar(&dir, "out", "", "folder for one file a rule (default: all on standard output)")
	return c
}
