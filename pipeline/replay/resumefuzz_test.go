package replay

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzState: what is in the folder of a run is believed only when it is whole.
func FuzzState(f *testing.F) {
	st := &resumeState{Schema: resumeSchema, Of: "x", Applied: 1, Runs: [][3]int64{{0, 10, 1}}, Alerts: 10, Engine: 3, SHA256: "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81"}
	path := filepath.Join(f.TempDir(), "state")
	if err := writeState(path, st, []byte{1, 2, 3}); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	if got, engine, err := parseState(whole); err != nil || got.Applied != 1 || len(engine) != 3 {
		f.Fatalf("%+v %v %v", got, engine, err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, engine, err := parseState(data)
		if err != nil {
			return
		}
		end := int64(0)
		for _, r := range s.Runs {
			if r[0] != end || r[1] < 0 || r[2] < 0 {
				t.Fatalf("runs %v", s.Runs)
			}
			end += r[1]
		}
		if end != s.Alerts || int64(len(engine)) != s.Engine {
			t.Fatalf("%+v", s)
		}
	})
}
