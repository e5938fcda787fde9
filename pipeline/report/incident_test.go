package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/replay"
)

func hour(h int) time.Time {
	return time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).Add(time.Duration(h) * time.Hour)
}

func by(h int, sev alert.Severity, actor, key, addr, target string) alert.Alert {
	a := alert.Alert{ID: fmt.Sprint(h, actor, addr), Rule: "r", Title: "t " + actor, Severity: sev, Time: hour(h), FirstAt: hour(h), LastAt: hour(h), Count: 1, SourceIP: addr,
		Actor: alert.Actor{ID: actor, Name: actor, AccessKeyID: key}}
	if target != "" {
		a.Target = &alert.Target{Type: "user", ID: target}
	}
	return a
}

// TestIncidents: what hangs together by one thread after another is one
// incident; what a crowd shares, or a day parts, is not.
func TestIncidents(t *testing.T) {
	as := []alert.Alert{
		by(0, alert.Low, "mallory", "", "203.0.113.7", "bob"),     // 1
		by(1, alert.High, "bob", "K1", "198.51.100.1", ""),        // 1: mallory's target acts
		by(2, alert.Medium, "carol", "", "192.0.2.1", ""),         // 2
		by(3, alert.Critical, "dave", "K1", "198.51.100.9", ""),   // 1: by the key
		by(30, alert.Medium, "carol", "", "192.0.2.1", ""),        // 3: a day later
		by(31, alert.Info, "nobody", "", "2001:db8::1", "nobody"), // 4
	}
	for i := range 12 { // an office's way out ties nobody
		as = append(as, by(32, alert.Low, fmt.Sprintf("user%d", i), "", "192.0.2.200", ""))
	}
	got, of := incidentsOf(english, as)
	if len(got) != 4+12 || got[0].Alerts != 3 || got[0].Level != int(alert.Critical) || got[0].Title != "t dave" || got[0].Who != "mallory, bob, dave" || !got[0].First.Equal(hour(0)) || !got[0].Last.Equal(hour(3)) {
		t.Errorf("%+v", got)
	}
	if of[0] != 1 || of[1] != 1 || of[3] != 1 || of[2] == of[4] || of[2] != 2 {
		t.Errorf("%v", of)
	}
	es := entitiesOf(as)
	if e := es[0]; e.Kind != "Key" || e.Name != "K1" || e.Alerts != 2 || e.Level != int(alert.Critical) {
		t.Errorf("%+v", es[:4])
	}
	if got, of := incidentsOf(english, nil); len(got) != 0 || len(of) != 0 || len(entitiesOf(nil)) != 0 {
		t.Error("incidents of nothing")
	}
}

// TestManyInIncident: of more actors than there is room for, it is said how many.
func TestManyInIncident(t *testing.T) {
	var as []alert.Alert
	for i := range 40 {
		as = append(as, by(i, alert.Low, fmt.Sprintf("user%d", i), "K", fmt.Sprintf("192.0.2.%d", i/2), fmt.Sprintf("user%d", i+1)))
	}
	got, _ := incidentsOf(english, as)
	if len(got) != 1 || !strings.HasSuffix(got[0].Who, "user11, … +28") || !strings.HasSuffix(got[0].From, "192.0.2.11, … +8") {
		t.Errorf("%+v", got)
	}
}

// TestSameNames: actors of several accounts that have one name are not one.
func TestSameNames(t *testing.T) {
	var as []alert.Alert
	for i, id := range []string{"root/1000000000000001", "root/1000000000000002", "", "user/1000000000000001/dave"} {
		a := by(0, alert.High, id, "", fmt.Sprintf("192.0.2.%d", i), "")
		a.AccountID, a.Actor.Name = "1000000000000003", "root"
		if i == 3 {
			a.Actor.Name = "dave"
		}
		as = append(as, a)
	}
	want := []string{"root (1000000000000001)", "root (1000000000000002)", "root (1000000000000003)", "dave"}
	name := whoIn(as)
	for i := range as {
		if got := name(&as[i]); got != want[i] {
			t.Errorf("%q, want %q", got, want[i])
		}
	}
	if got := whoIn(as[1:])(&as[3]); got != "dave" {
		t.Errorf("%q", got)
	}
	for _, format := range []string{"html", "markdown"} {
		many := as
		for range maxFull + 5 {
			many = append(many, as[:2]...)
		}
		out := write(t, format, In{Alerts: many})
		for _, w := range want[:2] {
			if !strings.Contains(out, w) {
				t.Errorf("%s does not say %q", format, w)
			}
		}
	}
}

