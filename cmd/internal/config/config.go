package config

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/dingtalk"
	"github.com/trailwarden/trailwarden/responders/email"
	"github.com/trailwarden/trailwarden/responders/feishu"
	"github.com/trailwarden/trailwarden/responders/ocsf"
	"github.com/trailwarden/trailwarden/responders/pagerduty"
	"github.com/trailwarden/trailwarden/responders/slack"
	"github.com/trailwarden/trailwarden/responders/syslog"
	"github.com/trailwarden/trailwarden/responders/webhook"
	"github.com/trailwarden/trailwarden/responders/wecom"
)

// Config is the whole configuration. The zero value of every field is its
// documented default after Load.
type Config struct {
	StateDir string            `yaml:"state_dir" doc:"where the event store, snapshots and the admin socket live; mode 0700"`
	Accounts map[string]string `yaml:"accounts" doc:"account id to the name people use for it"`
	// Units are organisation units, for playbooks and guards.
	Units       responders.Units `yaml:"units" doc:"organisation units: name to account ids or globs; a name with slashes (prod/payments) is part of the one before (prod)"`
	Credentials Credentials      `yaml:"credentials"`
	Source      Source           `yaml:"source"`
	NATS        NATS             `yaml:"nats"`
	Detect      Detect           `yaml:"detect"`
	Notify      Notify           `yaml:"notify"`
	Respond     Respond          `yaml:"respond"`
	HTTP        HTTP             `yaml:"http"`
	Console     Console          `yaml:"console"`
	Traces      Traces           `yaml:"traces"`
	Log         Log              `yaml:"log"`

	written []string // see Written
}

// Changed names what a program that was started with was does not do as is says,
// until it is started again: sections, and of detect, most of which is read again
// while it runs, the other keys.
func Changed(was, is *Config) (names []string) {
	walk := func(prefix string, a, b reflect.Value, live ...string) {
		for i := range a.NumField() {
			name := yamlKey(a.Type().Field(i))
			if name != "" && !slices.Contains(live, name) && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
				names = append(names, prefix+name)
			}
		}
	}
	walk("", reflect.ValueOf(*was), reflect.ValueOf(*is), "detect")
	walk("detect.", reflect.ValueOf(was.Detect), reflect.ValueOf(is.Detect),
		"pack", "rules", "exceptions", "disable", "lists", "list_dirs", "owners", "geo_country", "geo_asn")
	return names
}

// Credentials says where an AccessKey comes from: the vendor's official chain
// (environment, OIDC/RRSA, profile of the aliyun CLI, credentials file, ECS
// role), or values by reference, as for the fake cloud.
type Credentials struct {
	AccessKeyID     string `yaml:"access_key_id" doc:"empty: the official chain; else a ${ENV} or ${file:…} reference"`
	AccessKeySecret Secret `yaml:"access_key_secret" doc:"a ${ENV} or ${file:…} reference"`
	SecurityToken   Secret `yaml:"security_token" doc:"for temporary credentials; a reference"`
}

// Source is where audit records come from.
type Source struct {
	SLS []SLS `yaml:"sls"`
}

// SLS is one logstore that a trail delivers to.
type SLS struct {
	Endpoint string `yaml:"endpoint" doc:"https://<region>.log.aliyuncs.com; plain http only to loopback"`
	Region   string `yaml:"region" doc:"needed for signature version 4"`
	Project  string `yaml:"project" doc:"the SLS project that the trail delivers to"`
	Logstore string `yaml:"logstore" doc:"actiontrail_<trail name>"`
	Group    string `yaml:"consumer_group" doc:"unique in the project"`
	Consumer string `yaml:"consumer" doc:"unique per process; default the host, and with nats.url what tells its state_dir from others"`
	Start    string `yaml:"start" doc:"checkpoint (default), begin, end or an RFC 3339 time; used where we hold no position of our own"`
	AuthV4   bool   `yaml:"auth_v4" doc:"sign with version 4"`
}

