package geo

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trailwarden/trailwarden/detectors/geo/geotest"
)

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func countries(t *testing.T) string {
	return write(t, "country.mmdb", geotest.File(map[string]any{
		"203.0.113.0/24":  map[string]any{"country": map[string]any{"iso_code": "NL"}},
		"198.51.100.0/24": map[string]any{"registered_country": map[string]any{"iso_code": "SG"}},
		"192.0.2.0/24":    map[string]any{"country": "China", "country_code": "CN"},
		"2001:db8:1::/48": map[string]any{"country": "de"},
	}))
}

func asns(t *testing.T) string {
	return write(t, "asn.mmdb", geotest.File(map[string]any{
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

// A whole file that has nothing of what it is asked is refused; one with both is not.
func TestMixedUpFiles(t *testing.T) {
	named := func(kind string) string {
		was := []byte("database_type\x44test")
		now := append(append([]byte("database_type"), byte(0x40+len(kind))), kind...)
		return write(t, "x.mmdb", bytes.Replace(geotest.File(map[string]any{"203.0.113.0/24": map[string]any{}}), was, now, 1))
	}
	for kind, holds := range map[string][2]bool{"GeoLite2-Country": {true, false}, "GeoIP2-City": {true, false}, "DBIP-ASN-Lite": {false, true},
		"country_asn.mmdb": {true, true}, "GeoIP2-ISP": {true, true}} {
		path := named(kind)
		_, err1 := Open(path, "")
		_, err2 := Open("", path)
		if got := [2]bool{err1 == nil, err2 == nil}; got != holds {
			t.Errorf("%s: %v, want %v: %v %v", kind, got, holds, err1, err2)
		}
		for _, err := range []error{err1, err2} {
			if err != nil && !strings.Contains(err.Error(), kind) {
				t.Errorf("%s is not named: %v", kind, err)
			}
		}
	}
}

func TestSwap(t *testing.T) {
	db, err := Open(countries(t), "")
	if err != nil {
		t.Fatal(err)
	}
	other := write(t, "other.mmdb", geotest.File(map[string]any{"203.0.113.0/24": map[string]any{"country": map[string]any{"iso_code": "FR"}}}))
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
