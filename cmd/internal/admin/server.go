package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
)

// Server serves a Backend.
type Server struct {
	ln   net.Listener
	srv  *http.Server
	done chan struct{}
}

type peerKey struct{}

// Serve listens on the socket in dir, which must be the program's own folder
// (mode 0700). A socket left by a dead process is replaced; the caller holds
// the folder's lock, so it is nobody else's.
func Serve(dir string, b Backend) (*Server, error) {
	path := filepath.Join(dir, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w (the path of a Unix socket is limited to about 100 bytes: choose a shorter state_dir)", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	s := &Server{ln: ln, done: make(chan struct{})}
	s.srv = &http.Server{
		Handler:           handler(b),
		ReadHeaderTimeout: 5 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peer(c))
		},
	}
	go func() {
		defer close(s.done)
		_ = s.srv.Serve(ln) // ends with Close
	}()
	return s, nil
}

// Close stops serving; requests under way get a moment.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.srv.Shutdown(ctx) != nil {
		_ = s.srv.Close()
	}
	<-s.done
}

// caller is who is at the other end, as the kernel says: "cli:<user>".
func caller(r *http.Request) string {
	uid, _ := r.Context().Value(peerKey{}).(string)
	if uid == "" {
		return "cli:unknown"
	}
	if u, err := user.LookupId(uid); err == nil && u.Username != "" {
		return "cli:" + u.Username
	}
	return "cli:uid-" + uid
}

// getter and poster add a route that answers with JSON.
type (
	getter func(pattern string, fn func(r *http.Request) (any, error))
	poster func(pattern string, fn func(r *http.Request, c change) (any, error))
)

func handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	get := func(pattern string, fn func(r *http.Request) (any, error)) {
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := fn(r)
			reply(w, v, err)
		})
	}
	post := func(pattern string, fn func(r *http.Request, c change) (any, error)) {
		mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
			c, err := body[change](w, r, maxBody)
			if err != nil {
				reply(w, nil, err)
				return
			}
			v, err := fn(r, c)
			reply(w, v, err)
		})
	}
	get("/v1/status", func(r *http.Request) (any, error) { return b.Status(r.Context()) })
	get("/v1/rules", func(r *http.Request) (any, error) { return b.RuleWork(r.Context()) })
	alertRoutes(b, get)
	actionRoutes(b, get, post)
	auditRoutes(mux, b, get)
	parkedRoutes(b, get, post)
	replayRoute(mux, b)
	notifyRoutes(b, get, post)
	mux.HandleFunc("GET /v1/tap", func(w http.ResponseWriter, r *http.Request) { tap(w, r, b) })
	post("/v1/console/link", func(r *http.Request, _ change) (any, error) { return b.ConsoleLink(r.Context(), caller(r)) })
	return mux
}

const maxBody = 64 << 10

// body reads what a request carries, of limit bytes at most.
func body[T any](w http.ResponseWriter, r *http.Request, limit int64) (v T, err error) {
	if json.NewDecoder(http.MaxBytesReader(w, r.Body, limit)).Decode(&v) != nil {
		return v, badRequest("body is not the expected JSON")
	}
	return v, nil
}

