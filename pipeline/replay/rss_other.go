//go:build !linux

package replay

import "runtime"

// peakRSS is the memory obtained from the system, where the system does not
// tell in a portable unit what was resident.
func peakRSS() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
