package ramtest

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// lookedUp is an event of an account's history.
type lookedUp struct {
	at  time.Time
	raw json.RawMessage
}

// AddEvent puts an event into its recipient account's history, as LookupEvents
// reads it. What is no event with a time, or of no account that exists, is left
// out.
func (s *Server) AddEvent(raw []byte) {
	var head struct {
		Time    time.Time `json:"eventTime"`
		Account string    `json:"recipientAccountId"`
		User    struct {
			Account string `json:"accountId"`
		} `json:"userIdentity"`
	}
	if json.Unmarshal(raw, &head) != nil || head.Time.IsZero() {
		return
	}
	if head.Account == "" {
		head.Account = head.User.Account
	}
	if s.remember(head.Account, lookedUp{head.Time, slices.Clone(raw)}) && s.opts.OnForget != nil {
		s.opts.OnForget(head.Account, s.opts.LookupKept)
	}
}

// remember adds an event, and says whether it is the first for which one had to be
// forgotten.
func (s *Server) remember(account string, ev lookedUp) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[account] == nil {
		return false
	}
	if s.history == nil {
		s.history, s.forgot = map[string][]lookedUp{}, map[string]bool{}
	}
	h := append(s.history[account], ev)
	for i := len(h) - 1; i > 0 && h[i-1].at.After(h[i].at); i-- { // behind those of the same time
		h[i-1], h[i] = h[i], h[i-1]
	}
	if len(h) > s.opts.LookupKept {
		h = h[1:]
		first = !s.forgot[account]
		s.forgot[account] = true
	}
	s.history[account] = h
	return first
}

// lookupEvents answers LookupEvents: at most 30 days, at most 50 events a page,
// newest first unless Direction is FORWARD. The codes of what it refuses and
// the form of NextToken are not documented.
func lookupEvents(c *call) (map[string]any, *apiError) {
	now := c.s.opts.Now()
	from, to := now.Add(-7*24*time.Hour), now
	if a, b := c.params["StartTime"], c.params["EndTime"]; a != "" || b != "" {
		var err1, err2 error
		from, err1 = time.Parse("2006-01-02T15:04:05Z", a)
		to, err2 = time.Parse("2006-01-02T15:04:05Z", b)
		if err1 != nil || err2 != nil || !from.Before(to) || to.Sub(from) > 30*24*time.Hour {
			return nil, errf(400, "InvalidQueryParameter", "The time range is not valid.")
		}
	}
	limit := 20
	if m := c.params["MaxResults"]; m != "" {
		n, err := strconv.Atoi(m)
		if err != nil || n < 0 || n > 50 {
			return nil, errf(400, "InvalidQueryParameter", "MaxResults must be 0 to 50.")
		}
		limit = n
	}
	var found []json.RawMessage
	for _, e := range c.s.history[c.caller.account] {
		if !e.at.Before(from) && !e.at.After(to) && e.at.After(now.Add(-90*24*time.Hour)) {
			found = append(found, e.raw)
		}
	}
	if c.params["Direction"] != "FORWARD" {
		slices.Reverse(found)
	}
	if most := c.s.opts.LookupMost; most > 0 && len(found) > most {
		found = found[:most]
	}
	skip := 0
	if t := c.params["NextToken"]; t != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(t, "next-"))
		if err != nil || n < 0 || n > len(found) {
			return nil, errf(400, "InvalidNextToken", "The NextToken is not valid.")
		}
		skip = n
	}
	out := map[string]any{"StartTime": stamp(from), "EndTime": stamp(to)}
	end := min(skip+limit, len(found))
	if end < len(found) {
		out["NextToken"] = "next-" + strconv.Itoa(end)
	}
	out["Events"] = append([]json.RawMessage{}, found[skip:end]...)
	return out, nil
}
