//go:build !amd64

package event

// markBlocks says that this processor walks.
func markBlocks(*byte, int, *marks, uint64) (next uint64, ok bool) { return 0, false }
