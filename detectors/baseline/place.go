package baseline

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// place is one network or value of an identity. In kind value net is zero and
// the value stands beside it in state.values.
type place struct {
	net         netIP
	country     [2]byte
	asn         uint32
	count       uint32
	first, last uint32 // seconds since 1970
}

// netIP is a masked address and its prefix length, without the pointer that
// netip.Addr has.
type netIP struct {
	addr [16]byte
	bits uint8
	v4   bool
}

func (n netIP) prefix() netip.Prefix {
	a := netip.AddrFrom16(n.addr)
	if n.v4 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, int(n.bits))
}

func (n netIP) String() string {
	p := n.prefix()
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// The networks that stand for an address.
const (
	bits4 = 24
	bits6 = 48
)

func mask(a netip.Addr, whole bool) netIP {
	bits := bits6
	if a.Is4() {
		bits = bits4
	}
	if whole {
		bits = a.BitLen()
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netIP{}
	}
	return netIP{addr: p.Addr().As16(), bits: uint8(bits), v4: a.Is4()}
}

// sight is what an observation's value says.
type sight struct {
	unit    netIP // what is remembered
	network netIP // the network around it
	addr    netip.Addr
	value   value
	asn     uint32
	country [2]byte
}

// see reads a value; it says false when there is nothing to learn from it.
func (c *Config) see(s *sight, value string) bool {
	if c.Kind == KindValue {
		s.value = valueOf(window.BoundValue(value))
		return value != ""
	}
	ip, rest, _ := strings.Cut(value, "|")
	a, ok := addressOf(ip)
	if !ok {
		return false
	}
	if a.IsUnspecified() {
		return false
	}
	s.addr, s.network = a, mask(a, false)
	s.unit = s.network
	if c.Novelty == LevelAddress {
		s.unit = mask(a, true)
	}
	asn, country, _ := strings.Cut(rest, "|")
	s.asn = parseASN(asn)
	if country = strings.TrimSpace(country); len(country) == 2 && letter(country[0]) && letter(country[1]) {
		s.country = [2]byte{country[0] &^ 0x20, country[1] &^ 0x20}
	}
	return true
}

// addressOf reads an address as netip does, most of them quicker.
func addressOf(text string) (netip.Addr, bool) {
	if four, ok := event.DottedQuad(text); ok {
		return netip.AddrFrom4(four), true
	}
	a, err := netip.ParseAddr(strings.TrimSpace(text))
	return a.Unmap().WithZone(""), err == nil
}

func letter(b byte) bool { b |= 0x20; return b >= 'a' && b <= 'z' }

func parseASN(text string) uint32 {
	if text = strings.TrimSpace(text); text == "" {
		return 0
	}
	if len(text) > 2 && (text[0]|0x20) == 'a' && (text[1]|0x20) == 's' {
		text = text[2:]
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// labels writes ASN and country, for example " (AS64500, NL)".
func labels(asn uint32, country [2]byte) string {
	var parts []string
	if asn != 0 {
		parts = append(parts, "AS"+strconv.FormatUint(uint64(asn), 10))
	}
	if country != [2]byte{} {
		parts = append(parts, string(country[:]))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
