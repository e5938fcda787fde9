package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/expr-lang/expr/vm"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// memoryBudget bounds what one evaluation may build.
const memoryBudget = 10_000

// session evaluates a set's expressions on one event at a time. Its functions
// are bound to it once, so that a rule costs no closure.
type session struct {
	set     *Set
	vm      vm.VM
	env     env
	filled  bool // env is that of ev
	ev      *event.Event
	judged  bool
	policy  detectors.PolicyFacts // of the event, where it is judged
	zh      bool                  // a Chinese text is being filled
	kin     detectors.Kin
	pairs   []detectors.Pair
	lazy    lazy
	geo     detectors.Geo
	cache   geoCache
	words   interner
	turn    uint64     // one for each event
	memo    []memoWord // by slot
	kind    *[]string  // what is remembered of events of this kind; see program.kinds
	scratch []byte     // a word being put together
	line    []byte     // a text being put together
	values  []shownValue
	places  []addrWords
	asked   []asked
}

// lazy is what is worked out for an event when a rule asks for it.
type lazy struct {
	have                      uint8
	ip, network, country, org string
	errCode                   string
	asn                       uint32
}

const (
	haveIP = 1 << iota
	haveNetwork
	haveGeo
	haveError
)

func newSession(set *Set) *session {
	s := &session{set: set, geo: set.geo}
	s.vm.MemoryBudget = memoryBudget
	e := &s.env
	e.Param = s.param
	e.HasParam = s.hasParam
	e.ParamIs = func(name, text string) bool { return sameWord(s.param(name), text, event.ParseTruth(text)) }
	e.ParamsContain = s.paramsContain
	e.ParamAny = func(prefix, suffix string, values []any) bool {
		a := anyParam{prefix: prefix, suffix: suffix}
		for _, v := range values {
			a.values = append(a.values, fmt.Sprint(v))
		}
		return s.paramAny(&a)
	}
	e.ParamNum = s.paramNum
	e.Resp = s.resp
	e.Extra = s.extra
	e.Field = s.field
	e.Resource = s.resource
	e.InCIDR = func(addr string, networks ...string) bool {
		var n netset
		for _, w := range networks {
			if p, ok := parseNetwork(w); ok {
				n.add(p)
			}
		}
		a := s.address(addr)
		return a.IsValid() && n.contains(a)
	}
	e.OneOfList = func(name, value string) bool { return s.set.lists[name].has(value, s.address(value)) }
	e.HasList = func(name string) bool { return s.set.lists[name] != nil }
	e.Nets = func(addr string, table int) int {
		if a := s.address(addr); a.IsValid() && s.set.tables.nets[table].contains(a) {
			return 1
		}
		return 0
	}
	e.Any = func(table int) bool { return s.paramAny(&s.set.tables.anys[table]) }
	e.Num = func(table int) float64 {
		n := &s.set.tables.nums[table]
		return s.paramNum(n.name, n.def)
	}
	e.ContainsAny = func(text string, words []any) bool {
		w := wordList{}
		for _, x := range words {
			w.words = append(w.words, strings.ToLower(fmt.Sprint(x)))
		}
		return w.in(text)
	}
	e.Words = func(text string, table int) int {
		if s.hasWords(text, s.set.tables.words[table]) {
			return 1
		}
		return 0
	}
	e.Among = s.among
	e.IP = s.ip
	e.Network = s.network
	e.Country = func() string { s.locate(); return s.lazy.country }
	e.ASN = func() int { s.locate(); return int(s.lazy.asn) }
	e.Org = func() string { s.locate(); return s.lazy.org }
	e.Place = s.place
	e.ErrCode = s.errCode
	return s
}

// Begin implements detectors.Session.
func (s *session) Begin(ev *event.Event) {
	s.ev, s.lazy, s.kin = ev, lazy{}, detectors.StrangerKin(ev)
	s.filled, s.judged, s.kind = false, false, nil
	s.turn++
}

// BeginKind implements detectors.Kinder.
func (s *session) BeginKind(ev *event.Event, kept *[]string) {
	s.Begin(ev)
	s.kind = kept
}

// memoWord is the text that a program gave for the event of a turn.
type memoWord struct {
	turn uint64
	word string
}

