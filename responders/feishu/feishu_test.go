package feishu

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
)

const secret = "exampleexample"

func server(t *testing.T, opt chattest.Options) *chattest.Server {
	t.Helper()
	opt.RobotSecrets = map[string]string{"feishu": secret}
	s := chattest.New(opt)
	t.Cleanup(s.Close)
	return s
}

func spec(s *chattest.Server) Spec {
	return Spec{Common: responders.Common{Name: "soc", Timeout: responders.Duration(time.Second)}, Webhook: responders.Secret(s.URL() + chattest.RobotPath + "feishu?secrettoken"), Secret: secret}
}

func notifier(t *testing.T, sp Spec) *Notifier {
	t.Helper()
	n, err := New(sp, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// The same notices as everywhere: within the limits, inert, readable.
func TestGolden(t *testing.T) {
	for name, notice := range desttest.Notices() {
		for _, lang := range []string{"en", "zh"} {
			s := server(t, chattest.Options{Unlimited: true, Clock: func() time.Time { return desttest.At }})
			sp := spec(s)
			sp.Language = lang
			n := notifier(t, sp)
			n.now = func() time.Time { return desttest.At }
			if _, err := n.Post(t.Context(), notice); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			notice.Thread = append(notice.Thread, "severity high → critical")
			if err := n.Update(t.Context(), responders.MessageRef{}, notice); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			ms := s.RobotMessages("feishu")
			if len(ms) != 2 {
				t.Fatalf("%d messages", len(ms))
			}
			for i, m := range ms {
				desttest.Golden(t, name+"."+lang+[]string{".json", ".update.json"}[i], desttest.Indent(t, m.Body))
				for _, str := range desttest.Strings(t, m.Body) {
					desttest.Inert(t, str, true, "https://console.example/incidents/"+notice.Alert.ID, "](", "# ")
				}
				if strings.Contains(string(m.Body), "LTAI5tEXAMPLEdeploy0Xy9") {
					t.Error("a key is shown whole")
				}
			}
		}
	}
}

func TestFailures(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	desttest.Failures(t, s, "feishu", "doubt", func(t *testing.T) responders.Notifier { return notifier(t, spec(s)) }, "secrettoken", secret)
	for _, c := range []struct {
		name, body, want string
	}{
		{"limited", `{"code":11232,"msg":"frequency limited psm"}`, "later"},
		{"bad", `{"code":9499,"msg":"Bad Request"}`, "final"},
		{"HTML", "<html>sign in</html>", "doubt"},
		{"no code", `{"ok":true}`, "doubt"},
	} {
		s.Script("feishu", chattest.Garbage(c.body))
		if _, err := notifier(t, spec(s)).Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	sp := spec(s)
	sp.Webhook = responders.Secret("http://" + desttest.Gone(t) + "/x?secrettoken")
	_, err := notifier(t, sp).Post(t.Context(), desttest.Bare())
	if desttest.Outcome(err) != "retry" || strings.Contains(err.Error(), "secrettoken") {
		t.Errorf("nobody there: %v", err)
	}
}

// A flood never brings the robot to its limit: what does not fit waits here.
func TestRateIsBelowTheLimit(t *testing.T) {
	s := server(t, chattest.Options{})
	n := notifier(t, spec(s))
	n.post.Limit = limiter(0) // a test does not wait
	sent, later := 0, 0
	for range 60 {
		switch _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) {
		case "ok":
			sent++
		case "later":
			later++
		default:
			t.Fatal(err)
		}
	}
	if sent < burst || later == 0 || sent != len(s.RobotMessages("feishu")) || sent != s.Requests("feishu") {
		t.Errorf("%d sent, %d put off, %d taken of %d requests", sent, later, len(s.RobotMessages("feishu")), s.Requests("feishu"))
	}
	if most := burst + perSecond*60; most > 100 {
		t.Errorf("%v messages a minute, at most 100", most)
	}
}

func TestSignature(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true})
	sp := spec(s)
	if _, err := notifier(t, sp).Post(t.Context(), desttest.Bare()); err != nil {
		t.Error(err)
	}
	sp.Secret = "SECwrong"
	_, err := notifier(t, sp).Post(t.Context(), desttest.Bare())
	if desttest.Outcome(err) != "final" || !strings.Contains(err.Error(), "check secret") {
		t.Errorf("another secret: %v", err)
	}
	n := notifier(t, spec(s))
	n.now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	if _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "final" || !strings.Contains(err.Error(), "clock") {
		t.Errorf("a clock that is wrong: %v", err)
	}
}

func TestKeyword(t *testing.T) {
	s := server(t, chattest.Options{Unlimited: true, RobotKeyword: "告警"})
	sp := spec(s)
	if _, err := notifier(t, sp).Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "final" {
		t.Errorf("without the keyword: %v", err)
	}
	sp.Keyword = "告警"
	n := notifier(t, sp)
	if _, err := n.Post(t.Context(), desttest.Bare()); err != nil {
		t.Error(err)
	}
	if err := n.Update(t.Context(), responders.MessageRef{}, desttest.Bare()); err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	good := Spec{Common: responders.Common{Name: "soc"}, Webhook: "https://robot.example/send?access_token=x"}
	if fs := good.Check(); len(fs) != 0 {
		t.Errorf("%v", fs)
	}
	for want, sp := range map[string]Spec{
		"name":         {Webhook: good.Webhook},
		"webhook":      {Common: good.Common},
		"language":     {Common: responders.Common{Name: "soc", Language: "fr"}, Webhook: good.Webhook},
		"timezone":     {Common: responders.Common{Name: "soc", Timezone: "Mars/Olympus"}, Webhook: good.Webhook},
		"min_severity": {Common: responders.Common{Name: "soc", MinSeverity: "loud"}, Webhook: good.Webhook},
	} {
		if fs := sp.Check(); len(fs) != 1 || fs[0].Field != want {
			t.Errorf("%s: %v", want, fs)
		}
		if _, err := New(sp, nil); err == nil {
			t.Errorf("%s: accepted", want)
		}
	}
	plain := Spec{Common: good.Common, Webhook: "http://robot.example/secrettoken"}
	if fs := plain.Check(); len(fs) != 1 || strings.Contains(fs[0].Error(), "secrettoken") {
		t.Errorf("plain http: %v", fs)
	}
}
