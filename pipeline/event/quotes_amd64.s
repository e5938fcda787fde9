#include "textflag.h"

// What the registers hold from block to block: SI the block, CX how many are
// left, DI where the next entry goes, R9 (or Z3) the block's place times four, and what
// the block before says of this one, each 0 or 1: R8 whether the first byte is
// escaped, R14 and R15 whether the next quote has a backslash, or another byte
// that is not plain, before it.
#define arguments \
	MOVQ from+0(FP), SI; MOVQ blocks+8(FP), CX; MOVQ to+16(FP), DI; MOVQ base+24(FP), R9; \
	MOVQ c+32(FP), AX; MOVQ 0(AX), R8; MOVQ 8(AX), R14; MOVQ 16(AX), R15

#define results \
	MOVQ c+32(FP), AX; MOVQ R8, 0(AX); MOVQ R14, 8(AX); MOVQ R15, 16(AX); \
	SUBQ to+16(FP), DI; SHRQ $2, DI; MOVQ DI, n+40(FP)

// escapes expects in AX the quotes of a block, in BX its backslashes, in DX
// what is odd of it. It takes the escaped quotes out of AX and puts into DX
// what else is escaped that is not a backslash. In a run of backslashes every
// second one is escaped, counted from the one that is not: the end of a run is
// found by a carry through all of it, and whether it began at an even place by
// adding at the odd places only.
#define escapes \
	MOVQ $0xaaaaaaaaaaaaaaaa, R12; \
	MOVQ R8, R10; NOTQ R10; ANDQ BX, R10; \ // the backslashes that may escape
	LEAQ (R10)(R10*1), R11; ORQ R12, R11; SUBQ R10, R11; XORQ R12, R11; \
	MOVQ BX, R10; ORQ R8, R10; XORQ R11, R10; \ // what is escaped
	ANDQ BX, R11; SHRQ $63, R11; MOVQ R11, R8; \
	MOVQ AX, R13; ORQ BX, R13; NOTQ R13; ANDQ R10, R13; ORQ R13, DX; \
	NOTQ R10; ANDQ R10, AX

// flags finds the quotes that have a backslash (into R10), or another byte that
// is not plain (into R11), between them and the quote before: added to all that
// are no quotes, each of these bytes carries as far as the next quote. R12 is
// the quotes, R13 how many they are.
#define flags \
	MOVQ AX, R12; MOVQ AX, R10; NOTQ R10; MOVQ R10, R11; \
	ADDQ $-1, R14; ADCQ BX, R10; SBBQ R14, R14; NEGQ R14; ANDQ AX, R10; \
	ADDQ $-1, R15; ADCQ DX, R11; SBBQ R15, R15; NEGQ R15; ANDQ AX, R11; \
	POPCNTQ AX, R13

// sort goes to odd with a block that has anything but plain content and quotes,
// or whose first bytes hang on the block before. Most blocks are plain.
#define sort \
	MOVQ BX, R10; ORQ DX, R10; ORQ R8, R10; ORQ R14, R10; ORQ R15, R10; JNZ odd; \
	XORL R11, R11; POPCNTQ AX, R13

// mark puts flags on the entries of the quotes of R10 and R11, which are rare and
// counted one by one.
#define mark \
	MOVQ R10, AX; ORQ R11, AX; JZ next; \
one: \
	MOVQ AX, BX; NEGQ BX; ANDQ AX, BX; \ // the lowest
	LEAQ -1(BX), DX; ANDQ R12, DX; POPCNTQ DX, DX; \ // those before it
	TESTQ BX, R10; JZ other; ORL $1, (DI)(DX*4); \
other: \
	TESTQ BX, R11; JZ done; ORL $2, (DI)(DX*4); \
done: \
	XORQ BX, AX; JNZ one

// entry writes the lowest quote of AX and takes it out. Without one it writes
// what the next block writes over.
#define entry(offset) \
	TZCNTQ AX, BX; LEAQ (R9)(BX*4), DX; MOVL DX, (offset)(DI); BLSRQ AX, AX

#define entries(offset) \
	entry(offset+0); entry(offset+4); entry(offset+8); entry(offset+12); \
	entry(offset+16); entry(offset+20); entry(offset+24); entry(offset+28)

