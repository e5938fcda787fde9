//go:build amd64 || arm64

package replay

import (
	"bufio"
	"fmt"
	"os"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/trailwarden/trailwarden/pipeline/raced"
)

// Memory is what it was after the kernel has moved it, whoever asks and however
// often, and the heap is marked for it.
func TestHugePages(t *testing.T) {
	h := new(hugePages)
	var blocks [][]byte
	for i := range 12 {
		b := make([]byte, 1<<20)
		for k := range b {
			b[k] = byte(k*7 + i)
		}
		blocks = append(blocks, b)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for range hugeEvery {
					h.check()
				}
			})
		}
		wg.Wait()
	}
	for i, b := range blocks {
		for k := range b {
			if b[k] != byte(k*7+i) {
				t.Fatalf("byte %d of block %d is %d", k, i, b[k])
			}
		}
	}
	if os.Getpagesize() != 4096 {
		t.Skip("pages are not of 4 KiB here")
	}
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage/enabled"); err != nil {
		t.Skip("the kernel has no huge pages:", err)
	}
	if flags := flagsOf(t, uintptr(unsafe.Pointer(h))); !strings.Contains(flags+" ", " hg ") {
		t.Errorf("the heap has the flags %q, without hg", flags)
	}
}

// What is prepared lies on huge pages, is not touched, and is given back.
func TestReserve(t *testing.T) {
	if os.Getpagesize() != smallPage {
		t.Skip("pages are not of 4 KiB here")
	}
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage/enabled"); err != nil {
		t.Skip("the kernel has no huge pages:", err)
	}
	const size = 256 << 20
	before := peakRSS()
	at := prepare(size)
	if flags := flagsOf(t, at+size/2); !strings.Contains(flags+" ", " hg ") {
		t.Errorf("the heap has the flags %q, without hg", flags)
	}
	most := int64(raced.Size(size/2, 8*size)) // the race detector writes down what is allocated
	if now := peakRSS(); now > before+most {
		t.Errorf("%d MiB were resident, %d before", now>>20, before>>20)
	}
	m := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	if metrics.Read(m); m[0].Value.Uint64() > size {
		t.Errorf("%d bytes are in use: it is not given back", m[0].Value.Uint64())
	}
}

// flagsOf returns what the kernel says of the memory at an address.
func flagsOf(t *testing.T, at uintptr) string {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	within := false
	for in := bufio.NewScanner(f); in.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(in.Text(), "%x-%x ", &from, &to); n == 2 {
			within = from <= at && at < to
		} else if flags, ok := strings.CutPrefix(in.Text(), "VmFlags:"); ok && within {
			return flags
		}
	}
	t.Skip("smaps does not have the heap")
	return ""
}
