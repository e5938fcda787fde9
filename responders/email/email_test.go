package email

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
)

func rig(t *testing.T, opt chattest.SMTPOptions, change func(*Spec)) (*chattest.SMTP, *Notifier) {
	t.Helper()
	s := chattest.NewSMTP(opt)
	t.Cleanup(s.Close)
	sp := Spec{
		Common: responders.Common{Name: "mail", Timeout: responders.Duration(5 * time.Second)},
		Server: s.Addr(), TLS: "none", From: "Trailwarden <tw@corp.example>", To: []string{"soc@corp.example", "张三 <zhang@corp.example>"},
	}
	if change != nil {
		change(&sp)
	}
	n, err := New(sp, nil)
	if err != nil {
		t.Fatal(err)
	}
	n.now = func() time.Time { return desttest.At }
	return s, n
}

func body(t *testing.T, data string) (*mail.Message, string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	return m, strings.ReplaceAll(string(b), "\r\n", "\n")
}

func TestGolden(t *testing.T) {
	for name, notice := range desttest.Notices() {
		for _, lang := range []string{"en", "zh"} {
			s, n := rig(t, chattest.SMTPOptions{}, func(sp *Spec) { sp.Language = lang })
			ref, err := n.Post(t.Context(), notice)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			notice.Alert.Revision++
			notice.Thread = responders.Said("severity high → critical")
			if err := n.Update(t.Context(), ref, notice); err != nil {
				t.Fatal(err)
			}
			mails := s.Mails()
			if len(mails) != 2 || len(mails[0].To) != 2 || mails[0].From != "tw@corp.example" {
				t.Fatalf("%+v", mails)
			}
			first, text := body(t, mails[0].Data)
			reply, news := body(t, mails[1].Data)
			desttest.Golden(t, name+"."+lang+".eml", []byte(mails[0].Data))
			// Nothing from an event makes a header, ends the mail or formats.
			for _, h := range []*mail.Message{first, reply} {
				for k := range h.Header {
					switch k {
					case "From", "To", "Subject", "Date", "Message-Id", "In-Reply-To", "References", "Auto-Submitted", "Mime-Version", "Content-Type", "Content-Transfer-Encoding":
					default:
						t.Errorf("%s: header %q", name, k)
					}
				}
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(first.Header.Get("Subject"))
			if err != nil || subject == "" {
				t.Errorf("%s: subject %q %v", name, subject, err)
			}
			link := "https://console.example/incidents/" + notice.Alert.ID
			desttest.Inert(t, subject, false, "](")
			desttest.Inert(t, text, true, link, "](")
			if reply.Header.Get("In-Reply-To") != first.Header.Get("Message-ID") || reply.Header.Get("Message-ID") == first.Header.Get("Message-ID") {
				t.Errorf("%s: the reply does not belong to the mail", name)
			}
			if !strings.HasPrefix(news, "severity high → critical\n") {
				t.Errorf("%s: the reply begins with %.60q", name, news)
			}
		}
	}
}

// A mail program drops a mail whose Message-ID it has: a reminder has its own,
// and the first mail keeps the one that it had before there were reminders.
func TestReminderHasItsOwnID(t *testing.T) {
	s, n := rig(t, chattest.SMTPOptions{}, nil)
	notice := desttest.Bare()
	seen := map[string]int{}
	for _, c := range []int{0, 1, 2, 4} {
		notice.Copy = c
		ref, err := n.Post(t.Context(), notice)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[ref.ID]; ok {
			t.Errorf("copies %d and %d have the Message-ID %s", other, c, ref.ID)
		}
		seen[ref.ID] = c
		h, _ := body(t, s.Mails()[len(seen)-1].Data)
		if got := h.Header.Get("Message-ID"); got != ref.ID {
			t.Errorf("copy %d is sent as %s, told as %s", c, got, ref.ID)
		}
	}
	h := sha256.Sum256([]byte(n.Name() + "\x00" + notice.Alert.ID + "\x00" + strconv.Itoa(notice.Alert.Revision) + "\x00"))
	if _, ok := seen["<"+hex.EncodeToString(h[:12])+"@"+n.hostname+">"]; !ok {
		t.Errorf("the first mail has another Message-ID than before: %v", seen)
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct{ step, answer, want string }{
		{"MAIL", "421 closing", "later"}, {"RCPT", "450 greylisted", "later"}, {"RCPT", "550 no such user", "final"},
		{"DATA", "cut", "retry"}, {"MAIL", "cut", "retry"}, {"END", "cut", "doubt"}, {"END", "drop", "doubt"}, {"END", "451 later", "later"}, {"END", "554 spam", "final"},
	} {
		s, n := rig(t, chattest.SMTPOptions{}, nil)
		s.Script(c.step, c.answer)
		if _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != c.want {
			t.Errorf("%s %s: %v, want %s", c.step, c.answer, err, c.want)
		}
		// The same mail again is the same mail.
		if _, err := n.Post(t.Context(), desttest.Bare()); err != nil {
			t.Errorf("after %s %s: %v", c.step, c.answer, err)
		}
		ids := map[string]bool{}
		for _, m := range s.Mails() {
			h, _ := body(t, m.Data)
			ids[h.Header.Get("Message-ID")] = true
		}
		if len(ids) != 1 {
			t.Errorf("%s %s: %d Message-IDs", c.step, c.answer, len(ids))
		}
	}
	_, n := rig(t, chattest.SMTPOptions{}, func(s *Spec) { s.Server = desttest.Gone(t) })
	if _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "retry" {
		t.Errorf("nobody there: %v", err)
	}
}

func TestTLSAndLogin(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	server := &tls.Config{Certificates: web.TLS.Certificates}
	client := &tls.Config{RootCAs: web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	opt := chattest.SMTPOptions{TLS: server, Username: "tw", Password: "EXAMPLEpassword"}
	with := func(sp *Spec) {
		sp.TLS, sp.Username, sp.Password, sp.TLSConfig = "starttls", "tw", "EXAMPLEpassword", client
	}
	s, n := rig(t, opt, with)
	if _, err := n.Post(t.Context(), desttest.Bare()); err != nil {
		t.Fatal(err)
	}
	if m := s.Mails(); len(m) != 1 || !m[0].TLS {
		t.Errorf("%+v", m)
	}
	_, n = rig(t, opt, func(sp *Spec) { with(sp); sp.Password = "EXAMPLEwrong" })
	if _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "final" || strings.Contains(err.Error(), "EXAMPLEwrong") {
		t.Errorf("another password: %v", err)
	}
	_, n = rig(t, opt, func(sp *Spec) { with(sp); sp.TLSConfig = nil })
	if _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "retry" || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody signed: %v", err)
	}
	// Never in clear because the server offers nothing better.
	s, n = rig(t, chattest.SMTPOptions{}, func(sp *Spec) { sp.TLS = "starttls" })
	if _, err := n.Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "final" || len(s.Mails()) != 0 {
		t.Errorf("no STARTTLS: %v", err)
	}
}

func TestCheck(t *testing.T) {
	good := Spec{Common: responders.Common{Name: "mail"}, Server: "smtp.corp.example:465", From: "tw@corp.example", To: []string{"a@corp.example"}}
	for want, change := range map[string]func(*Spec){
		"": func(*Spec) {}, "server": func(s *Spec) { s.Server = "smtp" }, "tls": func(s *Spec) { s.TLS = "none" }, "from": func(s *Spec) { s.From = "x\r\nBcc: y" },
		"to": func(s *Spec) { s.To = nil }, "username": func(s *Spec) { s.Username = "u" },
	} {
		sp := good
		change(&sp)
		fs := sp.Check()
		if want == "" && len(fs) != 0 || want != "" && (len(fs) != 1 || fs[0].Field != want) {
			t.Errorf("%q: %v", want, fs)
		}
	}
}
