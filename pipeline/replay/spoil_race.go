//go:build race

package replay

func init() { spoil = overwrite }
