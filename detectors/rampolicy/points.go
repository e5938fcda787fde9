package rampolicy

import (
	"math/big"
	"net/netip"
	"slices"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// numericCells returns the numbers that conditions name, one between each two
// and one beyond each end.
func numericCells(conds []*Condition) []string {
	var points []*big.Rat
	for _, c := range conds {
		for _, v := range c.Values {
			if n, ok := number(v); ok {
				points = append(points, n)
			}
		}
	}
	slices.SortFunc(points, (*big.Rat).Cmp)
	points = slices.CompactFunc(points, func(a, b *big.Rat) bool { return a.Cmp(b) == 0 })
	var out []string
	put := func(r *big.Rat) {
		n, exact := r.FloatPrec()
		if !exact {
			n = 45
		}
		out = append(out, r.FloatString(n))
	}
	one := big.NewRat(1, 1)
	for i, p := range points {
		if i == 0 {
			put(new(big.Rat).Sub(p, one))
		} else {
			mid := new(big.Rat).Add(points[i-1], p)
			put(mid.Quo(mid, big.NewRat(2, 1)))
		}
		put(p)
	}
	if len(points) == 0 {
		return []string{"0"}
	}
	put(new(big.Rat).Add(points[len(points)-1], one))
	return out
}

// dateCells does the same for times, to the nanosecond.
func dateCells(conds []*Condition) []string {
	var points []time.Time
	for _, c := range conds {
		for _, v := range c.Values {
			if t, ok := date(v); ok {
				points = append(points, t)
			}
		}
	}
	if len(points) == 0 {
		return []string{"2000-01-01T00:00:00Z"}
	}
	lists.Sort(points, time.Time.Compare)
	points = slices.CompactFunc(points, time.Time.Equal)
	var out []string
	put := func(t time.Time) { out = append(out, t.Format(time.RFC3339Nano)) }
	put(points[0].Add(-time.Second))
	for i, p := range points {
		put(p)
		if i+1 < len(points) && points[i+1].Sub(p) > 1 {
			gap := min(points[i+1].Sub(p)/2, time.Second)
			put(p.Add(gap))
		}
	}
	put(points[len(points)-1].Add(time.Second))
	return out
}

// ipCells returns one address of every stretch of the address lines that no
// network of the conditions cuts: each stretch begins where a network begins
// or behind the end of one, or at the start of the line.
func ipCells(conds []*Condition) []string {
	// Addresses that read well come first.
	points := []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")}
	starts := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	for _, c := range conds {
		for _, v := range c.Values {
			p, ok := network(v)
			if !ok {
				continue
			}
			starts = append(starts, p.Addr())
			if next := last(p).Next(); next.IsValid() {
				starts = append(starts, next)
			}
		}
	}
	lists.Sort(starts, netip.Addr.Compare)
	for _, a := range slices.Compact(starts) {
		// An address inside reads better than the network's own.
		if n := a.Next(); n.IsValid() && !slices.Contains(starts, n) {
			points = append(points, n)
		}
		points = append(points, a)
	}
	out := make([]string, len(points))
	for i, p := range points {
		out[i] = p.String()
	}
	return out
}

// last returns the last address of a network.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
