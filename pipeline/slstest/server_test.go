package slstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	sls "github.com/aliyun/aliyun-log-go-sdk"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	sls.Logger = quiet{}
	goleak.VerifyTestMain(m,
		// The SDK builds its zstd coder at init.
		goleak.IgnoreAnyFunction("github.com/klauspost/compress/zstd.(*blockDec).startDecoder"))
}

// quiet keeps the SDK's package logger off stdout.
type quiet struct{}

func (quiet) Log(...any) error { return nil }

const (
	testKey    = "LTAI5tEXAMPLEreader00001"
	testSecret = "EXAMPLEsecretEXAMPLEsecret0001"
	testToken  = "EXAMPLEtokenEXAMPLEtoken+/=="
)

// client is the real SDK pointed at the emulator: whatever name it builds
// from project and endpoint, the connection goes there.
func client(t *testing.T, s *Server, id, secret, token string) sls.ClientInterface {
	t.Helper()
	addr := strings.TrimPrefix(s.URL(), "http://")
	tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	c := sls.CreateNormalInterface(s.URL(), id, secret, token)
	c.SetHTTPClient(&http.Client{Transport: tr, Timeout: 10 * time.Second})
	c.SetRetryTimeout(2 * time.Second)
	return c
}

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s := New(o)
	t.Cleanup(s.Close)
	return s
}

const (
	testProject = "trailwarden"
	testStore   = "actiontrail_main"
)

func codeOf(err error) string {
	var e *sls.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	if got := codeOf(err); got != code {
		t.Errorf("%s: error code %q, want %q", what, got, code)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func records(n int) [][]byte {
	var out [][]byte
	for i := range n {
		out = append(out, fmt.Appendf(nil, `{"eventId":"e-%04d","eventName":"CreateAccessKey"}`, i))
	}
	return out
}

func drain(t *testing.T, c sls.ClientInterface, shard int, cursor string, compress int) (values []string, next string) {
	t.Helper()
	for {
		gl, meta, err := c.PullLogsWithQuery(&sls.PullLogRequest{
			Project: testProject, Logstore: testStore, ShardID: shard, Cursor: cursor, LogGroupMaxCount: 100, CompressType: compress,
		})
		check(t, err)
		if meta.Count != len(gl.LogGroups) {
			t.Fatalf("count header %d, groups %d", meta.Count, len(gl.LogGroups))
		}
		for _, g := range gl.LogGroups {
			if g.GetTopic() != "actiontrail_audit_event" {
				t.Fatalf("topic %q", g.GetTopic())
			}
			for _, l := range g.Logs {
				for _, kv := range l.Contents {
					if kv.GetKey() == "event" {
						values = append(values, kv.GetValue())
					}
				}
			}
		}
		if meta.NextCursor == cursor {
			return values, cursor
		}
		cursor = meta.NextCursor
	}
}

func TestPullBothCompressions(t *testing.T) {
	for _, compress := range []int{sls.Compress_LZ4, sls.Compress_ZSTD} {
		s := start(t, Options{LogsPerGroup: 3})
		c := client(t, s, testKey, testSecret, "")
		want := records(1000)
		s.Append(0, want...)
		begin, err := c.GetCursor(testProject, testStore, 0, "begin")
		check(t, err)
		got, next := drain(t, c, 0, begin, compress)
		if len(got) != len(want) {
			t.Fatalf("%d records, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i] != string(want[i]) {
				t.Fatalf("record %d is %q, want %q", i, got[i], want[i])
			}
		}
		end, err := c.GetCursor(testProject, testStore, 0, "end")
		check(t, err)
		if next != end {
			t.Errorf("reading ended at %s, the end is %s", next, end)
		}
	}
}

func TestIncompressibleBodyIsOneLiteralBlock(t *testing.T) {
	for _, n := range []int{0, 1, 14, 15, 269, 270, 100_000} {
		raw := make([]byte, n)
		x := uint32(1)
		for i := range raw {
			x = x*1664525 + 1013904223
			raw[i] = byte(x >> 24)
		}
		got, err := decompress("lz4", literalBlock(raw), n)
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("literal block of %d bytes does not decode: %v", n, err)
		}
		if got, err = decompress("lz4", compress("lz4", raw), n); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%d random bytes do not survive lz4: %v", n, err)
		}
	}
}

