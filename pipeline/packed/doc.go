// Package packed is files that the program carries in packed form, because as
// they are they would be a good part of it: text shrinks to a quarter, and is
// needed once, or never. Whoever embeds an archive has a test that it holds what
// stands in the folder (Check), which makes it anew with -update.
package packed
