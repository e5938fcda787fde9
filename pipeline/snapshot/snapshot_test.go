package snapshot

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What is written comes back, in order, and the same values are the same bytes.
func TestPropRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		magic := rapid.SampledFrom([]string{"TWTEST1\n", "TWTEST2\n", "T"}).Draw(t, "magic")
		var write []func(*Encoder)
		var read []func(*Decoder) (got, want any)
		for range rapid.IntRange(0, 20).Draw(t, "values") {
			switch rapid.SampledFrom([]string{"uint", "int", "bool", "string", "bytes", "time", "raw"}).Draw(t, "kind") {
			case "uint":
				v := rapid.Uint64().Draw(t, "v")
				write, read = append(write, func(e *Encoder) { e.Uint(v) }), append(read, func(d *Decoder) (any, any) { return d.Uint(), v })
			case "int":
				v := rapid.Int64().Draw(t, "v")
				write, read = append(write, func(e *Encoder) { e.Int(v) }), append(read, func(d *Decoder) (any, any) { return d.Int(), v })
			case "bool":
				v := rapid.Bool().Draw(t, "v")
				write, read = append(write, func(e *Encoder) { e.Bool(v) }), append(read, func(d *Decoder) (any, any) { return d.Bool(), v })
			case "string":
				v := rapid.String().Draw(t, "v")
				write, read = append(write, func(e *Encoder) { e.String(v) }), append(read, func(d *Decoder) (any, any) { return d.String(), v })
			case "bytes":
				v := rapid.SliceOf(rapid.Byte()).Draw(t, "v")
				write, read = append(write, func(e *Encoder) { e.Bytes(v) }), append(read, func(d *Decoder) (any, any) { return string(d.Bytes()), string(v) })
			case "time":
				v := time.Time{}
				if rapid.Bool().Draw(t, "set") {
					v = time.Unix(0, rapid.Int64().Draw(t, "v"))
				}
				write, read = append(write, func(e *Encoder) { e.Time(v) }), append(read, func(d *Decoder) (any, any) { return d.Time(), v.UTC() })
			case "raw":
				v := rapid.SliceOf(rapid.Byte()).Draw(t, "v")
				write, read = append(write, func(e *Encoder) { e.Raw(v) }), append(read, func(d *Decoder) (any, any) { return string(d.Raw(len(v))), string(v) })
			}
		}
		all := func() []byte {
			e := NewEncoder(magic)
			for _, w := range write {
				w(e)
			}
			return e.Seal()
		}
		data := all()
		if !bytes.Equal(data, all()) {
			t.Fatal("the same values are other bytes")
		}
		d, err := Open(data, "TWOTHER\n", magic)
		if err != nil {
			t.Fatal(err)
		}
		if d.Magic() != magic {
			t.Fatalf("it begins with %q, not %q", d.Magic(), magic)
		}
		for i, r := range read {
			if got, want := r(d); got != want {
				t.Fatalf("value %d: %v, not %v", i, got, want)
			}
		}
		if err := d.End(); err != nil {
			t.Fatal(err)
		}

		// One that is cut, changed or of another kind is not opened.
		n := rapid.IntRange(0, len(data)-1).Draw(t, "cut")
		if _, err := Open(data[:n], magic); err == nil {
			t.Fatalf("cut at %d of %d, it is opened", n, len(data))
		}
		bad := bytes.Clone(data)
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "changed")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := Open(bad, magic); err == nil {
			t.Fatal("with a bit changed, it is opened")
		}
		if _, err := Open(data, "TWOTHER\n"); err == nil {
			t.Fatal("it is opened as another kind")
		}
	})
}

