package demo

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"time"
)

// The cast. Account ids, addresses (documentation ranges) and key ids are
// invented; every key id says EXAMPLE.
const (
	Account     = "1000000000000001"
	AccountName = "prod"

	officeNet   = "198.51.100."
	vpnNet      = "192.0.2."
	attackerIP  = "203.0.113.77"
	attackerVPS = "203.0.113.140"

	// BackdoorKey is the second key the intruder mints for Victim.
	BackdoorKey = "LTAI5tEXAMPLEbackdoor01"
	// Victim is the CI user whose identity the intruder settles in.
	Victim = "ci-deployer"
	// VictimKey is the key the pipeline has used all along.
	VictimKey = "LTAI5tEXAMPLEdeployer01"

	adminUser = "olivia.ops"
	trailName = "prod-audit"
)

// Story is the whole trail in time order.
type Story struct {
	// Days is ordinary life up to the intrusion.
	Days []Record
	// Acts is the intrusion, step by step; each act is one beat of the show.
	Acts []Act
}

// Record is one audit record as ActionTrail delivers it.
type Record struct {
	Time time.Time
	JSON []byte
}

// Act is one step of the intrusion.
type Act struct {
	// Caption is what happens, for the narrator. Empty for a step that the
	// audience should learn from the alert alone.
	Caption string
	// Rule is the one that must tell it before the story goes on.
	Rule    string
	Records []Record
}

// Events counts the records of the story.
func (s Story) Events() int {
	n := len(s.Days)
	for _, a := range s.Acts {
		n += len(a.Records)
	}
	return n
}

// All returns every record in time order.
func (s Story) All() []Record {
	out := append([]Record(nil), s.Days...)
	for _, a := range s.Acts {
		out = append(out, a.Records...)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Time.Before(out[j].Time) })
	return out
}

// person is one identity at daily work.
type person struct {
	typ, name, principal string
	key                  string // "" for console work
	nets                 []string
	work                 []call
	perDay               int
	night                bool // works around the clock
	agent                string
	role                 string
}

// call is one kind of API call.
type call struct {
	service, name, rw string
	params            map[string]any
}

var (
	reads = []call{
		{"Ecs", "DescribeInstances", "Read", map[string]any{"PageSize": "50"}},
		{"Ecs", "DescribeDisks", "Read", nil},
		{"Ecs", "DescribeSecurityGroups", "Read", nil},
		{"Slb", "DescribeLoadBalancers", "Read", nil},
		{"Rds", "DescribeDBInstances", "Read", nil},
		{"Vpc", "DescribeVpcs", "Read", nil},
		{"Cms", "DescribeMetricList", "Read", map[string]any{"Namespace": "acs_ecs_dashboard"}},
		{"Ram", "ListUsers", "Read", nil},
		{"Kms", "ListKeys", "Read", nil},
	}
	writes = []call{
		{"Ecs", "StartInstance", "Write", map[string]any{"InstanceId": "i-example0001"}},
		{"Ecs", "StopInstance", "Write", map[string]any{"InstanceId": "i-example0001", "ForceStop": "false"}},
		{"Ecs", "AddTags", "Write", map[string]any{"ResourceId": "i-example0002", "Tag.1.Key": "team", "Tag.1.Value": "web"}},
		{"Slb", "SetBackendServers", "Write", map[string]any{"LoadBalancerId": "lb-example01"}},
	}
	deploys = []call{
		{"Cr", "GetAuthorizationToken", "Read", nil},
		{"Cs", "DescribeClusterDetail", "Read", map[string]any{"ClusterId": "c-example01"}},
		{"Cs", "DescribeClusterUserKubeconfig", "Read", map[string]any{"ClusterId": "c-example01"}},
		{"Slb", "SetBackendServers", "Write", map[string]any{"LoadBalancerId": "lb-example01"}},
		{"Fc", "GetFunction", "Read", map[string]any{"functionName": "thumbnails"}},
	}
	dataWork = []call{
		{"Oss", "ListObjects", "Read", map[string]any{"bucketName": "example-reports"}},
		{"Oss", "GetBucketInfo", "Read", map[string]any{"bucketName": "example-reports"}},
		{"Dms", "ListInstances", "Read", nil},
		{"Rds", "DescribeDBInstanceAttribute", "Read", map[string]any{"DBInstanceId": "rm-example01"}},
	}
	nodes = []call{
		{"Ecs", "DescribeInstances", "Read", nil},
		{"Ecs", "DescribeNetworkInterfaces", "Read", nil},
		{"Slb", "DescribeHealthStatus", "Read", map[string]any{"LoadBalancerId": "lb-example01"}},
		{"Log", "GetMachineGroup", "Read", nil},
	}
)