func TestCursorsCountGroups(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s, testKey, testSecret, "")
	t0 := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i := range 10 {
		s.AppendLogs(0, t0.Add(time.Duration(i)*time.Minute), Group{Logs: []Log{{Time: 1, Fields: []Field{{"event", strconv.Itoa(i)}}}}})
	}
	begin, _ := s.Bounds(0)
	first, err := parseCursor(begin)
	check(t, err)
	gl, _, err := c.PullLogsWithQuery(&sls.PullLogRequest{Project: testProject, Logstore: testStore, Cursor: begin, LogGroupMaxCount: 1000})
	check(t, err)
	for i, g := range gl.LogGroups {
		if got, want := g.GetCursor(), cursorText(first+int64(i)); got != want {
			t.Errorf("cursor of group %d is %s, want %s", i, got, want)
		}
	}
	for _, tc := range []struct {
		at   time.Time
		want int64
	}{
		{t0.Add(-time.Hour), 0},
		{t0.Add(3 * time.Minute), 3},
		{t0.Add(3*time.Minute + time.Second), 4},
		{t0.Add(time.Hour), 10},
	} {
		got, err := c.GetCursor(testProject, testStore, 0, strconv.FormatInt(tc.at.Unix(), 10))
		check(t, err)
		if got != cursorText(first+tc.want) {
			t.Errorf("cursor at %s is %s, want group %d", tc.at, got, tc.want)
		}
	}
	at, err := c.GetCursorTime(testProject, testStore, 0, cursorText(first+4))
	check(t, err)
	if !at.Equal(t0.Add(4 * time.Minute)) {
		t.Errorf("cursor time is %s, want %s", at, t0.Add(4*time.Minute))
	}
	_, meta, err := c.PullLogsWithQuery(&sls.PullLogRequest{Project: testProject, Logstore: testStore, Cursor: begin, EndCursor: cursorText(first + 4), LogGroupMaxCount: 1000})
	check(t, err)
	if meta.Count != 4 || meta.NextCursor != cursorText(first+4) {
		t.Errorf("end cursor: %d groups up to %s", meta.Count, meta.NextCursor)
	}
}

func TestRetentionExpiresCursors(t *testing.T) {
	s := start(t, Options{RetainGroups: 5})
	c := client(t, s, testKey, testSecret, "")
	begin, _ := s.Bounds(0)
	s.Append(0, records(12)...)
	_, _, err := c.PullLogsWithQuery(&sls.PullLogRequest{Project: testProject, Logstore: testStore, Cursor: begin, LogGroupMaxCount: 10})
	wantCode(t, "expired cursor", err, "InvalidCursor")
	begin, _ = s.Bounds(0)
	if got, _ := drain(t, c, 0, begin, 0); len(got) != 5 {
		t.Errorf("%d records kept, want 5", len(got))
	}
	s.Trim(0, 100)
	if begin, end := s.Bounds(0); begin != end {
		t.Errorf("after dropping everything the shard goes from %s to %s", begin, end)
	}
	_, _, err = c.PullLogsWithQuery(&sls.PullLogRequest{Project: testProject, Logstore: testStore, Cursor: cursorText(1 << 60), LogGroupMaxCount: 10})
	wantCode(t, "future cursor", err, "InvalidCursor")
	_, _, err = c.PullLogsWithQuery(&sls.PullLogRequest{Project: testProject, Logstore: testStore, Cursor: "", LogGroupMaxCount: 10})
	wantCode(t, "empty cursor", err, "InvalidCursor")
}

func TestRetentionBoundsMemory(t *testing.T) {
	s := start(t, Options{RetainBytes: 10_000})
	for range 1000 {
		s.Append(0, records(1)...)
	}
	sh := s.mainShard(0)
	if sh.bytes > 10_000 || len(sh.frames) == 0 {
		t.Errorf("%d bytes in %d groups kept, want at most 10000", sh.bytes, len(sh.frames))
	}
	if cap(sh.frames) > 4*len(sh.frames)+64 {
		t.Errorf("array of %d for %d groups", cap(sh.frames), len(sh.frames))
	}
}

func TestPutLogsBySDK(t *testing.T) {
	s := start(t, Options{Shards: 4})
	c := client(t, s, testKey, testSecret, "")
	group := func(v string) *sls.LogGroup {
		key, topic, sec := "event", "actiontrail_audit_event", uint32(1_700_000_000)
		return &sls.LogGroup{Topic: &topic, Logs: []*sls.Log{{Time: &sec, Contents: []*sls.LogContent{{Key: &key, Value: &v}}}}}
	}
	for _, compress := range []int{sls.Compress_LZ4, sls.Compress_ZSTD, sls.Compress_None} {
		check(t, c.PostLogStoreLogsV2(testProject, testStore, &sls.PostLogStoreLogsRequest{LogGroup: group("x"), CompressType: compress}))
	}
	hash := "ff" + strings.Repeat("0", 30)
	check(t, c.PostLogStoreLogsV2(testProject, testStore, &sls.PostLogStoreLogsRequest{LogGroup: group("routed"), HashKey: &hash}))
	var all []string
	for id := range 4 {
		begin, _ := s.Bounds(id)
		got, _ := drain(t, c, id, begin, 0)
		if id == 3 && !slices.Contains(got, "routed") {
			t.Errorf("the last shard has %v, want the routed log", got)
		}
		all = append(all, got...)
	}
	if len(all) != 4 {
		t.Errorf("stored %v, want 4 logs", all)
	}
}

