package replay

import (
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// TestEntityForms: who asks pastes what the console, a policy or an error said;
// "nothing concerns it" must not be the answer to another spelling.
func TestEntityForms(t *testing.T) {
	parse := func(s string) *event.Event {
		t.Helper()
		ev, err := event.Parse([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return ev
	}
	const other = "2000000000000002"
	user := parse(`{"eventId":"E-1","eventName":"GetUser","eventTime":"2026-01-05T08:00:00Z","recipientAccountId":"` + acct + `","sourceIpAddress":"2001:db8::1","requestId":"R-1",` +
		`"userIdentity":{"type":"ram-user","accountId":"` + acct + `","principalId":"200000000000000017","userName":"Alice","accessKeyId":"LTAI5tEXAMPLEalice00001"}}`)
	role := parse(`{"eventId":"E-2","eventName":"GetUser","eventTime":"2026-01-05T08:00:00Z","recipientAccountId":"` + acct + `","sourceIpAddress":"203.0.113.9",` +
		`"userIdentity":{"type":"assumed-role","accountId":"` + acct + `","principalId":"300000000000000003:i-1","userName":"app:i-1","accessKeyId":"STS.EXAMPLE1"}}`)
	root := parse(`{"eventId":"E-3","eventName":"GetUser","eventTime":"2026-01-05T08:00:00Z","recipientAccountId":"` + acct + `",` +
		`"userIdentity":{"type":"root-account","accountId":"` + acct + `","principalId":"` + acct + `","userName":"root"}}`)
	for asked, want := range map[string]*event.Event{
		"alice": user, " ALICE\n": user, "user/alice": user, "User/" + acct + "/Alice": user, "acs:ram::" + acct + ":user/Alice": user, "200000000000000017": user,
		"alice@" + acct + ".onaliyun.com": user, "Alice@example-corp.onaliyun.com": user, "ltai5texamplealice00001": user, "key/LTAI5tEXAMPLEalice00001": user,
		"login/user/" + acct + "/alice": user, "2001:DB8:0:0::1": user, "r-1": user, "e-1": user,
		"app": role, "role/app": role, "role/" + acct + "/app": role, "acs:ram::" + acct + ":role/App": role, "app:i-1": role, "app/i-1": role, "APP/I-1": role, "acs:sts::" + acct + ":assumed-role/app/i-1": role,
		"300000000000000003": role, "300000000000000003:i-1": role, "sts.example1": role, "::ffff:203.0.113.9": role,
		"root": root, "root/" + acct: root, "acs:ram::" + acct + ":root": root,
		"203.0.113.0/24": role, "203.0.113.77/8": role, "::ffff:203.0.113.0/120": role, "2001:db8::/32": user, "10.0.0.0/8": nil, "2001:db9::/32": nil, "203.0.113.0/33": nil,
		"i-1": role, // an instance whose role it is
		// What only looks like them.
		"acs:ram::" + other + ":user/alice": nil, "alice@" + other + ".onaliyun.com": nil, "alice@example.com": nil, "role/alice/x": nil, "key/": nil, "user/": nil, "@": nil, "3000": nil, ":": nil, "acs:::::": nil,
	} {
		e := newEntity(asked)
		if e == nil {
			t.Errorf("%q is nothing", asked)
			continue
		}
		for _, ev := range []*event.Event{user, role, root} {
			if got := e.concerns(ev); got != (ev == want) || e.acted(ev) != got && asked != "r-1" && asked != "e-1" {
				t.Errorf("%q (%q) and %s: %v", asked, e.words, ev.ID, got)
			}
		}
	}
	tr := Trail{Entity: "203.0.113.0/24"}
	if !tr.Concerns(&alert.Alert{SourceIP: "203.0.113.200"}) || tr.Concerns(&alert.Alert{SourceIP: "203.0.114.1"}) {
		t.Error("an alert from a network is not about it")
	}
	for asked, ok := range map[string]bool{"203.0.113.0/33": false, " 2001:db8::1/129": false, "10.0.0.0/": false, "10.0.0.0/8": true, "10.0.0.1": true, "app/i-1": true, "": true} {
		if err := CheckEntity(asked); (err == nil) != ok {
			t.Errorf("%q: %v", asked, err)
		}
	}
	if newEntity(" \t") != nil {
		t.Error("blanks are somebody")
	}
}