func cast() []person {
	var out []person
	humans := []string{"alice", "bob", "chen.wei", "dana", "emre", "fatima", "guo.min", "hana", "ivan", "jia.li", "kofi", "li.na", "marta", adminUser}
	for i, n := range humans {
		p := person{typ: "ram-user", name: n, principal: fmt.Sprintf("2000000000000000%02d", i+1),
			nets: []string{fmt.Sprintf("%s%d", officeNet, 10+i%5), fmt.Sprintf("%s%d", vpnNet, 20+i)},
			work: append(append([]call{}, reads...), writes...), perDay: 190, agent: "AliyunConsole"}
		if i%3 == 1 {
			p.key, p.agent = fmt.Sprintf("LTAI5tEXAMPLE%s01", strings.ReplaceAll(n, ".", "")), "AlibabaCloud (linux; amd64) Golang/1.26 Core/0.01 aliyun-cli/3.0"
		}
		if i%5 == 2 {
			p.work = append(p.work, dataWork...)
		}
		out = append(out, p)
	}
	bots := []struct{ name, key, net string }{
		{Victim, VictimKey, vpnNet + "200"},
		{"ci-build", "LTAI5tEXAMPLEcibuild001", vpnNet + "201"},
		{"ci-terraform", "LTAI5tEXAMPLEterraform1", vpnNet + "202"},
		{"backup-agent", "LTAI5tEXAMPLEbackup0001", officeNet + "90"},
		{"metrics-reader", "LTAI5tEXAMPLEmetrics001", officeNet + "91"},
		{"invoice-export", "LTAI5tEXAMPLEinvoice001", officeNet + "92"},
	}
	for i, b := range bots {
		w := deploys
		if i >= 3 {
			w = append(append([]call{}, reads...), dataWork...)
		}
		out = append(out, person{typ: "ram-user", name: b.name, principal: fmt.Sprintf("2100000000000000%02d", i+1), key: b.key,
			nets: []string{b.net}, work: w, perDay: 330, night: true, agent: "AlibabaCloud (linux; amd64) Golang/1.26 Core/0.01"})
	}
	roles := []string{"ack-node", "web-frontend", "image-resizer", "order-service", "log-shipper", "nightly-report", "session-cache", "search-indexer"}
	for i, r := range roles {
		out = append(out, person{typ: "assumed-role", role: r, name: r + ":i-example" + fmt.Sprintf("%04d", i), principal: fmt.Sprintf("3000000000000000%02d:i-example%04d", i+1, i),
			nets: []string{fmt.Sprintf("10.0.%d.%d", i, 10+i)}, work: nodes, perDay: 260, night: true, agent: "AlibabaCloud (linux; amd64) Java/17 Core/4.6"})
	}
	out = append(out, person{typ: "assumed-role", role: "aliyunserviceroleforautoscaling", name: "aliyunserviceroleforautoscaling:ess", principal: "300000000000000099:ess",
		nets: []string{"ess.aliyuncs.com"}, work: nodes, perDay: 120, night: true, agent: "ess.aliyuncs.com"})
	return out
}

// Write tells the story so that the intrusion ends at end. The same end gives
// the same bytes. About 20,000 records over three days.
func Write(end time.Time) Story {
	end = end.UTC().Truncate(time.Second)
	w := &writer{rnd: rand.New(rand.NewPCG(20261125, 3))}
	intrusion := end.Add(-52 * time.Minute)
	start := end.Add(-72 * time.Hour)

	var s Story
	for _, p := range cast() {
		s.Days = append(s.Days, w.life(p, start, intrusion)...)
	}
	sort.SliceStable(s.Days, func(i, j int) bool { return s.Days[i].Time.Before(s.Days[j].Time) })
	s.Acts = w.intrusion(intrusion)
	return s
}

