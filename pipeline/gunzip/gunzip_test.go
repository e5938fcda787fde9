package gunzip_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/gunzip"
)

// read is all that comes out, read in pieces of these sizes in turn into memory
// that is used for something else in between, and the error, nil at the end.
func read(z io.Reader, pieces ...int) ([]byte, error) {
	var out []byte
	memory := make([]byte, slices.Max(pieces))
	for i := 0; ; i++ {
		b := memory[:pieces[i%len(pieces)]]
		n, err := z.Read(b)
		out = append(out, b[:n]...)
		for k := range b[:n] {
			b[k] = 0xa5
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// ours unpacks with the reader that is tested.
func ours(r io.Reader, pieces ...int) ([]byte, error) {
	z, err := gunzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return read(z, pieces...)
}

// plain unpacks with the standard library, which is the oracle.
func plain(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return read(z, 512)
}

// same compares what both make of an archive.
func same(t interface{ Fatalf(string, ...any) }, archive []byte, r io.Reader, pieces ...int) {
	want, wantErr := plain(archive)
	got, err := ours(r, pieces...)
	if long := errors.Is(wantErr, gzip.ErrHeader) && len(archive) > 512 && !errors.Is(err, gunzip.ErrHeader); long {
		return // the standard library has 512 bytes for a name, and we any number
	}
	// Where an archive is cut, the standard library does not look at what is left
	// when that is shorter than the code for the end; here it is what it is.
	more := 0
	if errors.Is(wantErr, io.ErrUnexpectedEOF) {
		more = min(15*258, max(0, len(got)-len(want)))
	}
	if !bytes.Equal(got[:len(got)-more], want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Fatalf("of %d bytes packed %d come out (%v), not %d (%v), and the first %d are the same", len(archive), len(got), err, len(want), wantErr, at)
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("error %v, the standard library has %v", err, wantErr)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(wantErr, io.ErrUnexpectedEOF) && !errors.As(wantErr, new(flate.CorruptInputError)) {
		t.Fatalf("error %v, the standard library has %v", err, wantErr)
	}
}

// content is text of some kind: of few letters or many, with what comes again
// near and far.
func content(t *rapid.T) []byte {
	size := rapid.SampledFrom([]int{0, 1, 20, 1000, 40_000, 100_000, 300_000}).Draw(t, "size")
	letters := rapid.SampledFrom([]int{1, 2, 5, 60, 256}).Draw(t, "letters")
	again := rapid.IntRange(0, 9).Draw(t, "again")
	far := rapid.SampledFrom([]int{1, 2, 7, 8, 9, 300, 32767, 32768}).Draw(t, "far")
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	var b []byte
	for len(b) < size {
		if len(b) > 0 && r.IntN(10) < again {
			from := len(b) - 1 - r.IntN(min(far, len(b)))
			for n := 1 + r.IntN(400); n > 0; n-- {
				b = append(b, b[from])
				from++
			}
			continue
		}
		for n := 1 + r.IntN(40); n > 0; n-- {
			b = append(b, byte(r.IntN(letters)*(1+r.IntN(2))))
		}
	}
	return b
}

// pack packs as some program might have: any level, flushed anywhere, in several
// members, with a header of any kind.
func pack(t *rapid.T, b []byte) []byte {
	var out bytes.Buffer
	for members := rapid.IntRange(1, 3).Draw(t, "members"); members > 0; members-- {
		z, err := gzip.NewWriterLevel(&out, rapid.IntRange(-2, 9).Draw(t, "level"))
		if err != nil {
			t.Fatal(err)
		}
		z.Name = rapid.SampledFrom([]string{"", "a", strings.Repeat("n", 300)}).Draw(t, "name")
		z.Comment = rapid.SampledFrom([]string{"", "c"}).Draw(t, "comment")
		z.Extra = rapid.SampledFrom([][]byte{nil, {1, 0, 0}}).Draw(t, "extra")
		part := b
		if members > 1 {
			part = b[:rapid.IntRange(0, len(b)).Draw(t, "cut")]
		}
		b = b[len(part):]
		for len(part) > 0 {
			n := len(part)
			if rapid.Bool().Draw(t, "flushed") {
				n = rapid.IntRange(1, n).Draw(t, "to")
			}
			_, _ = z.Write(part[:n])
			part = part[n:]
			_ = z.Flush()
		}
		_ = z.Close()
	}
	return out.Bytes()
}

// TestPropReader holds the reader to the standard library, in whatever pieces it
// reads and is read, and whatever is cut from the archive or damaged in it.
func TestPropReader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := content(t)
		archive := pack(t, text)
		cut := false
		switch rapid.IntRange(0, 3).Draw(t, "harm") {
		case 1:
			archive, cut = archive[:rapid.IntRange(0, len(archive)).Draw(t, "end")], true
		case 2:
			i := rapid.IntRange(0, len(archive)-1).Draw(t, "at")
			archive[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case 3:
			archive = append(archive, rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "behind")...)
		}
		if got, _ := ours(bytes.NewReader(archive), 4096); cut && !bytes.HasPrefix(text, got) {
			t.Fatalf("of an archive that is cut comes what was not in it")
		}
		r := io.Reader(bytes.NewReader(archive))
		switch rapid.IntRange(0, 3).Draw(t, "reader") {
		case 1:
			r = iotest.OneByteReader(r)
		case 2:
			r = iotest.HalfReader(r)
		case 3:
			r = iotest.DataErrReader(r)
		}
		same(t, archive, r, rapid.SliceOfN(rapid.SampledFrom([]int{7, 100, 4096, 64 << 10, 65 << 10, 100_000, 1 << 20}), 1, 5).Draw(t, "pieces")...)
	})
}

// TestCutAnywhere cuts an archive at every byte.
func TestCutAnywhere(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for i := range 60 {
		fmt.Fprintf(z, `{"eventId":"%d","eventName":"ListUsers","sourceIpAddress":"203.0.113.%d"}`, i*7919, i%7)
	}
	_ = z.Close()
	for n := range b.Len() {
		same(t, b.Bytes()[:n], bytes.NewReader(b.Bytes()[:n]), 64)
		if _, err := ours(bytes.NewReader(b.Bytes()[:n]), 64); n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
}

// TestErrors has an archive of each kind of damage.
func TestErrors(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, "some text, and some text")
	_ = z.Close()
	good := b.Bytes()
	change := func(at int, to byte) []byte { c := bytes.Clone(good); c[at] = to; return c }
	kind := change(10, good[10]|6) // both bits of the kind
	for name, c := range map[string]struct {
		archive []byte
		want    error
	}{
		"good":              {good, nil},
		"empty":             {nil, io.EOF},
		"no magic":          {change(0, 'P'), gunzip.ErrHeader},
		"another method":    {change(2, 9), gunzip.ErrHeader},
		"kind of a block":   {kind, gunzip.ErrCorrupt},
		"checksum":          {change(len(good)-8, ^good[len(good)-8]), gunzip.ErrChecksum},
		"size":              {change(len(good)-4, ^good[len(good)-4]), gunzip.ErrChecksum},
		"zeros behind":      {append(bytes.Clone(good), make([]byte, 20)...), gunzip.ErrHeader},
		"something behind":  {append(bytes.Clone(good), 0x1f), io.ErrUnexpectedEOF},
		"before the window": {wrapped("\x03\x02\x00"), gunzip.ErrCorrupt},
	} {
		if _, err := ours(bytes.NewReader(c.archive), 100); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, not %v", name, err, c.want)
		}
	}
}

