package dingtalk

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	replyWithin = 30 * time.Second // machines are slow; TestSlowPressAndReconnect is about the time
	surePause = 0                  // and quick; TestConfirmed is about it
	goleak.VerifyTestMain(m)
}
