package rampolicy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPropValueCells: whatever value a request has, some cell's value makes
// all conditions turn out the same.
func TestPropValueCells(t *testing.T) {
	v4 := func(t *rapid.T) netip.Addr {
		return netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 3).Draw(t, "c")), rapid.Byte().Draw(t, "d")})
	}
	v6 := func(t *rapid.T) netip.Addr {
		b := netip.MustParseAddr("2001:db8::").As16()
		b[5], b[15] = byte(rapid.IntRange(0, 3).Draw(t, "x")), rapid.Byte().Draw(t, "y")
		return netip.AddrFrom16(b)
	}
	addr := func(t *rapid.T) netip.Addr {
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			return netip.MustParseAddr(rapid.SampledFrom([]string{"0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:10.0.1.9"}).Draw(t, "edge"))
		case 1, 2, 3:
			return v6(t)
		}
		return v4(t)
	}
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	families := []struct {
		ops   []string
		value func(t *rapid.T) string // in a condition
		have  func(t *rapid.T) string // in a request
	}{
		{[]string{"StringEquals", "StringNotEquals", "StringLike", "StringNotLike", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"},
			func(t *rapid.T) string { return rapid.StringMatching(`[aAbB*?]{0,4}`).Draw(t, "pattern") },
			func(t *rapid.T) string { return rapid.StringMatching(`[aAbBz*?]{0,5}`).Draw(t, "text") }},
		{[]string{"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"},
			func(t *rapid.T) string {
				return rapid.SampledFrom([]string{"1", "1.0", "-2", "1.3", "0.0000001", "100"}).Draw(t, "n")
			},
			func(t *rapid.T) string { return rapid.StringMatching(`-?[0-9]{1,3}(\.[0-9]{1,8})?`).Draw(t, "number") }},
		{[]string{"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"},
			func(t *rapid.T) string {
				return base.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "h")) * time.Second).In(time.FixedZone("", 8*3600)).Format(time.RFC3339)
			},
			func(t *rapid.T) string {
				return base.Add(time.Duration(rapid.IntRange(-2000, 8000).Draw(t, "ms")) * time.Millisecond).Format(time.RFC3339Nano)
			}},
		{[]string{"Bool"},
			func(t *rapid.T) string { return rapid.SampledFrom([]string{"true", "false", "TRUE"}).Draw(t, "b") },
			func(t *rapid.T) string { return rapid.SampledFrom([]string{"true", "false"}).Draw(t, "b") }},
		{[]string{"IpAddress", "NotIpAddress"},
			func(t *rapid.T) string {
				a := addr(t).Unmap()
				if rapid.Bool().Draw(t, "single") {
					return a.String()
				}
				return netip.PrefixFrom(a, rapid.IntRange(a.BitLen()-10, a.BitLen()).Draw(t, "bits")).String()
			},
			func(t *rapid.T) string { return addr(t).String() }},
	}
	rapid.Check(t, func(t *rapid.T) {
		fam := rapid.SampledFrom(families).Draw(t, "family")
		var conds []*Condition
		for range rapid.IntRange(1, 4).Draw(t, "n") {
			c := &Condition{Operator: rapid.SampledFrom(fam.ops).Draw(t, "op"), Key: "k"}
			for range rapid.IntRange(bit(negated(c.Operator)), 3).Draw(t, "values") {
				c.Values = append(c.Values, fam.value(t))
			}
			if c.opaque() {
				t.Fatalf("%s cannot be evaluated", c.Text())
			}
			conds = append(conds, c)
		}
		vector := func(v string) string {
			var b strings.Builder
			for _, c := range conds {
				fmt.Fprint(&b, c.test(v, true, Reading{}))
			}
			return b.String()
		}
		values, ok := valueCells(conds, 10_000, &budget{left: maxWork})
		if !ok {
			t.Fatal("too many")
		}
		have := map[string]bool{}
		for _, v := range values {
			have[vector(v)] = true
		}
		for range 20 {
			if v := fam.have(t); !have[vector(v)] {
				var texts []string
				for _, c := range conds {
					texts = append(texts, c.Text())
				}
				t.Fatalf("no value stands for %q under %s: %q", v, texts, values)
			}
		}
	})
}
