package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// TestSameHistory: a source that changes between the two runs of a comparison
// shows, and the same source with other rules does not.
func TestSameHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	run := func(body, side string) *replay.Stats {
		t.Helper()
		if body != "" {
			if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		set, err := ruleSide(side, false)
		if err != nil {
			t.Fatal(err)
		}
		res, err := replay.Run(t.Context(), []string{path}, replay.RunConfig{Rules: set})
		if err != nil {
			t.Fatal(err)
		}
		res.Close()
		return &res.Stats
	}
	const one = `{"eventId":"E-EXAMPLE-1","eventName":"CreateUser","serviceName":"Ram","eventTime":"2026-11-20T08:00:00Z","recipientAccountId":"1000000000000001"}` + "\n"
	const two = `{"eventId":"E-EXAMPLE-2","eventName":"StopLogging","serviceName":"Actiontrail","eventTime":"2026-11-20T08:00:01Z","recipientAccountId":"1000000000000001"}` + "\n"
	before := run(one, "pack")
	if after := run("", t.TempDir()); !sameHistory(before, after) {
		t.Errorf("the same file:\n%+v\n%+v", before, after)
	}
	for name, body := range map[string]string{"grown": one + two, "doubled": one + one, "no event more": one + "x\n", "another": "x\n"} {
		if after := run(body, "pack"); sameHistory(before, after) {
			t.Errorf("%s:\n%+v\n%+v", name, before, after)
		}
	}
}
