// Package phrase says sentences that the program made in English in another
// language when somebody reads them. A sentence is recognised by its words; the
// values in its places come through unchanged. So what was stored stays as it
// was said, whoever reads it later, and nothing is translated that nobody reads.
package phrase
