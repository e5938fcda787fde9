package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders/journal"
)

func auditCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "audit", Short: "What was loaded, said, clicked and done, in one chain of hashes", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}

	root.AddCommand(auditVerify(e), auditExport(e))
	return root
}

func auditVerify(e *env) *cobra.Command {
	var out, head, file string
	show := func(r journal.AuditReport) error {
		if out == "json" {
			if err := printJSON(e.out, r); err != nil {
				return err
			}
		} else {
			printAudit(e, r)
		}
		if !r.OK() {
			return exit(exitFindings, nil)
		}
		return nil
	}
	running := operation(e, "verify", "Check the chain: nothing was changed, removed or put in", noArgs, func(ctx context.Context, c *admin.Client, _ []string) error {
		r, err := c.AuditVerify(ctx, head)
		if err != nil {
			return err
		}
		return show(r)
	})
	running.Long = `verify checks the audit log of the running program, the journal that it is made from, and
that the two agree. With --file it checks an export, which needs no running program.

The last line's hash is the head. Whoever can write to the store can rewrite the whole chain;
keep the head somewhere else now and then, and give it with --head later: it must be in the chain.`
	fromSocket := running.RunE
	running.RunE = func(c *cobra.Command, a []string) error {
		if err := checkOutput(out, "table", "json"); err != nil {
			return err
		}
		if file == "" {
			return fromSocket(c, a)
		}
		in := e.in
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return exit(exitUsage, err)
			}
			defer f.Close()
			in = f
		}
		r, err := journal.VerifyExport(in, head)
		if err != nil {
			return exit(exitUsage, fmt.Errorf("%s: %w", file, err))
		}
		return show(r)
	}
	addOutput(running, &out, "table, json")
	running.Flags().StringVar(&head, "head", "", "a head that was noted earlier; it must be in the chain")
	running.Flags().StringVar(&file, "file", "", "check this export instead (- is standard input)")
	return running
}

func auditExport(e *env) *cobra.Command {
	var form string
	var after uint64
	export := operation(e, "export", "Print the audit log, one line of JSON for each entry", noArgs, func(ctx context.Context, c *admin.Client, _ []string) error {
		if err := checkOutput(form, "jsonl", "table"); err != nil {
			return err
		}
		for n := after; ; {
			ls, err := c.AuditLines(ctx, n, 1000)
			if err != nil {
				return err
			}
			for _, l := range ls {
				var a journal.AuditEntry
				if err := json.Unmarshal(l.Entry, &a); err != nil {
					return exit(exitFindings, fmt.Errorf("after entry %d: a line that is no entry; run audit verify", n))
				}
				n = a.N
				if form == "table" {
					fmt.Fprintf(e.out, "%6d  %s  %-8s %-14s %-22s %s\n", a.N, a.At.UTC().Format(time.DateTime), a.Kind, text.Terminal(short(a.ID)), text.Terminal(text.Cut(a.By, 22)), text.Terminal(text.Cut(a.What, 90)))
					continue
				}
				if err := printLine(e, l); err != nil {
					return err
				}
			}
			if len(ls) == 0 {
				return nil
			}
		}
	})
	export.Flags().StringVarP(&form, "output", "o", "jsonl", "output: jsonl (with the hashes, for verify --file), table")
	export.Flags().Uint64Var(&after, "after", 0, "only entries after this number")
	return export
}

func printAudit(e *env, r journal.AuditReport) {
	word := "the chain holds"
	if !r.OK() {
		word = "THE CHAIN IS BROKEN"
	}
	fmt.Fprintf(e.out, "%s: %s, %d to %d", word, plural(r.Entries, "entry"), r.First, r.Last)
	if r.Entries > 0 {
		fmt.Fprintf(e.out, ", %s to %s", stamp(r.From), stamp(r.To))
	}
	fmt.Fprintln(e.out)
	if r.First > 1 {
		fmt.Fprintf(e.out, "entries before %d have expired\n", r.First)
	}
	if j := r.Journal; j != nil {
		fmt.Fprintf(e.out, "journal: %s in %s, %d of them trimmed, %s\n", plural(j.Records, "record"), plural(j.Histories, "history"), j.Trimmed, plural(j.Broken, "break"))
		for _, b := range j.Breaks {
			fmt.Fprintf(e.out, "  ! %s\n", text.Terminal(fmt.Sprintf("%s %s at %d: %s", b.Kind, b.ID, b.Seq, b.Problem)))
		}
	}
	if r.Behind > 0 {
		fmt.Fprintf(e.out, "%s %s not in the log yet\n", plural(r.Behind, "record"), isAre(r.Behind))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(e.out, "  ! %s\n", text.Terminal(p))
	}
	if r.Head != "" {
		fmt.Fprintf(e.out, "head %s\n", r.Head)
	}
}
