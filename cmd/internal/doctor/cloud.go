package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/app"
	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/sls"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders/ram"
)

// What the cloud tolerates of a clock, and what we ask somebody to mend.
const (
	skewRefused = 15 * time.Minute
	skewWorth   = 2 * time.Minute
)

// How old the newest event of a logstore may be. A trail of all events of an
// account in use is hardly ever quiet for long.
const (
	quietWarn = 2 * time.Hour
	quietFail = 24 * time.Hour
)

// publicEndpoint is the service's own; the region is in its name.
var publicEndpoint = regexp.MustCompile(`^https://([a-z]+-[a-z0-9-]+?)(?:-intranet|-internal|-share)?\.log\.aliyuncs\.com/?$`)

// regionOf is the region that a source reads in, "" when nothing says so.
func regionOf(s config.SLS) string {
	if m := publicEndpoint.FindStringSubmatch(s.Endpoint); m != nil {
		return m[1]
	}
	return s.Region
}

// regionsDisagree says how endpoint and region contradict each other, "" when
// they do not.
func regionsDisagree(s config.SLS) string {
	if m := publicEndpoint.FindStringSubmatch(s.Endpoint); m != nil && s.Region != "" && s.Region != m[1] {
		return fmt.Sprintf("the endpoint is in %s and region says %s", m[1], s.Region)
	}
	return ""
}

// credentials says who the reader is. It returns false when there are none.
func (r *run) credentials(ctx context.Context) bool {
	const group = "credentials"
	var err error
	if r.reader, err = cred.New(app.CredConfig(r.cfg.Credentials)); err != nil {
		r.bad(Fail, "TW201", group, "reader", err.Error(), "")
		return false
	}
	cctx, cancel := r.within(ctx)
	defer cancel()
	id, _, _, provider, err := r.reader.Get(cctx)
	if err != nil {
		r.bad(Fail, "TW201", group, "reader", err.Error(), "an RRSA or ECS role is best; for a trial run `aliyun configure`")
		return false
	}
	r.ok(group, "provider", "%s, key %s", won(provider), text.MaskKey(id))

	rc := app.RAMConfig(r.cfg, r.reader)
	rc.AssumeRole = ""
	if len(r.cfg.Source.SLS) > 0 && regionOf(r.cfg.Source.SLS[0]) != "" {
		rc.Region = regionOf(r.cfg.Source.SLS[0])
	}
	if r.cloud, err = ram.New(rc); err != nil {
		r.bad(Fail, "TW101", group, "identity", err.Error(), "")
		return true
	}
	defer r.cloud.Close()
	r.who, err = r.cloud.Caller(cctx)
	switch {
	case ram.Unreachable(err):
		r.down("TW203", group, "identity", "STS does not answer: "+err.Error(), "open https to sts."+rc.Region+".aliyuncs.com; only doctor and containment need it")
	case err != nil:
		r.bad(Fail, "TW204", group, "identity", err.Error(), "the key is deleted, switched off, or not the secret's: give others")
	case r.who.Root:
		r.bad(Warn, "TW202", group, "identity", "the credentials are of the root account "+r.who.Account+", which may do everything and cannot be limited", "make a RAM role with deploy/ram/reader.json and use that")
	default:
		r.ok(group, "identity", "%s of account %s", principal(r.who), r.account(r.who.Account))
	}
	r.findTrails(cctx)
	return true
}

func principal(w ram.Whoami) string {
	switch {
	case w.Root:
		return "root"
	case w.Role != "":
		return "role " + text.Line(w.Role)
	}
	return "user " + text.Line(w.User)
}

// won names the provider in words; the chain's own name stays beside them.
func won(provider string) string {
	words := map[string]string{"static": "from the configuration", "env": "from the environment", "oidc_role_arn": "from RRSA (OIDC)",
		"ecs_ram_role": "from the ECS instance's RAM role", "credentials_uri": "from the credentials URI"}
	parts := strings.Split(provider, "/")
	for _, p := range parts {
		if w := words[p]; w != "" {
			return fmt.Sprintf("%s (%s)", w, provider)
		}
		if p == "cli_profile" {
			return fmt.Sprintf("from the aliyun CLI's profile (%s)", provider)
		}
		if p == "profile" {
			return fmt.Sprintf("from the credentials file (%s)", provider)
		}
	}
	return "from " + provider
}

