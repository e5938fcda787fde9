package event

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

// TestPropUserForms: a user is one identity inside an account, in every
// spelling, as actor and as target; other accounts and names are others.
func TestPropUserForms(t *testing.T) {
	name := rapid.StringMatching(`[a-z][a-z0-9._-]{0,30}`)
	account := rapid.StringMatching(`[1-9][0-9]{15}`)
	rapid.Check(t, func(t *rapid.T) {
		n, other := name.Draw(t, "name"), name.Draw(t, "other")
		a, b := account.Draw(t, "account"), account.Draw(t, "foreign")
		spell := func(label, n, a string) string {
			switch rapid.IntRange(0, 3).Draw(t, label) {
			case 0:
				return n
			case 1:
				return n + "@" + a + ".onaliyun.com"
			case 2:
				return strings.ToUpper(n)
			}
			return n + "@corp.onaliyun.com"
		}
		actor := func(n, a string) *Event {
			ev, err := Parse([]byte(fmt.Sprintf(`{"eventName":"CreateAccessKey","serviceName":"Ims","userIdentity":{"type":"ram-user","accountId":%q,"userName":%q},"requestParameters":{"UserPrincipalName":%q}}`,
				a, spell("actor", n, a), spell("target", n, a))))
			if err != nil {
				t.Fatal(err)
			}
			return ev
		}
		x, y := actor(n, a), actor(n, a)
		if x.Actor.ID != y.Actor.ID || x.Target.ID != x.Actor.ID || x.Actor.ID != ActorID("user", a, n) {
			t.Fatalf("%q %q %q", x.Actor.ID, y.Actor.ID, x.Target.ID)
		}
		if other != n && actor(other, a).Actor.ID == x.Actor.ID || a != b && actor(n, b).Actor.ID == x.Actor.ID {
			t.Fatal("two identities share one id")
		}
	})
}

// TestPropAddresses: every way of writing an address gives the same address.
func TestPropAddresses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if rapid.Bool().Draw(t, "v6") {
			var b [16]byte
			for i := range b {
				b[i] = rapid.Byte().Draw(t, "b")
			}
			ip := netip.AddrFrom16(b).Unmap()
			long := netip.AddrFrom16(b).StringExpanded()
			for _, s := range []string{ip.String(), long, strings.ToUpper(long), "[" + long + "]"} {
				if a := ParseAddress(s); a.IP.IsValid() && a.IP != ip || a.Kind == AddressMasked || a.Kind == AddressService {
					t.Fatalf("%s: %+v", s, a)
				}
			}
			return
		}
		var b [4]byte
		for i := range b {
			b[i] = rapid.Byte().Draw(t, "b")
		}
		ip := netip.AddrFrom4(b)
		want := ParseAddress(ip.String())
		for _, s := range []string{"::ffff:" + ip.String(), fmt.Sprintf("::FFFF:%02x%02x:%02x%02x", b[0], b[1], b[2], b[3]), ip.String() + ":80"} {
			if a := ParseAddress(s); a.IP != want.IP || a.Kind != want.Kind {
				t.Fatalf("%s: %+v, want %+v", s, a, want)
			}
		}
	})
}

