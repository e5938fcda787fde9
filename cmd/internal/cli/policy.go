package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

func policyCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "policy", Short: "What a RAM policy allows, and what a change of it newly allows", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	root.AddCommand(policyDiff(e), policyExplain(e))
	return root
}

// policyFlags are those of every command about policy documents.
type policyFlags struct {
	kind, account, out, lang string
}

func (f *policyFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.kind, "kind", "", "what the document is attached to: identity, trust, resource or control (default trust or resource where it names a Principal, else identity)")
	c.Flags().StringVar(&f.account, "account", "", "account id the document belongs to; tells own from foreign principals")
	c.Flags().StringVarP(&f.out, "output", "o", "text", "output: text, json")
	c.Flags().StringVar(&f.lang, "lang", "en", "language of the sentences: en, zh")
}

// options are what the documents are read under; known completes them.
func (f *policyFlags) options() (rampolicy.Options, error) {
	var k rampolicy.Kind
	var err error
	if f.kind != "" {
		if k, err = rampolicy.ParseKind(f.kind); err != nil {
			return rampolicy.Options{}, usagef("--kind: %w", err)
		}
	}
	if f.out != "text" && f.out != "json" {
		return rampolicy.Options{}, usagef("output %q: want text or json", f.out)
	}
	if f.lang != "en" && f.lang != "zh" {
		return rampolicy.Options{}, usagef("--lang %q: want en or zh", f.lang)
	}
	return rampolicy.Options{Kind: k, Account: f.account}, nil
}

// known sets the kind that the documents look like, where none was given.
func (f *policyFlags) known(e *env, o *rampolicy.Options, docs ...*rampolicy.Document) {
	if f.kind != "" {
		return
	}
	if o.Kind = rampolicy.KindOf(docs...); o.Kind != rampolicy.Identity {
		fmt.Fprintf(e.err, "read as --kind %s, since a statement names a Principal\n", o.Kind)
	}
}

func (f *policyFlags) show(e *env, r rampolicy.Result) error {
	if f.out == "json" {
		return printJSON(e.out, r)
	}
	printPolicy(e, r, f.lang == "zh")
	return nil
}

func policyDiff(e *env) *cobra.Command {
	var f policyFlags
	c := &cobra.Command{Use: "diff OLD NEW", Short: "Say what NEW allows that OLD did not; exit 1 when it expands",
		Long: `diff compares two policy documents by what they mean, not by their text, and says in
words what NEW newly allows, with a concrete request as proof. What cannot be decided is
"unknown" and is handled as expanding. OLD may be /dev/null: compared with nothing.
Placeholders like ${var.bucket} may stand for anything; a document longer than the cloud
takes is compared all the same, with a note.`,
		Args: args(2, 2, "two files (or - for one of them)"),
		RunE: func(_ *cobra.Command, a []string) error {
			o, err := f.options()
			if err != nil {
				return err
			}
			if a[0] == "-" && a[1] == "-" {
				return usagef("standard input holds one document: name a file for the other")
			}
			old, err := readPolicy(e, a[0], true)
			if err != nil {
				return err
			}
			now, err := readPolicy(e, a[1], false)
			if err != nil {
				return err
			}
			f.known(e, &o, now, old)
			r := rampolicy.Diff(old, now, o)
			if err := f.show(e, r); err != nil {
				return err
			}
			switch r.Verdict {
			case rampolicy.Expands, rampolicy.Changes, rampolicy.Unknown:
				return exit(exitFindings, nil)
			}
			return nil
		}}
	f.add(c)
	return c
}

func policyExplain(e *env) *cobra.Command {
	var f policyFlags
	c := &cobra.Command{Use: "explain FILE", Short: "Say what a policy document allows, worst first", Args: args(1, 1, "one file (or -)"),
		RunE: func(_ *cobra.Command, a []string) error {
			o, err := f.options()
			if err != nil {
				return err
			}
			d, err := readPolicy(e, a[0], false)
			if err != nil {
				return err
			}
			f.known(e, &o, d)
			return f.show(e, rampolicy.Explain(d, o))
		}}
	f.add(c)
	return c
}

