// Command gendocs writes what a release carries besides the program: reference
// pages, man pages and shell completions, all made from the code.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/trailwarden/trailwarden/cmd/internal/cli"
)

func main() {
	reference := flag.String("reference", "", "folder for the reference pages")
	man := flag.String("man", "", "folder for the man pages")
	completions := flag.String("completions", "", "folder for bash, zsh and fish completions")
	flag.Parse()
	if err := run(*reference, *man, *completions); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func run(reference, man, completions string) error {
	if reference != "" {
		if err := os.MkdirAll(reference, 0o755); err != nil {
			return err
		}
		for name, text := range cli.References() {
			if err := os.WriteFile(filepath.Join(reference, name+".md"), []byte(text), 0o644); err != nil { //nolint:gosec // documentation
				return err
			}
		}
	}
	root := cli.Root()
	if man != "" {
		if err := os.MkdirAll(man, 0o755); err != nil {
			return err
		}
		date := time.Unix(0, 0).UTC() // the same pages from the same code
		if err := doc.GenManTree(root, &doc.GenManHeader{Title: "TRAILWARDEN", Section: "1", Date: &date, Source: "trailwarden"}, man); err != nil {
			return err
		}
	}
	if completions != "" {
		if err := os.MkdirAll(completions, 0o755); err != nil {
			return err
		}
		if err := root.GenBashCompletionFileV2(filepath.Join(completions, "trailwarden.bash"), true); err != nil {
			return err
		}
		if err := root.GenZshCompletionFile(filepath.Join(completions, "_trailwarden")); err != nil {
			return err
		}
		return root.GenFishCompletionFile(filepath.Join(completions, "trailwarden.fish"), true)
	}
	return nil
}
