package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/pipeline/source"
	"github.com/trailwarden/trailwarden/responders/ram"
)

// leakLister is what the reader asks of the cloud; *ram.Client is one.
type leakLister interface {
	Caller(ctx context.Context) (ram.Whoami, error)
	Leaks(ctx context.Context, account string) ([]ram.Leak, error)
}

// leakReader reads Security Center's list of leaked keys and stores what is new
// in it as records, so that a finding is evaluated, kept and replayed like an
// event. What it cannot read it says; it never stops anything.
type leakReader struct {
	ram      leakLister
	accounts []string // empty: the credentials' own
	every    time.Duration
	sink     source.Sink
	log      *slog.Logger
	now      func() time.Time

	seen map[string]bool // what the last listing of each account had
}

// leakOverlap is how far back a start looks at findings again: clocks differ, and
// a listing may be late. What was stored before is a duplicate by its id.
const leakOverlap = 24 * time.Hour

// leakPageSize is how many findings are stored at once.
const leakPageSize = 256

func (r *leakReader) run(ctx context.Context) {
	for ctx.Err() == nil {
		r.readAll(ctx)
		_ = pause.For(ctx, r.every)
	}
}

func (r *leakReader) readAll(ctx context.Context) {
	accounts, err := accountsOrOwn(ctx, r.ram, r.accounts)
	if err != nil {
		r.failed(ctx, "", err)
		return
	}
	for _, id := range accounts {
		if err := r.read(ctx, id); err != nil {
			r.failed(ctx, id, err)
		}
	}
}

func (r *leakReader) failed(ctx context.Context, account string, err error) {
	if ctx.Err() == nil {
		r.log.Warn("findings of leaked keys could not be read; it is tried again", "account", account, "in", r.every.String(), "error", err.Error())
	}
}

// leakID names a finding as it is now: a finding that changes is told again.
func leakID(account string, l *ram.Leak) string {
	return fmt.Sprintf("akleak-%s-%d-%d", account, l.ID, l.Modified.UnixMilli())
}

func (r *leakReader) read(ctx context.Context, account string) error {
	name := "sas/accesskeyleaks/" + account
	leaks, err := r.ram.Leaks(ctx, account)
	if err != nil {
		return err
	}
	from, err := r.sink.Position(ctx, name, 0)
	if err != nil {
		return err
	}
	// The position begins with the time of the newest finding stored.
	head, _, _ := strings.Cut(from, "-")
	newest, err := strconv.ParseInt(head, 10, 64)
	if err != nil {
		newest = 0
	}
	lists.Sort(leaks, func(a, b ram.Leak) int {
		return cmp.Or(a.Modified.Compare(b.Modified), cmp.Compare(a.ID, b.ID))
	})
	first := r.seen == nil || !r.seen[account]
	var fresh []ram.Leak
	for _, l := range leaks {
		known := r.seen[leakID(account, &l)]
		if first {
			known = l.Modified.UnixMilli() <= newest-leakOverlap.Milliseconds()
		}
		if !known && l.AccessKeyID != "" {
			fresh = append(fresh, l)
		}
	}
	for n, part := 0, []ram.Leak(nil); len(fresh) > 0; n++ {
		part, fresh = fresh[:min(len(fresh), leakPageSize)], fresh[min(len(fresh), leakPageSize):]
		page := source.Page{Source: name, From: from, Received: r.now().UTC()}
		for i := range part {
			page.Records = append(page.Records, leakRecord(account, &part[i]))
			newest = max(newest, part[i].Modified.UnixMilli())
		}
		page.To = fmt.Sprintf("%d-%d-%d", newest, page.Received.UnixMilli(), n)
		if err := r.sink.Store(ctx, page); err != nil {
			return err
		}
		from = page.To
		r.log.Info("findings of leaked keys were stored", "account", account, "findings", len(part))
	}
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	for id := range r.seen {
		if strings.HasPrefix(id, "akleak-"+account+"-") {
			delete(r.seen, id)
		}
	}
	r.seen[account] = true
	for i := range leaks {
		r.seen[leakID(account, &leaks[i])] = true
	}
	return nil
}

// leakRecord is a finding in the form of an event; rules/README.md describes it.
func leakRecord(account string, l *ram.Leak) []byte {
	params := map[string]string{"Id": strconv.FormatInt(l.ID, 10), "AccesskeyId": l.AccessKeyID, "AliUserName": l.UserName, "UserType": l.UserType,
		"Status": l.Status, "DealType": l.DealType, "Type": l.Type, "Url": l.URL, "Asset": l.Asset}
	for k, v := range params {
		if v == "" {
			delete(params, k)
		}
	}
	raw, err := json.Marshal(map[string]any{
		"eventId": leakID(account, l), "eventName": "AccessKeyLeakFinding", "eventType": "Finding", "eventVersion": "1", "serviceName": "Sas",
		"eventSource": "trailwarden", "eventTime": l.Modified.UTC().Format(time.RFC3339), "recipientAccountId": account,
		"userIdentity": map[string]any{"type": "system", "userName": "sas.aliyuncs.com"}, "requestParameters": params,
	})
	if err != nil {
		panic(err) // texts and numbers
	}
	return raw
}
