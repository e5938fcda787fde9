package console

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// Role is what a person may do here, each including those before it.
type Role int

// The roles.
const (
	Nobody   Role = iota
	Viewer        // look
	Analyst       // acknowledge, assign, close, note, try conditions
	Approver      // ask the action machine to approve, deny and undo; it decides
)

var roleWords = [...]string{"nobody", "viewer", "analyst", "approver"}

func (r Role) String() string { return roleWords[r] }

// MarshalText uses the words.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads one of the words.
func (r *Role) UnmarshalText(b []byte) error {
	i := slices.Index(roleWords[:], string(b))
	if i < 0 {
		return fmt.Errorf("role %q", b)
	}
	*r = Role(i)
	return nil
}

// RoleMap says who has which role: "user:<name>", "group:<name>", or "*" for
// everybody who is signed in. Names are compared exactly.
type RoleMap struct {
	Viewer, Analyst, Approver []string
}

func (m RoleMap) of(user string, groups []string) Role {
	has := func(list []string) bool {
		return slices.ContainsFunc(list, func(e string) bool {
			if g, ok := strings.CutPrefix(e, "group:"); ok {
				return slices.Contains(groups, g)
			}
			return e == "*" || e == "user:"+user
		})
	}
	switch {
	case has(m.Approver):
		return Approver
	case has(m.Analyst):
		return Analyst
	case has(m.Viewer):
		return Viewer
	}
	return Nobody
}

// Mode is how people sign in.
type Mode string

// The modes.
const (
	// Local: by a link that the program's own socket hands out to whoever may
	// open it, as the system user that asked; for loopback.
	Local Mode = "local"
	// Proxy: by a header of a trusted proxy.
	Proxy Mode = "proxy"
	// OIDC: by an OpenID Connect provider.
	OIDC Mode = "oidc"
)

// ProxyAuth is sign-in by a proxy. A request from any other address than its
// own is refused, whatever header it carries.
type ProxyAuth struct {
	UserHeader   string
	GroupsHeader string // comma-separated; optional
	Trusted      []netip.Prefix
}

// user is who asks.
type user struct {
	By     string   `json:"by"`   // as actions and triage record it: "cli:alice", "web:alice@example.com"
	Name   string   `json:"name"` // without the place it comes from
	Groups []string `json:"groups,omitempty"`
	Role   Role     `json:"role"`
	until  time.Time
}

func (u user) can(r Role) bool { return u.Role >= r }

// session is what the cookie holds, signed. The role is not in it: it is
// worked out at each request from the configuration in force.
type session struct {
	Mode   Mode      `json:"m"`
	By     string    `json:"b"`
	Name   string    `json:"n"`
	Groups []string  `json:"g,omitempty"`
	Until  time.Time `json:"u"`
	Nonce  string    `json:"x"`
}

const (
	sessionFor = 12 * time.Hour
	linkFor    = 5 * time.Minute
	maxLinks   = 64
	maxGroups  = 100
)

// keeper signs and checks what browsers hold.
type keeper struct {
	key    []byte
	secure bool // cookies over https only
	now    func() time.Time

	mu    sync.Mutex
	links map[string]link // by token: used once
}

type link struct {
	by    string
	until time.Time
}

// Key reads the signing key from a file in dir, or makes it. Sessions survive
// a restart by it; deleting the file ends all of them. An empty file is what a full
// disk or a power cut leaves of one that was being made.
func Key(dir string) ([]byte, error) {
	path := filepath.Join(dir, "console.key")
	b, err := os.ReadFile(path)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, err
	case len(b) == 32:
		return b, nil
	case len(b) > 0:
		return nil, fmt.Errorf("%s: not a key of 32 bytes; delete it to have a new one made", path)
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return key, os.WriteFile(path, key, 0o600)
}

