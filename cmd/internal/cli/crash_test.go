package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/failpoint"
	"github.com/trailwarden/trailwarden/pipeline/replay"
	"github.com/trailwarden/trailwarden/pipeline/slstest"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/chattest"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// A trail for crash tests: ordinary life of two accounts, repeated records,
// broken ones, and an attack every second.
type trail struct {
	records [][]byte
	keys    []string // leaked ones: each must go inactive
}

const (
	crashGrace = 8 * time.Second // longer than any of our outages
	feedRate   = 100             // records a second
	accountA   = "1000000000000001"
	accountB   = "1000000000000002"
)

// writeTrail writes n records of which record i happened at start+i/feedRate,
// which is when it is fed. An attack comes every so many seconds.
func writeTrail(n int, start time.Time, every int) trail {
	var tr trail
	seq := 0
	add := func(i int, account, user, service, name, rw string, more map[string]any) {
		seq++
		ev := map[string]any{
			"eventId": fmt.Sprintf("E-EXAMPLE-%06d", seq), "eventVersion": 1, "eventType": "ApiCall", "eventName": name, "serviceName": service, "eventRW": rw,
			"eventTime": start.Add(time.Duration(i) * time.Second / feedRate).UTC().Format("2006-01-02T15:04:05Z"), "acsRegion": "cn-hangzhou",
			"recipientAccountId": account, "sourceIpAddress": "198.51.100.10", "userAgent": "AliyunConsole",
			"userIdentity": map[string]any{"type": "ram-user", "accountId": account, "principalId": "2" + account[1:] + user, "userName": user},
		}
		if user == "root" {
			ev["userIdentity"] = map[string]any{"type": "root-account", "accountId": account, "principalId": account, "userName": "root"}
		}
		for k, v := range more {
			if k == "accessKeyId" {
				ev["userIdentity"].(map[string]any)[k] = v
				continue
			}
			ev[k] = v
		}
		b, err := json.Marshal(ev)
		if err != nil {
			panic(err) // plain texts and maps of them
		}
		tr.records = append(tr.records, b)
	}
	for i := 0; len(tr.records) < n; i = len(tr.records) {
		account := []string{accountA, accountB}[i%2]
		second, k := i/feedRate, i%feedRate
		if k == 10 && second%every != 0 {
			k = 11
		}
		kind := second / every % 5
		switch {
		case k == 10 && kind == 0: // a key that Alibaba Cloud restricts as leaked, used three times
			user, key := fmt.Sprintf("ci-%02d", second), fmt.Sprintf("LTAI5tEXAMPLEleaked%03d", second)
			tr.keys = append(tr.keys, key)
			for _, call := range [][2]string{{"Sts", "GetCallerIdentity"}, {"Ram", "ListUsers"}, {"Ecs", "DescribeInstances"}} {
				add(i, accountA, user, call[0], call[1], "Read", map[string]any{"accessKeyId": key, "sourceIpAddress": "203.0.113.140",
					"errorCode": "Forbidden", "errorMessage": "There is a risk of leakage of this AccessKey."})
			}
		case k == 10 && kind == 1:
			add(i, account, fmt.Sprintf("admin-%02d", second), "Ims", "UnbindMFADevice", "Write", map[string]any{
				"requestParameters": map[string]any{"UserPrincipalName": fmt.Sprintf("victim-%02d@%s.onaliyun.com", second, account)}})
		case k == 10 && kind == 2:
			add(i, account, fmt.Sprintf("admin-%02d", second), "Actiontrail", "StopLogging", "Write", map[string]any{
				"requestParameters": map[string]any{"Name": fmt.Sprintf("trail-%02d", second)}})
		case k == 10 && kind == 3:
			add(i, account, "root", "AasCustomer", "ConsoleSignin", "Write", map[string]any{"eventType": "ConsoleSignin",
				"sourceIpAddress": fmt.Sprintf("203.0.113.%d", second%250), "additionalEventData": map[string]any{"mfaChecked": "false"}})
		case k == 10 && kind == 4: // one address, many users: state across records, in order
			for u := range 8 {
				add(i, account, fmt.Sprintf("user-%02d", u), "AasSub", "ConsoleSignin", "Write", map[string]any{"eventType": "ConsoleSignin",
					"sourceIpAddress": fmt.Sprintf("198.51.%d.%d", 101+second/250, second%250), "errorCode": "Authentication.Failed", "errorMessage": "wrong password"})
			}
		case k == 50: // delivered twice
			tr.records = append(tr.records, tr.records[len(tr.records)-1])
		case k == 70 && second%4 == 0:
			tr.records = append(tr.records, []byte(fmt.Sprintf(`{"eventId":"E-EXAMPLE-POISON-%d","eventName`, second)))
		default:
			add(i, account, fmt.Sprintf("user-%02d", i%29), "Ecs", "DescribeInstances", "Read", nil)
		}
	}
	return tr
}

