package slack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	slackapi "github.com/slack-go/slack"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/raced"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
	"github.com/trailwarden/trailwarden/responders/message"
)

// payloadOf is a message as it goes over the wire, readable.
func payloadOf(t interface{ Fatalf(string, ...any) }, m rendered) ([]byte, chattest.Content) {
	marshal := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%v", err)
		}
		return b
	}
	c := chattest.Content{Text: m.text, Blocks: marshal(m.blocks), Attachments: marshal(m.attachments)}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	var raw struct {
		Text        string
		Blocks      any
		Attachments any
	}
	raw.Text = c.Text
	_ = json.Unmarshal(c.Blocks, &raw.Blocks)
	_ = json.Unmarshal(c.Attachments, &raw.Attachments)
	if err := e.Encode(raw); err != nil {
		t.Fatalf("%v", err)
	}
	return out.Bytes(), c
}

func TestGolden(t *testing.T) {
	full := sample()
	done := sample()
	done.Actions = []responders.ActionView{
		{ID: "act-1", Kind: "ram.disable_access_key", Describe: "UpdateAccessKey UserName=ci-deployer Status=Inactive", State: responders.Done, By: "alice", At: eventTime.Add(30 * time.Second), Undoable: true},
		{ID: "act-2", Kind: "ram.disable_access_key", Describe: "UpdateAccessKey UserName=break-glass Status=Inactive", State: responders.Refused, Reason: "protected: the user is protected"},
		{ID: "act-3", Kind: "ram.fence", Describe: "AttachPolicyToUser DenyAll", State: responders.Observed},
	}
	closed := done
	closed.Triage = responders.Triage{State: responders.TriageClosed, Verdict: responders.FalsePositive, Owner: "slack:U0EXAMPLE1", By: "slack:U0EXAMPLE2", At: eventTime.Add(time.Hour)}
	bare := responders.Notice{Alert: alert.Alert{ID: "00ff", Rule: "r", RuleVersion: 1, Title: "Root login", Severity: alert.Critical, EventIDs: []string{"e"}, Count: 1}}
	for _, c := range []struct {
		name   string
		r      renderer
		notice responders.Notice
	}{
		{"full.en.json", renderer{w: message.For(English, nil), buttons: true}, full},
		{"full.zh.json", renderer{w: message.For(Chinese, nil), buttons: true}, full},
		{"done.en.json", renderer{w: message.For(English, nil), buttons: true}, done},
		{"closed.zh.json", renderer{w: message.For(Chinese, nil), buttons: true}, closed},
		{"nobuttons.en.json", renderer{w: message.For(English, nil)}, full},
		{"bare.en.json", renderer{w: message.For(English, nil), buttons: true}, bare},
		{"hostile.en.json", renderer{w: message.For(English, nil), buttons: true, inline: true}, hostileNotice()},
		{"hostile.zh.json", renderer{w: message.For(Chinese, nil), buttons: true}, hostileNotice()},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := c.r.render(c.notice)
			out, content := payloadOf(t, m)
			desttest.Golden(t, c.name, out)
			if err := chattest.Check(content.Text, content.Blocks, content.Attachments); err != nil {
				t.Error(err)
			}
			checkInert(t, content)
		})
	}
}

// hostileNotice has in every field what an attacker would put there, the id
// of the incident too, which goes into the values of buttons.
func hostileNotice() responders.Notice {
	n := desttest.Hostile()
	n.Alert.ID = desttest.Evil("id")
	return n
}

var dateToken = regexp.MustCompile(`^<!date\^\d+\^\{date_short_pretty\} \{time_secs\}\|[0-9: -]+ (UTC|北京时间)>$`)

// checkInert: nothing in a message mentions, links, formats or hides.
func checkInert(t interface{ Fatalf(string, ...any) }, c chattest.Content) {
	for _, m := range c.Live() {
		if !dateToken.MatchString(m) {
			t.Fatalf("live markup %q", m)
		}
	}
	for _, line := range append(c.Lines(), c.Text) {
		if strings.Contains(line, "://") {
			t.Fatalf("link in %q", line)
		}
		for _, r := range line {
			if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
				t.Fatalf("%U in %q", r, line)
			}
		}
	}
}

func TestFieldsAreSixAndUnknownIsADash(t *testing.T) {
	r := renderer{w: message.For(English, nil)}
	fields := r.fields(responders.Notice{})
	if len(fields) != 6 {
		t.Fatalf("%d fields, want 6", len(fields))
	}
	for i, f := range fields {
		if want := "*" + r.w.Fields[i] + "*\n—"; f.Text != want {
			t.Errorf("field %d = %q, want %q", i, f.Text, want)
		}
		if !f.Verbatim {
			t.Errorf("field %d may make links", i)
		}
	}
}

