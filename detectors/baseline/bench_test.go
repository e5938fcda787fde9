package baseline

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkObserve is one call of a known identity from a known network.
func BenchmarkObserve(b *testing.B) {
	d := New(Defaults())
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("user/1000000000000001/u%04d", i)
	}
	o := at("", "203.0.113.7|AS64500|NL", "e", 0)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		o.Key = keys[i%len(keys)]
		o.Time = t0.Add(time.Duration(i) * time.Second)
		d.Observe(o, nil)
		i++
	}
}
