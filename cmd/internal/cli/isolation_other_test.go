//go:build !linux

package cli

func loopbackOnly() {}
