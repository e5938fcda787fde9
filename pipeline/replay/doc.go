// Package replay is history as a source: files, folders, object-store
// deliveries, log-store exports and standard input, put through the same
// engine as live events, with no way to act on what it finds.
//
// # Reading
//
// What a file holds is decided by its bytes, not by its name: gzip and zstd
// are unpacked, a JSON array of any length is taken apart element by element,
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
// # Acting
//
// Nothing here imports responders, and a test holds that: replay cannot reach
// the cloud or a person by construction.
package replay
