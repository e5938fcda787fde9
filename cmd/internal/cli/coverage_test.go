package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trailwarden/trailwarden/pipeline/replay"
)

// What is missing does not hide of whom that cannot be said.
func TestCoverageLines(t *testing.T) {
	at := time.Date(2026, 1, 5, 2, 0, 0, 0, time.UTC)
	whole := replay.Cover{Account: "1", Region: "cn-hangzhou"}
	gone := replay.Cover{Account: "1", Region: "cn-hangzhou", Gaps: []replay.Gap{{From: at, To: at.Add(3 * time.Hour)}, {From: at.Add(5 * time.Hour), To: at.Add(6 * time.Hour)}}}
	rare := replay.Cover{Account: "2", Region: "cn-hangzhou", Sparse: true}
	night := replay.Cover{Account: "3", Region: "cn-hangzhou", Gaps: []replay.Gap{{From: at, To: at.Add(9 * time.Hour), Usual: true}}}
	first := "  nothing from 2026-01-05 02:00:00Z to 2026-01-05 05:00:00Z (3 h): account 1, cn-hangzhou"
	for name, c := range map[string]struct {
		cover []replay.Cover
		most  int
		want  []string
	}{
		"nothing was read": {nil, 5, nil},
		"all is there":     {[]replay.Cover{whole}, 5, []string{"coverage: 1 account, 1 region, no hour missing"}},
		"a bad clock":      {[]replay.Cover{{Account: "1", Region: "cn-hangzhou", Apart: true}}, 5, []string{"coverage: 1 account, 1 region, no hour missing; a few events lie far from the others, and the time between was not looked at"}},
		"not to be said":   {[]replay.Cover{rare}, 5, []string{"coverage: 1 account, 1 region; too few hours have events to tell which are missing"}},
		"of one of two":    {[]replay.Cover{whole, rare}, 5, []string{"coverage: 2 accounts, 1 region; of 1 account too few hours have events to tell which are missing"}},
		"missing":          {[]replay.Cover{gone}, 1, []string{"coverage: 1 account, 1 region, 4 hours missing:", first, "  and 1 stretch more, see replay --stats"}},
		"but by night":     {[]replay.Cover{night}, 5, []string{"coverage: 1 account, 1 region, no hour missing that has events on other days"}},
		"and by day":       {[]replay.Cover{night, gone}, 1, []string{"coverage: 2 accounts, 1 region, 4 hours missing beside 1 stretch in which other days have few events:", first, "  and 1 stretch more, see replay --stats"}},
		"the longest":      {[]replay.Cover{{Account: "1", Region: "cn-hangzhou", Gaps: []replay.Gap{gone.Gaps[1], gone.Gaps[0]}}}, 1, []string{"coverage: 1 account, 1 region, 4 hours missing:", first, "  and 1 stretch more, see replay --stats"}},
		"both":             {[]replay.Cover{gone, rare}, 1, []string{"coverage: 2 accounts, 1 region, 4 hours missing; of 1 account too few hours have events to tell which are missing:", first, "  and 1 stretch more, see replay --stats"}},
	} {
		if d := cmp.Diff(c.want, coverageLines(c.cover, c.most)); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}
