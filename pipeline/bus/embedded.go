package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startWithin is how long the embedded server may take until it answers.
const startWithin = 30 * time.Second

// startServer runs the server in this process, without any socket. The
// caller holds the lock of dir.
func startServer(dir string, room int64, log *slog.Logger) (*server.Server, error) {
	opts := &server.Options{
		ServerName: "trailwarden",
		DontListen: true,
		NoSigs:     true,
		// Without it everything since the last writeback is gone after a
		// power cut; with it nothing is. The price is why frames exist.
		SyncAlways: true,
		JetStream:  true,
		StoreDir:   filepath.Join(dir, "bus"),
		// Streams carry their own limits, which add up to less than the
		// budget. This one is the disk: the budget here would keep streams
		// from being made smaller when the budget is.
		JetStreamMaxStore:      room,
		JetStreamMaxMemory:     maxMemoryStore,
		MaxPayload:             maxPayload,
		DisableJetStreamBanner: true,
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("bus: embedded server: %w", err)
	}
	s.SetLoggerV2(serverLog{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startWithin) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("bus: embedded server on %s did not start within %s; see its log lines above", dir, startWithin)
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("bus: embedded server on %s started without its store; see its log lines above (rights of the directory? disk full?)", dir)
	}
	return s, nil
}

// serverLog sends the server's lines to slog. Its notices are our debug.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(f string, v ...any) { l.say(slog.LevelDebug, f, v) }
func (l serverLog) Warnf(f string, v ...any)   { l.say(slog.LevelWarn, f, v) }
func (l serverLog) Fatalf(f string, v ...any)  { l.say(slog.LevelError, f, v) }
func (l serverLog) Errorf(f string, v ...any)  { l.say(slog.LevelError, f, v) }
func (l serverLog) Debugf(f string, v ...any)  { l.say(slog.LevelDebug, f, v) }
func (l serverLog) Tracef(f string, v ...any)  { l.say(slog.LevelDebug, f, v) }

func (l serverLog) say(level slog.Level, format string, args []any) {
	ctx := context.Background()
	if l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "embedded server", "line", fmt.Sprintf(format, args...))
	}
}

// answer is a response writer for asking the server's own health handler,
// which exists only as an HTTP handler.
type answer struct {
	code int
	head http.Header
	body []byte
}

func (a *answer) Header() http.Header { return a.head }
func (a *answer) WriteHeader(code int) {
	if a.code == 0 {
		a.code = code
	}
}
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, b...)
	return len(b), nil
}

// serverHealth asks /healthz in process.
func serverHealth(s *server.Server) (ok bool, text string) {
	a := &answer{head: http.Header{}}
	r, err := http.NewRequest(http.MethodGet, "/healthz", nil)
	if err != nil {
		return false, err.Error()
	}
	s.HandleHealthz(a, r)
	var st struct {
		Status string `json:"status"`
		Error  string `json:"error"`
	}
	if err := json.Unmarshal(a.body, &st); err != nil {
		return false, "unreadable health answer: " + err.Error()
	}
	return st.Status == "ok", strings.TrimSpace(st.Error)
}

// diskUse adds up the files below dir.
func diskUse(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrPermission) && d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
