// Package geo says where an address is, from local mmdb files (the format of
// the GeoLite2, GeoIP2, DB-IP and IPinfo country and ASN data). It never
// reaches the network. Data can be replaced while it is in use; without data
// every address is unknown.
package geo