// After a fault everything is empty, and the first fault is what is told.
func TestFaultsStay(t *testing.T) {
	for name, c := range map[string]struct {
		write func(*Encoder)
		read  func(*Decoder)
		want  string
	}{
		"nothing left":     {func(*Encoder) {}, func(d *Decoder) { d.Uint() }, cut},
		"no end of number": {func(e *Encoder) { e.Raw([]byte{0x80}) }, func(d *Decoder) { d.Int() }, cut},
		"number too large": {func(e *Encoder) { e.Raw(bytes.Repeat([]byte{0xff}, 11)) }, func(d *Decoder) { d.Uint() }, cut},
		"text too long":    {func(e *Encoder) { e.Uint(math.MaxUint64); e.Raw([]byte("x")) }, func(d *Decoder) { _ = d.String() }, cut},
		"more than bytes":  {func(e *Encoder) { e.Uint(2); e.Raw([]byte("abc")) }, func(d *Decoder) { d.Count(2) }, cut},
		"half a truth":     {func(e *Encoder) { e.Raw([]byte{2}) }, func(d *Decoder) { d.Bool() }, "a truth value is neither 0 nor 1"},
		"something left":   {func(e *Encoder) { e.Int(1); e.Int(2) }, func(d *Decoder) { d.Int() }, "1 bytes follow the snapshot"},
		"said by a reader": {func(e *Encoder) { e.Int(1) }, func(d *Decoder) { d.Fail("%d is odd", d.Int()) }, "1 is odd"},
	} {
		e := NewEncoder("T\n")
		c.write(e)
		d, err := Open(e.Seal(), "T\n")
		if err != nil {
			t.Fatal(err)
		}
		c.read(d)
		if err := d.End(); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if got := fmt.Sprint(d.Uint(), d.Int(), d.Bool(), d.String(), d.Bytes(), d.Time(), d.Count(1), d.Raw(1), d.Rest()); got != fmt.Sprint(0, 0, false, "", []byte{}, time.Time{}, 0, []byte{0}, []byte{}) {
			t.Errorf("%s: after it there is still %s", name, got)
		}
		if d.Fail("another"); d.Err().Error() != c.want {
			t.Errorf("%s: it becomes %v", name, d.Err())
		}
	}
}

// FuzzDecoder reads anything that has the right checksum.
func FuzzDecoder(f *testing.F) {
	e := NewEncoder("T\n")
	e.Uint(3)
	e.String("abc")
	e.Time(time.Unix(1, 2))
	f.Add(e.Seal(), []byte{0, 3, 5})
	f.Fuzz(func(t *testing.T, data, order []byte) {
		d, err := Open(Reseal(data), "T\n", "")
		if err != nil {
			return
		}
		left := len(data)
		for _, o := range order {
			switch o % 8 {
			case 0:
				d.Uint()
			case 1:
				d.Int()
			case 2:
				d.Bool()
			case 3:
				_ = d.String()
			case 4:
				d.Bytes()
			case 5:
				d.Time()
			case 6:
				if n := d.Count(1 + int(o)/8); n > left {
					t.Fatalf("%d things in %d bytes", n, left)
				}
			case 7:
				d.Raw(int(o) / 8)
			}
		}
		if err := d.End(); err != nil && d.Uint() != 0 {
			t.Fatal("after a fault there is a value")
		}
	})
}

// What is larger than anything that is kept is a fault, and reads as nothing.
func TestBoundedReads(t *testing.T) {
	for _, c := range []struct {
		write func(*Encoder)
		read  func(*Decoder) bool // whether it read what was written
		fault string
	}{
		{func(e *Encoder) { e.Uint(math.MaxUint32) }, func(d *Decoder) bool { return d.Uint32() == math.MaxUint32 }, ""},
		{func(e *Encoder) { e.Uint(math.MaxUint32 + 1) }, func(d *Decoder) bool { return d.Uint32() == 0 }, "a number is too large"},
		{func(e *Encoder) { e.String("abc") }, func(d *Decoder) bool { return d.StringTo(3) == "abc" }, ""},
		{func(e *Encoder) { e.String("abcd") }, func(d *Decoder) bool { return d.StringTo(3) == "" }, "a text of 4 bytes where at most 3 are kept"},
		{func(e *Encoder) { e.Uint(2); e.Raw([]byte{1, 2}) }, func(d *Decoder) bool { return d.CountTo(1, 2) == 2 && len(d.Rest()) == 2 }, ""},
		{func(e *Encoder) { e.Uint(2); e.Raw([]byte{1, 2}) }, func(d *Decoder) bool { return d.CountTo(1, 1) == 0 }, "a list of 2 where at most 1 are kept"},
		{func(e *Encoder) { e.Uint(2); e.Raw([]byte{1, 2}) }, func(d *Decoder) bool { return d.CountTo(2, 9) == 0 }, cut},
	} {
		e := NewEncoder("T1\n")
		c.write(e)
		d, err := Open(e.Seal(), "T1\n")
		if err != nil {
			t.Fatal(err)
		}
		read, fault := c.read(d), ""
		if err := d.End(); err != nil {
			fault = err.Error()
		}
		if !read || fault != c.fault {
			t.Errorf("read as written: %t, fault %q, want %q", read, fault, c.fault)
		}
	}
}
