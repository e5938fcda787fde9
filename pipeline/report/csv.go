package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// CSV writes one row per alert under a header row. No cell begins like a
// formula or holds a line break.
func CSV(w io.Writer, in In) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"time", "severity", "rule", "outcome", "title", "reason", "account", "actor_type", "actor", "access_key_id", "source_ip", "target_type", "target", "count", "first_at", "last_at", "attack", "id"}) // Error is checked at the end
	for a, err := range in.each() {
		if err != nil {
			return err
		}
		tt, tn := "", ""
		if a.Target != nil {
			tt, tn = a.Target.Type, a.Target.Name
		}
		row := []string{a.Time.UTC().Format(time.RFC3339), a.Severity.String(), a.Rule, a.Outcome, a.Title, a.Reason, a.AccountID, a.Actor.Type, a.Actor.Name, a.Actor.AccessKeyID,
			a.SourceIP, tt, tn, strconv.Itoa(a.Count), a.FirstAt.UTC().Format(time.RFC3339), a.LastAt.UTC().Format(time.RFC3339), strings.Join(a.Attack, " "), a.ID}
		for i := range row {
			row[i] = text.CSV(row[i])
		}
		_ = c.Write(row) // Error is checked at the end
	}
	c.Flush()
	return c.Error()
}
