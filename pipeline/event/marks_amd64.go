package event

import "golang.org/x/sys/cpu"

// How many bytes this processor can mark at a time: 64, 32 or none. Variables
// for tests.
var (
	canMark64 = cpu.X86.HasAVX512BW
	canMark32 = cpu.X86.HasAVX2
)

// markBlocks marks blocks of 64 bytes. first says whether the first byte is
// escaped by the one before, 0 or 1; the result, whether the one behind the
// last block is. It reports false when the processor cannot.
func markBlocks(from *byte, blocks int, to *marks, first uint64) (next uint64, ok bool) {
	switch {
	case canMark64:
		return mark64(from, blocks, to, first), true
	case canMark32:
		return mark32(from, blocks, to, first), true
	}
	return 0, false
}

// mark32 needs AVX2.
//
//go:noescape
func mark32(from *byte, blocks int, to *marks, first uint64) (next uint64)

// mark64 needs AVX-512BW.
//
//go:noescape
func mark64(from *byte, blocks int, to *marks, first uint64) (next uint64)
