package fakecloud

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/slstest"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// Options of a Cloud. The zero value listens on a free loopback port.
type Options struct {
	// Listen is host:port; the host must be loopback.
	Listen string
	// Dir takes the configuration and what it refers to; empty makes a
	// temporary folder that Close removes.
	Dir string
	// Journal, when set, gets one JSON line for every request received.
	Journal io.Writer
	// Now is when a change that is made in this cloud happened, for the record of
	// it; nil is the clock. Where the records that are appended are of the past and
	// more of them follow, it has to be their time: a record of later makes those late.
	Now func() time.Time
	// Shards is how many the logstore has; 0 means two.
	Shards int
	// ChatRate is messages per second and channel; 0 means Slack's own limit
	// of one, negative none.
	ChatRate float64
	// LookupKept and OnForget are those of ramtest: LookupEvents remembers so many
	// events of an account. The logstore has all of them.
	LookupKept int
	OnForget   func(account string, kept int)
}

// Cloud is the running emulators.
type Cloud struct {
	SLS  *slstest.Server
	RAM  *ramtest.Server
	Chat *chattest.Server

	// Addr is host:port, Config the path of the written configuration.
	Addr, Config string

	ln      net.Listener
	srv     *http.Server
	done    chan struct{}
	dir     string
	ownDir  bool
	journal *journal
	known   map[string]bool
	shards  int
	now     func() time.Time // nil: the clock
}

const (
	project  = "trailwarden-demo"
	logstore = "actiontrail_demo"
)

// Start listens and writes the configuration. accounts get names in it.
func Start(o Options, accounts []string) (*Cloud, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: want host:port, such as 127.0.0.1:8080", o.Listen)
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return nil, fmt.Errorf("listen address %q: the fake cloud serves loopback only", o.Listen)
	}
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	c := &Cloud{ln: ln, Addr: ln.Addr().String(), done: make(chan struct{}), dir: o.Dir, journal: &journal{w: o.Journal}, known: map[string]bool{},
		shards: cmp.Or(o.Shards, 2), now: o.Now}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "trailwarden-fakecloud-"); err != nil {
			_ = ln.Close()
			return nil, err
		}
		c.ownDir = true
	} else if c.dir, err = filepath.Abs(c.dir); err != nil {
		_ = ln.Close()
		return nil, err
	}
	c.SLS = slstest.New(slstest.Options{
		Project: project, Logstore: logstore, Shards: c.shards, LogsPerGroup: 10,
		Credentials: []slstest.Credential{{AccessKeyID: keyID, AccessKeySecret: keySecret}},
		Journal:     func(e slstest.Entry) { c.journal.write("sls", e) },
	})
	c.newRAM(&o, accounts)
	c.Chat = chattest.New(chattest.Options{
		Channels: map[string]string{chattest.DefaultChannel: "alerts"},
		Rate:     max(o.ChatRate, 0), Unlimited: o.ChatRate < 0,
		Journal: func(e chattest.Entry) { c.journal.write("chat", e) },
	})
	if c.Config, err = writeConfig(c.dir, c.Addr, project, logstore, accounts); err != nil {
		_ = ln.Close()
		c.cleanup()
		return nil, err
	}
	c.srv = &http.Server{Handler: http.HandlerFunc(c.route), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(c.done)
		_ = c.srv.Serve(ln) // ends with Close
	}()
	return c, nil
}

// route tells the services apart by what only each of them has.
func (c *Cloud) route(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, chattest.APIPath), strings.HasPrefix(r.URL.Path, "/services/"),
		strings.HasPrefix(r.URL.Path, "/link/"), strings.HasPrefix(r.URL.Path, "/fake/"), strings.HasPrefix(r.URL.Path, chattest.RobotPath):
		c.Chat.ServeHTTP(w, r)
	case r.Header.Get("X-Log-Apiversion") != "":
		c.SLS.ServeHTTP(w, r)
	default:
		c.RAM.ServeHTTP(w, r)
	}
}

// Seed makes the users and AccessKeys that a record names exist in the fake
// account, as they must have when the record was made. Records that cannot be
// read are left to whoever consumes them.
func (c *Cloud) Seed(record []byte) {
	_ = event.Unwrap(record, func(one []byte) bool {
		ev, err := event.Parse(one)
		if err != nil {
			return true
		}
		if ev.Actor.Type == event.RAMUser && ev.Actor.KeyKind == event.KeyLongTerm {
			c.seedKey(ev.Actor.Account, ev.Actor.Name, ev.Actor.Key, ev.Time)
			u := ramtest.Use{Service: strings.Clone(ev.Service), Event: strings.Clone(ev.Name), IP: strings.Clone(ev.Address.Text)}
			c.RAM.UseKey(ev.Actor.Key, u, ev.Time)
		}
		if ev.Action == event.ActIAMAccessKeyCreate && ev.Outcome == event.Success && ev.Target.Key != "" && ev.Target.Name != "" && ev.Target.ID != event.RootID(ev.Recipient) {
			c.seedKey(ev.Recipient, ev.Target.Name, ev.Target.Key, ev.Time)
		}
		return true
	})
}

