//go:build !linux || !(amd64 || arm64)

package replay

// hugePages does nothing on systems where the kernel is not asked.
type hugePages struct{}

func (*hugePages) check() {}

// Reserve does nothing here.
func Reserve() {}