// expected are the alerts that a replay of the records raises and that people
// are told: id to count.
func (tr trail) expected(t *testing.T) map[string]alert.Alert {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trail.jsonl")
	if err := os.WriteFile(path, bytes.Join(tr.records, []byte("\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := app.Rules{Pack: true}.Load()
	if err != nil {
		t.Fatal(err)
	}
	res, err := replay.Run(context.Background(), []string{path}, replay.RunConfig{Rules: set,
		Engine: detectors.EngineConfig{Judge: app.NewJudge(), Grace: crashGrace, DedupHorizon: 24 * time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	alerts, err := res.AllAlerts()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]alert.Alert{}
	for _, a := range alerts {
		if a.Severity >= alert.Medium && !a.Signal {
			out[a.ID] = a
		}
	}
	return out
}

// lockedBuffer may be written and read at the same time.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// child is one life of `trailwarden run`.
type child struct {
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan struct{}
}

func startRun(t *testing.T, bin, cfg string, env ...string) *child {
	t.Helper()
	c := exec.Command(bin, "run", "--config", cfg)
	c.Env = append(append(os.Environ(), "TRAILWARDEN_DETECT_GRACE="+crashGrace.String()), env...)
	return start(t, c)
}

// start starts a program that is killed when the test ends.
func start(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{cmd: cmd, log: &lockedBuffer{}, done: make(chan struct{})}
	cmd.Stderr = c.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		_ = cmd.Wait() // ProcessState says how it ended
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-c.done
	})
	return c
}

// stop asks the program to end and says how long it took.
func (c *child) stop(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // when it is gone already, its exit code says so
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		t.Errorf("SIGTERM: still running after 10 s\n%s", tail(c.log.String()))
		_ = c.cmd.Process.Kill()
		<-c.done
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("SIGTERM: exit code %d, want 0\n%s", code, tail(c.log.String()))
	}
	return time.Since(start)
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// rig is a fake cloud whose chat has no limits, and its journal.
type rig struct {
	cloud   *fakecloud.Cloud
	journal *lockedBuffer
	state   string
}

func newRig(t *testing.T, tr trail) *rig { return newRigAt(t, tr, nil) }

// newRigAt is newRig in a cloud with a clock of its own.
func newRigAt(t *testing.T, tr trail, now func() time.Time) *rig {
	t.Helper()
	r := &rig{journal: &lockedBuffer{}}
	dir := t.TempDir()
	var err error
	r.cloud, err = fakecloud.Start(fakecloud.Options{Dir: dir, Journal: r.journal, ChatRate: -1, Now: now}, []string{accountA, accountB})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, rec := range tr.records {
		r.cloud.Seed(rec)
	}
	r.state = filepath.Join(dir, "state")
	return r
}

// changes counts the calls that changed a key, by key. Each comes back as one
// more record of the trail.
func (r *rig) changes(t *testing.T) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(r.journal.String()), "\n") {
		var e struct {
			Service, Action, Key string
			Done                 bool
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("journal: %v: %s", err, line)
		}
		if e.Service == "ram" && e.Action == "UpdateAccessKey" && e.Done {
			out[e.Key]++
		}
	}
	return out
}

// told are the alerts in the chat: how often each is a message of its own.
func (r *rig) told() map[string]int {
	out := map[string]int{}
	for _, m := range r.cloud.Chat.Messages(chattest.DefaultChannel) {
		id := "(no alert id) " + m.Text
		if m.Metadata != nil {
			if s, ok := m.Metadata.EventPayload["alert_id"].(string); ok {
				id = s
			}
		}
		out[id]++
	}
	return out
}

// accounted adds up what status says became of the records.
func accounted(s admin.Status) (n uint64) {
	for _, p := range s.Partitions {
		n += p.Evaluated + p.Duplicates
	}
	for _, k := range s.Parked {
		n += k
	}
	return n
}

func sum[K comparable](m map[K]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

// The program is killed at random moments while attacks arrive, thirty times and
// more. A second one, on a cloud of its own, is fed the same and left alone. In
// the end both have the same alerts, the same actions in their journal, the same
// messages in the chat, and have asked the cloud for the same changes.
// CRASH_KILLS asks for another number (make crash).
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	want := 30
	if s := os.Getenv("CRASH_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("CRASH_KILLS=%q: want a number", s)
		}
		want = n
	}
	o := ordeal{seconds: max(6, want*8/10), kills: want, calm: true}
	if want > 60 {
		// A program that lives for half a second at a time tells less than an
		// attack a second; what it cannot tell becomes a digest, which is right
		// and not what is compared here.
		o.attacks = 6
	}
	if n, err := strconv.Atoi(os.Getenv("CRASH_EVERY")); err == nil && n > 0 {
		o.attacks = n // seconds between attacks
	}
	endure(t, o)
}

