package cli

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// The heap grows to roomy, or by a share of what it holds where that is more.
func TestGarbagePercent(t *testing.T) {
	const roots = 400 << 10
	for held := uint64(roomy / 8); held < 4<<30; held += held/20 + 1<<16 {
		p := garbagePercent(held, roots)
		if p < garbage {
			t.Fatalf("%d bytes held: %d %%", held, p)
		}
		goal := held + (held+roots)*uint64(p)/100
		want := max(roomy, held+(held+roots)*garbage/100)
		if off := math.Abs(float64(goal) - float64(want)); off > float64(want)/50 {
			t.Errorf("%d bytes held: up to %d, want %d", held, goal, want)
		}
	}
	for _, held := range []uint64{0, 1, 1 << 20} {
		if p := garbagePercent(held, 0); p != most {
			t.Errorf("%d bytes held: %d %%", held, p)
		}
	}
}

// The limit of a control group is found as a pod and a unit have it; without one there is none.
func TestMemoryMax(t *testing.T) {
	root := t.TempDir()
	unit := filepath.Join(root, "system.slice", "trailwarden.service")
	if err := os.MkdirAll(unit, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		filepath.Join(unit, "memory.max"): "1073741824\n", filepath.Join(root, "memory.max"): "max\n",
		filepath.Join(root, "unit"): "1:name=systemd:/x\n0::/system.slice/trailwarden.service\n", filepath.Join(root, "pod"): "0::/\n", filepath.Join(root, "old"): "4:memory:/x\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for own, want := range map[string]int64{"unit": 1 << 30, "pod": 0, "old": 0, "missing": 0} {
		if got := memoryMax(filepath.Join(root, own), root); got != want {
			t.Errorf("%s: %d, want %d", own, got, want)
		}
	}
}
