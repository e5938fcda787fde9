package rules

import (
	"reflect"
	"strings"

	"github.com/trailwarden/trailwarden/detectors"
)

// env is what expressions see: plain values and functions bound to the
// session, no pointers. It is filled once for an event and boxed once, and
// only when a rule can match. Names that begin with __ are for rewritten
// expressions; rule authors cannot write them.
type env struct {
	Action  string     `expr:"action" doc:"the canonical act, one word for the twin services (Ram, Ims, ResourceManager); empty when the act has none. Compared without letter case" ex:"iam.accesskey.create"`
	Outcome string     `expr:"outcome" doc:"success, or attempt when the call was refused or failed: an attempt changed nothing" ex:"success"`
	MFA     string     `expr:"mfa" doc:"whether a second factor was checked: yes, no or unknown" ex:"no"`
	Event   envEvent   `expr:"event"`
	Actor   envActor   `expr:"actor"`
	Source  envSource  `expr:"source"`
	Target  envTarget  `expr:"target"`
	Policy  envPolicy  `expr:"policy"`
	Trust   envTrust   `expr:"trust"`
	Lineage envLineage `expr:"lineage"`
	Verdict envVerdict `expr:"verdict"`

	Param         func(string) string              `expr:"param" sig:"param(name) string" doc:"a request parameter by its key, without letter case: scalars as text, objects and lists as JSON text, absent as an empty text" ex:"param(\"UserName\")"`
	HasParam      func(string) bool                `expr:"has_param" sig:"has_param(name) bool" doc:"whether the request has the parameter" ex:"has_param(\"UserName\")"`
	ParamIs       func(string, string) bool        `expr:"param_is" sig:"param_is(name, text) bool" doc:"whether the parameter is the text, without letter case. Of true and false every spelling counts: \"False \", 0 and no are false; where that would exempt an event, compare param(name) instead" ex:"param_is(\"MFABindRequired\", \"false\")"`
	ParamsContain func(string) bool                `expr:"params_contain" sig:"params_contain(text) bool" doc:"whether the value of any request parameter contains the text, without letter case" ex:"params_contain(\"0.0.0.0/0\")"`
	ParamAny      func(string, string, []any) bool `expr:"param_any" sig:"param_any(prefix, suffix, [values]) bool" doc:"whether a request parameter whose key begins and ends so (without letter case) has one of the values: for flattened lists like Permissions.1.SourceCidrIp" ex:"param_any(\"Permissions.\", \".SourceCidrIp\", [\"0.0.0.0/0\"])"`
	ParamNum      func(string, float64) float64    `expr:"param_num" sig:"param_num(name, default) float" doc:"the parameter as a number; the default when it is absent or not a number" ex:"param_num(\"MaxPasswordAge\", -1)"`
	Resp          func(string) string              `expr:"resp" sig:"resp(path) string" doc:"a value of responseElements by its dotted path, without letter case" ex:"resp(\"AccessKey.AccessKeyId\")"`
	Extra         func(string) string              `expr:"extra" sig:"extra(path) string" doc:"a value of additionalEventData by its dotted path" ex:"extra(\"loginType\")"`
	Field         func(string) string              `expr:"field" sig:"field(path) string" doc:"any value of the raw record by its dotted path" ex:"field(\"userIdentity.sessionContext.attributes.creationDate\")"`
	Resource      func(string) string              `expr:"resource" sig:"resource(type) string" doc:"the first referenced resource of a type" ex:"resource(\"ACS::RAM::User\")"`
	ContainsAny   func(string, []any) bool         `expr:"contains_any" sig:"contains_any(text, [words]) bool" doc:"whether the text contains one of the constant words, without letter case" ex:"contains_any(event.user_agent, [\"kali\", \"pacu\"])"`
	InCIDR        func(string, ...string) bool     `expr:"in_cidr" sig:"in_cidr(address, network…) bool" doc:"whether the address is in one of the constant networks; false for what is no address" ex:"in_cidr(source.ip, \"10.0.0.0/8\")"`
	OneOfList     func(string, string) bool        `expr:"one_of_list" sig:"one_of_list(list, value) bool" doc:"whether the value is in a named list of the configuration: a name without letter case, or an address in a network" ex:"one_of_list(\"office_networks\", source.ip)"`
	HasList       func(string) bool                `expr:"has_list" sig:"has_list(list) bool" doc:"whether the list is configured and not empty" ex:"has_list(\"office_networks\")"`

	// What the loader puts in place of the above.
	Nets    func(string, int) int `expr:"__nets"`
	IP      func() string         `expr:"__ip"`
	Network func() string         `expr:"__network"`
	Country func() string         `expr:"__country"`
	ASN     func() int            `expr:"__asn"`
	Org     func() string         `expr:"__org"`
	Place   func() string         `expr:"__place"`
	ErrCode func() string         `expr:"__error_code"`
	Any     func(int) bool        `expr:"__any"`
	Num     func(int) float64     `expr:"__num"`
	Words   func(string, int) int `expr:"__words"`
	Among   func(int) bool        `expr:"__among"`
}

