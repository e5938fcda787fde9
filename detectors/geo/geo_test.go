package geo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
)

// mmdb writes a file in the format, with one record a network: enough of the
// specification to test against the real reader.
func mmdb(t *testing.T, records map[string]any) []byte {
	t.Helper()
	type node struct {
		kid  [2]*node
		data int // offset of the record + 1
	}
	root := &node{}
	var data bytes.Buffer
	networks := make([]string, 0, len(records))
	for n := range records {
		networks = append(networks, n)
	}
	sort.Strings(networks)
	for _, n := range networks {
		p := netip.MustParsePrefix(n)
		a, bits := p.Addr().As16(), p.Bits()
		if p.Addr().Is4() {
			v4 := p.Addr().As4()
			a = [16]byte{}
			copy(a[12:], v4[:])
			bits += 96
		}
		at := root
		for i := range bits {
			b := a[i/8] >> (7 - i%8) & 1
			if at.kid[b] == nil {
				at.kid[b] = &node{}
			}
			at = at.kid[b]
		}
		at.data = data.Len() + 1
		value(&data, records[n])
	}
	var nodes []*node
	index := map[*node]int{}
	var number func(n *node)
	number = func(n *node) {
		if n.data > 0 {
			return
		}
		index[n] = len(nodes)
		nodes = append(nodes, n)
		for _, k := range n.kid {
			if k != nil {
				number(k)
			}
		}
	}
	number(root)
	var out bytes.Buffer
	for _, n := range nodes {
		for _, k := range n.kid {
			v := len(nodes) // not found
			if k != nil && k.data > 0 {
				v = len(nodes) + 16 + k.data - 1
			} else if k != nil {
				v = index[k]
			}
			out.Write(binary.BigEndian.AppendUint32(nil, uint32(v)))
		}
	}
	out.Write(make([]byte, 16))
	out.Write(data.Bytes())
	out.WriteString("\xab\xcd\xefMaxMind.com")
	value(&out, map[string]any{
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1_700_000_000),
		"database_type": "test", "ip_version": uint16(6), "node_count": uint32(len(nodes)), "record_size": uint16(32),
		"languages": []any{"en"}, "description": map[string]any{"en": "test"},
	})
	return out.Bytes()
}

func value(w *bytes.Buffer, v any) {
	head := func(typ, size int) {
		ext := 0
		if typ > 7 {
			ext, typ = typ-7, 0
		}
		extra := []byte(nil)
		if size >= 29 {
			extra, size = []byte{byte(size - 29)}, 29
		}
		w.WriteByte(byte(typ<<5 | size))
		if ext > 0 {
			w.WriteByte(byte(ext))
		}
		w.Write(extra)
	}
	uint := func(typ int, n uint64) {
		b := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, n), "\x00")
		head(typ, len(b))
		w.Write(b)
	}
	switch v := v.(type) {
	case string:
		head(2, len(v))
		w.WriteString(v)
	case uint16:
		uint(5, uint64(v))
	case uint32:
		uint(6, uint64(v))
	case uint64:
		uint(9, v)
	case []any:
		head(11, len(v))
		for _, x := range v {
			value(w, x)
		}
	case map[string]any:
		head(7, len(v))
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			value(w, k)
			value(w, v[k])
		}
	default:
		panic(fmt.Sprintf("mmdb: %T", v))
	}
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func countries(t *testing.T) string {
	return write(t, "country.mmdb", mmdb(t, map[string]any{
		"203.0.113.0/24":  map[string]any{"country": map[string]any{"iso_code": "NL"}},
		"198.51.100.0/24": map[string]any{"registered_country": map[string]any{"iso_code": "SG"}},
		"192.0.2.0/24":    map[string]any{"country": "China", "country_code": "CN"},
		"2001:db8:1::/48": map[string]any{"country": "de"},
	}))
}

func asns(t *testing.T) string {
	return write(t, "asn.mmdb", mmdb(t, map[string]any{
		"203.0.113.0/24": map[string]any{"autonomous_system_number": uint32(64500), "autonomous_system_organization": "Example Hosting"},
		"192.0.2.0/24":   map[string]any{"asn": "AS64501", "as_name": "Example Net"},
	}))
}

func TestLookup(t *testing.T) {
	db, err := Open(countries(t), asns(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		addr, country, org string
		asn                uint32
		ok                 bool
	}{
		{"203.0.113.9", "NL", "Example Hosting", 64500, true},
		{"::ffff:203.0.113.9", "NL", "Example Hosting", 64500, true},
		{"198.51.100.1", "SG", "", 0, true},
		{"192.0.2.1", "CN", "Example Net", 64501, true},
		{"2001:db8:1::7", "DE", "", 0, true},
		{"8.8.8.8", "", "", 0, false},
		{"2001:db8:2::7", "", "", 0, false},
	} {
		country, asn, org, ok := db.Lookup(netip.MustParseAddr(c.addr))
		if country != c.country || asn != c.asn || org != c.org || ok != c.ok {
			t.Errorf("%s: %q %d %q %t, want %q %d %q %t", c.addr, country, asn, org, ok, c.country, c.asn, c.org, c.ok)
		}
	}
	if _, _, _, ok := db.Lookup(netip.Addr{}); ok {
		t.Error("an address that is not valid was found")
	}
}

func TestWithoutData(t *testing.T) {
	var zero DB
	if _, _, _, ok := zero.Lookup(netip.MustParseAddr("203.0.113.9")); ok {
		t.Error("the zero value knows an address")
	}
	db, err := Open("", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, ok := db.Lookup(netip.MustParseAddr("203.0.113.9")); ok {
		t.Error("a database without files knows an address")
	}
}

func TestBadFiles(t *testing.T) {
	broken := write(t, "broken.mmdb", []byte("this is no database"))
	_, err := Open(broken, filepath.Join(t.TempDir(), "absent.mmdb"))
	if err == nil {
		t.Fatal("broken files were accepted")
	}
	for _, want := range []string{"country data", "not an mmdb file", "ASN data", "absent.mmdb"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
	// A file cut anywhere opens or not, but never panics.
	whole, err := os.ReadFile(countries(t))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(whole); n += 97 {
		db, err := Open(write(t, "cut.mmdb", whole[len(whole)-n:]), "")
		if err == nil {
			db.Lookup(netip.MustParseAddr("203.0.113.9"))
		}
	}
}

func TestSwap(t *testing.T) {
	db, err := Open(countries(t), "")
	if err != nil {
		t.Fatal(err)
	}
	other := write(t, "other.mmdb", mmdb(t, map[string]any{"203.0.113.0/24": map[string]any{"country": map[string]any{"iso_code": "FR"}}}))
	g := db.Generation()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if c, _, _, _ := db.Lookup(netip.MustParseAddr("203.0.113.9")); c != "NL" && c != "FR" {
					t.Errorf("country %q during a swap", c)
				}
			}
		})
	}
	if err := db.Load(other, ""); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if c, _, _, _ := db.Lookup(netip.MustParseAddr("203.0.113.9")); c != "FR" {
		t.Errorf("country %q after the swap, want FR", c)
	}
	if db.Generation() == g {
		t.Error("the generation did not change with the data")
	}
	if err := db.Load(write(t, "broken.mmdb", []byte("no")), ""); err == nil {
		t.Error("broken data was accepted")
	}
	if c, _, _, _ := db.Lookup(netip.MustParseAddr("203.0.113.9")); c != "FR" {
		t.Error("broken data replaced good data")
	}
}
