//go:build amd64 || arm64

package replay

import (
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePages asks the kernel to keep Go's heap on pages of 2 MiB. On pages of
// 4 KiB a run that looks up state all over its memory spends a tenth of its
// time and more on finding out where pages are, most of all on a virtual
// machine. It is a hint: where it is wrong, or the kernel will not, nothing is
// different but the speed.
type hugePages struct {
	mu     sync.Mutex
	calls  int
	mapped uintptr // bytes of the heap that were asked for
	heap   []metrics.Sample
}

const (
	smallPage = 4 << 10
	hugePage  = 2 << 20
	heapArena = 64 << 20 // what Go's heap takes of the address space at a time
	hugeEvery = 4        // calls of check per look at the heap
)

// reserve is how much of the heap is on huge pages from the beginning: a run with
// the whole pack comes to it, and pages that are huge when they are touched need
// not be copied.
const reserve = 96 << 20

// reserved is what Reserve has seen to, in bytes of the heap.
var reserved atomic.Uintptr

// Reserve has the kernel keep the heap of a run that is about to begin on huge
// pages. It takes no memory: what is not used is not touched. It is for the
// beginning of a process, since it collects garbage, and called again it does
// nothing.
func Reserve() {
	if os.Getpagesize() == smallPage && reserved.CompareAndSwap(0, reserve) {
		prepare(reserve)
	}
}

// prepare has the heap grow by size, and returns where.
func prepare(size int) uintptr {
	var b strings.Builder // whose memory nobody sets to zero
	b.Grow(size)
	b.WriteByte(0)
	at := uintptr(unsafe.Pointer(unsafe.StringData(b.String())))
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, at, uintptr(size), unix.MADV_HUGEPAGE)
	runtime.KeepAlive(&b)
	b.Reset()
	runtime.GC()
	return at
}

// check is called for each block of input, by any goroutine.
func (h *hugePages) check() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls++; h.calls%hugeEvery != 1 {
		return
	}
	if h.heap == nil {
		if os.Getpagesize() != smallPage {
			return // huge pages are larger there: memory would be, too
		}
		for _, class := range []string{"objects", "unused", "free", "released", "stacks"} {
			h.heap = append(h.heap, metrics.Sample{Name: "/memory/classes/heap/" + class + ":bytes"})
		}
		h.mapped = reserved.Load()
	}
	metrics.Read(h.heap)
	mapped := uintptr(0)
	for i := range h.heap {
		if v := h.heap[i].Value; v.Kind() == metrics.KindUint64 {
			mapped += uintptr(v.Uint64())
		}
	}
	if mapped <= h.mapped {
		return
	}
	// The heap begins somewhere in its first arena, in which this is as a rule,
	// and grows upwards. Nothing is dereferenced here.
	first := uintptr(unsafe.Pointer(h)) &^ (heapArena - 1)
	from, end := first+h.mapped&^(hugePage-1), first+(mapped+2*heapArena-1)&^(heapArena-1)
	h.mapped = mapped
	// For what is to come, and, page by page because one that is not there
	// would end it, for what has been touched already.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, first, end-first, unix.MADV_HUGEPAGE)
	for at := from; at < end; at += hugePage {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, at, hugePage, unix.MADV_COLLAPSE)
	}
}
