package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// It connects again, ever more slowly while that does not last, soon after it had
// worked, and no more where the app is refused.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		err := Keep(t.Context(), quiet, func(context.Context) error {
			at = append(at, time.Since(began))
			switch n := len(at); {
			case n == 9:
				time.Sleep(time.Hour)
				return ErrMoved
			case n == 11:
				return fmt.Errorf("bad secret: %w", ErrRefused)
			}
			return errors.New("down")
		})
		if !errors.Is(err, ErrRefused) || len(at) != 11 {
			t.Fatalf("%v after %d", err, len(at))
		}
		gap := func(i int) time.Duration { return at[i] - at[i-1] }
		if gap(1) > time.Second || gap(8) < 30*time.Second || gap(8) > maxDown || gap(9) > time.Hour+time.Second || gap(10) > 2*time.Second {
			t.Errorf("%v", at)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	if err := Keep(ctx, quiet, func(context.Context) error { cancel(); return errors.New("down") }); err != nil {
		t.Errorf("%v, want nothing when it was told to end", err)
	}
}

func TestDial(t *testing.T) {
	for _, address := range []string{"", "://", "http://127.0.0.1/", "ws://example.com/?ticket=EXAMPLEticket", "wss://127.0.0.1:1/?ticket=EXAMPLEticket"} {
		if c, err := Dial(t.Context(), address, time.Second, 1000); err == nil || strings.Contains(err.Error(), "EXAMPLEticket") {
			t.Errorf("%s: %v, %v", address, c, err)
		}
	}
	up := websocket.Upgrader{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		for {
			kind, b, err := ws.ReadMessage()
			if err != nil {
				return
			}
			_ = ws.WriteMessage(kind, b)
		}
	}))
	defer s.Close()
	dial := func(ctx context.Context) *Conn {
		c, err := Dial(ctx, "ws"+strings.TrimPrefix(s.URL, "http"), 30*time.Second, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := dial(t.Context())
	c.Every(time.Hour, func() error { return c.Send(websocket.PingMessage, nil) })
	for range 10 { // from several sides at once
		c.Go(func() { _ = c.Send(websocket.TextMessage, []byte("hello")) })
	}
	for range 10 {
		if _, b, err := c.Read(30 * time.Second); err != nil || string(b) != "hello" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	_ = c.Send(websocket.TextMessage, make([]byte, 2000))
	if _, _, err := c.Read(30 * time.Second); err == nil {
		t.Error("a message larger than the limit was read")
	}
	c.Close()
	// One that says nothing is dead; the end of a context ends the reading.
	c = dial(t.Context())
	if _, _, err := c.Read(20 * time.Millisecond); err == nil {
		t.Error("silence was taken for life")
	}
	c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	c = dial(ctx)
	cancel()
	if _, _, err := c.Read(time.Hour); err == nil {
		t.Error("read on after the end")
	}
	c.Close()
	// What is done again and again ends the connection when it fails.
	c = dial(t.Context())
	c.Every(time.Hour, func() error { return errors.New("no") })
	<-c.Context().Done()
	c.Close()
}

// An id is new once, among the last 4,096.
func TestOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o Once
		seen := map[string]bool{}
		for _, id := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 0, 50).Draw(t, "ids") {
			if o.Met(id) != seen[id] || o.First(id) == seen[id] || !o.Met(id) {
				t.Fatalf("%s", id)
			}
			seen[id] = true
		}
	})
	var o Once
	for i := range 3 * maxSeen {
		if !o.First(fmt.Sprint(i)) {
			t.Fatalf("%d was not new", i)
		}
	}
	if !o.First("a", "b") || !o.First("ab") || o.First("a", "b") {
		t.Error("names are their parts")
	}
	if len(o.seen) != maxSeen || len(o.order) != maxSeen {
		t.Errorf("%d and %d are remembered", len(o.seen), len(o.order))
	}
}

func TestDesk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := message.For(message.English, nil)
		var ended atomic.Int32
		d := Desk{Words: w, Log: quiet, Within: time.Second, Press: func(ctx context.Context, p responders.Press) (string, error) {
			defer ended.Add(1)
			switch p.Do {
			case "panic":
				panic("boom")
			case "fail":
				return "", errors.New("<at id=all></at>\nno")
			case "slow":
				time.Sleep(30 * time.Second)
				return "late", ctx.Err()
			case "hang":
				<-ctx.Done()
				return "", ctx.Err()
			}
			return p.Choice, nil
		}}
		for _, c := range []struct {
			p    responders.Press
			said string
			ok   bool
		}{
			{responders.Press{Choice: "done"}, "done", true},
			{responders.Press{}, w.ClickOK, true},
			{responders.Press{Choice: strings.Repeat("x", 1000)}, strings.Repeat("x", 299) + "…", true},
			{responders.Press{Do: "fail"}, "That did not work: ‹at id=all›‹/at› no", false},
			{responders.Press{Do: "panic"}, "That did not work: " + w.Unavailable, false},
			{responders.Press{Do: "slow"}, w.Working, true},
			{responders.Press{Do: "hang"}, w.Working, true},
		} {
			if said, ok := d.Do(t.Context(), c.p); said != c.said || ok != c.ok {
				t.Errorf("%+v: %q, %t; want %q", c.p, said, ok, c.said)
			}
		}
		d.Wait()
		if ended.Load() != 7 {
			t.Errorf("%d of 7 ended", ended.Load())
		}
	})
}
