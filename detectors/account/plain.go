package account

import (
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/trailwarden/trailwarden/detectors/rampolicy"
)

// Each judgement goes into the details of what is found, as what JSON would read
// back of it. By way of JSON that was a sixth of the time of judging; what
// follows is held to the same by a test, whatever fields there are.

func plainResult(r *rampolicy.Result) map[string]any {
	out := map[string]any{
		"schema": plainText(r.Schema), "verdict": plainText(string(r.Verdict)), "severity": r.Severity.String(), "summary": plainText(r.Summary),
		"findings": plainFindings(r.Findings), "removed": plainFindings(r.Removed),
	}
	putText(out, "summary_zh", r.SummaryZH)
	putTexts(out, "notes", r.Notes)
	return out
}

func plainFindings(list []rampolicy.Finding) any {
	if list == nil {
		return nil
	}
	out := make([]any, len(list))
	for i := range list {
		f := &list[i]
		m := map[string]any{
			"severity": f.Severity.String(), "sentence": plainText(f.Sentence), "actions": plainTexts(f.Actions), "resources": plainTexts(f.Resources),
			"witness": plainWitness(&f.Witness), "confirmed": f.Confirmed,
		}
		putText(m, "sentence_zh", f.SentenceZH)
		putTexts(m, "principals", f.Principals)
		putTexts(m, "conditions", f.Conditions)
		putTexts(m, "paths", f.Paths)
		out[i] = m
	}
	return out
}

func plainWitness(w *rampolicy.Witness) map[string]any {
	out := map[string]any{"action": plainText(w.Action)}
	putText(out, "resource", w.Resource)
	putText(out, "principal", w.Principal)
	if len(w.Context) > 0 {
		context := make(map[string]any, len(w.Context))
		for _, k := range slices.Sorted(maps.Keys(w.Context)) { // of keys that become equal the last one counts
			context[plainText(k)] = plainText(w.Context[k])
		}
		out["context"] = context
	}
	return out
}

func putText(to map[string]any, key, text string) {
	if text != "" {
		to[key] = plainText(text)
	}
}

func putTexts(to map[string]any, key string, list []string) {
	if len(list) > 0 {
		to[key] = plainTexts(list)
	}
}

func plainTexts(list []string) any {
	if list == nil {
		return nil
	}
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = plainText(s)
	}
	return out
}

// plainText replaces each byte that is not UTF-8, as JSON does.
func plainText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}
