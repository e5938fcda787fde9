package demo

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

func TestStoryIsTheSameEveryTime(t *testing.T) {
	end := time.Date(2026, 11, 25, 3, 2, 0, 0, time.UTC)
	a, b := Write(end).All(), Write(end).All()
	if len(a) != len(b) {
		t.Fatalf("%d records, then %d", len(a), len(b))
	}
	for i := range a {
		if !bytes.Equal(a[i].JSON, b[i].JSON) {
			t.Fatalf("record %d differs:\n%s\n%s", i, a[i].JSON, b[i].JSON)
		}
	}
}

func TestStoryShape(t *testing.T) {
	end := time.Date(2026, 11, 25, 3, 2, 0, 0, time.UTC)
	s := Write(end)
	if n := s.Events(); n < 18_000 || n > 24_000 {
		t.Errorf("%d events, want about 20,000", n)
	}
	actors, ids := map[string]bool{}, map[string]bool{}
	for _, r := range s.All() {
		var e struct {
			EventID, EventTime string
			UserIdentity       struct{ Type, UserName string }
		}
		if err := json.Unmarshal(r.JSON, &e); err != nil {
			t.Fatal(err)
		}
		if ids[e.EventID] {
			t.Fatalf("event id %s twice", e.EventID)
		}
		ids[e.EventID] = true
		actors[e.UserIdentity.Type+"/"+e.UserIdentity.UserName] = true
		if r.Time.After(end) || r.Time.Before(end.Add(-73*time.Hour)) {
			t.Fatalf("event at %s is outside the three days before %s", r.Time, end)
		}
	}
	if len(actors) != 30 {
		t.Errorf("%d identities, want 30 (29 at work and root)", len(actors))
	}
}
