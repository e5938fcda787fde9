package dingtalk

import (
	"context"
	"net/http"
	"testing"
	"time"

	sdk "github.com/open-dingtalk/dingtalk-stream-sdk-go/card"
	"github.com/open-dingtalk/dingtalk-stream-sdk-go/client"

	"github.com/trailwarden/trailwarden/responders/chattest"
)

// The emulator serves the platform's own client: what our listener is tested
// against speaks the real protocol. One press alone, since the SDK
// writes its answers without a lock (two are a data race, of its own).
func TestEmulatorServesTheSDK(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections() // which it uses
	s := patient(t)
	a := app(t, s)
	n := sample()
	ref, err := a.Post(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan sdk.CardRequest, 2)
	c := client.NewStreamClient(client.WithAppCredential(client.NewAppCredentialConfig(chattest.DingTalkClientID, chattest.DingTalkClientSecret)),
		client.WithOpenApiHost(s.DingTalkURL()), client.WithAutoReconnect(false))
	c.RegisterCardCallbackRouter(func(_ context.Context, r *sdk.CardRequest) (*sdk.CardResponse, error) {
		heard <- *r
		return &sdk.CardResponse{
			CardUpdateOptions: &sdk.CardUpdateOptions{UpdateCardDataByKey: true, UpdatePrivateDataByKey: true},
			CardData:          &sdk.CardDataDto{CardParamMap: map[string]string{}},
			UserPrivateData:   &sdk.CardDataDto{CardParamMap: map[string]string{varReply: "heard"}},
		}, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitDingTalk(ctx, 1); err != nil {
		t.Fatal(err)
	}
	reply, err := s.PressDingTalk(ctx, chattest.DingTalkPress{User: "dana", Card: ref.ID, Button: "approve"})
	if err != nil || reply != "heard" {
		t.Fatalf("%q, %v", reply, err)
	}
	r := <-heard
	p := r.CardActionData.CardPrivateData
	if r.UserId != "dana" || r.CorpId != chattest.DingTalkCorp || r.OutTrackId != ref.ID || r.Type != "actionCallback" || p.ActionIdList[0] != "approve" || r.GetActionString("hash") != hash {
		t.Errorf("%+v", r)
	}
}
