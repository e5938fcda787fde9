package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ram"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// TestEventHistory: the event history is read day by day, what was read is not
// read again, an interrupted reading goes on, and what comes out is what the
// same records in a file give.
func TestEventHistory(t *testing.T) {
	const account, key, secret = "1000000000000001", "LTAI5tEXAMPLEreader0001", "EXAMPLEsecretOfTheTest000001"
	var calls atomic.Int64
	var stop atomic.Pointer[context.CancelFunc] // called with the second call
	cloud := ramtest.New(ramtest.Options{Journal: func(e ramtest.Entry) {
		if e.Action == "LookupEvents" && calls.Add(1) == 2 {
			if f := stop.Load(); f != nil {
				(*f)()
			}
		}
	}})
	t.Cleanup(cloud.Close)
	cloud.AddAccount(account, "acme")
	cloud.AddUser(account, "reader")
	if err := cloud.AddKey(account, "reader", ramtest.Key{ID: key, Secret: secret}); err != nil {
		t.Fatal(err)
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	var all strings.Builder
	for i := range 3 { // four, three and two days ago, at noon
		for k := range 2 {
			raw := fmt.Sprintf(`{"eventId":"e-%d-%d","eventName":"CreateAccessKey","serviceName":"Ram","eventTime":%q,"recipientAccountId":%q,"sourceIpAddress":"203.0.113.9",`+
				`"userIdentity":{"type":"root-account","accountId":%q,"principalId":%q},"requestParameters":{"UserName":"u%d"},"responseElements":{"AccessKey":{"AccessKeyId":"LTAI5tEXAMPLEmade%d%d"}}}`,
				i, k, today.AddDate(0, 0, i-4).Add(12*time.Hour+time.Duration(k)*time.Minute).Format("2006-01-02T15:04:05Z"), account, account, account, i, i, k)
			cloud.AddEvent([]byte(raw))
			all.WriteString(raw + "\n")
		}
	}
	dir := t.TempDir()
	kept, conf, file := filepath.Join(dir, "kept"), filepath.Join(dir, "c.yaml"), filepath.Join(dir, "all.jsonl")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, all.String())
	write(filepath.Join(dir, "secret"), secret+"\n")
	write(conf, fmt.Sprintf(`state_dir: %q
credentials: {access_key_id: %s, access_key_secret: "${file:secret}"}
source: {sls: [{endpoint: "http://127.0.0.1:1", region: cn-hangzhou, project: audit, logstore: trail, consumer_group: trailwarden}]}
respond: {ram: {endpoint: %q}}
`, filepath.Join(dir, "state"), key, cloud.URL()))
	run := func(ctx context.Context, args ...string) (code int, out, errs string) {
		var o, e bytes.Buffer
		code = Run(ctx, append([]string{"replay", "--config", conf, "-o", "jsonl"}, args...), &env{in: strings.NewReader(""), out: &o, err: &e})
		return code, o.String(), e.String()
	}
	from := today.AddDate(0, 0, -4).Format("2006-01-02")
	to := today.AddDate(0, 0, -1).Format("2006-01-02")
	code, want, errs := run(t.Context(), "--from", from, "--to", to, file)
	if code != exitOK || strings.Count(want, "\n") < 3 {
		t.Fatalf("%d: %s%s", code, want, errs)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop.Store(&cancel)
	code, _, errs = run(ctx, "--from", from, "--to", to, "--cache", kept, "actiontrail://cn-hangzhou")
	if code != exitInterrupted || !strings.Contains(errs, "the same command goes on from there") {
		t.Fatalf("%d: %s", code, errs)
	}
	left, err := filepath.Glob(filepath.Join(kept, "*"))
	have := len(left) // the answer may have come before the end did
	if err != nil || have < 1 || have > 2 {
		t.Fatalf("kept after an interruption: %v", left)
	}
	if hidden, _ := filepath.Glob(filepath.Join(kept, ".*")); len(hidden) > 0 {
		t.Errorf("half of a day is left: %v", hidden)
	}
	before := calls.Load()
	code, got, errs := run(t.Context(), "--from", from, "--to", to, "--cache", kept, "actiontrail://cn-hangzhou")
	said := fmt.Sprintf("actiontrail://cn-hangzhou: 6 events of 3 days, %d of the days from --cache, in %s\n", have, plural(3-have, "call"))
	if code != exitOK || got != want || !strings.Contains(errs, said) || calls.Load() != before+int64(3-have) {
		t.Errorf("%d calls, %d: %s%s", calls.Load()-before, code, got, errs)
	}
	// With --resume the same command reads the same, and only once: the parts of
	// days at its ends too.
	way := filepath.Join(dir, "way")
	part := []string{"--from", from + "T06:00:00Z", "--resume", way, "actiontrail://cn-hangzhou"}
	full := "/dev/full" // it takes nothing, which is known in the end only
	if _, err := os.Stat(full); err != nil {
		t.Skip("no " + full + " here")
	}
	if code, _, errs := run(t.Context(), append([]string{"--out", full}, part...)...); code != exitUsage {
		t.Fatalf("%d: %s", code, errs)
	}
	before = calls.Load()
	code, got, errs = run(t.Context(), part...)
	if code != exitOK || got != want || calls.Load() != before || !strings.Contains(errs, "6 events were evaluated") {
		t.Errorf("gone on: %d calls, %d: %s%s", calls.Load()-before, code, got, errs)
	}
	if _, err := os.Stat(way); !os.IsNotExist(err) {
		t.Errorf("something is left of it: %v", err)
	}
	// Both sets of rules of a comparison see what was read once.
	mine := filepath.Join(dir, "mine")
	if err := os.Mkdir(mine, 0o700); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(mine, "my.rule.yaml"), `{id: my.rule, version: 1, title: A key was made, description: An example., severity: low, attack: [T1098.001],
match: event.name == "CreateAccessKey", reason: "{actor.kind} made a key", tests: [{name: made, events: [{event: "Ram:CreateAccessKey", user: alice}], expect: {alerts: 1}}]}`)
	diff := func(source string) (string, string) {
		var o, e bytes.Buffer
		if code := Run(t.Context(), []string{"rules", "diff", "--config", conf, "--from", from, "--to", to, "-o", "json", "pack", mine, source},
			&env{in: strings.NewReader(""), out: &o, err: &e}); code != exitFindings {
			t.Errorf("rules diff %s: %d: %s", source, code, e.String())
		}
		return o.String(), e.String()
	}
	before = calls.Load()
	wantDiff, _ := diff(file)
	gotDiff, errs := diff("actiontrail://cn-hangzhou")
	if gotDiff != wantDiff || !strings.Contains(gotDiff, `"rule": "my.rule"`) || calls.Load() != before+3 || strings.Count(errs, "6 events of 3 days, in 3 calls") != 1 {
		t.Errorf("compared in %d calls: %s%s\nwant %s", calls.Load()-before, gotDiff, errs, wantDiff)
	}
	cloud.Close()
	if code, got, errs = run(t.Context(), "-q", "--from", from, "--to", to, "--cache", kept, "actiontrail://cn-hangzhou"); code != exitOK || got != want || errs != "" {
		t.Errorf("from what is kept: %d: %s%s", code, got, errs)
	}
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, "say --from", []string{"actiontrail://cn-hangzhou"}},
		{exitUsage, "want actiontrail://REGION", []string{"--from", from, "actiontrail://evil.example/"}},
		{exitUsage, "nothing is kept of that time", []string{"--from", "400d", "--to", "300d", "actiontrail://cn-hangzhou"}},
		{exitUnreachable, "could not be read", []string{"--from", "1h", "actiontrail://cn-hangzhou"}},
		{exitUnreachable, "run", []string{"jetstream:"}},
	} {
		ctx, done := context.WithTimeout(t.Context(), time.Minute)
		if code, out, errs := run(ctx, c.args...); code != c.code || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d: %s", c.args, code, errs)
		}
		done()
	}
}