func TestSearch(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s, testKey, testSecret, "")
	for i := range 150 {
		s.AppendLogs(0, time.Now(), Group{Topic: "actiontrail_audit_event", Logs: []Log{
			{Time: uint32(1_700_000_000 + i), Fields: []Field{{"event", fmt.Sprintf("n=%d", i)}, {"kind", []string{"even", "odd"}[i%2]}}}}})
	}
	resp, err := c.GetLogsV3(testProject, testStore, &sls.GetLogRequest{From: 1_700_000_000, To: 1_700_000_100, Query: `kind: odd and "n=1"`, Lines: 100})
	check(t, err)
	if len(resp.Logs) != 6 || resp.Logs[0]["event"] != "n=1" || resp.Logs[5]["event"] != "n=19" || !resp.IsComplete() {
		t.Errorf("search found %v", resp.Logs)
	}
	resp, err = c.GetLogsV3(testProject, testStore, &sls.GetLogRequest{From: 1_700_000_000, To: 1_700_000_150, Query: "*", Lines: 2, Offset: 1, Reverse: true, CompressType: sls.Compress_ZSTD})
	check(t, err)
	if len(resp.Logs) != 2 || resp.Logs[0]["event"] != "n=148" {
		t.Errorf("reverse page is %v", resp.Logs)
	}
	_, err = c.GetLogsV3(testProject, testStore, &sls.GetLogRequest{From: 1, To: 2, Query: "* | select 1"})
	wantCode(t, "SQL", err, "ParameterInvalid")
	h, err := c.GetHistograms(testProject, testStore, "", 1_700_000_000, 1_700_000_150, "kind: even")
	check(t, err)
	sum := int64(0)
	for _, b := range h.Histograms {
		sum += b.Count
	}
	if h.Count != 75 || sum != 75 || !h.IsComplete() {
		t.Errorf("histogram counts %d, its buckets %d, want 75", h.Count, sum)
	}
}

func TestSignatures(t *testing.T) {
	now := time.Now()
	creds := []Credential{
		{AccessKeyID: testKey, AccessKeySecret: testSecret},
		{AccessKeyID: "STS.EXAMPLEsession0000001", AccessKeySecret: testSecret, SecurityToken: testToken},
		{AccessKeyID: "STS.EXAMPLEexpired0000001", AccessKeySecret: testSecret, SecurityToken: testToken, Expires: now.Add(-time.Minute)},
	}
	var mu sync.Mutex
	var signers []string
	s := start(t, Options{Credentials: creds, Region: "cn-hangzhou", Journal: func(e Entry) {
		mu.Lock()
		defer mu.Unlock()
		signers = append(signers, e.AccessKeyID)
	}})
	s.Append(0, records(3)...)
	for _, v := range []sls.AuthVersionType{sls.AuthV1, sls.AuthV4} {
		use := func(id, secret, token string) sls.ClientInterface {
			c := client(t, s, id, secret, token)
			c.SetAuthVersion(v)
			c.SetRegion("cn-hangzhou")
			return c
		}
		for _, c := range []sls.ClientInterface{use(testKey, testSecret, ""), use("STS.EXAMPLEsession0000001", testSecret, testToken)} {
			// Every shape of request: query strings, JSON and protobuf bodies,
			// odd characters, no body.
			group := "cg" + string(v) + strconv.Itoa(len(signers))
			check(t, c.CreateConsumerGroup(testProject, testStore, sls.ConsumerGroup{ConsumerGroupName: group, Timeout: 60}))
			_, err := c.HeartBeat(testProject, testStore, group, "a consumer+*~'é", []int{})
			check(t, err)
			begin, err := c.GetCursor(testProject, testStore, 0, "begin")
			check(t, err)
			check(t, c.UpdateCheckpoint(testProject, testStore, group, "", 0, begin, true))
			_, err = c.GetCheckpoint(testProject, testStore, group)
			check(t, err)
			_, _, err = c.PullLogsWithQuery(&sls.PullLogRequest{Project: testProject, Logstore: testStore, Cursor: begin, LogGroupMaxCount: 10})
			check(t, err)
			_, err = c.GetLogsV3(testProject, testStore, &sls.GetLogRequest{From: 1, To: 2, Query: "a: b c"})
			check(t, err)
			_, err = c.GetHistograms(testProject, testStore, "t", 1, 2, `x: "y z" +*~'`)
			check(t, err)
			check(t, c.UpdateConsumerGroup(testProject, testStore, sls.ConsumerGroup{ConsumerGroupName: group, Timeout: 30}))
			check(t, c.DeleteConsumerGroup(testProject, testStore, group))
		}
		_, err := use(testKey, "EXAMPLEwrongEXAMPLEwrong000001", "").ListShards(testProject, testStore)
		wantCode(t, "wrong secret "+string(v), err, "SignatureNotMatch")
		for what, c := range map[string]sls.ClientInterface{
			"unknown key":   use("LTAI5tEXAMPLEnobody00001", testSecret, ""),
			"wrong token":   use("STS.EXAMPLEsession0000001", testSecret, "EXAMPLEother"),
			"missing token": use("STS.EXAMPLEsession0000001", testSecret, ""),
			"expired token": use("STS.EXAMPLEexpired0000001", testSecret, testToken),
		} {
			_, err := c.ListShards(testProject, testStore)
			wantCode(t, what+" "+string(v), err, "Unauthorized")
		}
	}
	c := client(t, s, testKey, testSecret, "")
	c.SetAuthVersion(sls.AuthV4)
	c.SetRegion("cn-beijing")
	_, err := c.ListShards(testProject, testStore)
	wantCode(t, "other region", err, "SignatureNotMatch")
	c = client(t, s, testKey, testSecret, "")
	c.SetAuthVersion(sls.AuthV0)
	_, err = c.ListShards(testProject, testStore)
	wantCode(t, "unsigned", err, "Unauthorized")
	mu.Lock()
	defer mu.Unlock()
	if !slices.Contains(signers, testKey) || !slices.Contains(signers, "STS.EXAMPLEsession0000001") {
		t.Errorf("journal does not say who signed: %v", signers)
	}
}

