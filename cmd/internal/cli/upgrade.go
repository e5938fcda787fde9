package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/backup"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/rules"
)

func backupCmd(e *env) *cobra.Command {
	var path, state, out string
	c := &cobra.Command{Use: "backup", Short: "Write the state of a stopped program into one archive",
		Long: `backup writes the state folder into one archive: events, alerts, the journal of actions
with their undo, and what the detectors have learnt. The program must be stopped; nothing
is lost meanwhile, the logstore keeps the events. The archive holds audit records: keep
it as you keep those. With nats.url the state is in the cluster: nats stream backup.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := storeDir(e, path, state)
			if err != nil {
				return err
			}
			if out == "" {
				out = "trailwarden-backup-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
			}
			if backup.Inside(dir, out) {
				return exit(exitRefused, fmt.Errorf("%s would be inside the state folder %s, part of itself and lost with it: give another place by --out", out, dir))
			}
			f, err := newArchive(out)
			if err != nil {
				return err
			}
			m, err := backup.Write(f, dir, Version())
			if err == nil {
				err = f.Sync()
			}
			if err = errors.Join(err, f.Close()); err != nil {
				_ = os.Remove(out) // a part of an archive is worth nothing
				if errors.Is(err, bus.ErrLocked) {
					return exit(exitRefused, fmt.Errorf("%w\nstop the program, make the backup, start it again", err))
				}
				return exit(exitUsage, err)
			}
			fmt.Fprintf(e.out, "%s: %s, %s of %s\n", out, plural(len(m.Files), "file"), size(m.Bytes()), dir)
			return nil
		}}
	addConfigFlag(c, &path)
	c.Flags().StringVar(&state, "state", "", "state folder (default: as the configuration says)")
	c.Flags().StringVar(&out, "out", "", "archive to write (default trailwarden-backup-<time>.tar.gz)")
	return c
}

// newArchive makes a file that is not there yet, for its owner only.
func newArchive(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, exit(exitRefused, fmt.Errorf("%s is there already: give another name by --out", path))
	case err != nil:
		return nil, exit(exitUsage, err)
	}
	return f, nil
}

// size is a number of bytes for people.
func size[T ~int | ~int64 | ~uint64](n T) string {
	if n < 10<<20 {
		return fmt.Sprintf("%d kB", (n+1023)>>10)
	}
	return fmt.Sprintf("%d MB", n>>20)
}

func restoreCmd(e *env) *cobra.Command {
	var path, state, from string
	c := &cobra.Command{Use: "restore [ARCHIVE]", Short: "Put a backup back, after verifying every file",
		Long: `restore makes the state folder from an archive of backup. The folder must be empty or
absent: move the old one aside first. What happened after the backup is read again from
the logstore, as far as it keeps the events.`,
		Args: args(0, 1, "one archive"),
		RunE: func(_ *cobra.Command, a []string) error {
			switch {
			case len(a) == 1 && from != "":
				return usagef("two archives: %s and --from %s", a[0], from)
			case len(a) == 1:
				from = a[0]
			case from == "":
				return usagef("say which archive: trailwarden restore FILE")
			}
			dir, err := storeDir(e, path, state)
			if err != nil {
				return err
			}
			f, err := os.Open(from)
			if err != nil {
				return exit(exitUsage, err)
			}
			defer f.Close()
			if st, err := f.Stat(); err == nil && st.IsDir() {
				return usagef("%s is a folder: name the archive in it that backup wrote", from)
			}
			m, err := backup.Read(f, dir)
			switch {
			case errors.Is(err, backup.ErrExists):
				return exit(exitRefused, fmt.Errorf("%w: move it aside first, it may be the only copy", err))
			case err != nil:
				return exit(exitUsage, fmt.Errorf("%s: %w", from, err))
			}
			fmt.Fprintf(e.out, "%s: %s, %s, made %s by trailwarden %s\n", dir, plural(len(m.Files), "file"), size(m.Bytes()), stamp(m.Made), text.Terminal(m.Version))
			return nil
		}}
	addConfigFlag(c, &path)
	c.Flags().StringVar(&state, "state", "", "state folder to make (default: as the configuration says)")
	c.Flags().StringVar(&from, "from", "", "archive to restore, as the argument")
	return c
}

// storeDir is stateDir, where the store is in it and not in a cluster.
func storeDir(e *env, path, state string) (string, error) {
	if state != "" {
		return state, nil
	}
	cfg, err := config.Load(configPath(e, path), e.environ)
	if err != nil {
		return "", noStateDir(err)
	}
	if cfg.NATS.URL != "" {
		return "", exit(exitRefused, errors.New("nats.url is set: the state is in the cluster; use `nats stream backup` and `nats stream restore` for its streams (EVENTS, COMMITS, ACTIONS and the others)"))
	}
	return cfg.StateDir, nil
}

func upgradeCmd(e *env) *cobra.Command {
	root := &cobra.Command{Use: "upgrade", Short: "Before and after a new version: check, and merge rules that you have edited", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	root.AddCommand(upgradeCheckCmd(e), upgradePackCmd(e), upgradeMergeCmd(e))
	return root
}

func upgradeCheckCmd(e *env) *cobra.Command {
	var path string
	c := &cobra.Command{Use: "check", Short: "Say whether this version can take over from the one that runs",
		Long: `Run the new version's upgrade check with the old version's configuration and state, before
you replace the program. It opens nothing and changes nothing.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			bad := 0
			say := func(ok bool, what, format string, a ...any) {
				mark := "ok  "
				if !ok {
					mark, bad = "FAIL", bad+1
				}
				fmt.Fprintf(e.out, "%s %s: %s\n", mark, what, fmt.Sprintf(format, a...))
			}
			note := func(what, format string, a ...any) {
				fmt.Fprintf(e.out, "-    %s: %s\n", what, fmt.Sprintf(format, a...))
			}
			fmt.Fprintf(e.out, "trailwarden %s\n", Version())
			p := configPath(e, path)
			cfg, err := config.Load(p, e.environ)
			if err != nil {
				say(false, "configuration", "this version does not take it:\n%s", indent(err.Error()))
			} else {
				say(true, "configuration", "%s is taken as it is", p)
				set, err := app.RulesOf(cfg).Load()
				if err != nil {
					say(false, "rules", "this version does not take them:\n%s", indent(err.Error()))
				} else {
					say(true, "rules", "%d rules compile", set.Len())
					for _, n := range overtaken(set) {
						note("rules", "%s", n)
					}
				}
				store := filepath.Join(cfg.StateDir, "store")
				switch have, err := bus.StoreLayout(store); {
				case cfg.NATS.URL != "":
					note("store", "it is in a cluster; the first start says whether its layout is %s", bus.Layout)
				case err != nil:
					say(false, "store", "%v", err)
				case have == "":
					note("store", "there is none yet in %s", cfg.StateDir)
				case have != bus.Layout:
					say(false, "store", "it has layout %s, this version has %s: make a backup with the old version and begin with an empty state_dir (source start: begin reads the events again)", have, bus.Layout)
				default:
					say(true, "store", "layout %s, as this version writes it", have)
				}
			}
			note("backup", "make one before: stop the program, then trailwarden backup")
			note("downgrade", "to the same layout (%s) works; NATS does not promise that an older server reads the files of a newer one (this version has %s): restore the backup for that", bus.Layout, bus.ServerVersion)
			if bad > 0 {
				return exit(exitFindings, nil)
			}
			return nil
		}}
	addConfigFlag(c, &path)
	return c
}