type envEvent struct {
	ID           string `expr:"id" doc:"eventId" ex:"C1E5B7A6-0000-4000-8000-000000000001"`
	Name         string `expr:"name" doc:"eventName as written; compared without letter case. Prefer action where there is one" ex:"CreateAccessKey"`
	Service      string `expr:"service" doc:"serviceName as written; compared without letter case" ex:"Ram"`
	Type         string `expr:"type" doc:"eventType; compared without letter case" ex:"ApiCall"`
	Region       string `expr:"region" doc:"acsRegion in lower case. Never filter identity rules by it: global services log in one region" ex:"cn-hangzhou"`
	RW           string `expr:"rw" doc:"eventRW: Read, Write, or empty when the record does not say" ex:"Write"`
	Category     string `expr:"category" doc:"eventCategory; compared without letter case" ex:"Management"`
	Source       string `expr:"source" doc:"eventSource, the endpoint's host" ex:"ram.aliyuncs.com"`
	ErrorCode    string `expr:"error_code" doc:"errorCode, cleaned: empty when there was no error; compared without letter case" ex:"NoPermission"`
	ErrorMessage string `expr:"error_message" doc:"errorMessage, cleaned" ex:"You are not authorized to do this action."`
	UserAgent    string `expr:"user_agent" doc:"userAgent, chosen by the caller" ex:"AliyunConsole"`
	RequestID    string `expr:"request_id" doc:"requestId" ex:"C1E5B7A6-0000-4000-8000-000000000001"`
	Account      string `expr:"account" doc:"the account that the record belongs to" ex:"1000000000000001"`
	Sensitive    bool   `expr:"sensitive" doc:"the cloud itself marks the call as sensitive" ex:"true"`
	Global       bool   `expr:"global" doc:"isGlobal" ex:"true"`
	VPC          string `expr:"vpc" doc:"vpcId when the call came through a VPC endpoint" ex:"vpc-example"`
	APIVersion   string `expr:"api_version" doc:"apiVersion" ex:"2015-05-01"`
	InsightType  string `expr:"insight_type" doc:"insightDetails.insightType of an Insight event" ex:"IpInsight"`
	Hour         int    `expr:"hour" doc:"hour of the event time in UTC, 0 to 23; -1 when the record has no time" ex:"6"`
	Weekday      int    `expr:"weekday" doc:"day of the week in UTC, 0 is Sunday; -1 when the record has no time" ex:"1"`
	NameF        string `expr:"__name"`
	ServiceF     string `expr:"__service"`
}

