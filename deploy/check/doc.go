// Package check holds deploy/ to the tools that it is for, by their own code: Helm's linter and engine, the types of Kubernetes and of
// the Prometheus operator, the loader behind docker compose, GoReleaser's configuration and Terraform's formatter. It has tests only.
//
// It is a module of its own, so that the program's go.mod stays what the program needs: `make packaging` runs it, `go test ./...` of the
// program does not.
package check
