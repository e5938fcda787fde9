package synth

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/rules"
)

// Life says what ordinary life to make.
type Life struct {
	// Identities is how many people, machines and roles there are.
	Identities int
	// Days is how long they live, from Start, which is cut to midnight UTC.
	Days  int
	Start time.Time
	// Seed chooses among lives; the same seed gives the same life.
	Seed uint64
	// Account is the account's id.
	Account string
}

// Record is one audit record as ActionTrail delivers it.
type Record struct {
	Time time.Time
	JSON []byte
}

// DefaultAccount is where things happen unless something else is said.
const DefaultAccount = "1000000000000001"

// officeNetworks are where the people of a life work from, VPN included. All
// addresses are of documentation and private ranges.
var officeNetworks = []string{"198.51.100.0/24", "192.0.2.0/24"}

// An identity at daily work.
type identity struct {
	kind      string // human, keyed, ci, role, linked, admin
	name      string
	key       string
	principal string
	home      string // a human's own network
	fromHome  bool   // works there two days a week, always the same
	number    int
	nets      []string
	work      []call
	perDay    int
	weekends  bool
	travels   float64 // chance of a new network on a working day
	agent     string
	joins     int // the first day
}

type call struct{ service, name string }

var (
	everybody = []call{
		{"Ecs", "DescribeInstances"}, {"Ecs", "DescribeDisks"}, {"Ecs", "DescribeSecurityGroups"}, {"Slb", "DescribeLoadBalancers"},
		{"Rds", "DescribeDBInstances"}, {"Vpc", "DescribeVpcs"}, {"Cms", "DescribeMetricList"}, {"Ecs", "DescribeRegions"},
		{"Ecs", "StartInstance"}, {"Ecs", "StopInstance"}, {"Ecs", "AddTags"},
	}
	teams = [][]call{
		{{"Slb", "SetBackendServers"}, {"Slb", "DescribeHealthStatus"}, {"Cdn", "DescribeUserDomains"}, {"Cdn", "RefreshObjectCaches"}},
		{{"Rds", "DescribeSlowLogs"}, {"Rds", "DescribeDBInstanceAttribute"}, {"Dms", "ListInstances"}, {"Rds", "RestartDBInstance"}},
		{{"Oss", "ListObjects"}, {"Oss", "GetBucketInfo"}, {"Emr", "ListClusters"}, {"MaxCompute", "ListProjects"}},
		{{"Cs", "DescribeClusterDetail"}, {"Cs", "DescribeClusters"}, {"Cr", "ListRepository"}, {"Fc", "GetFunction"}},
	}
	pipelines = [][]call{
		{{"Cr", "GetAuthorizationToken"}, {"Cs", "DescribeClusterDetail"}, {"Cs", "DescribeClusterUserKubeconfig"}},
		{{"Ecs", "DescribeInstances"}, {"Vpc", "DescribeVSwitches"}, {"Ecs", "AddTags"}, {"Slb", "SetBackendServers"}},
		{{"Oss", "ListObjects"}, {"Fc", "GetFunction"}, {"Rds", "DescribeBackups"}},
		{{"Cms", "DescribeMetricList"}, {"Ecs", "DescribeInstances"}, {"Rds", "DescribeDBInstances"}},
	}
	workloads = []call{{"Ecs", "DescribeInstances"}, {"Ecs", "DescribeNetworkInterfaces"}, {"Slb", "DescribeHealthStatus"}, {"Log", "GetMachineGroup"}, {"Oss", "GetObject"}}
	admins    = []call{
		{"Ram", "ListUsers"}, {"Ram", "GetUser"}, {"Ram", "ListPoliciesForUser"}, {"Ram", "ListAccessKeys"}, {"ResourceManager", "ListResourceGroups"},
		{"Actiontrail", "DescribeTrails"}, {"Config", "ListConfigRules"},
	}
)

const (
	browser = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36"
	cliTool = "AlibabaCloud (linux; amd64) Golang/1.26 Core/0.01 aliyun-cli/3.0"
	sdk     = "AlibabaCloud (linux; amd64) Golang/1.26 Core/0.01"
)

