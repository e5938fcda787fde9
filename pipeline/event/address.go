package event

import (
	"net/netip"
	"strings"
)

// isNull reports the word that some shippers write for an absent value.
func isNull(s string) bool { return len(s) == 4 && strings.EqualFold(s, "null") }

// Masked reports whether s carries a publisher's or the cloud's mask ("***"):
// such a value shows its kind but can never be compared with another.
func Masked(s string) bool {
	return strings.IndexByte(s, '*') >= 0 && strings.Contains(s, "***") // nearly all have none
}

// ParseAddress reads sourceIpAddress. Equal addresses give equal IPs however
// they are written: IPv4-mapped IPv6 is unmapped, IPv6 is in binary form and
// without a zone.
func ParseAddress(s string) Address {
	a := Address{Text: s}
	if ip, ok := DottedQuad(s); ok {
		if a.Kind = quadKind(ip); a.Kind != AddressOther {
			a.IP = netip.AddrFrom4(ip)
		}
		return a
	}
	s = strings.TrimSpace(s)
	switch {
	case s == "" || isNull(s):
		a.Kind, a.Text = AddressAbsent, ""
		return a
	case strings.EqualFold(s, "Internal"):
		a.Kind = AddressInternal
		return a
	}
	if looksNumeric(s) {
		if ip, ok := parseIP(s); ok {
			a.IP = ip
			if a.Kind = ipKind(ip); a.Kind == AddressOther {
				a.IP = netip.Addr{}
			}
			return a
		}
	}
	switch {
	case isMaskedIP(s):
		a.Kind = AddressMasked
	case isServiceDomain(s):
		a.Kind = AddressService
	default:
		a.Kind = AddressOther
	}
	return a
}

// DottedQuad reads an IPv4 address in the form that nearly all addresses have: four
// decimal numbers without leading zeros, as netip does.
func DottedQuad(s string) (ip [4]byte, ok bool) {
	if len(s) < len("0.0.0.0") || len(s) > len("255.255.255.255") {
		return ip, false
	}
	i := 0
	for part := range ip {
		if part > 0 {
			if i >= len(s) || s[i] != '.' {
				return ip, false
			}
			i++
		}
		if i >= len(s) || s[i]-'0' >= 10 {
			return ip, false
		}
		n := int(s[i] - '0')
		i++
		for zero := n == 0; i < len(s) && s[i]-'0' < 10; i++ {
			if n = n*10 + int(s[i]-'0'); zero || n > 255 {
				return ip, false
			}
		}
		ip[part] = byte(n)
	}
	return ip, i == len(s)
}

// quadKind is ipKind for an IPv4 address.
func quadKind(ip [4]byte) AddressKind {
	switch a, b := ip[0], ip[1]; {
	case ip == [4]byte{} || a-224 < 16:
		return AddressOther
	case a == 10 || a == 127 || a == 172 && b-16 < 16 || a == 192 && b == 168 || a == 169 && b == 254:
		return AddressPrivate
	case a == 11 || a == 100 && b-64 < 64:
		return AddressCloudInternal
	}
	return AddressPublic
}

// looksNumeric keeps names away from netip.ParseAddr, whose errors allocate.
func looksNumeric(s string) bool {
	if len(s) > 64 {
		return false
	}
	sep := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.' || c == ':':
			sep = true
		case isHex(c) || c == '[' || c == ']' || c == '%':
		default:
			if i > 0 && strings.IndexByte(s[:i], '%') >= 0 {
				continue // a zone name
			}
			return false
		}
	}
	return sep
}

func parseIP(s string) (netip.Addr, bool) {
	if s[0] == '[' {
		if end := strings.IndexByte(s, ']'); end == len(s)-1 {
			s = s[1:end]
		}
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		ip = ap.Addr()
	}
	return ip.Unmap().WithZone(""), true
}

var (
	alibabaInternal = netip.MustParsePrefix("11.0.0.0/8")
	sharedSpace     = netip.MustParsePrefix("100.64.0.0/10")
)

func ipKind(ip netip.Addr) AddressKind {
	switch {
	case ip.IsUnspecified() || ip.IsMulticast():
		return AddressOther
	case ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast():
		return AddressPrivate
	case alibabaInternal.Contains(ip) || sharedSpace.Contains(ip):
		return AddressCloudInternal
	}
	return AddressPublic
}

// isMaskedIP recognises addresses with parts blanked out: 42.120.XX.XX,
// 1.2.3.***, 100.**.***.69.
func isMaskedIP(s string) bool {
	if len(s) > 64 {
		return false
	}
	mask, sep := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '*' || c == 'x' || c == 'X':
			mask = true
		case c == '.' || c == ':':
			sep = true
		case !isHex(c):
			return false
		}
	}
	return mask && (sep || Masked(s))
}

var serviceDomains = []string{"aliyuncs.com", "aliyun.com", "alibabacloud.com", "aliyun-inc.com", "alibaba-inc.com"}

// isServiceDomain recognises the host names that Alibaba's own services
// leave in place of an address.
func isServiceDomain(s string) bool {
	for _, d := range serviceDomains {
		if n := len(s) - len(d); n > 0 && s[n-1] == '.' && strings.EqualFold(s[n:], d) {
			for i := range n {
				c := s[i] | 0x20
				if c-'a' >= 26 && s[i]-'0' >= 10 && s[i] != '-' && s[i] != '.' {
					return false
				}
			}
			return true
		}
	}
	return false
}

// resolveAddress reads the source. Where the record says Internal, some
// consoles give the browser's address in a parameter.
func (w *walk) resolveAddress() {
	w.ev.Address = ParseAddress(w.address)
	if w.ev.Address.Kind == AddressInternal && w.clientIP != "" {
		if a := ParseAddress(w.clientIP); a.IP.IsValid() || a.Kind == AddressMasked {
			w.ev.Address = a
		}
	}
}