// func list32(from *byte, blocks int, to *uint32, base uint64, c *carry) (n int)
TEXT ·list32(SB), NOSPLIT, $0-48
	arguments
	MOVL         $0x22, AX    // the quote
	MOVQ         AX, X4
	VPBROADCASTB X4, Y4
	MOVL         $0x5c, AX    // the backslash
	MOVQ         AX, X5
	VPBROADCASTB X5, Y5
	MOVL         $0x20, AX    // as signed numbers, controls and bytes above 0x7f are less
	MOVQ         AX, X6
	VPBROADCASTB X6, Y6

block:
	VMOVDQU   (SI), Y0
	VMOVDQU   32(SI), Y1
	VPCMPEQB  Y4, Y0, Y2
	VPCMPEQB  Y4, Y1, Y3
	VPMOVMSKB Y2, AX
	VPMOVMSKB Y3, R13
	SHLQ      $32, R13
	ORQ       R13, AX
	VPCMPEQB  Y5, Y0, Y2
	VPCMPEQB  Y5, Y1, Y3
	VPMOVMSKB Y2, BX
	VPMOVMSKB Y3, R13
	SHLQ      $32, R13
	ORQ       R13, BX
	VPCMPGTB  Y0, Y6, Y2
	VPCMPGTB  Y1, Y6, Y3
	VPMOVMSKB Y2, DX
	VPMOVMSKB Y3, R13
	SHLQ      $32, R13
	ORQ       R13, DX
	sort

listed:
	entries(0)
	CMPQ R13, $8
	JHI  many

flagged:
	mark

next:
	LEAQ (DI)(R13*4), DI
	ADDQ $256, R9
	ADDQ $64, SI
	DECQ CX
	JNZ  block
	VZEROUPPER
	results
	RET

odd:
	escapes
	flags
	TESTQ AX, AX
	JNZ   listed
	JMP   next

many:
	entries(32)
	CMPQ R13, $16
	JLS  flagged
	entries(64)
	entries(96)
	CMPQ R13, $32
	JLS  flagged
	entries(128)
	entries(160)
	entries(192)
	entries(224)
	JMP  flagged

// The places in a block.
DATA places<>+0(SB)/8, $0x0706050403020100
DATA places<>+8(SB)/8, $0x0f0e0d0c0b0a0908
DATA places<>+16(SB)/8, $0x1716151413121110
DATA places<>+24(SB)/8, $0x1f1e1d1c1b1a1918
DATA places<>+32(SB)/8, $0x2726252423222120
DATA places<>+40(SB)/8, $0x2f2e2d2c2b2a2928
DATA places<>+48(SB)/8, $0x3736353433323130
DATA places<>+56(SB)/8, $0x3f3e3d3c3b3a3938
GLOBL places<>(SB), RODATA|NOPTR, $64

// write16 writes sixteen entries, of quotes whose places are in X9.
#define write16(offset) \
	VPMOVZXBD X9, Z9; VPSLLD $2, Z9, Z9; VPADDD Z3, Z9, Z9; VMOVDQU32 Z9, offset(DI)

// func list64(from *byte, blocks int, to *uint32, base uint64, c *carry) (n int)
TEXT ·list64(SB), NOSPLIT, $0-48
	arguments
	VPBROADCASTD R9, Z3
	MOVL         $0x22, AX
	VPBROADCASTB AX, Z4
	MOVL         $0x5c, AX
	VPBROADCASTB AX, Z5
	MOVL         $0x20, AX
	VPBROADCASTB AX, Z6
	VMOVDQU64    places<>(SB), Z7
	MOVL         $256, AX
	VPBROADCASTD AX, Z10

block:
	VMOVDQU64 (SI), Z0
	VPCMPEQB  Z4, Z0, K1
	VPCMPEQB  Z5, Z0, K2
	VPCMPB    $1, Z6, Z0, K3
	KMOVQ     K1, AX
	KMOVQ     K2, BX
	KMOVQ     K3, DX
	sort

listed:
	VPCOMPRESSB.Z Z7, K1, Z8
	VMOVDQA64     Z8, Z9
	write16(0)
	CMPQ          R13, $16
	JHI           many

flagged:
	mark

next:
	LEAQ   (DI)(R13*4), DI
	VPADDD Z10, Z3, Z3
	ADDQ   $64, SI
	DECQ   CX
	JNZ    block
	VZEROUPPER
	results
	RET

odd:
	escapes
	flags
	KMOVQ AX, K1
	TESTQ AX, AX
	JNZ   listed
	JMP   next

many:
	VEXTRACTI32X4 $1, Z8, X9
	write16(64)
	VEXTRACTI32X4 $2, Z8, X9
	write16(128)
	VEXTRACTI32X4 $3, Z8, X9
	write16(192)
	JMP           flagged
