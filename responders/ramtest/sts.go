package ramtest

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

func getCallerIdentity(c *call) (map[string]any, *apiError) {
	out := map[string]any{"AccountId": c.caller.account, "Arn": c.caller.ARN, "PrincipalId": c.caller.PrincipalID}
	switch c.caller.Type {
	case "root-account":
		out["IdentityType"] = "Account"
		out["UserId"] = c.caller.account
	case "ram-user":
		out["IdentityType"] = "RAMUser"
		out["UserId"] = c.caller.PrincipalID
	default:
		out["IdentityType"] = "AssumedRoleUser"
		out["RoleId"] = c.caller.session.roleID
	}
	return out, nil
}

// findRole reads acs:ram::<account>:role/<name>.
func (c *call) findRole(arn string) (*account, *role, *apiError) {
	rest, ok := strings.CutPrefix(arn, "acs:ram::")
	acct, name, ok2 := strings.Cut(rest, ":role/")
	if !ok || !ok2 || acct == "" || name == "" {
		return nil, nil, errf(400, "InvalidParameter.RoleArn", "The parameter RoleArn is wrongly formed.")
	}
	a := c.s.accounts[acct]
	if a == nil || a.roles[fold(name)] == nil {
		return nil, nil, errf(404, "EntityNotExist.Role", "The specified Role not exists: %s.", arn)
	}
	return a, a.roles[fold(name)], nil
}

func (c *call) openSession(a *account, r *role) (map[string]any, *apiError) {
	name := c.params["RoleSessionName"]
	if !sessionOK.MatchString(name) {
		return nil, errf(400, "InvalidParameter.RoleSessionName", "The parameter RoleSessionName is wrongly formed.")
	}
	secs := 3600
	if v := c.params["DurationSeconds"]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 900 || n > r.maxSession {
			return nil, errf(400, "InvalidParameter.DurationSeconds", "DurationSeconds must be from 900 to %d.", r.maxSession)
		}
		secs = n
	}
	if p := c.params["Policy"]; p != "" {
		if e := validDocument(p, false); e != nil {
			return nil, e
		}
	}
	cr := c.s.open(r, a.id, name, c.params["Policy"], time.Duration(secs)*time.Second)
	return map[string]any{
		"AssumedRoleUser": map[string]any{"AssumedRoleId": r.id + ":" + name, "Arn": "acs:ram::" + a.id + ":role/" + fold(r.name) + "/" + name},
		"Credentials": map[string]any{"AccessKeyId": cr.AccessKeyID, "AccessKeySecret": cr.AccessKeySecret, "SecurityToken": cr.SecurityToken,
			"Expiration": stamp(cr.Expires)},
	}, nil
}

func assumeRole(c *call) (map[string]any, *apiError) {
	if e := c.need("RoleArn", "RoleSessionName"); e != nil {
		return nil, e
	}
	a, r, e := c.findRole(c.params["RoleArn"])
	if e != nil {
		return nil, e
	}
	if c.caller.Type == "root-account" {
		return nil, errf(403, "NoPermission", "Roles may not be assumed by root accounts.")
	}
	if !trusts(r.trust, "RAM", c.caller) {
		return nil, &apiError{status: 403, code: "NoPermission", message: noPermission + " The role does not trust " + c.caller.ARN + "."}
	}
	return c.openSession(a, r)
}

func assumeRoleWithOIDC(c *call) (map[string]any, *apiError) {
	if e := c.need("RoleArn", "RoleSessionName", "OIDCProviderArn", "OIDCToken"); e != nil {
		return nil, e
	}
	a, r, e := c.findRole(c.params["RoleArn"])
	if e != nil {
		return nil, e
	}
	arn := c.params["OIDCProviderArn"]
	name, ok := strings.CutPrefix(arn, "acs:ram::"+a.id+":oidc-provider/")
	p := a.idps[name]
	switch {
	case !ok || p == nil:
		return nil, errf(404, "EntityNotExist.OIDCProvider", "The OIDC provider does not exist: %s.", arn)
	case !slices.Contains(p.tokens, c.params["OIDCToken"]):
		return nil, errf(400, "AuthenticationFail.OIDCToken.Invalid", "This OIDC token is invalid.")
	case !trusts(r.trust, "Federated", caller{account: a.id, Caller: Caller{ARN: arn}}):
		return nil, &apiError{status: 403, code: "NoPermission", message: noPermission}
	}
	out, e := c.openSession(a, r)
	if e == nil {
		out["OIDCTokenInfo"] = map[string]any{"Issuer": p.issuer, "VerificationInfo": "Success"}
	}
	return out, e
}

// Trails.

func (c *call) trail() (*trail, *apiError) {
	if e := c.need("Name"); e != nil {
		return nil, e
	}
	t := c.acct.trails[c.params["Name"]]
	if t == nil {
		return nil, errf(404, "TrailNotFoundException", "Trail does not exist: %s.", c.params["Name"])
	}
	return t, nil
}