// The services fail in every way that leaves the outcome open: answers are
// lost after the work was done, cut, delayed, or are errors of a load
// balancer. Afterwards everything is as if they had not.
func TestServicesFail(t *testing.T) {
	t.Parallel()
	endure(t, ordeal{seconds: 6, trouble: troubles})
}

// Both at once.
func TestKilledWhileServicesFail(t *testing.T) {
	t.Parallel()
	endure(t, ordeal{seconds: 8, kills: 4, trouble: troubles})
}

// The program ends itself with SIGKILL at each named moment, one life for each,
// between the steps of every stage. Afterwards everything is as if it had not.
func TestKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	bin := failingBinary(t)
	points := failpoint.Names()
	// One attack for each life, so that nothing becomes a digest. Every fifth
	// second has one that is acted on; moments of actions wait for it.
	acts := func(p string) bool { return strings.HasPrefix(p, "action.") }
	seconds := 0
	upTo := func(p string) int {
		for seconds++; acts(p) && (seconds-1)%5 != 0; seconds++ {
		}
		return seconds * feedRate
	}
	ends := make([]int, len(points))
	for i, p := range points {
		ends[i] = upTo(p)
	}
	start := time.Now().Add(-time.Minute).Truncate(time.Second)
	tr := writeTrail(ends[len(ends)-1]+feedRate, start, 1)
	want := tr.expected(t)
	// What the program changes comes back as a record of the trail's own time, as in
	// a cloud. One of later would make the lives that follow late.
	var at atomic.Int64
	r := newRigAt(t, tr, func() time.Time { return start.Add(time.Duration(max(at.Load()-1, 0)) * time.Second / feedRate) })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	client := admin.Dial(r.state)
	fed := 0
	for i, p := range points {
		r.cloud.Append(tr.records[fed:ends[i]]...)
		fed = ends[i]
		at.Store(int64(fed))
		c := startRun(t, bin, r.cloud.Config, "FAILPOINT="+p)
		if strings.HasPrefix(p, "snapshot.") {
			// One is made at an orderly end.
			if !every(20*time.Millisecond, func() bool {
				s, err := client.Status(ctx)
				return err == nil && accounted(s) > 0
			}) {
				t.Fatalf("%s: it does not begin\n%s", p, tail(c.log.String()))
			}
			if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-c.done:
		case <-time.After(patience):
			t.Fatalf("%s is never reached\n%s", p, tail(c.log.String()))
		}
		if st, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !st.Signaled() || st.Signal() != syscall.SIGKILL {
			t.Fatalf("%s: it ended with %v, want SIGKILL\n%s", p, c.cmd.ProcessState, tail(c.log.String()))
		}
	}
	r.cloud.Append(tr.records[fed:]...)
	last := startRun(t, realBinary(t), r.cloud.Config)
	got, settled := r.settle(ctx, t, tr, want)
	last.stop(t)
	late := uint64(0)
	for _, p := range got.status.Partitions {
		late += p.Late
	}
	t.Logf("%d records (%d late), %d alerts, %d keys; ended at %d points", len(tr.records), late, len(want), len(tr.keys), len(points))
	if !settled {
		t.Errorf("it did not settle within %s; the last life:\n%s", patience, tail(last.log.String()))
	}
	got.check(t, r, tr, want)
}

