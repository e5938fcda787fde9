package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func genFrame() *rapid.Generator[*Frame] {
	return rapid.Custom(func(t *rapid.T) *Frame {
		f := &Frame{
			Kind:   rapid.SampledFrom([]Kind{Data, Mark, Tick}).Draw(t, "kind"),
			Source: rapid.StringN(0, -1, 64).Draw(t, "source"), Shard: rapid.IntRange(0, 1<<31-1).Draw(t, "shard"),
			From: rapid.StringN(0, -1, 64).Draw(t, "from"), To: rapid.StringN(0, -1, 64).Draw(t, "to"), PrevTo: rapid.StringN(0, -1, 64).Draw(t, "prev"), Reach: rapid.StringN(0, -1, 64).Draw(t, "reach"),
			Partition: rapid.IntRange(0, MaxPartitions-1).Draw(t, "partition"),
			Counter:   rapid.Uint64().Draw(t, "counter"), Page: rapid.Uint64().Draw(t, "page"), PrevSeq: rapid.Uint64().Draw(t, "seq"),
			Received: time.Unix(0, rapid.Int64().Draw(t, "received")).UTC(),
		}
		f.Origin, f.Repairs = rapid.StringN(0, -1, 64).Draw(t, "origin"), rapid.StringN(0, -1, 64).Draw(t, "repairs")
		for range rapid.IntRange(0, 3).Draw(t, "behind") {
			f.Behind = append(f.Behind, rapid.IntRange(0, 1<<31-1).Draw(t, "shard"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "tally") {
			f.Tally = append(f.Tally, Tally{rapid.Int64().Draw(t, "span"), rapid.Uint64().Draw(t, "count")})
		}
		for range rapid.IntRange(0, 5).Draw(t, "counts") {
			f.Counts = append(f.Counts, PartitionCount{rapid.IntRange(0, MaxPartitions-1).Draw(t, "p"), rapid.Uint64().Draw(t, "after"), rapid.Uint64().Draw(t, "in")})
		}
		if f.Kind == Data {
			record := rapid.SliceOfN(rapid.Byte(), 0, 200)
			for range rapid.IntRange(1, 40).Draw(t, "records") {
				f.Records = append(f.Records, record.Draw(t, "record"))
			}
		}
		return f
	})
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFrame().Draw(t, "frame")
		data, err := EncodeFrame(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeFrame(data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(f, got, cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })); d != "" {
			t.Fatal(d)
		}
		head, err := DecodeFrameHead(data)
		if err != nil || head.Records != nil || head.Counter != f.Counter || head.To != f.To {
			t.Fatalf("head %+v, %v", head, err)
		}
		if a, b := f.ID(data), got.ID(data); a != b || len(a) != 32 {
			t.Fatalf("ids %q and %q", a, b)
		}
		// Any change of any bit is noticed.
		at := rapid.IntRange(0, len(data)*8-1).Draw(t, "bit")
		data[at/8] ^= 1 << (at % 8)
		if _, err := DecodeFrame(data); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("a flipped bit %d was accepted: %v", at, err)
		}
	})
}

func TestFrameBounds(t *testing.T) {
	one := func(n int) [][]byte { return [][]byte{bytes.Repeat([]byte("a"), n)} }
	many := make([][]byte, MaxRecords+1)
	for name, tc := range map[string]struct {
		f    Frame
		kind error
	}{
		"full":           {Frame{Kind: Data, Records: many[:MaxRecords]}, nil},
		"large":          {Frame{Kind: Data, Records: one(5 << 20)}, nil},
		"too many":       {Frame{Kind: Data, Records: many}, ErrTooLarge},
		"too large":      {Frame{Kind: Data, Records: one(MaxRaw + 1)}, ErrTooLarge},
		"noise":          {Frame{Kind: Data, Records: [][]byte{noise(MaxBody + 1)}}, ErrTooLarge},
		"tick":           {Frame{Kind: Tick}, nil},
		"mark":           {Frame{Kind: Mark}, nil},
		"empty data":     {Frame{Kind: Data}, errAny},
		"tick with data": {Frame{Kind: Tick, Records: one(1)}, errAny},
		"no kind":        {Frame{}, errAny},
		"long position":  {Frame{Kind: Tick, To: strings.Repeat("x", maxText+1)}, errAny},
		"partition":      {Frame{Kind: Tick, Partition: MaxPartitions}, errAny},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := EncodeFrame(&tc.f)
			switch {
			case tc.kind == nil:
				if err != nil {
					t.Fatal(err)
				}
				if len(data) > maxPayload-4096 {
					t.Errorf("%d bytes do not fit a message", len(data))
				}
				if _, err := DecodeFrame(data); err != nil {
					t.Error(err)
				}
			case err == nil:
				t.Fatal("accepted")
			case tc.kind != errAny && !errors.Is(err, tc.kind):
				t.Errorf("error %v, want %v", err, tc.kind)
			}
		})
	}
	if !Fits(bytes.Repeat([]byte("a"), 5<<20)) || Fits(noise(1<<20)) || Fits(make([]byte, MaxRaw+1)) {
		t.Error("Fits disagrees with EncodeFrame")
	}
}

var errAny = errors.New("any")

