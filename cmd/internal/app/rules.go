package app

import (
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/account"
	"github.com/trailwarden/trailwarden/detectors/geo"
	"github.com/trailwarden/trailwarden/detectors/lineage"
	"github.com/trailwarden/trailwarden/rules"
)

// Rules says which rules are loaded and what they may rely on.
type Rules struct {
	Pack          bool
	Dirs, Disable []string
	Exceptions    []string
	Lists         map[string][]string
	GeoCountry    string
	GeoASN        string
	AllowFewTests bool
}

// RulesOf is what a configuration says.
func RulesOf(c *config.Config) Rules {
	return Rules{Pack: c.Detect.Pack == nil || *c.Detect.Pack, Dirs: c.Detect.Rules, Disable: c.Detect.Disable, Exceptions: c.Detect.Exceptions,
		Lists: c.Detect.Lists, GeoCountry: c.Detect.GeoCountry, GeoASN: c.Detect.GeoASN}
}

// NewJudge makes the judge of permission changes for one partition.
func NewJudge() detectors.PolicyJudge { return account.New(account.Config{}) }

// NewLineage makes the memory of who made whom for one partition.
func NewLineage() detectors.Lineage { return lineage.New(lineage.Config{}) }

// Load compiles the rules.
func (r Rules) Load() (*rules.Set, error) {
	o := rules.LoadOptions{Pack: r.Pack, Dirs: r.Dirs, Disable: r.Disable, Exceptions: r.Exceptions, Lists: r.Lists,
		Factories: factories, Judge: NewJudge, Lineage: NewLineage, Clock: time.Now, AllowFewTests: r.AllowFewTests}
	if r.GeoCountry != "" || r.GeoASN != "" {
		g, err := geo.Open(r.GeoCountry, r.GeoASN)
		if err != nil {
			return nil, err
		}
		o.Geo = g
	}
	return rules.Load(o)
}