// ordeal is what a program has to endure.
type ordeal struct {
	seconds int // of the trail
	kills   int // at least so many; 0 is none
	trouble func(*rig, *rand.Rand)
	attacks int  // an attack every so many seconds, default 1
	calm    bool // compare with a program that is left alone
}

// troubles scripts faults of all three services; what they hit depends on the
// moment.
func troubles(r *rig, rnd *rand.Rand) {
	for range 5 { // each may cost a pause of up to ten seconds
		r.cloud.Chat.Script("chat.postMessage", []chattest.Fault{
			{Drop: true, Worked: true}, {Drop: true}, chattest.Status(502), {Status: 504, Worked: true}, chattest.TooMany(time.Second), {}, {},
		}[rnd.IntN(7)])
		r.cloud.Chat.Script("chat.update", []chattest.Fault{{Drop: true, Worked: true}, {Drop: true}, chattest.Status(500), {}}[rnd.IntN(4)])
	}
	for i := range 3 {
		// Each of these did the work. Whether it was is for the program to find out.
		r.cloud.RAM.Inject([]ramtest.Fault{
			{Action: "UpdateAccessKey", Skip: i, DropAnswer: true}, {Action: "UpdateAccessKey", Skip: i, AfterWork: true, Status: 503, Code: "ServiceUnavailable"},
			{Action: "UpdateAccessKey", Skip: i, Truncate: true},
		}[rnd.IntN(3)])
		r.cloud.RAM.Inject([]ramtest.Fault{
			{Action: "ListAccessKeys", Skip: 2 * i, Status: 400, Code: "Throttling.User"}, {Action: "ListAccessKeys", Skip: 2 * i, Refuse: true},
			{Action: "ListAccessKeys", Skip: 2 * i, Status: 502, Body: "<html>Bad Gateway</html>"},
		}[rnd.IntN(3)])
	}
	for i := range 6 {
		pull := []slstest.Fault{
			{Call: slstest.PullLogs, Status: 500, Code: "InternalServerError"}, {Call: slstest.PullLogs, Truncate: true}, {Call: slstest.PullLogs, Garbage: true},
			{Call: slstest.PullLogs, DropAnswer: true}, {Call: slstest.PullLogs, Delay: 700 * time.Millisecond}, {Call: slstest.PullLogs, Status: 403, Code: "ReadQuotaExceed"},
		}[(i+rnd.IntN(2))%6]
		pull.Skip = 3 * i
		r.cloud.SLS.Inject(pull)
		other := []slstest.Fault{
			{Call: slstest.UpdateCheckpoint, DropAnswer: true}, {Call: slstest.UpdateCheckpoint, Status: 500, Code: "InternalServerError"},
			{Call: slstest.HeartBeat, Refuse: true},
		}[rnd.IntN(3)]
		other.Skip = 2 * i
		r.cloud.SLS.Inject(other)
	}
}

// feed lets the records arrive, at the rate of the trail.
func (r *rig) feed(ctx context.Context, tr trail) <-chan error {
	fed := make(chan error, 1)
	go func() {
		i := 0
		_, err := r.cloud.Feed(ctx, func() ([]byte, error) {
			if i == len(tr.records) {
				return nil, nil
			}
			i++
			return tr.records[i-1], nil
		}, feedRate)
		fed <- err
	}()
	return fed
}

// outcome is what remains of a run.
type outcome struct {
	status  admin.Status
	alerts  []alert.Alert
	actions []responders.ActionDetail
	told    map[string]int // messages by alert
	changes map[string]int // calls that changed a key, by key
}

// settle waits until everything that must happen has happened.
func (r *rig) settle(ctx context.Context, t *testing.T, tr trail, want map[string]alert.Alert) (o outcome, ok bool) {
	client := admin.Dial(r.state)
	ok = every(200*time.Millisecond, func() bool {
		var err error
		if o.status, err = client.Status(ctx); err != nil {
			return false
		}
		if o.alerts, err = alertsOf(ctx, client, r.told()); err != nil {
			return false
		}
		if o.actions, err = client.Actions(ctx); err != nil {
			return false
		}
		return r.done(t, tr, want, o)
	})
	return o, ok
}