// TestPatientIncidents: who comes back a week later by what was made, or goes on with
// the same target, is the same incident; who was only met, and what a low alert tells
// the making of, is not.
func TestPatientIncidents(t *testing.T) {
	made := func(a alert.Alert, child string) alert.Alert {
		a.Details = map[string]any{"lineage": map[string]any{"made": []any{map[string]any{"child": child}}}}
		return a
	}
	const day = 24
	as := []alert.Alert{
		made(by(0, alert.High, "mallory", "K1", "203.0.113.7", "r1"), "role/1/helper"), // 0
		made(by(1, alert.Low, "platform", "", "192.0.2.1", "r2"), "role/1/app"),        // 1
		by(2, alert.Medium, "wang", "", "192.0.2.2", "policy/1/dash"),                  // 2
		made(by(3, alert.Critical, "eve", "", "203.0.113.9", "bob"), "key/K2"),         // 3
		by(6*day, alert.Medium, "role/1/helper", "STS.1", "198.51.100.1", "r3"),        // 4: of 0
		by(6*day+1, alert.Medium, "role/1/app", "STS.2", "198.51.100.2", "r4"),         // 5: not of 1
		by(9*day, alert.High, "wang", "", "192.0.2.3", "policy/1/dash"),                // 6: of 2
		by(9*day+1, alert.High, "carl", "K2", "198.51.100.7", "r5"),                    // 7: of 3
		by(12*day, alert.Medium, "bob", "", "192.0.2.5", "r6"),                         // 8: not of 3
		by(12*day+1, alert.Medium, "wang", "", "192.0.2.4", "policy/1/other"),          // 9: not of 2
		by(40*day, alert.Medium, "role/1/helper", "STS.3", "198.51.100.8", "r7"),       // 10: too late
	}
	_, of := incidentsOf(english, as)
	if of[0] != of[4] || of[2] != of[6] || of[3] != of[7] {
		t.Errorf("parted: %v", of)
	}
	if of[1] == of[5] || of[3] == of[8] || of[2] == of[9] || of[0] == of[10] {
		t.Errorf("mixed: %v", of)
	}
}

// TestTrailTold: a report about an entity tells its steps and its kin, whatever
// they are called.
func TestTrailTold(t *testing.T) {
	evil := `<img src=x onerror=alert(1)>|` + "\x1b[31m‮"
	in := sample()
	in.Scope.Entity = evil
	in.Trail = &replay.Trail{Entity: evil, Events: 3, By: 2, Attempts: 1, First: hour(0), Last: hour(3), Keys: []replay.Tally{{Word: evil, Count: 2}}, Identities: []replay.Tally{{Word: evil, Count: 2}},
		Steps:  []replay.Step{{First: hour(0), Last: hour(3), Count: 2, Actor: evil, Key: evil, Action: evil, Given: evil, Target: evil, Address: evil, Write: true, Attempt: true}},
		Origin: []replay.Kinship{{Depth: 1, Child: "key/" + evil, Of: evil, Maker: evil, WithKey: evil, Time: hour(0), Ended: &replay.End{Time: hour(2), Actor: evil}}}, Open: []string{evil, "key/STILL1 of user/eve", "Admin on user/eve"}}
	for i := range 400 {
		in.Trail.Steps = append(in.Trail.Steps, replay.Step{First: hour(i), Last: hour(i), Count: 1, Actor: "a", Action: fmt.Sprintf("Ecs:Describe%d", i)})
	}
	for lang, given := range map[string]string{"en": "Admin on user/eve", "zh": "Admin，授予 user/eve"} {
		in.Lang = lang
		for _, format := range []string{"html", "markdown"} {
			out := write(t, format, in)
			if format == "html" && strings.Contains(out, "<img") || // in Markdown it stands in a code span
				strings.ContainsAny(out, "\x1b\u202e") {
				t.Errorf("%s %s: the name is not inert", format, lang)
			}
			for _, want := range []string{langOf(lang).t("What was done, in order"), langOf(lang).t("Who made whom"), langOf(lang).t("Still open at the end of what was read"), "key/STILL1", given, langOf(lang).t("%s, %s by it, %s refused or failed", "3", "2", "1"), "Ecs:Describe7"} {
				if !strings.Contains(out, want) {
					t.Errorf("%s %s: no %q", format, lang, want)
				}
			}
		}
	}
}