// Relive does to the fake account what a record says was done to the real one: its
// users, keys, groups, roles, policies and trails change as in the trail, so that
// what is contained is there. Failed calls and other services change nothing.
func (c *Cloud) Relive(record []byte) {
	_ = event.Unwrap(record, func(one []byte) bool {
		ev, err := event.Parse(one)
		if err != nil || ev.Outcome != event.Success || ev.Recipient == "" {
			return true
		}
		for _, api := range []ramtest.API{ramtest.RAM, ramtest.IMS, ramtest.ActionTrail} {
			if !strings.EqualFold(ev.Service, string(api)) {
				continue
			}
			if ev.Target.Key != "" && ev.Target.ID != event.RootID(ev.Recipient) {
				c.seedKey(ev.Recipient, ev.Target.Name, ev.Target.Key, ev.Time)
			}
			user := ""
			if ev.Actor.Type == event.RAMUser && ev.Actor.Account == ev.Recipient {
				user = strings.Clone(ev.Actor.Name)
			}
			params := map[string]string{}
			ev.EachParam(func(name, value string) bool {
				params[strings.Clone(name)] = strings.Clone(value)
				return len(params) < 100 // no emulated call has as many
			})
			c.RAM.Relive(strings.Clone(ev.Recipient), user, api, strings.Clone(ev.Name), params)
		}
		return true
	})
}

// seedKey makes a key, which is there since the first record that names it.
func (c *Cloud) seedKey(account, user, key string, since time.Time) {
	id := account + "/" + user + "/" + key
	if account == "" || user == "" || strings.Contains(key, "*") || c.known[id] {
		return
	}
	account, user, key = strings.Clone(account), strings.Clone(user), strings.Clone(key)
	c.known[id] = true
	c.RAM.AddAccount(account, "")
	c.RAM.AddUser(account, user)
	// An id that another user has already is a forged or masked one: the
	// first owner keeps it.
	_ = c.RAM.AddKey(account, user, ramtest.Key{ID: key, Created: since})
}

// Append puts records into the logstore, readable at once, and into what
// LookupEvents reads.
func (c *Cloud) Append(records ...[]byte) {
	by := make([][][]byte, c.shards)
	for _, r := range records {
		c.RAM.AddEvent(r)
		// One account's records may land in any shard of a real logstore.
		s := int(fnv(r)) % c.shards
		by[s] = append(by[s], r)
	}
	for s, rs := range by {
		if len(rs) > 0 {
			c.SLS.Append(s, rs...)
		}
	}
}

func fnv(b []byte) uint32 {
	h := uint32(2166136261)
	for _, x := range b {
		h = (h ^ uint32(x)) * 16777619
	}
	return h >> 1
}

// Feed seeds, relives and appends the records of next (which returns nil at the end),
// at rate records a second, 0 being as fast as it goes. It returns how many.
func (c *Cloud) Feed(ctx context.Context, next func() ([]byte, error), rate float64) (int, error) {
	const batch = 200
	start, n := time.Now(), 0
	var held [][]byte
	flush := func() {
		c.Append(held...)
		held = held[:0]
	}
	for {
		r, err := next()
		if err != nil {
			flush()
			return n, err
		}
		if r == nil {
			flush()
			return n, nil
		}
		c.Seed(r)
		c.Relive(r)
		held = append(held, append([]byte(nil), r...))
		n++
		if rate > 0 {
			if wait := time.Until(start.Add(time.Duration(float64(n) / rate * float64(time.Second)))); wait > 0 {
				flush()
				if err := pause.For(ctx, wait); err != nil {
					return n, err
				}
			}
		}
		if len(held) >= batch {
			flush()
			if err := ctx.Err(); err != nil {
				return n, err
			}
		}
	}
}

// Endpoints is what `fakecloud` prints: one JSON object.
type Endpoints struct {
	SLS      string `json:"sls"`
	Project  string `json:"project"`
	Logstore string `json:"logstore"`
	RAM      string `json:"ram"`
	IMS      string `json:"ims"`
	STS      string `json:"sts"`
	Trail    string `json:"actiontrail"`
	Slack    string `json:"slack"`
	Webhook  string `json:"slack_webhook"`
	Channel  string `json:"slack_channel"`
	Config   string `json:"config"`
}

// Endpoints lists where everything is.
func (c *Cloud) Endpoints() Endpoints {
	u := "http://" + c.Addr
	return Endpoints{SLS: u, Project: project, Logstore: logstore, RAM: u, IMS: u, STS: u, Trail: u,
		Slack: u + chattest.APIPath, Webhook: u + chattest.WebhookPath, Channel: chattest.DefaultChannel, Config: c.Config}
}

// Close stops serving and removes the folder that Start made.
func (c *Cloud) Close() error {
	// Close first what may hold a request open, then the listener.
	c.SLS.Close()
	c.Chat.Close()
	c.RAM.Close()
	err := c.srv.Close()
	<-c.done
	c.cleanup()
	return errors.Join(err, c.journal.err())
}

func (c *Cloud) cleanup() {
	if c.ownDir {
		_ = os.RemoveAll(c.dir) // a folder of our own in the temporary directory
	}
}

// Accounts lists the accounts that records belong to, the busiest first.
func Accounts(records [][]byte) []string {
	seen := map[string]int{}
	for _, r := range records {
		_ = event.Unwrap(r, func(one []byte) bool {
			if ev, err := event.Parse(one); err == nil && ev.Recipient != "" {
				seen[ev.Recipient]++
			}
			return true
		})
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b string) int {
		return cmp.Or(cmp.Compare(seen[b], seen[a]), cmp.Compare(a, b))
	})
}

// journal writes one JSON line for each request.
type journal struct {
	mu     sync.Mutex
	w      io.Writer
	failed error
}

func (j *journal) write(service string, entry any) {
	if j.w == nil {
		return
	}
	b, err := json.Marshal(entry)
	if err != nil || len(b) < 2 || b[0] != '{' {
		return
	}
	line := append([]byte(`{"service":"`+service+`",`), b[1:]...)
	line = append(line, '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.w.Write(line); err != nil && j.failed == nil {
		j.failed = fmt.Errorf("writing the journal: %w", err)
	}
}

func (j *journal) err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failed
}
