// Package rate finds an identity that does far more of something than it ever
// does at this hour: 412 reads in 10 minutes where 3 to 9 are usual.
//
// Observations are counted in bins of event time, bin long. An observation
// whose value is a whole number from 1 counts that many times, any other
// counts once. Of each hour in which the identity was active, the fullest bin
// is remembered under its hour of the week (UTC), the last Weeks of each. What
// is usual at an hour is taken from that hour and the ones beside it, so that a
// job that moves by an hour, or with daylight saving, stays usual; when these
// hold fewer than min_hours active hours, from all hours of the week. Hours
// without activity teach nothing: what is judged is how much, not when.
//
// A bin is unusual when its count is at least floor and over the limit:
//
//	max(median + deviations × 1.4826 × MAD, factor × the largest usual count)
//
// where MAD is the median of the distances from the median, and the largest
// usual count is the one that 90 of 100 remembered hours do not pass. Before an
// identity has been active in learn_hours hours over learn_for, nothing is
// unusual. Counts from 8 on are remembered in classes an eighth to a quarter
// wide and stand for the largest of their class.
//
// The observation that makes a bin unusual has the verdict. In the bins that
// follow without a gap, the next verdict comes when a bin holds twice as much
// as the one told last. What was unusual is remembered like anything else: one
// burst moves a median little, and what goes on for weeks becomes usual.
// Late observations count in the bin that is open, and are passed over when
// theirs has ended.
//
// State is, for each identity, 10 bytes an hour of the week in which it was
// ever active, and the evidence of a bin on its way to the floor: about 680
// bytes for office hours (40 hours of the week), 2 KB for one active around the
// clock, measured on the heap. The least recently seen identities make room.
package rate
