package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
)

// Clients of the metrics that send half a request, or read no answer, delay
// neither detection nor other clients.
func TestStalledMetricsClients(t *testing.T) {
	cloud, err := fakecloud.Start(fakecloud.Options{Dir: t.TempDir(), ChatRate: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	a := runApp(t, ctx, cloud.Config, func(c *config.Config) { c.HTTP.Listen = "127.0.0.1:0" })
	until := func(what string, cond func() bool) {
		t.Helper()
		for !cond() {
			select {
			case <-ctx.Done():
				t.Fatalf("never: %s", what)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	until("it listens", func() bool { return a.web.Load() != nil })
	addr := *a.web.Load()
	for i := range 40 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		request := "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
		if i%2 == 0 {
			request = request[:12]
		} else {
			request = strings.Repeat(request, 200) // answers that fill every buffer
		}
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
	}
	const records = 2000 // of some partition enough to measure one rule by rule
	for i := range records {
		cloud.Append(benchRecord(i, i%50))
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	var text string
	until("the records are evaluated, and another client is told", func() bool {
		resp, err := client.Get("http://" + addr + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", resp.Status, err)
		}
		text = string(b)
		n := 0
		for line := range strings.Lines(text) {
			var v float64
			if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(name, "trailwarden_events_evaluated_total") {
				_, _ = fmt.Sscan(value, &v)
				n += int(v)
			}
		}
		return n == records
	})
	for _, want := range []string{`trailwarden_rule_evaluation_seconds_count{rule="`, `",stage="match"}`} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	s, err := a.Status(ctx)
	if err != nil || len(s.Slowest) == 0 || len(s.Slowest) > slowest || s.Slowest[0].Share <= 0 {
		t.Errorf("the dearest rules: %+v, %v", s.Slowest, err)
	}
}
