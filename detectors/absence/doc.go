// Package absence finds what was expected and did not come: an account that
// sends events every few minutes has sent none for three hours.
//
// An entity is expected to come again within its limit: the fixed gap of the
// settings, or one learned from its own past. The learned limit is factor
// times the usual longest silence, between min_gap and max_gap. The usual
// longest silence is found by time, not by number: it is the longest of the
// past silences in which the entity spent at least 1-quantile of its time, and
// that it had at least support times. So the quiet nights and weekends of an
// office are usual although most gaps are seconds, and one outage, taught like
// any other silence, does not become usual by itself. Silences are kept by
// length in classes a quarter of an octave wide and count as long as the
// longest of their class (at most a quarter more than they were), and forgotten
// after one to two times remember. Gaps under a second are not kept. Until an entity has come learn_count times over
// learn_for, nothing is expected of it.
//
// A silence has one verdict, when the watermark has passed the limit, or when
// the next event shows that it had passed. The entity is expected
// again when it has come back. The verdict is about the last event before the
// silence; its time is when the limit passed, so it does not depend on how
// often the watermark is told. Late observations that are newer than what is
// known correct it; a silence that they shorten below the limit after its
// verdict can have another verdict.
//
// The watermark stands still when nothing at all arrives and the engine has no
// ingest clock; the engine's MaxLag decides when slow delivery is taken for
// silence.
//
// State is, for each entity, 12 bytes a class of silences (usually 10 to 25),
// a place in the queue of deadlines, and the last event, at most MaxRecord
// bytes of it: about 1.7 KB with a record of 1 KB, measured on the heap. The
// least recently seen entities make room.
package absence