// TestTamperedRequest: a valid signature on a changed request is refused.
func TestTamperedRequest(t *testing.T) {
	s := start(t, Options{Credentials: []Credential{{AccessKeyID: testKey, AccessKeySecret: testSecret}}})
	for name, change := range map[string]func(*http.Request){
		"query":  func(r *http.Request) { r.URL.RawQuery = "type=cursor&from=end" },
		"path":   func(r *http.Request) { r.URL.Path = "/logstores/actiontrail_main/shards/1" },
		"header": func(r *http.Request) { r.Header.Set("x-log-extra", "1") },
	} {
		for _, v := range []sls.AuthVersionType{sls.AuthV1, sls.AuthV4} {
			addr := strings.TrimPrefix(s.URL(), "http://")
			tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			}}
			c := sls.CreateNormalInterface(s.URL(), testKey, testSecret, "")
			c.SetAuthVersion(v)
			c.SetRegion("cn-hangzhou")
			c.SetHTTPClient(&http.Client{Transport: changing{tr, change}})
			_, err := c.GetCursor(testProject, testStore, 0, "begin")
			wantCode(t, name+" "+string(v), err, "SignatureNotMatch")
		}
	}
}

type changing struct {
	http.RoundTripper
	change func(*http.Request)
}

func (c changing) RoundTrip(r *http.Request) (*http.Response, error) {
	c.change(r)
	return c.RoundTripper.RoundTrip(r)
}

func TestClockSkew(t *testing.T) {
	s := start(t, Options{
		Credentials: []Credential{{AccessKeyID: testKey, AccessKeySecret: testSecret}},
		Now:         func() time.Time { return time.Now().Add(16 * time.Minute) },
	})
	for _, v := range []sls.AuthVersionType{sls.AuthV1, sls.AuthV4} {
		c := client(t, s, testKey, testSecret, "")
		c.SetAuthVersion(v)
		c.SetRegion("cn-hangzhou")
		_, err := c.ListShards(testProject, testStore)
		wantCode(t, "skewed "+string(v), err, "RequestTimeExpired")
	}
}