func trailView(a *account, t *trail) map[string]any {
	status := "Disable"
	if t.Logging {
		status = "Enable"
	}
	return map[string]any{"Name": t.Name, "HomeRegion": t.HomeRegion, "Region": t.HomeRegion, "Status": status, "EventRW": t.EventRW, "TrailRegion": t.TrailRegion,
		"SlsProjectArn": t.SLSProjectARN, "OssBucketName": t.OSSBucket, "CreateTime": stamp(t.created), "StartLoggingTime": stamp(t.started), "StopLoggingTime": stamp(t.stopped),
		"TrailArn": "acs:actiontrail:" + t.HomeRegion + ":" + a.id + ":trail/" + t.Name}
}

func createTrail(c *call) (map[string]any, *apiError) {
	name, e := c.name("Name", trailChars, 36)
	if e != nil {
		return nil, e
	}
	if c.acct.trails[name] != nil {
		return nil, errf(400, "TrailAlreadyExistsException", "The specified trail already exists: %s.", name)
	}
	t := &trail{created: c.s.now(), Trail: Trail{Name: name, HomeRegion: c.params["RegionId"], SLSProjectARN: c.params["SlsProjectArn"], OSSBucket: c.params["OssBucketName"], EventRW: "Write", TrailRegion: "All"}}
	if t.SLSProjectARN == "" && t.OSSBucket == "" {
		return nil, errf(400, "InvalidParameterCombination", "A trail needs a bucket or a project.")
	}
	c.acct.trails[name] = t
	c.editTrail(t)
	return trailView(c.acct, t), nil // made stopped, as through the API
}

func (c *call) editTrail(t *trail) {
	for param, at := range map[string]*string{"SlsProjectArn": &t.SLSProjectARN, "OssBucketName": &t.OSSBucket, "EventRW": &t.EventRW, "TrailRegion": &t.TrailRegion} {
		if v, given := c.params[param]; given {
			*at = v
		}
	}
}

func updateTrail(c *call) (map[string]any, *apiError) {
	t, e := c.trail()
	if e != nil {
		return nil, e
	}
	c.editTrail(t)
	return trailView(c.acct, t), nil
}

func deleteTrail(c *call) (map[string]any, *apiError) {
	t, e := c.trail()
	if e != nil {
		return nil, e
	}
	delete(c.acct.trails, t.Name)
	return nil, nil
}

func describeTrails(c *call) (map[string]any, *apiError) {
	var want []string
	if v := c.params["NameList"]; v != "" {
		want = strings.Split(v, ",")
	}
	items := []any{}
	names := make([]string, 0, len(c.acct.trails))
	for n := range c.acct.trails {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if want == nil || slices.Contains(want, n) {
			items = append(items, trailView(c.acct, c.acct.trails[n]))
		}
	}
	return map[string]any{"TrailList": items}, nil // flat, unlike the lists of Ram
}

func getTrailStatus(c *call) (map[string]any, *apiError) {
	t, e := c.trail()
	if e != nil {
		return nil, e
	}
	return map[string]any{"IsLogging": t.Logging, "StartLoggingTime": stamp(t.started), "StopLoggingTime": stamp(t.stopped),
		"LatestDeliveryLogServiceTime": stamp(t.started), "LatestDeliveryLogServiceError": "", "LatestDeliveryTime": "", "LatestDeliveryError": "",
		"SlsLogStoreStatus": t.SLSProjectARN != "", "OssBucketStatus": t.OSSBucket != ""}, nil
}

func setLogging(on bool) func(*call) (map[string]any, *apiError) {
	return func(c *call) (map[string]any, *apiError) {
		t, e := c.trail()
		if e != nil {
			return nil, e
		}
		t.Logging = on
		if on {
			t.started = c.s.now()
		} else {
			t.stopped = c.s.now()
		}
		return nil, nil
	}
}

// lastUsed answers GetAccessKeyLastUsed{Ips,Products,Events}: what a key of the
// caller's account was used for, the newest first.
func lastUsed(list, field string, of func(Use) string) func(*call) (map[string]any, *apiError) {
	return func(c *call) (map[string]any, *apiError) {
		if e := c.need("AccessKey"); e != nil {
			return nil, e
		}
		o, ok := c.s.keys[c.params["AccessKey"]]
		if !ok || o.account != c.caller.account {
			return nil, errf(404, "InvalidAccessKey.NotFound", "The AccessKey does not exist: %s.", c.params["AccessKey"])
		}
		newest := map[string]time.Time{}
		k := c.acct.keysOf(o.user)[c.params["AccessKey"]]
		if k == nil { // a read that lags behind the key's creation
			k = &key{}
		}
		for u, at := range k.uses {
			if v := of(u); v != "" && at.After(newest[v]) {
				newest[v] = at
			}
		}
		names := slices.Sorted(maps.Keys(newest))
		lists.Sort(names, func(a, b string) int { return newest[b].Compare(newest[a]) })
		items := []any{}
		for _, n := range names {
			items = append(items, map[string]any{field: n, "UsedTimestamp": newest[n].UnixMilli(), "Source": "Management", "Detail": ""})
		}
		return map[string]any{list: items}, nil
	}
}