func noise(n int) []byte {
	b, x := make([]byte, n), uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// reseal gives changed bytes a right checksum, as an attacker with access to
// the store would.
func reseal(data []byte) []byte {
	b := bytes.Clone(data[:len(data)-4])
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func TestFrameVersionAndBomb(t *testing.T) {
	data, err := EncodeFrame(&Frame{Kind: Data, Records: [][]byte{bytes.Repeat([]byte("a"), 4<<20)}})
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Clone(data)
	newer[3]++
	if _, err := DecodeFrame(reseal(newer)); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer version: %v", err)
	}
	// A body that says it is 4 MiB and goes on with another frame of zstd.
	i := bytes.Index(data, []byte{0x28, 0xb5, 0x2f, 0xfd})
	if i < 0 {
		t.Fatal("no zstd body")
	}
	body := data[i : len(data)-4]
	bomb := append(bytes.Clone(body), body...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := inflate(bomb, 4<<20); !errors.Is(err, ErrCorrupt) {
		t.Errorf("two bodies in one: %v", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("decoding took %d MiB", n>>20)
	}
	if _, err := inflate(body, 1<<20); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a body longer than its head says: %v", err)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, fr := range []*Frame{
		{Kind: Tick, Source: "sls/p/l", Received: time.Unix(1700000000, 0)},
		{Kind: Data, Source: "sls/p/l", Shard: 3, From: "MQ==", To: "Mg==", Partition: 2, Counter: 7, Page: 3, PrevSeq: 9,
			Counts: []PartitionCount{{2, 7, 1}}, Received: time.Unix(1700000000, 0), Records: [][]byte{[]byte(`{"a":1}`), nil, bytes.Repeat([]byte(`{"b":2}`), 200)}},
	} {
		data, err := EncodeFrame(fr)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("TWF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, in := range [][]byte{data, sealed(data)} {
			fr, err := DecodeFrame(in)
			if err != nil {
				if fr != nil || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
					t.Fatalf("frame %v with error %v", fr, err)
				}
				continue
			}
			total := 0
			for _, r := range fr.Records {
				total += len(r)
			}
			if len(fr.Records) > MaxRecords || total > MaxRaw {
				t.Fatalf("%d records of %d bytes", len(fr.Records), total)
			}
			again, err := EncodeFrame(fr)
			if err != nil {
				t.Fatalf("a decoded frame cannot be encoded: %v", err)
			}
			back, err := DecodeFrame(again)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(fr, back); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// sealed appends a right checksum, so that fuzzing gets past it.
func sealed(data []byte) []byte {
	b := bytes.Clone(data)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func FuzzDecodeCommit(f *testing.F) {
	c := &Commit{Partition: 1, Epoch: 2, Input: 3, Counters: Counters{Evaluated: 4}, Positions: []ShardPosition{{Source: "s", To: "x"}},
		Alerts: [][]byte{[]byte("{}"), bytes.Repeat([]byte(`{"a":1}`), 300)}}
	data, err := EncodeCommit(c)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, in := range [][]byte{data, sealed(data)} {
			c, err := DecodeCommit(in)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
					t.Fatalf("error %v", err)
				}
				continue
			}
			if len(c.Alerts) > MaxAlerts {
				t.Fatal(len(c.Alerts))
			}
		}
	})
}

func TestCommitRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &Commit{
			Partition: rapid.IntRange(0, 255).Draw(t, "p"), Epoch: rapid.Uint64().Draw(t, "e"), Owner: rapid.StringMatching(`[a-z0-9-]{0,20}`).Draw(t, "o"),
			Prev: rapid.Uint64().Draw(t, "prev"), Input: rapid.Uint64().Draw(t, "in"), Fence: rapid.Bool().Draw(t, "f"), Part: rapid.Bool().Draw(t, "part"),
			Rules: "r", Counters: Counters{Frames: rapid.Uint64().Draw(t, "frames"), Gaps: 1},
			Watermark: time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "w"), 0).UTC(),
		}
		for range rapid.IntRange(0, 20).Draw(t, "alerts") {
			c.Alerts = append(c.Alerts, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "alert"))
		}
		data, err := EncodeCommit(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeCommit(data)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, got, cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })); d != "" {
			t.Fatal(d)
		}
		at := rapid.IntRange(0, len(data)*8-1).Draw(t, "bit")
		data[at/8] ^= 1 << (at % 8)
		if _, err := DecodeCommit(data); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("a flipped bit %d was accepted: %v", at, err)
		}
	})
}

func benchRecords(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(nil, `{"eventId":"%032x","eventName":"DescribeInstances","eventTime":"2026-01-01T00:%02d:%02dZ","userIdentity":{"type":"ram-user","accountId":"1000000000000001","userName":"user%d"},"pad":"%s"}`,
			i*7919, i/60%60, i%60, i%30, noiseText(i, 1500))
	}
	return out
}

func noiseText(seed, n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "parameter%d=value-%d,", i%13, (seed*31+i*17)%997)
	}
	return b.String()[:n]
}

func BenchmarkFrame(b *testing.B) {
	recs := benchRecords(MaxRecords)
	f := &Frame{Kind: Data, Source: "sls/project/logstore", Records: recs, Received: time.Unix(1, 0)}
	raw := 0
	for _, r := range recs {
		raw += len(r)
	}
	data, err := EncodeFrame(f)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(raw))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := EncodeFrame(f); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(raw)/float64(len(data)), "ratio")
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(raw))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeFrame(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
