package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
	"github.com/goreleaser/nfpm/v2/files"
)

// TestGoReleaser reads the configuration as goreleaser does: strictly.
func TestGoReleaser(t *testing.T) {
	c, err := config.Load("../release/goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Builds) != 1 || len(c.NFPMs) != 1 || len(c.SBOMs) == 0 || len(c.Signs) == 0 {
		t.Errorf("builds, packages, SBOMs or signatures are missing: %+v", c)
	}
	// The same commit makes the same bytes: nothing is taken from who packs it, and when.
	fixed := func(what string, i config.FileInfo) {
		t.Helper()
		if i.Owner != "root" || i.Group != "root" || i.Mode == 0 || i.MTime != "{{ .CommitDate }}" {
			t.Errorf("the archive's %s has its owner, mode or time from the disk: %+v", what, i)
		}
	}
	for _, a := range c.Archives {
		fixed("program", a.BuildsInfo)
		for _, f := range a.Files {
			fixed(f.Source, f.Info)
		}
	}
	for _, p := range c.NFPMs {
		if p.MTime != "{{ .CommitDate }}" || p.RPM.BuildHost == "" {
			t.Errorf("packages have the time %q and the host %q", p.MTime, p.RPM.BuildHost)
		}
		for _, f := range p.Contents {
			if f.FileInfo.Mode == 0 {
				t.Errorf("the package's %s has its mode from the disk", f.Source)
			}
		}
	}
	if _, err := config.LoadReader(strings.NewReader("version: 2\nbuildz: []\n")); err == nil {
		t.Error("an unknown key was taken for good")
	}
}

// TestPackageContents runs the hook that makes the documents of a release, and lists the files of the deb and the rpm as nfpm puts them in.
func TestPackageContents(t *testing.T) {
	c, err := config.Load("../release/goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range []string{"deploy", "LICENSE", "README.md", "README.zh.md", "CHANGELOG.md", "SECURITY.md"} {
		if err := os.Symlink(filepath.Join(repo, f), filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	made := false
	for _, h := range c.Before.Hooks {
		words := strings.Fields(h)
		if !slices.Contains(words, "./cmd/gendocs") {
			continue
		}
		for i, w := range words {
			if strings.HasPrefix(w, "dist-docs/") {
				words[i] = filepath.Join(dir, w)
			}
		}
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", h, err, out)
		}
		made = true
	}
	if !made {
		t.Fatal("no hook makes the documents")
	}
	t.Chdir(dir)
	for _, a := range c.Archives {
		for _, f := range a.Files {
			if got, err := filepath.Glob(f.Source); err != nil || len(got) == 0 {
				t.Errorf("the archive's %s is nothing: %v", f.Source, err)
			}
		}
	}
	for _, format := range c.NFPMs[0].Formats {
		var want files.Contents
		for _, f := range c.NFPMs[0].Contents {
			want = append(want, &files.Content{Source: f.Source, Destination: f.Destination, Type: f.Type, Packager: f.Packager})
		}
		got, err := files.PrepareForPackager(want, 0o022, format, false, time.Unix(0, 0))
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		at := map[string]*files.Content{}
		pages := 0
		for _, f := range got {
			at[f.Destination] = f
			if strings.HasPrefix(f.Destination, "/usr/share/man/man1/trailwarden-") {
				pages++
			}
		}
		for _, f := range []string{
			"/usr/lib/systemd/system/trailwarden.service", "/etc/trailwarden/trailwarden.yaml", "/usr/share/doc/trailwarden/copyright", "/usr/share/man/man1/trailwarden.1",
			"/usr/share/bash-completion/completions/trailwarden", "/usr/share/zsh/site-functions/_trailwarden", "/usr/share/fish/vendor_completions.d/trailwarden.fish",
		} {
			if at[f] == nil || at[f].IsDir() || at[f].Size() == 0 {
				t.Errorf("%s: no %s", format, f)
			}
		}
		if f := at["/etc/trailwarden/trailwarden.yaml"]; f != nil && f.Type != files.TypeConfigNoReplace {
			t.Errorf("%s: an upgrade replaces the configuration that was edited: %q", format, f.Type)
		}
		if pages < 50 {
			t.Errorf("%s: %d manual pages", format, pages)
		}
	}
}
