// Package replay is history as a source: files, folders, object-store
// deliveries, log-store exports and standard input, put through the same
// engine as live events, with no way to act on what it finds.
//
// # Reading
//
// What a file holds is decided by its bytes, not by its name: gzip (by package
// gunzip) and zstd are unpacked, a JSON array of any length is taken apart element by element,
// line-delimited JSON line by line, and every record may be wrapped in any of
// the containers that event.Unwrap knows. Memory does not grow with the input:
// the files open at once, the blocks read ahead of each, and the windows of all
// open archives together are bounded; archives over that wait for their turn.
// Archives are hostile until proven otherwise: the total of what they unpack to
// is capped, and so are windows and single records; what they unpack to beyond
// a ratio is capped over the whole run. A zstd archive may use the window that
// its first frame names, and at least 8 MiB. Symbolic links, devices and pipes are refused. What can not be read is reported with
// its reason and the rest goes on.
//
// # Order
//
// Several files are merged by event time, so that a folder of one file per
// region, or per account, reads like the one stream it was. Within a file the
// order of the file counts, except that a file written newest first, as
// LookupEvents answers are, is turned around. When fewer files may be open
// than overlap in time, some are read later than their time, and their events
// are late. The result depends on the input
// alone: workers decode and evaluate batches in parallel, and one goroutine
// applies what they found in the order of the input.
//
// # Bad times
//
// There is no clock to compare a recorded time with, but there is the rest of
// its file. An event more than a day ahead of what came before it in the file
// and of all but two of the 32 events that follow is taken for one of a bad
// clock: rules without state are evaluated on it as it is, no state sees it, it
// is counted as late and does not make others late. The last event of a file
// has none that follow, and its time is believed.
//
// An event without a time is taken to be of the time of the event before it in
// its file or, where there is none, of the first that has one; of 1 January
// 1970 where more than 256 events come before that, or there is none. The
// record itself stays as it is.
//
// # Speed
//
// With the whole pack every event waits for ordered detectors, so what a
// waiting event costs is what a replay costs. It waits in brief (event.Brief:
// time, id, outcome, and where its record is), 100 bytes in place of 800; the
// rest is parsed again when a detector has something to say about it. Blocks,
// briefs and lists of work go round: the engine gives back an event's memory
// (detectors.Holder) when it is decided, so a run allocates next to nothing per
// event. Waiting events are filed by second and put in order when their turn
// comes. What the index proves of a condition is not evaluated, a list that is
// not configured is false without being asked, and rules that share a key
// share the work of spelling it. The parser remembers the names, services and
// addresses that come again with every record. TestPropFastEqualsPlain holds
// all of that to the plain way of doing it, with memory overwritten as soon as
// it is given back.
//
// What each step gave, as the CPU time of a reference (30 rules, five
// detectors, no product features) by that of the whole program with the pack,
// in paired rounds of November 2026 on a machine five to ten times
// oversubscribed:
//
//	0.14  before
//	0.18  memory goes round, the calendar of seconds, the absence detector
//	      copies records now and then: 3,800 -> 980 bytes allocated an event
//	0.23  briefs, proved conditions, shared keys: 590 bytes an event, and 160
//	      in place of 220 MB resident for a million events
//	0.24  caches of one look in parser and rules, one recovery point for all
//	      rules of an event, quotes and controls found by one comparison
//	0.27  detectors' order of use in links that lie together, places whose
//	      times are looked at when one can be old, values and ids used again,
//	      2,048 addresses remembered, no tried powers of who has them all, and
//	      detectors that see nothing of an event left out
//	0.31  strings end where marks of 64 bytes say, what is found out about an
//	      event is written where it stays, lists of results that stay in the
//	      cache, places of words that depend on all of their letters, no policy
//	      asked for what none of its Allows covers; on a quiet machine, where
//	      the line above is 0.25
//	0.34  what is due is read side by side before it is decided, and its
//	      entities looked up then; the heap on pages of 2 MiB (both together 7
//	      to 12 % less CPU, more beside busy neighbours); no trimming
//	0.43  quotes are listed before a record is read, members looked up in a
//	      table, letters lowered eight at a time (a fifth less parsing); of
//	      conditions only what the index does not prove (a tenth less
//	      evaluation); events decided where they wait, and what is known of
//	      their keys fetched in two passes, first where it is, then what it is;
//	      plain texts not looked through three times; no collection before the
//	      heap has 112 MB; rules loaded on all cores, without their tests; blocks
//	      of 512 KiB
//
// All of these on processors with AVX-512. A processor of 2017 with AVX2 and 512
// KiB for data and code (AMD, Zen), on which the reference makes 530,000 to 600,000
// events a second, comes to less; there it was
//
//	0.35  with all of the above
//	0.41  members as usual are taken from the list of quotes by a loop of their
//	      own; eight events are parsed before the first is evaluated; closed
//	      fields of conditions are compared as numbers; records are summed at
//	      once and not in pieces; parameters that are looked up are skipped over
//	      eight bytes at a time
//
// Of a run that takes two or three seconds its first tenth counts, too. On a quiet
// pair of cores with AVX-512 (Zen 4, 2026-11-27): of the 95 ms until the first event
// 30 went into tests of rules that nobody asked for, and 10 into pages copied to huge
// ones, 116 in a run of gz, whose reader the others waited for (Reserve); gz unpacked
// straight into the block is 5 % of such a run. In a folder of deliveries an eighth
// of the work was looking for the ends of an array's elements (ends), and a twelfth
// memory for the first look at each file (peeking).
//
// What was still found on those cores that evening, by paired CPU times: an address is
// put into words once, in memory that is known to last, and remembered in one of two
// places (4 % less with the pack, 2 with five rules); policy facts are read like other
// fields, and the expression machine reads the event where it is, not a copy (4 and 1);
// what of a condition is no policy fact is looked at before an event waits whole (3);
// keys of records that are good for this process only (2 and 2); texts that depend
// on the event's kind are put together once for each kind (1); a host's role is asked
// for only where the word role is in the parameters, and judgements of small documents
// take half the memory (1 and 10, since memory touched first is so dear there); rules
// are compiled in half the time (1). Together 10 % less by time with the pack, of which
// rules that were added that day took four back, and 13 with five rules; on these
// machines the same program's times lie 10 % apart, by where its memory is.
//
// Tried and not taken: blocks of 256 KiB and 64 KiB in place of 512 (2 % and 8 %
// more CPU, for 4 MB less), GOGC 400 and off (3 %
// and 5 % for 70 MB and 300 MB; 60, which is taken, gives 30 MB for nothing); guessing the next key from the last one (5 %
// of parsing, 1 % of the whole, for sixty lines); a profile for the compiler
// (5 to 6 %, later nothing, for twice the time to build everything); giving records back
// before their events are decided, which a short --grace shows to be worth 7 to
// 10 %, mostly of reading into memory that is not in the cache, but needs
// records that can be read again from where they came (taken since for plain
// files, for the memory: no CPU time is saved any more); a cache in front of the
// detectors' tables (nothing that could be measured); files mapped into memory
// in place of being read, which a file that is cut or changed meanwhile would
// make unsafe, for 0.1 µs an event (reading into buffers that stay in the cache
// gives a third of that); one look-up for a whole userIdentity, resolved when it
// was met before (10 % of parsing with a few hundred identities, nothing with
// nine thousand: what is remembered is not in the cache, the record is); what the
// index says remembered with the facts (20 % more for evaluation);
// parsed addresses in front of baselines (nothing: the look-up costs what parsing
// does); judgements remembered (of 904 changes of policies 566 are different: less
// than 1 %).
//
// Tried there, too: a bit for each candidate of a kind and a row of them for each
// word of a closed field, in place of asking one after the other (3 % more); words
// of eight events fetched before they are evaluated (1 % less, which is not worth
// it); 32 or 64 parsed events evaluated in the order of their kinds (nothing); records summed
// before they are parsed, while they are in the cache (nothing); times
// that are those of the event before not compared again (nothing); code on pages of 2 MiB, a profile for the compiler, instructions of 2013 (nothing, 1.5 %, 2 %);
// one copy of each word for all workers (nothing); what is read ahead of its use added
// up apart (nothing); calls not inlined, for less code in the cache, anywhere, in the detectors, in the rules (31, 9 and 1 % more); bounds not checked (1 %, of what may not be done).
//
// Of the 3.9 µs that are left with AVX-512, and the 8 without, a profile has no peak:
// the ordered stage is 31 % (observing 16, fetching what is observed 6, the judge 2),
// parsing 22 to 30 (walking objects 17, what they mean 9), evaluation 20, of it the
// words of keys 7, reading 8, memory touched first 4, collection 2 to 3. The reference is
// 1.8 and 3.1 µs in all. By instructions (a simulator counts them) an event is 27,000,
// half of them parsing, and the reference 19,000 in two loops, which that processor
// goes through twice as fast as through ours: one event over and over, which it
// can foresee, takes two thirds of the time. Next would be words that are numbers from
// parsing to the detectors, so that none of them compares texts or hashes them.
//
// # Records that are left
//
// A plain file of lines, of 2 MiB and more, is read by the workers, each into a
// buffer of its own, and a record is read again from the file when it is needed
// after all (plainFile, event.Block). With 32,768 waiting events a run has 160 MB
// resident, not 218. That is not done where Options.Hash, RunConfig.Entity or RunConfig.Resume
// is set, nor for more than Options.MaxOpen files at a time.
//
// # Alerts
//
// Alerts come out in the order of (time, rule, id), and one may grow from the
// first event to the last. No more than RunConfig.Held of them are in memory:
// when there are more, what is known of each is written to a temporary file as
// a run sorted by id (alert.Part), and at the end the parts of each alert are
// joined and the alerts sorted in the same way. The file has no name from the
// moment it is made, where the system can do that, so nothing of it is left
// however the program ends. What comes out does not show where it waited.
//
// # Coverage and entities
//
// Every run counts events by account, region and hour: Result.Coverage names
// the hours without any. RunConfig.Entity is written down about (Trail), and
// leaves nothing out: a detector that does not see the others does not know
// what is unusual. A run that is cancelled decides what it has read, and its
// statistics name what it has not.
//
// RunConfig.Resume lets such a run, or one that was killed, go on later with the
// same result: it reads its input again up to where it was, and evaluates from
// there on.
//
// # Acting
//
// Nothing here imports responders, and a test holds that: replay cannot reach
// the cloud or a person by construction.
package replay
