package rules

import (
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// knownLists are the named lists that the shipped rules and the documentation
// speak of. Others may be used; lint says so.
var knownLists = []string{
	"office_networks", "vpn_networks", "cloud_networks", "ci_networks", "ci_keys", "tor_exits", "threat_networks",
	"breakglass_users", "org_accounts", "audit_stores", "audit_buckets", "protected_domains", "used_regions", "own_principals",
}

// KnownLists names the lists that have a meaning of their own.
func KnownLists() []string { return slices.Clone(knownLists) }

// list is a named list: words, and networks where entries are addresses.
type list struct {
	words map[string]bool
	nets  netset
}

func newList(entries []string) *list {
	l := &list{words: make(map[string]bool)}
	for _, e := range entries {
		e = strings.TrimSpace(e)
		if p, ok := parseNetwork(e); ok {
			l.nets.add(p)
		}
		l.words[strings.ToLower(e)] = true
	}
	return l
}

func (l *list) has(value string, addr netip.Addr) bool {
	if l == nil || value == "" {
		return false
	}
	return l.words[strings.ToLower(value)] || addr.IsValid() && l.nets.contains(addr)
}

// parseNetwork reads a network or a single address, in one form.
func parseNetwork(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return netip.Prefix{}, false
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	return netip.Prefix{}, false
}

// looksLikeNetwork says that an entry was meant as a network: as a plain word
// it would never match anything.
func looksLikeNetwork(s string) bool {
	addr, bits, ok := strings.Cut(strings.TrimSpace(s), "/")
	return ok && addr != "" && strings.Trim(addr, "0123456789abcdefABCDEF.:") == "" && strings.Trim(bits, "0123456789") == "" && strings.ContainsAny(addr, ".:")
}

// netset holds networks by their length, so that a look-up costs one map
// access for each length in use, however many networks there are.
type netset struct {
	bits []int
	nets map[netip.Prefix]bool
}

func (s *netset) add(p netip.Prefix) {
	if s.nets == nil {
		s.nets = make(map[netip.Prefix]bool)
	}
	s.nets[p] = true
	if i, ok := slices.BinarySearch(s.bits, p.Bits()); !ok {
		s.bits = slices.Insert(s.bits, i, p.Bits())
	}
}

func (s *netset) contains(a netip.Addr) bool {
	for _, b := range s.bits {
		if p, err := a.Prefix(b); err == nil && s.nets[p] {
			return true
		}
	}
	return false
}

// sortedLists gives lists a fixed order for hashing.
func sortedLists(m map[string][]string) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