// word evaluates a key or value. The text does not share the record's memory,
// and several rules that ask for the same one share the work.
func (s *session) word(p *program) (string, error) {
	if p.text == nil || s.ev == nil {
		v, err := s.scalar(p)
		return s.words.keep(v), err
	}
	if p.kinds > 0 && s.kind != nil {
		return s.wordOfKind(p), nil
	}
	if p.slot >= len(s.memo) {
		s.memo = append(s.memo, make([]memoWord, p.slot+1-len(s.memo))...)
	}
	m := &s.memo[p.slot]
	if m.turn != s.turn {
		m.turn, m.word = s.turn, s.spell(p)
	}
	return m.word, nil
}

// wordOfKind remembers the text for all events of the kind.
func (s *session) wordOfKind(p *program) string {
	at := (p.kinds-1)*4 + int(s.ev.RW&3)
	if at >= len(*s.kind) {
		*s.kind = append(*s.kind, make([]string, at+1-len(*s.kind))...)
	}
	w := &(*s.kind)[at]
	if *w == "" {
		*w = s.spell(p)
	}
	return *w
}

// spell puts a native text together.
func (s *session) spell(p *program) string {
	if p.parts == nil {
		text := p.text(s)
		if s.kept(text) {
			return text
		}
		return s.words.keep(text)
	}
	s.scratch = s.scratch[:0]
	for i := range p.parts {
		s.scratch = p.parts[i].append(s.scratch, s)
	}
	return s.words.keep(unsafe.String(unsafe.SliceData(s.scratch), len(s.scratch)))
}

// fill makes the environment of the event, for the expression machine. Most
// events never need it.
func (s *session) fill() {
	s.filled = true
	ev, e := s.ev, &s.env
	e.Policy, e.Trust = envPolicy{Adds: addsNothing}, envTrust{}
	if s.judged {
		s.fillPolicy()
	}
	s.fillKin()
	if ev == nil {
		e.Action, e.Outcome, e.MFA = "", "", event.Unknown.String()
		e.Event, e.Actor, e.Source, e.Target = envEvent{}, envActor{Production: unsaid}, envSource{}, envTarget{Production: unsaid}
		return
	}
	e.Action, e.Outcome, e.MFA = string(ev.Action), ev.Outcome.String(), ev.MFA.String()
	e.Event = envEvent{
		ID: ev.ID, Name: ev.Name, Service: ev.Service, Type: canonical(ev.Type, eventTypes), Region: strings.ToLower(ev.Region),
		RW: ev.RW.String(), Category: ev.Category, Source: ev.Source,
		ErrorCode: ev.ErrorCode, ErrorMessage: ev.ErrorMessage, UserAgent: ev.UserAgent, RequestID: ev.RequestID,
		Account: ev.Recipient, Sensitive: ev.Sensitive, Global: ev.Global, VPC: ev.VPCID, APIVersion: ev.APIVersion,
		InsightType: ev.InsightType, Hour: hourOf(ev), Weekday: weekdayOf(ev),
		NameF: ev.NameFold, ServiceF: ev.ServiceFold,
	}
	a := &ev.Actor
	e.Actor = envActor{
		Type: a.Type.String(), Kind: a.Kind.String(), ID: a.ID, Name: a.Name, Display: a.Display, Account: a.Account,
		Principal: a.Principal, Key: a.Key, KeyKind: a.KeyKind.String(), Role: a.Role, Session: a.Session,
		CallerAccount: a.CallerAccount, SessionMFA: a.SessionMFA.String(), ServiceLinked: a.ServiceLinked,
		Root: a.Type == event.RootAccount, Production: unsaid,
	}
	e.Source = envSource{Text: ev.Address.Text, Kind: ev.Address.Kind.String()}
	t := &ev.Target
	e.Target = envTarget{Type: t.Type, ID: t.ID, Name: t.Name, Key: t.Key, Self: detectors.TargetsSelf(ev), Production: unsaid}
	if o := s.set.owners; o != nil {
		x, y := o.actor(ev), o.target(ev)
		e.Actor.Owner, e.Actor.Team, e.Actor.Production = x.Owner, x.Team, x.Production.String()
		e.Target.Owner, e.Target.Team, e.Target.Production = y.Owner, y.Team, y.Production.String()
	}
}

// addsNothing is policy.adds of an event that changes no permission.
func addsNothing(string) bool { return false }

// SetPolicy implements detectors.Session.
func (s *session) SetPolicy(f detectors.PolicyFacts) {
	s.policy, s.judged = f, true
	if s.filled {
		s.fillPolicy()
	}
}

