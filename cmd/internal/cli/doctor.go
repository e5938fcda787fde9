package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/doctor"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

func doctorCmd(e *env) *cobra.Command {
	var path, out string
	c := &cobra.Command{Use: "doctor", Short: "Look at everything that is depended on, and say what to do about what is not well",
		Long: `doctor looks at the configuration, the store, the credentials, each logstore and its
trail, the destinations and the containment role, with the same clients that run uses.
It changes nothing and sends nothing. Each fault has a code; explain CODE says more.

Exit: 0 nothing is red, 1 something is, 2 the configuration cannot be read, 3 something
does not answer.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkOutput(out, "table", "json"); err != nil {
				return err
			}
			cfg, err := config.Load(configPath(e, path), e.environ)
			if err != nil {
				return exit(exitUsage, fmt.Errorf("TW101: the configuration cannot be used:\n%w", err))
			}
			o := doctor.Options{Config: cfg, Path: configPath(e, path)}
			if out == "table" {
				o.Each = doctorPrinter(e)
			}
			r := doctor.Run(c.Context(), o)
			if out == "json" {
				if err := printJSON(e.out, r); err != nil {
					return err
				}
			} else {
				printVerdict(e, r)
			}
			switch {
			case r.Unreachable():
				return exit(exitUnreachable, nil)
			case r.Worst() == doctor.Fail:
				return exit(exitFindings, nil)
			}
			return nil
		}}
	addConfigFlag(c, &path)
	addOutput(c, &out, "table, json")
	return c
}

// doctorPrinter writes a check as soon as it is known, under its group.
func doctorPrinter(e *env) func(doctor.Check) {
	group := ""
	colour := e.terminal(e.out)
	paint := func(s doctor.State, mark string) string {
		if !colour {
			return mark
		}
		// Green, grey, yellow, red.
		return fmt.Sprintf("\x1b[%dm%s\x1b[0m", map[doctor.State]int{doctor.OK: 32, doctor.Info: 90, doctor.Warn: 33, doctor.Fail: 31}[s], mark)
	}
	marks := map[doctor.State]string{doctor.OK: "ok  ", doctor.Info: "-   ", doctor.Warn: "WARN", doctor.Fail: "FAIL"}
	return func(c doctor.Check) {
		if c.Group != group {
			group = c.Group
			fmt.Fprintln(e.out, text.Terminal(group))
		}
		code := ""
		if c.Code != "" {
			code = " [" + c.Code + "]"
		}
		lines := strings.Split(c.Detail, "\n")
		fmt.Fprintf(e.out, "  %s %s: %s%s\n", paint(c.State, marks[c.State]), text.Terminal(c.Name), text.Terminal(lines[0]), code)
		for _, l := range lines[1:] {
			fmt.Fprintf(e.out, "       %s\n", text.Terminal(l))
		}
		if c.Remedy != "" {
			fmt.Fprintf(e.out, "       -> %s\n", text.Terminal(c.Remedy))
		}
	}
}

func printVerdict(e *env, r *doctor.Report) {
	red, yellow := r.Count(doctor.Fail), r.Count(doctor.Warn)
	next := "run"
	if slices.ContainsFunc(r.Checks, func(c doctor.Check) bool { return c.Group == "program" && c.State == doctor.OK }) {
		next = "top" // it runs
	}
	switch {
	case red > 0:
		first := ""
		for _, c := range r.Checks {
			if c.State == doctor.Fail {
				first = c.Code
				break
			}
		}
		fmt.Fprintf(e.out, "\n%d red, %d yellow. More about one: trailwarden explain %s\n", red, yellow, first)
	case yellow > 0:
		fmt.Fprintf(e.out, "\nnothing is red, %d yellow. Next: trailwarden %s --config %s\n", yellow, next, r.Config)
	default:
		fmt.Fprintf(e.out, "\nall is well. Next: trailwarden %s --config %s\n", next, r.Config)
	}
}
