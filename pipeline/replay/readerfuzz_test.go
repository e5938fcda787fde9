package replay

import (
	"bytes"
	"testing"
)

// FuzzReader: whatever stands in a file, packed or not, reading it ends, holds
// its bounds, and takes no record for more than the cap; what is wrong is told.
func FuzzReader(f *testing.F) {
	body := lines(recs("e", 0, 5))
	whole := packGzip(f, body)
	for _, s := range []string{body, array(recs("e", 0, 3)), whole, whole[:len(whole)-9], whole + "tail", packZstd(f, body), packGzip(f, whole), packGzip(f, string(make([]byte, 1<<16))),
		"PK\x03\x04", "\xff\xfe{", "[[[[", `{"event":"{}"}`, "\x1f\x8b", "\x28\xb5\x2f\xfd\x00"} {
		f.Add([]byte(s))
	}
	const limit, ratio, floor = 4096, 20, 1 << 15
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Open([]string{"-"}, Options{Stdin: bytes.NewReader(data), MaxRecord: limit, MaxRatio: ratio, RatioFloor: floor, MaxDecoded: 1 << 20, MaxWindow: 1 << 20, BlockSize: 1024})
		if err != nil {
			t.Fatal(err)
		}
		total, n := 0, 0
		for path, rec := range r.Records(t.Context()) {
			if n++; path != "-" || len(rec) > limit {
				t.Fatalf("%s: a record of %d bytes", path, len(rec))
			}
			total += len(rec)
		}
		// A container holds its records once more than it is long at most.
		if packing(data) != "" && total > max(floor, len(data)*ratio)+1<<16 {
			t.Fatalf("%d bytes came out of %d", total, len(data))
		}
		for _, e := range r.Failed() {
			if e.Err == nil || e.Path != "-" {
				t.Fatalf("%+v", e)
			}
		}
	})
}