// TestEventHistoryStops: a service that stops to answer in the middle of a day is
// asked again, and the day is whole; one that does not begin to is given up, and so
// is one that stays away.
func TestEventHistoryStops(t *testing.T) {
	const n = 70 // two pages
	cloud, client, day := historyCloud(t, ramtest.Options{}, n, time.Minute)
	const tries = 5 // of the client
	for _, c := range []struct {
		name        string
		skip, times int
		events      int
	}{
		{"for a moment", 1, 2*tries + 1, n},
		{"from the beginning", 0, -1, 0},
		{"and stays away", 1, -1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := ramtest.Unavailable("LookupEvents", c.times)
			f.Skip = c.skip
			defer cloud.Inject(f).Remove()
			l := lookup{client: client, region: "cn-hangzhou", dir: t.TempDir(), again: time.Microsecond}
			path, events, err := l.day(t.Context(), day, day, day.AddDate(0, 0, 1), time.Now())
			if c.events == 0 {
				left, _ := filepath.Glob(filepath.Join(l.dir, "*"))
				if !errors.Is(err, responders.ErrRetry) || len(left) > 0 || c.skip == 0 && l.calls != 1 || c.skip > 0 && l.calls != 1+1+askedAgain {
					t.Errorf("%d calls, left %v: %v", l.calls, left, err)
				}
				return
			}
			if lines, _ := countLines(path); err != nil || events != c.events || lines != c.events {
				t.Errorf("%d events, %d lines: %v", events, lines, err)
			}
		})
	}
}