func (r *run) account(id string) string {
	if name := r.cfg.Accounts[id]; name != "" {
		return id + " (" + name + ")"
	}
	return id
}

func (r *run) findTrails(ctx context.Context) {
	if r.who.Account == "" {
		return
	}
	var err error
	r.trails, err = r.cloud.Trails(ctx)
	switch {
	case ram.Denied(err):
		r.bad(Warn, "TW311", "trail", "list", "the reader may not look at trails (actiontrail:DescribeTrails), so nothing can be said about them",
			"attach deploy/ram/doctor.json to the reader while you set up; running does not need it")
	case err != nil:
		r.bad(Warn, "TW311", "trail", "list", "ActionTrail could not be asked: "+err.Error(), "")
	default:
		r.trailsKnown = true
	}
}

func (r *run) sources(ctx context.Context) {
	for _, s := range r.cfg.Source.SLS {
		r.source(ctx, s)
	}
	seen := map[string]bool{}
	for _, a := range r.report.Accounts {
		seen[a.ID] = true
	}
	for _, id := range slices.Sorted(maps.Keys(r.cfg.Accounts)) {
		if len(r.report.Accounts) > 0 && !seen[id] {
			r.bad(Warn, "TW309", "accounts", r.account(id), "none of the newest records is of this account", "see whether its trail, or the organisation trail, delivers here; a quiet account is no fault")
		}
	}
}

func (r *run) source(ctx context.Context, s config.SLS) {
	group := "source " + s.Project + "/" + s.Logstore
	src, err := sls.New(app.SLSConfig(s), nil, sls.Options{Logger: r.log, Credentials: r.reader})
	if err != nil {
		r.bad(Fail, "TW101", group, "configuration", err.Error(), "")
		return
	}
	region := regionOf(s)
	if d := regionsDisagree(s); d != "" {
		r.bad(Fail, "TW317", group, "region", d, "write region: "+region+", or the endpoint of "+s.Region)
	}

	cctx, cancel := r.within(ctx)
	defer cancel()
	skew, err := src.Skew(cctx)
	switch {
	case errors.Is(err, sls.ErrUnreachable):
		r.down("TW301", group, "endpoint", fmt.Sprintf("%s does not answer: %v", s.Endpoint, err), "open https to it from here; inside a VPC use the -intranet endpoint; see whether a proxy or DNS is in the way")
		r.trail(s, sls.Inspection{}, false)
		return
	case err != nil:
		r.bad(Warn, "TW302", group, "clock", err.Error(), "")
	case skew.Abs() >= skewRefused:
		r.bad(Fail, "TW302", group, "clock", fmt.Sprintf("this clock is %s of the service's; it refuses requests at %s", ahead(skew), skewRefused), "set the clock: timedatectl set-ntp true")
	case skew.Abs() >= skewWorth:
		r.bad(Warn, "TW302", group, "clock", fmt.Sprintf("this clock is %s of the service's", ahead(skew)), "set the clock: timedatectl set-ntp true")
	default:
		r.ok(group, "endpoint", "answers, clocks agree")
	}

	in, err := src.Inspect(cctx)
	if err != nil {
		r.refused(group, s, region, err)
	} else {
		what := "the consumer group will be made"
		if in.Group {
			what = "the consumer group exists"
		}
		r.ok(group, "read", "%d shards can be read; %s", in.Shards, what)
		if in.Count != nil {
			r.bad(Warn, "TW319", group, "count", "what the logstore holds cannot be counted: "+in.Count.Error(),
				"allow log:GetLogStoreHistogram (deploy/ram/reader.json), and keep the logstore's index, which ActionTrail makes; without it a deficit is not noticed")
		}
		r.freshness(group, s, in)
	}
	r.trail(s, in, err == nil)
}

func ahead(d time.Duration) string {
	word := "ahead"
	if d < 0 {
		word = "behind"
	}
	return d.Abs().Round(time.Second).String() + " " + word
}

