package chattest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
)

// listener accepts connections and serves each in a goroutine of its own.
type listener struct {
	l  net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	done  bool
}

func serveLines(serve func(net.Conn)) *listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("chattest: no loopback port to listen on: %v", err))
	}
	s := &listener{l: l, conns: map[net.Conn]bool{}}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			if s.done {
				s.mu.Unlock()
				_ = c.Close()
				continue
			}
			s.conns[c] = true
			s.mu.Unlock()
			s.wg.Go(func() {
				serve(c)
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				_ = c.Close()
			})
		}
	})
	return s
}

// Addr is host:port.
func (s *listener) Addr() string { return s.l.Addr().String() }

// Close ends all connections and waits.
func (s *listener) Close() {
	_ = s.l.Close()
	s.mu.Lock()
	s.done = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Mail is one message that a mail server took.
type Mail struct {
	From string
	To   []string
	Data string // as it came, dots undone
	TLS  bool
}

// SMTPOptions sets up a mail server.
type SMTPOptions struct {
	// TLS switches STARTTLS on.
	TLS *tls.Config
	// Username and Password, when set, are asked for (AUTH PLAIN).
	Username, Password string
	// MaxSize is the largest message; 10 MB when zero.
	MaxSize int
}

// SMTP is a mail server that keeps what it takes.
type SMTP struct {
	*listener
	opt SMTPOptions

	mu     sync.Mutex
	mails  []Mail
	faults map[string][]string
}

// NewSMTP starts one on loopback. Call Close when done.
func NewSMTP(opt SMTPOptions) *SMTP {
	if opt.MaxSize == 0 {
		opt.MaxSize = 10 << 20
	}
	s := &SMTP{opt: opt, faults: map[string][]string{}}
	s.listener = serveLines(s.serve)
	return s
}

// Mails returns what was taken, oldest first.
func (s *SMTP) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mail(nil), s.mails...)
}

// Script queues answers for a step ("MAIL", "RCPT", "DATA", "END"): a line
// such as "451 later", "cut" to break the connection, or "drop" at END to take
// the mail and break the connection instead of answering.
func (s *SMTP) Script(step string, answers ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[step] = append(s.faults[step], answers...)
}

func (s *SMTP) fault(step string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.faults[step]
	if len(q) == 0 {
		return ""
	}
	s.faults[step] = q[1:]
	return q[0]
}

func (s *SMTP) serve(c net.Conn) {
	t := textproto.NewConn(c)
	say := func(line string) { _ = t.PrintfLine("%s", line) }
	say("220 mail.example ESMTP")
	var m Mail
	authed := s.opt.Username == ""
	for {
		line, err := t.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		switch f := s.fault(verb); {
		case f == "cut":
			return
		case f != "":
			say(f)
			continue
		}
		switch verb {
		case "EHLO":
			say("250-mail.example")
			if s.opt.TLS != nil && !m.TLS {
				say("250-STARTTLS")
			}
			say("250 AUTH PLAIN")
		case "STARTTLS":
			say("220 go ahead")
			tc := tls.Server(c, s.opt.TLS)
			if tc.Handshake() != nil {
				return
			}
			m = Mail{TLS: true}
			t = textproto.NewConn(tc)
		case "AUTH":
			_, blob, _ := strings.Cut(rest, " ")
			if blob != plainAuth(s.opt.Username, s.opt.Password) {
				say("535 credentials are not accepted")
				continue
			}
			authed = true
			say("235 welcome")
		case "MAIL":
			if !authed {
				say("530 log in first")
				continue
			}
			m.From, m.To = between(rest), nil
			say("250 ok")
		case "RCPT":
			m.To = append(m.To, between(rest))
			say("250 ok")
		case "DATA":
			say("354 end with a dot")
			data, err := io.ReadAll(t.DotReader())
			if err != nil {
				return
			}
			m.Data = string(data)
			f := s.fault("END")
			switch {
			case f == "cut":
				return
			case len(data) > s.opt.MaxSize:
				say("552 too large")
				continue
			case f != "" && f != "drop":
				say(f)
				continue
			}
			s.mu.Lock()
			s.mails = append(s.mails, m)
			s.mu.Unlock()
			if f == "drop" {
				return
			}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		case "RSET", "NOOP":
			say("250 ok")
		default:
			say("502 not known")
		}
	}
}

func between(s string) string {
	i, j := strings.IndexByte(s, '<'), strings.IndexByte(s, '>')
	if i < 0 || j < i {
		return s
	}
	return s[i+1 : j]
}

// Syslog takes RFC 5424 messages by octet counting over TCP.
type Syslog struct {
	*listener
	mu       sync.Mutex
	messages []string
	bad      []string
}

// NewSyslog starts a collector on loopback, over TLS when cfg is given.
func NewSyslog(cfg *tls.Config) *Syslog {
	s := &Syslog{}
	s.listener = serveLines(func(c net.Conn) {
		if cfg != nil {
			c = tls.Server(c, cfg)
			defer c.Close()
		}
		s.serve(c)
	})
	return s
}

// Messages returns what came whole, oldest first, and Bad what did not.
func (s *Syslog) Messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.messages...)
}

// Bad says what came that was no frame.
func (s *Syslog) Bad() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.bad...)
}

func (s *Syslog) serve(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		head, err := r.ReadString(' ')
		if err != nil {
			if head != "" || !errors.Is(err, io.EOF) {
				s.note(&s.bad, head+" "+err.Error())
			}
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(head, " "))
		if err != nil || n <= 0 || n > 64<<10 {
			s.note(&s.bad, "length "+head)
			return
		}
		buf := make([]byte, n)
		if _, err := io.ReadFull(r, buf); err != nil {
			s.note(&s.bad, "cut: "+err.Error())
			return
		}
		s.note(&s.messages, string(buf))
	}
}

func (s *Syslog) note(list *[]string, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, line)
}

func plainAuth(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}
