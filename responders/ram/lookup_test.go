package ram

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ramtest"
)

func historyEvent(id string, at time.Time) string {
	return fmt.Sprintf(`{"eventId":%q,"eventName":"GetUser","serviceName":"Ram","eventTime":%q,"recipientAccountId":%q,"requestParameters":{"stsTokenPlayerUid":1234567890123456789}}`,
		id, at.UTC().Format("2006-01-02T15:04:05Z"), acct)
}

// TestLookupEvents: every event of the range comes once, oldest first, page by
// page, as it is: numbers beyond 2^53 too.
func TestLookupEvents(t *testing.T) {
	r := newRig(t)
	now := time.Now().UTC().Truncate(time.Second)
	for i := range 120 {
		r.cloud.AddEvent([]byte(historyEvent(fmt.Sprintf("e-%03d", i), now.Add(time.Duration(i-200)*time.Minute))))
	}
	r.cloud.AddEvent([]byte(historyEvent("before", now.Add(-10*time.Hour))))
	r.cloud.AddEvent([]byte(historyEvent("after", now.Add(-time.Minute))))
	from, to := now.Add(-4*time.Hour), now.Add(-time.Hour)
	var got []string
	next, pages := "", 0
	for {
		p, err := r.c.LookupEvents(context.Background(), "cn-hangzhou", from, to, next)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Events {
			got = append(got, string(e))
		}
		pages++
		if next = p.Next; next == "" {
			break
		}
	}
	if len(got) != 120 || pages != 3 {
		t.Fatalf("%d events in %d pages", len(got), pages)
	}
	for i, e := range got {
		if !strings.Contains(e, fmt.Sprintf(`"e-%03d"`, i)) || !strings.Contains(e, ":1234567890123456789}") {
			t.Fatalf("event %d is %s", i, e)
		}
	}
	if p, err := r.c.LookupEvents(context.Background(), "", now.Add(-20*time.Hour), now.Add(-15*time.Hour), ""); err != nil || len(p.Events) != 0 || p.Next != "" {
		t.Errorf("an empty range: %+v, %v", p, err)
	}
}

// TestLookupEventsRefused: what is no region is not made into a host name, and
// what the cloud refuses is an error that says so.
func TestLookupEventsRefused(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	if _, err := r.c.LookupEvents(context.Background(), "evil.example/", now.Add(-time.Hour), now, ""); err == nil || !strings.Contains(err.Error(), "is no region") {
		t.Error(err)
	}
	if _, err := r.c.LookupEvents(context.Background(), "", now.Add(-40*24*time.Hour), now, ""); err == nil || errors.Is(err, responders.ErrRetry) {
		t.Errorf("40 days: %v", err)
	}
	r.cloud.Inject(ramtest.Fault{Action: "LookupEvents", Times: -1, Status: 200, Body: `{"RequestId":"r-1","Events":"none"}`, ContentType: "application/json"})
	if p, err := r.c.LookupEvents(context.Background(), "", now.Add(-time.Hour), now, ""); err == nil {
		t.Errorf("no list: %+v", p)
	}
}
