package sls

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"
)

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		method, url string
		kind        kind
		shard       int
	}{
		{"GET", "/logstores/l/shards/3?type=logs&cursor=x&count=1", kindPull, 3},
		{"GET", "/logstores/l/shards/3?type=cursor&from=end", kindCursor, 3},
		{"GET", "/logstores/l/shards/3?type=cursor_time&cursor=x", kindCursor, 3},
		{"GET", "/logstores/l/shards/x?type=logs", kindOther, -1},
		{"GET", "/logstores/l/shards", kindOther, -1},
		{"POST", "/logstores/l/consumergroups/cg?type=heartbeat&consumer=c", kindHeartbeat, -1},
		{"POST", "/logstores/l/consumergroups/cg?type=checkpoint&consumer=c", kindCheckpoint, -1},
		{"GET", "/logstores/l/consumergroups/cg", kindSaved, -1},
		{"POST", "/logstores/l/consumergroups", kindOther, -1},
		{"GET", "/", kindOther, -1},
	} {
		r, err := http.NewRequest(tc.method, "http://p.h"+tc.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if k, id := classify(r); k != tc.kind || id != tc.shard {
			t.Errorf("%s %s is kind %d of shard %d, want %d of %d", tc.method, tc.url, k, id, tc.kind, tc.shard)
		}
	}
}

type answerer func(*http.Request) (*http.Response, error)