func (s *session) fillPolicy() {
	f := &s.policy
	s.env.Policy = envPolicy{
		Known: f.Known, Verdict: f.Verdict, Expands: f.Expands, AdminEquivalent: f.AdminEquivalent, Privileged: f.Privileged,
		Staged: f.Staged, ExternalTrust: f.ExternalTrust, PublicTrust: f.PublicTrust, DenyRemoved: f.DenyRemoved,
		Self: f.Self, Trail: f.Trail, LockedOut: f.LockedOut, Networks: f.Networks, Severity: f.Severity, Sentence: f.Sentence, Summary: f.Summary, Paths: f.Paths, Adds: f.Adds,
	}
	if f.Adds == nil {
		s.env.Policy.Adds = addsNothing
	}
	s.env.Trust = envTrust{External: f.ExternalTrust, Public: f.PublicTrust, Federated: f.FederatedTrust, Accounts: f.TrustAccounts}
}

// SetKin implements detectors.Session.
func (s *session) SetKin(k detectors.Kin) {
	s.kin = k
	if s.filled {
		s.fillKin()
	}
	s.turn++ // keys that read it may have been asked for
}

func (s *session) fillKin() {
	k := &s.kin
	minutes := -1
	if k.Age >= 0 {
		minutes = int(k.Age / time.Minute)
	}
	s.env.Lineage = envLineage{Known: k.Known, By: k.By, ByKey: k.ByKey, Action: string(k.Action), Root: k.Root, Depth: k.Depth,
		Minutes: minutes, Made: k.Made, Sentence: k.Sentence}
}

// run evaluates a program on the current event.
func (s *session) run(p *vm.Program) (any, error) {
	if !s.filled {
		s.fill()
	}
	return s.vm.Run(p, &s.env) // which is large: the machine copies what it loads
}

// truth evaluates a condition.
func (s *session) truth(p *vm.Program) (bool, error) {
	out, err := s.run(p)
	if err != nil {
		return false, err
	}
	b, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("the condition gave %T", out)
	}
	return b, nil
}

// scalar evaluates an expression that gives a text, number or truth value.
func (s *session) scalar(p *program) (string, error) {
	if p.text != nil && s.ev != nil {
		return p.text(s), nil
	}
	return s.slowScalar(p.code)
}

