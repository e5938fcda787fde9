package dingtalk

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	replyWithin = 30 * time.Second // machines are slow; TestSlowPressAndReconnect is about the time
	goleak.VerifyTestMain(m)
}
