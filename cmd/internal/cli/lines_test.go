package cli

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Lines that are spelled side by side are those that are spelled one after the
// other, up to where the alerts end or fail.
func TestAlertLines(t *testing.T) {
	fails := errors.New("damaged")
	for _, n := range []int{0, 1, 2, 3, linesAtOnce - 1, linesAtOnce, linesAtOnce + 1, 3*linesAtOnce + 7} {
		for _, end := range []error{nil, fails} {
			var want bytes.Buffer
			as := iter.Seq2[*alert.Alert, error](func(yield func(*alert.Alert, error) bool) {
				for i := range n {
					if !yield(&alert.Alert{ID: fmt.Sprint(i), Reason: "x\u202e", Details: map[string]any{"i": i}}, nil) {
						return
					}
				}
				if end != nil {
					yield(nil, end)
				}
			})
			for a := range as {
				if a == nil {
					break
				}
				if err := alert.WriteLine(&want, a); err != nil {
					t.Fatal(err)
				}
			}
			var got bytes.Buffer
			if err := alertLines(&got, as); !errors.Is(err, end) || err == nil && end != nil {
				t.Errorf("%d alerts, then %v: the error is %v", n, end, err)
			}
			if got.String() != want.String() {
				t.Errorf("%d alerts, then %v: %d bytes, want %d", n, end, got.Len(), want.Len())
			}
			if err := alertLines(broken{}, as); n > 0 && !errors.Is(err, errBroken) {
				t.Errorf("%d alerts into a broken pipe: %v", n, err)
			}
		}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	// What cannot be spelled is told, and what is before it is written.
	var got bytes.Buffer
	err := alertLines(&got, func(yield func(*alert.Alert, error) bool) {
		_ = yield(&alert.Alert{ID: "a"}, nil) && yield(&alert.Alert{ID: "b", Details: map[string]any{"x": func() {}}}, nil) && yield(&alert.Alert{ID: "c"}, nil)
	})
	if err == nil || bytes.Count(got.Bytes(), []byte("\n")) != 1 {
		t.Errorf("%v, %q", err, got.String())
	}
}

var errBroken = errors.New("broken pipe")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

// One is told as one, in words of each ending.
func TestPlural(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"1 event": plural(1, "event"), "0 events": plural(0, "event"), "2 stretches": plural(2, "stretch"),
		"1 entry": plural(1, "entry"), "3 entries": plural(3, "entry"), "2 days": plural(2, "day"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if isAre(1) != "is" || isAre(0) != "are" {
		t.Errorf("1 %s, 0 %s", isAre(1), isAre(0))
	}
}