// alertsOf are the alerts of a running program, with the digests among those that
// people were told: these are in no list, and who was told of one asks for it.
func alertsOf(ctx context.Context, c *admin.Client, told map[string]int) ([]alert.Alert, error) {
	as, err := c.Alerts(ctx, 10_000)
	for id := range told {
		if err != nil || slices.ContainsFunc(as, func(a alert.Alert) bool { return a.ID == id }) {
			continue
		}
		if d, err := c.Alert(ctx, id); err == nil {
			as = append(as, d.Alert)
		}
	}
	return as, err
}

// done says whether everything that must happen has happened.
func (r *rig) done(t *testing.T, tr trail, want map[string]alert.Alert, o outcome) bool {
	told, untold := r.told(), 0
	for id, w := range want {
		i := slices.IndexFunc(o.alerts, func(a alert.Alert) bool { return a.ID == id })
		if i < 0 || o.alerts[i].Count < w.Count {
			return false
		}
		if told[id] == 0 {
			untold++
		}
	}
	if untold > o.digested(told) {
		return false
	}
	for _, k := range tr.keys {
		if r.cloud.RAM.KeyStatus(k) != ramtest.Inactive {
			return false
		}
	}
	for _, a := range o.actions {
		if a.State == responders.Approved || a.State == responders.Executing {
			return false
		}
	}
	waiting := 0
	for _, d := range o.status.Destinations {
		waiting += d.Waiting
	}
	return waiting == 0 && accounted(o.status) >= uint64(len(tr.records)+sum(r.changes(t)))
}

// endure feeds a trail of so many seconds to a program that is killed now and
// then, or whose services fail, and checks what remains: each alert is told
// once, each leaked key was disabled by one call, each record is accounted for.
func endure(t *testing.T, o ordeal) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CRASH_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("again with: CRASH_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	bin := realBinary(t)
	n := o.seconds * feedRate
	if testing.Short() {
		n = 6 * feedRate
		o.kills = min(o.kills, 4)
	}
	start := time.Now().Truncate(time.Second)
	tr := writeTrail(n, start, max(1, o.attacks))
	want := tr.expected(t)
	if len(want) < len(tr.keys) || len(tr.keys) == 0 {
		t.Fatalf("the trail is too tame: %d alerts, %d leaked keys", len(want), len(tr.keys))
	}
	r := newRig(t, tr)
	if o.trouble != nil {
		o.trouble(r, rnd)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(3*o.seconds)*time.Second+3*time.Minute)
	defer cancel()
	var calm *rig
	var peace *child
	if o.calm {
		calm = newRig(t, tr)
		peace = startRun(t, bin, calm.cloud.Config)
		calmly := calm.feed(ctx, tr)
		defer func() {
			if err := <-calmly; err != nil {
				t.Error(err)
			}
		}()
	}
	fed := r.feed(ctx, tr)

	kills, terms, feeding := 0, 0, true
	var slowest time.Duration
	for o.kills > 0 && (feeding || kills < o.kills) {
		c := startRun(t, bin, r.cloud.Config)
		// From before the store is open to well into work.
		life := time.NewTimer(time.Duration(50+rnd.IntN(1200)) * time.Millisecond)
		select {
		case err := <-fed:
			if err != nil {
				t.Fatal(err)
			}
			feeding = false
		case <-c.done:
			t.Fatalf("it ended by itself: %v\n%s", c.cmd.ProcessState, tail(c.log.String()))
		case <-life.C:
		}
		life.Stop()
		// A program that is asked to end does, under load too. One that has
		// hardly begun need not know the signal yet.
		if rnd.IntN(8) == 0 && strings.Contains(c.log.String(), `"running"`) {
			slowest = max(slowest, c.stop(t))
			terms++
			continue
		}
		if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		<-c.done
		kills++
	}

	last := startRun(t, bin, r.cloud.Config)
	if feeding {
		if err := <-fed; err != nil {
			t.Fatal(err)
		}
	}
	got, settled := r.settle(ctx, t, tr, want)
	slowest = max(slowest, last.stop(t))
	t.Logf("%d records, %d alerts, %d keys, %d actions; killed %d times, asked to end %d times (at most %s)",
		len(tr.records), len(want), len(tr.keys), len(got.actions), kills, terms+1, slowest.Round(time.Millisecond))
	if !settled {
		t.Errorf("it did not settle within %s; the last life:\n%s", patience, tail(last.log.String()))
	}
	got.check(t, r, tr, want)
	if calm == nil {
		return
	}
	undisturbed, settled := calm.settle(ctx, t, tr, want)
	peace.stop(t)
	if !settled {
		t.Errorf("the one left alone did not settle within %s:\n%s", patience, tail(peace.log.String()))
	}
	undisturbed.check(t, calm, tr, want)
	same(t, "alerts", got.alertLines(t), undisturbed.alertLines(t))
	same(t, "actions in the journal", got.actionLines(), undisturbed.actionLines())
	if got.digested(got.told)+undisturbed.digested(undisturbed.told) == 0 {
		same(t, "messages in the chat", got.told, undisturbed.told)
	}
	same(t, "changes in the cloud", got.changes, undisturbed.changes)
}

