package app

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/trailwarden/trailwarden/pipeline/report"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
)

var (
	// Three words in a row, or one that only sentences have and another.
	englishWords = regexp.MustCompile(`\b[A-Za-z]+(?: [a-z]{2,}){2,}\b|\b(?:the|was|were|is|are|been|from|without|nobody|not|more|by) [a-z]{2,}\b`)
	// What stands in Chinese text as it is typed or as the cloud has it.
	asTyped = regexp.MustCompile(`trailwarden [a-z]+(?: [a-z-]+)*|Bucket \S+|aliyun [a-z]+ |replay -o jsonl|[a-z]+\.aliyuncs\.com\S*`)
)

func leftInEnglish(s string) []string {
	return englishWords.FindAllString(asTyped.ReplaceAllString(s, "·"), -1)
}

// What a message and a report in Chinese say about a whole intrusion is
// Chinese: titles, reasons, what a change of permissions allows, the words
// around them. What is left in Latin letters are names and commands.
func TestStoryInChinese(t *testing.T) {
	truth := stories(t)
	for _, name := range []string{"intrusion", "leaked-key", "root-taken", "one-step-up", "weak-signals"} {
		t.Run(name, func(t *testing.T) {
			alerts := play(t, events(t, filepath.Join(root(t), "testdata", "scenarios", name)), 1, listsOf(truth[name]))
			if len(alerts) == 0 {
				t.Fatal("no alerts")
			}
			w := message.For(message.Chinese, nil)
			for _, a := range alerts {
				m := w.Lay(responders.Notice{Alert: a}, 150)
				if title, _ := a.Words(true); title == a.Title || m.Reason == "" {
					t.Errorf("%s has no Chinese: %q", a.Rule, m.Title)
				}
				for _, s := range []string{m.Title, m.Reason, m.Policy, m.Context, fmt.Sprint(m.Fields)} {
					if left := leftInEnglish(s); len(left) > 0 {
						t.Errorf("%s: %q is left in %q", a.Rule, left, s)
					}
				}
			}
			var b bytes.Buffer
			if err := report.HTML(&b, report.In{Alerts: alerts, Lang: "zh"}); err != nil {
				t.Fatal(err)
			}
			shown := 0
			for _, s := range textsOf(t, b.String()) {
				shown++
				if left := leftInEnglish(s); len(left) > 0 {
					t.Errorf("report: %q is left in %q", left, s)
				}
			}
			if shown < 100 {
				t.Errorf("only %d texts of the report were looked at", shown)
			}
		})
	}
}

// textsOf returns the texts of a page that people read: scripts, styles and
// raw records, which are data, are left out.
func textsOf(t *testing.T, page string) []string {
	t.Helper()
	var out []string
	z := html.NewTokenizer(strings.NewReader(page))
	skip := 0
	data := map[string]bool{"script": true, "style": true, "code": true, "pre": true}
	for {
		switch z.Next() {
		case html.ErrorToken:
			return out
		case html.StartTagToken:
			if n, _ := z.TagName(); data[string(n)] {
				skip++
			}
		case html.EndTagToken:
			if n, _ := z.TagName(); data[string(n)] {
				skip--
			}
		case html.TextToken:
			if s := strings.TrimSpace(string(z.Text())); s != "" && skip == 0 {
				out = append(out, s)
			}
		}
	}
}
