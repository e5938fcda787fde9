package app

import (
	"errors"
	"slices"
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
	ListDirs      []string
	Owners        []string
	GeoCountry    string
	GeoASN        string
	AllowFewTests bool
}

// RulesOf is what a configuration says.
func RulesOf(c *config.Config) Rules { return rulesOf(&c.Detect) }

func rulesOf(d *config.Detect) Rules {
	return Rules{Pack: d.Pack == nil || *d.Pack, Dirs: d.Rules, Disable: d.Disable, Exceptions: d.Exceptions,
		Lists: d.Lists, ListDirs: d.ListDirs, Owners: d.Owners, GeoCountry: d.GeoCountry, GeoASN: d.GeoASN}
}

// files are the files and folders that the rules are made of.
func (r *Rules) files() []string {
	out := slices.Concat(r.Dirs, r.Exceptions, r.ListDirs, r.Owners)
	for _, p := range []string{r.GeoCountry, r.GeoASN} {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}

// NewJudge makes the judge of permission changes for one partition.
func NewJudge() detectors.PolicyJudge { return account.New(account.Config{}) }

// NewLineage makes the memory of who made whom for one partition.
func NewLineage() detectors.Lineage { return lineage.New(lineage.Config{}) }

// Load compiles the rules.
func (r Rules) Load() (*rules.Set, error) {
	o := rules.LoadOptions{Pack: r.Pack, Dirs: r.Dirs, Disable: r.Disable, Exceptions: r.Exceptions, Lists: r.Lists, ListDirs: r.ListDirs, Owners: r.Owners,
		Factories: factories, Judge: NewJudge, Lineage: NewLineage, Clock: time.Now, AllowFewTests: r.AllowFewTests}
	if r.GeoCountry != "" || r.GeoASN != "" {
		g, err := geo.Open(r.GeoCountry, r.GeoASN)
		if err != nil {
			_, rerr := rules.Load(o) // all faults at once
			return nil, errors.Join(err, rerr)
		}
		o.Geo = g
	}
	return rules.Load(o)
}