// same compares what a killed run and an undisturbed one left behind.
func same[V comparable](t *testing.T, what string, got, want map[string]V) {
	t.Helper()
	for id, v := range want {
		if g, ok := got[id]; !ok || g != v {
			t.Errorf("%s: %s is %v after the kills (there: %v), undisturbed %v", what, id, g, ok, v)
		}
	}
	for id, g := range got {
		if _, ok := want[id]; !ok {
			t.Errorf("%s: %s (%v) is there only after the kills", what, id, g)
		}
	}
}

// alertLines are the alerts as they are exported.
func (o outcome) alertLines(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for i := range o.alerts {
		if o.isDigest(o.alerts[i].ID) {
			continue // of how it was told
		}
		b, err := json.Marshal(&o.alerts[i])
		if err != nil {
			t.Fatal(err)
		}
		out[o.alerts[i].ID] = string(b)
	}
	return out
}

// actionLines say of each action what it was for and how it ended.
func (o outcome) actionLines() map[string]string {
	out := map[string]string{}
	for _, a := range o.actions {
		out[a.ID] = fmt.Sprintf("%s: %s, for alert %s", a.Describe, a.State, a.Action.AlertID)
	}
	return out
}

func (o *outcome) isDigest(id string) bool {
	return slices.ContainsFunc(o.alerts, func(a alert.Alert) bool { return a.ID == id && a.Rule == responders.RuleDigest })
}

// digested counts the incidents that were told in digests.
func (o *outcome) digested(told map[string]int) (n int) {
	for _, a := range o.alerts {
		k := 0
		if a.Rule == responders.RuleDigest && told[a.ID] > 0 {
			_, _ = fmt.Sscanf(a.Title, "%d more incidents", &k)
		}
		n += k
	}
	return n
}

// check compares what remains with what a replay of the records says.
func (o *outcome) check(t *testing.T, r *rig, tr trail, want map[string]alert.Alert) {
	t.Helper()
	o.told, o.changes = r.told(), r.changes(t)
	// On a machine that is so slow that many pile up, the rest of them is told in
	// a digest: each of them once there, or once by itself.
	digested, untold := o.digested(o.told), 0
	for id, w := range want {
		if digested > 0 && o.told[id] == 0 {
			untold++
		} else if o.told[id] != 1 {
			t.Errorf("alert %s (%s, %s) is %d messages in the chat, want 1", id, w.Rule, w.Reason, o.told[id])
		}
		i := slices.IndexFunc(o.alerts, func(a alert.Alert) bool { return a.ID == id })
		if i < 0 {
			t.Errorf("alert %s (%s) is missing", id, w.Rule)
		} else if o.alerts[i].Count != w.Count {
			t.Errorf("alert %s (%s): count %d, want %d", id, w.Rule, o.alerts[i].Count, w.Count)
		}
	}
	if untold != digested {
		t.Errorf("digests carry %d incidents, and %d were not told by themselves", digested, untold)
	}
	for id, n := range o.told {
		if o.isDigest(id) {
			continue
		}
		if _, ok := want[id]; !ok {
			i := slices.IndexFunc(o.alerts, func(a alert.Alert) bool { return a.ID == id })
			what := "unknown"
			if i >= 0 {
				what = o.alerts[i].Rule + ": " + o.alerts[i].Reason
			}
			t.Errorf("%d messages that an uninterrupted run does not send: %s %s", n, id, what)
		}
	}
	for _, k := range tr.keys {
		if s := r.cloud.RAM.KeyStatus(k); s != ramtest.Inactive {
			t.Errorf("key %s is %s", k, s)
		}
		if o.changes[k] != 1 {
			t.Errorf("key %s was changed by %d calls, want 1", k, o.changes[k])
		}
	}
	if got, want := accounted(o.status), uint64(len(tr.records)+sum(o.changes)); got != want {
		t.Errorf("%d records are accounted for (evaluated, repeated, parked %v), want %d", got, o.status.Parked, want)
	}
	poison := 0
	for _, rec := range tr.records {
		if !json.Valid(rec) {
			poison++
		}
	}
	parked := uint64(0)
	for _, k := range o.status.Parked {
		parked += k
	}
	if parked != uint64(poison) {
		t.Errorf("%d records are parked (%v), want %d", parked, o.status.Parked, poison)
	}
}

