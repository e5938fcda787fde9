package ram

import (
	"context"
	"fmt"
	"regexp"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/actiontrail"

	"github.com/trailwarden/trailwarden/responders"
)

var versionChars = regexp.MustCompile(`^v[0-9]{1,6}$`)

// TrailState is the prior state of actiontrail.start_logging.
type TrailState struct {
	Name    string `json:"name"`
	Region  string `json:"region"` // "" is the configured one
	Logging bool   `json:"logging"`
	Made    string `json:"made,omitempty"` // when the trail was
}

// startLogging switches a stopped trail on again. Parameters: trail, and
// region where the trail's home is not the configured one. Undo stops it.
func (c *Client) startLogging() responders.Executor {
	host := func(region string) string {
		if region == "" || c.cfg.Endpoint != "" || c.cfg.Endpoints["actiontrail"] != "" {
			return ""
		}
		return "actiontrail." + region + ".aliyuncs.com"
	}
	return change[TrailState]{
		c: c, kind: "actiontrail.start_logging",
		perms: []string{"actiontrail:DescribeTrails", "actiontrail:GetTrailStatus", "actiontrail:StartLogging", "actiontrail:StopLogging"},
		check: func(t *target) error {
			if r := t.params["region"]; r != "" && !regionOK.MatchString(r) {
				return refuse("the action's parameter region is %q, which is not a region", clean(r, 40))
			}
			_, err := t.param("trail", trailChars)
			return err
		},
		describe: func(t target) string { return fmt.Sprintf("actiontrail StartLogging{Name: %s}", t.params["trail"]) },
		back: func(_ target, prior TrailState) string {
			return fmt.Sprintf("actiontrail StopLogging{Name: %s}", prior.Name)
		},
		read: func(ctx context.Context, sc scope, t target) (TrailState, error) {
			s := TrailState{Name: t.params["trail"], Region: t.params["region"]}
			var resp *actiontrail.GetTrailStatusResponse
			_, err := c.do(ctx, sc.as, op{product: "actiontrail", action: "GetTrailStatus", host: host(s.Region)}, func(w *worker) (err error) {
				r := actiontrail.CreateGetTrailStatusRequest()
				r.Name, r.RegionId = s.Name, s.Region
				resp, err = w.trail.getTrailStatus(r)
				return err
			})
			switch {
			case code(err) == "TrailNotFoundException":
				return s, refuse("trail %s does not exist any more; it has to be made again by hand", s.Name)
			case err != nil:
				return s, err
			}
			s.Logging = resp.IsLogging
			return s, nil
		},
		born: func(ctx context.Context, sc scope, _ target, prior TrailState) (string, string, error) {
			what := "trail " + prior.Name
			var resp *actiontrail.DescribeTrailsResponse
			_, err := c.do(ctx, sc.as, op{product: "actiontrail", action: "DescribeTrails", host: host(prior.Region)}, func(w *worker) (err error) {
				r := actiontrail.CreateDescribeTrailsRequest()
				r.NameList, r.RegionId, r.IncludeOrganizationTrail = prior.Name, prior.Region, requests.NewBoolean(true)
				resp, err = w.trail.describeTrails(r)
				return err
			})
			if err != nil {
				return what, "", err
			}
			for _, x := range resp.TrailList {
				if x.Name == prior.Name {
					return what, x.CreateTime, nil
				}
			}
			return what, "", nil
		},
		birth:   func(s *TrailState) *string { return &s.Made },
		want:    func(_ target, prior TrailState) TrailState { prior.Logging = true; return prior },
		inForce: func(_ target, s TrailState) bool { return s.Logging },
		same:    equal[TrailState],
		write: func(ctx context.Context, sc scope, _ target, _, to TrailState) (string, error) {
			if to.Logging {
				return c.do(ctx, sc.as, op{product: "actiontrail", action: "StartLogging", write: true, host: host(to.Region)}, func(w *worker) error {
					r := actiontrail.CreateStartLoggingRequest()
					r.Name, r.RegionId = to.Name, to.Region
					_, err := w.trail.startLogging(r)
					return err
				})
			}
			return c.do(ctx, sc.as, op{product: "actiontrail", action: "StopLogging", write: true, host: host(to.Region)}, func(w *worker) error {
				r := actiontrail.CreateStopLoggingRequest()
				r.Method = requests.POST // the SDK's GET would be repeated by the transport when a connection breaks
				r.Name, r.RegionId = to.Name, to.Region
				_, err := w.trail.stopLogging(r)
				return err
			})
		},
		already: func(error) bool { return false },
		owner: func(t target, s TrailState) bool {
			return s.Name == t.params["trail"] && s.Region == t.params["region"]
		},
		words: func(s TrailState) string {
			if s.Logging {
				return "logging"
			}
			return "stopped"
		},
	}.executor()
}
