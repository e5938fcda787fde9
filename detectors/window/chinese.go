package window

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SpanZH is Span in Chinese: "6 分钟", "1 小时", "41 天".
func SpanZH(d time.Duration) string {
	s := Span(d)
	switch n, unit, _ := strings.Cut(s, " "); strings.TrimSuffix(unit, "s") {
	case "day":
		return n + " 天"
	case "hour":
		return n + " 小时"
	case "minute":
		return n + " 分钟"
	case "second":
		return n + " 秒"
	}
	if d == 0 {
		return "同一时刻"
	}
	return "不到 1 秒"
}

// InZH is In in Chinese, and stands before what happened: "6 分钟内", or
// "同一时刻".
func InZH(d time.Duration) string {
	if d == 0 {
		return "同一时刻"
	}
	return SpanZH(d) + "内"
}

// TookZH is InZH after what happened: "历时 6 分钟".
func TookZH(d time.Duration) string {
	if d == 0 {
		return "发生在同一时刻"
	}
	return "历时 " + SpanZH(d)
}

// ListZH is List in Chinese: "a", "a、b", "a、b 等 5 项".
func ListZH(words []string, max int) string {
	if len(words) > max && max > 0 {
		return strings.Join(words[:max], "、") + " 等 " + strconv.Itoa(len(words)) + " 项"
	}
	return strings.Join(words, "、")
}

// Words are the Chinese for parts of values, which are keys of state and
// therefore have one form: "weekend" → "周末".
type Words map[string]string

// Validate returns a *FieldError for the first unusable entry.
func (w Words) Validate() error {
	if len(w) > 64 {
		return Bad("words_zh", "%d words, the most is 64", len(w))
	}
	for _, k := range slices.Sorted(maps.Keys(w)) {
		if k == "" || w[k] == "" {
			return Bad("words_zh", "%q: neither the word nor its Chinese may be empty", k)
		}
	}
	return nil
}

// In says a value with its known parts in Chinese; of two that begin at one
// place the longer counts.
func (w Words) In(value string) string {
	if len(w) == 0 {
		return value
	}
	keys := slices.SortedFunc(maps.Keys(w), func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	pairs := make([]string, 0, 2*len(keys))
	for _, k := range keys {
		pairs = append(pairs, k, w[k])
	}
	return strings.NewReplacer(pairs...).Replace(value)
}

// All says each of a list.
func (w Words) All(values []string) []string {
	if len(w) == 0 {
		return values
	}
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = w.In(v)
	}
	return out
}
