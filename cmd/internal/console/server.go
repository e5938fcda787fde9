package console

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/alert"
)

//go:embed assets
var files embed.FS

// Options of a Server. Backend, Index and Key are needed.
type Options struct {
	Backend Backend
	Index   *index.Index
	// Listen is host:port. BaseURL is how browsers reach it; from Listen when
	// empty. Cert and Key files make it speak TLS.
	Listen, BaseURL   string
	CertFile, KeyFile string
	Mode              Mode
	Proxy             ProxyAuth
	OIDC              OIDCAuth
	Roles             RoleMap
	Key               []byte // 32 bytes that sign sessions and forms
	// Accounts names accounts for people.
	Accounts map[string]string
	// Raw is where the records of an alert are shown outside, "" for nowhere; it
	// may be nil. Those kept here make room for newer ones.
	Raw     func(a *alert.Alert) string
	Version string
	Log     *slog.Logger
	Now     func() time.Time // time.Now when nil
}

// Server is the console. Make one with New; it is a http.Handler.
type Server struct {
	o       Options
	keep    *keeper
	oidc    *provider
	names   atomic.Pointer[names]
	handler http.Handler
	views   *views
	assets  map[string]asset
	pattern []string // of every route, for the test of the OpenAPI file

	ln      net.Listener
	srv     *http.Server
	done    chan struct{}
	closing chan struct{}
	once    sync.Once
	streams streams
	conns   atomic.Int32
	most    int32 // of conns, maxConns
}

// names is what browsers may call us; with a port of 0 it is known once we listen.
type names struct {
	base  *url.URL
	hosts []string
}

type asset struct {
	body   []byte
	packed bool // body is gzip, as it lies in the program and as browsers take it
	typ    string
	etag   string
}

func (a *asset) unpack() ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(a.body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// maxStreams bounds how many pages are live at a time, and maxOwn those of one
// person: nobody takes the others' away.
const maxStreams, maxOwn = 256, 64

// streams counts live pages.
type streams struct {
	mu  sync.Mutex
	all int
	of  map[string]int // by person
}

// open takes place for one more, if there is any.
func (s *streams) open(by string) bool {
	s.mu.Lock()
	ok := s.all < maxStreams && s.of[by] < maxOwn
	if ok {
		if s.of == nil {
			s.of = map[string]int{}
		}
		s.all++
		s.of[by]++
	}
	s.mu.Unlock()
	return ok
}

func (s *streams) close(by string) {
	s.mu.Lock()
	s.all--
	if s.of[by]--; s.of[by] == 0 {
		delete(s.of, by)
	}
	s.mu.Unlock()
}

// maxConns bounds how many connections there are at a time; others are closed. Whoever
// takes all of them keeps people from the console, and the program has its memory and
// its files.
const maxConns = 1024

func (s *Server) connected(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if s.conns.Add(1) > s.most {
			_ = c.Close() // which is told here too
		}
	case http.StateClosed, http.StateHijacked:
		s.conns.Add(-1)
	}
}

// maxForm bounds the body of a request.
const maxForm = 64 << 10

var (
	errForbidden  = errors.New("refused")
	errBadRequest = errors.New("bad request")
)

// New returns a server that does not listen yet.
func New(o Options) (*Server, error) {
	if o.Backend == nil || o.Index == nil || len(o.Key) < 32 {
		return nil, errors.New("console: needs a backend, an index and a key")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, most: maxConns, done: make(chan struct{}), closing: make(chan struct{})}
	if err := s.setBase(o.BaseURL); err != nil {
		return nil, err
	}
	s.keep = &keeper{key: o.Key, now: o.Now, secure: s.names.Load().base.Scheme == "https"}
	if o.Mode == OIDC {
		s.oidc = &provider{o: o.OIDC, redirect: s.names.Load().base.JoinPath("login", "callback").String()}
	}
	if err := s.loadAssets(); err != nil {
		return nil, err
	}
	var err error
	if s.views, err = loadViews(s.assets); err != nil {
		return nil, err
	}
	s.handler = s.routes()
	return s, nil
}

