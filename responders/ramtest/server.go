package ramtest

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// API is one of the emulated products.
type API string

// The products, spelled as in the event log.
const (
	RAM         API = "Ram"
	IMS         API = "Ims"
	STS         API = "Sts"
	ActionTrail API = "Actiontrail"

	// ResourceManager is emulated as far as it is read: the directory, its
	// control policies, and attachments in resource groups.
	ResourceManager API = "ResourceManager"
	// SAS is Security Center: its list of leaked keys.
	SAS API = "Sas"
)

var versions = map[string]API{
	"2015-05-01": RAM, "2019-08-15": IMS, "2015-04-01": STS, "2020-07-06": ActionTrail, "2020-03-31": ResourceManager, "2018-12-03": SAS,
}

// Options configure a Server. The zero value has no accounts, verifies every
// signature, and allows every authenticated caller everything.
type Options struct {
	// MaxSkew is how far a request's time may be from the server's, default
	// 15 minutes as documented.
	MaxSkew time.Duration
	// Enforce evaluates policies: a caller may only do what the policies of
	// its user, groups or role and its session allow, and network policies of
	// keys bind. Without it every authenticated caller may do everything.
	Enforce bool
	// Quotas enforces the documented calls per second and account; beyond
	// them the answer is 400 Throttling.User.
	Quotas bool
	// StaleReads is how many reads after a change still see the state before
	// it, for each account.
	StaleReads int
	// LookupMost is how many events one query of LookupEvents gives before it
	// ends, 0 for all. Whether the service has such a bound is not documented.
	LookupMost int
	// RequireTLS refuses plaintext as the real gateway does.
	RequireTLS bool

	// Now is the clock, default time.Now.
	Now func() time.Time
	// Journal is called once for every request after it was answered, from
	// the goroutine of the request.
	Journal func(Entry)
	// OnChange is called for every call that succeeded and is not a read,
	// after its effect and before its answer, from the goroutine of the
	// request: what the audit trail would record.
	OnChange func(Change)
	// LookupKept is how many events of an account LookupEvents remembers, the
	// newest; default 100,000. OnForget is called when the first event of an account
	// is forgotten, from the goroutine that adds one.
	LookupKept int
	OnForget   func(account string, kept int)
}

// Entry is what the journal says about one request. Secrets are left out.
type Entry struct {
	Time      time.Time `json:"time"`
	API       API       `json:"api,omitempty"`
	Action    string    `json:"action,omitempty"`
	RequestID string    `json:"request_id"`
	// Account, Caller (an ARN) and AccessKeyID are who called, once known.
	Account     string `json:"account,omitempty"`
	Caller      string `json:"caller,omitempty"`
	AccessKeyID string `json:"access_key_id,omitempty"`
	// User, Key and KeyStatus are what the call is about: the status that an
	// UpdateAccessKey asks for.
	User      string            `json:"user,omitempty"`
	Key       string            `json:"key,omitempty"`
	KeyStatus string            `json:"key_status,omitempty"`
	Params    map[string]string `json:"params,omitempty"`
	// Status is the HTTP status sent, 0 when the connection was closed
	// instead; Code the code of an error. Done says that the work was done,
	// whatever the client was told.
	Status int    `json:"status"`
	Code   string `json:"code,omitempty"`
	Done   bool   `json:"done,omitempty"`
}

// Change is one successful call that is not a read.
type Change struct {
	Time      time.Time
	API       API
	Action    string
	Version   string
	RequestID string
	Caller    Caller
	SourceIP  string
	UserAgent string
	Region    string
	Host      string
	// Params and Response hold no secrets: those are masked with stars, as in
	// the real event log.
	Params   map[string]string
	Response json.RawMessage
}

// Caller is who made a call.
type Caller struct {
	// Type is "root-account", "ram-user" or "assumed-role", as in the event log.
	Type        string
	Account     string
	Name        string // user name, role name or "root"
	Session     string // of a role
	PrincipalID string
	AccessKeyID string
	ARN         string
}

