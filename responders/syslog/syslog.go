// Package syslog sends alerts as RFC 5424 messages: over TLS with octet
// counting (RFC 5425), over TCP (RFC 6587) or UDP to loopback only.
//
// Syslog has no answers: what was written and not refused counts as sent. A
// connection that breaks while writing leaves it unknown, and the message may
// then come twice; its incident and revision are in the structured data.
package syslog

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/ocsf"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Spec is the configuration of one collector.
type Spec struct {
	responders.Common `yaml:",inline"`
	Address           string `yaml:"address" doc:"tls://host:6514; tcp:// and udp:// to loopback only"`
	Format            string `yaml:"format" doc:"what stands after the header: text (default), json (the alert) or ocsf (a Detection Finding)"`
	Facility          int    `yaml:"facility" doc:"0 to 23; default 16 (local0)"`
	// TLSConfig replaces the defaults; for tests.
	TLSConfig *tls.Config `yaml:"-"`
}

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	out := s.Faults()
	bad := func(field, format string, args ...any) {
		out = append(out, responders.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	u, err := url.Parse(s.Address)
	switch {
	case err != nil || u.Hostname() == "" || u.Port() == "" || u.User != nil || u.Path != "":
		bad("address", "%q: want tls://host:port", s.Address)
	case u.Scheme == "tls":
	case u.Scheme != "tcp" && u.Scheme != "udp":
		bad("address", "scheme %q: want tls (or tcp, udp to loopback)", u.Scheme)
	case !wire.Loopback(u.Hostname()):
		bad("address", "alerts in clear to %s refused: use tls:// (tcp and udp are for loopback)", u.Hostname())
	}
	switch s.Format {
	case "", "text", "json", "ocsf":
	default:
		bad("format", "%q: want text, json or ocsf", s.Format)
	}
	if s.Facility < 0 || s.Facility > 23 {
		bad("facility", "%d: want 0 to 23", s.Facility)
	}
	return out
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(log *slog.Logger) (responders.Notifier, error) { return New(s, log) }

const (
	defaultFacility = 16
	// maxMessage is what every receiver of RFC 5425 should take; maxDatagram
	// fits a UDP packet without a jumbo network.
	maxMessage  = 8192
	maxDatagram = 1400
	maxParam    = 120                 // bytes of one value in the structured data
	minParam    = 36                  // the same in a datagram
	enterprise  = "trailwarden@32473" // the number that RFC 5612 keeps for examples
)

// Notifier is a responders.Notifier. It is safe for concurrent use.
type Notifier struct {
	spec    Spec
	network string
	host    string
	server  string
	w       *message.Words
	limit   *wire.Limiter
	self    string
}

var (
	_ responders.Notifier = (*Notifier)(nil)
	_ responders.Spec     = Spec{}
)

// New returns a Notifier, or what is wrong with s. It does not connect.
func New(s Spec, _ *slog.Logger) (*Notifier, error) {
	if err := responders.JoinFaults(s.Check()); err != nil {
		return nil, err
	}
	if s.Facility == 0 {
		s.Facility = defaultFacility
	}
	u, _ := url.Parse(s.Address) // checked
	self, err := os.Hostname()
	if err != nil {
		self = ""
	}
	return &Notifier{
		spec: s, network: u.Scheme, host: u.Host, server: u.Hostname(), w: message.For(message.Language(s.Language), s.Location()),
		limit: wire.NewLimiter(50, 100, 2*time.Second), self: token(self, 255),
	}, nil
}

// Name is the destination's name in the configuration.
func (n *Notifier) Name() string { return n.spec.Name }

// Post sends the first message of an incident.
func (n *Notifier) Post(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	return responders.MessageRef{ID: "sent"}, n.send(ctx, notice, false)
}

// Update sends its present state.
func (n *Notifier) Update(ctx context.Context, _ responders.MessageRef, notice responders.Notice) error {
	return n.send(ctx, notice, true)
}

// Find cannot: syslog does not answer.
func (n *Notifier) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

// level is syslog's severity.
func level(s alert.Severity) int {
	switch s {
	case alert.Critical:
		return 2
	case alert.High:
		return 3
	case alert.Medium:
		return 4
	case alert.Low:
		return 5
	}
	return 6
}

// token is a header field: visible ASCII without blanks, a dash for nothing.
func token(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		if r > 0x20 && r < 0x7f {
			return r
		}
		return -1
	}, s)
	if s = s[:min(len(s), max)]; s == "" {
		return "-"
	}
	return s
}