// setBase works out under which names browsers may ask for us. Any other name
// in the Host header is a stranger's name that points here.
func (s *Server) setBase(base string) error {
	host, port, err := net.SplitHostPort(s.o.Listen)
	if err != nil {
		return fmt.Errorf("console: listen %q is not host:port", s.o.Listen)
	}
	scheme := "http"
	if s.o.CertFile != "" {
		scheme = "https"
	}
	own := base
	if own == "" {
		h := host
		if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
			h = "localhost"
		}
		own = scheme + "://" + net.JoinHostPort(h, port)
	}
	u, err := url.Parse(own)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" {
		return fmt.Errorf("console: base_url %q: want https://host without a path", base)
	}
	u.Path = ""
	n := &names{base: u, hosts: []string{u.Host}}
	// Browsers leave the port out where it is the scheme's own.
	if h, p, err := net.SplitHostPort(u.Host); err == nil && (u.Scheme == "https" && p == "443" || u.Scheme == "http" && p == "80") {
		n.hosts = append(n.hosts, h)
	}
	if base == "" && loopbackHost(host) {
		for _, h := range []string{"localhost", "127.0.0.1", "[::1]"} {
			n.hosts = append(n.hosts, h+":"+port)
		}
	}
	s.names.Store(n)
	return nil
}

func loopbackHost(h string) bool {
	ip, err := netip.ParseAddr(h)
	return h == "localhost" || err == nil && ip.IsLoopback()
}

func (s *Server) loadAssets() error {
	s.assets = map[string]asset{}
	own, err := ours()
	if err != nil {
		return fmt.Errorf("the console's style and script: %w", err)
	}
	for _, name := range []string{"console.css", "console.js"} {
		if err := s.addAsset(name, own[name]); err != nil {
			return err
		}
	}
	return fs.WalkDir(files, "assets", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		return s.addAsset(path.Base(p), b)
	})
}

