// Package replay is history as a source: files, folders, object-store
// deliveries, log-store exports and standard input, put through the same
// engine as live events, with no way to act on what it finds.
//
// # Reading
//
// What a file holds is decided by its bytes, not by its name: gzip and zstd
// are unpacked, a JSON array of any length is taken apart element by element,
// line-delimited JSON line by line, and every record may be wrapped in any of
// the containers that event.Unwrap knows. Memory does not grow with the input.
// Archives are hostile until proven otherwise: the ratio and the total of what
// they unpack to is capped, and so are windows and single records. Symbolic
// links, devices and pipes are refused. What can not be read is reported with
// its reason and the rest goes on.
//
// # Order
//
// Several files are merged by event time, so that a folder of one file per
// region, or per account, reads like the one stream it was. Within a file the
// order of the file counts, except that a file written newest first, as
// LookupEvents answers are, is turned around. The result depends on the input
// alone: workers decode and evaluate batches in parallel, and one goroutine
// applies what they found in the order of the input.
//
// # Acting
//
// Nothing here imports responders, and a test holds that: replay cannot reach
// the cloud or a person by construction.
package replay