// readPolicy parses a document; an empty file is no document where none is fine.
func readPolicy(e *env, path string, none bool) (*rampolicy.Document, error) {
	in := e.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, exit(exitUsage, err)
		}
		defer f.Close()
		in = f
	}
	// Room for what is refused as too long.
	b, err := io.ReadAll(io.LimitReader(in, rampolicy.MaxText+1))
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	if len(b) > rampolicy.MaxText {
		return nil, exit(exitUsage, fmt.Errorf("%s: longer than the %d bytes that are read; RAM takes at most 6144 characters", path, rampolicy.MaxText))
	}
	// A byte order mark of editors of other systems means nothing.
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if none && strings.TrimSpace(string(b)) == "" {
		return nil, nil
	}
	d, err := rampolicy.Parse(string(b))
	if err != nil {
		var pe *rampolicy.ParseError
		if errors.As(err, &pe) && pe.Line > 0 {
			what := pe.Msg
			if pe.Path != "" {
				what = pe.Path + ": " + what
			}
			return nil, exit(exitUsage, fmt.Errorf("%s:%d:%d: %s%s", path, pe.Line, pe.Column, what, pointAt(string(b), pe.Line, pe.Column)))
		}
		return nil, exit(exitUsage, fmt.Errorf("%s: %w", path, err))
	}
	return d, nil
}

// pointAt shows a place in a text: the line, or what of a long one stands
// around it, and a caret below.
func pointAt(doc string, line, column int) string {
	lines := strings.Split(doc, "\n")
	if line > len(lines) {
		return ""
	}
	const around = 50
	chars := []rune(strings.TrimRight(lines[line-1], "\r"))
	at := min(max(column-1, 0), len(chars))
	from, to := max(at-around, 0), min(at+around, len(chars))
	before, after := "", ""
	if from > 0 {
		before = "…"
	}
	if to < len(chars) {
		after = "…"
	}
	head := before + text.Terminal(string(chars[from:at]))
	return fmt.Sprintf("\n  %s%s%s\n  %*s^", head, text.Terminal(string(chars[at:to])), after, utf8.RuneCountInString(head), "")
}

func printPolicy(e *env, r rampolicy.Result, zh bool) {
	pick := func(en, cn string) string {
		if zh && cn != "" {
			return cn
		}
		return en
	}
	if r.Verdict != "" {
		fmt.Fprintf(e.out, "%s (%s): %s\n", r.Verdict, r.Severity, text.Terminal(pick(r.Summary, r.SummaryZH)))
	} else {
		fmt.Fprintln(e.out, text.Terminal(pick(r.Summary, r.SummaryZH)))
	}
	list := func(sign string, fs []rampolicy.Finding) {
		for _, f := range fs {
			fmt.Fprintf(e.out, "\n%s %-8s %s\n", sign, f.Severity, text.Terminal(pick(f.Sentence, f.SentenceZH)))
			if len(f.Paths) > 0 {
				fmt.Fprintf(e.out, "  paths    %s\n", strings.Join(f.Paths, " "))
			}
			w := f.Witness
			proof := w.Action
			if w.Resource != "" {
				proof += " on " + w.Resource
			}
			if w.Principal != "" {
				proof += " by " + w.Principal
			}
			for _, k := range slices.Sorted(maps.Keys(w.Context)) {
				proof += ", " + k + " = " + w.Context[k]
			}
			sure := "checked"
			if !f.Confirmed {
				sure = "not confirmed"
			}
			fmt.Fprintf(e.out, "  example  %s (%s)\n", text.Terminal(proof), sure)
		}
	}
	list("+", r.Findings)
	list("-", r.Removed)
	for _, n := range r.Notes {
		fmt.Fprintf(e.out, "note: %s\n", text.Terminal(n))
	}
}
