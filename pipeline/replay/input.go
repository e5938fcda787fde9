package replay

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/trailwarden/trailwarden/pipeline/gunzip"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// Options say what is read and within which bounds. The zero value of a field
// is its default.
type Options struct {
	// Stdin is read for the path "-" (default: os.Stdin).
	Stdin io.Reader
	// MaxRecord is the largest record in bytes (default 8 MiB); larger ones
	// are parked as "too-large".
	MaxRecord int
	// MaxRatio is how many times larger than its archive unpacked data may
	// be (default 200). What all archives of a run together unpack to beyond
	// that ratio may be RatioFloor bytes (default 64 MiB).
	MaxRatio   int
	RatioFloor int64
	// MaxDecoded is the most that may come out of one run's archives and
	// files together, in bytes (default 1 TiB).
	MaxDecoded int64
	// MaxWindow is the largest window of a zstd archive in bytes (default
	// 128 MiB, what "zstd --long" writes).
	MaxWindow uint64
	// MaxDecoders is what the windows of all archives open at once may hold,
	// in bytes (default 256 MiB). An archive that does not fit waits for
	// others to end, like a file over MaxOpen; one alone is always read.
	MaxDecoders int64
	// MaxOpen is how many files may be open at once (default 64). When more
	// overlap in time, some are read later than their time.
	MaxOpen int
	// From and To (exclusive) let deliveries of an object store be left out by
	// the time in their names, more than DeliveryMargin outside; Regions, when
	// there are any, by the region. Files with other names are read. Run sets
	// From and To to those of its configuration.
	From, To time.Time
	Regions  []string
	// Hash makes a run tell the SHA-256 of every file that it read to its end.
	Hash bool
	// BlockSize is how much a worker gets at a time, in bytes (default 512 KiB).
	BlockSize int

	held *gauge // windows of open archives
}

// gauge is how much is in use, and the most that ever was.
type gauge struct{ now, peak atomic.Int64 }

func (g *gauge) add(n int64) {
	now := g.now.Add(n)
	for p := g.peak.Load(); now > p && !g.peak.CompareAndSwap(p, now); p = g.peak.Load() {
	}
}

func (o Options) withDefaults() Options {
	if o.Stdin == nil {
		o.Stdin = os.Stdin
	}
	set(&o.MaxRecord, 8<<20)
	set(&o.MaxRatio, 200)
	set(&o.RatioFloor, 64<<20)
	set(&o.MaxDecoded, 1<<40)
	set(&o.MaxWindow, 128<<20)
	set(&o.MaxDecoders, 256<<20)
	set(&o.MaxOpen, 64)
	set(&o.BlockSize, 512<<10)
	if o.held == nil {
		o.held = new(gauge)
	}
	return o
}

