// Package raced is for tests that take ten times as long under the race detector
// and do nothing there that could race: they do a part of their work under it, or
// none, and all of it without. `make whole` runs them without; a test keeps its
// list equal to the tests that call Size and Skip.
package raced

import (
	"flag"
	"strconv"
)

// Size is whole without the race detector and part under it.
func Size(whole, part int) int {
	if on {
		return part
	}
	return whole
}

// Checks makes rapid try at most n cases of a property for the rest of the test.
func Checks(t interface {
	Helper()
	Cleanup(f func())
	Fatal(args ...any)
}, n int) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	was := f.Value.String()
	if usual, err := strconv.Atoi(was); err != nil || usual <= n {
		return
	}
	set := func(to string) {
		if err := f.Value.Set(to); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { set(was) })
	set(strconv.Itoa(n))
}

// Skip skips a test under the race detector.
func Skip(t interface {
	Helper()
	Skip(args ...any)
}) {
	t.Helper()
	if on {
		t.Skip("measures memory, or is of one goroutine; make whole runs it without the race detector")
	}
}
