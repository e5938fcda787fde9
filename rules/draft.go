package rules

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/pipeline/alert"
)

// draftDays is how long a drafted exception is to hold: a season, after which
// somebody looks again.
const draftDays = 90

// DraftException is an exception file that withholds what the alert found when
// the same actor does it from the same address. Owner and reason are empty, so
// that it is refused until somebody puts a name to it. It is nil for an alert
// that names neither actor nor address.
func DraftException(a *alert.Alert, now time.Time) []byte {
	var match []string
	if a.Actor.ID != "" {
		match = append(match, "actor.id == "+strconv.QuoteToASCII(a.Actor.ID))
	}
	if _, err := netip.ParseAddr(a.SourceIP); err == nil { // it may be the name of a service
		match = append(match, "source.ip == "+strconv.QuoteToASCII(a.SourceIP))
	}
	if len(match) == 0 {
		return nil
	}
	doc, err := yaml.Marshal(struct {
		ID      string   `yaml:"id"`
		Rules   []string `yaml:"rules,flow"`
		Match   string   `yaml:"match"`
		Owner   string   `yaml:"owner"`
		Reason  string   `yaml:"reason"`
		Expires string   `yaml:"expires"`
	}{strings.ToLower(a.Rule + "_" + a.ID[:min(len(a.ID), 12)]), []string{a.Rule}, strings.Join(match, " && "), "", "", now.UTC().AddDate(0, 0, draftDays).Format(time.DateOnly)})
	if err != nil {
		return nil // cannot be: texts only
	}
	return doc
}
