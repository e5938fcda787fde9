package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/explain"
	"github.com/trailwarden/trailwarden/rules"
)

// Root is the tree of all commands, for what is generated from it.
func Root() *cobra.Command {
	c := newRoot(&env{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	c.DisableAutoGenTag = true
	return c
}

const generated = "<!-- Printed by `trailwarden reference`, from the code. -->\n\n"

// references are the pages that are made from the code, so that they are
// always those of this version.
func references() map[string]func() string {
	return map[string]func() string{"commands": commandsPage, "config": configPage, "metrics": metricsPage, "fields": fieldsPage, "codes": codesPage}
}

// References are the pages by name, in Markdown.
func References() map[string]string {
	out := map[string]string{}
	for name, page := range references() {
		out[name] = page()
	}
	return out
}

func referenceCmd(e *env) *cobra.Command {
	return &cobra.Command{Use: "reference PAGE", Short: "Print a reference page in Markdown: commands, config, metrics, fields or codes",
		Args: args(1, 1, "a page: commands, config, metrics, fields or codes"), ValidArgs: []string{"commands", "config", "metrics", "fields", "codes"},
		RunE: func(_ *cobra.Command, a []string) error {
			page, ok := references()[a[0]]
			if !ok {
				return usagef("there is no page %q: want commands, config, metrics, fields or codes", a[0])
			}
			_, err := io.WriteString(e.out, page())
			return err
		}}
}

func codesPage() string {
	var b strings.Builder
	b.WriteString("# Fault codes\n\n" + generated)
	for _, p := range explain.Pages() {
		fmt.Fprintf(&b, "## %s %s\n\n%s\n\n", p.Code, p.Title, p.Text)
	}
	return b.String()
}

// cell is text for a table of Markdown.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(s)
}

func commandsPage() string {
	var b strings.Builder
	b.WriteString("# Commands\n\n" + generated)
	b.WriteString("Exit codes: 0 fine, 1 findings or a failed check, 2 usage or a bad configuration, 3 something does not answer, 4 refused by policy,\n130 interrupted. stdout is data, stderr is everything else.\n")
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return
		}
		if c.HasParent() && c.Runnable() && !c.HasAvailableSubCommands() {
			fmt.Fprintf(&b, "\n## %s\n\n%s.\n", c.CommandPath(), strings.TrimSuffix(c.Short, "."))
			if c.Long != "" {
				fmt.Fprintf(&b, "\n```text\n%s\n```\n", strings.TrimSpace(c.Long))
			}
			fmt.Fprintf(&b, "\nUsage: `%s`\n", strings.TrimSuffix(c.UseLine(), " [flags]"))
			first := true
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if f.Hidden || f.Name == "help" {
					return
				}
				if first {
					b.WriteString("\n| flag | default | |\n|---|---|---|\n")
					first = false
				}
				name := "--" + f.Name
				if f.Shorthand != "" {
					name = "-" + f.Shorthand + ", " + name
				}
				def := f.DefValue
				if def != "" && def != "[]" {
					def = "`" + def + "`"
				} else {
					def = ""
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, cell(def), cell(f.Usage))
			})
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(Root())
	return b.String()
}

func configPage() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" + generated)
	b.WriteString("One strict YAML file: an unknown key is an error with its place. `trailwarden config schema` prints the JSON Schema for editors,\n`trailwarden config show --resolved` each value in force with its origin. Any text may hold `${ENV}` or `${file:path}`. Relative paths of\nfiles that are read, also in `${file:path}`, begin at the folder of the configuration; `state_dir`, `notify.ocsf[].path` and what a variable says at the\nworking directory. The variable named\nsets the value and goes before the file; `0` stands for the entry's number. Durations are written `90s`, `15m`, `7d`.\n\n")
	b.WriteString("| key | wants | default | |\n|---|---|---|---|\n")
	for _, k := range config.Keys() {
		def := k.Default
		if def != "" {
			def = "`" + def + "`"
		}
		doc := k.Doc
		if k.Env != "" && strings.Count(k.Path, "[]") == 0 {
			doc += " (`" + k.Env + "`)"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Path, cell(k.Type), cell(def), cell(doc))
	}
	return b.String()
}

func metricsPage() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\n" + generated)
	b.WriteString("On `http.listen` at `/metrics`. `/livez` answers when the process lives, `/readyz` when it sees everything and can write, and says why not.\nBesides these there are the usual `go_*` and `process_*`.\n\n| metric | labels | |\n|---|---|---|\n")
	for _, m := range app.Metrics() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Name, cell(strings.Join(m.Labels, ", ")), cell(m.Help))
	}
	return b.String()
}

func fieldsPage() string {
	var b strings.Builder
	b.WriteString("# Fields of rules\n\n" + generated)
	b.WriteString("What a rule's condition can ask of an event. `rules/README.md` is the format.\n\n| field | type | |\n|---|---|---|\n")
	for _, f := range rules.Fields() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, cell(f.Type), cell(f.Doc))
	}
	return b.String()
}
