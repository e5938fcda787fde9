package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
	"golang.org/x/term"
)

// Exit codes.
const (
	exitOK          = 0
	exitFindings    = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
	exitInterrupted = 130
)

// exitError carries the exit code of a failure. A nil Err prints nothing more.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

//go:noinline
func exit(code int, err error) error { return &exitError{code, err} }

func usagef(format string, args ...any) error { return exit(exitUsage, fmt.Errorf(format, args...)) }

// env is what a command may touch of the world.
type env struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
}

// getenv looks up one variable of the environment given to Main.
func (e *env) getenv(name string) string {
	for i := len(e.environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(e.environ[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// terminal says whether w is a terminal that wants colour.
func (e *env) terminal(w io.Writer) bool {
	f, ok := fileOf(w)
	return ok && term.IsTerminal(int(f.Fd())) && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb"
}

// width of the terminal behind w, 0 when it is none.
func (e *env) width(w io.Writer) int {
	if f, ok := fileOf(w); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return 0
}

// Main runs one command and returns its exit code.
func Main(args []string, in io.Reader, out, errw io.Writer, environ []string) int {
	runtime.MemProfileRate = 0 // samples that nobody can ask for
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		ends = append(ends, syscall.SIGHUP) // the terminal is gone; run takes it back
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	return Run(ctx, args, &env{in, out, errw, environ})
}

// Run is Main under a context that the caller owns.
func Run(ctx context.Context, args []string, e *env) int {
	out := &remembered{w: e.out}
	root := newRoot(&env{e.in, out, e.err, e.environ})
	strict(root)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var ee *exitError
	code := exitOK
	switch {
	case errors.As(err, &ee):
		code = ee.code
	case err != nil:
		code = exitUsage // what cobra itself refuses is usage
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return exitInterrupted
	}
	say := func(err error) {
		if msg := err.Error(); msg != "" {
			fmt.Fprintf(e.err, "trailwarden: %s\n", text.Log(msg)) // names of files and what services say are in it
		}
	}
	if err != nil {
		say(err)
	}
	if lost := out.lost(); lost != nil && (code == exitOK || code == exitFindings) {
		if code = exitUsage; !errors.Is(err, lost) {
			say(lost)
		}
	}
	return code
}

func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "trailwarden",
		Short: "Watches Alibaba Cloud's audit log for attacks on identity and permissions, alerts, and contains",
		Long: `trailwarden tails ActionTrail events from SLS, finds attacks on identity and
permissions with rules and stateful detectors, tells people in chat, and contains
what is leaking. It replays history through the very same engine.

No account? Start with:  trailwarden demo`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_ = c.Help() // writes to stdout; a failure there has nowhere to be told
			return nil
		},
	}
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.AddCommand( // setting up and living with it
		initCmd(e), topCmd(e), tapCmd(e), checkCmd(e), supportCmd(e), cheatCmd(e), referenceCmd(e), backupCmd(e), restoreCmd(e), upgradeCmd(e),
	)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		var bad *pflag.InvalidValueError
		if errors.As(err, &bad) && wanted(bad.GetFlag()) != "" {
			return notWanted(c, bad.GetFlag(), bad.GetValue())
		}
		return usagef("%w\nsee: %s --help", err, c.CommandPath())
	})
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) (err error) {
		c.Flags().Visit(func(f *pflag.Flag) {
			s := f.Value.String()
			if err == nil && f.Value.Type() != "bool" && wanted(f) != "" && (s[0] == '-' || s == "NaN" || s == "+Inf") {
				err = notWanted(c, f, s)
			}
		})
		return err
	}
	root.AddCommand(
		demoCmd(e), doctorCmd(e), explainCmd(e), runCmd(e), fakecloudCmd(e), replayCmd(e), entityCmd(e), baselineCmd(e), rulesCmd(e), policyCmd(e),
		synthCmd(e), alertsCmd(e), actionCmd(e), notifyCmd(e), routeCmd(e), muteCmd(e), auditCmd(e), parkedCmd(e), statusCmd(e), consoleCmd(e), configCmd(e), versionCmd(e),
	)
	completions(e, root)
	return root
}

// wanted is what a flag takes, in words, of those whose values are not text. None
// takes less than nothing.
func wanted(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "int", "uint64":
		return "a whole number from 0 on, such as 7"
	case "float64":
		return "a number from 0 on, such as 2.5"
	case "duration":
		return "a time with its unit, not below 0, such as 90s, 15m or 2h"
	case "bool":
		return "true or false"
	}
	return ""
}

func notWanted(c *cobra.Command, f *pflag.Flag, value string) error {
	return usagef("--%s %q: want %s\nsee: %s --help", f.Name, text.Cut(text.Line(value), 80), wanted(f), c.CommandPath())
}

func versionCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(e.out, "trailwarden", Version())
			return nil
		},
	}
}

// Version is the module's version as the build recorded it, "devel" otherwise.
func Version() string {
	v, rev, dirty := "devel", "", ""
	if bi, ok := debug.ReadBuildInfo(); ok {
		if bi.Main.Version != "" && bi.Main.Version != "(devel)" {
			v = bi.Main.Version
		}
		for _, s := range bi.Settings {
			switch {
			case s.Key == "vcs.revision" && len(s.Value) >= 12:
				rev = " " + s.Value[:12]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "+changes"
			}
		}
	}
	return v + rev + dirty
}

// unknown says that c has no command of that name, and which is the closest or
// begins with it.
func unknown(c *cobra.Command, word string) error {
	var names []string
	begins := ""
	for _, sub := range c.Commands() {
		if !sub.IsAvailableCommand() {
			continue
		}
		names = append(names, sub.Name())
		if begins == "" && word != "" && strings.HasPrefix(sub.Name(), strings.ToLower(word)) {
			begins = fmt.Sprintf("did you mean %q?", sub.Name())
		}
	}
	hint := cmp.Or(rules.DidYouMean(word, names), begins)
	if hint != "" {
		hint = "; " + hint
	}
	return usagef("unknown command %q for %q%s\nsee: %s --help", text.Cut(text.Line(word), 80), c.CommandPath(), hint, c.CommandPath())
}

// strict has what cobra adds by itself refuse what it does not know.
func strict(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Run, c.RunE = nil, func(_ *cobra.Command, words []string) error {
				about := root
				for _, w := range words {
					i := slices.IndexFunc(about.Commands(), func(sub *cobra.Command) bool { return sub.Name() == w || sub.HasAlias(w) })
					if i < 0 {
						return unknown(about, w)
					}
					about = about.Commands()[i]
				}
				about.InitDefaultHelpFlag() // so that it is shown
				return about.Help()
			}
		case "completion":
			c.Args = noArgs
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}

// noArgs refuses what follows a command that wants nothing more.
func noArgs(c *cobra.Command, a []string) error {
	if len(a) == 0 {
		return nil
	}
	if c.HasSubCommands() {
		return unknown(c, a[0])
	}
	return usagef("%s takes flags and no argument, and was given %q\nsee: %s --help", strings.TrimPrefix(c.CommandPath(), "trailwarden "), text.Cut(text.Line(a[0]), 80), c.CommandPath())
}

// args phrases what was wrong for people.
func args(min, max int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, a []string) error {
		if len(a) < min || max >= 0 && len(a) > max {
			return usagef("%s wants %s\nsee: %s --help", strings.TrimPrefix(c.CommandPath(), "trailwarden "), what, c.CommandPath())
		}
		return nil
	}
}