// Server is the emulator. It is an http.Handler; [Server.URL] also serves it
// on a loopback port of its own. All methods are safe for concurrent use.
type Server struct {
	opts Options

	mu       sync.Mutex
	accounts map[string]*account
	history  map[string][]lookedUp // by account, oldest first
	forgot   map[string]bool       // accounts whose history has no longer all events
	keys     map[string]keyOwner   // access key id → owner; ids are unique in the cloud
	sessions map[string]*session   // STS key id
	nonces   map[string]time.Time
	buckets  map[string]*bucket
	nextID   int64

	fmu    sync.Mutex
	faults []*FaultHandle

	requests atomic.Int64
	calls    sync.Map // "Api.Action" → *atomic.Int64

	stop     chan struct{}
	stopOnce sync.Once
	listen   sync.Once
	ln       net.Listener
	srv      *http.Server
	served   chan struct{}
}

// New makes an emulator. It listens only when URL is called.
func New(o Options) *Server {
	if o.MaxSkew <= 0 {
		o.MaxSkew = 15 * time.Minute
	}
	if o.LookupKept <= 0 {
		o.LookupKept = 100_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Server{
		opts: o, accounts: map[string]*account{}, keys: map[string]keyOwner{}, sessions: map[string]*session{},
		nonces: map[string]time.Time{}, buckets: map[string]*bucket{}, stop: make(chan struct{}),
	}
}

// URL is the base address "http://127.0.0.1:PORT" of the emulator's own
// listener, which the first call opens. It panics when loopback cannot be
// listened on: nothing that uses the emulator can go on then.
func (s *Server) URL() string {
	s.listen.Do(func() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(fmt.Sprintf("ramtest: cannot listen on loopback: %v", err))
		}
		s.ln, s.served = ln, make(chan struct{})
		s.srv = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
		go func() {
			defer close(s.served)
			_ = s.srv.Serve(ln) // ends with Close
		}()
	})
	return "http://" + s.ln.Addr().String()
}

// Close ends delayed answers and the emulator's own listener, if it was opened.
func (s *Server) Close() {
	s.stopOnce.Do(func() {
		close(s.stop)
		s.listen.Do(func() {}) // no listener after Close
		if s.srv != nil {
			_ = s.srv.Close()
			<-s.served
		}
	})
}

// Calls is how often an action was asked for by an authenticated caller,
// whatever was answered.
func (s *Server) Calls(api API, action string) int {
	n, ok := s.calls.Load(string(api) + "." + action)
	if !ok {
		return 0
	}
	return int(n.(*atomic.Int64).Load())
}

// SetStaleReads changes how many reads after a change still see the state
// before it. Changes made before are visible at once.
func (s *Server) SetStaleReads(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.StaleReads = n
	for _, a := range s.accounts {
		a.old, a.oldReads = nil, 0
	}
}

const (
	jsonType     = "application/json;charset=utf-8"
	maxBody      = 1 << 20
	noPermission = "You are not authorized to do this action. You should be authorized by RAM."
)

type apiError struct {
	status        int
	code, message string
	denied        *AccessDenied
}