func TestRotatedCredentials(t *testing.T) {
	s := start(t, Options{Credentials: []Credential{{AccessKeyID: testKey, AccessKeySecret: testSecret}}})
	c := client(t, s, testKey, testSecret, "")
	_, err := c.ListShards(testProject, testStore)
	check(t, err)
	s.SetCredentials(Credential{AccessKeyID: "LTAI5tEXAMPLErotated0001", AccessKeySecret: testSecret})
	_, err = c.ListShards(testProject, testStore)
	wantCode(t, "old key", err, "Unauthorized")
}

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestConsumerGroups(t *testing.T) {
	clk := newClock()
	s := start(t, Options{Shards: 4, Now: clk.Now})
	c := client(t, s, testKey, testSecret, "")
	beat := func(consumer string, holds ...int) []int {
		t.Helper()
		if holds == nil {
			holds = []int{}
		}
		got, err := c.HeartBeat(testProject, testStore, "cg", consumer, holds)
		check(t, err)
		return got
	}
	same := func(what string, got, want []int) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: shards %v, want %v", what, got, want)
		}
	}
	_, err := c.HeartBeat(testProject, testStore, "cg", "a", nil)
	wantCode(t, "heartbeat without group", err, "ConsumerGroupNotExist")
	group := sls.ConsumerGroup{ConsumerGroupName: "cg", Timeout: 15}
	check(t, c.CreateConsumerGroup(testProject, testStore, group))
	wantCode(t, "second create", c.CreateConsumerGroup(testProject, testStore, group), "ConsumerGroupAlreadyExist")
	groups, err := c.ListConsumerGroup(testProject, testStore)
	check(t, err)
	if len(groups) != 1 || *groups[0] != group {
		t.Errorf("listed %v, want %v", groups, group)
	}

	same("first consumer gets all", beat("a"), []int{0, 1, 2, 3})
	same("second waits while the first holds them", func() []int { beat("a", 0, 1, 2, 3); return beat("b") }(), []int{})
	same("first is told to give two up", beat("a", 0, 1, 2, 3), []int{0, 1})
	same("second still waits for the drain", beat("b"), []int{})
	same("first has drained", beat("a", 0, 1), []int{0, 1})
	same("now they are handed over", beat("b"), []int{2, 3})
	same("nothing moves without need", beat("a", 0, 1), []int{0, 1})

	clk.Add(10 * time.Second)
	beat("b", 2, 3)
	clk.Add(10 * time.Second) // a is silent for 20 s
	same("a dead consumer's shards are handed over", beat("b", 2, 3), []int{0, 1, 2, 3})
	_, err = c.HeartBeat(testProject, testStore, "cg", "a", []int{0, 1})
	wantCode(t, "evicted", err, "NotExistConsumerWithBody")
	same("it may come back empty-handed", beat("a"), []int{})
	if got := s.Consumers("cg"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("consumers %v", got)
	}
}

func TestCheckpoints(t *testing.T) {
	for _, correct := range []bool{false, true} {
		s := start(t, Options{Shards: 2, CorrectSpelling: correct})
		c := client(t, s, testKey, testSecret, "")
		check(t, c.CreateConsumerGroup(testProject, testStore, sls.ConsumerGroup{ConsumerGroupName: "cg", Timeout: 15}))
		begin, _ := s.Bounds(0)
		list, err := c.GetCheckpoint(testProject, testStore, "cg")
		check(t, err)
		if len(list) != 2 || list[0].CheckPoint != "" {
			t.Errorf("fresh group has %v", list)
		}
		noConsumer, noShard := "ConsumerNotExsit", "ShardNotExsit"
		if correct {
			noConsumer, noShard = "ConsumerNotExist", "ShardNotExist"
		}
		wantCode(t, "unknown consumer", c.UpdateCheckpoint(testProject, testStore, "cg", "x", 0, begin, false), noConsumer)
		wantCode(t, "unknown shard", c.UpdateCheckpoint(testProject, testStore, "cg", "x", 7, begin, true), noShard)
		wantCode(t, "no consumer, not forced", c.UpdateCheckpoint(testProject, testStore, "cg", "", 0, begin, false), "ParameterInvalid")
		wantCode(t, "not base64", c.UpdateCheckpoint(testProject, testStore, "cg", "", 0, "###", true), "InvalidShardCheckPoint")
		check(t, c.UpdateCheckpoint(testProject, testStore, "cg", "", 0, begin, true))

		for _, n := range []string{"a", "b"} {
			_, err := c.HeartBeat(testProject, testStore, "cg", n, nil)
			check(t, err)
		}
		_, err = c.HeartBeat(testProject, testStore, "cg", "a", nil)
		check(t, err)
		if s.Owner("cg", 0) != "a" {
			t.Fatalf("owner of shard 0 is %q", s.Owner("cg", 0))
		}
		wantCode(t, "other's shard", c.UpdateCheckpoint(testProject, testStore, "cg", "b", 0, begin, false), "ConsumerNotMatch")
		check(t, c.UpdateCheckpoint(testProject, testStore, "cg", "b", 0, begin, true)) // forced
		list, err = c.GetCheckpoint(testProject, testStore, "cg")
		check(t, err)
		if list[0].CheckPoint != begin || list[0].Consumer != "b" || list[0].UpdateTime == 0 {
			t.Errorf("saved checkpoint is %+v", *list[0])
		}
	}
	s := start(t, Options{RefuseStale: true})
	c := client(t, s, testKey, testSecret, "")
	check(t, c.CreateConsumerGroup(testProject, testStore, sls.ConsumerGroup{ConsumerGroupName: "cg", Timeout: 15}))
	begin, _ := s.Bounds(0)
	wantCode(t, "stale and forced", c.UpdateCheckpoint(testProject, testStore, "cg", "b", 0, begin, true), "ConsumerNotMatch")
}

