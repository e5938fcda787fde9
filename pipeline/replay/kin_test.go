package replay

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
)

// A session that made nothing is not in the lineage, but that it was is said: what
// was done with it belongs to who is asked about.
func TestSessionsWithoutOffspring(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 1, 5, hour, 0, 0, 0, time.UTC) }
	session := func(n, hour int, maker, key string) *detectors.Birth {
		return &detectors.Birth{Child: fmt.Sprintf("key/STS.NEXAMPLE%d", n), Of: fmt.Sprintf("role/1/r%d", n), Maker: maker, Key: key, At: at(hour), Event: fmt.Sprint("e", n), Session: true}
	}
	tr := Trail{Entity: "LTAI5tEXAMPLE1", births: []*detectors.Birth{
		session(1, 1, "user/1/bob", "LTAI5tEXAMPLE1"),         // it begins the others
		session(9, 1, "user/1/bob", "LTAI5tEXAMPLE1"),         // its own, among what it did
		session(8, 1, "user/1/alice", "LTAI5tEXAMPLEanother"), // of another
	}}
	for n := range 7 {
		tr.births = append(tr.births, session(10+n, 2+n, "role/1/r1", "STS.NEXAMPLE1"))
	}
	tr.relate()
	var names []string
	for _, k := range tr.Offspring {
		names = append(names, k.Child)
	}
	if !slices.Equal(names, []string{"key/STS.NEXAMPLE1"}) {
		t.Errorf("it made %v", names)
	}
	if want := []string{"key/STS.NEXAMPLE16", "key/STS.NEXAMPLE15", "key/STS.NEXAMPLE14", "key/STS.NEXAMPLE13", "key/STS.NEXAMPLE12"}; tr.Sessions != 7 || !slices.Equal(tr.LastSessions, want) {
		t.Errorf("%d sessions, the latest %v", tr.Sessions, tr.LastSessions)
	}
}