// TestPropNumbers: a number comes out digit by digit, however large.
func TestPropNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[1-9][0-9]{0,40}`).Draw(t, "digits")
		n, _ := new(big.Int).SetString(digits, 10)
		ev, err := Parse([]byte(fmt.Sprintf(`{"eventName":"X","eventId":%s,"userIdentity":{"type":"ram-user","principalId":%s,"accountId":%s,"userName":"u"},"requestParameters":{"Id":%s}}`, n, n, n, n)))
		if err != nil {
			t.Fatal(err)
		}
		id, _ := ev.Param("Id")
		if id != digits || ev.Actor.Principal != digits || ev.Actor.Account != digits || ev.ID != digits {
			t.Fatalf("%s became %s %s %s %s", digits, id, ev.Actor.Principal, ev.Actor.Account, ev.ID)
		}
	})
}

// TestPropParams: whatever encoding/json writes as parameters is read back
// the same, from the object and from JSON text in a string.
func TestPropParams(t *testing.T) {
	key := rapid.StringN(1, 12, 40).Filter(func(s string) bool { return !strings.Contains(s, ".") })
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.MapOfN(key, rapid.String(), 0, 6).Draw(t, "params")
		doc, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(string(doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range []string{`"requestParameters":` + string(doc), `"requestParameters":` + string(text), `"requestParameterJson":` + string(text)} {
			ev, err := Parse([]byte(`{"eventName":"X",` + in + `}`))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range m {
				if got, ok := ev.Param(k); !ok || got != v {
					t.Fatalf("%s: %q is %q %v, want %q", in, k, got, ok, v)
				}
			}
			n := 0
			ev.EachParam(func(k, v string) bool {
				if m[k] != v {
					t.Fatalf("%s: EachParam %q=%q", in, k, v)
				}
				n++
				return true
			})
			if n != len(m) {
				t.Fatalf("%s: %d parameters, want %d", in, n, len(m))
			}
		}
	})
}

// TestPropParamsMention: a parameter that can be found by a name that ends in a
// word is mentioned, however it is spelled and wherever it is; a text without the
// word says so.
func TestPropParamsMention(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"role", "RamRole", "Url"}).Draw(t, "word")
		key := []rune("")
		for _, c := range rapid.StringMatching(`[A-Ea-e_]{0,9}`).Draw(t, "before") + word {
			if rapid.Bool().Draw(t, "up") {
				c = unicode.ToUpper(c)
			}
			key = append(key, c)
		}
		spelled := ""
		for _, c := range key {
			if rapid.IntRange(0, 19).Draw(t, "escaped") == 0 {
				spelled += fmt.Sprintf(`\u%04x`, c)
			} else {
				spelled += string(c)
			}
		}
		pad := func(label string) string {
			return rapid.StringMatching(`("[a-dA-D0-9.]{1,12}":"[a-dA-D0-9. :/-]{0,12}",){0,4}`).Draw(t, label)
		}
		doc, path := `{`+pad("a")+`"`+spelled+`":"x"`+strings.TrimSuffix(","+pad("b"), ",")+`}`, string(key)
		for range rapid.IntRange(0, 2).Draw(t, "depth") {
			if rapid.Bool().Draw(t, "text") {
				doc = strconv.Quote(doc)
			}
			doc, path = `{`+pad("c")+`"in":`+doc+`}`, "in."+path
		}
		if rapid.Bool().Draw(t, "as text") {
			doc = strconv.Quote(doc)
		}
		field := rapid.SampledFrom([]string{"requestParameters", "requestParameterJson"}).Draw(t, "field")
		ev, err := Parse([]byte(`{"eventName":"X","` + field + `":` + doc + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if v, _ := ev.Param(path); v != "x" {
			t.Fatalf("%q not found in %s", path, doc)
		}
		if !ev.ParamsMention(word) {
			t.Fatalf("%s is said not to mention %s", doc, word)
		}
		if ev.ParamsMention("flow") && !strings.Contains(doc, `\u`) {
			t.Fatalf("%s is said to mention flow", doc)
		}
	})
}

// TestPropTimes agrees with package time.
func TestPropTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "unix"), int64(rapid.IntRange(0, 999_999_999).Draw(t, "nanos"))).UTC()
		zone := time.FixedZone("", rapid.IntRange(-14*60, 14*60).Draw(t, "zone")*60)
		for _, s := range []string{want.Format(time.RFC3339Nano), want.In(zone).Format("2006-01-02T15:04:05.000000000-0700")} {
			local := want.In(zone)
			if y := local.Year(); y < 1 || y > 9999 {
				continue
			}
			if got, ok := parseTime(s); !ok || !got.Equal(want) || got.Location() != time.UTC {
				t.Fatalf("%s: %v %v, want %v", s, got, ok, want)
			}
		}
	})
}

// TestPropUnescape agrees with encoding/json on any content of a string,
// escaped and broken as it may be.
func TestPropUnescape(t *testing.T) {
	piece := rapid.OneOf(rapid.SampledFrom([]string{`\\`, `\"`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0041`, `\u00e9`, `\ud83d\ude00`, `\ud83d`, `\ude00x`, `\ud83d\u0041`, "\xff", "\xc3",
		"\xed\xa0\x80", "é", "中", "😀", "plain text that is longer than a word", "x"}), rapid.StringMatching(`[ -!#-\[\]-~]{0,20}`))
	rapid.Check(t, func(t *rapid.T) {
		content := strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "")
		quoted := []byte(`"` + content + `"`)
		var want string
		if err := json.Unmarshal(quoted, &want); err != nil {
			t.Fatal(err)
		}
		s := scanner{b: quoted}
		end, flags := s.str(1)
		if end != len(quoted)-1 {
			t.Fatalf("%q ends at %d", quoted, end)
		}
		if got := text(quoted[1:end], flags); got != want {
			t.Fatalf("%q: %q, want %q", quoted, got, want)
		}
		prefix := []byte("before")
		if got := string(appendUnescaped(prefix, quoted[1:end], flags)); got != "before"+want {
			t.Fatalf("%q: appended %q", quoted, got)
		}
	})
}

// Eight letters at a time are lowered as one by one.
func TestPropAppendLower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "before")
		b := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.SliceOf(rapid.SampledFrom([]byte("@AZ[`az{/09\x00\x7f\x80\xc1\xda\xff")))).Draw(t, "text")
		want := append([]byte{}, before...)
		for _, c := range b {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			want = append(want, c)
		}
		if got := appendLower(append([]byte{}, before...), b); string(got) != string(want) {
			t.Fatalf("%q behind %q: %q, want %q", b, before, got, want)
		}
	})
}