// historyCloud has an event history of n events, each so much after the one before
// it, on the day that is returned.
func historyCloud(t *testing.T, o ramtest.Options, n int, apart time.Duration) (*ramtest.Server, *ram.Client, time.Time) {
	t.Helper()
	const account, key, secret = "1000000000000001", "LTAI5tEXAMPLEreader0001", "EXAMPLEsecretOfTheTest000001"
	cloud := ramtest.New(o)
	t.Cleanup(cloud.Close)
	cloud.AddAccount(account, "acme")
	cloud.AddUser(account, "reader")
	if err := cloud.AddKey(account, "reader", ramtest.Key{ID: key, Secret: secret}); err != nil {
		t.Fatal(err)
	}
	day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -2)
	for i := range n {
		cloud.AddEvent(fmt.Appendf(nil, `{"eventId":"e-%d","eventName":"GetUser","serviceName":"Ram","eventTime":%q,"recipientAccountId":%q}`, i, day.Add(time.Duration(i)*apart).Format("2006-01-02T15:04:05Z"), account))
	}
	credentials := func(context.Context) (string, string, string, error) { return key, secret, "", nil }
	client, err := ram.New(ram.Config{Endpoint: cloud.URL(), Region: "cn-hangzhou", Credentials: credentials, Sleep: func(context.Context, time.Duration) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return cloud, client, day
}

// TestEventHistoryForgets: the emulator says that it has no longer all of an
// account's events, once.
func TestEventHistoryForgets(t *testing.T) {
	var said []string
	_, client, day := historyCloud(t, ramtest.Options{LookupKept: 3, OnForget: func(account string, kept int) { said = append(said, fmt.Sprint(account, " ", kept)) }}, 6, time.Minute)
	l := lookup{client: client, region: "cn-hangzhou", dir: t.TempDir(), again: time.Microsecond}
	path, events, err := l.day(t.Context(), day, day, day.AddDate(0, 0, 1), time.Now())
	if b, rerr := os.ReadFile(path); err != nil || rerr != nil || events != 3 || !strings.Contains(string(b), "e-5") || fmt.Sprint(said) != "[1000000000000001 3]" {
		t.Errorf("%d events, said %v: %v, %v\n%s", events, said, err, rerr, b)
	}
}

// TestEventHistoryTokens: where the service does not take the token of the next page
// any more, or ends a query early, the rest is asked for from the time that was
// reached on: every event is there once, and few are read twice.
func TestEventHistoryTokens(t *testing.T) {
	refused := func(skip, times int) *ramtest.Fault {
		// Which code that has is not documented.
		return &ramtest.Fault{Action: "LookupEvents", Skip: skip, Times: times, Status: 400, Code: "SomethingAboutTheToken", Message: "The token is not valid or has expired."}
	}
	again := ramtest.Fault{Action: "LookupEvents", Skip: 1, Status: 200, Body: `{"RequestId":"r-1","NextToken":"next-50","Events":[]}`, ContentType: "application/json"}
	for _, c := range []struct {
		name   string
		events int
		apart  time.Duration
		most   int
		fault  *ramtest.Fault
		calls  int
		err    string
	}{
		{"refused once", 130, time.Minute, 0, refused(2, 1), 4, ""},
		{"refused once, many in a second", 130, 50 * time.Millisecond, 0, refused(2, 1), 5, ""},
		{"the same page again", 130, time.Minute, 0, &again, 4, ""},
		{"refused from the second page on", 70, time.Minute, 0, refused(1, -1), 3, "SomethingAboutTheToken"},
		{"refused at once", 70, time.Minute, 0, refused(0, -1), 1, "SomethingAboutTheToken"},
		{"ended early, twice", 2100, time.Second, 1000, nil, 20 + 20 + 3, ""},
		{"ended early at its end", 1000, time.Second, 1000, nil, 20 + 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cloud, client, day := historyCloud(t, ramtest.Options{LookupMost: c.most}, c.events, c.apart)
			if c.fault != nil {
				cloud.Inject(*c.fault)
			}
			l := lookup{client: client, region: "cn-hangzhou", dir: t.TempDir(), again: time.Microsecond}
			path, events, err := l.day(t.Context(), day, day, day.AddDate(0, 0, 1), time.Now())
			if l.calls != c.calls {
				t.Errorf("%d calls, want %d", l.calls, c.calls)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%d events: %v", events, err)
				}
				return
			}
			data, readErr := os.ReadFile(path)
			if err != nil || readErr != nil || events != c.events || l.events != c.events || bytes.Count(data, []byte("\n")) != c.events {
				t.Fatalf("%d events: %v, %v", events, err, readErr)
			}
			for i := range c.events {
				if bytes.Count(data, fmt.Appendf(nil, `"e-%d"`, i)) != 1 {
					t.Fatalf("event %d is not there once", i)
				}
			}
		})
	}
}

