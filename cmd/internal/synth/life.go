package synth

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

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
	// Stop is asked now and then; where it says yes, Records ends. Nil is never.
	Stop func() bool

	hold int // deeds held at once, maxDeeds where 0
}

// maxDeeds bounds what is held of a day: beyond it the day is gone through once for
// each part of it, which costs less than making the records does.
const maxDeeds = 1 << 20

func (l *Life) stopped() bool { return l.Stop != nil && l.Stop() }

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
	human, admin := make([][]call, len(teams)), slices.Concat(everybody, admins) // shared by those who do the same
	for i, team := range teams {
		human[i] = slices.Concat(everybody, team)
	}
	for i := range l.Identities {
		if i%4096 == 0 && l.stopped() {
			break
		}
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
			id.work = human[i/3%len(teams)]
			if id.kind == "admin" {
				id.work = admin
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
// What is held at a time does not grow with the records of a day.
func (l Life) Records(yield func(Record) bool) {
	l.Account = cmp.Or(l.Account, DefaultAccount)
	start := l.Start.UTC().Truncate(24 * time.Hour)
	people := l.identities(rand.New(rand.NewPCG(l.Seed, 0)))
	for day := range l.Days {
		w := &dayWriter{life: &l, people: people, number: day, day: start.AddDate(0, 0, day), whole: true, until: daySeconds}
		// How much there is to do is known when it was done once.
		if w.walk(); w.over {
			w.whole = false
			for _, until := range w.parts() {
				w.until = until
				if w.walk(); !w.tell(yield) {
					return
				}
				w.from = until
			}
		} else if !w.tell(yield) {
			return
		}
	}
}

// deed is what somebody does, as far as it is drawn: a record before it is written.
type deed struct {
	sec  int32 // from midnight
	n    int32 // which one of the day
	next int32 // of the same second: where in dayWriter.out, and one more
	who  int32
	what int32 // of the identity's work, or one of those below
	over int32 // of dayWriter.more, for what is office
	ip   int32 // of the identity's networks, or one of those below
	id   [4]uint32
	code uint8 // what went wrong: noSuch, forbidden, wrongPassword
}

// What is no call of an identity's work, and where nobody's networks are.
const (
	signsIn, office = -1, -2
	atHome          = -1
	traveling       = -2 // and less: of dayWriter.places

	noSuch, forbidden, wrongPassword = 1, 2, 3
)

type dayWriter struct {
	life   *Life
	people []identity
	number int // of the day
	day    time.Time

	rnd         *rand.Rand
	n           int32
	from, until int32 // seconds of the day, of which what is done is held
	whole       bool  // that is all of them
	over        bool  // and it was too much
	out         []deed
	first, last []int32 // of each second: where in out, and one more
	by          [daySeconds / 60]int32
	more        []map[string]any
	places      []string
	at          []int
}

// A day begins some minutes before midnight: whoever signs in does so before the
// first call.
const (
	before     = 10 * 60
	daySeconds = before + 24*60*60 + 10*60
)

// walk draws what everybody does on the day, and holds what is of the part of it.
func (w *dayWriter) walk() {
	w.rnd = rand.New(rand.NewPCG(w.life.Seed, uint64(w.number)+1))
	w.n, w.out, w.more, w.places, w.over = 0, w.out[:0], w.more[:0], w.places[:0], false
	w.first, w.last, w.by = make([]int32, daySeconds), make([]int32, daySeconds), [len(w.by)]int32{}
	for i := range w.people {
		if i%1024 == 0 && w.life.stopped() {
			return
		}
		if w.people[i].joins <= w.number {
			w.live(int32(i))
		}
	}
	w.office()
}

// parts are the ends of parts of the day, of which each is held at once where no
// minute alone is too much.
func (w *dayWriter) parts() (ends []int32) {
	held := int32(0)
	for i, n := range w.by {
		if held > 0 && int(held+n) > w.life.held() {
			ends = append(ends, int32(i)*60)
			held = 0
		}
		held += n
	}
	return append(ends, daySeconds)
}

func (l *Life) held() int { return cmp.Or(l.hold, maxDeeds) }

// tell writes the records of what is held: by time, and by who was first.
func (w *dayWriter) tell(yield func(Record) bool) bool {
	for _, at := range w.first {
		if at > 0 && w.life.stopped() {
			return false
		}
		for ; at > 0; at = w.out[at-1].next {
			if !yield(w.record(&w.out[at-1])) {
				return false
			}
		}
	}
	return !w.life.stopped()
}

// live is what one identity does on one day.
func (w *dayWriter) live(who int32) {
	r, p := w.rnd, &w.people[who]
	weekend := w.day.Weekday() == time.Saturday || w.day.Weekday() == time.Sunday
	human := p.kind == "human" || p.kind == "keyed" || p.kind == "admin"
	if human && (weekend && r.IntN(12) != 0 || r.IntN(14) == 0) {
		return // free, or on leave
	}
	n := p.perDay*8/10 + r.IntN(p.perDay*4/10+1)
	if weekend && human {
		n /= 5
	}
	place := int32(0)
	if p.fromHome && (weekend || (int(w.day.Weekday())+p.number)%5 < 2) {
		place = atHome
	}
	if human && r.Float64() < p.travels {
		place = traveling - int32(len(w.places)) // where nobody knows
		w.places = append(w.places, fmt.Sprintf("100.%d.%d.%d", 128+r.IntN(100), r.IntN(250), 1+r.IntN(250)))
	}
	w.at = w.at[:0]
	for range n {
		sec := r.IntN(24 * 60 * 60)
		if human {
			// 9 to 19 in Shanghai (UTC+8), bent towards the middle.
			sec = 3600 + (r.IntN(36000)+r.IntN(36000))/2
		}
		w.at = append(w.at, sec)
	}
	slices.Sort(w.at)
	for i, at := range w.at {
		sec := int32(at)
		ip := place
		if i > 0 && place != 0 && r.IntN(6) == 0 {
			ip = 1 // over the VPN
		}
		if i == 0 && human && p.kind != "keyed" {
			if r.IntN(10) == 0 {
				w.add(deed{sec: sec - 50, who: who, ip: ip, what: signsIn, code: wrongPassword})
			}
			w.add(deed{sec: sec - 20, who: who, ip: ip, what: signsIn})
		}
		d := deed{sec: sec, who: who, ip: ip, what: int32(r.IntN(len(p.work)))}
		if !reads(p.work[d.what].name) && r.IntN(4) != 0 {
			d.what = 0
		}
		switch x := r.IntN(1000); {
		case x < 2:
			d.code = noSuch
		case x < 4 && human:
			d.code = forbidden
		}
		w.add(d)
	}
}

// office is what administrators do now and then, by the calendar: a new
// colleague, a key for a machine, a policy that only reads, a security group
// for the office.
func (w *dayWriter) office() {
	if w.day.Weekday() == time.Saturday || w.day.Weekday() == time.Sunday {
		return
	}
	var staff []int32
	for i := range w.people {
		if w.people[i].kind == "admin" {
			staff = append(staff, int32(i))
		}
	}
	if len(staff) == 0 {
		return
	}
	r, day := w.rnd, w.number
	at := func() int32 { return int32(2*3600 + r.IntN(6*3600)) }
	do := func(sec int32, service, name string, params map[string]any) {
		who := staff[r.IntN(len(staff))]
		w.more = append(w.more, map[string]any{"serviceName": service, "eventName": name, "requestParameters": params})
		w.add(deed{sec: sec, who: who, what: office, over: int32(len(w.more) - 1)})
	}
	// About one of each for five hundred identities and day.
	chance := func() bool { return r.IntN(500) < w.life.Identities }
	if chance() {
		t, name := at(), fmt.Sprintf("new%05d", day)
		do(t, "Ram", "CreateUser", map[string]any{"UserName": name})
		do(t+60, "Ram", "AttachPolicyToUser", map[string]any{"PolicyType": "System", "PolicyName": "AliyunECSReadOnlyAccess", "UserName": name})
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

// add draws the id of a deed, and holds it when it is of the part of the day.
func (w *dayWriter) add(d deed) {
	w.n++
	r := w.rnd
	d.n, d.id = w.n, [4]uint32{r.Uint32(), r.Uint32(), r.Uint32(), r.Uint32()}
	at := d.sec + before
	w.by[at/60]++
	if at < w.from || at >= w.until {
		return
	}
	if w.over = w.over || w.whole && len(w.out) == w.life.held(); w.over {
		return
	}
	w.out = append(w.out, d)
	here := int32(len(w.out))
	if last := w.last[at]; last > 0 {
		w.out[last-1].next = here
	} else {
		w.first[at] = here
	}
	w.last[at] = here
}

// record writes what somebody did.
func (w *dayWriter) record(d *deed) Record {
	p, t, account := &w.people[d.who], w.day.Add(time.Duration(d.sec)*time.Second), w.life.Account
	over := map[string]any{}
	switch d.what {
	case signsIn:
		extra := map[string]any{}
		put(extra, "callbackUrl", "https://home.console.aliyun.com/", "loginType", "normal")
		put(over, "serviceName", "AasSub", "eventName", "ConsoleSignin", "eventType", "ConsoleSignin")
		over["additionalEventData"] = extra
		if d.code == 0 {
			put(extra, "mfaChecked", "true")
		}
	case office:
		over = w.more[d.over]
	default:
		put(over, "serviceName", p.work[d.what].service, "eventName", p.work[d.what].name)
	}
	switch d.code {
	case noSuch:
		put(over, "errorCode", "InvalidInstanceId.NotFound", "errorMessage", "The specified InstanceId does not exist.")
	case forbidden:
		put(over, "errorCode", "Forbidden.RAM", "errorMessage", "User not authorized to operate on the specified resource.")
	case wrongPassword:
		put(over, "errorCode", "Authentication.Failed", "errorMessage", "The user name or password is wrong.")
	}
	ip := p.home
	switch {
	case d.ip >= 0:
		ip = p.nets[d.ip]
	case d.ip <= traveling:
		ip = w.places[traveling-d.ip]
	}
	id := fmt.Sprintf("%08X-%04X-4%03X-A%03X-%06X%06X", d.id[0], d.id[1]&0xffff, d.id[2]&0xfff, d.id[3]&0xfff, int(w.day.Unix()/86400)&0xffffff, d.n&0xffffff)
	who := map[string]any{}
	put(who, "accountId", account, "principalId", p.principal, "type", "ram-user", "userName", p.name)
	switch {
	case p.kind == "role", p.kind == "linked":
		session := "i-example" + p.principal[len(p.principal)-6:]
		put(who, "type", "assumed-role", "userName", p.name+":"+session, "principalId", p.principal+":"+session,
			"accessKeyId", fmt.Sprintf("STS.EXAMPLE%08x%s", uint32(t.Unix()/3600), p.principal[len(p.principal)-4:]))
	case p.key != "":
		put(who, "accessKeyId", p.key)
	default:
		attributes := map[string]any{}
		put(attributes, "mfaAuthenticated", "true", "creationDate", t.Add(-time.Hour).Format(time.RFC3339))
		who["sessionContext"] = map[string]any{"attributes": attributes}
	}
	put(over, "eventId", id, "requestId", id, "eventTime", t.UTC().Format("2006-01-02T15:04:05Z"), "recipientAccountId", account,
		"sourceIpAddress", ip, "userAgent", p.agent)
	over["userIdentity"] = who
	return Record{t, rules.Record(over)}
}

// put sets members in turn: names and values.
//
//go:noinline
func put(m map[string]any, kv ...string) {
	for i := 0; i+1 < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
}

func reads(name string) bool {
	return strings.HasPrefix(name, "Describe") || strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Get")
}