func set[T int | int64 | uint64](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// FileError is a file that was not read, or not to its end.
type FileError struct {
	Path string
	Err  error
}

func (e FileError) Error() string { return text.Line(e.Path) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e FileError) Unwrap() error { return e.Err }

// Reasons for refusing a file, for errors.Is.
var (
	ErrNotRegular = errors.New("not a regular file")
	ErrBomb       = errors.New("unpacks to more than allowed")
	ErrTruncated  = errors.New("breaks off")
	ErrCount      = errors.New("does not hold what its name says")
)

// extensions are the names that count in a folder; a file named on the
// command line is read whatever it is called.
var extensions = []string{".json", ".jsonl", ".ndjson"}

// Wanted says that a file of that name is read where it is in a folder.
func Wanted(name string) bool {
	name = strings.ToLower(name)
	for _, packed := range []string{".gz", ".zst"} {
		if s, ok := strings.CutSuffix(name, packed); ok {
			// Object-store deliveries are called <something>.gz alone.
			return !strings.HasPrefix(name, ".") && !strings.HasSuffix(s, ".tar")
		}
	}
	return !strings.HasPrefix(name, ".") && slices.ContainsFunc(extensions, func(e string) bool { return strings.HasSuffix(name, e) })
}

// DeliveryMargin is how far the time in a delivery's name may lie from the
// times of its events. Deliveries come within minutes; which clock names them
// is not documented, and what is late is not told by the name.
const DeliveryMargin = 24 * time.Hour

// skips says that a file is a delivery that holds nothing that is asked for.
func (o *Options) skips(path string) bool {
	if o.From.IsZero() && o.To.IsZero() && len(o.Regions) == 0 {
		return false
	}
	region, at, _, ok := delivery(path)
	switch {
	case !ok:
		return false
	case len(o.Regions) > 0 && !slices.ContainsFunc(o.Regions, func(r string) bool { return strings.EqualFold(r, region) }):
		return true
	case !o.From.IsZero() && at.Before(o.From.Add(-DeliveryMargin)):
		return true
	}
	return !o.To.IsZero() && !at.Before(o.To.Add(DeliveryMargin))
}

// input is one file to read, or standard input.
type input struct {
	path string // as shown; "-" for standard input
	size int64  // in bytes as stored; -1 when not known
	want int    // events that the name says it holds; -1 when it does not

	window int64 // the largest that its decoder may use; 0 when not looked at
}

// leastWindow is allowed to every zstd archive, whatever its first frame
// says: what the usual levels write, so that archives may be joined.
const leastWindow = 8 << 20

// measure finds the window that an archive needs, from its first bytes.
func (in *input) measure(o *Options) {
	if in.path == "-" {
		in.window = int64(o.MaxWindow) // it may be anything
		return
	}
	f, err := os.OpenFile(in.path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return // shows when it is opened
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return
	}
	head := make([]byte, zstd.HeaderMaxSize)
	n, _ := io.ReadFull(f, head) // a short file is judged by what it has
	if packing(head[:n]) != "zstd" {
		return
	}
	need := uint64(leastWindow)
	var h zstd.Header
	if h.Decode(head[:n]) == nil {
		need = max(need, h.WindowSize)
	}
	in.window = int64(min(need, o.MaxWindow))
}

// maxOdd is how many ignored files are named.
const maxOdd = 10

// ignore books a file of a folder that is not read for its name.
func (r *Reader) ignore(path string) {
	if r.ignored++; len(r.odd) < maxOdd {
		r.odd = append(r.odd, path)
	}
}

// expand finds the files at paths: files themselves, and every wanted file
// below folders in the order of their names. Nothing is followed. What is not
// wanted is counted, unless it is hidden.
func (r *Reader) expand(paths []string) {
	seen := map[string]bool{}
	add := func(path string, size func() int64) {
		switch {
		case seen[path]:
			return
		case r.opts.skips(path):
			_, at, _, _ := delivery(path)
			if r.skipped++; r.skipped == 1 || at.Before(r.times[0]) {
				r.times[0] = at
			}
			if at.After(r.times[1]) {
				r.times[1] = at
			}
		default:
			r.inputs = append(r.inputs, input{path: path, size: size(), want: nameCount(path)})
		}
		seen[path] = true
	}
	fail := func(path string, err error) { r.failed = append(r.failed, FileError{path, err}) }
	for _, p := range paths {
		if p == "-" {
			add("-", func() int64 { return -1 })
			continue
		}
		if p == "" { // a variable that is not set, and not the folder where we are
			fail(`""`, errors.New("no name"))
			continue
		}
		written := p
		p = filepath.Clean(p)
		st, err := os.Lstat(p)
		switch {
		case err != nil && strings.Contains(written, "://"):
			fail(written, errors.New("nothing is read from there: name files that were copied from it, or sls://PROJECT/LOGSTORE or actiontrail://REGION"))
		case err != nil:
			fail(p, plain(err))
		case st.Mode().IsRegular():
			add(p, st.Size)
		case !st.IsDir():
			mode := st.Mode()
			if to, err := os.Stat(p); err == nil && !to.Mode().IsRegular() && !to.IsDir() {
				mode = to.Mode() // what a shell makes of <(command) is a link to a pipe
			}
			fail(p, notRegular(mode))
		default:
			// WalkDir goes in the order of names and does not follow links,
			// so that it cannot go round in circles.
			_ = filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
				hidden := strings.HasPrefix(filepath.Base(path), ".")
				switch {
				case err != nil:
					fail(path, plain(err))
					if d != nil && d.IsDir() {
						return fs.SkipDir
					}
				case d.IsDir():
					if path != p && hidden {
						if !seen[path] {
							seen[path] = true
							r.ignore(path + string(filepath.Separator)) // whatever is in it
						}
						return fs.SkipDir
					}
				case hidden:
					// Of what hides, only what is called like events is told.
					if Wanted(strings.TrimLeft(d.Name(), ".")) && !seen[path] {
						seen[path] = true
						r.ignore(path)
					}
				case d.Type()&fs.ModeSymlink != 0 && isFolder(path):
					fail(path, fmt.Errorf("%w but a symbolic link: name the folder it points to", ErrNotRegular))
				case !Wanted(d.Name()):
					if !seen[path] {
						seen[path] = true
						r.ignore(path)
					}
				case !d.Type().IsRegular():
					fail(path, notRegular(d.Type()))
				default:
					add(path, func() int64 {
						st, err := d.Info()
						if err != nil {
							return -1
						}
						return st.Size()
					})
				}
				return nil
			})
		}
	}
}

