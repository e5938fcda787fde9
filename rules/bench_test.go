package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bytedance/sonic"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// typed is what the fastest decoder is given in the comparison: the fields
// that detections read, the open parts raw.
type typed struct {
	EventID            string `json:"eventId"`
	EventName          string `json:"eventName"`
	EventType          string `json:"eventType"`
	EventTime          string `json:"eventTime"`
	EventSource        string `json:"eventSource"`
	EventRW            string `json:"eventRW"`
	ServiceName        string `json:"serviceName"`
	AcsRegion          string `json:"acsRegion"`
	ErrorCode          string `json:"errorCode"`
	SourceIPAddress    string `json:"sourceIpAddress"`
	UserAgent          string `json:"userAgent"`
	RecipientAccountID string `json:"recipientAccountId"`
	UserIdentity       struct {
		Type        string `json:"type"`
		UserName    string `json:"userName"`
		PrincipalID string `json:"principalId"`
		AccountID   string `json:"accountId"`
		AccessKeyID string `json:"accessKeyId"`
	} `json:"userIdentity"`
	AdditionalEventData struct {
		IsMFAChecked string `json:"isMFAChecked"`
		LoginAccount string `json:"loginAccount"`
	} `json:"additionalEventData"`
	RequestParameters   json.RawMessage `json:"requestParameters"`
	ResponseElements    json.RawMessage `json:"responseElements"`
	ReferencedResources json.RawMessage `json:"referencedResources"`
}

// corpus is records of a realistic mix: nine reads in ten, parameters twice,
// about 1.7 kB each. TRAILWARDEN_BENCH_EVENTS names a file of JSON lines to
// use instead.
func corpus(b testing.TB, n int) [][]byte {
	if path := os.Getenv("TRAILWARDEN_BENCH_EVENTS"); path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
		return lines[:min(n, len(lines))]
	}
	r := rand.New(rand.NewPCG(1, 2))
	calls := []string{"Ecs:DescribeInstances", "Vpc:DescribeVpcs", "Rds:DescribeDBInstances", "Ecs:DescribeDisks", "Oss:ListBuckets", "Kms:ListKeys", "Slb:DescribeLoadBalancers",
		"Ecs:DescribeSecurityGroups", "Ram:ListUsers", "Sts:GetCallerIdentity"}
	writes := []string{"Ecs:RunInstances", "Ecs:StopInstance", "Ecs:CreateDisk", "Rds:ModifySecurityIps", "Vpc:CreateVSwitch", "Sts:AssumeRole", "Ram:CreateAccessKey", "AasSub:ConsoleSignin", "Ram:AttachPolicyToUser"}
	filler := strings.Repeat("parameter value ", 24)
	var out [][]byte
	for i := range n {
		call := calls[r.IntN(len(calls))]
		if r.IntN(10) == 0 {
			call = writes[r.IntN(len(writes))]
		}
		service, name, _ := strings.Cut(call, ":")
		params := map[string]any{"RegionId": "cn-hangzhou", "InstanceIds": filler, "AcsProduct": service, "PageSize": 50}
		text, err := json.Marshal(params)
		if err != nil {
			b.Fatal(err)
		}
		over := map[string]any{
			"serviceName": service, "eventName": name, "eventId": fmt.Sprintf("%08d-0000-4000-8000-000000000001", i), "apiVersion": "2014-05-26",
			"requestParameters": params, "requestParameterJson": string(text), "responseElements": map[string]any{"RequestId": "x", "Body": filler},
			"referencedResources": map[string]any{"ACS::ECS::Instance": []string{"i-example"}}, "userAgent": "AlibabaCloud (Linux; amd64) Java/1.8 Core/4.5.18 HTTPClient/ApacheHttpClient",
			"eventTime": baseTime.Add(time.Duration(i) * time.Second).Format("2006-01-02T15:04:05Z"),
		}
		if r.IntN(3) > 0 {
			role := fmt.Sprintf("role%d", r.IntN(100))
			over["userIdentity"] = map[string]any{"type": "assumed-role", "accountId": baseAccount, "principalId": "3000:s", "userName": role + ":s", "accessKeyId": "STS.EXAMPLE" + role,
				"sessionContext": map[string]any{"attributes": map[string]any{"mfaAuthenticated": "false", "creationDate": "2026-01-05T09:00:00Z"}}}
		}
		if r.IntN(50) == 0 {
			over["errorCode"] = "NoPermission"
		}
		out = append(out, record(over))
	}
	return out
}

// ruleTable makes n rules like a pack's: nine in ten name their event, the
// rest demand other things. The first thirty are the usual ones.
func ruleTable(n int) map[string][]byte {
	out := make(map[string][]byte, n)
	known := event.KnownEvents()
	r := rand.New(rand.NewPCG(3, 4))
	for i := range n {
		id := fmt.Sprintf("bench.r%04d", i)
		name := known[r.IntN(len(known))]
		var match string
		switch {
		case i%10 == 9:
			match = fmt.Sprintf([]string{
				`actor.type == "root-account" && event.rw == "Write" && event.region == "region-%d"`,
				`outcome == "attempt" && event.error_code == "Code%d"`,
				`event.service == "Kms" && event.rw == "Write" && event.vpc == "vpc-%d"`,
				`mfa == "no" && actor.type == "root-account" && source.text == "host%d"`,
				`actor.type == "saml-user" && source.kind == "public" && actor.name == "user%d"`,
			}[i/10%5], i)
		case i < 30 && i%3 == 0:
			match = []string{
				`action == "iam.accesskey.create" && actor.kind != "service" && !target.self`,
				`action == "signin.console" && outcome == "success" && mfa == "no"`,
				`action == "iam.policy.attach" && param("PolicyName") == "AdministratorAccess"`,
				`action in ["trail.stop", "trail.delete"]`,
				`event.name == "ModifySecurityIps" && params_contain("0.0.0.0/0")`,
			}[i/3%5]
		default:
			match = fmt.Sprintf(`event.name == %q && outcome == "success" && event.user_agent == "tool-%d"`, name, i)
		}
		out["bench/"+id+".yaml"] = makeRule(id, match, "")
	}
	return out
}

