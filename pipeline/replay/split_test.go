package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// split cuts in into records.
func split(t testing.TB, in io.Reader, o Options, limit int) (out []string, err error) {
	t.Helper()
	out, err = splitAll(in, o.withDefaults(), limit)
	if err == nil || errors.Is(err, errSplit) {
		t.Fatal(err)
	}
	return out, err
}

var errSplit = errors.New("the splitter is wrong")

func splitAll(in io.Reader, o Options, limit int) (out []string, err error) {
	s := newSplitter(in, &o)
	var c chunk
	for range limit {
		if err := s.next(&c); err != nil {
			if cap(c.buf) > 4*(o.MaxRecord+o.BlockSize) {
				return nil, fmt.Errorf("%w: the buffer grew to %d", errSplit, cap(c.buf))
			}
			return out, err
		}
		if !c.lines && len(c.recs) == 0 {
			return nil, fmt.Errorf("%w: a chunk of nothing", errSplit)
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
	return nil, fmt.Errorf("%w: it does not come to an end", errSplit)
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

// longFirst draws a file whose first record is over the cap, and what comes out of
// it: "too large" for what is. With tail the second may be part of that: what stands
// behind the first record on its line, which a block that holds the line shows as one.
func longFirst(t *rapid.T, limit int) (in string, want []string, tail bool) {
	text := func(n int) string {
		return rapid.SampledFrom([]string{"x", `\"`, "{", "]", `\\`, ","}).Draw(t, "filling") + strings.Repeat("x", n)
	}
	object := func(n int) string { return `{"a":{"b":[1,"` + text(n) + `"]}}` }
	end := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end")
	var b strings.Builder
	b.WriteString(rapid.SampledFrom([]string{"", "\n", " \r\n\t"}).Draw(t, "before"))
	long := object(limit + rapid.IntRange(0, 3*limit).Draw(t, "over"))
	want = []string{"too large"}
	lines := true
	switch rapid.IntRange(0, 7).Draw(t, "first") {
	case 0: // breaks off inside a string
		b.WriteString(long[:limit+rapid.IntRange(1, len(long)-limit-6).Draw(t, "cut")])
	case 1: // behind one
		b.WriteString(long[:len(long)-3])
	case 2: // behind a bracket
		b.WriteString(long[:len(long)-1])
	case 3:
		b.WriteString(long + " garbage")
		want, tail = append(want, "garbage"), true
	case 4: // the record is not over the cap, its line is
		long = object(3)
		b.WriteString(long + strings.Repeat(" ", 2*limit))
		want = []string{long}
	case 5: // no lines: what follows stands behind it, or it goes on below
		want = append(want, object(1))
		b.WriteString(long + rapid.SampledFrom([]string{"", " "}).Draw(t, "between") + want[1])
		lines, tail = false, true
	case 6:
		b.WriteString(long[:len(long)-1] + "," + end + ` "c":{` + end + "}}")
		lines = false
	default:
		b.WriteString(long)
	}
	b.WriteString(end)
	for range rapid.IntRange(1, 8).Draw(t, "n") {
		line := object(rapid.IntRange(0, limit/2).Draw(t, "size"))
		switch {
		case lines && rapid.IntRange(0, 2).Draw(t, "kind") == 0:
			line = line[:rapid.IntRange(1, len(line)-1).Draw(t, "cut")]
		case rapid.IntRange(0, 4).Draw(t, "kind") == 0:
			line = object(limit + rapid.IntRange(0, limit).Draw(t, "over"))
		}
		b.WriteString(line + end)
		if len(line) > limit {
			line = "too large"
		}
		want = append(want, line)
	}
	return b.String(), want, tail
}

// TestPropLongFirst: whatever becomes of a first record that is over the cap, it is
// told as too large, and lines stay lines: all that follow come out, whole ones,
// broken ones and long ones, wherever blocks end.
func TestPropLongFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(40, 300).Draw(t, "limit")
		in, want, tail := longFirst(t, limit)
		var r io.Reader = strings.NewReader(in)
		switch rapid.IntRange(0, 2).Draw(t, "reader") {
		case 0:
			r = iotest.OneByteReader(r)
		case 1:
			r = iotest.DataErrReader(r)
		}
		got, err := splitAll(r, Options{BlockSize: rapid.SampledFrom([]int{1, 7, 64, 1000, 100_000}).Draw(t, "block"), MaxRecord: limit}.withDefaults(), 10*len(in)+10)
		for i, s := range got { // lines over the cap are told by who parses them
			if len(s) > limit {
				got[i] = "too large"
			}
		}
		if tail && len(got) < len(want) {
			want = slices.Delete(want, 1, 2)
		}
		if !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
			t.Fatalf("%v\n%q\nwant\n%q\nof %q", err, got, want, in)
		}
	})
}

