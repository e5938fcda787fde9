package event

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naiveQuotes is quotesOf by looking at every byte.
func naiveQuotes(b []byte) []uint32 {
	list := []uint32{}
	escaped, flags := false, uint32(0)
	for i, c := range b {
		switch {
		case c == '"' && !escaped:
			list = append(list, uint32(i)<<quoteAt|flags)
			flags = 0
		case c == '\\':
			flags |= quoteBack
		case c < 0x20 || c > 0x7f || escaped && c != '"':
			flags |= quoteOther
		}
		escaped = c == '\\' && !escaped
	}
	return list
}

// drawText draws bytes of which many are what a string's end depends on.
func drawText(t *rapid.T) []byte {
	common := rapid.SampledFrom([]byte("\"\\\\\\\"a b{}:,\n\x1f\x20\x7f\x80\xffunt/"))
	var b []byte
	for range rapid.IntRange(0, 8).Draw(t, "stretches") {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0: // a run of backslashes over a block's end
			for range rapid.IntRange(0, 140).Draw(t, "run") {
				b = append(b, '\\')
			}
		case 1:
			for range rapid.IntRange(0, 140).Draw(t, "plain") {
				b = append(b, 'x')
			}
		default:
			b = append(b, rapid.SliceOfN(common, 0, 90).Draw(t, "mixed")...)
		}
	}
	return b
}

func TestPropQuotes(t *testing.T) {
	forEachKernel(t, func(t *testing.T) {
		var list []uint32
		rapid.Check(t, func(t *rapid.T) {
			b := drawText(t)
			if len(b) == 0 {
				return
			}
			list = quotesOf(list, b)
			want := naiveQuotes(b)
			if !slices.Equal(list, want) {
				t.Fatalf("%q:\n got %v\nwant %v", b, list, want)
			}
		})
	})
}

// Blocks full of quotes take the most room, at the end of the list too.
func TestQuotesOfManyLengths(t *testing.T) {
	forEachKernel(t, func(t *testing.T) {
		for n := 1; n < 400; n++ {
			for _, every := range []int{1, 2, 3, 7} {
				b := bytes.Repeat([]byte("x"), n)
				for i := 0; i < n; i += every {
					b[i] = '"'
				}
				list := make([]uint32, n+quoteBlock)
				if got := quotesOf(list, b); !slices.Equal(got, naiveQuotes(b)) {
					t.Fatalf("%d bytes, a quote every %d: %v", n, every, got)
				}
			}
		}
	})
}

// A string ends where the plain walk says, from wherever it is asked in text
// that the scanner has come to.
func TestPropListedStrings(t *testing.T) {
	forEachKernel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			b := drawText(t)
			listed, plain := scanner{b: b, quotes: quotesOf(nil, b)}, scanner{b: b}
			for i, c := range b {
				if c != '"' {
					continue
				}
				// The walk is at this quote, or at one that it will never be at.
				listed.quote = len(naiveQuotes(b[:i]))
				end, flags := listed.str(i + 1)
				wantEnd, wantFlags := plain.str(i + 1)
				if end != wantEnd || flags != wantFlags || listed.at != plain.at || listed.why != plain.why {
					t.Fatalf("%q from %d: %d %d, want %d %d", b, i+1, end, flags, wantEnd, wantFlags)
				}
			}
		})
	})
}

// forEachKernel runs a test with each way of listing quotes that this processor has.
func forEachKernel(t *testing.T, test func(*testing.T)) {
	ran := false
	eachKernel(func(name string) {
		ran = true
		t.Run(name, test)
	})
	if !ran {
		t.Log("this processor lists nothing: records are walked")
	}
}

// FuzzKernels holds every way of listing quotes to the plain parser.
func FuzzKernels(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add([]byte(s))
	}
	f.Add(benchRecord)
	f.Fuzz(func(t *testing.T, in []byte) {
		want, werr := Parse(in)
		eachKernel(func(name string) {
			var p Parser
			got := new(Event)
			err := p.Parse(in, got)
			if (err == nil) != (werr == nil) || err != nil && err.Error() != werr.Error() {
				t.Fatalf("%s: %v, want %v", name, err, werr)
			}
			if err == nil && render(got) != render(want) {
				t.Fatalf("%s:\n got %s\nwant %s", name, render(got), render(want))
			}
		})
	})
}

func TestPropDottedQuad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(
			rapid.StringMatching(`[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}`),
			rapid.StringMatching(`(0|10|11|100|127|169|172|192|224|239|255)\.(0|16|31|63|64|127|128|168|254)\.[0-9]{1,2}\.[0-9]{1,2}`),
			rapid.StringMatching(`[0-9.:a]{0,16}`),
		).Draw(t, "address")
		ip, ok := DottedQuad(s)
		want, err := netip.ParseAddr(s)
		if ok != (err == nil && want.Is4()) {
			t.Fatalf("%q: %v, netip says %v %v", s, ok, want, err)
		}
		if ok && (netip.AddrFrom4(ip) != want || quadKind(ip) != ipKind(want)) {
			t.Fatalf("%q: %v %v, want %v %v", s, ip, quadKind(ip), want, ipKind(want))
		}
	})
}

