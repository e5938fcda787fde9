// Package wire is what destinations that speak HTTP have in common: a client
// that says whether a failed request may have reached the other side, a token
// bucket, the check that secrets travel by HTTPS alone, and errors that carry
// what the dispatcher must know and no secret.
package wire