func (f answerer) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func testTransport(t testing.TB, base http.RoundTripper) *transport {
	s, err := New(goodConfig(), newSink(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(s)
	return &transport{s: s, base: base, reads: w.reads, writes: w.writes, w: w}
}

// While closing nothing leaves, and every call gets the answer that makes the
// SDK let go: of a checkpoint that all is well.
func TestClosingGate(t *testing.T) {
	tr := testTransport(t, answerer(func(*http.Request) (*http.Response, error) { return nil, errors.New("a request left") }))
	closed, cancel := context.WithCancel(context.Background())
	cancel()
	tr.reads, tr.writes = closed, closed
	for url, want := range map[string]string{
		"GET /logstores/l/shards/0?type=logs&cursor=x":       codeStopping,
		"GET /logstores/l/shards/0?type=cursor&from=begin":   codeStopping,
		"POST /logstores/l/consumergroups/g?type=heartbeat":  codeStopping,
		"POST /logstores/l/consumergroups/g?type=checkpoint": "",
		"GET /logstores/l/consumergroups/g":                  codeStopping,
	} {
		method, path, _ := strings.Cut(url, " ")
		r, err := http.NewRequest(method, "http://p.h"+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		status := 400
		if want == "" {
			status = 200
		}
		if code, _ := codeOf(resp); code != want || resp.StatusCode != status {
			t.Errorf("%s: %d %s, want %d %s", url, resp.StatusCode, code, status, want)
		}
	}
}

// The SDK must never pull with an empty cursor: it would do so for ever.
func TestEmptyCursorNeverLeaves(t *testing.T) {
	tr := testTransport(t, answerer(func(*http.Request) (*http.Response, error) { return nil, errors.New("a request left") }))
	r, err := http.NewRequest("GET", "http://p.h/logstores/l/shards/4?type=logs&cursor=&count=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if code, a := codeOf(resp); code != codeBadAnswer || a.Message != "empty cursor" {
		t.Errorf("answer %s", code)
	}
	select {
	case why := <-tr.w.troubled:
		if !strings.Contains(why, "shard 4") {
			t.Errorf("reason %q", why)
		}
	default:
		t.Error("the worker is not to be rebuilt")
	}
}

// An absurdly long answer is not read into memory.
func TestHugeAnswer(t *testing.T) {
	tr := testTransport(t, answerer(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(zeros{}), ContentLength: 1 << 50, Request: r}, nil
	}))
	r, err := http.NewRequest("GET", "http://p.h/logstores/l/shards", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if code, a := codeOf(resp); code != codeUnreachable || !strings.Contains(a.Message, "larger than") {
		t.Errorf("answer %s: %s", code, a.Message)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestPauseGrowsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := func(gate context.Context, n int) time.Duration {
			began := time.Now()
			backOff(gate, n)
			return time.Since(began)
		}
		if d := took(t.Context(), 0); d != 0 {
			t.Errorf("the first attempt waited %s", d)
		}
		var first, last time.Duration
		for n := 1; n <= 100; n++ {
			last = took(t.Context(), n)
			if n == 1 {
				first = last
			}
			if last <= 0 || last > time.Minute {
				t.Errorf("attempt %d waited %s", n, last)
			}
		}
		if last < 2*first {
			t.Errorf("the pause does not grow: %s, then %s", first, last)
		}
		closed, cancel := context.WithCancel(t.Context())
		cancel()
		for n := range 100 {
			if d := took(closed, n); d != 0 {
				t.Errorf("a closed gate waited %s", d)
			}
		}
	})
}

// FuzzPullAnswer: whatever comes back for a pull, the transport returns an
// answer, and the SDK does with it what it does outside of any recover:
// decode. A panic here would end the program.
func FuzzPullAnswer(f *testing.F) {
	f.Add(200, "MTcw", "1", "5", "lz4", []byte{0x50, 1, 2, 3, 4, 5})
	f.Add(200, "MTcw", "0", "0", "", []byte{})
	f.Add(200, "MTcw", "1", "-1", "lz4", []byte{1})
	f.Add(200, "MTcw", "1", "9223372036854775807", "zstd", []byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Add(200, "", "1", "1", "lz4", []byte{0x10, 0})
	f.Add(503, "", "", "", "", []byte("<html>"))
	f.Add(400, "", "", "", "", []byte(`{"errorCode":"InvalidCursor","errorMessage":"\u0000"}`))
	f.Add(200, "MTcw", "2", "14", "lz4", []byte("\xe0\x0a\x05\x0a\x03\x08\x01\x12\x0a\x05\x0a\x03\x08\x01\x12"))
	f.Fuzz(func(t *testing.T, status int, cursor, count, raw, compress string, body []byte) {
		if n, err := strconv.Atoi(raw); err == nil && n > 1<<20 && n <= maxPageRaw {
			return // allowed, but too much memory to do thousands of times
		}
		base := answerer(func(r *http.Request) (*http.Response, error) {
			h := http.Header{}
			for k, v := range map[string]string{"X-Log-Cursor": cursor, "X-Log-Count": count, "X-Log-Bodyrawsize": raw, "X-Log-Compresstype": compress} {
				if v != "" {
					h.Set(k, v)
				}
			}
			return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
		})
		tr := testTransport(t, base)
		c := sdk.CreateNormalInterface("http://h", "LTAI5tEXAMPLEreader00001", "EXAMPLE", "")
		c.SetHTTPClient(&http.Client{Transport: tr})
		c.SetRetryTimeout(time.Second)
		list, meta, err := c.PullLogsWithQuery(&sdk.PullLogRequest{Project: "p", Logstore: "l", ShardID: 0, Cursor: "MTY5", LogGroupMaxCount: 10})
		if err == nil {
			if meta.NextCursor == "" || (meta.Count == 0) != (meta.RawSize == 0) {
				t.Fatalf("accepted %+v", meta)
			}
			tr.s.shard(0).extract(list)
		}
	})
}

func TestDescribe(t *testing.T) {
	e := &sdk.Error{HTTPCode: 400, Code: "X", Message: "line\nbreak", RequestID: strings.Repeat("A", 100)}
	got := describe(fmt.Errorf("wrapped: %w", e)).Error()
	if strings.Contains(got, "\n") || !strings.HasPrefix(got, "X: line break") || len(got) > 120 {
		t.Errorf("described as %q", got)
	}
}

func TestCursorValue(t *testing.T) {
	for in, want := range map[string]int64{"MTcw": 170, encodeCursor(1 << 62): 1 << 62} {
		if n, ok := cursorValue(in); !ok || n != want {
			t.Errorf("%s is %d, %v", in, n, ok)
		}
	}
	for _, in := range []string{"", "###", "YWJj"} {
		if _, ok := cursorValue(in); ok {
			t.Errorf("%q was taken for a cursor", in)
		}
	}
}