type envActor struct {
	Type          string `expr:"type" doc:"root-account, ram-user, assumed-role, saml-user, oidc-user, cloudsso-user, alibaba-cloud-account, system or unknown" ex:"ram-user"`
	Kind          string `expr:"kind" doc:"human, workload, service (the cloud itself: exclude it) or unknown" ex:"human"`
	ID            string `expr:"id" doc:"the identity in one form, for keys of state: user/<account>/<name>, role/<account>/<role>, root/<account>, …" ex:"user/1000000000000001/alice"`
	Name          string `expr:"name" doc:"user name without domain, role name, or root" ex:"alice"`
	Display       string `expr:"display" doc:"the name as written" ex:"alice@example.onaliyun.com"`
	Account       string `expr:"account" doc:"account the identity belongs to" ex:"1000000000000001"`
	Principal     string `expr:"principal" doc:"principalId as written" ex:"200000000000000001"`
	Key           string `expr:"key" doc:"AccessKey id of the call; empty for most console calls" ex:"LTAI5tEXAMPLEalice00001"`
	KeyKind       string `expr:"key_kind" doc:"long-term, sts, tmp (a root console session), masked, other, or empty" ex:"long-term"`
	Role          string `expr:"role" doc:"role name of an assumed role" ex:"deployer"`
	Session       string `expr:"session" doc:"session name of an assumed role: chosen by the caller, proves nothing" ex:"build-17"`
	CallerAccount string `expr:"caller_account" doc:"the foreign account that assumed the role; empty when it is the role's own or not said" ex:"1000000000000002"`
	SessionMFA    string `expr:"session_mfa" doc:"how the session was opened: yes, no or unknown" ex:"yes"`
	ServiceLinked bool   `expr:"service_linked" doc:"the actor is a service-linked role" ex:"false"`
	Root          bool   `expr:"root" doc:"the actor is the root account" ex:"true"`
	Owner         string `expr:"owner" doc:"who answers for the actor, from the tables detect.owners; empty when they do not say" ex:"alice@example.com"`
	Team          string `expr:"team" doc:"their team, likewise" ex:"payments"`
	Production    string `expr:"production" doc:"whether the tables call the actor production: yes, no, or unknown where they do not say" ex:"yes"`
}

type envSource struct {
	IP      string `expr:"ip" doc:"the address in one form; empty when it is not an address" ex:"203.0.113.10"`
	Text    string `expr:"text" doc:"sourceIpAddress as written" ex:"203.0.113.10"`
	Kind    string `expr:"kind" doc:"public, private, cloud-internal, service, internal, masked, absent or other" ex:"public"`
	Network string `expr:"network" doc:"the address's /24 or /48" ex:"203.0.113.0/24"`
	Country string `expr:"country" doc:"ISO country code from a local mmdb file; empty when unknown" ex:"NL"`
	Place   string `expr:"place" doc:"address|ASN|country as the first_seen detector reads it; empty when there is no address" ex:"203.0.113.10|64500|NL"`
	ASN     int    `expr:"asn" doc:"autonomous system number from a local mmdb file; 0 when unknown" ex:"64500"`
	Org     string `expr:"org" doc:"its organisation" ex:"Example Hosting"`
}

type envTarget struct {
	Type string `expr:"type" doc:"user, role, group, policy, accesskey, trail, account, …; empty when there is none" ex:"user"`
	ID   string `expr:"id" doc:"in the form of actor.id for identities, else <type>/<account>/<name>" ex:"user/1000000000000001/bob"`
	Name string `expr:"name" doc:"name of the target" ex:"bob"`
	Key  string `expr:"key" doc:"AccessKey id acted on" ex:"LTAI5tEXAMPLEbob0000001"`
	Self bool   `expr:"self" doc:"the target is the actor" ex:"false"`

	Owner      string `expr:"owner" doc:"who answers for the target, from the tables detect.owners; empty when they do not say" ex:"payments team"`
	Team       string `expr:"team" doc:"their team, likewise" ex:"payments"`
	Production string `expr:"production" doc:"whether the tables call the target production: yes, no, or unknown where they do not say" ex:"yes"`
}

