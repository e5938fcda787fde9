package app

import (
	"os"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }
