// Package lists sorts and thins out what people read.
//
// slices.SortFunc is compiled anew for every type, 10 to 20 kB of machine code
// each and as much again in tables. For a list of some hundred rows on its way to
// a page that buys nothing, and forty such lists were a megabyte of the program.
// The path of an event goes on to use package slices.
package lists

import "sort"

// Sort sorts s so that compare(a, b) <= 0 for every a before b; what is equal
// keeps its order.
func Sort[T any](s []T, compare func(a, b T) int) {
	sort.SliceStable(s, func(i, j int) bool { return compare(s[i], s[j]) < 0 })
}

// Keep is slices.DeleteFunc the other way round: what keep says no to goes, in place.
// Elements are not copied to be asked about, which makes it the smaller one for those
// that are large.
func Keep[T any](s []T, keep func(x *T) bool) []T {
	n := 0
	for i := range s {
		if keep(&s[i]) {
			if n != i {
				s[n] = s[i]
			}
			n++
		}
	}
	clear(s[n:])
	return s[:n]
}
