package robot_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
	"github.com/trailwarden/trailwarden/responders/dingtalk"
	"github.com/trailwarden/trailwarden/responders/feishu"
	"github.com/trailwarden/trailwarden/responders/robot"
	"github.com/trailwarden/trailwarden/responders/wecom"
)

// access is all that any robot asks for.
type access struct {
	responders.Common
	webhook, secret, keyword string
}

// platforms are the robots there are.
var platforms = []struct {
	name    string
	query   string // of the address, where its secret is
	secret  string // what requests are signed with; empty: not signed
	spec    func(a access) responders.Spec
	answers map[string]string // by what each asks for; see desttest.Outcome
}{
	{"dingtalk", "?access_token=secrettoken", "SECexampleexample", func(a access) responders.Spec {
		return dingtalk.Spec{Common: a.Common, Webhook: responders.Secret(a.webhook), Secret: responders.Secret(a.secret), Keyword: a.keyword}
	}, map[string]string{
		`{"errcode":130101,"errmsg":"send too fast"}`: "later", `{"errcode":-1,"errmsg":"系统繁忙"}`: "doubt",
		`{"errcode":300005,"errmsg":"token is not exist"}`: "final",
	}},
	{"feishu", "?secrettoken", "exampleexample", func(a access) responders.Spec {
		return feishu.Spec{Common: a.Common, Webhook: responders.Secret(a.webhook), Secret: responders.Secret(a.secret), Keyword: a.keyword}
	}, map[string]string{
		`{"code":11232,"msg":"frequency limited psm"}`: "later", `{"code":9499,"msg":"Bad Request"}`: "final",
	}},
	{"wecom", "?key=secrettoken", "", func(a access) responders.Spec {
		return wecom.Spec{Common: a.Common, Webhook: responders.Secret(a.webhook)}
	}, map[string]string{
		`{"errcode":45009,"errmsg":"api freq out of limit"}`: "later", `{"errcode":-1}`: "doubt",
		`{"errcode":93000,"errmsg":"invalid webhook url"}`: "final",
	}},
}

// each runs a test for every platform on an emulator of its own.
func each(t *testing.T, opt chattest.Options, do func(t *testing.T, p *rig)) {
	for i, p := range platforms {
		t.Run(p.name, func(t *testing.T) {
			opt := opt
			opt.RobotSecrets = map[string]string{p.name: p.secret}
			s := chattest.New(opt)
			t.Cleanup(s.Close)
			do(t, &rig{Server: s, platform: i, access: access{
				Common:  responders.Common{Name: "soc", Timeout: responders.Duration(time.Second)},
				webhook: s.URL() + chattest.RobotPath + p.name + p.query, secret: p.secret,
			}})
		})
	}
}

type rig struct {
	*chattest.Server
	platform int
	access   access
}

func (r *rig) name() string { return platforms[r.platform].name }

func (r *rig) robot(t *testing.T, change ...func(*access)) *robot.Robot {
	t.Helper()
	a := r.access
	for _, c := range change {
		c(&a)
	}
	n, err := platforms[r.platform].spec(a).Notifier(nil)
	if err != nil {
		t.Fatal(err)
	}
	x := n.(*robot.Robot)
	t.Cleanup(x.Close)
	return x
}

// The same notices as everywhere: within the limits, inert, readable.
func TestGolden(t *testing.T) {
	clock := func() time.Time { return desttest.At }
	each(t, chattest.Options{Unlimited: true, Clock: clock}, func(t *testing.T, r *rig) {
		for name, notice := range desttest.Notices() {
			for _, lang := range []string{"en", "zh"} {
				had := len(r.RobotMessages(r.name()))
				n := r.robot(t, func(a *access) { a.Language = lang })
				n.SetClock(clock)
				if _, err := n.Post(t.Context(), notice); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				grown := notice
				grown.Thread = append(slices.Clone(notice.Thread), responders.Line{Say: responders.SaySeverity, Args: []any{alert.High, alert.Critical}})
				if err := n.Update(t.Context(), responders.MessageRef{}, grown); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				ms := r.RobotMessages(r.name())[had:]
				if len(ms) != 2 {
					t.Fatalf("%d messages", len(ms))
				}
				for i, m := range ms {
					desttest.Golden(t, r.name()+"/"+name+"."+lang+[]string{".json", ".update.json"}[i], desttest.Indent(t, m.Body))
					for _, str := range desttest.Strings(t, m.Body) {
						desttest.Inert(t, str, true, "https://console.example/incidents/"+notice.Alert.ID, "](", "# ")
					}
					if strings.Contains(string(m.Body), "LTAI5tEXAMPLEdeploy0Xy9") {
						t.Error("a key is shown whole")
					}
				}
			}
		}
	})
}

