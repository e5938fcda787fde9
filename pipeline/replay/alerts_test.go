package replay

import (
	"context"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// created are events that make one alert each.
func created(n int) string {
	recs := make([]string, n)
	for i := range recs {
		recs[i] = rec("c"+strings.Repeat("0", 5-len(itoa(i)))+itoa(i), i/10, "CreateUser")
	}
	return lines(recs)
}

func itoa(i int) string { b, _ := json.Marshal(i); return string(b) }

func asLines(t *testing.T, as []alert.Alert) string {
	t.Helper()
	var b strings.Builder
	for i := range as {
		if err := alert.WriteLine(&b, &as[i]); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// TestHeld: whatever is held in memory, the same comes out, twice; and nothing
// is left in the folder for temporary files.
func TestHeld(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	dir := write(t, map[string]string{"a.jsonl": created(500), "b.jsonl": lines(recs("e", 20, 500))})
	want := ""
	for _, held := range []int{0, 1, 2, 7, 499, 100_000} {
		res, _, _ := play(t, RunConfig{Held: held}, dir)
		for range 2 {
			got := asLines(t, found(t, &res))
			if want == "" {
				want = got
			}
			if got != want || got == "" {
				t.Fatalf("%d held: other alerts", held)
			}
		}
		for a, err := range res.Alerts() { // who stops early stops
			if a == nil || err != nil {
				t.Fatal(err)
			}
			break
		}
		res.Close()
		res.Close()
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Fatalf("%d held: %v, %v left behind", held, err, left)
		}
	}
}

// TestHeldStopped: a run that is stopped has the alerts of what it read, and
// leaves no file.
func TestHeldStopped(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	dir := write(t, map[string]string{"a.jsonl": created(5000)})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	set := newTestSet()
	set.order.every = func(int) { cancel() }
	res, err := Run(ctx, []string{dir}, RunConfig{Rules: set, Held: 10, Options: Options{BlockSize: 2048}})
	if err == nil || res.Stats.Alerts == 0 || res.Stats.ByRule["user.created"] != res.Stats.Events || len(found(t, &res)) < int(res.Stats.Events) {
		t.Errorf("%v, %+v", err, res.Stats)
	}
	res.Close()
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v, %v left behind", err, left)
	}
}

// TestHeldNowhere: alerts that cannot be kept end the run with an error; they
// are not lost in silence.
func TestHeldNowhere(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()+"/absent")
	dir := write(t, map[string]string{"a.jsonl": created(3000)})
	for _, held := range []int{10, 2990} { // the first event, and nearly the last
		res, err := Run(context.Background(), []string{dir}, RunConfig{Rules: newTestSet(), Held: held})
		if err == nil || !strings.Contains(err.Error(), "TMPDIR") || res.Stats.Alerts != 0 {
			t.Errorf("%d held: %v, %+v", held, err, res.Stats)
		}
	}
}

// TestHeldDamaged: a temporary file that cannot be read back is an error, not
// the end.
func TestHeldDamaged(t *testing.T) {
	dir := write(t, map[string]string{"a.jsonl": created(100)})
	res, _, _ := play(t, RunConfig{Held: 10}, dir)
	defer res.Close()
	if err := res.alerts.file.Truncate(res.alerts.size / 2); err != nil {
		t.Fatal(err)
	}
	if as, err := res.AllAlerts(); err == nil {
		t.Errorf("%d alerts and no error", len(as))
	}
}

// TestHeldMemory: what a run keeps does not grow with its alerts.
func TestHeldMemory(t *testing.T) {
	dir := write(t, map[string]string{"a.jsonl": created(3000)})
	live := func(held int) uint64 {
		set := newTestSet()
		set.order.forget = true
		res, _, _ := play(t, RunConfig{Rules: set, Held: held, Workers: 1}, dir)
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		if res.Stats.Alerts != 3000 {
			t.Fatal(res.Stats.Alerts)
		}
		res.Close()
		return m.HeapAlloc
	}
	live(64) // what is made once
	few, all := live(64), live(100_000)
	if all < few+2<<20 {
		t.Errorf("%d bytes with 64 alerts in memory, %d with all 3000", few, all)
	}
}
