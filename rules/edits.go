package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// edit is one change of one event of a test.
type edit struct {
	say   string
	event func(map[string]any)
	test  func(map[string]any)
}

func (e edit) and(x edit) edit {
	join := func(a, b func(map[string]any)) func(map[string]any) {
		return func(m map[string]any) {
			if a != nil {
				a(m)
			}
			if b != nil {
				b(m)
			}
		}
	}
	say := e.say
	if x.say != "" {
		say += ", " + x.say
	}
	return edit{say: say, event: join(e.event, x.event), test: join(e.test, x.test)}
}

func callEdit(call string) edit {
	return edit{say: "the call is " + call, event: func(m map[string]any) { m["event"] = call }}
}

// edits lists changes to do with what is spoken of; with calls, changes of
// the call first.
func (v *vocabulary) edits(calls bool) []edit {
	var out []edit
	if calls {
		for _, c := range v.calls() {
			out = append(out, callEdit(c))
		}
	}
	out = append(out, v.valueEdits()...)
	out = append(out, v.listEdits()...)
	out = append(out, v.fieldEdits()...)
	out = append(out, v.errorEdits()...)
	if v.speaksOf("actor.type") || v.speaksOf("actor.kind") {
		out = append(out, who()...)
	}
	return out
}

func (v *vocabulary) speaksOf(field string) bool {
	_, ok := v.fields[field]
	return ok
}

// valueEdits gives the parameters and extra members that are spoken of every
// value that is, or takes them away.
func (v *vocabulary) valueEdits() []edit {
	var values []string
	add(&values, v.texts...)
	add(&values, "", "0", "1", "true", "false", "off", "x")
	var out []edit
	of := func(group, name string) {
		out = append(out, memberEdit("without "+name, group, name, nil))
		for _, x := range values {
			if x != name {
				out = append(out, memberEdit(fmt.Sprintf("%s is %q", name, x), group, name, x))
			}
		}
	}
	for _, name := range v.params {
		of("params", name)
	}
	for _, name := range v.extras {
		if !strings.Contains(name, ".") {
			of("extra", name)
		}
	}
	return out
}

// listEdits fills the lists that are spoken of, one after the other, with
// something of the story, or takes them away.
func (v *vocabulary) listEdits() []edit {
	var out []edit
	for _, name := range v.lists {
		for _, x := range []string{"x", "www"} {
			for _, p := range v.params {
				out = append(out, memberEdit(fmt.Sprintf("%s is %q, which is in %s", p, x, name), "params", p, x).and(listEdit("", name, x)))
			}
		}
		out = append(out, noListEdit(name))
		for _, entry := range []string{baseIP, "203.0.113.0/24", "alice", "LTAI5tEXAMPLEalice00001", baseAccount, "cn-hangzhou", "nobody", "user/" + baseAccount + "/alice"} {
			out = append(out, listEdit(fmt.Sprintf("%s has %s", name, entry), name, entry))
		}
		out = append(out, addressesEdit(name))
	}
	return out
}

// fieldEdits gives the fields that are spoken of each value that they are
// compared with, and another.
func (v *vocabulary) fieldEdits() []edit {
	var out []edit
	simple := map[string]string{"event.region": "region", "event.type": "type", "event.category": "category", "event.user_agent": "ua"}
	for _, field := range slices.Sorted(maps.Keys(simple)) {
		if !v.speaksOf(field) {
			continue
		}
		for _, w := range append(slices.Clone(v.fields[field]), "other") {
			out = append(out, put(simple[field]+" is "+w, simple[field], w))
		}
	}
	if v.speaksOf("event.user_agent") {
		for _, w := range v.texts {
			if w != "" {
				out = append(out, put("ua is "+w, "ua", w))
			}
		}
		out = append(out, edit{say: "there is no user agent", event: func(m map[string]any) { m["raw"] = map[string]any{"userAgent": nil}; delete(m, "ua") }})
	}
	return out
}

// errorEdits refuses the call, with each text that is spoken of.
func (v *vocabulary) errorEdits() []edit {
	var out []edit
	if v.speaksOf("event.error_code") {
		for _, w := range append(slices.Clone(v.texts), "NoPermission", "Throttling") {
			if w != "" {
				out = append(out, put("the error is "+w, "error", w))
			}
		}
	}
	if v.speaksOf("event.error_message") {
		for _, w := range v.texts {
			out = append(out, put("the message is "+w, "error", map[string]any{"code": "Forbidden", "message": w}))
		}
	}
	return out
}

// memberEdit sets one parameter or extra member of an event, in whatever
// spelling it is there; nil takes it away.
func memberEdit(say, group, key string, value any) edit {
	return edit{say: say, event: func(m map[string]any) {
		g, _ := m[group].(map[string]any)
		if g == nil {
			g = map[string]any{}
			m[group] = g
		}
		maps.DeleteFunc(g, func(k string, _ any) bool { return strings.EqualFold(k, key) })
		if value != nil {
			g[key] = value
		}
		if len(g) == 0 {
			delete(m, group)
		}
	}}
}

