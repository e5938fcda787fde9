package console

import (
	"io"
	"net/http"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

func parse(record string) (*event.Event, error) { return event.Parse([]byte(record)) }

// BenchmarkPages measures one interaction over HTTP with 1,000 alerts and
// 50,000 events of one key.
func BenchmarkPages(b *testing.B) {
	w := newWorld(b)
	fill(w.index, 1000, 50_000)
	c := w.as("carol")
	for _, p := range []struct{ name, path string }{
		{"now", "/"}, {"search", "/?q=user-77"}, {"page10", "/?page=10"}, {"entity", "/entities/key?id=" + aliceKey}, {"zoom", "/entities/key?id=" + aliceKey + "&from=2020-01-01T00:00:00Z&to=2040-01-01T00:00:00Z"},
		{"rules", "/rules"}, {"actions", "/actions"},
	} {
		b.Run(p.name, func(b *testing.B) {
			for b.Loop() {
				req, _ := http.NewRequest("GET", w.base+p.path, nil)
				resp, err := c.c.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != 200 {
					b.Fatal(resp.Status)
				}
			}
		})
	}
}
