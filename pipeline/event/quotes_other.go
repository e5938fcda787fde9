//go:build !amd64

package event

// canList says that this processor walks.
func canList() bool { return false }

func listQuotes(*byte, int, *uint32, uint64, *carry) (n int) { panic("event: not on this processor") }