// TestFaults gives out what came before the input failed, then the failure.
func TestFaults(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(bytes.Repeat([]byte("0123456789"), 1000))
	_ = z.Flush()
	broke := errors.New("the disk broke")
	got, err := ours(io.MultiReader(&b, iotest.ErrReader(broke)), 700)
	if !errors.Is(err, broke) || len(got) != 10_000 {
		t.Fatalf("%d bytes and %v, not 10000 and %v", len(got), err, broke)
	}
}

// TestClosed gives the memory of one reader to the next, with nothing of the
// first in it.
func TestClosed(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(bytes.Repeat([]byte("secret"), 100))
	_ = z.Close()
	for range 3 {
		if _, err := ours(bytes.NewReader(b.Bytes()), 100); err != nil {
			t.Fatal(err)
		}
		// A match that reaches into what the last one left.
		if got, err := ours(bytes.NewReader(wrapped("\x03\x02\x00")), 100); !errors.Is(err, gunzip.ErrCorrupt) || len(got) > 0 {
			t.Fatalf("%q, %v", got, err)
		}
	}
	r, err := gunzip.NewReader(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if n, err := r.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Fatalf("%d bytes and no error after Close", n)
	}
}

// TestAllocations unpacks without making garbage: the memory of one reader is the
// next one's.
func TestAllocations(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(bytes.Repeat([]byte("0123456789"), 100_000))
	_ = z.Close()
	into := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(20, func() {
		r, err := gunzip.NewReader(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = r.Read(into)
		}
		r.Close()
	}); n > 20 {
		t.Errorf("%v allocations for an archive of 1 MB", n)
	}
}

