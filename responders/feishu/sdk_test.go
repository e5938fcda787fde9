//go:build larksdk

package feishu

import (
	"context"
	"testing"
	"time"

	"github.com/larksuite/oapi-sdk-go/v3/event/dispatcher"
	"github.com/larksuite/oapi-sdk-go/v3/event/dispatcher/callback"
	larkws "github.com/larksuite/oapi-sdk-go/v3/ws"

	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
	"github.com/trailwarden/trailwarden/responders/message"
)

// The emulator serves the platform's own client: what our listener is tested
// against speaks the real protocol. The SDK's client never ends and is not
// clean under the race detector, and compiling it costs minutes, so this is
// behind a build tag (make lark-sdk).
func TestEmulatorServesTheSDK(t *testing.T) {
	s := chattest.New(chattest.Options{Unlimited: true})
	defer s.Close()
	a, err := newApp(spec(s))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ref, err := a.Post(t.Context(), message.Sample(desttest.At))
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan *callback.CardActionTriggerRequest, 2)
	h := dispatcher.NewEventDispatcher("", "").OnP2CardActionTrigger(func(_ context.Context, e *callback.CardActionTriggerEvent) (*callback.CardActionTriggerResponse, error) {
		heard <- e.Event
		return &callback.CardActionTriggerResponse{Toast: &callback.Toast{Type: "info", Content: "heard"}}, nil
	})
	c := larkws.NewClient(chattest.FeishuAppID, chattest.FeishuAppSecret, larkws.WithEventHandler(h), larkws.WithDomain(s.FeishuURL()), larkws.WithAutoReconnect(false))
	go func() { _ = c.Start(context.Background()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.WaitFeishu(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for _, frames := range []int{1, 3} {
		kind, toast, err := s.Press(ctx, chattest.FeishuPress{User: "ou_EXAMPLE1", Message: ref.ID, Do: "approve", Frames: frames})
		if err != nil || kind != "info" || toast != "heard" {
			t.Fatalf("%s %q, %v", kind, toast, err)
		}
		if e := <-heard; e.Operator.OpenID != "ou_EXAMPLE1" || e.Action.Value["ref"] != "act-1" {
			t.Errorf("%+v", e)
		}
	}
}
