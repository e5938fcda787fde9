package trace

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// kept keeps what has ended.
type kept struct {
	mu    sync.Mutex
	spans []*Ended
}

func (k *kept) sink(e *Ended) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spans = append(k.spans, e)
}

// decode reads a request with OpenTelemetry's own types. TracesData has the fields
// of ExportTraceServiceRequest, without gRPC.
func decode(t *testing.T, body []byte) (resource map[string]string, spans []*otlp.Span) {
	t.Helper()
	var q otlp.TracesData
	if err := proto.Unmarshal(body, &q); err != nil {
		t.Fatal(err)
	}
	if len(q.ResourceSpans) != 1 || len(q.ResourceSpans[0].ScopeSpans) != 1 {
		t.Fatalf("%v", &q)
	}
	resource = map[string]string{}
	for _, a := range q.ResourceSpans[0].Resource.Attributes {
		resource[a.Key] = a.Value.GetStringValue()
	}
	return resource, q.ResourceSpans[0].ScopeSpans[0].Spans
}

func TestCarried(t *testing.T) {
	var k kept
	tr := New(1, k.sink)
	ctx, page := tr.Start(context.Background(), "page", Str("source", "sls/a\xff"))
	carried := Of(ctx)
	_, eval := tr.Resume(context.Background(), carried, "evaluate", Int("records", 7))
	otherCtx, other := tr.Start(context.Background(), "other")
	eval.Link("nonsense")
	eval.Link(Of(otherCtx))
	eval.Set(Int("minus", -2))
	eval.End(errors.New("broken"))
	eval.End(nil)
	eval.Set(Str("late", "x"))
	page.End(nil)
	other.End(nil)

	resource, s := decode(t, Encode([]Attr{Str("service.name", "trailwarden")}, k.spans))
	if resource["service.name"] != "trailwarden" || len(s) != 3 {
		t.Fatalf("%v, %d spans", resource, len(s))
	}
	e, p, o := s[0], s[1], s[2]
	id := func(b []byte) string { return hex.EncodeToString(b) }
	if want := "00-" + id(p.TraceId) + "-" + id(p.SpanId) + "-01"; carried != want {
		t.Errorf("carried %s, want %s", carried, want)
	}
	if id(e.TraceId) != id(p.TraceId) || id(e.ParentSpanId) != id(p.SpanId) || len(p.ParentSpanId) != 0 || id(o.TraceId) == id(p.TraceId) {
		t.Errorf("who is whose child:\n%v\n%v\n%v", e, p, o)
	}
	if e.Name != "evaluate" || e.Status.GetCode() != otlp.Status_STATUS_CODE_ERROR || e.Status.GetMessage() != "broken" || p.Status.GetCode() != otlp.Status_STATUS_CODE_UNSET {
		t.Errorf("%v", e)
	}
	if len(e.Links) != 1 || id(e.Links[0].SpanId) != id(o.SpanId) || e.Flags != 1 || e.Kind != otlp.Span_SPAN_KIND_INTERNAL {
		t.Errorf("%v", e)
	}
	if e.StartTimeUnixNano == 0 || e.EndTimeUnixNano < e.StartTimeUnixNano || time.Unix(0, int64(p.StartTimeUnixNano)).After(time.Unix(0, int64(e.StartTimeUnixNano))) {
		t.Errorf("times of %v and %v", e, p)
	}
	want := []*common.KeyValue{{Key: "records", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: 7}}},
		{Key: "minus", Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: -2}}}}
	if len(e.Attributes) != 2 || !proto.Equal(e.Attributes[0], want[0]) || !proto.Equal(e.Attributes[1], want[1]) {
		t.Errorf("%v", e.Attributes)
	}
	if got := p.Attributes[0].Value.GetStringValue(); got != "sls/a\uFFFD" {
		t.Errorf("%q", got)
	}
}

func TestNothingIsTraced(t *testing.T) {
	var k kept
	for name, tr := range map[string]*Tracer{"off": nil, "not sampled": New(0, k.sink)} {
		ctx, s := tr.Start(context.Background(), "page")
		s.Set(Int("n", 1))
		s.Link("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		s.End(errors.New("broken"))
		if got := Of(ctx); got != "" {
			t.Errorf("%s: %q is carried", name, got)
		}
	}
	tr := New(1, k.sink)
	for _, parent := range []string{"", "nonsense", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "00-00000000000000000000000000000000-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"} {
		ctx, s := tr.Resume(context.Background(), parent, "evaluate")
		s.End(nil)
		if Of(ctx) != "" {
			t.Errorf("%q: carried on", parent)
		}
	}
	if len(k.spans) != 0 {
		t.Errorf("%d spans of traces that nobody follows", len(k.spans))
	}
}

func TestShare(t *testing.T) {
	var k kept
	tr := New(0.25, k.sink)
	for range 4000 {
		_, s := tr.Start(context.Background(), "page")
		s.End(nil)
	}
	if n := len(k.spans); n < 800 || n > 1200 { // seven standard deviations
		t.Errorf("%d of 4000 are traced, want about 1000", n)
	}
}

func TestBounds(t *testing.T) {
	var k kept
	_, s := New(1, k.sink).Start(context.Background(), "page")
	for range 100 {
		s.Set(Str("a", "b"), Str("c", "d"))
		s.Link("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	}
	s.End(errors.New(strings.Repeat("界", 5000)))
	e := k.spans[0]
	if len(e.Attrs) != maxAttrs || len(e.links) != maxLinks || len(e.Err) > maxError {
		t.Errorf("%d attributes, %d links, %d bytes", len(e.Attrs), len(e.links), len(e.Err))
	}
	decode(t, Encode(nil, k.spans)) // cut in the middle of a character
}

func FuzzContinue(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-later")
	f.Fuzz(func(t *testing.T, parent string) {
		once := Of(Continue(context.Background(), parent))
		if again := Of(Continue(context.Background(), once)); again != once {
			t.Errorf("%q becomes %q and then %q", parent, once, again)
		}
	})
}