// life is what one identity does between from and to.
func (w *writer) life(p person, from, to time.Time) []Record {
	var out []Record
	for day := from; day.Before(to); day = day.Add(24 * time.Hour) {
		n := p.perDay*9/10 + w.rnd.IntN(p.perDay/5+1)
		signedIn := false
		at := make([]time.Time, 0, n)
		for range n {
			sec := w.rnd.IntN(86400)
			if !p.night {
				// Office hours, 9 to 19 in Shanghai (UTC+8), bent towards the middle.
				local := 9*3600 + (w.rnd.IntN(36000)+w.rnd.IntN(36000))/2
				dayStart := day.Truncate(24 * time.Hour)
				sec = int(dayStart.Add(time.Duration(local-8*3600)*time.Second).Sub(day) / time.Second)
				sec = ((sec % 86400) + 86400) % 86400
			}
			at = append(at, day.Add(time.Duration(sec)*time.Second))
		}
		sort.Slice(at, func(i, j int) bool { return at[i].Before(at[j]) })
		for _, t := range at {
			if !t.Before(to) || t.Before(from) {
				continue
			}
			net := p.nets[0]
			if len(p.nets) > 1 && w.rnd.IntN(6) == 0 {
				net = p.nets[1]
			}
			if p.key == "" && p.typ == "ram-user" && !signedIn {
				signedIn = true
				out = append(out, w.signIn(t.Add(-20*time.Second), p, net, true, ""))
				if w.rnd.IntN(9) == 0 { // a mistyped password, then the right one
					out = append(out, w.signIn(t.Add(-55*time.Second), p, net, false, "Authentication.Failed"))
				}
			}
			c := p.work[w.rnd.IntN(len(p.work))]
			if c.rw == "Write" && w.rnd.IntN(4) != 0 {
				c = p.work[0]
			}
			e := w.base(t, p, net)
			e.set(c.service, c.name, c.rw, c.params)
			if w.rnd.IntN(400) == 0 {
				e.ErrorCode, e.ErrorMessage = "InvalidInstanceId.NotFound", "The specified InstanceId does not exist."
			}
			out = append(out, e.record(t))
		}
	}
	return out
}

// intrusion is the attack, from start over about fifty minutes.
func (w *writer) intrusion(start time.Time) []Act {
	at := func(min, sec int) time.Time {
		return start.Add(time.Duration(min)*time.Minute + time.Duration(sec)*time.Second)
	}
	all := cast()
	byName := map[string]person{}
	for _, p := range all {
		byName[p.name] = p
	}
	root := person{typ: "root-account", name: "root", principal: Account, agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}
	victim := byName[Victim]
	thief := victim
	thief.key, thief.agent = BackdoorKey, "aliyun-cli/3.0.210"

	var acts []Act
	add := func(caption, rule string, rs ...Record) { acts = append(acts, Act{caption, rule, rs}) }

	var spray []Record
	for i, n := range []string{"alice", "bob", "chen.wei", "dana", "emre", "fatima", "guo.min", "hana"} {
		spray = append(spray, w.signIn(at(0, 7*i), byName[n], attackerIP, false, "Authentication.Failed"))
	}
	add("Someone tries one password on one account after another", "signin.spray", spray...)

	e := w.base(at(9, 12), root, attackerIP)
	e.set("AasCustomer", "ConsoleSignin", "Write", nil)
	e.EventType, e.Global = "ConsoleSignin", true
	e.Extra = map[string]any{"isMFAChecked": "false", "loginAccount": "owner@example.com", "callbackUrl": "https://homenew.console.aliyun.com/"}
	add("The root account signs in", "root.login_no_mfa", e.record(at(9, 12)))

	e = w.base(at(13, 40), root, attackerIP)
	e.set("Ims", "UnbindMFADevice", "Write", map[string]any{"UserPrincipalName": adminUser + "@" + Account + ".onaliyun.com", "AkProxySuffix": "ram"})
	add("", "mfa.removed", e.record(at(13, 40)))

	e = w.base(at(17, 5), root, attackerIP)
	e.set("Ims", "CreateAccessKey", "Write", map[string]any{"UserPrincipalName": Victim + "@" + Account + ".onaliyun.com", "AkProxySuffix": "ram"})
	e.Response = map[string]any{"AccessKey": map[string]any{"AccessKeyId": BackdoorKey, "Status": "Active", "AccessKeySecret": "****"}}
	add("", "ak.created_for_other", e.record(at(17, 5)))

	e = w.base(at(19, 31), root, attackerIP)
	e.set("Ram", "AttachPolicyToUser", "Write", map[string]any{"PolicyType": "System", "PolicyName": "AdministratorAccess", "UserName": Victim})
	add("", "policy.admin_attached", e.record(at(19, 31)))

	e = w.base(at(24, 2), root, attackerIP)
	e.set("Actiontrail", "StopLogging", "Write", map[string]any{"Name": trailName})
	add("The audit trail is switched off (the organisation's own trail still records)", "trail.stopped", e.record(at(24, 2)))

	var use []Record
	for i, c := range []call{
		{"Sts", "GetCallerIdentity", "Read", nil},
		{"Ram", "ListUsers", "Read", nil},
		{"Ram", "ListPoliciesForUser", "Read", map[string]any{"UserName": Victim}},
		{"Oss", "ListBuckets", "Read", nil},
		{"Ecs", "DescribeInstances", "Read", nil},
	} {
		t := at(46, 10*i)
		e := w.base(t, thief, attackerVPS)
		e.set(c.service, c.name, c.rw, c.params)
		use = append(use, e.record(t))
	}
	add("The new key wakes up on a rented server", "ak.new_source_ip", use...)
	return acts
}