func (s *session) slowScalar(p *vm.Program) (string, error) {
	out, err := s.run(p)
	if err != nil {
		return "", err
	}
	switch v := out.(type) {
	case string:
		return v, nil
	case int:
		return strconv.Itoa(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case nil:
		return "", nil
	default:
		return "", fmt.Errorf("the expression gave %T, not a text or number", out)
	}
}

func (s *session) param(name string) string {
	if s.ev == nil {
		return ""
	}
	v, _ := s.ev.Param(name)
	return v
}

func (s *session) hasParam(name string) bool {
	if s.ev == nil {
		return false
	}
	_, ok := s.ev.Param(name)
	return ok
}

func (s *session) paramsContain(text string) (found bool) {
	if s.ev == nil {
		return false
	}
	s.ev.EachParam(func(_, v string) bool {
		found = containsFold(v, text)
		return !found
	})
	return found
}

// anyParam is a constant param_any.
type anyParam struct {
	prefix, suffix string
	values         []string
}

func (s *session) paramAny(a *anyParam) (found bool) {
	if s.ev == nil {
		return false
	}
	s.ev.EachParam(func(k, v string) bool {
		if len(k) < len(a.prefix)+len(a.suffix) || !strings.EqualFold(k[:len(a.prefix)], a.prefix) ||
			!strings.EqualFold(k[len(k)-len(a.suffix):], a.suffix) {
			return true
		}
		for _, w := range a.values {
			if strings.EqualFold(v, w) {
				found = true
				return false
			}
		}
		return true
	})
	return found
}

// wordList is a constant contains_any: words in lower case.
type wordList struct {
	words  []string
	number uint64 // tells lists apart, as a rule
}

// newWordList numbers a list by its words, so that the same rules give the same
// numbers.
func newWordList(words []string) *wordList {
	l := &wordList{words: words, number: uint64(len(words))}
	for _, w := range words {
		l.number = l.number*31 + event.Bucket(w)
	}
	return l
}

func (w *wordList) in(text string) bool {
	if text == "" {
		return false
	}
	low := strings.ToLower(text)
	for _, x := range w.words {
		if strings.Contains(low, x) {
			return true
		}
	}
	return false
}

// asked is a text asked about a list; the answer is remembered, because user
// agents and the like are few and come again with every event.
type asked struct {
	text string
	list *wordList
	yes  bool
}

// The bounds of that memory: each question has one place, which the next one of
// the same place takes.
const (
	askedPlaces = 1024
	maxAsked    = 512 // bytes of a text
)

func (s *session) hasWords(text string, list *wordList) bool {
	if text == "" {
		return false
	}
	if s.asked == nil {
		s.asked = make([]asked, askedPlaces)
	}
	at := &s.asked[(event.Bucket(text)+list.number)%askedPlaces]
	if at.list == list && at.text == text {
		return at.yes
	}
	yes := list.in(text)
	if len(text) <= maxAsked {
		*at = asked{strings.Clone(text), list, yes}
	}
	return yes
}

// lookupTest is a value of the record compared with constants: param("X") in
// ["a", "b"]. As one call it builds no text on the machine's stack.
type lookupTest struct {
	what, name string
	values     []string
}

func (s *session) among(table int) bool {
	t := &s.set.tables.tests[table]
	var v string
	switch t.what {
	case "param":
		v = s.param(t.name)
	case "resp":
		v = s.resp(t.name)
	case "extra":
		v = s.extra(t.name)
	default:
		v = s.field(t.name)
	}
	return slices.Contains(t.values, v)
}

// numParam is a constant param_num.
type numParam struct {
	name string
	def  float64
}

func (s *session) paramNum(name string, def float64) float64 {
	v := s.param(name)
	if v == "" {
		return def
	}
	x, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	if err != nil || x-x != 0 {
		return def
	}
	return x
}

func (s *session) resp(path string) string {
	if s.ev == nil {
		return ""
	}
	v, _ := s.ev.Response(path)
	return v
}

func (s *session) extra(path string) string {
	if s.ev == nil {
		return ""
	}
	v, _ := s.ev.Extra(path)
	return v
}

func (s *session) field(path string) string {
	if s.ev == nil {
		return ""
	}
	v, _ := s.ev.Field(path)
	return v
}

func (s *session) resource(typ string) (out string) {
	if s.ev == nil {
		return ""
	}
	s.ev.Resources(func(t, name string) bool {
		if strings.EqualFold(t, typ) {
			out = name
			return false
		}
		return true
	})
	return out
}

func (s *session) ip() string {
	if s.lazy.have&haveIP == 0 {
		s.spellAddress()
	}
	return s.lazy.ip
}

func (s *session) network() string {
	if s.lazy.have&haveNetwork == 0 {
		s.spellAddress()
	}
	return s.lazy.network
}

// addrWords is an address, and it and its network in words, which are interned.
type addrWords struct {
	addr        netip.Addr
	ip, network string
}

// kept says whether a text is one of the address at hand, which is interned.
func (s *session) kept(text string) bool {
	at := unsafe.StringData(text)
	return text != "" && (at == unsafe.StringData(s.lazy.ip) || at == unsafe.StringData(s.lazy.network))
}

// spellAddress puts the event's address into words. Those of the last
// addresses are remembered, each in one of two places, of which the second is
// the one forgotten: they come again with every event.
func (s *session) spellAddress() {
	s.lazy.have |= haveIP | haveNetwork
	if s.ev == nil || !s.ev.Address.IP.IsValid() {
		return
	}
	a := s.ev.Address.IP
	if s.places == nil {
		s.places = make([]addrWords, spelledPlaces)
	}
	b := a.As16()
	h := (binary.LittleEndian.Uint64(b[:]) ^ binary.LittleEndian.Uint64(b[8:])) * 0x9e3779b97f4a7c15
	pair := (*[2]addrWords)(s.places[h>>(64-spelledBits)*2:])
	w := &pair[0]
	if w.addr != a {
		if w = &pair[1]; w.addr != a {
			*w = pair[0]
			pair[0] = addrWords{a, s.words.keep(a.String()), s.words.keep(Network(a))}
			w = &pair[0]
		}
	}
	s.lazy.ip, s.lazy.network = w.ip, w.network
}

// How many addresses are remembered in words.
const (
	spelledBits   = 11
	spelledPlaces = 2 << spelledBits
)

// Network is the network that stands for an address in baselines: its /24,
// or its /48 for IPv6; empty for an address that is not valid.
func Network(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}

func (s *session) locate() {
	if s.lazy.have&haveGeo != 0 {
		return
	}
	s.lazy.have |= haveGeo
	if s.geo == nil || s.ev == nil || !s.ev.Address.IP.IsValid() {
		return
	}
	p := s.cache.find(s.geo, s.ev.Address.IP)
	s.lazy.country, s.lazy.asn, s.lazy.org = p.country, p.asn, p.org
}

// place joins address, ASN and country in the form that the first_seen
// detector reads.
func (s *session) place() string {
	ip := s.ip()
	if ip == "" {
		return ""
	}
	s.locate()
	if s.lazy.asn == 0 && s.lazy.country == "" {
		return ip
	}
	asn := ""
	if s.lazy.asn != 0 {
		asn = strconv.FormatUint(uint64(s.lazy.asn), 10)
	}
	return ip + "|" + asn + "|" + s.lazy.country
}

func (s *session) errCode() string {
	if s.lazy.have&haveError == 0 {
		s.lazy.have |= haveError
		if s.ev != nil {
			s.lazy.errCode = strings.ToLower(s.ev.ErrorCode)
		}
	}
	return s.lazy.errCode
}

// address reads a text as an address; the event's own is not parsed again.
func (s *session) address(text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	if s.lazy.have&haveIP != 0 && text == s.lazy.ip {
		return s.ev.Address.IP
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

func containsFold(s, sub string) bool {
	return strings.Contains(s, sub) || strings.Contains(strings.ToLower(s), strings.ToLower(sub))
}

// Words of fields that are open sets but have a usual spelling.
var (
	eventTypes      = []string{"ApiCall", "ConsoleOperation", "ConsoleCall", "AliyunServiceEvent", "PasswordReset", "ConsoleSignin", "ConsoleSignout"}
	eventCategories = []string{"Management", "Insight", "Data"}
)

// canonical gives a word its usual spelling; words that are not known stay.
func canonical(word string, known []string) string {
	for _, k := range known { // spelled as usual, as usual
		if word == k {
			return k
		}
	}
	for _, k := range known {
		if strings.EqualFold(word, k) {
			return k
		}
	}
	return word
}

// geoCache remembers where addresses are, until the data changes.
type geoCache struct {
	generation uint64
	places     map[netip.Addr]geoPlace
}

type geoPlace struct {
	country, org string
	asn          uint32
}

const maxPlaces = 4096

func (c *geoCache) find(g detectors.Geo, a netip.Addr) geoPlace {
	if v, ok := g.(detectors.GeoGeneration); ok {
		if n := v.Generation(); n != c.generation {
			c.generation, c.places = n, nil
		}
	}
	if p, ok := c.places[a]; ok {
		return p
	}
	if c.places == nil || len(c.places) >= maxPlaces {
		c.places = make(map[netip.Addr]geoPlace)
	}
	var p geoPlace
	if country, asn, org, ok := g.Lookup(a); ok {
		p = geoPlace{country: country, asn: asn, org: org}
	}
	c.places[a] = p
	return p
}

// interner gives equal keys one copy that does not hold on to a record. In
// front of the map are the words met last, each in the one place where its hash
// puts it.
type interner struct {
	words map[string]string
	front []string
}

const (
	maxInterned = 65_536
	wordFront   = 16_384
)

func (t *interner) keep(s string) string {
	if s == "" {
		return ""
	}
	if t.front == nil {
		t.front = make([]string, wordFront)
	}
	at := &t.front[event.Bucket(s)%wordFront]
	if *at == s {
		return *at
	}
	w, ok := t.words[s]
	if !ok {
		if t.words == nil || len(t.words) >= maxInterned {
			t.words = make(map[string]string)
		}
		w = strings.Clone(s)
		t.words[w] = w
	}
	*at = w
	return w
}

// sameWord is what param_is asks. truth is the wanted word as a truth value:
// of true and false every spelling counts, since a service reads "FALSE ", 0
// and false alike.
func sameWord(value, word string, truth event.Tri) bool {
	if strings.EqualFold(value, word) {
		return true
	}
	return truth != event.Unknown && len(word) > 3 && event.ParseTruth(value) == truth
}

// hourOf and weekdayOf are -1 for a record that does not say when it
// happened.
func hourOf(ev *event.Event) int {
	if ev.Time.IsZero() {
		return -1
	}
	return ev.Time.Hour()
}

func weekdayOf(ev *event.Event) int {
	if ev.Time.IsZero() {
		return -1
	}
	return int(ev.Time.Weekday())
}