type envPolicy struct {
	Known           bool   `expr:"known" doc:"the change could be judged; when false the other facts say nothing" ex:"true"`
	Verdict         string `expr:"verdict" doc:"expands, contracts, changes (both), equivalent or unknown; empty when there is no judgement" ex:"expands"`
	Expands         bool   `expr:"expands" doc:"somebody can do more than before" ex:"true"`
	AdminEquivalent bool   `expr:"admin_equivalent" doc:"the grant amounts to full control; of a login: the user has it; of what a user lost: it was all they are known to have had" ex:"true"`
	Privileged      bool   `expr:"privileged" doc:"a known way to more rights or to much damage" ex:"true"`
	Staged          bool   `expr:"staged" doc:"stored but not in force yet" ex:"false"`
	ExternalTrust   bool   `expr:"external_trust" doc:"a role can be assumed from another account" ex:"false"`
	PublicTrust     bool   `expr:"public_trust" doc:"a role can be assumed by anybody" ex:"false"`
	DenyRemoved     bool   `expr:"deny_removed" doc:"a Deny or guard rail was in force and is not" ex:"false"`
	Self            bool   `expr:"self" doc:"who gains is who acted" ex:"false"`
	Trail           bool   `expr:"trail" doc:"the project or bucket is one that a trail delivers to; of a changed trail: it delivered elsewhere before" ex:"false"`
	LockedOut       int    `expr:"locked_out" doc:"users besides the caller who were administrators and are left without rights, or left without an AccessKey; -1 for administrators who were not seen" ex:"3"`
	Severity        string `expr:"severity" doc:"the judge's proposal, or empty" ex:"high"`
	Sentence        string `expr:"sentence" doc:"what changed, in a sentence" ex:"alice may now do everything"`
	Summary         string `expr:"summary" doc:"what changed, in a few words" ex:"full control"`

	Networks []string `expr:"networks" doc:"addresses from which an AccessKey may be used now, far from all that the account's keys were known to be bound to; of a network its first" ex:"any(policy.networks, !one_of_list(\"office_networks\", #))"`

	Paths []string          `expr:"paths" doc:"escalation paths, E1 to E33, that what is gained opens" ex:"\"E3\" in policy.paths"`
	Adds  func(string) bool `expr:"adds" sig:"policy.adds(pattern) bool" doc:"whether the change newly allows an action that the pattern covers, on anything and under any condition; true too when that is not known" ex:"policy.adds(\"ram:*\")"`
}

// envTrust is the part of the policy facts that is about who comes in.
type envTrust struct {
	External  bool     `expr:"external" doc:"somebody outside of the account is let in now: by a role's trust, or the policy of a bucket, key or project" ex:"true"`
	Public    bool     `expr:"public" doc:"anybody is" ex:"false"`
	Federated bool     `expr:"federated" doc:"an identity provider of the account (SAML, OIDC) is let in now" ex:"false"`
	Accounts  []string `expr:"accounts" doc:"the other accounts that trust.external is about; \"*\" for whoever is in none, empty where it may be users of the own account" ex:"all(trust.accounts, one_of_list(\"org_accounts\", #))"`
}

// envLineage is where the actor comes from: who made its key, or its login
// where the call has no key, or else itself.
type envLineage struct {
	Known    bool   `expr:"known" doc:"it is known who made the actor's key, its login, or the actor itself" ex:"true"`
	By       string `expr:"by" doc:"who did, in the form of actor.id; empty when not known" ex:"user/1000000000000001/alice"`
	ByKey    string `expr:"by_key" doc:"the AccessKey that it was done with; empty for a call from the console" ex:"LTAI5tEXAMPLEalice00001"`
	Action   string `expr:"action" doc:"how: iam.accesskey.create, iam.user.create, sts.assume_role, …" ex:"iam.accesskey.create"`
	Root     string `expr:"root" doc:"the identity at the beginning of the chain of makers, as far as it is at most three days old; the actor's own id when nothing is known. For by and dedup: what one intruder does as several" ex:"user/1000000000000001/alice"`
	Depth    int    `expr:"depth" doc:"steps from the actor to the root" ex:"1"`
	Minutes  int    `expr:"minutes" doc:"minutes from the making to this event; -1 when not known" ex:"12"`
	Made     int    `expr:"made" doc:"how many keys, identities and logins the actor's key has made, or the actor where the call has no key" ex:"3"`
	Sentence string `expr:"sentence" doc:"how the actor came to be, in words; empty when not known" ex:"the key was made by user alice with AccessKey LTAI5tEXAMPLEalice00001 12 minutes before"`
}

