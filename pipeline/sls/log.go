package sls

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	sdk "github.com/aliyun/aliyun-log-go-sdk"

	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
)

func init() {
	// The SDK logs to stdout, which is for data. Set before anything of the
	// SDK runs: it reads these variables without a lock.
	sdk.Logger = sdkLogger{}
	_ = sdk.SetZstdCompressor(newBoundedZstd()) // never fails
}

// sdkLogger carries the SDK's go-kit log lines to slog. It satisfies
// go-kit's log.Logger without importing it.
type sdkLogger struct {
	log *slog.Logger // nil is slog.Default at the time of the line
	// quiet is asked for each line; while it says so (we are closing and
	// answer the SDK's requests with errors ourselves) lines are only debug.
	quiet func() bool
	lines *atomic.Uint64 // counts them
}

// Log takes go-kit's alternating keys and values.
func (l sdkLogger) Log(keyvals ...any) error {
	if l.lines != nil {
		l.lines.Add(1)
	}
	log := l.log
	if log == nil {
		log = slog.Default()
	}
	level, msg := slog.LevelDebug, ""
	var attrs []slog.Attr
	for i := 0; i+1 < len(keyvals); i += 2 {
		key, val := fmt.Sprint(keyvals[i]), keyvals[i+1]
		switch key {
		case "level":
			// The SDK's info is chatter of every heartbeat: debug for us.
			switch fmt.Sprint(val) {
			case "warn":
				level = slog.LevelWarn
			case "error":
				level = slog.LevelError
			}
		case "msg":
			msg = cred.Scrub(fmt.Sprint(val))
		default:
			attrs = append(attrs, slog.String(key, cred.Scrub(text(val))))
		}
	}
	if l.quiet != nil && l.quiet() {
		level = slog.LevelDebug
	}
	if ctx := context.Background(); log.Enabled(ctx, level) {
		log.LogAttrs(ctx, level, "sls sdk: "+msg, attrs...)
	}
	return nil
}

func text(v any) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case *sdk.Error:
		return describe(v).Error()
	case error:
		return v.Error()
	}
	return fmt.Sprint(v)
}