func TestFailures(t *testing.T) {
	each(t, chattest.Options{Unlimited: true}, func(t *testing.T, r *rig) {
		secrets := []string{"secrettoken"}
		if r.access.secret != "" {
			secrets = append(secrets, r.access.secret)
		}
		desttest.Failures(t, r.Server, r.name(), "doubt", func(t *testing.T) responders.Notifier { return r.robot(t) }, secrets...)
		answers := map[string]string{"<html>sign in</html>": "doubt", `{"ok":true}`: "doubt"}
		for body, want := range platforms[r.platform].answers {
			answers[body] = want
		}
		for body, want := range answers {
			r.Script(r.name(), chattest.Garbage(body))
			if _, err := r.robot(t).Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != want {
				t.Errorf("%s: %v, want %s", body, err, want)
			}
		}
		gone := "http://" + desttest.Gone(t) + "/x" + platforms[r.platform].query
		_, err := r.robot(t, func(a *access) { a.webhook = gone }).Post(t.Context(), desttest.Bare())
		if desttest.Outcome(err) != "retry" || strings.Contains(err.Error(), "secrettoken") {
			t.Errorf("nobody there: %v", err)
		}
	})
}

// A flood never brings the robot to its limit: what does not fit waits here.
func TestRateIsBelowTheLimit(t *testing.T) {
	each(t, chattest.Options{}, func(t *testing.T, r *rig) {
		n := r.robot(t)
		n.Impatient()
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
		k := n.Kind()
		if sent < k.Burst || later == 0 || sent != len(r.RobotMessages(r.name())) || sent != r.Requests(r.name()) {
			t.Errorf("%d sent, %d put off, %d taken of %d requests", sent, later, len(r.RobotMessages(r.name())), r.Requests(r.name()))
		}
		if most := float64(k.Burst) + k.PerSecond*60; most > float64(k.PerMinute) {
			t.Errorf("%v messages a minute, at most %d", most, k.PerMinute)
		}
	})
}

func TestSignature(t *testing.T) {
	each(t, chattest.Options{Unlimited: true}, func(t *testing.T, r *rig) {
		if _, err := r.robot(t).Post(t.Context(), desttest.Bare()); err != nil {
			t.Error(err)
		}
		if r.access.secret == "" {
			return // not signed
		}
		_, err := r.robot(t, func(a *access) { a.secret = "SECwrong" }).Post(t.Context(), desttest.Bare())
		if desttest.Outcome(err) != "final" || !strings.Contains(err.Error(), "check secret") {
			t.Errorf("another secret: %v", err)
		}
		n := r.robot(t)
		n.SetClock(func() time.Time { return time.Now().Add(-2 * time.Hour) })
		if _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "final" || !strings.Contains(err.Error(), "clock") {
			t.Errorf("a clock that is wrong: %v", err)
		}
	})
}

func TestKeyword(t *testing.T) {
	each(t, chattest.Options{Unlimited: true, RobotKeyword: "告警"}, func(t *testing.T, r *rig) {
		if r.access.secret == "" {
			t.Skip("this platform's robots ask for no keyword")
		}
		if _, err := r.robot(t).Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "final" {
			t.Errorf("without the keyword: %v", err)
		}
		n := r.robot(t, func(a *access) { a.keyword = "告警" })
		if _, err := n.Post(t.Context(), desttest.Bare()); err != nil {
			t.Error(err)
		}
		if err := n.Update(t.Context(), responders.MessageRef{}, desttest.Bare()); err != nil {
			t.Error(err)
		}
	})
}

func TestCheck(t *testing.T) {
	good := access{Common: responders.Common{Name: "soc"}, webhook: "https://robot.example/send?access_token=x"}
	for _, p := range platforms {
		if fs := p.spec(good).Check(); len(fs) != 0 {
			t.Errorf("%s: %v", p.name, fs)
		}
		for want, spoil := range map[string]func(*access){
			"name":         func(a *access) { a.Name = "" },
			"webhook":      func(a *access) { a.webhook = "" },
			"language":     func(a *access) { a.Language = "fr" },
			"timezone":     func(a *access) { a.Timezone = "Mars/Olympus" },
			"min_severity": func(a *access) { a.MinSeverity = "loud" },
		} {
			a := good
			spoil(&a)
			if fs := p.spec(a).Check(); len(fs) != 1 || fs[0].Field != want {
				t.Errorf("%s: %s: %v", p.name, want, fs)
			}
			if _, err := p.spec(a).Notifier(nil); err == nil {
				t.Errorf("%s: %s: accepted", p.name, want)
			}
		}
		plain := good
		plain.webhook = "http://robot.example/secrettoken"
		if fs := p.spec(plain).Check(); len(fs) != 1 || strings.Contains(fs[0].Error(), "secrettoken") {
			t.Errorf("%s: plain http: %v", p.name, fs)
		}
	}
}