// refused says what a refusal of the logstore means.
func (r *run) refused(group string, s config.SLS, region string, err error) {
	var no *sls.Refusal
	if !errors.As(err, &no) {
		r.bad(Fail, "TW303", group, "read", err.Error(), "")
		return
	}
	where := ""
	if region != "" {
		where = " in " + region
	}
	switch {
	case no.Unreachable:
		r.down("TW301", group, "read", no.Error(), "open https to "+s.Endpoint)
	case no.Code == "ProjectNotExist":
		remedy := "check source.sls.project and the region in source.sls.endpoint: a project is found in its own region only"
		if at := r.projectRegion(s.Project); at != "" && at != region {
			remedy = fmt.Sprintf("a trail delivers to a project of this name in %s: use endpoint https://%s.log.aliyuncs.com", at, at)
		}
		r.bad(Fail, "TW304", group, "read", fmt.Sprintf("there is no project %s%s: wrong region, or wrong name", s.Project, where), remedy)
	case no.Code == "LogStoreNotExist":
		remedy := "ActionTrail names it actiontrail_ and the trail's name"
		if names := r.logstoresFor(s.Project); len(names) > 0 {
			remedy = "a trail delivers to " + strings.Join(names, ", ") + ": write that"
		}
		r.bad(Fail, "TW305", group, "read", fmt.Sprintf("project %s has no logstore %s", s.Project, s.Logstore), remedy)
	case no.Code == "RequestTimeExpired" || no.Code == "RequestTimeTooSkewed":
		r.bad(Fail, "TW302", group, "read", "the service refuses our clock: "+no.Message, "set the clock: timedatectl set-ntp true")
	case no.Denied():
		r.bad(Fail, "TW303", group, "read", fmt.Sprintf("%s lacks the permission %s", r.reads(), no.Permission),
			fmt.Sprintf("allow %s on acs:log:*:%s:project/%s/logstore/%s (deploy/ram/reader.json has all that is needed)", no.Permission, r.accountOr(), s.Project, s.Logstore))
	case no.Status == 401 || no.Code == "Unauthorized" || no.Code == "SignatureNotMatch":
		remedy := "the key is deleted, switched off, or not the secret's: give others"
		if s.AuthV4 {
			remedy += "; with auth_v4 the region must be the project's"
		}
		r.bad(Fail, "TW306", group, "read", no.Error(), remedy)
	default:
		r.bad(Fail, "TW303", group, "read", no.Error(), "")
	}
}

func (r *run) reads() string {
	if r.who.Account == "" {
		return "the reader"
	}
	return principal(r.who)
}

func (r *run) accountOr() string {
	if r.who.Account == "" {
		return "ACCOUNT_ID"
	}
	return r.who.Account
}

// freshness reads what was found.
func (r *run) freshness(group string, s config.SLS, in sls.Inspection) {
	if len(in.Records) == 0 {
		r.bad(Fail, "TW307", group, "events", "the logstore is empty", "a new trail needs some minutes for its first event; sign in to the console once, which makes one; then see the trail below")
		return
	}
	byAccount := map[string]*Account{}
	unread := 0
	var newest time.Time
	now := r.Now()
	for _, rec := range in.Records {
		err := event.Unwrap(rec, func(one []byte) bool {
			ev, err := event.Parse(one)
			if err != nil {
				unread++
				return true
			}
			a := byAccount[ev.Recipient]
			if a == nil {
				a = &Account{ID: ev.Recipient, Name: r.cfg.Accounts[ev.Recipient]}
				byAccount[ev.Recipient] = a
			}
			a.Events++
			// One of a bad clock would hide that all others are old.
			at := ev.Time.UTC()
			if at.Sub(now) > skewRefused {
				at = time.Time{}
			}
			if at.After(a.Newest) {
				a.Newest = at
			}
			if at.After(newest) {
				newest = at
			}
			return true
		})
		if err != nil {
			unread++
		}
	}
	if unread == len(in.Records) || len(byAccount) == 0 {
		r.bad(Fail, "TW310", group, "events", fmt.Sprintf("none of the newest %d records is an ActionTrail event", len(in.Records)), "this logstore is of something else: name the one that the trail delivers to (actiontrail_ and the trail's name)")
		return
	}
	if unread > 0 {
		r.bad(Warn, "TW310", group, "events", fmt.Sprintf("%d of the newest %d records are no ActionTrail events; they will be parked", unread, len(in.Records)), "nothing else should write into the trail's logstore")
	}
	old := now.Sub(newest)
	detail := fmt.Sprintf("the newest event is %s", age(old))
	switch {
	case newest.IsZero():
		r.bad(Warn, "TW308", group, "freshness", fmt.Sprintf("all of the newest %d records are of the future", len(in.Records)), "a clock is wrong, theirs or this one; how old the newest event is cannot be said")
	case old > quietFail:
		r.bad(Fail, "TW308", group, "freshness", detail, "the trail is stopped, narrowed, or delivers elsewhere; see the trail below")
	case old > quietWarn:
		r.bad(Warn, "TW308", group, "freshness", detail, "an account in use makes events all the time: see the trail below")
	default:
		r.ok(group, "freshness", "%s", detail)
	}
	for _, id := range slices.Sorted(maps.Keys(byAccount)) {
		a := byAccount[id]
		r.report.Accounts = append(r.report.Accounts, *a)
		detail := fmt.Sprintf("newest event %s", age(now.Sub(a.Newest)))
		if a.Newest.IsZero() {
			detail = "all events in the future"
		}
		if a.Name == "" && len(r.cfg.Accounts) > 0 {
			r.info("accounts", text.Line(id), "%s; it has no name under accounts", detail)
			continue
		}
		r.ok("accounts", text.Line(r.account(id)), "%s", detail)
	}
}

