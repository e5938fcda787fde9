package sls

import (
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
)

func goodConfig() Config {
	return Config{Endpoint: "https://cn-hangzhou.log.aliyuncs.com", Project: "my-project", Logstore: "actiontrail_main"}
}

func TestConfigDefaults(t *testing.T) {
	c := goodConfig()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	c = c.withDefaults()
	if c.Group != "trailwarden" || c.Consumer == "" || c.Start != StartCheckpoint || c.Heartbeat != 3*time.Second ||
		c.HeartbeatTimeout != 9*time.Second || c.PageGroups != 200 {
		t.Errorf("defaults %+v", c)
	}
	c.Heartbeat, c.HeartbeatTimeout = 7*time.Second, 0
	if c = c.withDefaults(); c.HeartbeatTimeout != 21*time.Second {
		t.Errorf("timeout %s", c.HeartbeatTimeout)
	}
}

// Each mistake is refused with what to do about it.
func TestConfigErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no endpoint", func(c *Config) { c.Endpoint = "" }, "https://<region>.log.aliyuncs.com"},
		{"no scheme", func(c *Config) { c.Endpoint = "cn-hangzhou.log.aliyuncs.com" }, "write https://cn-hangzhou.log.aliyuncs.com"},
		{"plain http", func(c *Config) { c.Endpoint = "http://cn-hangzhou.log.aliyuncs.com" }, "write https://cn-hangzhou.log.aliyuncs.com"},
		{"plain http to a private address", func(c *Config) { c.Endpoint = "http://10.0.0.1" }, "loopback only"},
		{"http to a name that looks like loopback", func(c *Config) { c.Endpoint = "http://localhost.example.com" }, "loopback only"},
		{"other scheme", func(c *Config) { c.Endpoint = "ftp://x" }, "use https"},
		{"path", func(c *Config) { c.Endpoint = "https://x.com/p" }, "nothing more"},
		{"user", func(c *Config) { c.Endpoint = "https://u:hunter2hunter2@x.com" }, "nothing more"},
		{"IPv6", func(c *Config) { c.Endpoint = "https://[::1]:443" }, "IPv6"},
		{"project", func(c *Config) { c.Project = "" }, "project"},
		{"logstore path", func(c *Config) { c.Logstore = "a/b" }, "logstore"},
		{"group", func(c *Config) { c.Group = "Upper" }, "group"},
		{"consumer", func(c *Config) { c.Consumer = "a b" }, "consumer"},
		{"start", func(c *Config) { c.Start = "now" }, "use checkpoint, begin, end or time"},
		{"time without time", func(c *Config) { c.Start = StartTime }, "start_time"},
		{"start_time without time", func(c *Config) { c.StartTime = time.Unix(1, 0) }, "set start: time"},
		{"compression", func(c *Config) { c.Compression = "gzip" }, "use lz4 or zstd"},
		{"page", func(c *Config) { c.PageGroups = 1001 }, "1 to 1000"},
		{"fetches", func(c *Config) { c.MaxFetches = -1 }, "at least 1"},
		{"heartbeat", func(c *Config) { c.Heartbeat = 1500 * time.Millisecond }, "whole seconds"},
		{"timeout", func(c *Config) { c.HeartbeatTimeout = 3 * time.Second }, "more than the heartbeat"},
		{"watchdog", func(c *Config) { c.Watchdog = 5 * time.Second }, "twice the heartbeat"},
		{"poll", func(c *Config) { c.Poll = time.Millisecond }, "poll"},
		{"drain", func(c *Config) { c.Drain = time.Millisecond }, "drain"},
		{"half a key", func(c *Config) { c.Credentials = cred.Config{AccessKeyID: "LTAI5tEXAMPLE00000000001"} }, "access_key_secret"},
	} {
		c := goodConfig()
		tc.change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a password: %v", tc.name, err)
		}
		if _, err := New(c, newSink(), Options{}); err == nil {
			t.Errorf("%s: New accepts it", tc.name)
		}
	}
	// All problems at once.
	c := Config{Start: "x", Compression: "y"}
	err := c.Validate()
	for _, want := range []string{"endpoint", "project", "logstore", "start", "compression"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not speak of %s: %v", want, err)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for in, want := range map[string]endpoint{
		"https://cn-hangzhou.log.aliyuncs.com":  {url: "https://cn-hangzhou.log.aliyuncs.com"},
		"https://cn-hangzhou.log.aliyuncs.com/": {url: "https://cn-hangzhou.log.aliyuncs.com"},
		"http://127.0.0.1:8080":                 {url: "http://127.0.0.1:8080", dial: "127.0.0.1:8080", serverName: "127.0.0.1", loopback: true},
		"http://localhost":                      {url: "http://localhost", dial: "localhost:80", serverName: "localhost", loopback: true},
		"https://10.1.2.3":                      {url: "https://10.1.2.3", dial: "10.1.2.3:443", serverName: "10.1.2.3"},
	} {
		got, err := parseEndpoint(in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", in, got, err, want)
		}
	}
}