func TestButtonsFollowState(t *testing.T) {
	r := renderer{w: message.For(English, nil), buttons: true}
	const ack, rest = ActionAcknowledge + " " + ActionAssign, " " + ActionMute + " " + ActionClose + " " + ActionMore
	for _, c := range []struct {
		state  responders.State
		undo   bool
		triage responders.TriageState
		want   string
	}{
		{"", false, "", ack + rest},
		{responders.Proposed, false, "", ack + " " + ActionContain + " " + ActionDeny + rest},
		{responders.Observed, false, "", ack + rest},
		{responders.Executing, false, "", ack + rest},
		{responders.Done, false, "", ack + rest},
		{responders.Done, true, "", ack + " " + ActionUndo + rest},
		{responders.Refused, false, "", ack + rest},
		{responders.Undoing, true, "", ack + rest},
		{responders.Undone, false, "", ack + rest},
		{responders.Proposed, false, responders.TriageAcknowledged, ActionAssign + " " + ActionContain + " " + ActionDeny + rest},
		{responders.Proposed, false, responders.TriageOpen, ack + " " + ActionContain + " " + ActionDeny + rest},
		{responders.Proposed, false, responders.TriageClosed, ActionReopen},
		{responders.Done, true, responders.TriageClosed, ActionReopen + " " + ActionUndo},
	} {
		n := sample()
		n.Actions = nil
		if c.triage != "" {
			n.Triage = responders.Triage{State: c.triage, At: eventTime, By: "slack:U1"}
		}
		if c.state != "" {
			n.Actions = []responders.ActionView{{ID: "a", Describe: "d", State: c.state, Undoable: c.undo, ActionHash: "h"}}
		}
		_, content := payloadOf(t, r.render(n))
		var got []string
		for _, b := range content.Buttons() {
			got = append(got, b.ActionID)
			if b.BlockID != "tw|"+n.Alert.ID {
				t.Errorf("%s: block %q does not name the alert", c.state, b.BlockID)
			}
			onAction := b.ActionID == ActionContain || b.ActionID == ActionUndo || b.ActionID == ActionDeny
			want := n.Alert.ID
			if onAction {
				want += "|a|h" // bound to what the person was shown
			}
			if b.Menu == "" && b.Value != want {
				t.Errorf("%s: button %s holds %q, want %q", c.state, b.ActionID, b.Value, want)
			}
			for _, o := range b.Options {
				if !strings.HasPrefix(o, n.Alert.ID+"|") {
					t.Errorf("menu %s offers %q", b.ActionID, o)
				}
			}
			if danger := b.Style == "danger"; danger != (b.ActionID == ActionContain) {
				t.Errorf("%s: button %s has style %q", c.state, b.ActionID, b.Style)
			}
			if b.Confirm != (onAction && b.ActionID != ActionDeny) {
				t.Errorf("%s: button %s: confirm %v", c.state, b.ActionID, b.Confirm)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("state %q undoable %v triage %q: buttons %q, want %q", c.state, c.undo, c.triage, s, c.want)
		}
	}
	if _, content := payloadOf(t, renderer{w: message.For(English, nil)}.render(sample())); len(content.Buttons()) != 0 {
		t.Error("buttons without interactive mode")
	}
}

// What trailwarden says of its own failures offers no way to mute it.
func TestOwnAlertsCannotBeMuted(t *testing.T) {
	n := sample()
	n.Alert.Rule = "self.action_failed"
	_, content := payloadOf(t, renderer{w: message.For(English, nil), buttons: true}.render(n))
	for _, b := range content.Buttons() {
		if b.ActionID == ActionMute {
			t.Error("a mute button")
		}
	}
}

func TestTitleKeepsSeverityAndPlace(t *testing.T) {
	n := sample()
	n.Alert.Title = strings.Repeat("很长的标题 ", 100)
	got := message.For(English, nil).Title(n, budgetHeader)
	if !strings.HasPrefix(got, "HIGH · 很长") || !strings.HasSuffix(got, "… · ci-deployer · prod (1000…0001)") {
		t.Errorf("title %q", got)
	}
	if strings.Contains(got, n.Alert.Rule) {
		t.Error("the title names the rule id")
	}
}

func TestKeysAreMasked(t *testing.T) {
	n := sample()
	n.Alert.TargetKey = "LTAI5tEXAMPLEbackup0001"
	n.Alert.Target = &alert.Target{Type: "accesskey", ID: "LTAI5tEXAMPLEbackup0001"}
	out, _ := payloadOf(t, renderer{w: message.For(English, nil), buttons: true}.render(n))
	for _, key := range []string{n.Alert.TargetKey, n.Alert.Actor.AccessKeyID} {
		if bytes.Contains(out, []byte(key)) {
			t.Errorf("the message shows %s whole", key)
		}
	}
	if !bytes.Contains(out, []byte("LTAI…001")) {
		t.Error("the target key is not shown")
	}
}

func drawText(t *rapid.T, name string) string {
	if rapid.IntRange(0, 9).Draw(t, name+"?") == 0 {
		return strings.Repeat(rapid.StringN(0, 8, -1).Draw(t, name+" part"), rapid.IntRange(0, 3000).Draw(t, name+" times"))
	}
	return strings.Join(rapid.SliceOfN(rapid.OneOf(
		rapid.SampledFrom([]string{"<!channel>", "<http://x|y>", "&", "<", ">", "`", "@here", "\n", "\u202e", "🦊", "\xff", ":ram:", "运维", " "}), rapid.String()), 0, 6).Draw(t, name), "")
}

func drawNotice(t *rapid.T) responders.Notice {
	s := func(name string) string { return drawText(t, name) }
	tm := func(name string) time.Time {
		return time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, name), 0).UTC()
	}
	n := responders.Notice{Account: s("account"), Alert: alert.Alert{
		ID: s("id"), Rule: s("rule"), RuleVersion: rapid.Int().Draw(t, "v"), Title: s("title"), Reason: s("reason"),
		Severity: alert.Severity(rapid.IntRange(0, 7).Draw(t, "sev")), Outcome: rapid.SampledFrom([]string{"", "success", "attempt"}).Draw(t, "outcome"),
		Time: tm("time"), FirstAt: tm("first"), LastAt: tm("last"), Count: rapid.Int().Draw(t, "count"), AccountID: s("acct"),
		Actor:    alert.Actor{Type: s("type"), ID: s("aid"), Name: s("name"), AccessKeyID: s("key"), Role: s("role"), Session: s("session")},
		SourceIP: s("ip"), TargetKey: s("tkey"), Attack: rapid.SliceOfN(rapid.String(), 0, 9).Draw(t, "attack"), Runbook: alert.Runbook{EN: s("en"), ZH: s("zh")},
		Details: map[string]any{
			"event": s("event"), "region": s("region"), "country": s("country"), "asn": rapid.Float64().Draw(t, "asn"), "as_org": s("org"),
			"mfa": rapid.Bool().Draw(t, "mfa"), "key_age_days": rapid.Int().Draw(t, "age"),
		},
	}}
	if rapid.Bool().Draw(t, "target") {
		n.Alert.Target = &alert.Target{Type: s("ttype"), ID: s("tid"), Name: s("tname")}
	}
	for range rapid.IntRange(0, 15).Draw(t, "actions") {
		n.Actions = append(n.Actions, responders.ActionView{
			ID: s("act"), Kind: s("kind"), Describe: s("describe"), Reason: s("why"), By: s("by"), At: tm("at"), Undoable: rapid.Bool().Draw(t, "undoable"),
			State: rapid.SampledFrom([]responders.State{responders.Proposed, responders.Done, responders.Refused, responders.Observed, "?", ""}).Draw(t, "state"),
		})
	}
	for range rapid.IntRange(0, 40).Draw(t, "lines") {
		n.Thread = append(n.Thread, responders.Said(s("line"))...)
	}
	return n
}

