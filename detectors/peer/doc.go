// Package peer finds an identity that does what none of its peers does: of
// twelve build robots that read images, one creates a user.
//
// An observation's value is "group|what": the group that the identity belongs
// to, as the rule words it (a team, an account and a kind of identity), and
// what it did (a service, an action). The group ends at the first bar; without
// one everybody is in one group.
//
// Peers of an identity are the members of its group that are established: seen
// learn_count times over learn_for. With overlap above 0 they must be alike
// besides: of all the things that either of the two does, at least that share
// is done by both. So an administrator, who does everything once in a while, is
// nobody's peer, and vouches for nobody. The identity itself must be established
// then too, since otherwise nothing is known that others could be like.
//
// Doing something for the first time, or for the first time in forget_after, is
// a verdict when there are at least min_peers peers and at most rare of them
// have done it in forget_after. In a group that is too small nothing is ever
// unusual. What was told is the identity's own from then on, and told once.
//
// Late observations are judged like any other, by what is known.
//
// State is, for each group, its members with the things they do, at most
// max_members of max_values things each; who was seen longest ago makes room,
// and the thing done longest ago. Members that made room are counted. About 230
// bytes for a member with three things and 30 more for each further one,
// measured on the heap with 27-character keys. The groups used longest ago make
// room for others.
package peer
