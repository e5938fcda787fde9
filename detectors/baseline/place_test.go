package baseline

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPropAddressOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.StringMatching(`[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}`),
			rapid.StringMatching(` ?(::ffff:)?10\.0\.0\.[0-9]{1,2} ?`),
			rapid.StringMatching(`fe80::[0-9a-f]{1,4}(%eth0)?`),
			rapid.String(),
		).Draw(t, "text")
		got, ok := addressOf(text)
		want, err := netip.ParseAddr(strings.TrimSpace(text))
		if ok != (err == nil) || ok && got != want.Unmap().WithZone("") {
			t.Fatalf("%q: %v %v, netip says %v %v", text, got, ok, want, err)
		}
	})
}
