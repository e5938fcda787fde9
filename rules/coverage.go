package rules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Technique is what the rules cover of one ATT&CK technique or tactic.
type Technique struct {
	ID    string   `json:"id"`
	Rules []string `json:"rules"` // ids of the rules that are on or in shadow, sorted
	Quiet []string `json:"quiet"` // of these, the ones that page nobody alone: signals and shadow rules
}

// Techniques lists what the rules of a set that are not off cover, by id.
func Techniques(set *Set) []Technique {
	by := map[string]*Technique{}
	for _, r := range set.rules {
		for _, id := range r.attack {
			t := by[id]
			if t == nil {
				t = &Technique{ID: id, Quiet: []string{}}
				by[id] = t
			}
			t.Rules = append(t.Rules, r.id())
			if r.signal || r.shadow {
				t.Quiet = append(t.Quiet, r.id())
			}
		}
	}
	out := make([]Technique, 0, len(by))
	for _, id := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[id])
	}
	return out
}

// attackTwins maps the classic ids that ATT&CK 19 gave other numbers to the
// new ones; rules carry both.
var attackTwins = map[string]string{"T1562.001": "T1685", "T1562.007": "T1686.001", "T1562.008": "T1685.002"}

// NavigatorLayer is the coverage as a layer of the ATT&CK Navigator: the score
// of a technique is the number of its rules. Tactics have no place in a layer
// and are left out.
func NavigatorLayer(set *Set) map[string]any {
	techniques := []map[string]any{}
	top := 1
	for _, t := range Techniques(set) {
		if !strings.HasPrefix(t.ID, "TA") {
			top = max(top, len(t.Rules))
			techniques = append(techniques, map[string]any{
				"techniqueID": t.ID, "score": len(t.Rules), "enabled": true, "comment": strings.Join(t.Rules, ", "),
			})
		}
	}
	return map[string]any{
		"name":        "trailwarden",
		"description": fmt.Sprintf("Rules in force for Alibaba Cloud ActionTrail, rule set %s", set.Hash()),
		"domain":      "enterprise-attack",
		"versions":    map[string]any{"layer": "4.5", "navigator": "5.1.0"},
		"techniques":  techniques,
		"gradient":    map[string]any{"colors": []string{"#ffe8cc", "#d9480f"}, "minValue": 0, "maxValue": top},
		"sorting":     3,
	}
}

// Control is the evidence for one recommendation of the CIS Alibaba Cloud
// Foundation Benchmark, section 2: the changes and events that must be
// alerted on.
type Control struct {
	ID    string `json:"id"`
	About string `json:"about"`
	Met   bool   `json:"met"` // every rule is on and passes its tests
	// Part says that the recommendation wants an alert on every change, and
	// that the rules tell only of what About says.
	Part   bool       `json:"part,omitempty"`
	Rules  []Evidence `json:"rules"`
	Reason string     `json:"reason,omitempty"` // why it is not met
}

// Evidence is one rule behind a control.
type Evidence struct {
	Rule    string `json:"rule"`
	Version int    `json:"version"`
	Status  string `json:"status"` // on, shadow, off or missing
	Signal  bool   `json:"signal"`
	Passed  int    `json:"tests_passed"`
	Failed  int    `json:"tests_failed"`
	File    string `json:"file,omitempty"`
}

// cisControls says which rules answer which recommendation, and in our own words
// what they tell: where a recommendation wants an alert on every change, they tell
// of the dangerous ones, and dangerous says which.
var cisControls = []struct {
	id, about string
	rules     []string
	dangerous bool
}{
	{"2.10", "RAM policies that allow more than before, or administration", []string{"policy.expanded", "policy.admin_attached"}, true},
	{"2.11", "changes of the cloud firewall's control policies", []string{"cfw.policy_changed", "cfw.off"}, false},
	{"2.12", "VPC routes of all traffic through an instance", []string{"net.tap_or_peer"}, true},
	{"2.13", "VPC traffic mirrored, or peered with strangers", []string{"net.tap_or_peer"}, true},
	{"2.14", "OSS buckets opened to everybody or to others", []string{"oss.public", "oss.policy_external"}, true},
	{"2.15", "databases opened to the internet", []string{"db.opened"}, true},
	{"2.16", "calls that are refused for lack of permission", []string{"api.denied_burst"}, false},
	{"2.17", "console sign-in without a second factor", []string{"signin.no_mfa", "root.login_no_mfa"}, false},
	{"2.18", "use of the root account", []string{"root.console_login", "root.write_call", "root.ak_used"}, false},
	{"2.19", "failed console sign-in", []string{"signin.failed_burst", "signin.spray"}, false},
	{"2.20", "customer keys disabled or scheduled for deletion", []string{"impact.kms_destroy"}, false},
	{"2.21", "bucket policies that let others in", []string{"oss.policy_external"}, true},
	{"2.22", "security groups opened to the internet", []string{"net.sg_world"}, true},
}

// Controls gathers the evidence for CIS 2.10 to 2.22, running the tests of
// the rules behind it.
func Controls(set *Set) []Control {
	byID := map[string]Info{}
	for _, r := range set.List() {
		byID[r.ID] = r
	}
	tested := map[string][2]int{}
	count := func(id string) (passed, failed int) {
		if n, ok := tested[id]; ok {
			return n[0], n[1]
		}
		for _, t := range Test(set, id) {
			if t.Pass {
				passed++
			} else {
				failed++
			}
		}
		tested[id] = [2]int{passed, failed}
		return passed, failed
	}
	var out []Control
	for _, c := range cisControls {
		control := Control{ID: c.id, About: c.about, Met: true, Part: c.dangerous}
		for _, id := range c.rules {
			e := Evidence{Rule: id, Status: "missing"}
			if r, ok := byID[id]; ok {
				e.Version, e.Status, e.Signal, e.File = r.Version, r.Status, r.Signal, r.File
				e.Passed, e.Failed = count(id)
			}
			why := ""
			switch {
			case e.Status != "on":
				why = fmt.Sprintf("rule %s is %s", id, e.Status)
			case e.Failed > 0:
				why = fmt.Sprintf("rule %s fails %d of its tests", id, e.Failed)
			case e.Passed == 0:
				why = fmt.Sprintf("rule %s has no tests", id)
			}
			if why != "" {
				control.Met = false
				control.Reason = cmp.Or(control.Reason, why)
			}
			control.Rules = append(control.Rules, e)
		}
		out = append(out, control)
	}
	return out
}
