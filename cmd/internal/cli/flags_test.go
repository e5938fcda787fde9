package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestFlagsSayWhatIsWanted: no flag of any command shows an error of a library for a
// value that is none, and numbers and times below 0, or none at all, are refused.
func TestFlagsSayWhatIsWanted(t *testing.T) {
	run := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := Run(t.Context(), args, &env{in: strings.NewReader(""), out: &out, err: &errs})
		return code, errs.String()
	}
	seen := map[string]int{}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			kind := f.Value.Type()
			values := []string{"x", ""}
			switch seen[kind]++; kind {
			case "string", "stringSlice", "stringArray":
				return
			case "int":
				values = append(values, "-1", "1.5", "99999999999999999999")
			case "float64":
				values = append(values, "-1", "NaN", "Inf")
			case "duration":
				values = append(values, "-5s", "5", "99999999h")
			}
			for _, v := range values {
				want := fmt.Sprintf("--%s %q: want ", f.Name, v)
				var code int
				var errs string
				// A command may want words, too, and looks at these first.
				for words := 0; words < 4 && !strings.Contains(errs, want); words++ {
					args := append(strings.Fields(c.CommandPath())[1:], "--"+f.Name+"="+v)
					code, errs = run(append(args, strings.Fields("a b c")[:min(words, 3)]...)...)
					want = strings.Replace(want, `"Inf"`, `"+Inf"`, 1)
				}
				if code != exitUsage || !strings.Contains(errs, want) || !strings.Contains(errs, "see: "+c.CommandPath()+" --help") || strings.Contains(errs, "strconv") || strings.Contains(errs, "time: ") {
					t.Errorf("%s --%s=%s: %d: %s", c.CommandPath(), f.Name, v, code, errs)
				}
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	var out bytes.Buffer
	root := newRoot(&env{in: strings.NewReader(""), out: &out, err: &out})
	strict(root)
	walk(root)
	for _, kind := range []string{"int", "uint64", "float64", "duration", "bool", "string"} {
		if seen[kind] == 0 {
			t.Errorf("no flag is a %s: what is tested?", kind)
		}
	}
	for _, c := range [][]string{
		{"--workers 99999999: want at most 1024", "replay", "-j", "99999999", "-"},
		{"--read-rate 0: want 1 to", "replay", "--read-rate", "0", "-"},
		{"want a part of the store, such as 0.8, and not 85", "check", "--warn-store", "85"},
	} {
		if code, errs := run(c[1:]...); code != exitUsage || !strings.Contains(errs, c[0]) {
			t.Errorf("%q: %d: %s", c[1:], code, errs)
		}
	}
}