// NATS is the event store: embedded unless a URL is given.
type NATS struct {
	URL        string `yaml:"url" doc:"empty: embedded server without a socket; else nats:// or tls:// of a cluster, several servers separated by commas"`
	Creds      string `yaml:"creds" doc:"credentials file for the cluster"`
	NKey       string `yaml:"nkey" doc:"nkey seed file for the cluster"`
	CA         string `yaml:"ca" doc:"CA file for TLS"`
	Cert       string `yaml:"cert" doc:"client certificate for mutual TLS"`
	Key        string `yaml:"key" doc:"its key"`
	Replicas   int    `yaml:"replicas" doc:"copies of every stream: 1 embedded, 3 in a cluster"`
	Partitions int    `yaml:"partitions" doc:"fixed when the streams are made: 8 embedded, 16 to 32 in a cluster"`
	MaxBytes   int64  `yaml:"max_bytes" doc:"disk budget of the store in bytes"`
}

// Detect is what is looked for.
type Detect struct {
	Pack       *bool               `yaml:"pack" doc:"load the shipped rules (default true)"`
	Rules      []string            `yaml:"rules" doc:"folders of further rule files"`
	Exceptions []string            `yaml:"exceptions" doc:"folders of exception files: what a rule finds and is no attack, with owner, reason and expiry"`
	Disable    []string            `yaml:"disable" doc:"rule ids to leave out"`
	Reload     responders.Duration `yaml:"reload" doc:"how often the files of rules, exceptions, lists and addresses, and this section, are looked at for changes (default 5s; 0s: only on SIGHUP)"`
	Lists      map[string][]string `yaml:"lists" doc:"named lists that rules may ask for (networks or names)"`
	ListDirs   []string            `yaml:"list_dirs" doc:"folders of named lists: tor_exits.txt holds one entry a line"`
	Owners     []string            `yaml:"owners" doc:"tables of who answers for which identity or asset, and whether it is production (.csv or .yaml), or folders of them"`
	Grace      responders.Duration `yaml:"grace" doc:"how long ordered detectors wait for late events; they are never dropped"`
	LearnUntil string              `yaml:"learn_until" doc:"events before this time (RFC 3339) only teach detectors what is normal; with source start in the past, a warm start from history"`
	DedupFor   responders.Duration `yaml:"dedup_for" doc:"event time during which a repeated record is recognised"`
	DedupMax   int                 `yaml:"dedup_max" doc:"records remembered per partition for that"`
	GeoCountry string              `yaml:"geo_country" doc:"country mmdb file, optional"`
	GeoASN     string              `yaml:"geo_asn" doc:"ASN mmdb file, optional"`
	RAM        DetectRAM           `yaml:"ram"`
}

// DetectRAM is what the judge of permission changes may read of RAM, with the
// reader's credentials. It changes nothing.
type DetectRAM struct {
	Enabled    bool                `yaml:"enabled" doc:"read policies, attachments, groups and trust at the start, again every so often, and single policies when a judgement lacks one; needs ram:List* and ram:Get*"`
	Region     string              `yaml:"region" doc:"as for respond.ram; any region will do, RAM is global"`
	Endpoint   string              `yaml:"endpoint" doc:"only for tests and the fake cloud; plain http only to loopback"`
	AssumeRole string              `yaml:"assume_role" doc:"role assumed in an account for this, such as acs:ram::{account}:role/trailwarden-reader; empty reads the credentials' own account only"`
	Accounts   []string            `yaml:"accounts" doc:"accounts to read; empty is the credentials' own"`
	Every      responders.Duration `yaml:"every" doc:"how often all of it is read again (default 24h)"`
	Leaks      responders.Duration `yaml:"leaks" doc:"how often Security Center's list of leaked AccessKeys is read, for the rule ak.leak_finding, with or without enabled; needs the role ingest and yundun-aegis:DescribeAccesskeyLeakList (absent: not at all; 10m is sensible, 1m the least)"`
}