// errf stands in 107 places: not inlined (DESIGN D23).
//
//go:noinline
func errf(status int, code, format string, args ...any) *apiError {
	return &apiError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func (e *apiError) body(requestID string) []byte {
	b, _ := json.Marshal(struct { // plain strings always marshal
		RequestID string        `json:"RequestId"`
		HostID    string        `json:"HostId"`
		Code      string        `json:"Code"`
		Message   string        `json:"Message"`
		Recommend string        `json:"Recommend,omitempty"`
		Denied    *AccessDenied `json:"AccessDeniedDetail,omitempty"`
	}{requestID, "ram.aliyuncs.com", e.code, e.message, "https://api.aliyun.com/troubleshoot?q=" + url.QueryEscape(e.code), e.denied})
	return b
}

type reply struct {
	status      int
	body        []byte
	contentType string
	code        string
	header      map[string]string
}

// call is one request.
type call struct {
	s         *Server
	r         *http.Request
	api       API
	action    string
	requestID string
	params    map[string]string
	caller    caller
	acct      *account // whose state is acted on: the caller's; may be an old copy for a read
}

type caller struct {
	Caller
	account string
	user    *user    // of a user
	role    string   // of a role
	session *session // of a role
}

func (c *call) userParam() string {
	u := c.params["UserName"]
	if u == "" {
		u = c.params["UserPrincipalName"]
	}
	u, _, _ = strings.Cut(u, "@")
	return u
}

// secretParams never reach the journal or OnChange.
var secretParams = map[string]bool{
	"Password": true, "OldPassword": true, "NewPassword": true, "SecurityToken": true, "OIDCToken": true, "SAMLAssertion": true,
	"Signature": true, "BearerToken": true, "AuthenticationCode1": true, "AuthenticationCode2": true,
}

var wireParams = map[string]bool{
	"AccessKeyId": true, "Action": true, "Format": true, "RegionId": true, "SignatureMethod": true, "SignatureNonce": true,
	"SignatureType": true, "SignatureVersion": true, "Timestamp": true, "Version": true, "Signature": true, "SecurityToken": true,
}

func (c *call) masked() map[string]string {
	out := map[string]string{}
	for k, v := range c.params {
		switch {
		case wireParams[k]:
		case secretParams[k]:
			out[k] = "******"
		default:
			out[k] = v
		}
	}
	return out
}

// ServeHTTP answers one RPC call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.requests.Add(1)
	c := &call{s: s, r: r, requestID: fmt.Sprintf("%08X-5EED-4AAA-8AAA-%012X", n, n)}
	entry := Entry{Time: s.opts.Now().UTC(), RequestID: c.requestID}
	finish := func() {
		entry.API, entry.Action = c.api, c.action
		if s.opts.Journal != nil {
			s.opts.Journal(entry)
		}
	}
	send := func(rp reply) {
		entry.Status, entry.Code = rp.status, rp.code
		w.Header().Set("Content-Type", rp.contentType)
		w.Header().Set("x-acs-request-id", c.requestID)
		for k, v := range rp.header {
			w.Header().Set(k, v)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(rp.body)))
		w.WriteHeader(rp.status)
		_, _ = w.Write(rp.body)
		finish()
	}
	fail := func(e *apiError) {
		send(reply{status: e.status, body: e.body(c.requestID), contentType: jsonType, code: e.code})
	}
	drop := func() {
		finish()
		panic(http.ErrAbortHandler) // net/http closes the connection without an answer
	}

	if e := c.parse(); e != nil {
		fail(e)
		return
	}
	do, known := actions[c.api][c.action]
	if !known {
		fail(errf(404, "InvalidAction.NotFound", "Specified api is not found, please check your url and method."))
		return
	}
	if e := s.authenticate(c, do.anonymous); e != nil {
		fail(e)
		return
	}
	counter, _ := s.calls.LoadOrStore(string(c.api)+"."+c.action, new(atomic.Int64))
	counter.(*atomic.Int64).Add(1)
	entry.Account, entry.Caller, entry.AccessKeyID = c.caller.account, c.caller.ARN, c.params["AccessKeyId"]
	entry.User, entry.Key, entry.Params = c.userParam(), c.params["UserAccessKeyId"], c.masked()
	if c.action == "UpdateAccessKey" {
		entry.KeyStatus = c.params["Status"]
	}

	f := s.strike(c)
	if f == nil {
		f = &Fault{}
	}
	wait := func() bool {
		if f.Delay <= 0 {
			return true
		}
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-t.C:
			return true
		case <-r.Context().Done():
		case <-s.stop:
		}
		return false
	}
	if f.Refuse {
		drop()
	}
	if !f.AfterWork && !f.DropAnswer && !f.Truncate {
		if !wait() {
			drop()
		}
		if f.answers() {
			send(f.reply(c))
			return
		}
	}

	rp, done := s.work(c, do)
	entry.Done = done
	if f.AfterWork || f.DropAnswer || f.Truncate {
		if !wait() {
			drop()
		}
	}
	switch {
	case f.DropAnswer:
		entry.Code = rp.code
		drop()
	case f.AfterWork && f.answers():
		send(f.reply(c))
	case f.Truncate:
		entry.Status, entry.Code = rp.status, rp.code
		w.Header().Set("Content-Type", rp.contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(rp.body)))
		w.WriteHeader(rp.status)
		_, _ = w.Write(rp.body[:len(rp.body)/2])
		_ = http.NewResponseController(w).Flush()
		drop()
	default:
		send(rp)
	}
}

