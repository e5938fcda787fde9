package console

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
)

// stateful are the details in which detectors say what they knew.
var stateful = []string{"sequence", "threshold", "distinct", "baseline", "rate", "peer", "travel", "absence", "last_seen", "risk"}

// knew says, line by line, what the detector of a stateful rule knew when it
// spoke: no single event says that. Empty for other alerts.
func knew(details map[string]any) []string {
	var out []string
	for _, kind := range stateful {
		m, _ := details[kind].(map[string]any)
		if len(m) > 0 {
			out = append(out, kind)
		}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			list, _ := m[k].([]any)
			if len(list) == 0 || !isMap(list[0]) {
				out = append(out, "  "+k+" = "+flat(m[k]))
				continue
			}
			for _, x := range list {
				out = append(out, "  "+k+": "+flat(x))
			}
		}
	}
	return out
}

func isMap(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// flat is a value of JSON on one line, what has a name with it first.
func flat(v any) string {
	var words []string
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		if n, ok := v["name"]; ok {
			words = append(words, flat(n))
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if k != "name" {
				words = append(words, k+" "+flat(v[k]))
			}
		}
	case []any:
		for _, x := range v {
			words = append(words, flat(x))
		}
	default:
		b, _ := json.Marshal(v) // it was JSON
		return string(b)
	}
	return strings.Join(words, ", ")
}

// explained says of one event of the evidence what of its rule's condition it
// met, from the lines of Backend.Explain: of a sequence the steps that it is, of any other
// rule the condition, once, with the first event.
func explained(ev *index.Event, lines []string, first bool) []string {
	var met []string
	holds := false
	for _, l := range lines {
		l, step := strings.CutPrefix(l, "step ")
		name, l, _ := strings.Cut(l, ": ")
		if !step {
			continue
		}
		if !strings.HasPrefix(l, " ") { // the whole of it, and no part
			if holds = strings.HasPrefix(l, "✓"); holds {
				met = append(met, "  "+name)
			}
		}
		if holds {
			met = append(met, "    "+l)
		}
	}
	if met == nil && first {
		for _, l := range lines {
			met = append(met, "  "+l)
		}
	}
	if met == nil {
		return nil
	}
	return append([]string{stamp(ev.At) + " " + ev.Service + ":" + ev.Name + " " + ev.ID}, met...)
}
