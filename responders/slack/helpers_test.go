package slack

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// golden compares got with testdata/name, byte for byte.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run with -update to make it)", err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs\n got: %s\nwant: %s", path, got, want)
	}
}

var eventTime = time.Date(2026, 11, 20, 6, 2, 11, 0, time.UTC)

// sample is a notice with every part in use.
func sample() responders.Notice {
	return responders.Notice{
		Account: "prod",
		Alert: alert.Alert{
			Schema: alert.Schema, ID: "5d41402abc4b2a76b9719d911017c592", Rule: "ram-key-new-country", RuleVersion: 7,
			Title:    "New country for AccessKey",
			Reason:   `LTAI…Xy9 made its first calls ever from the Netherlands: 3 read calls, then CreateAccessKey for user "backup2". In 41 days this key used only 2 networks in China.`,
			Severity: alert.High, Outcome: "success", Time: eventTime, FirstAt: eventTime.Add(-6 * time.Minute), LastAt: eventTime, Count: 4,
			AccountID: "1000000000000001",
			Actor:     alert.Actor{Type: "ram-user", ID: "user/1000000000000001/ci-deployer", Name: "ci-deployer", AccessKeyID: "LTAI5tEXAMPLEdeploy0Xy9"},
			SourceIP:  "203.0.113.7", Target: &alert.Target{Type: "user", ID: "user/1000000000000001/backup2", Name: "backup2"},
			Attack: []string{"T1098.001"}, EventIDs: []string{"e1", "e2", "e3", "e4"},
			Details: map[string]any{"event": "ram:CreateAccessKey", "region": "cn-hangzhou", "country": "NL", "asn": 64500, "key_age_days": 212},
			Runbook: alert.Runbook{EN: "Ask the owner.\nThen disable the key.", ZH: "先联系负责人。\n再禁用密钥。"}, Revision: 1,
		},
		Actions: []responders.ActionView{{
			ID: "act-1", Kind: "ram.disable_access_key", Describe: "UpdateAccessKey UserName=ci-deployer UserAccessKeyId=LTAI…Xy9 Status=Inactive",
			State: responders.Proposed, At: eventTime,
		}},
	}
}

// server is an emulator without rate limits unless opt says otherwise.
func server(t *testing.T, opt chattest.Options) *chattest.Server {
	t.Helper()
	s := chattest.New(opt)
	t.Cleanup(s.Close)
	return s
}

func config(s *chattest.Server) Config {
	return Config{
		Name: "test", Token: chattest.DefaultBotToken, Channel: chattest.DefaultChannel, APIURL: s.APIURL(), Timeout: 5 * time.Second,
		Rate: 1000, Burst: 1000,
	}
}

func notifier(t *testing.T, cfg Config) *Notifier {
	t.Helper()
	n, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func mustPost(t *testing.T, n *Notifier, notice responders.Notice) responders.MessageRef {
	t.Helper()
	ref, err := n.Post(context.Background(), notice)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// message1 is the only message of the channel.
func message1(t *testing.T, s *chattest.Server) chattest.Message {
	t.Helper()
	ms := s.Messages(chattest.DefaultChannel)
	if len(ms) != 1 {
		t.Fatalf("%d messages in the channel, want 1", len(ms))
	}
	return ms[0]
}