// wrapped is compressed data with the header and the trailer of an archive of
// nothing.
func wrapped(data string) []byte {
	return []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + data + "\x00\x00\x00\x00\x00\x00\x00\x00")
}

// FuzzReader holds the reader to the standard library on anything, as an archive
// and as the compressed data of one.
func FuzzReader(f *testing.F) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for i := range 30 {
		fmt.Fprintf(z, `{"eventId":"%08x","eventName":"ListUsers"}`, crc32.ChecksumIEEE([]byte{byte(i)}))
	}
	_ = z.Close()
	f.Add(b.Bytes(), 100)
	f.Add(b.Bytes()[10:], 1)
	f.Add([]byte("\x4b\x4c\x04\x82\x00"), 100)               // codes that need no telling
	f.Add([]byte("\x01\x02\x00\xfd\xffab"), 100)             // stored
	f.Add([]byte("\x05\xc0\x81\x08\x00\x00\x00"), 100)       // one code of one bit
	f.Add([]byte("\x1f\x8b\x08\x1e\x00\x00\x00\x00"), 100)   // all that a header may have
	f.Add([]byte("\xed\xc1\x01\x01\x00\x00\x00\x80\x90"), 7) // a set of codes of zeros
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		piece = 1 + piece&0xffff
		same(t, b, bytes.NewReader(b), piece)
		archive := wrapped(string(b))
		same(t, archive, bytes.NewReader(archive), piece, 64<<10+piece)
		same(t, archive, iotest.OneByteReader(bytes.NewReader(archive)), piece)
	})
}

// BenchmarkReader unpacks records, here and by the standard library.
func BenchmarkReader(b *testing.B) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	r := rand.New(rand.NewPCG(1, 2))
	size := 0
	for range 20_000 {
		n, _ := fmt.Fprintf(z, `{"eventId":"%016x%016x","eventVersion":"1","eventSource":"ram.aliyuncs.com","eventName":"%s","sourceIpAddress":"203.0.113.%d","userIdentity":{"type":"ram-user","principalId":"%d","userName":"user%d","accessKeyId":"LTAIEXAMPLE%d"},"requestParameters":{"PageSize":%d}}`+"\n",
			r.Uint64(), r.Uint64(), []string{"ListUsers", "GetUser", "ListAccessKeys", "DescribeInstances"}[r.IntN(4)], r.IntN(250), r.IntN(1000), r.IntN(1000), r.IntN(1000), r.IntN(100))
		size += n
	}
	_ = z.Close()
	into := make([]byte, 512<<10)
	for _, c := range []struct {
		name string
		open func(io.Reader) (io.Reader, func(), error)
	}{
		{"ours", func(r io.Reader) (io.Reader, func(), error) {
			z, err := gunzip.NewReader(r)
			return z, z.Close, err
		}},
		{"standard", func(r io.Reader) (io.Reader, func(), error) {
			z, err := gzip.NewReader(r)
			return z, func() {}, err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				z, shut, err := c.open(bytes.NewReader(packed.Bytes()))
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for err == nil {
					var m int
					m, err = z.Read(into)
					n += m
				}
				shut()
				if n != size {
					b.Fatalf("%d bytes, not %d: %v", n, size, err)
				}
			}
		})
	}
}