func (s *Server) addAsset(name string, b []byte) error {
	// Files of others, which never change, are packed.
	name, zipped := strings.CutSuffix(name, ".gz")
	typ := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) {
	case ".js":
		typ = "text/javascript; charset=utf-8"
	case ".css":
		typ = "text/css; charset=utf-8"
	case ".svg":
		typ = "image/svg+xml"
	case "":
		typ = "text/plain; charset=utf-8"
	}
	if typ == "" {
		typ = "text/plain; charset=utf-8"
	}
	a := asset{body: b, typ: typ, packed: zipped}
	if zipped {
		var err error
		if b, err = a.unpack(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	sum := sha256.Sum256(b)
	a.etag = hex.EncodeToString(sum[:8])
	s.assets[name] = a
	return nil
}

// ask is one request of a person.
type ask struct {
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	u    user
	lang lang
	now  time.Time
}

// wantsJSON says that a program asks.
func wantsJSON(r *http.Request) bool {
	a := r.Header.Get("Accept")
	return strings.Contains(a, "application/json") && !strings.Contains(a, "text/html")
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, x := range []struct {
		pattern string
		need    Role
		show    func(*ask) error
	}{
		{"GET /{$}", Viewer, (*ask).nowPage},
		{"GET /strip", Viewer, (*ask).strip},
		{"GET /alerts/{id}", Viewer, (*ask).alertPage},
		{"POST /alerts/{id}/triage", Analyst, (*ask).triage},
		{"POST /alerts/{id}/ask", Analyst, (*ask).question},
		{"POST /alerts/{id}/answer", Analyst, (*ask).answer},
		{"POST /alerts/{id}/request", Analyst, (*ask).request},
		{"GET /entities/{kind}", Viewer, (*ask).entityPage},
		{"GET /rules", Viewer, (*ask).rulesPage},
		{"POST /rules/try", Analyst, (*ask).try},
		{"GET /rules/{id}", Viewer, (*ask).rulePage},
		{"GET /actions", Viewer, (*ask).actionsPage},
		{"GET /actions/{id}", Viewer, (*ask).actionPage},
		{"POST /actions/{id}/approve", Approver, (*ask).approve},
		{"POST /actions/{id}/deny", Approver, (*ask).deny},
		{"POST /actions/{id}/undo", Approver, (*ask).undo},
		{"GET /session", Viewer, (*ask).session},
		{"GET /live", Viewer, (*ask).live},
		{"GET /openapi.json", Viewer, (*ask).openapi},
		{"GET /login", Nobody, (*ask).login},
		{"GET /login/callback", Nobody, (*ask).loginCallback},
		{"POST /logout", Nobody, (*ask).logout},
		{"GET /assets/{name}", Nobody, (*ask).asset},
		{"GET /favicon.ico", Nobody, (*ask).favicon},
	} {
		s.pattern = append(s.pattern, x.pattern)
		mux.HandleFunc(x.pattern, func(w http.ResponseWriter, r *http.Request) {
			q := &ask{s: s, w: w, r: r, lang: langOf(w, r, s.keep), now: s.o.Now()}
			err := s.admit(q, x.need)
			if err == nil {
				err = x.show(q)
			}
			if err != nil {
				s.fail(q, err)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		q := &ask{s: s, w: w, r: r, lang: langOf(w, r, s.keep), now: s.o.Now()}
		q.u, _ = s.whoIs(r) // to show whom we know the way back
		s.fail(q, fmt.Errorf("%s: %w", r.URL.Path, admin.ErrNotFound))
	})
	// The standard library's check of Sec-Fetch-Site and Origin, beside the
	// token in every form.
	cross := http.NewCrossOriginProtection()
	guarded := cross.Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", csp)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if s.keep.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if !slices.Contains(s.names.Load().hosts, r.Host) {
			http.Error(w, "this console is not served under that name (console.base_url says which)", http.StatusMisdirectedRequest)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		guarded.ServeHTTP(w, r)
	})
}

// Nothing but our own files; no inline script or style, no frame around us.
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// admit finds out who asks and whether that person may; for a request that
// changes something, also that a form of ours was sent.
func (s *Server) admit(q *ask, need Role) error {
	if need == Nobody {
		q.u, _ = s.whoIs(q.r) // pages for everybody greet whom they know
		return nil
	}
	u, err := s.whoIs(q.r)
	if err != nil {
		return err
	}
	q.u = u
	if !u.can(need) {
		return fmt.Errorf("%w: this needs the role %s, and %s has the role %s", errForbidden, need, u.Name, u.Role)
	}
	if q.r.Method != http.MethodGet && q.r.Method != http.MethodHead {
		token := q.r.Header.Get("X-CSRF-Token")
		if token == "" {
			if err := q.r.ParseForm(); err != nil {
				return fmt.Errorf("%w: the form cannot be read", errBadRequest)
			}
			token = q.r.PostFormValue("csrf")
		}
		if !s.keep.csrfOK(u, token) {
			return fmt.Errorf("%w: this form is too old or was not made here; load the page again", errForbidden)
		}
	}
	return nil
}

// failure is an error as JSON.
type failure struct {
	Error string `json:"error"`
	Kind  string `json:"kind"` // sign_in, forbidden, not_found, bad_request, internal
}

func (s *Server) fail(q *ask, err error) {
	status := admin.StatusOf(err)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errSignIn):
		status = http.StatusUnauthorized
	case errors.Is(err, errForbidden):
		status = http.StatusForbidden
	case errors.Is(err, errBadRequest), errors.As(err, &tooLarge):
		status = http.StatusBadRequest
	}
	kind := map[int]string{http.StatusUnauthorized: "sign_in", http.StatusForbidden: "forbidden", http.StatusNotFound: "not_found", http.StatusBadRequest: "bad_request"}[status]
	f := failure{err.Error(), cmp.Or(kind, "internal")}
	if status >= 500 {
		s.o.Log.Error("console: a request failed", "path", q.r.URL.Path, "error", err)
	} else {
		var h *hiddenError
		if errors.As(err, &h) {
			s.o.Log.Warn("console: sign-in failed", "error", h.cause.Error())
		}
	}
	if wantsJSON(q.r) {
		q.json(status, f)
		return
	}
	if status == http.StatusUnauthorized {
		if s.o.Mode == OIDC && q.r.Method == http.MethodGet {
			q.render(status, "login", loginView{page: q.page(q.lang.t("Sign in")), OIDC: true})
			return
		}
		q.render(status, "login", loginView{page: q.page(q.lang.t("Sign in")), Proxy: s.o.Mode == Proxy})
		return
	}
	q.render(status, "error", errorView{page: q.page(q.lang.t("Error")), Status: status, Kind: f.Kind, Message: f.Error})
}

