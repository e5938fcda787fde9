package cli

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// When garbage is collected in a long run over recorded events.
const (
	// garbage is how much of it, in percent of what is held, is made before it
	// is collected: a sixth less memory than with Go's 100, for no time that
	// could be measured.
	garbage = 60
	// roomy is what the heap may come to, in bytes, before it is looked through at
	// all. A run of a day comes to it in any case; by percent alone, half of all
	// collections were made while there was little to hold, and left most of it.
	roomy = 112 << 20
	// most is garbage at most: with next to nothing held, Go counts other things.
	most = 800
)

var collecting sync.Once

// collectSeldom has garbage collected as the constants say, from now on. GOGC in
// the environment has the last word.
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		collecting.Do(afterCollection)
	}
}

// afterCollection sets how much the heap may grow until the next collection, after
// which it is called again.
func afterCollection() {
	m := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/globals:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	metrics.Read(m)
	debug.SetGCPercent(garbagePercent(m[0].Value.Uint64(), m[1].Value.Uint64()+m[2].Value.Uint64()))
	// What nothing refers to is found by the next collection.
	runtime.AddCleanup(new([2]*byte), func(struct{}) { afterCollection() }, struct{}{})
}

// garbagePercent is how much may be added to a heap that holds so many bytes, in
// percent of these and of what refers to it from outside, as Go counts.
func garbagePercent(held, roots uint64) int {
	if held >= roomy {
		return garbage
	}
	return min(max(garbage, int((roomy-held)*100/max(held+roots, 1))), most)
}