// retry is what the intruder meets after the key was disabled.
func retry(at time.Time) Record {
	w := &writer{rnd: rand.New(rand.NewPCG(11, 11))}
	var thief person
	for _, p := range cast() {
		if p.name == Victim {
			thief = p
		}
	}
	thief.key, thief.agent = BackdoorKey, "aliyun-cli/3.0.210"
	e := w.base(at, thief, attackerVPS)
	e.set("Oss", "GetObject", "Read", map[string]any{"bucketName": "example-reports"})
	e.ErrorCode, e.ErrorMessage = "InvalidAccessKeyId.Inactive", "The specified AccessKey is disabled."
	return e.record(at)
}

type writer struct {
	rnd *rand.Rand
	n   int
}

// raw is the record in the form and key order of a 2026 management event.
type raw struct {
	APIVersion   string         `json:"apiVersion,omitempty"`
	EventID      string         `json:"eventId"`
	EventVersion int            `json:"eventVersion"`
	EventSource  string         `json:"eventSource"`
	ParamJSON    string         `json:"requestParameterJson,omitempty"`
	Source       string         `json:"sourceIpAddress,omitempty"`
	UserAgent    string         `json:"userAgent"`
	EventRW      string         `json:"eventRW"`
	EventType    string         `json:"eventType"`
	Category     string         `json:"eventCategory"`
	Identity     identity       `json:"userIdentity"`
	ServiceName  string         `json:"serviceName"`
	Extra        map[string]any `json:"additionalEventData,omitempty"`
	RequestID    string         `json:"requestId"`
	EventTime    string         `json:"eventTime"`
	Global       bool           `json:"isGlobal"`
	Region       string         `json:"acsRegion"`
	EventName    string         `json:"eventName"`
	Params       map[string]any `json:"requestParameters,omitempty"`
	Response     map[string]any `json:"responseElements,omitempty"`
	Recipient    string         `json:"recipientAccountId"`
	ErrorCode    string         `json:"errorCode,omitempty"`
	ErrorMessage string         `json:"errorMessage,omitempty"`
}

type identity struct {
	Session   *session `json:"sessionContext,omitempty"`
	Account   string   `json:"accountId"`
	Key       string   `json:"accessKeyId,omitempty"`
	Principal string   `json:"principalId"`
	Type      string   `json:"type"`
	Name      string   `json:"userName"`
}

type session struct {
	Attributes map[string]string `json:"attributes"`
}