// overtaken says which rules of the user replace a shipped one that has moved on.
func overtaken(set *rules.Set) (out []string) {
	pack, err := rules.PackFiles()
	if err != nil {
		return nil
	}
	version := map[string]string{}
	for name, b := range pack {
		for _, s := range sections(b) {
			if s.key == "version" {
				_, v, _ := strings.Cut(s.text[strings.Index(s.text, "version"):], ":")
				version[strings.TrimSuffix(name, ".yaml")] = strings.TrimSpace(v)
			}
		}
	}
	for _, r := range set.List() {
		shipped, ok := version[r.ID]
		if ok && shipped != fmt.Sprint(r.Version) {
			out = append(out, fmt.Sprintf("%s is yours at version %d, the shipped one is at %s: trailwarden upgrade merge", r.ID, r.Version, shipped))
		}
	}
	return out
}

func upgradePackCmd(e *env) *cobra.Command {
	var out string
	c := &cobra.Command{Use: "pack [FOLDER]", Short: "Write the shipped rules of this version into a folder, as base of a later merge", Args: args(0, 1, "one folder"),
		RunE: func(_ *cobra.Command, a []string) error {
			switch {
			case len(a) == 1 && out != "":
				return usagef("two folders: %s and --out %s", a[0], out)
			case len(a) == 1:
				out = a[0]
			case out == "":
				return usagef("say where: trailwarden upgrade pack FOLDER")
			}
			files, err := rules.PackFiles()
			if err != nil {
				return err
			}
			if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
				return exit(exitRefused, fmt.Errorf("%s is not empty", out))
			}
			if err := os.MkdirAll(out, 0o755); err != nil {
				return exit(exitUsage, err)
			}
			for name, b := range files {
				if err := os.WriteFile(filepath.Join(out, name), b, 0o644); err != nil { //nolint:gosec // rules are no secret
					return exit(exitUsage, err)
				}
			}
			fmt.Fprintf(e.out, "%s in %s\n", plural(len(files), "rule"), out)
			return nil
		}}
	c.Flags().StringVar(&out, "out", "", "folder to write, new or empty, as the argument")
	return c
}

