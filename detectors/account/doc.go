// Package account judges permission changes: it learns an account's policies
// from the events that make and move them, and says what each change means,
// by what the documents allow.
//
// What it knows: the text of custom policy versions and which one is in force;
// what is attached to users, groups and roles, in the account or in a resource
// group; who is in which group; whom a role trusts; control policies, folders
// and where accounts lie; cloud SSO access configurations; the policies of
// buckets, keys, secrets and log projects; account preferences and the
// password policy; which users have active AccessKeys and a second factor;
// the networks that keys are bound to; on which days somebody set the passwords of
// others; where trails deliver. All of
// it comes from events, and from listings that a caller may hand over (Offer),
// which count only for events later than themselves. Wanted says which texts
// were lacking. The vendor's own policies are read from listings, else from a
// short table of known documents (package
// rampolicy), never from their names.
//
// What was there before is never overstated: a policy of a resource group
// proves nothing for the account, an inferred text proves nothing about what
// was allowed, and a user who was deleted has nothing when the name comes
// back. Overstating it would hide what is new.
//
// What it does not know it says: a policy whose text was never seen, a group
// whose policies are older than the stream. Such a change has the verdict
// unknown and counts as expanding, with Known unset. A principal that existed
// before the stream may hold more than was seen; the details then say
// "before": "partly known", and what was gained may be less than is told.
//
// A call that failed changes nothing: neither what is known, nor does it
// expand anything. What it asked for is still judged, so that rules can tell
// an attempt to become administrator from a typing error.
//
// Events come in the order of their time, except late ones. A late change is
// not applied over a newer one of the same object.
//
// Memory: entries of one table for all accounts of the partition, the least
// recently used ones evicted and counted when max_keys or max_bytes is
// reached: about 470 bytes for a principal with two attachments, and the text
// for each policy version (at most five), measured on the heap. What was
// evicted is unknown afterwards, not absent.
package account
