package chattest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// The emulator refuses what the documentation says, with its codes.
func TestDingTalkLimits(t *testing.T) {
	now := newClock()
	s, _ := start(t, Options{Clock: now.Now})
	call := func(verb, path, token string, body any) (int, map[string]any) {
		t.Helper()
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(verb, s.DingTalkURL()+path, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("x-acs-dingtalk-access-token", token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		return resp.StatusCode, out
	}
	if status, out := call("POST", "/v1.0/oauth2/accessToken", "", map[string]string{"appKey": "x", "appSecret": "y"}); status != 400 || out["code"] != "invalidClientIdOrSecret" {
		t.Errorf("%d %v", status, out)
	}
	_, out := call("POST", "/v1.0/oauth2/accessToken", "", map[string]string{"appKey": DingTalkClientID, "appSecret": DingTalkClientSecret})
	token, _ := out["accessToken"].(string)
	good := func() map[string]any {
		return map[string]any{
			"cardTemplateId": DingTalkTemplate, "outTrackId": "c1", "callbackType": "STREAM", "openSpaceId": "dtv1.card//IM_GROUP." + DingTalkGroup, "userIdType": 1,
			"imGroupOpenSpaceModel": map[string]any{"supportForward": false}, "imGroupOpenDeliverModel": map[string]any{"robotCode": DingTalkClientID},
			"cardData": map[string]any{"cardParamMap": map[string]any{"title": "x"}},
		}
	}
	data := func(k string, v any) func(map[string]any) {
		return func(m map[string]any) { m["cardData"] = map[string]any{"cardParamMap": map[string]any{k: v}} }
	}
	without := func(k string) func(map[string]any) { return func(m map[string]any) { delete(m, k) } }
	for _, c := range []struct {
		code string
		edit func(map[string]any)
	}{
		{"param.outTrackIdEmpty", without("outTrackId")},
		{"param.cardTemplateIdEmpty", without("cardTemplateId")},
		{"param.cardTemplateNotExist", func(m map[string]any) { m["cardTemplateId"] = "other.schema" }},
		{"param.openSpaceIdEmpty", without("openSpaceId")},
		{"param.openSpaceIdInvalid", func(m map[string]any) { m["openSpaceId"] = DingTalkGroup }},
		{"param.openSpaceModelInvalid", without("imGroupOpenSpaceModel")},
		{"param.openDeliverModelError", without("imGroupOpenDeliverModel")},
		{"param.cardPublicDataEmpty", without("cardData")},
		{"param.cardParamValueTooLong", data("title", strings.Repeat("x", 1025))},
		{"param.cardParamKeyTooLong", data(strings.Repeat("k", 101), "x")},
		{"param.cardParamNotString", data("title", 7)},
		{"param.cardParamButtonGroup", data("buttons", `[{"text":"x"}]`)},
		{"param.userIdNotExist", func(m map[string]any) { m["openSpaceId"] = "dtv1.card//IM_ROBOT.dana emre" }},
	} {
		body := good()
		c.edit(body)
		if status, out := call("POST", "/v1.0/card/instances/createAndDeliver", token, body); status != 400 || out["code"] != c.code {
			t.Errorf("%s: %d %v", c.code, status, out)
		}
		now.Add(time.Second)
	}
	if status, out := call("POST", "/v1.0/card/instances/createAndDeliver", "other", good()); status != 400 || out["code"] != "InvalidAuthentication" {
		t.Errorf("%d %v", status, out)
	}
	for range 2 { // the data of a card that is there stay
		if status, out := call("POST", "/v1.0/card/instances/createAndDeliver", token, good()); status != 200 || out["success"] != true {
			t.Errorf("%d %v", status, out)
		}
	}
	if cards := s.DingTalkCards(DingTalkGroup); len(cards) != 1 || cards[0].Delivered != 2 {
		t.Errorf("%+v", cards)
	}
	edit := map[string]any{"outTrackId": "c1", "cardUpdateOptions": map[string]bool{"updateCardDataByKey": true}, "cardData": map[string]any{"cardParamMap": map[string]string{"news": "y"}}}
	if status, out := call("PUT", "/v1.0/card/instances", token, edit); status != 200 || out["success"] != true {
		t.Errorf("%d %v", status, out)
	}
	if c := s.DingTalkCards(DingTalkGroup)[0]; c.Data["title"] != "x" || c.Data["news"] != "y" {
		t.Errorf("%v", c.Data)
	}
	edit["outTrackId"] = "c2"
	if status, out := call("PUT", "/v1.0/card/instances", token, edit); status != 400 || out["code"] != "param.cardNotExist" {
		t.Errorf("%d %v", status, out)
	}
	limited := false
	for range dingtalkQPS + 1 {
		status, out := call("PUT", "/v1.0/card/instances", token, edit)
		limited = limited || status == 403 && out["code"] == "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"
	}
	if !limited {
		t.Error("no limit of calls in a second")
	}
	// A ticket is good for one connection, and not for long.
	open := map[string]any{"clientId": DingTalkClientID, "clientSecret": DingTalkClientSecret, "subscriptions": []map[string]string{{"type": "CALLBACK", "topic": DingTalkTopic}}}
	dial := func(address string) bool {
		ws, resp, err := websocket.DefaultDialer.Dial(address, nil)
		if resp != nil {
			_ = resp.Body.Close()
		}
		if err == nil {
			_ = ws.Close()
		}
		return err == nil
	}
	ticket := func() string {
		status, out := call("POST", "/v1.0/gateway/connections/open", "", open)
		if status != 200 {
			t.Fatalf("%d %v", status, out)
		}
		return out["endpoint"].(string) + "?ticket=" + out["ticket"].(string)
	}
	first := ticket()
	if !dial(first) || dial(first) {
		t.Error("want a ticket to be good for one connection")
	}
	old := ticket()
	now.Add(91 * time.Second)
	if dial(old) || dial(s.DingTalkURL()+"/connect?ticket=none") {
		t.Error("a ticket that is over was taken")
	}
}
