package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/dingtalk"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// From a record in SLS to a card of DingTalk's, a stranger who presses, an approver who
// does, an inactive key, an undo, and what the audit log keeps of all of them.
func TestDingTalkCardContainsAndUndoes(t *testing.T) {
	cloud, err := fakecloud.Start(fakecloud.Options{Dir: t.TempDir(), ChatRate: -1}, []string{"1000000000000001"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	ding := chattest.New(chattest.Options{AckTimeout: 30 * time.Second})
	t.Cleanup(ding.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	a := runApp(t, ctx, cloud.Config, func(c *config.Config) {
		c.Notify.DingTalk = []dingtalk.Spec{{
			Common: responders.Common{Name: "ding", Timeout: responders.Duration(30 * time.Second)}, ClientID: chattest.DingTalkClientID, ClientSecret: chattest.DingTalkClientSecret,
			CardTemplateID: chattest.DingTalkTemplate, OpenConversationID: chattest.DingTalkGroup, CorpID: chattest.DingTalkCorp, APIURL: ding.DingTalkURL(),
		}}
		c.Respond.Approvers = append(c.Respond.Approvers, responders.Approver{Name: "grace", IDs: []string{"dingtalk:grace"}})
		c.Respond.Playbooks = []responders.Playbook{{Name: "leaked-key", Mode: responders.Approve}}
	})
	until := func(what string, cond func() bool) {
		t.Helper()
		for !cond() {
			select {
			case <-ctx.Done():
				t.Fatalf("never: %s", what)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	const key = "LTAI5tEXAMPLEding000001"
	record := fmt.Appendf(nil, `{"eventId":"ding-1","eventName":"ListUsers","serviceName":"Ram","eventType":"ApiCall","eventRW":"Read","eventTime":%q,"sourceIpAddress":"203.0.113.9","userAgent":"x","requestId":"ding-1","recipientAccountId":"1000000000000001","errorCode":"Forbidden","errorMessage":"There is a risk of leakage of this AccessKey.","userIdentity":{"type":"ram-user","accountId":"1000000000000001","principalId":"2000000000000001","userName":"user1","accessKeyId":%q}}`,
		time.Now().UTC().Format("2006-01-02T15:04:05Z"), key)
	cloud.Seed(record)
	cloud.Append(record)
	var card chattest.DingTalkCard
	has := func(button string) func() bool {
		return func() bool {
			cards := ding.DingTalkCards(chattest.DingTalkGroup)
			if len(cards) == 0 {
				return false
			}
			card = cards[0]
			return strings.Contains(card.Data["buttons_act"], `"actionId":"`+button+`"`)
		}
	}
	until("the card offers to contain", has("approve"))
	if err := ding.WaitDingTalk(ctx, 1); err != nil {
		t.Fatal(err)
	}
	press := func(user, button string, edit func(map[string]any)) string {
		t.Helper()
		said, err := ding.PressDingTalk(ctx, chattest.DingTalkPress{User: user, Card: card.ID, Button: button, Edit: edit})
		if err != nil {
			t.Fatal(err)
		}
		return said
	}
	// On a slow machine the answer is that it is being done; the audit log has the rest.
	says := func(said, want string) bool {
		return strings.Contains(said, want) || strings.Contains(said, "being done")
	}
	twice := func(user, button string) string {
		t.Helper()
		if said := press(user, button, nil); !strings.Contains(said, "again") {
			t.Errorf("the first press of %s by %s: %q", button, user, said)
		}
		said := "" // soon after the first it is the same double click
		until("a second press of "+button+" counts", func() bool {
			said = press(user, button, nil)
			return !strings.Contains(said, "Press the same button again")
		})
		return said
	}
	if said := twice("mallory", "approve"); !says(said, "not among respond.approvers") {
		t.Errorf("a stranger: %q", said)
	}
	if said := press("mallory", "approve", func(m map[string]any) { m["corpId"] = "dingEVILcorp" }); !says(said, "another organisation") {
		t.Errorf("a stranger of another organisation: %q", said)
	}
	if said := press("grace", "approve", func(m map[string]any) {
		m["content"] = strings.Replace(m["content"].(string), `"hash":"`, `"hash":"0000`, 1)
	}); !says(said, "does not say") {
		t.Errorf("a hash that is none: %q", said)
	}
	if status := cloud.RAM.KeyStatus(key); status != ramtest.Active {
		t.Fatalf("the key is %s before anybody approved", status)
	}
	if said := twice("grace", "approve"); strings.Contains(said, "did not work") {
		t.Errorf("approve: %q", said)
	}
	until("the key is inactive", func() bool { return cloud.RAM.KeyStatus(key) == ramtest.Inactive })
	until("the card offers to undo", has("undo"))
	if !strings.Contains(card.Data["actions"], "contained") {
		t.Errorf("actions %q", card.Data["actions"])
	}
	if said := twice("grace", "undo"); strings.Contains(said, "did not work") {
		t.Errorf("undo: %q", said)
	}
	until("the key is active again", func() bool { return cloud.RAM.KeyStatus(key) == ramtest.Active })
	until("the card says so", func() bool {
		card = ding.DingTalkCards(chattest.DingTalkGroup)[0]
		return strings.Contains(card.Data["actions"], "undone")
	})
	if n := len(ding.DingTalkCards(chattest.DingTalkGroup)); n != 1 || card.Delivered != 1 {
		t.Errorf("%d cards, the first came %d times", n, card.Delivered)
	}
	// A message of notify test is no incident, and its buttons show that presses are
	// heard.
	n, err := dingtalk.Spec{
		Common: responders.Common{Name: "ding"}, ClientID: chattest.DingTalkClientID, ClientSecret: chattest.DingTalkClientSecret,
		CardTemplateID: chattest.DingTalkTemplate, OpenConversationID: chattest.DingTalkGroup, CorpID: chattest.DingTalkCorp, APIURL: ding.DingTalkURL(),
	}.Notifier(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer n.(*dingtalk.App).Close()
	ref, err := n.Post(ctx, message.Test(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	card.ID = ref.ID
	if said := press("grace", "acknowledge", nil); !says(said, "test message") {
		t.Errorf("a test: %q", said)
	}
	// Who was refused stands in the audit log, with why.
	until("the audit log has all three", func() bool {
		lines, err := a.AuditLines(ctx, 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, l := range lines {
			var e struct {
				Kind, By, What string
				Data           struct{ Reason string }
			}
			if json.Unmarshal(l.Entry, &e) == nil && e.Kind == "click" {
				got += e.By + " " + e.What + ": " + text.Line(e.Data.Reason) + "\n"
			}
		}
		return strings.Contains(got, "dingtalk:mallory refused: approve: not among respond.approvers") &&
			strings.Contains(got, "dingtalk:dingEVILcorp/mallory refused: press: ") && strings.Contains(got, "dingtalk:grace refused: approve: ")
	})
}
