package ram

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/services/actiontrail"
)

// The documented bounds of LookupEvents: how many events a page has, how far
// back events are kept, and the time between two calls. A time range may be 30
// days long.
const (
	lookupPage  = "50"
	LookupKept  = 90 * 24 * time.Hour
	LookupPause = 500 * time.Millisecond
)

// LookedUp is one page of the event history.
type LookedUp struct {
	// Events are the records, byte for byte as they came.
	Events []json.RawMessage
	// Next asks for the next page; empty after the last.
	Next string
}

// LookupEvents reads one page of the event history of the credentials' own
// account in a region ("" is the configured one), oldest first: events from
// from on and before to, whole seconds both. next is empty for the first page.
// It reads only, and needs actiontrail:LookupEvents. Who makes many calls has to
// leave LookupPause between them.
func (c *Client) LookupEvents(ctx context.Context, region string, from, to time.Time, next string) (LookedUp, error) {
	host := ""
	switch {
	case region == "":
	case !regionOK.MatchString(region):
		return LookedUp{}, refuse("%q is no region", clean(region, 40))
	case c.cfg.Endpoint == "" && c.cfg.Endpoints["actiontrail"] == "":
		host = "actiontrail." + region + ".aliyuncs.com"
	}
	const stamp = "2006-01-02T15:04:05Z"
	var resp *actiontrail.LookupEventsResponse
	_, err := c.do(ctx, own{}, op{product: "actiontrail", action: "LookupEvents", host: host}, func(w *worker) (err error) {
		r := actiontrail.CreateLookupEventsRequest()
		r.RegionId, r.Direction, r.MaxResults = region, "FORWARD", lookupPage
		// Whether the end belongs to the range is not documented.
		r.StartTime, r.EndTime, r.NextToken = from.UTC().Format(stamp), to.UTC().Format(stamp), next
		resp, err = w.trail.lookupEvents(r)
		return err
	})
	if err != nil {
		return LookedUp{}, err
	}
	// Not resp.Events: numbers would go through a float.
	var answer struct{ Events []json.RawMessage }
	if err := json.Unmarshal(resp.GetHttpContentBytes(), &answer); err != nil {
		return LookedUp{}, fmt.Errorf("actiontrail LookupEvents: the answer is no list of events: %w", err)
	}
	return LookedUp{Events: answer.Events, Next: resp.NextToken}, nil
}
