package webhook

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
)

const secret = "EXAMPLEsecretEXAMPLE"

func rig(t *testing.T, format string) (*chattest.Server, *Notifier) {
	t.Helper()
	s := chattest.New(chattest.Options{Unlimited: true})
	t.Cleanup(s.Close)
	n, err := New(Spec{
		Common: responders.Common{Name: "siem", Timeout: responders.Duration(time.Second)},
		URL:    responders.Secret(s.URL() + chattest.RobotPath + "webhook?secrettoken"), Secret: secret, Format: format,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	n.now = func() time.Time { return desttest.At }
	return s, n
}

func TestSignedAndDecoded(t *testing.T) {
	for name, notice := range desttest.Notices() {
		s, n := rig(t, "")
		if _, err := n.Post(t.Context(), notice); err != nil {
			t.Fatal(err)
		}
		notice.Alert.Revision++
		notice.Thread = responders.Said("×5")
		if err := n.Update(t.Context(), responders.MessageRef{}, notice); err != nil {
			t.Fatal(err)
		}
		ms := s.RobotMessages("webhook")
		for i, m := range ms {
			if name != "huge" {
				desttest.Golden(t, name+[]string{".json", ".update.json"}[i], desttest.Indent(t, m.Body))
			}
			if err := Verify(secret, m.Header, m.Body, desttest.At.Add(time.Minute), 5*time.Minute); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if Verify("another secret of length", m.Header, m.Body, desttest.At, time.Minute) == nil ||
				Verify(secret, m.Header, append(bytes.Clone(m.Body), ' '), desttest.At, time.Minute) == nil ||
				Verify(secret, m.Header, m.Body, desttest.At.Add(10*time.Minute), 5*time.Minute) == nil {
				t.Errorf("%s: a forged, changed or old request passes", name)
			}
			p, err := Decode(m.Body)
			if err != nil || p.Alert.ID != notice.Alert.ID || p.Event != []string{"opened", "updated"}[i] {
				t.Errorf("%s: %+v %v", name, p.Event, err)
			}
			if strings.ContainsAny(string(m.Body), "\u202e\u200b\x1b\x00") {
				t.Errorf("%s: a character that acts on a terminal is not escaped", name)
			}
		}
		if ms[0].Header.Get("Trailwarden-Delivery") == ms[1].Header.Get("Trailwarden-Delivery") {
			t.Error("two revisions have one delivery id")
		}
	}
}

// A repeat of one request has the same delivery id, also later.
func TestRepeatIsRecognised(t *testing.T) {
	s, n := rig(t, "")
	s.Script("webhook", chattest.DropAnswer())
	if _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "retry" {
		t.Fatal(err)
	}
	n.now = func() time.Time { return desttest.At.Add(time.Hour) }
	if _, err := n.Post(t.Context(), desttest.Bare()); err != nil {
		t.Fatal(err)
	}
	ms := s.RobotMessages("webhook")
	if len(ms) != 2 || ms[0].Header.Get("Trailwarden-Delivery") != ms[1].Header.Get("Trailwarden-Delivery") {
		t.Errorf("%d messages, ids %q", len(ms), ms[0].Header.Get("Trailwarden-Delivery"))
	}
}

func TestOCSFValid(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "pipeline", "report", "testdata", "ocsf-2004.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, notice := range desttest.Notices() {
		s, n := rig(t, "ocsf")
		if _, err := n.Post(t.Context(), notice); err != nil {
			t.Fatal(err)
		}
		if err := n.Update(t.Context(), responders.MessageRef{}, notice); err != nil {
			t.Fatal(err)
		}
		for i, m := range s.RobotMessages("webhook") {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(m.Body))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			var f struct {
				ActivityID int `json:"activity_id"`
			}
			if json.Unmarshal(m.Body, &f) != nil || f.ActivityID != i+1 {
				t.Errorf("%s: activity %d", name, f.ActivityID)
			}
		}
	}
}

func TestFailures(t *testing.T) {
	s, n := rig(t, "")
	desttest.Failures(t, s, "webhook", "retry", func(t *testing.T) responders.Notifier {
		fresh, err := New(n.spec, nil) // after a 429 a destination rests
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(fresh.Close)
		return fresh
	}, "secrettoken", secret)
}

func TestCheck(t *testing.T) {
	good := Spec{Common: responders.Common{Name: "siem"}, URL: "https://siem.example/x", Secret: secret}
	for want, change := range map[string]func(*Spec){
		"": func(*Spec) {}, "url": func(s *Spec) { s.URL = "http://siem.example/x" }, "secret": func(s *Spec) { s.Secret = "short" },
		"format": func(s *Spec) { s.Format = "xml" }, "name": func(s *Spec) { s.Name = "a b" },
	} {
		sp := good
		change(&sp)
		fs := sp.Check()
		if want == "" && len(fs) != 0 || want != "" && (len(fs) != 1 || fs[0].Field != want) {
			t.Errorf("%q: %v", want, fs)
		}
	}
}