// listEdit puts a named list of one entry into a test.
func listEdit(say, name, entry string) edit {
	return edit{say: say, test: func(t map[string]any) { listsOf(t)[name] = []any{entry} }}
}

// noListEdit takes a named list out of a test.
func noListEdit(name string) edit {
	return edit{say: name + " is not configured", test: func(t map[string]any) {
		if l, ok := t["lists"].(map[string]any); ok {
			delete(l, name)
			if len(l) == 0 {
				delete(t, "lists")
			}
		}
	}}
}

// addressesEdit puts a named list of all the addresses of the events into a
// test.
func addressesEdit(name string) edit {
	return edit{say: name + " has every address of the story", test: func(t map[string]any) {
		var all []any
		for _, e := range t["events"].([]any) {
			if m, ok := e.(map[string]any); ok {
				if ip, ok := m["ip"].(string); ok && ip != "" && !slices.Contains(all, any(ip)) {
					all = append(all, ip)
				}
			}
		}
		listsOf(t)[name] = all
	}}
}

// listsOf returns the lists of a test, made when it has none.
func listsOf(t map[string]any) map[string]any {
	l, _ := t["lists"].(map[string]any)
	if l == nil {
		l = map[string]any{}
		t["lists"] = l
	}
	return l
}

// put sets a key of an event.
func put(say, key string, value any) edit {
	return edit{say: say, event: func(m map[string]any) {
		if value == nil {
			delete(m, key)
			return
		}
		m[key] = value
	}}
}

// who lists other callers.
func who() []edit {
	callers := []string{"user", "root", "role", "saml", "oidc", "sso", "service", "key"}
	be := func(say, key string, value any) edit {
		return edit{say: say, event: func(m map[string]any) {
			for _, k := range callers {
				delete(m, k)
			}
			m[key] = value
		}}
	}
	return []edit{
		be("the caller is the cloud's own service", "service", "ecs.aliyuncs.com"),
		be("the caller is the root account", "root", true),
		be("the caller is a role", "role", "ops/session1"),
		be("the caller is a service-linked role", "role", "aliyunserviceroleforecs/s"),
		be("the caller is a SAML user", "saml", "dana@example.com"),
		be("the caller is a CloudSSO user", "sso", "dana@example.com"),
		be("the caller is another user", "user", "mallory"),
		be("the caller is a service with a long-term key", "service", "ecs.aliyuncs.com").and(put("", "key", "LTAI5tEXAMPLEservice001")),
		be("the caller is a service with an address", "service", "ecs.aliyuncs.com").and(put("", "ip", baseIP)),
		be("the caller is a service with a key and an address", "service", "ecs.aliyuncs.com").and(put("", "ip", baseIP)).and(put("", "key", "LTAI5tEXAMPLEservice001")),
		be("the caller is a service-linked role with a long-term key", "role", "aliyunserviceroleforecs/s").and(put("", "key", "LTAI5tEXAMPLEservice001")),
	}
}

// distant lists changes that do not depend on what a condition speaks of.
func distant() []edit {
	out := who()
	put := func(say, key string, value any) { out = append(out, put(say, key, value)) }
	put("it was refused", "error", "NoPermission")
	put("it succeeded", "error", nil)
	put("with MFA", "mfa", true)
	put("without MFA", "mfa", false)
	put("MFA is not told", "mfa", nil)
	put("the session has MFA", "session_mfa", true)
	put("the session has no MFA", "session_mfa", false)
	put("without a key", "key", "")
	put("with a temporary key", "key", "STS.EXAMPLEtemporary")
	put("with a long-term key", "key", "LTAI5tEXAMPLEother00001")
	for _, ip := range []string{"", "10.0.0.5", "ecs.aliyuncs.com", "Internal", "198.51.100.7", "203.0.113.200", "100.64.0.1"} {
		say := "the address is " + ip
		if ip == "" {
			say = "there is no address"
		}
		put(say, "ip", ip)
	}
	put("it is a read", "rw", "Read")
	put("it is a write", "rw", "Write")
	put("the event says not whether it reads", "rw", "")
	put("the region is cn-beijing", "region", "cn-beijing")
	put("without parameters", "params", nil)
	put("without an answer", "response", nil)
	put("without resources", "resources", nil)
	for _, k := range []string{"serviceName", "acsRegion", "sourceIpAddress"} {
		out = append(out, edit{say: "the record has no " + k, event: func(m map[string]any) { m["raw"] = map[string]any{k: nil} }})
	}
	out = append(out, edit{say: "the call is global", event: func(m map[string]any) { m["raw"] = map[string]any{"isGlobal": true} }})
	out = append(out, edit{say: "the record has no time", event: func(m map[string]any) { m["raw"] = map[string]any{"eventTime": nil} }})
	put("another call", "event", "Sts:GetCallerIdentity")
	put("another call", "event", "Ram:ListUsers")
	put("another call", "event", "Cdn:DeleteDomain")
	for _, a := range actions {
		for _, c := range callsOf(a) {
			out = append(out, callEdit(c))
		}
	}
	return out
}