// TestOverlap: what is reached is behind the latest event by as much as one event
// was behind those before it; times that cannot be do not count.
func TestOverlap(t *testing.T) {
	start := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	o := overlap{start: start, end: start.AddDate(0, 0, 1), last: start}
	for _, c := range []struct {
		event string
		isNew bool
		until time.Duration
	}{
		{`{"eventId":"a","eventTime":"2026-11-20T08:00:00Z"}`, true, 8*time.Hour - time.Second},
		{`{"eventId":"a","eventTime":"2026-11-20T08:00:00Z"}`, false, 8*time.Hour - time.Second},
		{`{"eventId":"b","eventTime":"2026-11-20T07:59:50Z"}`, true, 8*time.Hour - 11*time.Second},
		{`{"eventId":"c","eventTime":"2099-01-01T00:00:00Z"}`, true, 8*time.Hour - 11*time.Second},
		{`{"eventId":"d"}`, true, 8*time.Hour - 11*time.Second},
		{`no event`, true, 8*time.Hour - 11*time.Second},
		{`{"eventId":"e","eventTime":"2026-11-20T09:00:00Z"}`, true, 9*time.Hour - 11*time.Second},
	} {
		if got := o.add([]byte(c.event)); got != c.isNew || !o.until().Equal(start.Add(c.until)) {
			t.Errorf("%s: %v, until %s", c.event, got, o.until())
		}
	}
	if o.forget(); len(o.seen) != 1 {
		t.Errorf("%d are kept, of which one may come again", len(o.seen))
	}
}
