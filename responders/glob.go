package responders

import "strings"

// glob says whether text fits pattern, where * stands for any run of
// characters and ? for one. Letters fold: names in RAM are the same whatever
// their case, and a guard must not be got round by one.
//
// Linear in practice and never worse than pattern times text: both come from
// people, text perhaps from an attacker.
func glob(pattern, text string) bool {
	p, t := strings.ToLower(pattern), strings.ToLower(text)
	star, mark := -1, 0
	i, k := 0, 0
	for k < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, k
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[k]):
			i++
			k++
		case star >= 0:
			mark++
			i, k = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

func globAny(patterns []string, text string) bool {
	for _, p := range patterns {
		if glob(p, text) {
			return true
		}
	}
	return false
}