// isFolder looks behind a link.
func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// plain drops the path that FileError repeats.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func notRegular(m fs.FileMode) error {
	kind := "a special file"
	switch {
	case m&fs.ModeSymlink != 0:
		kind = "a symbolic link: name the file it points to"
	case m&fs.ModeNamedPipe != 0:
		kind = `a pipe: read it as standard input, with "-"`
	case m&fs.ModeSocket != 0:
		kind = "a socket"
	case m&fs.ModeDevice != 0:
		kind = "a device"
	case m.IsDir():
		kind = "a folder"
	}
	return fmt.Errorf("%w but %s", ErrNotRegular, kind)
}

// delivery reads the name of an object-store delivery,
// Actiontrail_<region>_<YYYYMMDDhhmmss>_1002_<events>_<size>_<md5>.gz.
func delivery(path string) (region string, at time.Time, events int, ok bool) {
	name := strings.ToLower(filepath.Base(path))
	if !strings.HasPrefix(name, "actiontrail") || !strings.HasSuffix(name, ".gz") {
		return "", time.Time{}, 0, false
	}
	part := strings.Split(strings.TrimSuffix(name, ".gz"), "_")
	if len(part) != 7 || part[1] == "" || len(part[2]) != 14 || len(part[6]) != 32 {
		return "", time.Time{}, 0, false
	}
	at, err := time.Parse("20060102150405", part[2])
	events, err2 := strconv.Atoi(part[4])
	if err != nil || err2 != nil || events < 0 {
		return "", time.Time{}, 0, false
	}
	return part[1], at, events, true
}

// nameCount is how many events a delivery's name says it holds; -1 for a file
// with another name.
func nameCount(path string) int {
	if _, _, n, ok := delivery(path); ok {
		return n
	}
	return -1
}

// counters are what a run has read so far.
type counters struct {
	read, decoded atomic.Int64
}

// file is an open input: what comes out of it is unpacked.
type file struct {
	io.Reader
	bound *bounded
	raw   *counting  // what is stored
	plain *plainFile // nil unless it is a regular file that is not packed
	close func()
}

// sniffed is how much of an input is read to look at its first bytes.
const sniffed = 4 << 10

// open opens an input and looks at its first bytes for a packing. Bytes are
// added to c, and to the decoded total of the run, unless c is nil.
func (in *input) open(ctx context.Context, o *Options, c *counters) (*file, error) {
	var raw io.Reader
	var stored *os.File
	closers := []func(){}
	shut := func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	if in.path == "-" {
		raw = &patient{r: o.Stdin, ctx: ctx}
	} else {
		f, err := os.OpenFile(in.path, os.O_RDONLY|openFlags, 0)
		if err != nil {
			return nil, plain(err)
		}
		closers = append(closers, func() { _ = f.Close() })
		// What was looked at may have been replaced since.
		if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
			shut()
			if err != nil {
				return nil, plain(err)
			}
			return nil, notRegular(st.Mode())
		}
		raw, stored = f, f
	}
	if c == nil {
		c = new(counters)
	}
	packed := &counting{r: raw, ctx: ctx, total: &c.read}
	if o.Hash {
		packed.sum = sha256.New()
	}
	br := bufio.NewReaderSize(packed, sniffed) // and longer reads go past it
	head, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		shut()
		return nil, plain(err)
	}
	out := io.Reader(br)
	switch packing(head) {
	case "gzip":
		z, err := gunzip.NewReader(br)
		if err != nil {
			shut()
			return nil, broken("gzip", err)
		}
		closers = append(closers, z.Close)
		out = faults{"gzip", z}
	case "zstd":
		window := o.MaxWindow
		if in.window > 0 {
			window = uint64(in.window)
		}
		ahead := int64(64 << 10)
		if in.path != "-" {
			ahead = min(ahead, max(in.size+1, sniffed)) // the end, too
		}
		z, err := zstd.NewReader(bufio.NewReaderSize(br, int(ahead)), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(window))
		if err != nil {
			shut()
			return nil, broken("zstd", err)
		}
		o.held.add(int64(window))
		closers = append(closers, func() { z.Close(); o.held.add(-int64(window)) })
		out = faults{"zstd", z}
	}
	b := &bounded{r: out, o: o, total: &c.decoded}
	f := &file{Reader: b, bound: b, raw: packed, close: shut}
	if out != io.Reader(br) {
		b.packed = packed
	} else if stored != nil {
		f.plain = &plainFile{f: stored, br: br, raw: packed, in: b}
	}
	return f, nil
}