func TestSplit(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s, testKey, testSecret, "")
	s.Append(0, records(2)...)
	a, b := s.Split(0)
	shards, err := c.ListShards(testProject, testStore)
	check(t, err)
	if len(shards) != 3 || shards[0].Status != "readonly" || shards[a].Status != "readwrite" ||
		shards[a].InclusiveBeginKey != strings.Repeat("0", 32) || shards[b].ExclusiveBeginKey != strings.Repeat("f", 32) ||
		shards[a].ExclusiveBeginKey != shards[b].InclusiveBeginKey {
		for _, sh := range shards {
			t.Errorf("shard %+v", *sh)
		}
	}
	// In order, the children wait until the parent is consumed.
	check(t, c.CreateConsumerGroup(testProject, testStore, sls.ConsumerGroup{ConsumerGroupName: "cg", Timeout: 15, InOrder: true}))
	got, err := c.HeartBeat(testProject, testStore, "cg", "a", nil)
	check(t, err)
	if !slices.Equal(got, []int{0}) {
		t.Errorf("shards %v before the parent is consumed", got)
	}
	_, end := s.Bounds(0)
	check(t, c.UpdateCheckpoint(testProject, testStore, "cg", "a", 0, end, true))
	got, err = c.HeartBeat(testProject, testStore, "cg", "a", []int{0})
	check(t, err)
	if !slices.Equal(got, []int{0, a, b}) {
		t.Errorf("shards %v after the parent is consumed", got)
	}
}

// Two neighbours become one for the keys of both: it is given first, then the two. In
// order it waits for both.
func TestMerge(t *testing.T) {
	s := start(t, Options{Shards: 3})
	c := client(t, s, testKey, testSecret, "")
	s.Append(1, records(2)...)
	check(t, c.CreateConsumerGroup(testProject, testStore, sls.ConsumerGroup{ConsumerGroupName: "cg", Timeout: 15, InOrder: true}))
	got, err := c.MergeShards(testProject, testStore, 0)
	check(t, err)
	if len(got) != 3 || got[0].ShardID != 3 || got[0].Status != "readwrite" || got[1].ShardID != 0 || got[2].ShardID != 1 || got[1].Status != "readonly" || got[2].Status != "readonly" ||
		got[0].InclusiveBeginKey != got[1].InclusiveBeginKey || got[0].ExclusiveBeginKey != got[2].ExclusiveBeginKey || got[1].ExclusiveBeginKey != got[2].InclusiveBeginKey {
		for _, sh := range got {
			t.Errorf("shard %+v", *sh)
		}
	}
	for _, id := range []int{0, 1, 2} {
		_, err := c.MergeShards(testProject, testStore, id)
		wantCode(t, "closed, or the last one", err, "ParameterInvalid")
	}
	hold, err := c.HeartBeat(testProject, testStore, "cg", "a", nil)
	check(t, err)
	if !slices.Equal(hold, []int{0, 1, 2}) {
		t.Errorf("shards %v before the parents are consumed", hold)
	}
	for _, id := range []int{0, 1} {
		if slices.Contains(hold, 3) {
			t.Errorf("shards %v while one parent is not consumed", hold)
		}
		_, end := s.Bounds(id)
		check(t, c.UpdateCheckpoint(testProject, testStore, "cg", "a", id, end, true))
		hold, err = c.HeartBeat(testProject, testStore, "cg", "a", hold)
		check(t, err)
	}
	if !slices.Equal(hold, []int{0, 1, 2, 3}) {
		t.Errorf("shards %v after both are consumed", hold)
	}
}

func TestQuotas(t *testing.T) {
	clk := newClock()
	s := start(t, Options{ReadsPerSecond: 2, ReadBytesPerSecond: 1000, MaxPageBytes: 1000, WritesPerSecond: 1, Now: clk.Now})
	c := client(t, s, testKey, testSecret, "")
	begin, _ := s.Bounds(0)
	s.Append(0, bytes.Repeat([]byte("x"), 900))
	pull := func() error {
		_, _, err := c.PullLogsWithQuery(&sls.PullLogRequest{Project: testProject, Logstore: testStore, Cursor: begin, LogGroupMaxCount: 10})
		return err
	}
	check(t, pull())
	wantCode(t, "bytes", pull(), "ShardReadQuotaExceed")
	wantCode(t, "reads", pull(), "ShardReadQuotaExceed")
	clk.Add(time.Second)
	check(t, pull())
	key, v, sec := "event", "x", uint32(1)
	put := func() error {
		return c.PutLogs(testProject, testStore, &sls.LogGroup{Logs: []*sls.Log{{Time: &sec, Contents: []*sls.LogContent{{Key: &key, Value: &v}}}}})
	}
	check(t, put())
	wantCode(t, "writes", put(), "ShardWriteQuotaExceed")
}

