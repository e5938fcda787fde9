package ramtest

import (
	"slices"
	"strconv"
	"time"
)

// Leak is a finding of Security Center: an AccessKey seen in public.
type Leak struct {
	ID               int64
	AccessKeyID, URL string
	Status           string // pending when empty, or dealed
	Modified         time.Time
}

// AddLeak puts a finding on an account's list; one with the same id is
// replaced. The account must exist.
func (s *Server) AddLeak(account string, l Leak) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[account]
	a.findings = slices.DeleteFunc(a.findings, func(o Leak) bool { return o.ID == l.ID })
	a.findings = append(a.findings, l)
}

func describeLeaks(c *call) (map[string]any, *apiError) {
	page, size := max(1, atoi(c.params["CurrentPage"])), atoi(c.params["PageSize"])
	if size <= 0 {
		size = 20
	}
	size = min(size, 100)
	items, total, pending := []any{}, 0, 0
	for _, l := range c.acct.findings {
		status := l.Status
		if status == "" {
			status = "pending"
		}
		if status == "pending" {
			pending++
		}
		if want := c.params["Status"]; want != "" && want != status || c.params["Query"] != "" && c.params["Query"] != l.AccessKeyID {
			continue
		}
		if total++; total > (page-1)*size && total <= page*size {
			items = append(items, map[string]any{"Id": l.ID, "AccesskeyId": l.AccessKeyID, "AliUserName": c.acct.alias, "UserType": "master", "Status": status,
				"DealType": status, "Type": "AccessKey", "Url": l.URL, "Asset": "Cloud platform", "GmtModified": l.Modified.UnixMilli()})
		}
	}
	return map[string]any{"CurrentPage": page, "PageSize": size, "TotalCount": total, "AkLeakCount": pending, "AccessKeyLeakList": items}, nil
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