// identities makes the population: of a hundred, about 55 people on the
// console (2 of them administrators), 12 with a key for the command line, 17
// machines with a key, 13 roles of workloads and 3 service-linked roles.
func (l Life) identities(r *rand.Rand) []identity {
	out := make([]identity, 0, l.Identities)
	for i := range l.Identities {
		id := identity{number: i, principal: fmt.Sprintf("20000000%010d", i+1), perDay: 24 + r.IntN(24)}
		pick := func(sets [][]call) []call { return sets[i/3%len(sets)] }
		n := i % 100
		switch {
		case n < 67:
			id.kind, id.name, id.agent = "human", fmt.Sprintf("user%04d", i), browser
			if n >= 55 {
				id.kind, id.agent = "keyed", cliTool
			} else if n%27 == 5 {
				id.kind = "admin"
			}
			id.nets = []string{fmt.Sprintf("198.51.100.%d", 10+i%40), fmt.Sprintf("192.0.2.%d", 10+i%60)}
			id.home, id.fromHome = fmt.Sprintf("203.0.113.%d", 1+i%250), i%5 < 3
			id.work = slices.Concat(everybody, pick(teams))
			if id.kind == "admin" {
				id.work = slices.Concat(everybody, admins)
			}
			id.travels = 1.0 / 240
			if i%40 == 17 {
				id.joins = l.Days * (i % 7) / 7
			}
		case n < 84:
			id.kind, id.name, id.agent = "ci", fmt.Sprintf("ci%04d", i), sdk
			id.nets = []string{fmt.Sprintf("192.0.2.%d", 100+i%100)}
			id.work, id.perDay, id.weekends = pick(pipelines), 40+r.IntN(60), true
		case n < 97:
			id.kind, id.name, id.agent = "role", fmt.Sprintf("app%04d", i), "AlibabaCloud (linux; amd64) Java/17 Core/4.6"
			id.nets = []string{fmt.Sprintf("10.%d.%d.10", i/250, i%250)}
			id.work, id.perDay, id.weekends = workloads, 40+r.IntN(50), true
		default:
			id.kind, id.name, id.agent = "linked", []string{"aliyunserviceroleforautoscaling", "aliyunserviceroleforslb", "aliyunserviceroleforcms"}[n-97], "ess.aliyuncs.com"
			id.nets = []string{"ess.aliyuncs.com"}
			id.work, id.perDay, id.weekends = workloads[:3], 30, true
		}
		if id.kind == "ci" || id.kind == "keyed" {
			id.key = fmt.Sprintf("LTAI5tEXAMPLElife%07d", i)
		}
		out = append(out, id)
	}
	return out
}

// Records calls yield with each record in time order until it returns false.
func (l Life) Records(yield func(Record) bool) {
	l.Account = cmp.Or(l.Account, DefaultAccount)
	start := l.Start.UTC().Truncate(24 * time.Hour)
	people := l.identities(rand.New(rand.NewPCG(l.Seed, 0)))
	for day := range l.Days {
		w := &dayWriter{life: l, day: start.AddDate(0, 0, day), rnd: rand.New(rand.NewPCG(l.Seed, uint64(day)+1))}
		for i := range people {
			if people[i].joins <= day {
				w.live(&people[i], day)
			}
		}
		w.office(people, day)
		lists.Sort(w.out, func(a, b Record) int { return a.Time.Compare(b.Time) })
		for _, rec := range w.out {
			if !yield(rec) {
				return
			}
		}
	}
}

type dayWriter struct {
	life Life
	day  time.Time
	rnd  *rand.Rand
	n    int
	out  []Record
}

// live is what one identity does on one day.
func (w *dayWriter) live(p *identity, day int) {
	r := w.rnd
	weekend := w.day.Weekday() == time.Saturday || w.day.Weekday() == time.Sunday
	human := p.kind == "human" || p.kind == "keyed" || p.kind == "admin"
	if human && (weekend && r.IntN(12) != 0 || r.IntN(14) == 0) {
		return // free, or on leave
	}
	n := p.perDay*8/10 + r.IntN(p.perDay*4/10+1)
	if weekend && human {
		n /= 5
	}
	where := ""
	if human && r.Float64() < p.travels {
		where = fmt.Sprintf("100.%d.%d.%d", 128+r.IntN(100), r.IntN(250), 1+r.IntN(250)) // a place nobody knows
	}
	at := make([]time.Time, n)
	for i := range at {
		sec := r.IntN(86400)
		if human {
			// 9 to 19 in Shanghai (UTC+8), bent towards the middle.
			sec = 3600 + (r.IntN(36000)+r.IntN(36000))/2
		}
		at[i] = w.day.Add(time.Duration(sec) * time.Second)
	}
	lists.Sort(at, time.Time.Compare)
	home := p.fromHome && (weekend || (int(w.day.Weekday())+p.number)%5 < 2)
	place := p.nets[0]
	switch {
	case where != "":
		place = where
	case home:
		place = p.home
	}
	for i, t := range at {
		ip := place
		if i > 0 && place != p.nets[0] && r.IntN(6) == 0 {
			ip = p.nets[1] // over the VPN
		}
		if i == 0 && human && p.kind != "keyed" {
			if r.IntN(10) == 0 {
				w.signIn(t.Add(-50*time.Second), p, ip, "Authentication.Failed")
			}
			w.signIn(t.Add(-20*time.Second), p, ip, "")
		}
		c := p.work[r.IntN(len(p.work))]
		if !reads(c.name) && r.IntN(4) != 0 {
			c = p.work[0]
		}
		over := map[string]any{"serviceName": c.service, "eventName": c.name}
		switch x := r.IntN(1000); {
		case x < 2:
			over["errorCode"], over["errorMessage"] = "InvalidInstanceId.NotFound", "The specified InstanceId does not exist."
		case x < 4 && human:
			over["errorCode"], over["errorMessage"] = "Forbidden.RAM", "User not authorized to operate on the specified resource."
		}
		w.add(t, p, ip, over)
	}
}

