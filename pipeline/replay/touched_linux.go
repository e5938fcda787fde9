package replay

import (
	"io/fs"
	"syscall"
)

// touched is when a file or what is known of it last changed, in ns since 1970.
func touched(st fs.FileInfo) int64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Ctim.Nano()
	}
	return 0
}
