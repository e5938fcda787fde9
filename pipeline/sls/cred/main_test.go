package cred

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("TRAILWARDEN_OIDC_CHILD") != "" {
		os.Exit(m.Run()) // ends with connections of the vendor's library, which nobody can close
	}
	goleak.VerifyTestMain(m)
}