// office is what administrators do now and then, by the calendar: a new
// colleague, a key for a machine, a policy that only reads, a security group
// for the office.
func (w *dayWriter) office(people []identity, day int) {
	if w.day.Weekday() == time.Saturday || w.day.Weekday() == time.Sunday {
		return
	}
	var staff []*identity
	for i := range people {
		if people[i].kind == "admin" {
			staff = append(staff, &people[i])
		}
	}
	if len(staff) == 0 {
		return
	}
	r := w.rnd
	at := func() time.Time { return w.day.Add(time.Duration(2*3600+r.IntN(6*3600)) * time.Second) }
	do := func(t time.Time, service, name string, params map[string]any) {
		p := staff[r.IntN(len(staff))]
		w.add(t, p, p.nets[0], map[string]any{"serviceName": service, "eventName": name, "requestParameters": params})
	}
	// About one of each for five hundred identities and day.
	chance := func() bool { return r.IntN(500) < w.life.Identities }
	if chance() {
		t, name := at(), fmt.Sprintf("new%05d", day)
		do(t, "Ram", "CreateUser", map[string]any{"UserName": name})
		do(t.Add(time.Minute), "Ram", "AttachPolicyToUser", map[string]any{"PolicyType": "System", "PolicyName": "AliyunECSReadOnlyAccess", "UserName": name})
	}
	if chance() {
		do(at(), "Ecs", "AuthorizeSecurityGroup", map[string]any{"SecurityGroupId": "sg-example", "IpProtocol": "tcp", "PortRange": "443/443", "SourceCidrIp": officeNetworks[0]})
	}
	if chance() {
		do(at(), "Ecs", "RunInstances", map[string]any{"InstanceType": "ecs.g7.large", "Amount": "1"})
	}
	if chance() && day%3 == 0 {
		do(at(), "Ram", "UpdateAccessKey", map[string]any{"UserName": "new00001", "UserAccessKeyId": "LTAI5tEXAMPLEold0000001", "Status": "Inactive"})
	}
	if chance() && day%5 == 0 {
		do(at(), "Ram", "CreateAccessKey", map[string]any{"UserName": fmt.Sprintf("ci%04d", 67)})
	}
}

func reads(name string) bool {
	return strings.HasPrefix(name, "Describe") || strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Get")
}

func (w *dayWriter) signIn(t time.Time, p *identity, ip, code string) {
	extra := map[string]any{"callbackUrl": "https://home.console.aliyun.com/", "loginType": "normal"}
	over := map[string]any{"serviceName": "AasSub", "eventName": "ConsoleSignin", "eventType": "ConsoleSignin", "additionalEventData": extra}
	if code != "" {
		over["errorCode"], over["errorMessage"] = code, "The user name or password is wrong."
	} else {
		extra["mfaChecked"] = "true"
	}
	w.add(t, p, ip, over)
}

func (w *dayWriter) add(t time.Time, p *identity, ip string, over map[string]any) {
	w.n++
	r := w.rnd
	id := fmt.Sprintf("%08X-%04X-4%03X-A%03X-%06X%06X", r.Uint32(), r.Uint32()&0xffff, r.Uint32()&0xfff, r.Uint32()&0xfff, int(w.day.Unix()/86400)&0xffffff, w.n&0xffffff)
	who := map[string]any{"accountId": w.life.Account, "principalId": p.principal, "type": "ram-user", "userName": p.name}
	switch {
	case p.kind == "role", p.kind == "linked":
		session := "i-example" + p.principal[len(p.principal)-6:]
		who["type"], who["userName"], who["principalId"] = "assumed-role", p.name+":"+session, p.principal+":"+session
		who["accessKeyId"] = fmt.Sprintf("STS.EXAMPLE%08x%s", uint32(t.Unix()/3600), p.principal[len(p.principal)-4:])
	case p.key != "":
		who["accessKeyId"] = p.key
	default:
		who["sessionContext"] = map[string]any{"attributes": map[string]any{"mfaAuthenticated": "true", "creationDate": t.Add(-time.Hour).Format(time.RFC3339)}}
	}
	over["eventId"], over["requestId"] = id, id
	over["eventTime"] = t.UTC().Format("2006-01-02T15:04:05Z")
	over["recipientAccountId"], over["userIdentity"] = w.life.Account, who
	over["sourceIpAddress"], over["userAgent"] = ip, p.agent
	w.out = append(w.out, Record{t, rules.Record(over)})
}