// In the middle of a backlog it ends within 10 s when it is asked to, with
// exit code 0, and the next start does the rest.
func TestAskedToEndUnderLoad(t *testing.T) {
	t.Parallel()
	bin := realBinary(t)
	tr := writeTrail(30_000, time.Now().Add(-10*time.Minute).Truncate(time.Second), 1)
	r := newRig(t, tr)
	r.cloud.Append(tr.records...)
	c := startRun(t, bin, r.cloud.Config)
	client := admin.Dial(r.state)
	var seen uint64
	if !every(5*time.Millisecond, func() bool {
		s, err := client.Status(context.Background())
		if err == nil {
			seen = accounted(s)
		}
		return seen > 500
	}) {
		t.Fatalf("nothing is read\n%s", tail(c.log.String()))
	}
	took := c.stop(t)
	t.Logf("asked after %d of %d records, it took %s", seen, len(tr.records), took.Round(time.Millisecond))
	if _, err := client.Status(context.Background()); !errors.Is(err, admin.ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
	next := startRun(t, bin, r.cloud.Config)
	total := func() uint64 { return uint64(len(tr.records) + sum(r.changes(t))) }
	// Each key that is disabled adds a record, so these come first.
	contained := func() bool {
		for _, k := range tr.keys {
			if r.cloud.RAM.KeyStatus(k) != ramtest.Inactive {
				return false
			}
		}
		return true
	}
	var status admin.Status
	if !every(200*time.Millisecond, func() bool {
		s, err := client.Status(context.Background())
		if err == nil {
			status = s
		}
		return contained() && accounted(status) >= total()
	}) {
		t.Errorf("the rest is not done\n%s", tail(next.log.String()))
	}
	next.stop(t)
	if got := accounted(status); got != total() {
		t.Errorf("%d records are accounted for, want %d", got, total())
	}
}

// turnedAway says that a second process ends because of what the holder has, and tells
// who that is and what to do.
func turnedAway(t *testing.T, second *exec.Cmd, folder string, holder *child) {
	t.Helper()
	late := time.AfterFunc(time.Minute, func() { _ = second.Process.Kill() }) // it runs instead
	out, err := second.CombinedOutput()
	late.Stop()
	var ee *exec.ExitError
	if !errors.As(err, &ee) || ee.ExitCode() != exitUnreachable {
		t.Errorf("the second process: %v, want exit code 3\n%s", err, out)
	}
	for _, want := range []string{"in use", folder, strconv.Itoa(holder.cmd.Process.Pid), "its own state_dir"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not said: %s", want, out)
		}
	}
}

// A second process on one store is turned away with a sentence that says who
// has it; when the holder is killed, the store is free at once.
func TestOneProcessPerStore(t *testing.T) {
	t.Parallel()
	bin := realBinary(t)
	r := newRig(t, trail{})
	holder := startRun(t, bin, r.cloud.Config)
	client := admin.Dial(r.state)
	up := func() bool { _, err := client.Status(context.Background()); return err == nil }
	if !every(20*time.Millisecond, up) {
		t.Fatalf("it does not start\n%s", tail(holder.log.String()))
	}
	turnedAway(t, exec.Command(bin, "run", "--config", r.cloud.Config), r.state, holder)
	cluster := exec.Command(bin, "run", "--config", r.cloud.Config, "--role", "detect")
	cluster.Env = append(os.Environ(), "TRAILWARDEN_NATS_URL="+startNATS(t))
	turnedAway(t, cluster, r.state, holder) // one whose store is elsewhere
	if !up() {
		t.Error("the first process suffered from the second")
	}
	if err := holder.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-holder.done
	next := startRun(t, bin, r.cloud.Config)
	if !every(20*time.Millisecond, up) {
		t.Errorf("the store is not free after a kill\n%s", tail(next.log.String()))
	}
	next.stop(t)
}
