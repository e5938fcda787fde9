//go:build unix

package replay

import "syscall"

// openFlags make opening safe against what replaces a file between looking
// and opening: a link is not followed, a pipe does not block.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