// TestPropFirstCut: wherever a first line breaks off, the lines after it come out,
// but where what follows could be its going on.
func TestPropFirstCut(t *testing.T) {
	const first = `{"a":{"b":[1,{"c":"x{,"},[2,3]],"d":{}},"e":true,"f":{"g":null}}`
	rapid.Check(t, func(t *rapid.T) {
		line := first[:rapid.IntRange(1, len(first)).Draw(t, "cut")]
		last := line[len(line)-1]
		if inArray := strings.Count(line, "[") > strings.Count(line, "]"); !endsInString([]byte(line)) && (last == ':' || inArray && (last == '[' || last == ',')) {
			t.Skip("JSON may go on with an object")
		}
		want := []string{line}
		for range rapid.IntRange(1, 5).Draw(t, "n") {
			want = append(want, rapid.SampledFrom([]string{"{}", `{"x":[1]}`, `{"y":"`, `{"z":{},`}).Draw(t, "line"))
		}
		end := rapid.SampledFrom([]string{"\n", "\r\n", " \n\n"}).Draw(t, "end")
		o := Options{BlockSize: rapid.SampledFrom([]int{1, 7, 64, 1000}).Draw(t, "block")}.withDefaults()
		got, err := splitAll(strings.NewReader(strings.Join(want, end)+end), o, 1000)
		if !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
			t.Fatalf("%v\n%q\nwant\n%q", err, got, want)
		}
	})
}

