package threshold

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkObserve is one observation of one of a thousand entities.
func BenchmarkObserve(b *testing.B) {
	d := New(config(10, 10*time.Minute))
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("user/1000000000000001/u%04d", i)
	}
	o := at("", "3A5C1B2E-0000-4000-8000-000000000001", 0)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		o.Key = keys[i%len(keys)]
		o.Time = t0.Add(time.Duration(i) * time.Second / 10)
		d.Observe(o, nil)
		i++
	}
}
