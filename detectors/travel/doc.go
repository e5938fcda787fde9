// Package travel finds one identity in two countries with less time between
// than anybody needs for the way: a sign-in from the Netherlands 40 minutes
// after one from China.
//
// An observation's value is a place as rules write it in source.place,
// "address|ASN|country": an IP address, the number of its network with or
// without "AS", and a two-letter ISO 3166-1 code, for example
// "203.0.113.10|64500|NL". Address and ASN may be empty. Values without a
// country, or with a code that the table does not have, say nothing and are
// passed over, so the detector is silent without geo data.
//
// Only the country is known, so a place is the coarse middle of its country
// and a radius within which most of its people live. The way between two
// countries is the great circle between the middles less both radii, and
// nothing within one country. Two places are impossible when that way is over
// min_distance and the shortest time between an observation at one and at the
// other is too short for it at max_speed. Both must have been observed
// min_observations times in within, so that one wrong row of a geo database
// proves nothing when that is set to 2.
//
// What looks like travel and is not:
//   - egress of a VPN, a cloud or a cross-border line: list its ASNs in
//     ignore_asns or its networks in ignore_networks;
//   - a carrier or company whose one network comes out in several countries:
//     two places with the same ASN are one, unless same_asn is judge;
//   - countries between which an organisation's traffic moves as it likes:
//     together, for example ["CN HK SG"];
//   - whatever else goes on: two countries are told once, and again only when
//     they did not meet for repeat_after.
//
// Late observations are judged like others while they are within the window
// of the identity.
//
// State is, for each identity, the places of the last within, at most
// max_places, each with its first and last observation: about 400 bytes with
// one place and 620 with two, measured on the heap with 36-character ids. The
// least recently seen identities make room.
package travel
