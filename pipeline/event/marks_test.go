package event

import (
	"math/bits"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// naiveMarks is mark by looking at every byte.
func naiveMarks(b []byte) []marks {
	m := make([]marks, (len(b)+63)/64)
	escaped := false
	for i, c := range b {
		k, bit := &m[i/64], uint64(1)<<(i%64)
		if c == '\\' {
			k.back |= bit
		}
		if c < 0x20 || c > 0x7f || escaped && c != '"' && c != '\\' {
			k.other |= bit
		}
		if c == '"' && !escaped {
			k.quote |= bit
		}
		escaped = c == '\\' && !escaped
	}
	return m
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

func TestPropMarks(t *testing.T) {
	forEachKernel(t, func(t *testing.T) {
		var m []marks
		rapid.Check(t, func(t *rapid.T) {
			b := drawText(t)
			if len(b) == 0 {
				return
			}
			m = mark(m, b)
			want := naiveMarks(b)
			for i, w := range want {
				within := ^uint64(0)
				if rest := len(b) - i*64; rest < 64 {
					within = 1<<rest - 1
				}
				got := m[i]
				// Of bytes that both are and follow backslashes the kernels
				// mark what is escaped, as the plain way does.
				if got.quote&within != w.quote || got.back&within != w.back || got.other&within != w.other {
					t.Fatalf("block %d of %q:\n got %064b %064b %064b\nwant %064b %064b %064b", i, b,
						bits.Reverse64(got.quote&within), bits.Reverse64(got.back&within), bits.Reverse64(got.other&within),
						bits.Reverse64(w.quote), bits.Reverse64(w.back), bits.Reverse64(w.other))
				}
			}
		})
	})
}

// A string ends where the plain walk says, from wherever it is asked in text
// that the scanner has come to.
func TestPropMarkedStrings(t *testing.T) {
	forEachKernel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			b := drawText(t)
			marked, plain := scanner{b: b, m: mark(nil, b)}, scanner{b: b}
			escaped := false // whether the byte at i is: no string begins there
			for i := 0; i <= len(b); i++ {
				if !escaped {
					end, flags := marked.str(i)
					wantEnd, wantFlags := plain.str(i)
					if end != wantEnd || flags != wantFlags || marked.at != plain.at || marked.why != plain.why {
						t.Fatalf("%q from %d: %d %d, want %d %d", b, i, end, flags, wantEnd, wantFlags)
					}
				}
				escaped = i < len(b) && b[i] == '\\' && !escaped
			}
		})
	})
}

// forEachKernel runs a test with each way of marking that this processor has.
func forEachKernel(t *testing.T, test func(*testing.T)) {
	ran := false
	eachKernel(func(name string) {
		ran = true
		t.Run(name, test)
	})
	if !ran {
		t.Log("this processor marks nothing: records are walked")
	}
}

// FuzzKernels holds every way of marking to the plain parser.
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
