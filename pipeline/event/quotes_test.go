package event

import (
	"bytes"
	"net/netip"
	"slices"
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
		ip, ok := dottedQuad(s)
		want, err := netip.ParseAddr(s)
		if ok != (err == nil && want.Is4()) {
			t.Fatalf("%q: %v, netip says %v %v", s, ok, want, err)
		}
		if ok && (netip.AddrFrom4(ip) != want || quadKind(ip) != ipKind(want)) {
			t.Fatalf("%q: %v %v, want %v %v", s, ip, quadKind(ip), want, ipKind(want))
		}
	})
}
