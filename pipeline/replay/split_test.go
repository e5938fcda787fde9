package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// split cuts in into records.
func split(t testing.TB, in io.Reader, o Options, limit int) (out []string, err error) {
	t.Helper()
	o = o.withDefaults()
	s := newSplitter(in, &o)
	var c chunk
	for range limit {
		if err := s.next(&c); err != nil {
			if cap(c.buf) > 4*(o.MaxRecord+o.BlockSize) {
				t.Fatalf("the buffer grew to %d", cap(c.buf))
			}
			return out, err
		}
		if !c.lines && len(c.recs) == 0 {
			t.Fatal("a chunk of nothing")
		}
		if c.lines {
			for l := range bytes.SplitSeq(c.buf, []byte("\n")) {
				if l = bytes.TrimSpace(l); len(l) > 0 {
					out = append(out, string(l))
				}
			}
		}
		for _, r := range c.recs {
			if r.tooLarge {
				out = append(out, "too large")
				continue
			}
			out = append(out, string(c.buf[r.from:r.to]))
		}
	}
	t.Fatal("does not come to an end")
	return nil, nil
}

// TestPropSplit: whatever objects are written, in one layout and however
// the reader returns them, come out one by one.
func TestPropSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var objects []map[string]string
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			objects = append(objects, rapid.MapOfN(rapid.StringN(0, 5, 10), rapid.StringN(0, 80, 200), 1, 4).Draw(t, "object"))
		}
		var in strings.Builder
		layout := rapid.IntRange(0, 3).Draw(t, "layout")
		indent := ""
		if layout >= 2 {
			indent = " "
		}
		if layout%2 == 1 {
			in.WriteString("[\n")
		}
		for i, o := range objects {
			b, err := json.MarshalIndent(o, "", indent)
			if layout < 2 {
				b, err = json.Marshal(o)
			}
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 && layout%2 == 1 {
				in.WriteString(" ,")
			}
			in.Write(b)
			in.WriteString("\n")
		}
		if layout%2 == 1 {
			in.WriteString("]")
		}
		var r io.Reader = strings.NewReader(in.String())
		switch rapid.IntRange(0, 2).Draw(t, "reader") {
		case 0:
			r = iotest.OneByteReader(r)
		case 1:
			r = iotest.DataErrReader(r)
		}
		o := Options{BlockSize: rapid.SampledFrom([]int{1, 7, 64, 1000, 100_000}).Draw(t, "block"), MaxRecord: 100_000}.withDefaults()
		s := newSplitter(r, &o)
		var c chunk
		var got []string
		for {
			err := s.next(&c)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%q: %v", in.String(), err)
			}
			for raw := range c.records() {
				got = append(got, string(raw))
			}
		}
		if len(got) != len(objects) {
			t.Fatalf("%d records, want %d, from %q", len(got), len(objects), in.String())
		}
		for i := range got {
			var m map[string]string
			if err := json.Unmarshal([]byte(got[i]), &m); err != nil {
				t.Fatalf("%q: %v", got[i], err)
			}
			for k, v := range objects[i] {
				if m[k] != v {
					t.Fatalf("record %d of %q: %q is %q", i, in.String(), k, m[k])
				}
			}
		}
	})
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", " \n", "{}", "[]", `[{"a":1},{"b":[2]}]`, "{\"a\":1}\n{\"b\":2}\n", `{"Events":[{"a":1}],"NextToken":"}"}`, `{"RequestId":"x","Events":[`, "[1,2,\"]\",x]", "\xef\xbb\xbf{}",
		"{\"a\":\n1}", "{\"a\nb", "[[[", "}}}", "\"", strings.Repeat("[", 300), strings.Repeat(`{"a":`, 300), "[" + strings.Repeat("x", 3000)} {
		f.Add([]byte(s), uint8(16))
	}
	f.Fuzz(func(t *testing.T, in []byte, block uint8) {
		o := Options{BlockSize: int(block) + 1, MaxRecord: 500}
		recs, err := split(t, bytes.NewReader(in), o, 3*len(in)+10)
		if !errors.Is(err, io.EOF) && !errors.Is(err, ErrTruncated) && !errors.Is(err, errUTF16) && !strings.Contains(err.Error(), "inside an archive") {
			t.Fatal(err)
		}
		total := 0
		for _, r := range recs {
			if r != "too large" {
				total += len(r)
			}
		}
		if total > len(in) {
			t.Fatalf("%d bytes of records out of %d", total, len(in))
		}
		// An archive that breaks off gives no more than the whole file does.
		if _, err := split(t, io.MultiReader(bytes.NewReader(in), iotest.ErrReader(ErrTruncated)), o, 3*len(in)+10); errors.Is(err, io.EOF) {
			t.Fatal("the reader's error was lost")
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	r := recs("e", 0, 3000)
	for name, in := range map[string]string{"lines": lines(r), "array": array(r)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			o := Options{}.withDefaults()
			var c chunk
			for b.Loop() {
				s := newSplitter(strings.NewReader(in), &o)
				for {
					if err := s.next(&c); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkRun(b *testing.B) {
	text := lines(recs("e", 0, 20_000))
	dir := write(b, map[string]string{"a.jsonl": text, "gz/a.jsonl.gz": packGzip(b, text), "array/a.json": array(recs("e", 0, 20_000))})
	for name, path := range map[string]string{"lines": dir + "/a.jsonl", "gzip": dir + "/gz", "array": dir + "/array"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				res, err := Run(b.Context(), []string{path}, RunConfig{Rules: newTestSet()})
				if err != nil || res.Stats.Events != 20_000 {
					b.Fatal(res.Stats, err)
				}
			}
			b.ReportMetric(20_000*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// TestFirstLineLong: lines are lines however long the first one is, so that one
// that is broken costs no other.
func TestFirstLineLong(t *testing.T) {
	long := strings.Replace(rec("long", 0, "GetUser"), `"requestParameters":{`, `"requestParameters":{"Text":"`+strings.Repeat("x", 10_000)+`",`, 1)
	r := recs("e", 1, 50)
	for _, block := range []int{1000, 9000, 256 << 10} {
		dir := write(t, map[string]string{"a.jsonl": " \n" + long + "\n" + r[0][:len(r[0])/2] + "\n" + lines(r[1:])})
		res, parked, _ := play(t, RunConfig{Options: Options{BlockSize: block}}, dir)
		if s := res.Stats; s.Events != 50 || len(parked) != 1 || len(s.FilesFailed) != 0 {
			t.Errorf("block %d: %v %+v", block, parked, s)
		}
		// An answer of one long line is still taken apart as it is read.
		dir = write(t, map[string]string{"a.json": `{"RequestId":"R","Events":[` + strings.Join(append(r, long), ",") + `]}`})
		res, parked, _ = play(t, RunConfig{Options: Options{BlockSize: block, MaxRecord: 12_000}}, dir)
		if s := res.Stats; s.Events != 51 || len(parked) != 0 || len(s.FilesFailed) != 0 {
			t.Errorf("block %d, an answer: %v %+v", block, parked, s)
		}
	}
}
