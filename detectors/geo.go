package detectors

import "net/netip"

// Geo says where an address is, from local data only. ok is false when the
// address is not in the data; country is the two-letter ISO code, or "" when
// only the network is known. Safe for concurrent use.
type Geo interface {
	Lookup(addr netip.Addr) (country string, asn uint32, org string, ok bool)
}

// GeoGeneration is implemented by a Geo whose data can be replaced: the
// number changes with the data, so that caches of answers are dropped.
type GeoGeneration interface {
	Generation() uint64
}
