package slack

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/desttest"
	"github.com/trailwarden/trailwarden/responders/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventTime is when the events of the sample happened.
var eventTime = desttest.At

// sample is a notice with every part in use.
func sample() responders.Notice { return message.Sample(eventTime) }

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
