#include "textflag.h"

// escapes expects in AX the quotes of a block, in BX its backslashes, in DX
// what is odd of it, in R8 whether its first byte is escaped (0 or 1) and in
// R12 a bit for every odd place. It takes the escaped quotes out of AX, puts
// into DX what else is escaped that is not a backslash, and leaves in R8
// whether the next block's first byte is escaped. In a run of backslashes
// every second one is escaped, counted from the one that is not: the end of
// a run is found by a carry through all of it, and whether it began at an even
// place by adding at the odd places only.
#define escapes \
	MOVQ R8, R10; NOTQ R10; ANDQ BX, R10; \ // the backslashes that may escape
	LEAQ (R10)(R10*1), R11; ORQ R12, R11; SUBQ R10, R11; XORQ R12, R11; \
	MOVQ BX, R10; ORQ R8, R10; XORQ R11, R10; \ // what is escaped
	ANDQ BX, R11; SHRQ $63, R11; MOVQ R11, R8; \
	MOVQ AX, R13; ORQ BX, R13; NOTQ R13; ANDQ R10, R13; ORQ R13, DX; \
	NOTQ R10; ANDQ R10, AX

#define store \
	MOVQ AX, (DI); MOVQ BX, 8(DI); MOVQ DX, 16(DI); \
	ADDQ $64, SI; ADDQ $24, DI; DECQ CX

#define arguments \
	MOVQ from+0(FP), SI; MOVQ blocks+8(FP), CX; MOVQ to+16(FP), DI; MOVQ first+24(FP), R8; \
	MOVQ $0xaaaaaaaaaaaaaaaa, R12

// func mark32(from *byte, blocks int, to *marks, first uint64) (next uint64)
TEXT ·mark32(SB), NOSPLIT, $0-40
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
	VPMOVMSKB Y3, R9
	SHLQ      $32, R9
	ORQ       R9, AX
	VPCMPEQB  Y5, Y0, Y2
	VPCMPEQB  Y5, Y1, Y3
	VPMOVMSKB Y2, BX
	VPMOVMSKB Y3, R9
	SHLQ      $32, R9
	ORQ       R9, BX
	VPCMPGTB  Y0, Y6, Y2
	VPCMPGTB  Y1, Y6, Y3
	VPMOVMSKB Y2, DX
	VPMOVMSKB Y3, R9
	SHLQ      $32, R9
	ORQ       R9, DX
	escapes
	store
	JNZ       block
	VZEROUPPER
	MOVQ      R8, next+32(FP)
	RET

// func mark64(from *byte, blocks int, to *marks, first uint64) (next uint64)
TEXT ·mark64(SB), NOSPLIT, $0-40
	arguments
	MOVL         $0x22, AX
	VPBROADCASTB AX, Z4
	MOVL         $0x5c, AX
	VPBROADCASTB AX, Z5
	MOVL         $0x20, AX
	VPBROADCASTB AX, Z6

block:
	VMOVDQU64 (SI), Z0
	VPCMPEQB  Z4, Z0, K1
	VPCMPEQB  Z5, Z0, K2
	VPCMPB    $1, Z6, Z0, K3
	KMOVQ     K1, AX
	KMOVQ     K2, BX
	KMOVQ     K3, DX
	escapes
	store
	JNZ       block
	VZEROUPPER
	MOVQ      R8, next+32(FP)
	RET
