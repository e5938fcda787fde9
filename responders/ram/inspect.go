package ram

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/actiontrail"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"

	"github.com/trailwarden/trailwarden/responders"
)

// Caller says who the configured credentials are (sts:GetCallerIdentity, which
// needs no permission). Errors are *Error.
func (c *Client) Caller(ctx context.Context) (Whoami, error) {
	who, _, err := c.whoami(ctx)
	return who, err
}

// Trail is a trail as its home region describes it.
type Trail struct {
	Name, HomeRegion string
	// ProjectARN is the SLS project it delivers to, "" for none:
	// acs:log:<region>:<account>:project/<name>.
	ProjectARN string
	// EventRW is All, Write or Read; TrailRegion is All or a region.
	EventRW, TrailRegion string
	Organization         bool
	// Logging and DeliveryError are the trail's status; Unknown says that the
	// status could not be asked for, and why.
	Logging       bool
	DeliveryError string
	Unknown       error
}

// Trails describes the trails of the credentials' own account. It needs
// actiontrail:DescribeTrails, and actiontrail:GetTrailStatus for the status.
func (c *Client) Trails(ctx context.Context) ([]Trail, error) {
	var resp *actiontrail.DescribeTrailsResponse
	if _, err := c.do(ctx, own{}, op{product: "actiontrail", action: "DescribeTrails"}, func(w *worker) (err error) {
		r := actiontrail.CreateDescribeTrailsRequest()
		r.IncludeOrganizationTrail = requests.NewBoolean(true)
		r.IncludeShadowTrails = requests.NewBoolean(true)
		resp, err = w.trail.describeTrails(r)
		return err
	}); err != nil {
		return nil, err
	}
	out := make([]Trail, 0, len(resp.TrailList))
	for _, t := range resp.TrailList {
		x := Trail{Name: clean(t.Name, 64), HomeRegion: clean(t.HomeRegion, 40), ProjectARN: clean(t.SlsProjectArn, 200), EventRW: clean(t.EventRW, 16),
			TrailRegion: clean(t.TrailRegion, 80), Organization: t.IsOrganizationTrail}
		host := ""
		if regionOK.MatchString(x.HomeRegion) && c.cfg.Endpoint == "" && c.cfg.Endpoints["actiontrail"] == "" {
			host = "actiontrail." + x.HomeRegion + ".aliyuncs.com"
		}
		var st *actiontrail.GetTrailStatusResponse
		_, x.Unknown = c.do(ctx, own{}, op{product: "actiontrail", action: "GetTrailStatus", host: host}, func(w *worker) (err error) {
			r := actiontrail.CreateGetTrailStatusRequest()
			r.Name, r.RegionId = t.Name, x.HomeRegion
			st, err = w.trail.getTrailStatus(r)
			return err
		})
		if x.Unknown == nil {
			x.Logging, x.DeliveryError = st.IsLogging, clean(st.LatestDeliveryLogServiceError, 200)
		}
		out = append(out, x)
	}
	return out, nil
}

// nobody is the name of a user that hardly any account has.
const nobody = "trailwarden-doctor-looks-for-nobody"

// Probe looks whether the reads that every containment of a key begins with are
// allowed in account, by asking for a user that does not exist: the cloud
// answers "no such user" to who may ask, and "no permission" to others. It
// changes nothing. missing are the permissions that lack.
func (c *Client) Probe(ctx context.Context, account string) (missing []string, err error) {
	sc, err := c.in(ctx, account)
	if err != nil {
		return nil, err
	}
	for action, call := range map[string]func(*worker) error{
		"GetUser": func(w *worker) error {
			r := ram.CreateGetUserRequest()
			r.UserName = nobody
			_, err := w.ram.getUser(r)
			return err
		},
		"ListAccessKeys": func(w *worker) error {
			r := ram.CreateListAccessKeysRequest()
			r.UserName = nobody
			_, err := w.ram.listAccessKeys(r)
			return err
		},
	} {
		_, err := c.do(ctx, sc.as, op{product: "ram", action: action}, call)
		switch {
		case err == nil, absent(err, "User"):
		case Denied(err):
			missing = append(missing, "ram:"+action)
		default:
			return missing, err
		}
	}
	slices.Sort(missing)
	return missing, nil
}

// Denied says that the cloud knows the caller and refuses the call.
func Denied(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Code == "NoPermission" || e.Code == "Forbidden" || e.Code == "Forbidden.RAM")
}

// Unreachable says that the cloud did not answer. Without credentials it was not
// asked.
func Unreachable(err error) bool {
	var e *Error
	var u *url.Error
	return errors.As(err, &e) && e.Action != noCredentials && e.Code == "" && e.Status == 0 && errors.Is(e, responders.ErrRetry) || errors.As(err, &u)
}
