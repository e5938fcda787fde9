package geo

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/trailwarden/trailwarden/detectors"
)

// maxSize bounds a data file.
const maxSize = 1 << 30

// DB answers look-ups from up to two files, one for countries and one for
// networks. The zero value knows nothing. Methods are safe for concurrent
// use.
type DB struct {
	data       atomic.Pointer[data]
	generation atomic.Uint64
}

type data struct {
	country, asn *maxminddb.Reader
	identity     string
}

var (
	_ detectors.Geo           = (*DB)(nil)
	_ detectors.GeoGeneration = (*DB)(nil)
)

// Open reads the files; an empty path leaves that part unknown. The files are
// held in memory, so replacing one on disk cannot harm a look-up.
func Open(countryPath, asnPath string) (*DB, error) {
	db := &DB{}
	if err := db.Load(countryPath, asnPath); err != nil {
		return nil, err
	}
	return db, nil
}

// Load replaces the data by that of the files. When a file cannot be used the
// data stays as it was.
func (db *DB) Load(countryPath, asnPath string) error {
	h := sha256.New()
	country, err1 := read("country", countryPath, h)
	asn, err2 := read("ASN", asnPath, h)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	db.data.Store(&data{country: country, asn: asn, identity: hex.EncodeToString(h.Sum(nil)[:8])})
	db.generation.Add(1)
	return nil
}

func read(what, path string, h io.Writer) (*maxminddb.Reader, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s data: %w", what, err)
	}
	if info.Size() > maxSize {
		return nil, fmt.Errorf("%s data %s: %d bytes, at most %d are read", what, path, info.Size(), maxSize)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s data: %w", what, err)
	}
	fmt.Fprintf(h, "%s %d\n", what, len(b))
	_, _ = h.Write(b) // a hash takes everything
	r, err := maxminddb.OpenBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%s data %s is not an mmdb file, or not all of one: %w", what, path, err)
	}
	// All look-ups in the other file succeed, and find nothing.
	kind := strings.ToLower(r.Metadata.DatabaseType)
	places, networks := strings.Contains(kind, "country") || strings.Contains(kind, "city"), strings.Contains(kind, "asn")
	if places != networks && places != (what == "country") {
		return nil, fmt.Errorf("%s data %s is %q, which has none: are the two files mixed up?", what, path, r.Metadata.DatabaseType)
	}
	return r, nil
}

// Generation implements detectors.GeoGeneration.
func (db *DB) Generation() uint64 { return db.generation.Load() }

// Identity tells one state of the data from another: equal files, equal identity.
func (db *DB) Identity() string {
	if d := db.data.Load(); d != nil {
		return d.identity
	}
	return ""
}

// Lookup implements detectors.Geo. Data that cannot be read counts as
// unknown.
func (db *DB) Lookup(addr netip.Addr) (country string, asn uint32, org string, ok bool) {
	d := db.data.Load()
	if d == nil || !addr.IsValid() {
		return "", 0, "", false
	}
	addr = addr.Unmap()
	if r := d.country; r != nil {
		country = place(r, addr)
	}
	if r := d.asn; r != nil {
		asn, org = network(r, addr)
	}
	return country, asn, org, country != "" || asn != 0
}

// place reads the country of an address: where the network is, else where it
// is registered. IPinfo writes it flat.
func place(r *maxminddb.Reader, addr netip.Addr) string {
	var rec struct {
		Country    any `maxminddb:"country"`
		Registered struct {
			ISO string `maxminddb:"iso_code"`
		} `maxminddb:"registered_country"`
		Code string `maxminddb:"country_code"`
	}
	if r.Lookup(addr).Decode(&rec) != nil {
		return ""
	}
	iso := ""
	switch c := rec.Country.(type) {
	case string:
		iso = c
	case map[string]any:
		iso, _ = c["iso_code"].(string)
	}
	for _, s := range []string{rec.Code, iso, rec.Registered.ISO} {
		if len(s) == 2 {
			return strings.ToUpper(s)
		}
	}
	return ""
}

// network reads the autonomous system of an address.
func network(r *maxminddb.Reader, addr netip.Addr) (uint32, string) {
	var rec struct {
		Number uint32 `maxminddb:"autonomous_system_number"`
		Org    string `maxminddb:"autonomous_system_organization"`
	}
	if r.Lookup(addr).Decode(&rec) == nil && rec.Number != 0 {
		return rec.Number, rec.Org
	}
	var flat struct {
		ASN  string `maxminddb:"asn"` // "AS64500"
		Name string `maxminddb:"as_name"`
	}
	if r.Lookup(addr).Decode(&flat) != nil {
		return 0, ""
	}
	var n uint32
	if _, err := fmt.Sscanf(strings.TrimPrefix(flat.ASN, "AS"), "%d", &n); err != nil {
		return 0, ""
	}
	return n, flat.Name
}