// FuzzLongFirst: behind a first line over the cap, whatever stands on the next one
// takes nothing of the lines after it with it.
func FuzzLongFirst(f *testing.F) {
	for _, s := range []string{"", "{", "[", `{"a":"`, "]", `"`, `{}{}`, "\\", " x", `{"Events":[`} {
		for cut := range uint8(3) {
			f.Add([]byte(s), uint8(16), cut)
		}
	}
	f.Fuzz(func(t *testing.T, second []byte, block, cut uint8) {
		const limit, last = 300, `{"last":1}`
		first := `{"a":"` + strings.Repeat("x", 400) + `"}`
		first = first[:len(first)-int(cut)%90] // whole, behind a string, or in it
		second = bytes.ReplaceAll(second, []byte("\n"), nil)
		if s := bytes.TrimSpace(second); cut%90 == 1 && len(s) > 0 && continues(s[0]) {
			return // it could be laid out over lines
		}
		in := first + "\n" + string(second) + "\n" + last + "\n" + last
		got, err := split(t, strings.NewReader(in), Options{BlockSize: int(block) + 1, MaxRecord: limit}, 3*len(in)+10)
		if n := len(got); !errors.Is(err, io.EOF) || n < 3 || got[0] != "too large" && len(got[0]) <= limit || got[n-1] != last || got[n-2] != last {
			t.Fatalf("%v: %q\nof %q", err, got, in)
		}
		if s := strings.TrimSpace(string(second)); s != "" && (len(got) != 4 || len(s) <= limit && got[1] != s) {
			t.Fatalf("%q\nof %q", got, in)
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
		// A first line over the cap, whole or not, is one record that is told, and
		// every other is evaluated.
		for _, first := range []string{long, long[:8000], long[:len(long)-1]} {
			dir = write(t, map[string]string{"a.jsonl": first + "\n" + lines(r[:25]) + r[0][:len(r[0])/2] + "\n" + lines(r[25:])})
			res, parked, _ = play(t, RunConfig{Options: Options{BlockSize: block, MaxRecord: 5000}}, dir)
			if s := res.Stats; s.Events != 50 || len(parked) != 2 || s.ByReason["too-large"] != 1 || s.FilesRead != 1 || len(s.FilesFailed) != 0 {
				t.Errorf("block %d: %v %+v", block, parked, s)
			}
		}
		// An answer of one long line is still taken apart as it is read.
		dir = write(t, map[string]string{"a.json": `{"RequestId":"R","Events":[` + strings.Join(append(r, long), ",") + `]}`})
		res, parked, _ = play(t, RunConfig{Options: Options{BlockSize: block, MaxRecord: 12_000}}, dir)
		if s := res.Stats; s.Events != 51 || len(parked) != 0 || len(s.FilesFailed) != 0 {
			t.Errorf("block %d, an answer: %v %+v", block, parked, s)
		}
	}
}

// TestRoom: a small file takes a small buffer, and where chunks end does not depend on
// how large the buffers are that they come in.
func TestRoom(t *testing.T) {
	var c chunk
	small := lines(recs("s", 0, 3))
	o := Options{}.withDefaults()
	if err := newSplitter(strings.NewReader(small), &o).next(&c); err != nil || cap(c.buf) > leastBuffer {
		t.Errorf("%v, a buffer of %d bytes for %d", err, cap(c.buf), len(small))
	}
	long := `{"eventId":"` + strings.Repeat("x", 3*o.BlockSize) + `"}`
	for _, in := range []string{lines(recs("l", 0, 8000)), array(recs("v", 0, 8000)), lines(append(recs("a", 0, 2000), append([]string{long}, recs("b", 0, 4000)...)...))} {
		var cuts [2][]int64
		for i, room := range []int{0, 4 * o.BlockSize} {
			s := newSplitter(strings.NewReader(in), &o)
			for {
				c := chunk{buf: make([]byte, 0, room)}
				if err := s.next(&c); err != nil {
					break
				}
				cuts[i] = append(cuts[i], s.at)
			}
		}
		if !slices.Equal(cuts[0], cuts[1]) || len(cuts[0]) < 3 {
			t.Errorf("%v\n%v", cuts[0], cuts[1])
		}
	}
}

// TestPropEnds: the ends of values found in a list of quotes are those that are found
// by looking at every byte, whatever stands between and within them.
func TestPropEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		piece := rapid.OneOf(
			rapid.SampledFrom([]string{`{`, `}`, `[`, `]`, `,`, `:`, `"`, `\`, `\\`, `\"`, " ", "\n", `"a"`, `{"a":"b"}`, `{"a":{"b":["}","\\","\""]}}`, `"\\"`, `é`, "\x00"}),
			rapid.Map(rapid.IntRange(1, 200), func(n int) string { return `{"long":"` + strings.Repeat(`\"}`, n) + `"}` }),
		)
		for range rapid.IntRange(1, 60).Draw(t, "pieces") {
			b = append(b, piece.Draw(t, "piece")...)
		}
		if rapid.IntRange(0, 9).Draw(t, "far") == 0 { // over the end of what is listed at a time
			b = append(append([]byte(`{"":"`+strings.Repeat("x", event.MaxQuotes-rapid.IntRange(0, 60).Draw(t, "less"))+`"}`), b...), b...)
		}
		var e ends
		e.begin(b)
		defer e.finish()
		for i := 0; i < len(b); i++ {
			if b[i] != '{' && b[i] != '[' {
				continue
			}
			want := valueEnd(b, i)
			if got := e.of(i); got != want {
				t.Fatalf("the value at %d of %q ends at %d, want %d", i, b, got, want)
			}
			i = max(i, want-1)
		}
	})
}