type envVerdict struct {
	Reason string `expr:"reason" doc:"what the detector found, in words; only in texts of rules with a detector" ex:"7 failures in 4 minutes"`
	Count  int    `expr:"count" doc:"events behind it" ex:"7"`
	Key    string `expr:"key" doc:"the detector's key" ex:"user/1000000000000001/alice"`
	Value  string `expr:"value" doc:"the value of the last event" ex:"203.0.113.10"`
	Span   string `expr:"span" doc:"time from the first to the last event" ex:"4m10s"`
}

// Field describes one field or function that expressions may use.
type Field struct {
	Name    string   `json:"name"`    // "actor.type", or the signature of a function
	Type    string   `json:"type"`    // string, bool, int, or function
	Doc     string   `json:"doc"`     //
	Example string   `json:"example"` //
	Words   []string `json:"words,omitempty"`
}

// Fields is the reference of the expression environment, in its order.
func Fields() []Field {
	var out []Field
	t := reflect.TypeFor[env]()
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("expr")
		switch {
		case strings.HasPrefix(name, "__"):
		case f.Type.Kind() == reflect.Func:
			out = append(out, Field{Name: f.Tag.Get("sig"), Type: "function", Doc: f.Tag.Get("doc"), Example: f.Tag.Get("ex")})
		case f.Type.Kind() == reflect.Struct:
			for j := range f.Type.NumField() {
				g := f.Type.Field(j)
				switch sub := g.Tag.Get("expr"); {
				case strings.HasPrefix(sub, "__"):
				case g.Type.Kind() == reflect.Func:
					out = append(out, Field{Name: g.Tag.Get("sig"), Type: "function", Doc: g.Tag.Get("doc"), Example: g.Tag.Get("ex")})
				default:
					out = append(out, fieldOf(name+"."+sub, g))
				}
			}
		default:
			out = append(out, fieldOf(name, f))
		}
	}
	return out
}

func fieldOf(name string, f reflect.StructField) Field {
	out := Field{Name: name, Type: f.Type.String(), Doc: f.Tag.Get("doc"), Example: f.Tag.Get("ex")}
	if c, ok := detectors.ClosedField(name); ok && f.Type.Kind() == reflect.String && len(c.Words) > 0 && c.Words[0] != "false" {
		out.Words = c.Words
	}
	return out
}

// fieldTypes maps every field name to its kind, and functions to Func.
var fieldTypes = func() map[string]reflect.Kind {
	m := make(map[string]reflect.Kind)
	t := reflect.TypeFor[env]()
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("expr")
		if strings.HasPrefix(name, "__") {
			continue
		}
		m[name] = f.Type.Kind()
		if f.Type.Kind() == reflect.Struct {
			for j := range f.Type.NumField() {
				if sub := f.Type.Field(j).Tag.Get("expr"); !strings.HasPrefix(sub, "__") {
					m[name+"."+sub] = f.Type.Field(j).Type.Kind()
				}
			}
		}
	}
	return m
}()

// fieldNames is every field and function, for suggestions.
var fieldNames = func() []string {
	var out []string
	for _, f := range Fields() {
		name, _, _ := strings.Cut(f.Name, "(")
		out = append(out, name)
	}
	return out
}()
