package ram

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/services/actiontrail"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/ram"

	"github.com/trailwarden/trailwarden/responders"
)

// CardPermissions lists the RAM actions that KeyCard and KeyNetworks need, all
// of them reads.
func CardPermissions() []string {
	return []string{"actiontrail:GetAccessKeyLastUsedIps", "actiontrail:GetAccessKeyLastUsedProducts", "ram:ListAccessKeys", "ram:ListGroupsForUser", "ram:ListPoliciesForUser"}
}

var _ responders.KeyInformer = (*Client)(nil)

// maxUses bounds each list of a card; the cloud gives the newest first.
const maxUses = 50

// KeyCard implements responders.KeyInformer. It only reads.
func (c *Client) KeyCard(ctx context.Context, t responders.ActionTarget) (responders.KeyCard, error) {
	tt, sc, err := c.keyScope(ctx, t)
	if err != nil {
		return responders.KeyCard{}, err
	}
	var card responders.KeyCard
	part := func(what string, err error) {
		if err != nil {
			card.Missing = append(card.Missing, what+": "+clean(err.Error(), 160))
		}
	}
	keys, err := c.listKeys(ctx, sc, tt.user)
	part("keys", err)
	for _, k := range keys {
		if k.AccessKeyId == tt.key {
			card.Status, card.Created = k.Status, k.CreateDate
		} else {
			card.OtherKeys = append(card.OtherKeys, k.AccessKeyId+" "+k.Status)
		}
	}
	card.Services, err = c.keyProducts(ctx, sc, tt.key)
	part("last used services", err)
	card.Networks, err = c.keyIPs(ctx, sc, tt.key)
	part("last used networks", err)
	card.Policies, err = c.userPolicies(ctx, sc, tt.user)
	part("policies", err)
	card.Groups, err = c.userGroups(ctx, sc, tt.user)
	part("groups", err)
	return card, nil
}

// KeyNetworks implements responders.KeyInformer.
func (c *Client) KeyNetworks(ctx context.Context, t responders.ActionTarget) ([]responders.KeyUse, error) {
	tt, sc, err := c.keyScope(ctx, t)
	if err != nil {
		return nil, err
	}
	return c.keyIPs(ctx, sc, tt.key)
}

// KeyOwner asks whose key it is. It needs ram:GetUser.
func (c *Client) KeyOwner(ctx context.Context, t responders.ActionTarget) (string, error) {
	sc, err := c.in(ctx, t.AccountID)
	if err != nil {
		return "", err
	}
	return c.keyOwner(ctx, sc, t.AccessKeyID)
}

func (c *Client) keyScope(ctx context.Context, t responders.ActionTarget) (target, scope, error) {
	tt, err := checkTarget(responders.Action{Target: t}, aUser|aKey)
	if err != nil {
		return tt, scope{}, err
	}
	sc, err := c.in(ctx, tt.account)
	return tt, sc, err
}

func used(name string, ms int64) responders.KeyUse {
	return responders.KeyUse{Name: clean(name, 120), At: time.UnixMilli(ms).UTC()}
}

func (c *Client) keyIPs(ctx context.Context, sc scope, key string) ([]responders.KeyUse, error) {
	var resp *actiontrail.GetAccessKeyLastUsedIpsResponse
	_, err := c.do(ctx, sc.as, op{product: "actiontrail", action: "GetAccessKeyLastUsedIps"}, func(w *worker) (err error) {
		r := actiontrail.CreateGetAccessKeyLastUsedIpsRequest()
		r.AccessKey, r.PageSize = key, fmt.Sprint(maxUses)
		resp, err = w.trail.getAccessKeyLastUsedIps(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []responders.KeyUse
	for _, x := range resp.Ips[:min(len(resp.Ips), maxUses)] {
		u := used(x.Ip, x.UsedTimestamp)
		if a, err := netip.ParseAddr(x.Ip); err == nil {
			u.Name = a.Unmap().String()
		}
		out = append(out, u)
	}
	return out, nil
}

func (c *Client) keyProducts(ctx context.Context, sc scope, key string) ([]responders.KeyUse, error) {
	var resp *actiontrail.GetAccessKeyLastUsedProductsResponse
	_, err := c.do(ctx, sc.as, op{product: "actiontrail", action: "GetAccessKeyLastUsedProducts"}, func(w *worker) (err error) {
		r := actiontrail.CreateGetAccessKeyLastUsedProductsRequest()
		r.AccessKey = key
		resp, err = w.trail.getAccessKeyLastUsedProducts(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []responders.KeyUse
	for _, x := range resp.Products[:min(len(resp.Products), maxUses)] {
		out = append(out, used(x.ServiceName, x.UsedTimestamp))
	}
	return out, nil
}

func (c *Client) userPolicies(ctx context.Context, sc scope, user string) (out []string, err error) {
	_, err = c.do(ctx, sc.as, op{product: "ram", action: "ListPoliciesForUser"}, func(w *worker) error {
		r := ram.CreateListPoliciesForUserRequest()
		r.UserName = user
		resp, err := w.ram.listPoliciesForUser(r)
		if err == nil {
			out = nil
			for _, p := range resp.Policies.Policy {
				out = append(out, clean(p.PolicyType+"/"+p.PolicyName, 160))
			}
		}
		return err
	})
	return out, err
}

func (c *Client) userGroups(ctx context.Context, sc scope, user string) (out []string, err error) {
	_, err = c.do(ctx, sc.as, op{product: "ram", action: "ListGroupsForUser"}, func(w *worker) error {
		r := ram.CreateListGroupsForUserRequest()
		r.UserName = user
		resp, err := w.ram.listGroupsForUser(r)
		if err == nil {
			out = nil
			for _, g := range resp.Groups.Group {
				out = append(out, clean(g.GroupName, 80))
			}
		}
		return err
	})
	return out, err
}