func benchSet(b testing.TB, n int) *Set {
	b.Helper()
	set, err := Load(LoadOptions{Files: ruleTable(n), AllowFewTests: true})
	if err != nil {
		b.Fatal(err)
	}
	return set
}

// permissive takes any detector with any settings.
type permissive struct{}

func (permissive) Observe(_ detectors.Observation, out []detectors.Verdict) []detectors.Verdict {
	return out
}
func (permissive) Advance(_ time.Time, out []detectors.Verdict) []detectors.Verdict { return out }
func (permissive) Snapshot() []byte                                                 { return nil }
func (permissive) Restore([]byte) error                                             { return nil }
func (permissive) Stats() detectors.Stats                                           { return detectors.Stats{} }

// anyFactory stands for every detector type that the pack names.
func anyFactory(t testing.TB) map[string]detectors.Factory {
	out := map[string]detectors.Factory{}
	files, err := os.ReadDir("pack")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile("pack/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		pf := newFile(f.Name(), data)
		if typ := child(child(pf.parse(data), "detector"), "type"); typ != nil {
			out[typ.Value] = func(detectors.Settings) (func() detectors.Detector, error) {
				return func() detectors.Detector { return permissive{} }, nil
			}
		}
	}
	return out
}

// BenchmarkPack is parsing plus the shipped rules.
func BenchmarkPack(b *testing.B) {
	set, err := Load(LoadOptions{Pack: true, Factories: anyFactory(b)})
	if err != nil {
		b.Fatal(err)
	}
	eval := set.NewEvaluator()
	var p event.Parser
	var ev event.Event
	matches := 0
	perEvent(b, corpus(b, 2000), func(rec []byte) {
		if err := p.Parse(rec, &ev); err != nil {
			b.Fatal(err)
		}
		v := eval.Evaluate(&ev)
		matches += v.Matches()
	})
	b.ReportMetric(float64(set.Len()), "rules")
	b.ReportMetric(float64(matches)/float64(b.N), "matches/op")
}

func perEvent(b *testing.B, records [][]byte, fn func(rec []byte)) {
	b.ReportAllocs()
	size := 0
	for _, r := range records {
		size += len(r)
	}
	b.SetBytes(int64(size / len(records)))
	i := 0
	for b.Loop() {
		fn(records[i])
		if i++; i == len(records) {
			i = 0
		}
	}
}

// BenchmarkDecode is the yardstick: decoding the same bytes into a typed
// struct with the fastest decoder.
func BenchmarkDecode(b *testing.B) {
	var t typed
	perEvent(b, corpus(b, 2000), func(rec []byte) {
		t = typed{}
		if err := sonic.ConfigDefault.Unmarshal(rec, &t); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkRules is parsing plus n rules.
func BenchmarkRules(b *testing.B) {
	records := corpus(b, 2000)
	for _, n := range []int{0, 30, 118, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			eval := benchSet(b, n).NewEvaluator()
			var p event.Parser
			var ev event.Event
			matches := 0
			perEvent(b, records, func(rec []byte) {
				if err := p.Parse(rec, &ev); err != nil {
					b.Fatal(err)
				}
				v := eval.Evaluate(&ev)
				matches += v.Matches()
			})
			b.ReportMetric(float64(matches)/float64(b.N), "matches/op")
		})
	}
}

// BenchmarkEvaluate is the rules alone.
func BenchmarkEvaluate(b *testing.B) {
	records := corpus(b, 2000)
	for _, n := range []int{30, 118, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			eval := benchSet(b, n).NewEvaluator()
			var events []*event.Event
			for _, rec := range records {
				ev, err := event.Parse(rec)
				if err != nil {
					b.Fatal(err)
				}
				events = append(events, ev)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				eval.Evaluate(events[i])
				if i++; i == len(events) {
					i = 0
				}
			}
		})
	}
}

// BenchmarkEngine is duplicates, watermark and one detector for each event.
func BenchmarkEngine(b *testing.B) {
	nothing := func(detectors.Settings) (func() detectors.Detector, error) {
		return func() detectors.Detector { return permissive{} }, nil
	}
	set := load(b, LoadOptions{Factories: map[string]detectors.Factory{"nothing": nothing}}, makeRule("bench.each", `actor.kind != "service"`, "detector: {type: nothing, by: actor.id}\n"))
	eval := set.NewEvaluator()
	var values []detectors.Evaluated
	for _, rec := range corpus(b, 2000) {
		ev, err := event.Parse(rec)
		if err != nil {
			b.Fatal(err)
		}
		values = append(values, eval.Evaluate(ev))
	}
	b.ReportAllocs()
	e, i := detectors.NewEngine(set, detectors.EngineConfig{}), 0
	for b.Loop() {
		e.Apply(values[i], "s")
		if i++; i == len(values) {
			b.StopTimer()
			e, i = detectors.NewEngine(set, detectors.EngineConfig{}), 0
			b.StartTimer()
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{118, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			files := ruleTable(n)
			for b.Loop() {
				if _, err := Load(LoadOptions{Files: files, AllowFewTests: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
