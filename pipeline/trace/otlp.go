package trace

import (
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Encode makes the body of an OTLP/HTTP request (ExportTraceServiceRequest,
// binary protobuf) of spans. resource says what made them.
func Encode(resource []Attr, spans []*Ended) []byte {
	var scope []byte // ScopeSpans: 1 scope, 2 spans
	scope = message(scope, 1, text(nil, 1, "github.com/trailwarden/trailwarden"))
	for _, s := range spans {
		scope = message(scope, 2, encodeSpan(s))
	}
	var of []byte // ResourceSpans: 1 resource, 2 scope_spans
	of = message(of, 1, attrs(nil, 1, resource))
	of = message(of, 2, scope)
	return message(nil, 1, of)
}

const (
	kindInternal = 1
	statusError  = 2
	sampledFlag  = 1
)

// Span: 1 trace_id, 2 span_id, 4 parent_span_id, 5 name, 6 kind, 7 and 8 start
// and end, 9 attributes, 13 links, 15 status, 16 flags.
func encodeSpan(s *Ended) []byte {
	b := message(nil, 1, s.at.trace[:])
	b = message(b, 2, s.at.span[:])
	if s.parent.valid() {
		b = message(b, 4, s.parent.span[:])
	}
	b = text(b, 5, s.Name)
	b = protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.VarintType), kindInternal)
	for i, t := range []time.Time{s.Begin, s.End} {
		b = protowire.AppendFixed64(protowire.AppendTag(b, protowire.Number(7+i), protowire.Fixed64Type), uint64(t.UnixNano()))
	}
	b = attrs(b, 9, s.Attrs)
	for _, l := range s.links { // Link: 1 trace_id, 2 span_id, 6 flags
		x := message(message(nil, 1, l.trace[:]), 2, l.span[:])
		b = message(b, 13, flags(x, 6))
	}
	if s.Err != "" { // Status: 2 message, 3 code
		x := text(nil, 2, s.Err)
		b = message(b, 15, protowire.AppendVarint(protowire.AppendTag(x, 3, protowire.VarintType), statusError))
	}
	return flags(b, 16)
}

func flags(b []byte, n protowire.Number) []byte {
	return protowire.AppendFixed32(protowire.AppendTag(b, n, protowire.Fixed32Type), sampledFlag)
}

func message(b []byte, n protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), m)
}

// text appends a string; protobuf takes valid UTF-8 only.
func text(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), strings.ToValidUTF8(s, "\uFFFD"))
}

// attrs appends KeyValues: 1 key, 2 AnyValue (1 string_value, 3 int_value).
func attrs(b []byte, n protowire.Number, as []Attr) []byte {
	for _, a := range as {
		var v []byte
		if a.num {
			v = protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), uint64(a.Num))
		} else {
			v = text(nil, 1, a.Text)
		}
		b = message(b, n, message(text(nil, 1, a.Key), 2, v))
	}
	return b
}