func TestMissingThings(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s, testKey, testSecret, "")
	_, err := c.ListShards("elsewhere", testStore)
	wantCode(t, "project", err, "ProjectNotExist")
	_, err = c.ListShards(testProject, "nothing")
	wantCode(t, "logstore", err, "LogStoreNotExist")
	_, err = c.GetCursor(testProject, testStore, 9, "begin")
	wantCode(t, "shard", err, "ShardNotExist")
	_, err = c.GetCursor(testProject, testStore, 0, "yesterday")
	wantCode(t, "from", err, "ParameterInvalid")
	_, err = c.GetCheckpoint(testProject, testStore, "nobody")
	wantCode(t, "group", err, "ConsumerGroupNotExist")
	names, err := c.ListLogStore(testProject)
	check(t, err)
	if !slices.Equal(names, []string{testStore}) {
		t.Errorf("logstores %v", names)
	}
	s.AddLogstore("second", "other", 2)
	if shards, err := c.ListShards("second", "other"); err != nil || len(shards) != 2 {
		t.Errorf("second project: %v, %v", shards, err)
	}
	p, err := c.GetProject(testProject)
	check(t, err)
	if p.Name != testProject {
		t.Errorf("project %q", p.Name)
	}
}

func TestProjectFromHost(t *testing.T) {
	s := New(Options{Project: "p0"})
	for host, want := range map[string]string{
		"":                                  "p0",
		"127.0.0.1:8080":                    "p0",
		"[::1]:80":                          "p0",
		"localhost:80":                      "p0",
		"p1.127.0.0.1:8080":                 "p1",
		"p1.localhost":                      "p1",
		"p2.cn-hangzhou.log.aliyuncs.com":   "p2",
		"p2.cn-hangzhou.log.aliyuncs.com:1": "p2",
	} {
		if got := s.projectOf(host); got != want {
			t.Errorf("host %q is project %q, want %q", host, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	s := start(t, Options{Shards: 2})
	c := client(t, s, testKey, testSecret, "")
	begin, _ := s.Bounds(0)
	s.Append(0, records(20)...)
	pull := func() error {
		_, _, err := c.PullLogsWithQuery(&sls.PullLogRequest{Project: testProject, Logstore: testStore, Cursor: begin, LogGroupMaxCount: 10})
		return err
	}
	sls.RetryOnServerErrorEnabled = false
	defer func() { sls.RetryOnServerErrorEnabled = true }()
	for name, tc := range map[string]struct {
		f    Fault
		want string // part of the error
	}{
		"status":          {Fault{Status: 403, Code: "ReadQuotaExceed"}, "ReadQuotaExceed"},
		"html":            {Fault{Status: 502, Body: "<html>bad gateway</html>"}, "bad gateway"},
		"garbage":         {Fault{Garbage: true}, "lz4"},
		"raw size":        {Fault{RawSizeDelta: 5}, "uncompressed size"},
		"no compresstype": {Fault{DropHeaders: []string{"x-log-compresstype"}}, "x-log-compresstype"},
		"no cursor":       {Fault{DropHeaders: []string{"x-log-cursor"}}, "x-log-cursor"},
		"odd compression": {Fault{SetHeaders: map[string]string{"x-log-compresstype": "snappy"}}, "snappy"},
		"cut":             {Fault{Truncate: true}, "EOF"},
	} {
		tc.f.Call = PullLogs
		h := s.Inject(tc.f)
		err := pull()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.want)
		}
		if h.Hits() != 1 {
			t.Errorf("%s: %d hits", name, h.Hits())
		}
		check(t, pull()) // one-shot
		s.ClearFaults()
	}
	// Refused connections are retried by the SDK: it recovers by itself.
	h := s.Inject(Fault{Call: PullLogs, Refuse: true, Times: 2})
	check(t, pull())
	if h.Hits() != 2 {
		t.Errorf("refused %d times, want 2", h.Hits())
	}
	// The answer is dropped after the work was done.
	check(t, c.CreateConsumerGroup(testProject, testStore, sls.ConsumerGroup{ConsumerGroupName: "cg", Timeout: 15}))
	s.Inject(Fault{Call: UpdateCheckpoint, DropAnswer: true})
	if err := c.UpdateCheckpoint(testProject, testStore, "cg", "", 0, begin, true); err == nil {
		t.Error("dropped answer: no error")
	}
	if s.Checkpoint("cg", 0) != begin {
		t.Error("dropped answer: the work was not done")
	}
	s.Inject(Fault{Call: UpdateCheckpoint, AfterWork: true, Status: 500})
	_, end := s.Bounds(0)
	wantCode(t, "error after work", c.UpdateCheckpoint(testProject, testStore, "cg", "", 0, end, true), "InternalServerError")
	if s.Checkpoint("cg", 0) != end {
		t.Error("error after work: the work was not done")
	}
	// Only some shards, only after some matches.
	s.ClearFaults()
	h = s.Inject(Fault{Call: GetCursor, Shards: []int{1}, Skip: 1, Times: -1, Status: 403, Code: "ReadQuotaExceed"})
	for i, want := range []string{"<nil>", "<nil>", "<nil>", "ReadQuotaExceed", "<nil>", "ReadQuotaExceed"} {
		_, err := c.GetCursor(testProject, testStore, i%2, "begin")
		wantCode(t, "call "+strconv.Itoa(i), err, want)
	}
	h.Remove()
	_, err := c.GetCursor(testProject, testStore, 1, "begin")
	check(t, err)
}

func TestDown(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s, testKey, testSecret, "")
	s.SetDown(true)
	if _, err := c.ListConsumerGroup(testProject, testStore); err == nil {
		t.Error("down, but it answered")
	}
	s.SetDown(false)
	_, err := c.ListConsumerGroup(testProject, testStore)
	check(t, err)
}

