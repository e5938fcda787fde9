package cli

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"

	"github.com/trailwarden/trailwarden/pipeline/replay"
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

// collectSeldom has garbage collected as the constants say, from now on, and the
// heap prepared. GOGC in the environment has the last word.
func collectSeldom() {
	replay.Reserve()
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

// stayBelow keeps the heap below nine tenths of what the process may take, by its
// control group (a pod's limit, systemd's MemoryMax). A backlog makes garbage faster than
// Go would collect it by percent: the process was killed, again and again, with room
// for what it holds. GOMEMLIMIT in the environment has the last word.
func stayBelow() {
	if os.Getenv("GOMEMLIMIT") == "" {
		if n := memoryMax("/proc/self/cgroup", "/sys/fs/cgroup"); n > 0 {
			debug.SetMemoryLimit(n / 10 * 9)
		}
	}
}

// memoryMax is the limit of the control group that own names, below root; 0 where
// there is none.
func memoryMax(own, root string) int64 {
	b, _ := os.ReadFile(own)
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			b, _ = os.ReadFile(root + name + "/memory.max")
			n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64) // "max" is none
			return n
		}
	}
	return 0
}
