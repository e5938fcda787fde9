package message

import (
	"strings"
	"testing"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// Who made the key stands beside it, where the alert knows it and only there.
func TestMakerIsShown(t *testing.T) {
	a := alert.Alert{Actor: alert.Actor{Name: "carol", AccessKeyID: "LTAI5tEXAMPLEcarol00002"}}
	show := func(w *Words) string { return Field{Items: w.keyItems(a)}.String() }
	if got := show(For(English, nil)); strings.Contains(got, "made by") {
		t.Errorf("nothing is known: %q", got)
	}
	a.Details = map[string]any{"lineage": map[string]any{"root": "user/1/bob", "chain": []any{
		map[string]any{"by": "user/1/bob\u202e\n<!channel>", "with_key": "LTAI5tEXAMPLEbob0000001", "child": "key/LTAI5tEXAMPLEcarol00002"},
		map[string]any{"by": "user/1/root-of-all"},
	}}}
	got := show(For(English, nil))
	if !strings.Contains(got, "made by bob") || !strings.Contains(got, "(LTAI") || strings.Contains(got, "EXAMPLEbob") || strings.ContainsAny(got, "\u202e\n") || strings.Contains(got, "root-of-all") {
		t.Errorf("%q", got)
	}
	a.Details = map[string]any{"lineage": map[string]any{"chain": []any{map[string]any{"by": "user/1/bob"}}}}
	if got := show(For(Chinese, nil)); !strings.Contains(got, "创建者 bob") || strings.Contains(got, "(") {
		t.Errorf("from the console: %q", got)
	}
	a.Details = map[string]any{"lineage": map[string]any{"chain": []any{map[string]any{"by": "root/1000000000000001"}}}}
	if got := show(For(English, nil)); !strings.Contains(got, "made by root") || strings.Contains(got, "1000000000000001") {
		t.Errorf("the root account is told as a number: %q", got)
	}
	a.Details = map[string]any{"lineage": map[string]any{"chain": []any{"no map"}}}
	show(For(English, nil)) // another version's alert must not end anything
}