func alertRoutes(b Backend, get getter) {
	get("/v1/alerts", func(r *http.Request) (any, error) {
		n, err := limit(r, 50)
		if err != nil {
			return nil, err
		}
		as, err := b.Alerts(r.Context(), n)
		if as == nil {
			as = []alert.Alert{}
		}
		return as, err
	})
	get("/v1/alerts/{id}", func(r *http.Request) (any, error) {
		a, acts, err := b.Alert(r.Context(), r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		d := AlertDetail{Alert: a, Actions: acts}
		if c, ok, err := b.Card(r.Context(), a.ID); err != nil {
			return nil, err
		} else if ok {
			d.Card = &c
		}
		if d.Triage, err = b.TriageOf(r.Context(), a.ID); err != nil {
			return nil, err
		}
		d.Questions, err = b.Questions(r.Context(), a.ID)
		return d, err
	})
}

func actionRoutes(b Backend, get getter, post poster) {
	get("/v1/actions", func(r *http.Request) (any, error) {
		as, err := b.Actions(r.Context())
		if as == nil {
			as = []responders.ActionDetail{}
		}
		return as, err
	})
	get("/v1/actions/{id}", func(r *http.Request) (any, error) { return b.Action(r.Context(), r.PathValue("id")) })
	post("/v1/actions", func(r *http.Request, c change) (any, error) {
		return b.Contain(r.Context(), c.Alert, c.Kind, caller(r), c.Params)
	})
	post("/v1/actions/{id}/approve", func(r *http.Request, c change) (any, error) {
		return b.Approve(r.Context(), r.PathValue("id"), caller(r), c.Hash)
	})
	post("/v1/actions/{id}/deny", func(r *http.Request, c change) (any, error) {
		return b.Deny(r.Context(), r.PathValue("id"), caller(r), c.Reason)
	})
	post("/v1/actions/{id}/undo", func(r *http.Request, _ change) (any, error) {
		return b.Undo(r.Context(), r.PathValue("id"), caller(r))
	})
	post("/v1/freeze", func(r *http.Request, c change) (any, error) { return b.Freeze(r.Context(), true, caller(r), c.Reason) })
	post("/v1/unfreeze", func(r *http.Request, c change) (any, error) {
		return b.Freeze(r.Context(), false, caller(r), c.Reason)
	})
}

func auditRoutes(mux *http.ServeMux, b Backend, get getter) {
	get("/v1/audit", func(r *http.Request) (any, error) {
		n, err := limit(r, 1000)
		if err != nil {
			return nil, err
		}
		after, err := strconv.ParseUint(cmp.Or(r.URL.Query().Get("after"), "0"), 10, 64)
		if err != nil {
			return nil, badRequest("after: want the number of an entry")
		}
		return b.AuditLines(r.Context(), after, n)
	})
	get("/v1/audit/verify", func(r *http.Request) (any, error) {
		return b.AuditVerify(r.Context(), r.URL.Query().Get("head"))
	})
	mux.HandleFunc("POST /v1/audit/replay", func(w http.ResponseWriter, r *http.Request) {
		p, err := body[Replayed](w, r, maxBody)
		if err == nil {
			err = b.AuditReplay(r.Context(), caller(r), p)
		}
		reply(w, struct{}{}, err)
	})
}

func parkedRoutes(b Backend, get getter, post poster) {
	get("/v1/parked", func(r *http.Request) (any, error) {
		n, err := limit(r, 100)
		if err != nil {
			return nil, err
		}
		ps, err := b.Parked(r.Context(), n)
		if ps == nil {
			ps = []Parked{}
		}
		return ps, err
	})
	post("/v1/parked/redrive", func(r *http.Request, c change) (any, error) { return b.Redrive(r.Context(), c.Reason) })
}

// tap streams records, one JSON object on each line. An error after the first
// line can only end the stream; it is said in a line of its own.
func tap(w http.ResponseWriter, r *http.Request, b Backend) {
	frames, err := AllFrames, error(nil)
	if r.URL.Query().Get("limit") != "all" {
		frames, err = limit(r, 1)
	}
	if err != nil {
		reply(w, nil, err)
		return
	}
	follow := r.URL.Query().Get("follow") != "no"
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	_ = flush.Flush() // the client sees that it is connected
	err = b.Tap(r.Context(), frames, follow, func(t Tapped) error {
		if err := enc.Encode(t); err != nil || !follow {
			return err // without more to wait for, the next ones push it out
		}
		return flush.Flush()
	})
	if err != nil && r.Context().Err() == nil {
		_ = enc.Encode(apiError{Error: err.Error(), Kind: "internal"}) // the client may be gone
	}
}

type badRequest string

func (e badRequest) Error() string { return string(e) }

func limit(r *http.Request, def int) (int, error) {
	s := r.URL.Query().Get("limit")
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 10_000 {
		return 0, badRequest("limit: want 1 to 10000")
	}
	return n, nil
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		_ = json.NewEncoder(w).Encode(v) // the client went away
		return
	}
	status := StatusOf(err)
	var bad badRequest
	if errors.As(err, &bad) {
		status = http.StatusBadRequest
	}
	kind := map[int]string{http.StatusBadRequest: "bad_request", http.StatusNotFound: "not_found", http.StatusForbidden: "not_allowed"}[status]
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(apiError{err.Error(), cmp.Or(kind, "internal")}) // the client went away
}

// StatusOf is the HTTP status of a Backend's error: 400, 403, 404, or 500 for
// what is nobody's mistake. The console answers with the same.
func StatusOf(err error) int {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	switch {
	case is(responders.ErrBadTriage, responders.ErrBadSilence, responders.ErrBadAsk):
		return http.StatusBadRequest
	case is(responders.ErrNoAction, responders.ErrNoAlert, responders.ErrNoDestination, ErrNotFound):
		return http.StatusNotFound
	case is(responders.ErrNotAllowed):
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}
