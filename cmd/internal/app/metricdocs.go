package app

import (
	"regexp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// MetricDoc describes one metric of our own.
type MetricDoc struct {
	Name, Help string
	Labels     []string
}

var descText = regexp.MustCompile(`fqName: "([^"]+)", help: "((?:[^"\\]|\\.)*)".*variableLabels: \{([^}]*)\}`)

// Metrics describes every metric of our own, by name.
func Metrics() []MetricDoc {
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		(&collector{}).Describe(ch)
		for _, c := range newMeters().collectors() {
			c.Describe(ch)
		}
	}()
	var out []MetricDoc
	for d := range ch {
		m := descText.FindStringSubmatch(d.String())
		if m == nil {
			continue
		}
		doc := MetricDoc{Name: m[1], Help: m[2]}
		if m[3] != "" {
			doc.Labels = strings.Split(m[3], ",")
		}
		out = append(out, doc)
	}
	lists.Sort(out, func(a, b MetricDoc) int { return strings.Compare(a.Name, b.Name) })
	return out
}