func upgradeMergeCmd(e *env) *cobra.Command {
	var base, mine string
	var write bool
	c := &cobra.Command{Use: "merge", Short: "Merge rules that you copied and edited with those of this version",
		Long: `merge takes three versions of each rule: the shipped one that yours was made from (--base,
written by the old version's "upgrade pack"), yours (--mine), and this version's. Key by key,
what only one side changed is taken; what both changed stays yours, with the other as a comment.
Without --write it only says what it would do.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if base == "" || mine == "" {
				return usagef("give --base and --mine")
			}
			theirs, err := rules.PackFiles()
			if err != nil {
				return err
			}
			b, err := ruleFiles(base)
			if err != nil {
				return exit(exitUsage, err)
			}
			m, err := ruleFiles(mine)
			if err != nil {
				return exit(exitUsage, err)
			}
			for _, x := range []struct {
				flag, dir string
				files     map[string][]byte
			}{{"--base", base, b}, {"--mine", mine, m}} {
				if len(x.files) == 0 {
					return usagef("%s %s: there are no rule files (*.yaml) in it", x.flag, x.dir)
				}
			}
			conflicts := 0
			for _, x := range mergePack(b, m, theirs) {
				line := x.Name
				if len(x.Conflicts) > 0 {
					conflicts++
					line += " (" + strings.Join(x.Conflicts, ", ") + ")"
				}
				fmt.Fprintf(e.out, "%-10s %s\n", x.What, text.Terminal(line))
				if write && !slices.Equal(x.Data, m[x.Name]) {
					if err := replaceFile(filepath.Join(mine, x.Name), x.Data); err != nil {
						return exit(exitUsage, err)
					}
				}
			}
			fmt.Fprintf(e.err, "\nNext: trailwarden rules test --rules %s\n", mine)
			if conflicts > 0 {
				return exit(exitFindings, nil)
			}
			return nil
		}}
	c.Flags().StringVar(&base, "base", "", "folder with the shipped rules of the old version")
	c.Flags().StringVar(&mine, "mine", "", "folder with your rules")
	c.Flags().BoolVar(&write, "write", false, "write the result into --mine")
	return c
}

func ruleFiles(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, d := range entries {
		if !d.Type().IsRegular() || !strings.HasSuffix(d.Name(), ".yaml") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, d.Name()))
		if err != nil {
			return nil, err
		}
		out[d.Name()] = b
	}
	return out, nil
}