func (k *keeper) mac(purpose string, data []byte) string {
	h := hmac.New(sha256.New, k.key)
	fmt.Fprintf(h, "trailwarden.console/v1 %s %d\x00", purpose, len(data))
	h.Write(data)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// seal makes a signed token of v.
func (k *keeper) seal(purpose string, v any) string {
	b, err := json.Marshal(v)
	if err != nil { // structs of strings and times always encode
		panic(err)
	}
	body := base64.RawURLEncoding.EncodeToString(b)
	return body + "." + k.mac(purpose, []byte(body))
}

// open reads what seal made; false for anything else.
func (k *keeper) open(purpose, token string, v any) bool {
	body, mac, ok := strings.Cut(token, ".")
	if !ok || subtle.ConstantTimeCompare([]byte(mac), []byte(k.mac(purpose, []byte(body)))) != 1 {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(body)
	return err == nil && json.Unmarshal(b, v) == nil
}

// cookieName has the prefix that keeps other hosts and plain http from setting
// it, where there is https.
func (k *keeper) cookieName(name string) string {
	if k.secure {
		return "__Host-" + name
	}
	return name
}

func (k *keeper) setCookie(w http.ResponseWriter, name, value string, same http.SameSite, age time.Duration) {
	c := &http.Cookie{Name: k.cookieName(name), Value: value, Path: "/", HttpOnly: true, Secure: k.secure, SameSite: same, MaxAge: int(age.Seconds())}
	if age <= 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func (k *keeper) cookie(r *http.Request, name string) string {
	c, err := r.Cookie(k.cookieName(name))
	if err != nil {
		return ""
	}
	return c.Value
}

const sessionCookie = "trailwarden_session"

func (k *keeper) signIn(w http.ResponseWriter, s session) {
	s.Until = k.now().Add(sessionFor).UTC()
	s.Nonce = rand.Text()
	k.setCookie(w, sessionCookie, k.seal("session", s), http.SameSiteStrictMode, sessionFor)
}

// newLink makes a token that signs one browser in as by.
func (k *keeper) newLink(by string) string {
	token := rand.Text()
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.links == nil {
		k.links = map[string]link{}
	}
	for t, l := range k.links {
		if now.After(l.until) || len(k.links) >= maxLinks {
			delete(k.links, t)
		}
	}
	k.links[token] = link{by, now.Add(linkFor)}
	return token
}

// useLink says whom a token signs in, once.
func (k *keeper) useLink(token string) (by string, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, ok := k.links[token]
	if !ok {
		return "", false
	}
	delete(k.links, token)
	return l.by, k.now().Before(l.until)
}

// csrfFor is how long a form that was rendered can be sent.
const csrfFor = 12 * time.Hour

// csrf is the token that forms of a person carry. It is bound to the person
// and to a stretch of time, and the one before still counts.
func (k *keeper) csrf(u user, back int64) string {
	slot := k.now().Unix()/int64(csrfFor/time.Second) - back
	return k.mac("csrf", fmt.Appendf(nil, "%s\x00%d", u.By, slot))
}

func (k *keeper) csrfOK(u user, token string) bool {
	for back := range int64(2) {
		if subtle.ConstantTimeCompare([]byte(token), []byte(k.csrf(u, back))) == 1 {
			return true
		}
	}
	return false
}

// errSignIn says that nobody is signed in.
var errSignIn = errors.New("not signed in")

// whoIs says who asks, or why that is not known.
func (s *Server) whoIs(r *http.Request) (user, error) {
	switch s.o.Mode {
	case Proxy:
		addr, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !slices.ContainsFunc(s.o.Proxy.Trusted, func(p netip.Prefix) bool { return p.Contains(addr.Addr().Unmap()) }) {
			return user{}, fmt.Errorf("%w: only the trusted proxy may ask", errForbidden)
		}
		// Two headers of one name: which one the proxy wrote cannot be told.
		names := r.Header.Values(s.o.Proxy.UserHeader)
		if len(names) != 1 || names[0] == "" || len(names[0]) > 200 || names[0] != text.Line(names[0]) {
			return user{}, fmt.Errorf("%w: the proxy does not say who asks (header %s)", errSignIn, s.o.Proxy.UserHeader)
		}
		u := user{By: "web:" + names[0], Name: names[0]}
		if h := s.o.Proxy.GroupsHeader; h != "" {
			if vs := r.Header.Values(h); len(vs) == 1 {
				for g := range strings.SplitSeq(vs[0], ",") {
					if g = strings.TrimSpace(g); g != "" && len(u.Groups) < maxGroups {
						u.Groups = append(u.Groups, g)
					}
				}
			}
		}
		u.Role = s.o.Roles.of(u.Name, u.Groups)
		return u, nil
	default:
		var v session
		c := s.keep.cookie(r, sessionCookie)
		if c == "" || !s.keep.open("session", c, &v) || v.Mode != s.o.Mode || !s.keep.now().Before(v.Until) {
			return user{}, errSignIn
		}
		u := user{By: v.By, Name: v.Name, Groups: v.Groups, until: v.Until}
		if s.o.Mode == Local {
			// Whoever may open the socket may do all of this on the command
			// line too.
			u.Role = Approver
		} else {
			u.Role = s.o.Roles.of(u.Name, u.Groups)
		}
		return u, nil
	}
}
