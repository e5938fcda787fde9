package ram

import (
	"context"
	"strconv"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/responses"
)

// Leak is an entry of Security Center's list of AccessKeys that were found in
// public.
type Leak struct {
	ID          int64
	AccessKeyID string
	// UserName is the name of the account that is affected; whether it can be a
	// RAM user's is not documented. UserType is not either.
	UserName, UserType string
	// Status is pending or dealed, DealType how it was dealt with.
	Status, DealType string
	Type, URL, Asset string
	Modified         time.Time
}

// The SDK has these as types of a package with thousands of others.
type leakAnswer struct {
	*responses.BaseResponse
	TotalCount        int `json:"TotalCount"`
	AccessKeyLeakList []struct {
		ID          int64  `json:"Id"`
		AccesskeyID string `json:"AccesskeyId"`
		AliUserName string `json:"AliUserName"`
		UserType    string `json:"UserType"`
		Status      string `json:"Status"`
		DealType    string `json:"DealType"`
		Type        string `json:"Type"`
		URL         string `json:"Url"`
		Asset       string `json:"Asset"`
		GmtModified int64  `json:"GmtModified"`
	} `json:"AccessKeyLeakList"`
}

func (c *sasClient) describeAccesskeyLeakList(page, size int) (*leakAnswer, error) {
	q := &requests.RpcRequest{}
	q.InitWithApiInfo("Sas", "2018-12-03", "DescribeAccesskeyLeakList", "sas", "openAPI")
	q.Method = requests.POST
	return send(&c.Client, q, params{"Status": "pending", "CurrentPage": strconv.Itoa(page), "PageSize": strconv.Itoa(size)},
		&leakAnswer{BaseResponse: &responses.BaseResponse{}})
}

const (
	leakPage = 100 // the most that the service gives
	maxLeaks = 5000
)

// Leaks lists an account's findings of leaked keys that nobody has dealt with,
// at most 5,000. It changes nothing. Errors are *Error.
func (c *Client) Leaks(ctx context.Context, account string) ([]Leak, error) {
	sc, err := c.in(ctx, account)
	if err != nil {
		return nil, err
	}
	var out []Leak
	for page := 1; len(out) < maxLeaks; page++ {
		got, total := 0, 0
		if _, err := c.do(ctx, sc.as, op{product: "sas", action: "DescribeAccesskeyLeakList"}, func(w *worker) error {
			resp, err := w.sas.describeAccesskeyLeakList(page, leakPage)
			if err != nil {
				return err
			}
			got, total = len(resp.AccessKeyLeakList), resp.TotalCount
			for _, l := range resp.AccessKeyLeakList {
				out = append(out, Leak{ID: l.ID, AccessKeyID: l.AccesskeyID, UserName: l.AliUserName, UserType: l.UserType, Status: l.Status, DealType: l.DealType,
					Type: l.Type, URL: l.URL, Asset: l.Asset, Modified: time.UnixMilli(l.GmtModified).UTC()})
			}
			return nil
		}); err != nil {
			return nil, err
		}
		if got == 0 || page*leakPage >= total {
			break
		}
	}
	return out, nil
}
