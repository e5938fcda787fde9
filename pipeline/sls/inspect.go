package sls

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"

	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
)

// Refusal is a call that the service refused, or did not answer.
type Refusal struct {
	// Permission is the RAM action that the call needs, such as
	// "log:ListShards".
	Permission string
	// Code and Message are the service's, scrubbed of secrets. Code is empty
	// when there was no answer of the service.
	Code, Message, RequestID string
	// Status is the HTTP status, 0 without an answer.
	Status int
	// Unreachable says that nobody answered.
	Unreachable bool
}

func (r *Refusal) Error() string {
	if r.Unreachable {
		return fmt.Sprintf("%s: no answer: %s", r.Permission, r.Message)
	}
	msg := fmt.Sprintf("%s: %s: %s", r.Permission, r.Code, r.Message)
	if r.RequestID != "" {
		msg += " [request " + r.RequestID + "]"
	}
	return msg
}

// Unwrap gives ErrUnreachable where nobody answered.
func (r *Refusal) Unwrap() error {
	if r.Unreachable {
		return ErrUnreachable
	}
	return nil
}

// Denied says that the credentials are good and lack the permission.
func (r *Refusal) Denied() bool {
	return r.Code == "Unauthorized" && r.Status == http.StatusForbidden ||
		strings.Contains(strings.ToLower(r.Message), "denied by") || r.Code == "Forbidden" || r.Code == "NoPermission"
}

func refusal(permission string, err error) error {
	if err == nil {
		return nil
	}
	r := &Refusal{Permission: permission}
	var e *sdk.Error
	if !errors.As(err, &e) {
		r.Message = cred.Scrub(err.Error())
		return r
	}
	r.Code, r.Message, r.RequestID, r.Status = e.Code, cred.Scrub(e.Message), clip(e.RequestID), int(e.HTTPCode)
	// Our transport tells the SDK 400 for every failure and says the service's
	// own status in the text.
	if rest, ok := strings.CutPrefix(r.Message, "HTTP "); ok {
		if num, text, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(num); err == nil {
				r.Status, r.Message = n, text
			}
		}
	}
	if e.Code == codeUnreachable {
		r.Code, r.Status, r.Unreachable = "", 0, true
	}
	return r
}

// Inspection is what one look at a logstore shows.
type Inspection struct {
	Shards int
	// Group says that the consumer group exists.
	Group bool
	// Records are the newest ones found, of every shard; Newest is when the
	// service received the newest of them, zero when the logstore is empty.
	Records [][]byte
	Newest  time.Time
	// Partial says that there are newer records which were not read, because
	// they are too many.
	Partial bool
	// Count is the *Refusal of counting what the logstore holds, nil when it
	// is allowed. Reading goes on without; only the books cannot be compared.
	Count error
}

// How far Inspect looks back for records, and how much it reads of a shard.
var lookBack = []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour, 0}

const (
	inspectPages  = 8
	inspectGroups = 1000
	inspectShards = 64
)

// Inspect looks at the logstore with the calls that reading it needs and
// nothing else; it moves no checkpoint and joins no consumer group. An error is
// a *Refusal, the first one met; what was found before it is returned too.
func (s *Source) Inspect(ctx context.Context) (Inspection, error) {
	var in Inspection
	c := s.client(ctx)
	defer s.base.CloseIdleConnections()
	shards, err := c.ListShards(s.cfg.Project, s.cfg.Logstore)
	if err != nil {
		return in, refusal("log:ListShards", err)
	}
	in.Shards = len(shards)
	groups, err := c.ListConsumerGroup(s.cfg.Project, s.cfg.Logstore)
	if err != nil {
		return in, refusal("log:ListConsumerGroup", err)
	}
	for _, g := range groups {
		in.Group = in.Group || g.ConsumerGroupName == s.cfg.Group
	}
	in.Count = refusal("log:GetLogStoreHistogram", s.countable(c))
	for _, sh := range shards[:min(len(shards), inspectShards)] {
		if err := s.newest(ctx, c, sh.ShardID, &in); err != nil {
			return in, refusal("log:GetCursorOrData", err)
		}
	}
	return in, nil
}

// countable asks for the number of logs of the last minute.
func (s *Source) countable(c sdk.ClientInterface) (err error) {
	defer func() {
		if r := recover(); r != nil { // the SDK takes a header for given
			err = fmt.Errorf("the SDK panicked: %v", r)
		}
	}()
	now := time.Now().Unix()
	_, err = c.GetHistograms(s.cfg.Project, s.cfg.Logstore, "", now-60, now, "*")
	return err
}

// newest adds the last page of a shard that has records.
func (s *Source) newest(ctx context.Context, c sdk.ClientInterface, shard int, in *Inspection) error {
	end, err := c.GetCursor(s.cfg.Project, s.cfg.Logstore, shard, "end")
	if err != nil {
		return err
	}
	now := time.Now()
	for _, back := range lookBack {
		if err := ctx.Err(); err != nil {
			return err
		}
		from := "begin"
		if back > 0 {
			from = strconv.FormatInt(now.Add(-back).Unix(), 10)
		}
		at, err := c.GetCursor(s.cfg.Project, s.cfg.Logstore, shard, from)
		if err != nil {
			return err
		}
		if at == end {
			continue
		}
		// Where cursors are numbers, as they are, the last page is at hand.
		if n, ok := cursorValue(end); ok {
			if a, ok := cursorValue(at); ok && n-a > inspectGroups {
				at = cursorOf(n - inspectGroups)
			}
		}
		for page := 0; at != end; page++ {
			if page == inspectPages {
				in.Partial = true
				break
			}
			list, pull, err := s.page(c, shard, at)
			if err != nil {
				return err
			}
			if pull == at {
				break
			}
			at = pull
			sh := &shardState{}
			records, _ := sh.extract(list)
			in.Records = append(in.Records, records...)
			for _, g := range list.LogGroups {
				for _, l := range g.Logs {
					if t := time.Unix(int64(l.GetTime()), 0); t.After(in.Newest) {
						in.Newest = t
					}
				}
			}
		}
		return nil
	}
	return nil
}

func (s *Source) page(c sdk.ClientInterface, shard int, cursor string) (list *sdk.LogGroupList, next string, err error) {
	// The SDK allocates what a header promises; a bad page must not end doctor.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the SDK panicked on a page of shard %d: %v", shard, r)
		}
	}()
	list, next, err = c.PullLogs(s.cfg.Project, s.cfg.Logstore, shard, cursor, "", inspectGroups)
	return list, next, err
}

func cursorOf(n int64) string {
	return base64.StdEncoding.EncodeToString([]byte(strconv.FormatInt(n, 10)))
}

// Skew asks the endpoint for its time and returns how far this host's clock is
// ahead of it, to about a second. It needs no credentials.
func (s *Source) Skew(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.end.url+"/", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "trailwarden")
	began := time.Now()
	resp, err := s.base.RoundTrip(req)
	if err != nil {
		return 0, fmt.Errorf("%w: %s", ErrUnreachable, describeNet(err))
	}
	took := time.Since(began)
	_ = resp.Body.Close()
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, errors.New("the answer carries no Date")
	}
	// Date is cut to the second: half of one is added.
	return began.Add(took / 2).Sub(theirs.Add(500 * time.Millisecond)), nil
}
