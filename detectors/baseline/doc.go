// Package baseline is the detector first_seen: it learns where each identity
// usually calls from and finds the first call from somewhere else.
//
// In kind network an observation's value is "address", "address|asn" or
// "address|asn|country", for example "203.0.113.7|AS64500|NL"; asn may be
// written without AS, and empty, "0" or "AS0" when it is not known; country
// is two letters or empty. A value whose first part is no address ("Internal",
// a service name) is passed over. What is remembered is the network: the /24
// of an IPv4 address, the /48 of an IPv6 address (or the address itself with
// novelty address), with its labels, first and last time and count.
//
// In kind value the value is any text: a service, a region, a secret.
//
// An identity learns until it was watched for learn_for and learn_count
// observations (or either, with learn: any). After that an observation is a
// verdict when it is new on the level that novelty names:
//
//	address   the address is new
//	network   the network is new
//	asn       the network is new and, where the ASN is known, the ASN too
//	country   the network is new and, where the country is known, the country
//	          too; where it is not, as asn
//
// A label counts as known when the observation has it and some usual network
// has one too, so that adding a geo database does not make everything new.
// With support above 1 a network is usual only after that many observations;
// until then each of them is a verdict, also for what was seen while learning.
//
// With roaming above 0, an identity with so many networks that were new in the
// last 14 days, a third of the number in the later half of that time, has no usual
// place: a further one is a verdict only when its country is new. Attempts make no
// network, so whoever only fails cannot bring that about; nor does a key that is
// used from many networks from its first days on.
//
// A network is forgotten when its identity was active for forget_after
// without it: an identity that was silent for months still knows its networks
// when it comes back. The identity itself is dropped after drop_after. At
// most max_values networks are kept for an identity; the one seen longest ago
// makes room and is counted. A late observation counts like any other: an
// intruder's first call must not be missed because it was delivered late. A warm start is
// the same: let it observe history and drop the verdicts.
//
// Size: about 300 bytes for an identity with three networks, 530 with eight,
// 800 with the sixteen that are the default bound, measured on the heap with
// 27-character keys. The least recently seen identities make room.
package baseline