var escapeParam = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// format is the message without its framing.
func (n *Notifier) format(notice responders.Notice, update bool) ([]byte, error) {
	a := notice.Alert
	event := "opened"
	if update {
		event = "updated"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<%d>1 %s %s trailwarden %d alert [%s", n.spec.Facility*8+level(a.Severity), a.LastAt.UTC().Format("2006-01-02T15:04:05.000Z"), n.self, os.Getpid(), enterprise)
	max, room := maxMessage, maxParam
	if n.network == "udp" {
		max, room = maxDatagram, minParam
	}
	param := func(k, v string) {
		if v = cutBytes(text.Line(v), room); v != "" {
			fmt.Fprintf(&b, ` %s="%s"`, k, escapeParam.Replace(v))
		}
	}
	param("event", event)
	param("incident", a.ID)
	param("revision", strconv.Itoa(a.Revision))
	param("rule", a.Rule)
	param("severity", a.Severity.String())
	param("outcome", a.Outcome)
	param("account", a.AccountID)
	param("actor", a.Actor.Name)
	param("source_ip", a.SourceIP)
	param("count", strconv.Itoa(a.Count))
	b.WriteString("] ")
	rest, err := n.body(notice, update)
	if err != nil {
		return nil, err
	}
	if b.Len()+len(rest)+3 > max { // structured text that is cut is worth nothing
		rest = n.line(notice)
	}
	b.WriteString("\ufeff") // RFC 5424: what follows is UTF-8
	b.WriteString(cutBytes(rest, max-b.Len()))
	return b.Bytes(), nil
}

// cutBytes is s in at most max bytes, no character cut in half.
func cutBytes(s string, max int) string {
	const end = "…"
	if len(s) <= max {
		return s
	}
	i := max - len(end)
	for i > 0 && !utf8.RuneStart(s[i]) {
		i--
	}
	if i <= 0 {
		return ""
	}
	return s[:i] + end
}

func (n *Notifier) body(notice responders.Notice, update bool) (string, error) {
	var b bytes.Buffer
	var err error
	switch n.spec.Format {
	case "json":
		err = alert.WriteLine(&b, &notice.Alert)
	case "ocsf":
		err = alert.WriteLine(&b, ocsf.Of(&notice.Alert, "", update))
	default:
		return n.line(notice), nil
	}
	return strings.TrimSuffix(b.String(), "\n"), err
}

func (n *Notifier) line(notice responders.Notice) string {
	m := n.w.Lay(notice, 300)
	parts := []string{m.Title, text.Line(m.Reason)}
	parts = append(parts, m.State...)
	parts = append(parts, m.Actions...)
	return text.Line(strings.Join(append(parts, m.Thread...), " | "))
}

func (n *Notifier) send(ctx context.Context, notice responders.Notice, update bool) error {
	msg, err := n.format(notice, update)
	if err != nil {
		return err
	}
	fail := func(step string, kind, cause error) error {
		return &wire.Error{Platform: "syslog", Destination: n.spec.Name, Method: step, Kind: kind, Cause: cause}
	}
	if err := n.limit.Take(ctx); err != nil {
		return fail("turn", err, errors.New("not sent: "+err.Error()))
	}
	ctx, cancel := context.WithTimeout(ctx, n.spec.CallTimeout())
	defer cancel()
	network := n.network
	if network == "tls" {
		network = "tcp"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, n.host)
	if err != nil {
		return fail("connect", responders.ErrRetry, wire.Redact(err))
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if n.network == "tls" {
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if n.spec.TLSConfig != nil {
			cfg = n.spec.TLSConfig.Clone()
		}
		cfg.ServerName = n.server
		t := tls.Client(conn, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			return fail("tls", responders.ErrRetry, wire.Redact(err))
		}
		conn = t
	}
	if network == "tcp" {
		msg = append([]byte(strconv.Itoa(len(msg))+" "), msg...)
	}
	if _, err := conn.Write(msg); err != nil {
		return fail("write", responders.ErrInDoubt, wire.Redact(err))
	}
	// The only sign that syslog gives: a receiver that has read everything
	// closes after us; a reset means that it has not.
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := c.CloseWrite(); err != nil {
			return fail("write", responders.ErrInDoubt, wire.Redact(err))
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		var ne net.Error
		if _, err := io.Copy(io.Discard, io.LimitReader(conn, 1<<10)); err != nil && (!errors.As(err, &ne) || !ne.Timeout()) {
			return fail("write", responders.ErrInDoubt, wire.Redact(err))
		}
	}
	return nil
}