// A string that was checked ends where the walk that checks it says, and holds
// what that says.
func TestPropStringsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z" ]{0,20}`), rapid.SampledFrom([]string{`\`, `"`, "\n", "é", "\xff", "<", "\u2028"}))
		text, err := json.Marshal(strings.Join(rapid.SliceOfN(part, 0, 6).Draw(t, "parts"), ""))
		if err != nil {
			t.Fatal(err)
		}
		doc := append(text, rapid.SampledFrom([]string{"", ",", `,"more":1}`, "          "}).Draw(t, "behind")...)
		s := scanner{b: doc}
		end, flags := s.walkStr(1)
		if e, fl := strEnd(doc, 1); e != end || fl != flags {
			t.Fatalf("%q ends at %d with %d, the walk says %d with %d", doc, e, fl, end, flags)
		}
		if cut := doc[:end]; end > 1 {
			if e, _ := strEnd(cut, 1); e != -1 {
				t.Fatalf("%q has an end at %d", cut, e)
			}
		}
	})
}

// What a list of quotes says is read in long steps: whatever members stand in a
// record, in whatever order and spelling, and wherever it is broken, that is what is
// read without.
func TestPropMembersInSteps(t *testing.T) {
	var keys []string
	for i := range memberTables {
		for j := range memberTables[i].known {
			keys = append(keys, memberTables[i].known[j].key)
		}
	}
	spelled := rapid.SampledFrom(keys)
	key := rapid.OneOf(spelled, spelled, rapid.Custom(func(t *rapid.T) string {
		k := []byte(spelled.Draw(t, "spelled"))
		k[rapid.IntRange(0, len(k)-1).Draw(t, "place")] ^= rapid.SampledFrom([]byte{0x20, 1}).Draw(t, "change")
		return string(k)
	}), rapid.SampledFrom([]string{"userIdentit", "eventIds", "", "x", `event\u004eame`, "é", "aKey\x01", "stsTokenPlayerUidd",
		"aVeryLongKeyThatNoTableKnowsBecauseItHasMoreThanSixtyFourBytesInIt"}))
	space := rapid.SampledFrom([]string{"", "", "", "", "", " ", "\n", "  \t"})
	var value func(depth int) *rapid.Generator[string]
	object := func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			var b strings.Builder
			b.WriteString("{")
			for i := range rapid.IntRange(0, 6).Draw(t, "members") {
				if i > 0 {
					b.WriteString(space.Draw(t, "space") + "," + space.Draw(t, "space"))
				}
				b.WriteString(`"` + key.Draw(t, "key") + `"` + space.Draw(t, "space") + ":" + space.Draw(t, "space") + value(depth+1).Draw(t, "value"))
			}
			return b.String() + "}"
		})
	}
	value = func(depth int) *rapid.Generator[string] {
		some := []*rapid.Generator[string]{
			rapid.StringMatching(`"[a-zA-Z0-9:/._*-]{0,40}"`), rapid.StringMatching(`"[a-zA-Z0-9:/._*-]{0,40}"`), rapid.StringMatching(`"[a-zA-Z0-9:/._*-]{0,40}"`),
			rapid.SampledFrom([]string{"1", "0", "-1", "12.5e3", "true", "false", "null", "tru", "01", `""`, `"a\"b"`, `"a\\"`, `"\u00e9"`, `"é"`, `"a` + "\n" + `"`, `"\x"`,
				`"{\"type\":\"ram-user\",\"userName\":\"bob\"}"`, `"2026-01-05T00:00:00Z"`, `["a",{"b":"c"}]`, `[]`, `"NULL"`}),
		}
		if depth < 4 {
			some = append(some, object(depth))
		}
		return rapid.OneOf(some...)
	}
	forEachKernel(t, func(t *testing.T) {
		var p Parser
		one := func(t *rapid.T) {
			// Members as usual, one that is drawn among them, and enough behind it.
			in := []byte(`{"eventId":"1","eventName":"GetUser","serviceName":"Ram",`)
			if rapid.Bool().Draw(t, "in parameters") {
				in = append(in, `"requestParameters":{"UserName":"bob",`...)
			}
			in = append(in, `"`+key.Draw(t, "key")+`"`+space.Draw(t, "space")+":"+space.Draw(t, "space")+value(0).Draw(t, "value")...)
			in = append(in, `,"requestId":"2","userAgent":"a tool of some kind",`...)
			in = append(in, object(0).Draw(t, "rest")[1:]...)
			if bytes.Count(in, []byte("{")) > bytes.Count(in, []byte("}")) {
				in = append(in, '}')
			}
			switch rapid.IntRange(0, 9).Draw(t, "broken") {
			case 0:
				in = in[:rapid.IntRange(0, len(in)).Draw(t, "cut")]
			case 1:
				in[rapid.IntRange(0, len(in)-1).Draw(t, "at")] = rapid.SampledFrom([]byte(`"\{}[],: x`+"\x00\xff")).Draw(t, "byte")
			}
			want, werr := Parse(in)
			got := new(Event)
			err := p.Parse(in, got)
			if (err == nil) != (werr == nil) || err != nil && err.Error() != werr.Error() {
				t.Fatalf("%q: %v, want %v", in, err, werr)
			}
			if err == nil && render(got) != render(want) {
				t.Fatalf("%q:\n got %s\nwant %s", in, render(got), render(want))
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			for range 20 { // most of them differ in nothing that is read otherwise
				one(t)
			}
		})
	})
}