func (w *writer) id() string {
	w.n++
	return fmt.Sprintf("%08X-%04X-4%03X-A%03X-%012X", w.rnd.Uint32(), w.rnd.Uint32()&0xffff, w.rnd.Uint32()&0xfff, w.rnd.Uint32()&0xfff, w.n)
}

func (w *writer) base(t time.Time, p person, ip string) *raw {
	e := &raw{EventID: w.id(), EventVersion: 1, EventType: "ApiCall", Category: "Management", EventRW: "Read",
		Source: ip, UserAgent: p.agent, Region: "cn-hangzhou", Recipient: Account,
		Identity: identity{Account: Account, Key: p.key, Principal: p.principal, Type: p.typ, Name: p.name}}
	e.RequestID = e.EventID
	if p.typ == "assumed-role" {
		e.Identity.Key = "STS.EXAMPLE" + fmt.Sprintf("%08x", uint32(t.Unix()/3600)) + p.role[:3]
	}
	if p.key == "" {
		e.Identity.Session = &session{map[string]string{"mfaAuthenticated": fmt.Sprint(p.typ == "ram-user"), "creationDate": t.Add(-time.Hour).Format(time.RFC3339)}}
	}
	return e
}

func (e *raw) set(service, name, rw string, params map[string]any) {
	e.ServiceName, e.EventName, e.EventRW, e.Params = service, name, rw, params
	e.EventSource = strings.ToLower(service) + ".cn-hangzhou.aliyuncs.com"
	switch service {
	case "Ram", "Ims", "Sts", "AasCustomer", "AasSub":
		e.Global, e.EventSource = true, strings.ToLower(service)+".aliyuncs.com"
	}
	if params != nil {
		b, _ := json.Marshal(params) // maps of strings cannot fail
		e.ParamJSON = string(b)
	}
}

func (e *raw) record(t time.Time) Record {
	e.EventTime = t.UTC().Format("2006-01-02T15:04:05Z")
	b, _ := json.Marshal(e) // plain strings and maps of them cannot fail
	return Record{t, b}
}

// signIn is a console sign-in of a RAM user.
func (w *writer) signIn(t time.Time, p person, ip string, mfa bool, code string) Record {
	p.key, p.agent = "", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36"
	e := w.base(t, p, ip)
	e.set("AasSub", "ConsoleSignin", "Write", nil)
	e.EventType, e.Identity.Session = "ConsoleSignin", nil
	e.Extra = map[string]any{"callbackUrl": "https://home.console.aliyun.com/", "mfaChecked": fmt.Sprint(mfa), "loginType": "normal"}
	if code != "" {
		e.ErrorCode, e.ErrorMessage = code, "The user name or password is wrong."
		delete(e.Extra, "mfaChecked")
	}
	return e.record(t)
}

// Leaked is a short trail: an hour of a CI user's work, then calls with its
// key that Alibaba Cloud refuses because the key was found in public.
func Leaked(end time.Time) []Record {
	end = end.UTC().Truncate(time.Second)
	w := &writer{rnd: rand.New(rand.NewPCG(7, 7))}
	var ci person
	for _, p := range cast() {
		if p.name == "ci-build" {
			ci = p
		}
	}
	var out []Record
	for i := range 60 {
		t := end.Add(time.Duration(i-61) * time.Minute)
		e := w.base(t, ci, ci.nets[0])
		c := ci.work[i%len(ci.work)]
		e.set(c.service, c.name, c.rw, c.params)
		out = append(out, e.record(t))
	}
	for i, c := range []call{
		{"Sts", "GetCallerIdentity", "Read", nil},
		{"Ram", "ListUsers", "Read", nil},
		{"Ecs", "RunInstances", "Write", map[string]any{"InstanceType": "ecs.gn7-c12g1.3xlarge", "Amount": "20"}},
	} {
		t := end.Add(time.Duration(10*i-30) * time.Second)
		e := w.base(t, ci, attackerVPS)
		e.set(c.service, c.name, c.rw, c.params)
		e.UserAgent = "python-requests/2.32"
		e.ErrorCode, e.ErrorMessage = "Forbidden", "There is a risk of leakage of this AccessKey. For more information, see https://example.com/ak-risk"
		out = append(out, e.record(t))
	}
	return out
}