// Notify is who is told. Each list is one kind of destination: its package
// and the line here are all that a kind needs.
type Notify struct {
	Route          *Route              `yaml:"route" doc:"who hears of what, in Alertmanager's words; absent: every destination, by its own filter"`
	InhibitRules   []InhibitRule       `yaml:"inhibit_rules"`
	TimeIntervals  []TimeIntervals     `yaml:"time_intervals"`
	ResolveTimeout responders.Duration `yaml:"resolve_timeout" doc:"how long an incident fires after its last event, for inhibit_rules (default 1h)"`

	Slack     []slack.Spec     `yaml:"slack"`
	DingTalk  []dingtalk.Spec  `yaml:"dingtalk"`
	Feishu    []feishu.Spec    `yaml:"feishu" doc:"Feishu and Lark"`
	WeCom     []wecom.Spec     `yaml:"wecom"`
	Webhook   []webhook.Spec   `yaml:"webhook"`
	PagerDuty []pagerduty.Spec `yaml:"pagerduty"`
	Email     []email.Spec     `yaml:"email"`
	Syslog    []syslog.Spec    `yaml:"syslog"`
	OCSF      []ocsf.Spec      `yaml:"ocsf" doc:"Detection Findings as JSON lines in a file"`
}

// Placed is a destination with its place in the configuration.
type Placed struct {
	Path string // "notify.slack[0]"
	Spec responders.Spec
}

// Destinations lists all destinations in the order of the fields above.
func (n *Notify) Destinations() []Placed {
	var out []Placed
	v := reflect.ValueOf(n).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice {
			for k := range f.Len() {
				if s, ok := f.Index(k).Interface().(responders.Spec); ok {
					out = append(out, Placed{fmt.Sprintf("notify.%s[%d]", yamlKey(v.Type().Field(i)), k), s})
				}
			}
		}
	}
	return out
}

// Respond is what may be done about it.
type Respond struct {
	RAM       RAM                    `yaml:"ram"`
	Mode      responders.Mode        `yaml:"mode" doc:"upper bound for every playbook: observe (default), approve or auto"`
	Guards    responders.GuardConfig `yaml:"guards"`
	Playbooks []responders.Playbook  `yaml:"playbooks"`
	Approvers []responders.Approver  `yaml:"approvers"`
	Ask       responders.AskPolicy   `yaml:"ask"`
	Undo      responders.Duration    `yaml:"undo_for" doc:"how long an action can be undone"`
	Confirm   responders.Duration    `yaml:"confirm_within" doc:"how long the event of a call of ours is waited for in the trail before people are told that it does not show (0s: not at all)"`
	_         struct{}               `yaml:"-"`
}

// RAM is how the cloud is reached for containment.
type RAM struct {
	Enabled     bool        `yaml:"enabled" doc:"without it nothing in the cloud is ever changed"`
	Region      string      `yaml:"region" doc:"where STS and ActionTrail are called"`
	Endpoint    string      `yaml:"endpoint" doc:"only for tests and the fake cloud; plain http only to loopback"`
	AssumeRole  string      `yaml:"assume_role" doc:"role assumed in an account before anything is done there, such as acs:ram::{account}:role/trailwarden-responder; empty acts in the credentials' own account only"`
	Credentials Credentials `yaml:"credentials" doc:"a role of its own, apart from the reader's; default as the reader"`
}

// HTTP is the health and metrics listener.
type HTTP struct {
	Listen string `yaml:"listen" doc:"loopback address of /livez, /readyz and /metrics; empty turns it off"`
}

