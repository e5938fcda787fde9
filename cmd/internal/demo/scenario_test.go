package demo

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

var update = flag.Bool("update", false, "write the scenarios of testdata anew")

// scenarioEnd is when the recorded scenarios end.
var scenarioEnd = time.Date(2026, 11, 25, 3, 2, 0, 0, time.UTC)

// thin keeps every act and about one ordinary record in n, the same ones
// every time, so that a scenario fits into a repository.
func thin(s Story, n int) Story {
	out := Story{Acts: s.Acts}
	for i, r := range s.Days {
		if i%n == 0 {
			out.Days = append(out.Days, r)
		}
	}
	return out
}

// The scenarios in testdata are what the story writes, so that nobody edits
// thousands of records by hand.
func TestScenariosAreTheStory(t *testing.T) {
	for name, records := range map[string][]Record{
		"intrusion/events.jsonl.gz": thin(Write(scenarioEnd), 8).All(),
		"leaked-key/events.jsonl":   Leaked(scenarioEnd),
	} {
		var b bytes.Buffer
		for _, r := range records {
			b.Write(r.JSON)
			b.WriteByte('\n')
		}
		path := filepath.Join("..", "..", "..", "testdata", "scenarios", filepath.FromSlash(name))
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			out := b.Bytes()
			if filepath.Ext(path) == ".gz" {
				var z bytes.Buffer
				w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression)
				_, _ = w.Write(out)
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				out = z.Bytes()
			}
			if err := os.WriteFile(path, out, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var r io.Reader = f
		if filepath.Ext(path) == ".gz" {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, b.Bytes()) {
			t.Errorf("%s is not what the story writes; run this test with -update and look at what changed", name)
		}
	}
}