func (s *Server) work(c *call, do action) (rp reply, done bool) {
	s.mu.Lock()
	out, e := s.perform(c, do)
	var change Change
	if e == nil && !do.read && s.opts.OnChange != nil {
		change = Change{
			Time: s.opts.Now().UTC(), API: c.api, Action: c.action, Version: c.params["Version"], RequestID: c.requestID,
			Caller: c.caller.Caller, SourceIP: sourceIP(c.r), UserAgent: c.r.UserAgent(), Region: c.params["RegionId"], Host: c.r.Host,
			Params: c.masked(), Response: maskResponse(out),
		}
	}
	s.mu.Unlock()
	if e != nil {
		return reply{status: e.status, body: e.body(c.requestID), contentType: jsonType, code: e.code}, false
	}
	if change.Action != "" {
		s.opts.OnChange(change)
	}
	if out == nil {
		out = map[string]any{}
	}
	out["RequestId"] = c.requestID
	b, _ := json.Marshal(out) // built from strings, numbers and booleans only
	return reply{status: 200, body: b, contentType: jsonType}, true
}

// perform runs under s.mu.
func (s *Server) perform(c *call, do action) (map[string]any, *apiError) {
	if c.caller.account != "" {
		c.acct = s.accounts[c.caller.account]
	}
	if s.opts.Quotas && do.quota > 0 && !s.take(c, do) {
		return nil, errf(400, "Throttling.User", "Request was denied due to user flow control.")
	}
	if s.opts.Enforce && !do.anonymous {
		if e := c.authorize(do); e != nil {
			return nil, e
		}
	}
	if do.read {
		if a := c.acct; a != nil && a.oldReads > 0 && a.old != nil {
			a.oldReads--
			c.acct = a.old
		}
		return do.run(c)
	}
	var before *account
	if s.opts.StaleReads > 0 && c.acct != nil {
		before = c.acct.clone()
	}
	out, e := do.run(c)
	if e == nil && before != nil {
		c.acct.old, c.acct.oldReads = before, s.opts.StaleReads
	}
	return out, e
}

// maskResponse is what the event log shows of an answer.
func maskResponse(out map[string]any) json.RawMessage {
	if len(out) == 0 {
		return nil
	}
	b, _ := json.Marshal(out)
	var m any
	if json.Unmarshal(b, &m) != nil {
		return nil
	}
	var mask func(any)
	mask = func(v any) {
		switch x := v.(type) {
		case map[string]any:
			for k, y := range x {
				if k == "AccessKeySecret" || k == "SecurityToken" || k == "Password" {
					x[k] = "******"
					continue
				}
				mask(y)
			}
		case []any:
			for _, y := range x {
				mask(y)
			}
		}
	}
	mask(m)
	b, _ = json.Marshal(m)
	return b
}

func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func (c *call) parse() *apiError {
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodPost {
		return errf(405, "UnsupportedHTTPMethod", "This http method is not supported.")
	}
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return errf(400, "InvalidParameter", "The query string cannot be read.")
	}
	if c.r.Method == http.MethodPost {
		body, err := io.ReadAll(io.LimitReader(c.r.Body, maxBody+1))
		if err != nil || len(body) > maxBody {
			return errf(413, "RequestEntityTooLarge", "The body is too large or could not be read.")
		}
		if t, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type")); t == "application/x-www-form-urlencoded" {
			form, err := url.ParseQuery(string(body))
			if err != nil {
				return errf(400, "InvalidParameter", "The form cannot be read.")
			}
			for k, v := range form {
				q[k] = append(q[k], v...)
			}
		}
	}
	c.params = make(map[string]string, len(q))
	for k, v := range q {
		if len(v) != 1 {
			return errf(400, "InvalidParameter", "The parameter %s is given more than once.", k)
		}
		c.params[k] = v[0]
	}
	api, ok := versions[c.params["Version"]]
	if !ok {
		return errf(400, "InvalidVersion", "Specified parameter Version is not valid.")
	}
	c.api, c.action = api, c.params["Action"]
	if c.action == "" {
		return errf(400, "MissingAction", "Action is mandatory for this action.")
	}
	if c.s.opts.RequireTLS && c.r.TLS == nil {
		return errf(400, "InvalidProtocol.NeedSsl", "Your request is denied as lack of ssl protect.")
	}
	return nil
}

