package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	r := newRedactor([]string{"MY_SECRET=correct-horse", "HOME=/root", "SLACK_BOT_TOKEN=t0ken-value"})
	in := `key LTAI5tEXAMPLEalice00001 of 1000000000000001 at 203.0.113.7 and 2001:db8::1:2, again LTAI5tEXAMPLEalice00001;
STS.NUEXAMPLE00001 alice@example.com xoxb-EXAMPLE-1 https://hooks.slack.com/services/T0/B0/x correct-horse t0ken-value
127.0.0.1:8686 2026-11-25T15:04:05Z 8589934592 /root v1.2.3 acs:ram::1000000000000001:user/bob`
	want := `key key-1 of account-1 at address-1 and address-2, again key-1;
key-2 email-1 [redacted] [redacted] [redacted] [redacted]
127.0.0.1:8686 2026-11-25T15:04:05Z 8589934592 /root v1.2.3 acs:ram::account-1:user/bob`
	if got := r.redact(in); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := r.redact("1000000000000001"); got != "account-1" {
		t.Errorf("another file names it %s", got)
	}
}

// The files of a state folder that is a link, as systemd makes it, are listed.
func TestBundleOfLinkedState(t *testing.T) {
	dir := t.TempDir()
	state, config := filepath.Join(dir, "state"), filepath.Join(dir, "trailwarden.yaml")
	if err := os.MkdirAll(filepath.Join(dir, "private", "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("private", state); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("state_dir: "+state+"\nhttp: {listen: \"\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range collect(t.Context(), &env{}, config, true) {
		if x.name == "state.txt" {
			if !strings.Contains(string(x.data), "store\n") {
				t.Errorf("state.txt:\n%s", x.data)
			}
			return
		}
	}
	t.Error("there is no state.txt")
}

func FuzzRedact(f *testing.F) {
	f.Add("LTAI5tEXAMPLEalice00001 1000000000000001")
	f.Fuzz(func(t *testing.T, s string) {
		r := newRedactor([]string{"X_TOKEN=hunter22"})
		out := r.redact(s + " hunter22 LTAI5tEXAMPLEalice00001 ")
		if strings.Contains(out, "hunter22") || strings.Contains(out, "LTAI5tEXAMPLEalice00001") {
			t.Fatal(out)
		}
	})
}
