package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// plainFile is a regular file of lines that is not packed. Its blocks are read
// by the workers that evaluate them, each into the same memory again, which
// stays in the processor's cache; who cuts the file looks at their ends alone.
// Records are left in the file while their events wait, and read again from
// there when a detector has something to say. Reading may be asked for by any
// goroutine.
type plainFile struct {
	f    *os.File
	br   *bufio.Reader
	raw  *counting
	in   *bounded
	of   *plainFiles
	uses atomic.Int32 // who cuts it, and batches whose records are left in it

	mu  sync.Mutex
	err error // why a record could not be read again
}

// leastPlain is the size from which on it is worth it, in blocks.
var leastPlain int64 = 4 // a variable for tests

// plainFiles are those of a run that are open.
type plainFiles struct {
	mu  sync.Mutex
	all map[*plainFile]struct{}
}

// open adds a file, for who cuts it, unless there are max already.
func (o *plainFiles) open(p *plainFile, max int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.all) >= max {
		return false
	}
	if o.all == nil {
		o.all = make(map[*plainFile]struct{})
	}
	o.all[p] = struct{}{}
	p.of = o
	p.hold()
	return true
}

// close closes what a run that was stopped has left open. Nothing may be read
// any more.
func (o *plainFiles) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for p := range o.all {
		_ = p.f.Close()
	}
	o.all = nil
}

// hold and release count who still reads; with the last one the file is closed.
func (p *plainFile) hold() { p.uses.Add(1) }

func (p *plainFile) release() {
	if p.uses.Add(-1) > 0 {
		return
	}
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	delete(p.of.all, p)
	_ = p.f.Close()
	p.br, p.raw, p.in = nil, nil, nil // who remembers the file wants its trouble only
}

// fill reads all of buf, and how much of it there still is.
func (p *plainFile) fill(buf []byte, at int64) (n int, err error) {
	if n, err = p.f.ReadAt(buf, at); n == len(buf) {
		return n, nil
	}
	return n, p.gone(at+int64(n), err)
}

var errMeanwhile = errors.New("changed while it was read")

func (p *plainFile) gone(at int64, err error) error {
	if err == nil {
		err = errMeanwhile
	}
	err = fmt.Errorf("what was read of it at byte %d is there no more (%w)", at, plain(err))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	return err
}

// trouble is why the file could not be read again, if so.
func (p *plainFile) trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Reread implements event.Rereader.
func (p *plainFile) Reread(buf []byte, at int64, size int) []byte {
	n := len(buf)
	buf = slices.Grow(buf, size)[:n+size]
	if _, err := p.fill(buf[n:], at); err != nil {
		return buf[:n]
	}
	return buf
}

// Changed implements event.Rereader.
func (p *plainFile) Changed(at int64) { _ = p.gone(at, errMeanwhile) }

// moveTo goes on reading the usual way from a byte on. What is counted is how
// far reading has come.
func (p *plainFile) moveTo(at int64) error {
	if _, err := p.f.Seek(at, io.SeekStart); err != nil {
		return plain(err)
	}
	p.br.Reset(p.raw)
	p.count(at)
	return nil
}

func (p *plainFile) count(at int64) {
	p.raw.total.Add(at - p.raw.n)
	p.raw.n = at
	p.in.total.Add(at - p.in.n)
	p.in.n = at
}

// fits says that the run may read up to a byte.
func (p *plainFile) fits(at int64) bool {
	return p.in.total.Load()+at-p.in.n <= p.in.o.MaxDecoded && p.raw.ctx.Err() == nil
}

// tailSize is how much of a block's end is looked at to find where its last
// line ends.
const tailSize = 8 << 10

// apart cuts the next block of lines without reading it, and says whether it
// could: not at the end of the file, nor where a line is long.
func (s *splitter) apart(c *chunk) bool {
	p := s.plain
	if p == nil || s.mode != modeLines || s.skipEOL || s.err != nil {
		return false
	}
	if s.tail == nil {
		s.tail = make([]byte, min(tailSize, s.block))
	}
	end := s.at + int64(s.block)
	// As much of the file that is at hand has been read; the rest of it is new.
	if n, _ := p.f.ReadAt(s.tail, end-int64(len(s.tail))); n < len(s.tail) || !p.fits(end) {
		return false
	}
	n := bytes.LastIndexByte(s.tail, '\n') + 1
	if n == 0 {
		return false
	}
	end += int64(n - len(s.tail))
	c.lines, c.buf = true, c.buf[:0]
	c.left = event.Block{File: p, At: s.at}
	c.length = int(end - s.at)
	p.hold()
	s.at, s.away = end, true
	s.rest = s.rest[:0]
	p.count(end)
	return true
}
