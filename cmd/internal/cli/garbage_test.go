package cli

import (
	"math"
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
