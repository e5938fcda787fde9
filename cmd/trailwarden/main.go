// Command trailwarden watches ActionTrail for attacks on identity and
// permissions, tells people, and contains what is leaking.
package main

import (
	"os"

	"github.com/trailwarden/trailwarden/cmd/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
