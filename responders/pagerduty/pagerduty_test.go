package pagerduty

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
)

const key = "EXAMPLEEXAMPLEEXAMPLEEXAMPLE0001"

func rig(t *testing.T, opt chattest.Options, lang string) (*chattest.Server, *Notifier) {
	t.Helper()
	s := chattest.New(opt)
	t.Cleanup(s.Close)
	n, err := New(Spec{Common: responders.Common{Name: "pd", Language: lang, Timeout: responders.Duration(time.Second)}, RoutingKey: key, URL: s.URL() + chattest.RobotPath + "pagerduty"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return s, n
}

func TestGolden(t *testing.T) {
	for name, notice := range desttest.Notices() {
		for _, lang := range []string{"en", "zh"} {
			s, n := rig(t, chattest.Options{Unlimited: true}, lang)
			if _, err := n.Post(t.Context(), notice); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			ms := s.RobotMessages("pagerduty")
			if len(ms) != 1 {
				t.Fatalf("%d alerts", len(ms))
			}
			desttest.Golden(t, name+"."+lang+".json", desttest.Indent(t, ms[0].Body))
			if name == "hostile" {
				for _, str := range desttest.Strings(t, ms[0].Body) {
					if strings.Contains(str, "rule <!channel>") || strings.Contains(str, "name <!channel>") {
						continue // class and component are fields of their own, never rendered as markup
					}
					desttest.Inert(t, str, true, "](")
				}
			}
		}
	}
}

// Whatever happens to an answer, an incident is one alert there.
func TestOneAlertPerIncident(t *testing.T) {
	s, n := rig(t, chattest.Options{Unlimited: true}, "")
	s.Script("pagerduty", chattest.DropAnswer(), chattest.Status(502).After())
	notice := desttest.Bare()
	for range 5 {
		_, err := n.Post(t.Context(), notice)
		if err == nil {
			err = n.Update(t.Context(), responders.MessageRef{}, notice)
		}
		if o := desttest.Outcome(err); o != "ok" && o != "retry" {
			t.Fatal(err)
		}
	}
	if ms := s.RobotMessages("pagerduty"); len(ms) != 1 || ms[0].Type != notice.Alert.ID {
		t.Errorf("%d alerts", len(ms))
	}
}

func TestFailures(t *testing.T) {
	s, n := rig(t, chattest.Options{Unlimited: true}, "")
	desttest.Failures(t, s, "pagerduty", "retry", func(t *testing.T) responders.Notifier {
		fresh, err := New(n.spec, nil) // after a 429 a destination rests
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(fresh.Close)
		return fresh
	}, key)
	s.Script("pagerduty", chattest.HTML())
	if _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "retry" {
		t.Errorf("a portal: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for want, sp := range map[string]Spec{
		"":            {Common: responders.Common{Name: "pd"}, RoutingKey: key},
		"routing_key": {Common: responders.Common{Name: "pd"}, RoutingKey: "short"},
		"url":         {Common: responders.Common{Name: "pd"}, RoutingKey: key, URL: "http://events.example"},
	} {
		fs := sp.Check()
		if want == "" && len(fs) != 0 || want != "" && (len(fs) != 1 || fs[0].Field != want) {
			t.Errorf("%q: %v", want, fs)
		}
	}
}
