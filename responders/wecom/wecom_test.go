package wecom

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
)

const secret = "EXAMPLE"

func server(t *testing.T, opt chattest.Options) *chattest.Server {
	t.Helper()
	opt.RobotSecrets = map[string]string{"wecom": ""}
	s := chattest.New(opt)
	t.Cleanup(s.Close)
	return s
}

func spec(s *chattest.Server) Spec {
	return Spec{Common: responders.Common{Name: "soc", Timeout: responders.Duration(time.Second)}, Webhook: responders.Secret(s.URL() + chattest.RobotPath + "wecom?key=secrettoken")}
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
			s := server(t, chattest.Options{Unlimited: true})
			sp := spec(s)
			sp.Language = lang
			n := notifier(t, sp)
			if _, err := n.Post(t.Context(), notice); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			notice.Thread = append(notice.Thread, "severity high → critical")
			if err := n.Update(t.Context(), responders.MessageRef{}, notice); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			ms := s.RobotMessages("wecom")
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
	desttest.Failures(t, s, "wecom", "doubt", func(t *testing.T) responders.Notifier { return notifier(t, spec(s)) }, "secrettoken", secret)
	for _, c := range []struct {
		name, body, want string
	}{
		{"limited", `{"errcode":45009,"errmsg":"api freq out of limit"}`, "later"},
		{"busy", `{"errcode":-1}`, "doubt"},
		{"key", `{"errcode":93000,"errmsg":"invalid webhook url"}`, "final"},
		{"HTML", "<html>sign in</html>", "doubt"},
		{"no code", `{"ok":true}`, "doubt"},
	} {
		s.Script("wecom", chattest.Garbage(c.body))
		if _, err := notifier(t, spec(s)).Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	sp := spec(s)
	sp.Webhook = responders.Secret("http://" + desttest.Gone(t) + "/x?key=secrettoken")
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
	if sent < burst || later == 0 || sent != len(s.RobotMessages("wecom")) || sent != s.Requests("wecom") {
		t.Errorf("%d sent, %d put off, %d taken of %d requests", sent, later, len(s.RobotMessages("wecom")), s.Requests("wecom"))
	}
	if most := burst + perSecond*60; most > 20 {
		t.Errorf("%v messages a minute, at most 20", most)
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
