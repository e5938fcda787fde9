//go:build !unix

package replay

const openFlags = 0