var projectARN = regexp.MustCompile(`^acs:log:([a-z0-9-]*):([0-9]*):project/([A-Za-z0-9_-]+)$`)

// projectRegion is the region of the project of this name that a trail delivers to.
func (r *run) projectRegion(project string) string {
	for _, t := range r.trails {
		if m := projectARN.FindStringSubmatch(t.ProjectARN); m != nil && m[3] == project {
			return m[1]
		}
	}
	return ""
}

func (r *run) logstoresFor(project string) (names []string) {
	for _, t := range r.trails {
		if m := projectARN.FindStringSubmatch(t.ProjectARN); m != nil && m[3] == project {
			names = append(names, "actiontrail_"+t.Name)
		}
	}
	return names
}

// trail says whether a trail delivers everything to the source.
func (r *run) trail(s config.SLS, in sls.Inspection, readable bool) {
	if !r.trailsKnown {
		return
	}
	const group = "trail"
	var here []ram.Trail
	for _, t := range r.trails {
		if m := projectARN.FindStringSubmatch(t.ProjectARN); m != nil && m[3] == s.Project && (m[1] == "" || regionOf(s) == "" || m[1] == regionOf(s)) {
			here = append(here, t)
		}
	}
	exact := lists.Keep(slices.Clone(here), func(t *ram.Trail) bool { return "actiontrail_"+t.Name == s.Logstore })
	if len(exact) > 0 {
		here = exact
	}
	if len(here) == 0 {
		detail := fmt.Sprintf("no trail of account %s delivers to project %s", r.account(r.who.Account), s.Project)
		if readable && len(in.Records) > 0 {
			// An organisation trail belongs to another account, and works.
			r.bad(Warn, "TW312", group, s.Project, detail+", but there are events: it belongs to another account", "look there whether it records All events of all regions")
			return
		}
		r.bad(Fail, "TW312", group, s.Project, detail, "make a trail that records All events of all regions into this project (deploy/terraform does it all)")
		return
	}
	for _, t := range here {
		name := text.Line(t.Name)
		fine := true
		no := func(state State, code, detail, remedy string) {
			fine = false
			r.bad(state, code, group, name, detail, remedy)
		}
		switch {
		case t.Unknown != nil && ram.Denied(t.Unknown):
			no(Warn, "TW311", "whether it runs is unknown: the reader lacks actiontrail:GetTrailStatus", "attach deploy/ram/doctor.json to the reader while you set up")
		case t.Unknown != nil:
			no(Warn, "TW311", "whether it runs is unknown: "+t.Unknown.Error(), "")
		case !t.Logging:
			no(Fail, "TW313", "it is stopped", "start it: aliyun actiontrail StartLogging --Name "+name+" (a trail made by API begins stopped); and find out who stopped it")
		case t.DeliveryError != "":
			no(Fail, "TW316", "its last delivery failed: "+text.Line(t.DeliveryError), "see whether the project and the logstore still exist and ActionTrail's role may write there")
		}
		if !strings.EqualFold(t.EventRW, "All") {
			no(Fail, "TW314", fmt.Sprintf("it records %s events only; sign-ins and reads are needed to see most attacks", text.Line(t.EventRW)),
				"aliyun actiontrail UpdateTrail --Name "+name+" --EventRW All")
		}
		if !strings.EqualFold(t.TrailRegion, "All") {
			no(Fail, "TW315", fmt.Sprintf("it records the region %s only; an attacker uses another", text.Line(t.TrailRegion)),
				"aliyun actiontrail UpdateTrail --Name "+name+" --TrailRegion All")
		}
		if "actiontrail_"+t.Name != s.Logstore {
			no(Warn, "TW318", fmt.Sprintf("it delivers to actiontrail_%s, and the source reads %s", name, s.Logstore), "write logstore: actiontrail_"+name+" unless you know better")
		}
		if fine {
			kind := "account trail"
			if t.Organization {
				kind = "organisation trail"
			}
			r.ok(group, name, "%s, runs, records all events of all regions", kind)
		}
	}
}