// Console is the web console.
type Console struct {
	Enabled     bool        `yaml:"enabled" doc:"serve the web console (default false); needs the role respond"`
	Listen      string      `yaml:"listen" doc:"host:port (default 127.0.0.1:8687); any other than loopback needs tls, or behind_proxy"`
	BaseURL     string      `yaml:"base_url" doc:"how browsers reach it, such as https://trailwarden.example.com; requests for another name are refused"`
	TLS         ConsoleTLS  `yaml:"tls"`
	BehindProxy bool        `yaml:"behind_proxy" doc:"a proxy that speaks TLS stands before it, so plain http may be served on other than loopback; needs auth.mode proxy or oidc and an https base_url"`
	Auth        ConsoleAuth `yaml:"auth"`
	Events      int         `yaml:"events" doc:"newest events kept in memory for the screens of identities, keys and addresses (default 100000, about 170 bytes each)"`
}

// ConsoleTLS is the console's own certificate.
type ConsoleTLS struct {
	Cert string `yaml:"cert" doc:"certificate file (PEM)"`
	Key  string `yaml:"key" doc:"its key"`
}

// ConsoleAuth is how people sign in, and what they may do.
type ConsoleAuth struct {
	Mode  string       `yaml:"mode" doc:"local (default; a link by trailwarden console, for loopback), proxy (a header of a trusted proxy) or oidc"`
	Roles ConsoleRoles `yaml:"roles"`
	Proxy ConsoleProxy `yaml:"proxy"`
	OIDC  ConsoleOIDC  `yaml:"oidc"`
}

// ConsoleRoles says who has which role with proxy and oidc. Who may approve an
// action is still decided by respond.approvers (as web:<user>).
type ConsoleRoles struct {
	Viewer   []string `yaml:"viewer" doc:"user:<name>, group:<name> or *; nobody by default"`
	Analyst  []string `yaml:"analyst" doc:"may also acknowledge, assign, close and try conditions"`
	Approver []string `yaml:"approver" doc:"may also ask to approve, deny and undo"`
}

// ConsoleProxy is sign-in by a proxy's header.
type ConsoleProxy struct {
	UserHeader   string   `yaml:"user_header" doc:"such as X-Forwarded-User; the proxy must remove it from what clients send"`
	GroupsHeader string   `yaml:"groups_header" doc:"comma-separated groups, optional"`
	Trusted      []string `yaml:"trusted" doc:"networks of the proxy (default 127.0.0.1/32 and ::1/128); everybody else is refused"`
}

// ConsoleOIDC is sign-in by an OpenID Connect provider.
type ConsoleOIDC struct {
	Issuer       string   `yaml:"issuer" doc:"URL of the provider, as in its discovery document"`
	ClientID     string   `yaml:"client_id" doc:"as registered with the provider"`
	ClientSecret Secret   `yaml:"client_secret" doc:"a ${ENV} or ${file:…} reference"`
	Scopes       []string `yaml:"scopes" doc:"beside openid (default profile, email)"`
	UserClaim    string   `yaml:"user_claim" doc:"default email"`
	GroupsClaim  string   `yaml:"groups_claim" doc:"default groups"`
}

// Traces is where OpenTelemetry traces go.
type Traces struct {
	Endpoint      Secret  `yaml:"endpoint" doc:"URL of a collector's OTLP/HTTP receiver, such as http://127.0.0.1:4318/v1/traces; a secret, since some have a token in it; empty (default) traces nothing"`
	Authorization Secret  `yaml:"authorization" doc:"header of that name, such as Bearer and a token; a ${ENV} or ${file:…} reference; only with https or to loopback"`
	Sample        float64 `yaml:"sample" doc:"share of the pages read that are traced, more than 0 to 1 (default 1)"`
}

// Log is the program's own log, on stderr.
type Log struct {
	Level  string `yaml:"level" doc:"debug, info (default), warn or error"`
	Format string `yaml:"format" doc:"text on a terminal, json elsewhere; or say which"`
}

// Secret is a value that is never printed.
type Secret = responders.Secret

const masked = "****"