// checkMessage: within the limits, inert, with a fallback, whatever the input.
func checkMessage(t interface{ Fatalf(string, ...any) }, r renderer, n responders.Notice) {
	_, c := payloadOf(t, r.render(n))
	if err := chattest.Check(c.Text, c.Blocks, c.Attachments); err != nil {
		t.Fatalf("%v", err)
	}
	if strings.TrimSpace(c.Text) == "" {
		t.Fatalf("no fallback text")
	}
	checkInert(t, c)
	for _, b := range batches(n.Alert.Revision, r.w.ThreadLines(n.Thread)) {
		fallback, blocks := r.reply(b.lines)
		_, c := payloadOf(t, rendered{text: fallback, blocks: blocks, attachments: []slackapi.Attachment{}})
		if err := chattest.Check(c.Text, c.Blocks, nil); err != nil || c.Text == "" {
			t.Fatalf("reply %q: %v", c.Text, err)
		}
		checkInert(t, c)
	}
}

func TestAnyNoticeFits(t *testing.T) {
	raced.Checks(t, raced.Size(math.MaxInt, 25))
	rapid.Check(t, func(t *rapid.T) {
		lang := rapid.SampledFrom([]Language{English, Chinese}).Draw(t, "lang")
		checkMessage(t, renderer{w: message.For(lang, nil), buttons: rapid.Bool().Draw(t, "buttons"), inline: rapid.Bool().Draw(t, "inline")}, drawNotice(t))
	})
}

func FuzzRender(f *testing.F) {
	f.Add("title", "<!channel>", "alice", "ram:CreateAccessKey", uint8(3))
	f.Add("\u202e", "\xff\x00", "`<@U1>`", "http://x", uint8(200))
	f.Fuzz(func(t *testing.T, title, reason, name, event string, n uint8) {
		notice := sample()
		notice.Alert.Title, notice.Alert.Reason, notice.Alert.Actor.Name, notice.Account = title, reason, name, name
		notice.Alert.Details["event"], notice.Alert.Details["region"] = event, reason
		notice.Alert.ID = title
		for i := range int(n) {
			notice.Actions = append(notice.Actions, responders.ActionView{ID: fmt.Sprint(i), Describe: event, Reason: reason, By: name, State: responders.Done, Undoable: true})
			notice.Thread = append(notice.Thread, responders.Said(reason)...)
		}
		checkMessage(t, renderer{w: message.For(English, nil), buttons: true, inline: true}, notice)
	})
}