func (q *ask) json(status int, v any) {
	q.w.Header().Set("Content-Type", "application/json")
	q.w.WriteHeader(status)
	_ = json.NewEncoder(q.w).Encode(v) // the client went away
}

// reply answers with the same facts in the form that was asked for.
func (q *ask) reply(name string, view, facts any) error {
	q.w.Header().Add("Vary", "Accept")
	if wantsJSON(q.r) {
		q.json(http.StatusOK, facts)
		return nil
	}
	q.render(http.StatusOK, name, view)
	return nil
}

func (q *ask) render(status int, name string, view any) {
	var b bytes.Buffer
	if err := q.s.views.render(&b, q.lang, name, view); err != nil {
		q.s.o.Log.Error("console: a page could not be made", "page", name, "error", err)
		http.Error(q.w, "this page could not be made; the log says why", http.StatusInternalServerError)
		return
	}
	q.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	q.w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	q.w.WriteHeader(status)
	_, _ = q.w.Write(b.Bytes())
}

// back sends a browser to the page that the form was on; a program gets facts.
func (q *ask) back(fallback string, facts any) error {
	if wantsJSON(q.r) {
		q.json(http.StatusOK, facts)
		return nil
	}
	http.Redirect(q.w, q.r, ownPath(q.r.PostFormValue("back"), fallback), http.StatusSeeOther)
	return nil
}

// ownPath keeps a path of this console and nothing else: what comes from a
// form must not send anybody elsewhere.
func ownPath(p, fallback string) string {
	if u, err := url.Parse(p); err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(p, "/") ||
		strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t") {
		return fallback
	}
	return p
}

// LoginURL makes a link that signs one browser in, once and within five
// minutes, as by ("cli:alice"). Only whoever may open the program's own socket
// should be given one; it works in the mode local alone.
func (s *Server) LoginURL(by string) (string, error) {
	if s.o.Mode != Local {
		return "", fmt.Errorf("the console at %s signs people in by %s; open it in a browser", s.URL(), s.o.Mode)
	}
	return s.URL() + "/login?token=" + s.keep.newLink(by), nil
}

// URL is where browsers find the console.
func (s *Server) URL() string { return s.names.Load().base.String() }

// Start listens and serves until Close.
func (s *Server) Start() error {
	ln, err := net.Listen("tcp", s.o.Listen)
	if err != nil {
		return fmt.Errorf("console.listen: %w", err)
	}
	if s.o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.o.CertFile, s.o.KeyFile)
		if err != nil {
			_ = ln.Close()
			return fmt.Errorf("console.tls: %w", err)
		}
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	}
	// A port of 0 is chosen now.
	if _, port, err := net.SplitHostPort(s.o.Listen); err == nil && port == "0" {
		_, real, _ := net.SplitHostPort(ln.Addr().String())
		host, _, _ := net.SplitHostPort(s.o.Listen)
		s.o.Listen = net.JoinHostPort(host, real)
		if err := s.setBase(s.o.BaseURL); err != nil {
			_ = ln.Close()
			return err
		}
	}
	s.ln = ln
	s.srv = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10, ConnState: s.connected, ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug)}
	go func() {
		defer close(s.done)
		_ = s.srv.Serve(ln) // ends with Close
	}()
	return nil
}

// Close ends live pages and stops; requests under way get a moment.
func (s *Server) Close() {
	s.once.Do(func() { close(s.closing) })
	if s.srv == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.srv.Shutdown(ctx) != nil {
		_ = s.srv.Close()
	}
	<-s.done
}
