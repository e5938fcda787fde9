package event

import "golang.org/x/sys/cpu"

// How many bytes this processor can look at at a time: 64, 32 or none.
// Variables for tests.
var (
	canList64 = cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VBMI2 && hasBits
	canList32 = cpu.X86.HasAVX2 && hasBits

	hasBits = cpu.X86.HasBMI1 && cpu.X86.HasPOPCNT
)

func canList() bool { return canList64 || canList32 }

// listQuotes lists the quotes of blocks of 64 bytes, the first of which stands
// at the place that is in base; it returns how many there are.
func listQuotes(from *byte, blocks int, to *uint32, base uint64, c *carry) (n int) {
	if canList64 {
		return list64(from, blocks, to, base, c)
	}
	return list32(from, blocks, to, base, c)
}

// list32 needs AVX2, BMI1 and POPCNT.
//
//go:noescape
func list32(from *byte, blocks int, to *uint32, base uint64, c *carry) (n int)

// list64 needs AVX-512BW and VBMI2, BMI1 and POPCNT.
//
//go:noescape
func list64(from *byte, blocks int, to *uint32, base uint64, c *carry) (n int)
