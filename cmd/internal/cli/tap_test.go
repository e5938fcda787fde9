package cli

import (
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

func TestMatcher(t *testing.T) {
	ev, err := event.Parse([]byte(`{"eventId":"1","eventName":"CreateUser","serviceName":"Ram","eventTime":"2026-11-20T00:00:00Z","errorCode":"NoPermission","userIdentity":{"type":"ram-user","userName":"eve","accountId":"1000000000000001"},"recipientAccountId":"1000000000000001","eventVersion":1}`))
	if err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]bool{
		"": true, `outcome == "attempt"`: true, `outcome == "success"`: false, `event.name == "CreateUser" && actor.name == "eve"`: true,
		`event.service == "Sts"`: false,
	} {
		is, err := newMatcher(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if is(ev) != want {
			t.Errorf("%s: %v", expr, !want)
		}
	}
	for expr, want := range map[string]string{`outcme == "attempt"`: "outcome", `1 +`: "--match", `event.name`: "--match"} {
		if _, err := newMatcher(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", expr, err)
		}
	}
}
