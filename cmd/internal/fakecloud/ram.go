package fakecloud

import (
	"encoding/json"
	"strings"

	"github.com/trailwarden/trailwarden/responders/ramtest"
)

// defaultAccount is whose user trailwarden is when no event names an account.
const defaultAccount = "1000000000000001"

// home is the account that trailwarden's user lives in.
func home(accounts []string) string {
	if len(accounts) > 0 {
		return accounts[0]
	}
	return defaultAccount
}

// newRAM makes the identity services. The user that the written configuration
// signs with belongs to the first account.
func (c *Cloud) newRAM(o *Options, accounts []string) {
	c.RAM = ramtest.New(ramtest.Options{
		Journal:    func(e ramtest.Entry) { c.journal.write("ram", e) },
		OnChange:   c.record,
		LookupKept: o.LookupKept, OnForget: o.OnForget,
	})
	account := home(accounts)
	c.RAM.AddAccount(account, "")
	c.RAM.AddUser(account, userName)
	// The account was made just now, so nobody has the id yet.
	_ = c.RAM.AddKey(account, userName, ramtest.Key{ID: keyID, Secret: keySecret})
	// What a deployment makes in every account: the policy that a quarantine
	// attaches and, of several accounts, the role to act there.
	trust := `{"Version":"1","Statement":[{"Action":"sts:AssumeRole","Effect":"Allow","Principal":{"RAM":["acs:ram::` + account + `:root"]}}]}`
	all := accounts
	if len(all) == 0 {
		all = []string{account}
	}
	for _, a := range all {
		c.RAM.AddAccount(a, "")
		c.RAM.AddPolicy(a, "zz-quarantine-deny-all", `{"Version":"1","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)
		if len(all) > 1 {
			c.RAM.AddRole(a, roleName, trust)
		}
	}
	// What fills the logstore, for doctor.
	c.RAM.AddTrail(account, ramtest.Trail{Name: strings.TrimPrefix(logstore, "actiontrail_"), Logging: true,
		SLSProjectARN: "acs:log:cn-hangzhou:" + account + ":project/" + project})
}

// record puts a change of the cloud into the audit log, as ActionTrail does:
// what trailwarden does comes back to it as an event. A session that is opened
// changes nothing, and is left out.
func (c *Cloud) record(ch ramtest.Change) {
	if ch.API == ramtest.STS {
		return
	}
	type identity struct {
		Type      string `json:"type"`
		Account   string `json:"accountId"`
		Principal string `json:"principalId"`
		Name      string `json:"userName"`
		Key       string `json:"accessKeyId,omitempty"`
	}
	name := ch.Caller.Name
	if ch.Caller.Session != "" {
		name += ":" + ch.Caller.Session
	}
	params, err := json.Marshal(ch.Params)
	if err != nil {
		return
	}
	if c.now != nil {
		ch.Time = c.now()
	}
	b, err := json.Marshal(map[string]any{
		"eventId": ch.RequestID, "requestId": ch.RequestID, "eventVersion": 1, "eventType": "ApiCall", "eventCategory": "Management", "eventRW": "Write",
		"eventName": ch.Action, "serviceName": string(ch.API), "apiVersion": ch.Version, "acsRegion": "cn-hangzhou", "isGlobal": true,
		"eventSource": strings.ToLower(string(ch.API)) + ".aliyuncs.com", "eventTime": ch.Time.UTC().Format("2006-01-02T15:04:05Z"),
		"sourceIpAddress": ch.SourceIP, "userAgent": ch.UserAgent, "recipientAccountId": ch.Caller.Account,
		"userIdentity":      identity{ch.Caller.Type, ch.Caller.Account, ch.Caller.PrincipalID, name, ch.Caller.AccessKeyID},
		"requestParameters": ch.Params, "requestParameterJson": string(params), "responseElements": ch.Response,
	})
	if err == nil {
		c.Append(b)
	}
}
