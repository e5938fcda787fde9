package syslog

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
)

func notifier(t *testing.T, address, format string, client *tls.Config) *Notifier {
	t.Helper()
	n, err := New(Spec{Common: responders.Common{Name: "log", Timeout: responders.Duration(30 * time.Second)}, Address: address, Format: format, TLSConfig: client}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// messages are what came when that many have: the notifier waits only a second for the
// sign that they were read.
func messages(t *testing.T, s *chattest.Syslog, want int) []string {
	t.Helper()
	for end := time.Now().Add(time.Minute); len(s.Messages()) < want && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	ms := s.Messages()
	if len(ms) != want {
		t.Fatalf("%d messages, want %d; bad: %v", len(ms), want, s.Bad())
	}
	return ms
}

// form is RFC 5424 with our structured data; a quoted value ends at a quote
// that no backslash precedes.
var form = regexp.MustCompile(`(?s)^<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]{1,255}) trailwarden (\d+) alert \[trailwarden@32473(?: [a-z_]+="(?:[^"\\\]]|\\["\\\]])*")+\] \x{feff}(.*)$`)

func TestForm(t *testing.T) {
	s := chattest.NewSyslog(nil)
	defer s.Close()
	n := notifier(t, "tcp://"+s.Addr(), "", nil)
	want := 0
	for name, notice := range desttest.Notices() {
		if _, err := n.Post(t.Context(), notice); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want++
		msg := messages(t, s, want)[want-1]
		if len(s.Bad()) != 0 {
			t.Fatalf("%s: bad: %v", name, s.Bad())
		}
		f := form.FindStringSubmatch(msg)
		if f == nil || len(msg) > maxMessage || !utf8.ValidString(msg) {
			t.Fatalf("%s: %d bytes: %.900q", name, len(msg), msg)
		}
		desttest.Inert(t, f[5], false, "](")
		for _, r := range strings.Replace(msg, "\ufeff", "", 1) {
			if r < 0x20 || r == 0x7f {
				t.Fatalf("%s: %U", name, r)
			}
		}
		if name == "full" && (f[1] != "131" || !strings.Contains(msg, `severity="high"`) || !strings.Contains(f[5], "HIGH · AccessKey used from a new country")) {
			t.Errorf("%s", msg)
		}
	}
}

func TestStructured(t *testing.T) {
	for _, format := range []string{"json", "ocsf"} {
		s := chattest.NewSyslog(nil)
		n := notifier(t, "tcp://"+s.Addr(), format, nil)
		if err := n.Update(t.Context(), responders.MessageRef{}, desttest.Notices()["full"]); err != nil {
			t.Fatal(err)
		}
		f := form.FindStringSubmatch(messages(t, s, 1)[0])
		if f == nil || !json.Valid([]byte(f[5])) || !strings.Contains(s.Messages()[0], `event="updated"`) {
			t.Errorf("%s: %q", format, s.Messages())
		}
		// What does not fit comes as text, not as half an object.
		if _, err := n.Post(t.Context(), desttest.Huge()); err != nil {
			t.Fatal(err)
		}
		if msg := messages(t, s, 2)[1]; len(msg) > maxMessage || form.FindString(msg) == "" {
			t.Errorf("%s: %d bytes", format, len(msg))
		}
		s.Close()
	}
}

func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	s := chattest.NewSyslog(&tls.Config{Certificates: web.TLS.Certificates})
	defer s.Close()
	client := &tls.Config{RootCAs: web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	if _, err := notifier(t, "tls://"+s.Addr(), "", client).Post(t.Context(), desttest.Bare()); err != nil {
		t.Error(err)
	}
	messages(t, s, 1)
	if _, err := notifier(t, "tls://"+s.Addr(), "", nil).Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "retry" || len(s.Messages()) != 1 {
		t.Errorf("a certificate that nobody signed: %v", err)
	}
}

func TestUDP(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := notifier(t, "udp://"+c.LocalAddr().String(), "json", nil).Post(t.Context(), desttest.Huge()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, _, err := c.ReadFrom(buf)
	if err != nil || n > maxDatagram || !form.Match(buf[:n]) {
		t.Errorf("%d bytes, %v: %q", n, err, buf[:n])
	}
}

func TestNobodyThere(t *testing.T) {
	if _, err := notifier(t, "tcp://"+desttest.Gone(t), "", nil).Post(t.Context(), desttest.Bare()); desttest.Outcome(err) != "retry" {
		t.Error(err)
	}
}

func TestLevels(t *testing.T) {
	last := 7
	for s := alert.Info; s <= alert.Critical; s++ {
		if level(s) >= last {
			t.Errorf("%s is %d, no worse than the one below it", s, level(s))
		}
		last = level(s)
	}
}

func TestCheck(t *testing.T) {
	for address, want := range map[string]string{
		"tls://log.example:6514": "", "tcp://127.0.0.1:514": "", "udp://localhost:514": "", "udp://log.example:514": "in clear", "tcp://10.0.0.1:514": "in clear",
		"log.example": "tls://host:port", "tls://log.example": "tls://host:port", "tls://u:p@log.example:1": "tls://host:port", "http://log.example:1": "scheme",
	} {
		fs := Spec{Common: responders.Common{Name: "log"}, Address: address}.Check()
		if want == "" && len(fs) != 0 || want != "" && (len(fs) != 1 || !strings.Contains(fs[0].Message, want)) {
			t.Errorf("%s: %v", address, fs)
		}
	}
}