func (r *run) containment(ctx context.Context) {
	const group = "containment"
	c := r.cfg.Respond
	if !c.RAM.Enabled {
		r.info(group, "ram", "switched off (respond.ram.enabled): nothing in the cloud is ever changed")
		return
	}
	ctx, cancel := r.within(ctx)
	defer cancel()
	p, err := cred.New(app.CredConfig(app.ResponderCredentials(r.cfg)))
	if err != nil {
		r.bad(Fail, "TW601", group, "credentials", err.Error(), "")
		return
	}
	if _, _, _, _, err := p.Get(ctx); err != nil {
		r.bad(Fail, "TW601", group, "credentials", err.Error(), "give respond.ram.credentials, or the role that deploy/ram is for")
		return
	}
	client, err := ram.New(app.RAMConfig(r.cfg, p))
	if err != nil {
		r.bad(Fail, "TW101", group, "configuration", err.Error(), "")
		return
	}
	defer client.Close()
	who, err := client.Caller(ctx)
	switch {
	case ram.Unreachable(err):
		r.down("TW601", group, "credentials", err.Error(), "open https to sts."+c.RAM.Region+".aliyuncs.com and ram.aliyuncs.com")
		return
	case err != nil:
		r.bad(Fail, "TW601", group, "credentials", err.Error(), "give respond.ram.credentials that work")
		return
	case who.Root && c.RAM.AssumeRole == "":
		r.bad(Fail, "TW602", group, "credentials", "they are of the root account, with which trailwarden refuses to act", "make a RAM role with deploy/ram/responder-disable-key.json")
		return
	}
	r.ok(group, "credentials", "%s of account %s, mode %s", principal(who), r.account(who.Account), c.Mode)
	accounts := []string{who.Account}
	if c.RAM.AssumeRole != "" && len(r.cfg.Accounts) > 0 {
		accounts = slices.Sorted(maps.Keys(r.cfg.Accounts))
	}
	for _, id := range accounts {
		missing, err := client.Probe(ctx, id)
		switch {
		case ram.Unreachable(err):
			r.down("TW604", group, r.account(id), err.Error(), "open https to ram.aliyuncs.com")
		case err != nil && c.RAM.AssumeRole != "":
			r.bad(Fail, "TW603", group, r.account(id), err.Error(), "the role "+strings.ReplaceAll(c.RAM.AssumeRole, "{account}", id)+" must exist and trust "+principal(who)+" of account "+who.Account)
		case err != nil:
			r.bad(Fail, "TW603", group, r.account(id), err.Error(), "")
		case len(missing) > 0:
			r.bad(Fail, "TW604", group, r.account(id), "the responder lacks "+strings.Join(missing, " and "), "attach deploy/ram/responder-disable-key.json (or responder-contain.json), filled in, to its role")
		default:
			r.ok(group, r.account(id), "it may look at users and keys; what it may change is not tried")
		}
	}
}
