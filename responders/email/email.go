// Package email sends alerts by SMTP, as plain text: nothing in an alert can
// link, load or run in a mail program.
//
// An incident is a mail; what people must hear of later is a reply to it, so
// that mail programs show one conversation. A Message-ID is made of the
// incident and its revision: a mail sent again after a lost answer is the same
// mail to every program that looks at ids.
//
// Mail leaves by TLS (implicit, or STARTTLS, which is then required), in clear
// to loopback alone.
package email

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Spec is the configuration of one list of readers.
type Spec struct {
	responders.Common `yaml:",inline"`
	Server            string            `yaml:"server" doc:"host:port of the mail server, such as smtp.example.com:465"`
	TLS               string            `yaml:"tls" doc:"implicit (default on port 465), starttls (default elsewhere), or none, to loopback only"`
	Username          string            `yaml:"username" doc:"empty: no login"`
	Password          responders.Secret `yaml:"password" doc:"by reference"`
	From              string            `yaml:"from" doc:"sender, such as Trailwarden <tw@example.com>"`
	To                []string          `yaml:"to" doc:"readers"`
	// TLSConfig replaces the defaults; for tests.
	TLSConfig *tls.Config `yaml:"-"`
}

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	out := s.Faults()
	bad := func(field, format string, args ...any) {
		out = append(out, responders.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	host, port, err := net.SplitHostPort(s.Server)
	if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || host == "" {
		bad("server", "%q is not host:port", s.Server)
	}
	switch s.mode() {
	case "implicit", "starttls":
	case "none":
		if err == nil && !wire.Loopback(host) {
			bad("tls", "mail in clear to %s refused: use starttls or implicit (none is for loopback)", host)
		}
	default:
		bad("tls", "%q: want implicit, starttls or none", s.TLS)
	}
	if (s.Username == "") != (s.Password == "") {
		bad("username", "username and password belong together")
	}
	if a, err := mail.ParseAddress(s.From); err != nil || strings.ContainsAny(a.Address, "\r\n") {
		bad("from", "%q is not a mail address", s.From)
	}
	if len(s.To) == 0 {
		bad("to", "nobody to send to")
	}
	for i, t := range s.To {
		if a, err := mail.ParseAddress(t); err != nil || strings.ContainsAny(a.Address, "\r\n") {
			bad("to", "entry %d: %q is not a mail address", i+1, t)
		}
	}
	return out
}

func (s Spec) mode() string {
	if s.TLS != "" {
		return s.TLS
	}
	if _, port, _ := net.SplitHostPort(s.Server); port == "465" {
		return "implicit"
	}
	return "starttls"
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(log *slog.Logger) (responders.Notifier, error) { return New(s, log) }

const (
	maxSubject = 200
	perSecond  = 1.
	burst      = 10
)

// Notifier is a responders.Notifier. It is safe for concurrent use.
type Notifier struct {
	spec     Spec
	from     *mail.Address
	to       []*mail.Address
	w        *message.Words
	limit    *wire.Limiter
	now      func() time.Time
	hostname string
}

var (
	_ responders.Notifier = (*Notifier)(nil)
	_ responders.Static   = (*Notifier)(nil)
	_ responders.Spec     = Spec{}
)

// New returns a Notifier, or what is wrong with s. It does not connect.
func New(s Spec, _ *slog.Logger) (*Notifier, error) {
	if err := responders.JoinFaults(s.Check()); err != nil {
		return nil, err
	}
	n := &Notifier{spec: s, w: message.For(message.Language(s.Language), s.Location()), limit: wire.NewLimiter(perSecond, burst, 2*time.Second), now: time.Now}
	n.from, _ = mail.ParseAddress(s.From) // checked
	for _, t := range s.To {
		a, _ := mail.ParseAddress(t) // checked
		n.to = append(n.to, a)
	}
	_, n.hostname, _ = strings.Cut(n.from.Address, "@")
	return n, nil
}

// Name is the destination's name in the configuration.
func (n *Notifier) Name() string { return n.spec.Name }

// Static says that a mail cannot be edited.
func (n *Notifier) Static() {}

// Post sends a mail.
func (n *Notifier) Post(ctx context.Context, notice responders.Notice) (responders.MessageRef, error) {
	id := n.messageID(notice, "")
	return responders.MessageRef{ID: id}, n.send(ctx, notice, id, "")
}

// Update sends a reply to the mail.
func (n *Notifier) Update(ctx context.Context, ref responders.MessageRef, notice responders.Notice) error {
	return n.send(ctx, notice, n.messageID(notice, strings.Join(n.w.ThreadLines(notice.Thread), "\n")), ref.ID)
}

// Find cannot: nothing is read back.
func (n *Notifier) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

// messageID is a function of what the mail says, and of nobody's text.
func (n *Notifier) messageID(notice responders.Notice, news string) string {
	of := n.spec.Name + "\x00" + notice.Alert.ID + "\x00" + strconv.Itoa(notice.Alert.Revision) + "\x00" + news
	if notice.Copy != 0 { // the same words once more, as a reminder, are another mail
		of += "\x00" + strconv.Itoa(notice.Copy)
	}
	h := sha256.Sum256([]byte(of))
	return "<" + hex.EncodeToString(h[:12]) + "@" + n.hostname + ">"
}

// compose is the mail as it goes over the wire, for a time of sending.
func (n *Notifier) compose(notice responders.Notice, id, inReplyTo string, at time.Time) ([]byte, error) {
	m := n.w.Lay(notice, maxSubject)
	var b bytes.Buffer
	head := func(k, v string) { fmt.Fprintf(&b, "%s: %s\r\n", k, v) }
	to := make([]string, len(n.to))
	for i, a := range n.to {
		to[i] = a.String()
	}
	head("From", n.from.String())
	head("To", strings.Join(to, ",\r\n "))
	subject := m.Title
	if inReplyTo != "" {
		subject = "Re: " + subject
	}
	head("Subject", mime.QEncoding.Encode("utf-8", subject))
	head("Date", at.In(n.w.Zone).Format(time.RFC1123Z))
	head("Message-ID", id)
	if inReplyTo != "" {
		head("In-Reply-To", inReplyTo)
		head("References", inReplyTo)
	}
	head("Auto-Submitted", "auto-generated")
	head("MIME-Version", "1.0")
	head("Content-Type", "text/plain; charset=utf-8")
	head("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	lines := m.PlainLines()
	if inReplyTo != "" { // what is new comes first
		lines = append(append(append([]string{}, m.Thread...), ""), lines...)
	}
	if notice.Link != "" {
		lines = append(lines, "", n.w.Open+": "+notice.Link)
	}
	q := quotedprintable.NewWriter(&b)
	if _, err := io.WriteString(q, strings.ReplaceAll(strings.Join(lines, "\n"), "\n", "\r\n")+"\r\n"); err != nil {
		return nil, err
	}
	if err := q.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (n *Notifier) fail(step string, kind, cause error, hint string) error {
	return &wire.Error{Platform: "email", Destination: n.spec.Name, Method: step, Kind: kind, Cause: cause, Hint: hint}
}

func (n *Notifier) send(ctx context.Context, notice responders.Notice, id, inReplyTo string) error {
	body, err := n.compose(notice, id, inReplyTo, n.now())
	if err != nil {
		return err
	}
	if err := n.limit.Take(ctx); err != nil {
		return n.fail("turn", err, errors.New("not sent: "+err.Error()), "")
	}
	ctx, cancel := context.WithTimeout(ctx, n.spec.CallTimeout())
	defer cancel()
	step, sent, err := n.deliver(ctx, body)
	if err == nil {
		return nil
	}
	var answer *textproto.Error
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &answer) && answer.Code >= 500:
		hint := ""
		if step == "login" {
			hint = "check username and password"
		}
		return n.fail(step, nil, fmt.Errorf("%d %s", answer.Code, text.Cut(text.Line(answer.Msg), 120)), hint)
	case errors.As(err, &answer):
		return n.fail(step, &responders.RetryAfterError{After: time.Minute, Err: responders.ErrRetry}, fmt.Errorf("%d %s", answer.Code, text.Cut(text.Line(answer.Msg), 120)), "")
	case errors.Is(err, errNoTLS):
		return n.fail(step, nil, err, "use another port or tls: implicit")
	case errors.As(err, &cert):
		return n.fail(step, responders.ErrRetry, errors.New("the server's certificate is not trusted"), "")
	case sent:
		return n.fail(step, responders.ErrInDoubt, wire.Redact(err), "")
	}
	return n.fail(step, responders.ErrRetry, wire.Redact(err), "")
}

var errNoTLS = errors.New("the server offers no STARTTLS")

// deliver speaks SMTP. sent says that the whole mail was handed over and only
// the last answer is missing.
func (n *Notifier) deliver(ctx context.Context, body []byte) (step string, sent bool, err error) {
	host, _, _ := net.SplitHostPort(n.spec.Server) // checked
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if n.spec.TLSConfig != nil {
		cfg = n.spec.TLSConfig.Clone()
	}
	cfg.ServerName = host
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", n.spec.Server)
	if err != nil {
		return "connect", false, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if n.spec.mode() == "implicit" {
		t := tls.Client(conn, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			return "tls", false, err
		}
		conn = t
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return "greeting", false, err
	}
	if n.spec.mode() == "starttls" {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return "tls", false, errNoTLS
		}
		if err := c.StartTLS(cfg); err != nil {
			return "tls", false, err
		}
	}
	if n.spec.Username != "" {
		if err := c.Auth(smtp.PlainAuth("", n.spec.Username, n.spec.Password.Reveal(), host)); err != nil {
			return "login", false, err
		}
	}
	if err := c.Mail(n.from.Address); err != nil {
		return "sender", false, err
	}
	for _, to := range n.to {
		if err := c.Rcpt(to.Address); err != nil {
			return "recipient", false, err
		}
	}
	w, err := c.Data()
	if err != nil {
		return "data", false, err
	}
	if _, err := w.Write(body); err != nil {
		return "data", false, err
	}
	if err := w.Close(); err != nil { // the final dot, and its answer
		return "data", true, err
	}
	_ = c.Quit() // it has the mail
	return "", true, nil
}