// short is the error that a file ended before the end that it had when it was
// found: it was cut, or emptied by who rotates it, while it was read.
func (in *input) short(f *file) error {
	if in.path == "-" || f.raw.n >= in.size {
		return nil
	}
	return fmt.Errorf("file %w: it had %d bytes when it was found, and was read up to byte %d", ErrTruncated, in.size, f.raw.n)
}

// packing recognises an archive by its first bytes.
func packing(head []byte) string {
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		return "gzip"
	case len(head) >= 4 && string(head[:4]) == "\x28\xb5\x2f\xfd",
		// A frame to be skipped comes first where several processors packed.
		len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18":
		return "zstd"
	}
	return ""
}

// foreign recognises what is no text but is often taken for a file of events,
// by its first bytes: archives of other kinds, and tables.
func foreign(head []byte) string {
	for _, f := range [...]struct {
		at    int
		magic string
		what  string
	}{
		{0, "PK\x03\x04", "a zip archive: unpack it, and name the folder"}, {0, "PK\x05\x06", "an empty zip archive"},
		{257, "ustar", "a tar archive: unpack it, and name the folder"}, {0, "BZh", "a bzip2 archive: unpack it"},
		{0, "\xfd7zXZ\x00", "an xz archive: unpack it"}, {0, "7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"},
		{0, "\x04\x22\x4d\x18", "an lz4 archive: unpack it"}, {0, "\xff\x06\x00\x00sNaPpY", "a snappy archive: unpack it"},
		{0, "PAR1", "a Parquet table: export it as JSON lines"},
	} {
		if len(head) >= f.at+len(f.magic) && string(head[f.at:f.at+len(f.magic)]) == f.magic {
			return f.what
		}
	}
	return ""
}

// counting counts what is read and stops when the run is cancelled.
type counting struct {
	r     io.Reader
	ctx   context.Context
	n     int64
	total *atomic.Int64
	sum   hash.Hash // nil: not asked for
}

func (c *counting) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.sum != nil {
		_, _ = c.sum.Write(p[:n]) // it never fails
	}
	c.total.Add(int64(n))
	return n, err
}

// faults names the packing in its errors and tells a truncated archive from a
// damaged one.
type faults struct {
	kind string
	r    io.Reader
}

func (f faults) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = broken(f.kind, err)
	}
	return n, err
}

func broken(kind string, err error) error {
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return fmt.Errorf("%s archive %w", kind, ErrTruncated)
	case errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%s archive %w: its window is larger than the cap", kind, ErrBomb)
	}
	return fmt.Errorf("%s archive is damaged: %w", kind, err)
}

// over is what came out of the file beyond MaxRatio so far.
func (b *bounded) over() int64 {
	if b.packed == nil {
		return 0
	}
	return max(0, b.n-b.packed.n*int64(b.o.MaxRatio))
}

func errRatio(o *Options) error {
	return fmt.Errorf("%w: more than %d times its packed size", ErrBomb, o.MaxRatio)
}

// bounded caps what comes out of a file.
type bounded struct {
	r      io.Reader
	o      *Options
	packed *counting // nil when the file is not packed
	n      int64
	total  *atomic.Int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if b.total.Add(int64(n)) > b.o.MaxDecoded {
		return 0, fmt.Errorf("%w: the run's total is over %d bytes", ErrBomb, b.o.MaxDecoded)
	}
	if b.packed != nil && b.n > b.o.RatioFloor && b.n/int64(b.o.MaxRatio) > b.packed.n {
		return 0, errRatio(b.o)
	}
	return n, err
}

// Patient reads from r until ctx is cancelled, also where a read waits for what
// does not come, such as standard input. It is for one goroutine; a read that
// was given up goes on by itself.
func Patient(ctx context.Context, r io.Reader) io.Reader { return &patient{r: r, ctx: ctx} }

// patient lets a run be cancelled while it waits for standard input, which
// cannot be interrupted: the read goes on by itself and is given up.
type patient struct {
	r    io.Reader
	ctx  context.Context
	got  chan int // bytes read into buf; nil while no read is under way
	buf  []byte
	rest []byte
	err  error
}

func (p *patient) Read(out []byte) (int, error) {
	if len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		if p.got == nil {
			if p.buf == nil {
				p.buf = make([]byte, 64<<10)
			}
			p.got = make(chan int, 1)
			go func() {
				n, err := p.r.Read(p.buf)
				p.err = err
				p.got <- n
			}()
		}
		select {
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		case n := <-p.got:
			p.got, p.rest = nil, p.buf[:n]
		}
		if len(p.rest) == 0 {
			return 0, p.err
		}
	}
	n := copy(out, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
