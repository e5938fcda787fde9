package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/cmd/internal/fakecloud"
	"github.com/trailwarden/trailwarden/pipeline/trace"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// otlpReceiver takes OTLP/HTTP requests as a collector does.
type otlpReceiver struct {
	*httptest.Server
	mu       sync.Mutex
	answers  []int // to the first requests; then 200
	requests int
	faults   []string
	spans    map[string]*otlp.Span // by id
}

func newReceiver(t *testing.T, answers ...int) *otlpReceiver {
	r := &otlpReceiver{answers: answers, spans: map[string]*otlp.Span{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.requests++
		if got := fmt.Sprint(q.Method, " ", q.URL.Path, " ", q.Header.Get("Content-Type"), " ", q.Header.Get("Authorization"), " ", err); got != "POST /v1/traces application/x-protobuf Bearer EXAMPLE <nil>" {
			r.faults = append(r.faults, got)
		}
		if len(r.answers) > 0 {
			code := r.answers[0]
			r.answers = r.answers[1:]
			if code == http.StatusTemporaryRedirect {
				w.Header().Set("Location", "/v1/traces")
			}
			w.WriteHeader(code)
			return
		}
		var d otlp.TracesData
		if err := proto.Unmarshal(body, &d); err != nil {
			r.faults = append(r.faults, err.Error())
			return
		}
		for _, rs := range d.ResourceSpans {
			if a := rs.Resource.Attributes; len(a) != 3 || a[0].Value.GetStringValue() != "trailwarden" {
				r.faults = append(r.faults, fmt.Sprint(a))
			}
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					r.spans[string(s.SpanId)] = s
				}
			}
		}
	}))
	t.Cleanup(func() {
		r.Close()
		for _, f := range r.faults {
			t.Error(f)
		}
	})
	return r
}

func (r *otlpReceiver) config() config.Traces {
	return config.Traces{Endpoint: config.Secret(r.URL + "/v1/traces"), Authorization: "Bearer EXAMPLE", Sample: 1}
}

// ways are, for each span of a name, the names from it to the root of its trace.
func (r *otlpReceiver) ways(name string) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.Name != name {
			continue
		}
		way := []string{s.Name}
		for p := s; len(p.ParentSpanId) > 0; {
			q := r.spans[string(p.ParentSpanId)]
			if q == nil || !bytes.Equal(q.TraceId, s.TraceId) {
				way = append(way, "?")
				break
			}
			way, p = append(way, q.Name), q
		}
		out = append(out, strings.Join(way, " < "))
	}
	return out
}

// One trace leads from the page of records to the key that is switched off and to
// the message, across the store and the journal. The collector is busy at first.
func TestTraceFromPageToAction(t *testing.T) {
	r := newReceiver(t, http.StatusServiceUnavailable)
	cloud, err := fakecloud.Start(fakecloud.Options{Dir: t.TempDir(), ChatRate: -1}, []string{"1000000000000001"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	runApp(t, t.Context(), cloud.Config, func(c *config.Config) { c.Traces = r.config() })
	const key = "LTAI5tEXAMPLEleak000001"
	record := fmt.Appendf(nil, `{"eventId":"leak-1","eventName":"ListUsers","serviceName":"Ram","eventType":"ApiCall","eventRW":"Read","eventTime":%q,"sourceIpAddress":"203.0.113.1","userAgent":"x","requestId":"leak-1","recipientAccountId":"1000000000000001","errorCode":"Forbidden","errorMessage":"There is a risk of leakage of this AccessKey.","userIdentity":{"type":"ram-user","accountId":"1000000000000001","principalId":"2000000000000001","userName":"user1","accessKeyId":%q}}`,
		time.Now().UTC().Format("2006-01-02T15:04:05Z"), key)
	cloud.Seed(record)
	cloud.Append(record)
	const to = " < take alert < commit step < evaluate frame < store page"
	end := time.Now().Add(2 * time.Minute)
	for {
		acted, told := r.ways("execute action"), r.ways("post notice")
		// What a span began in may end later, and come with the next request.
		onItsWay := func(way string) bool { return strings.HasSuffix(way, "?") }
		if len(acted) > 0 && len(told) > 0 && cloud.RAM.KeyStatus(key) == ramtest.Inactive && !slices.ContainsFunc(append(acted, told...), onItsWay) {
			for _, way := range append(acted, told...) {
				if _, got, _ := strings.Cut(way, " < "); " < "+got != to {
					t.Errorf("%s, want …%s", way, to)
				}
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("key %s, actions %q, notices %q", cloud.RAM.KeyStatus(key), acted, told)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// What a collector refuses is lost and counted, said once and without the URL;
// nothing waits for it. What waits when the program ends is still sent.
func TestSpansAreDroppedNotWaitedFor(t *testing.T) {
	var log bytes.Buffer
	r := newReceiver(t, http.StatusBadRequest, http.StatusTemporaryRedirect)
	s := newSpanSender(r.config(), "v1", "me", slog.New(slog.NewTextHandler(&log, nil)))
	tr := s.tracer()
	const n = 2*spansAtOnce + 10
	for range n {
		_, sp := tr.Start(context.Background(), "page")
		sp.End(nil)
	}
	s.close()
	s.close()
	if sent, lost := s.sent.Load(), s.lost.Load(); sent != 10 || lost != n-10 || r.requests != 3 {
		t.Errorf("%d sent, %d lost, %d requests", sent, lost, r.requests)
	}
	if got := log.String(); strings.Count(got, "not taken") != 1 || strings.Count(got, "taken again") != 1 || strings.Contains(got, r.URL) || strings.Contains(got, "EXAMPLE") {
		t.Errorf("log:\n%s", got)
	}
	for range maxSpans + 5 { // nobody takes them any more: none of these may block
		_, sp := tr.Start(context.Background(), "page")
		sp.End(nil)
	}
	if lost := s.lost.Load(); lost != n-10+5 {
		t.Errorf("%d lost", lost)
	}
	if off := newSpanSender(config.Traces{Sample: 1}, "v1", "me", nil); off != nil || off.tracer() != nil {
		t.Error("traced without an endpoint")
	} else {
		off.close()
	}
}

// A collector that cannot be reached is not named with its URL.
func TestUnreachableCollectorIsNotNamed(t *testing.T) {
	var log bytes.Buffer
	r := newReceiver(t)
	c := r.config()
	r.Close()
	s := newSpanSender(c, "v1", "me", slog.New(slog.NewTextHandler(&log, nil)))
	_, sp := s.tracer().Start(context.Background(), "page", trace.Int("n", 1))
	sp.End(nil)
	s.close()
	if got := log.String(); !strings.Contains(got, "not taken") || strings.Contains(got, "/v1/traces") || s.lost.Load() != 1 {
		t.Errorf("%d lost, log:\n%s", s.lost.Load(), got)
	}
}