// authenticate finds the caller. The order of the tests is that of the codes
// seen in practice: time, key, token, signature, nonce.
func (s *Server) authenticate(c *call, anonymous bool) *apiError {
	p := c.params
	if anonymous && p["Signature"] == "" {
		return nil
	}
	for _, k := range []string{"AccessKeyId", "Signature", "SignatureNonce", "Timestamp"} {
		if p[k] == "" {
			return errf(400, "Missing"+k, "%s is mandatory for this action.", k)
		}
	}
	if p["SignatureMethod"] != "HMAC-SHA1" || p["SignatureVersion"] != "1.0" {
		return errf(400, "InvalidParameter.SignatureMethod", "Only HMAC-SHA1 of version 1.0 is understood here.")
	}
	now := s.opts.Now()
	at, err := time.Parse("2006-01-02T15:04:05Z", p["Timestamp"])
	if err != nil {
		return errf(400, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.")
	}
	if d := now.Sub(at); d > s.opts.MaxSkew || d < -s.opts.MaxSkew {
		return errf(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	id := p["AccessKeyId"]
	var secret string
	if strings.HasPrefix(id, "STS.") {
		ss := s.sessions[id]
		switch {
		case ss == nil:
			return errf(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
		case p["SecurityToken"] == "":
			return errf(400, "MissingSecurityToken", "SecurityToken is mandatory for this action.")
		case subtle.ConstantTimeCompare([]byte(p["SecurityToken"]), []byte(ss.token)) != 1:
			return errf(400, "InvalidSecurityToken.MismatchWithAccessKey", "Specified SecurityToken mismatch with the AccessKey.")
		case !now.Before(ss.expires):
			return errf(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
		}
		secret = ss.secret
		c.caller = ss.caller(id)
	} else {
		o, ok := s.keys[id]
		var k *key
		if ok {
			k = s.accounts[o.account].keysOf(o.user)[id]
		}
		switch {
		case k == nil:
			return errf(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
		case k.status != Active:
			return errf(400, "InvalidAccessKeyId.Inactive", "Specified access key is disabled.")
		case k.leaked && c.api != STS:
			// Alibaba's restrictive protection of keys seen leaked.
			return errf(403, "Forbidden", "There is a risk of leakage of this AccessKey.")
		}
		secret = k.secret
		c.caller = s.keyCaller(o, id)
	}
	text := stringToSign(c.r.Method, p)
	if subtle.ConstantTimeCompare([]byte(sign(secret, text)), []byte(p["Signature"])) != 1 {
		return errf(400, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation. server string to sign is:%s", text)
	}
	if len(s.nonces) > 20000 {
		for k, t := range s.nonces {
			if now.Sub(t) > 2*s.opts.MaxSkew {
				delete(s.nonces, k)
			}
		}
	}
	nonce := id + "/" + p["SignatureNonce"]
	if _, used := s.nonces[nonce]; used {
		return errf(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
	}
	s.nonces[nonce] = now
	return nil
}

// bucket counts the calls of one second.
type bucket struct {
	second int64
	n      int
}

func (s *Server) take(c *call, do action) bool {
	name := c.caller.account + "/" + do.class
	if do.class == "" {
		name = c.caller.account + "/" + string(c.api) + "." + c.action
	}
	b := s.buckets[name]
	if b == nil {
		b = &bucket{}
		s.buckets[name] = b
	}
	if sec := s.opts.Now().Unix(); sec != b.second {
		b.second, b.n = sec, 0
	}
	b.n++
	return b.n <= do.quota
}

// Actions lists the emulated actions of one product, sorted.
func Actions(api API) []string {
	var out []string
	for name := range actions[api] {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}
