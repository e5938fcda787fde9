package replay

import (
	"bufio"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// DefaultHeld is how many alerts a run has in memory at most.
const DefaultHeld = 4096

// sorter puts parts of alerts in order. Those over a limit wait in sorted runs
// in a file. It is used by one goroutine.
type sorter struct {
	limit   int
	compare func(a, b *alert.Part) int
	held    []*alert.Part
	file    *os.File
	size    int64
	runs    []stretch // of file
	stays   bool      // the file is for later runs too
}

// stretch is where a run is in a file.
type stretch struct {
	at, size int64
	parts    int
}

func byID(a, b *alert.Part) int { return strings.Compare(a.ID(), b.ID()) }

func (s *sorter) add(p *alert.Part) error {
	if s.held = append(s.held, p); len(s.held) < s.limit {
		return nil
	}
	return s.spill()
}

// spill writes what is held to the file, as one run.
func (s *sorter) spill() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "trailwarden-replay-*")
		if err != nil {
			return s.full(err)
		}
		// Where a file that is open can lose its name, nothing is left of it
		// however the program ends; elsewhere close removes it.
		_ = os.Remove(f.Name())
		s.file = f
	}
	slices.SortFunc(s.held, s.compare)
	w := bufio.NewWriterSize(s.file, 1<<16)
	size := int64(0)
	var data [partsAtOnce][]byte
	var errs [partsAtOnce]error
	for some := range slices.Chunk(s.held, partsAtOnce) {
		sideBySide(len(some), func(i int) { data[i], errs[i] = some[i].Pack(data[i][:0]) })
		for i, p := range some {
			if errs[i] != nil {
				return fmt.Errorf("alert %s: %w", p.ID(), errs[i])
			}
			head := binary.AppendUvarint(w.AvailableBuffer(), uint64(len(data[i])))
			_, _ = w.Write(head) // an error shows when it is flushed
			_, _ = w.Write(data[i])
			size += int64(len(head) + len(data[i]))
		}
	}
	if err := w.Flush(); err != nil {
		// Half a run is none: the next one stands in its place.
		_, again := s.file.Seek(s.size, io.SeekStart)
		return s.full(errors.Join(err, again))
	}
	s.runs = append(s.runs, stretch{s.size, size, len(s.held)})
	s.size += size
	clear(s.held)
	s.held = s.held[:0]
	return nil
}

// partsAtOnce is how many parts are packed or unpacked side by side. Details as
// JSON are most of the work.
const partsAtOnce = 128

// sideBySide calls f for 0 to n-1 on all processors, and returns when all calls
// have.
func sideBySide(n int, f func(i int)) {
	var wg sync.WaitGroup
	all := min(runtime.GOMAXPROCS(0), n)
	for first := range all {
		wg.Go(func() {
			for i := first; i < n; i += all {
				f(i)
			}
		})
	}
	wg.Wait()
}

// full is the error that alerts have no room to wait in.
func (s *sorter) full(err error) error {
	if s.stays {
		return fmt.Errorf("alerts that wait to be put in order do not fit into the folder of the run's state (%w): %s", plain(err), remedy(err))
	}
	return fmt.Errorf("alerts that wait to be put in order do not fit into a temporary file; TMPDIR may name a folder with more room: %w", err)
}

// all yields the parts in order, any number of times.
func (s *sorter) all() iter.Seq2[*alert.Part, error] {
	return func(yield func(*alert.Part, error) bool) {
		slices.SortFunc(s.held, s.compare)
		m := runHeap{compare: s.compare}
		for _, at := range s.runs {
			m.runs = append(m.runs, &sorted{from: bufio.NewReaderSize(io.NewSectionReader(s.file, at.at, at.size), 1<<14), left: at.parts, size: at.size})
		}
		m.runs = append(m.runs, &sorted{held: s.held})
		for i := 0; i < len(m.runs); {
			if more, err := m.runs[i].next(); err != nil {
				yield(nil, err)
				return
			} else if !more {
				m.runs = slices.Delete(m.runs, i, i+1)
				continue
			}
			i++
		}
		heap.Init(&m)
		for len(m.runs) > 0 {
			first := m.runs[0]
			if !yield(first.part, nil) {
				return
			}
			if more, err := first.next(); err != nil {
				yield(nil, err)
				return
			} else if more {
				heap.Fix(&m, 0)
			} else {
				heap.Pop(&m)
			}
		}
	}
}

// close forgets everything. It may be called again.
func (s *sorter) close() {
	if s.file != nil {
		_ = s.file.Close() // nothing is read from it any more
		if !s.stays {
			_ = os.Remove(s.file.Name())
		}
		s.file = nil
	}
	s.held, s.runs = nil, nil
}

// sorted is one run being read, from the file or from memory.
type sorted struct {
	from *bufio.Reader // nil: held
	left int           // in from
	size int64         // of from in all
	held []*alert.Part
	part *alert.Part // the current one
}

func (r *sorted) next() (more bool, err error) {
	if r.from == nil {
		if len(r.held) == 0 {
			return false, nil
		}
		r.part, r.held = r.held[0], r.held[1:]
		return true, nil
	}
	if r.left == 0 {
		return false, nil
	}
	r.left--
	n, err := binary.ReadUvarint(r.from)
	if err == nil && n > uint64(r.size) {
		err = alert.ErrPart
	}
	if err == nil {
		data := make([]byte, n)
		if _, err = io.ReadFull(r.from, data); err == nil {
			r.part, err = alert.Unpack(data)
		}
	}
	if err != nil {
		return false, readError(err)
	}
	return true, nil
}

func readError(err error) error {
	return fmt.Errorf("alerts cannot be read back from a temporary file: %w", err)
}

type runHeap struct {
	compare func(a, b *alert.Part) int
	runs    []*sorted
}

func (h *runHeap) Len() int           { return len(h.runs) }
func (h *runHeap) Less(i, j int) bool { return h.compare(h.runs[i].part, h.runs[j].part) < 0 }
func (h *runHeap) Swap(i, j int)      { h.runs[i], h.runs[j] = h.runs[j], h.runs[i] }
func (h *runHeap) Push(x any)         { h.runs = append(h.runs, x.(*sorted)) }
func (h *runHeap) Pop() any {
	last := len(h.runs) - 1
	x := h.runs[last]
	h.runs = h.runs[:last]
	return x
}

// join puts parts by id together and yields whole alerts.
func join(parts iter.Seq2[*alert.Part, error]) iter.Seq2[*alert.Part, error] {
	return func(yield func(*alert.Part, error) bool) {
		var whole *alert.Part
		for p, err := range parts {
			switch {
			case err != nil:
				yield(nil, err)
				return
			case whole == nil:
				whole = p
			case whole.ID() == p.ID():
				if err := whole.Join(p); err != nil {
					yield(nil, readError(err))
					return
				}
			default:
				if !yield(whole, nil) {
					return
				}
				whole = p
			}
		}
		if whole != nil {
			yield(whole, nil)
		}
	}
}