// TestDelayEndsWithClose: a delayed answer does not hold up Close.
func TestDelayEndsWithClose(t *testing.T) {
	s := New(Options{})
	s.Inject(Fault{Delay: time.Hour, Times: -1})
	url := s.URL()
	done := make(chan error, 1)
	go func() {
		resp, err := http.Get(url + "/logstores")
		if err == nil {
			_ = resp.Body.Close()
		}
		done <- err
	}()
	for s.Calls(ListLogStores) == 0 {
		select {
		case <-done:
			t.Fatal("the answer was not delayed")
		case <-time.After(time.Millisecond):
		}
	}
	s.Close()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the delayed request outlived Close")
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestJournal(t *testing.T) {
	var mu sync.Mutex
	var buf bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&buf, nil))
	var entries []Entry
	s := start(t, Options{
		Credentials: []Credential{{AccessKeyID: testKey, AccessKeySecret: testSecret, SecurityToken: testToken}},
		Journal: func(e Entry) {
			mu.Lock()
			defer mu.Unlock()
			entries = append(entries, e)
			log.Info("request", "entry", e)
		}})
	c := client(t, s, testKey, testSecret, testToken)
	s.Append(0, records(2)...)
	begin, _ := s.Bounds(0)
	_, _, err := c.PullLogsWithQuery(&sls.PullLogRequest{Project: testProject, Logstore: testStore, Cursor: begin, LogGroupMaxCount: 10})
	check(t, err)
	_, err = c.HeartBeat(testProject, testStore, "cg", "me", []int{0})
	wantCode(t, "no group", err, "ConsumerGroupNotExist")
	mu.Lock()
	defer mu.Unlock()
	if len(entries) != 2 {
		t.Fatalf("%d entries, want 2", len(entries))
	}
	p, h := entries[0], entries[1]
	if p.Action != PullLogs || p.Status != 200 || p.Groups != 2 || p.Shard == nil || *p.Shard != 0 || p.Project != testProject || p.AccessKeyID != testKey || p.Detail != begin {
		t.Errorf("pull entry %+v", p)
	}
	if h.Action != HeartBeat || h.Status != 404 || h.Code != "ConsumerGroupNotExist" || h.Consumer != "me" || h.Group != "cg" {
		t.Errorf("heartbeat entry %+v", h)
	}
	if strings.Contains(buf.String(), testSecret) || strings.Contains(buf.String(), testToken) {
		t.Error("the journal holds a secret")
	}
}

// TestEmptyAnswers: calls 2, 3 and 6 must answer an empty body of declared
// length 0, or the SDK leaks a connection each time.
func TestEmptyAnswers(t *testing.T) {
	s := start(t, Options{})
	post := func(method, path, body string) {
		t.Helper()
		req, err := http.NewRequest(method, s.URL()+path, strings.NewReader(body))
		check(t, err)
		resp, err := http.DefaultClient.Do(req)
		check(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		check(t, err)
		if resp.StatusCode != 200 || resp.ContentLength != 0 || len(b) != 0 {
			t.Errorf("%s %s: status %d, length %d, body %q", method, path, resp.StatusCode, resp.ContentLength, b)
		}
	}
	ls := "/logstores/" + testStore
	post("POST", ls+"/consumergroups", `{"consumerGroup":"cg","timeout":60,"order":false}`)
	post("PUT", ls+"/consumergroups/cg", `{"order":false,"timeout":30}`)
	post("POST", ls+"/consumergroups/cg?consumer=c&forceSuccess=true&type=checkpoint", `{"checkpoint":"MTcw","shard":0}`)
	http.DefaultClient.CloseIdleConnections()
}
