package rampolicy

import (
	"fmt"
	"strings"
)

// byExample looks for a request that new allows and old does not among a few
// that the texts of the documents suggest. It proves an expansion where the
// analysis of all requests costs more than is allowed, and proves nothing when
// it finds none.
func byExample(old, new *Document, kind Kind) (q *Request, read Reading, found bool) {
	fill := func(v string) string {
		return strings.NewReplacer("*", "x", "?", "x").Replace(v)
	}
	tries := 0
	for _, read := range readings(old, new, kind) {
		a := newAnalysis(old, new, kind, read, nil)
		for i := range a.stmts {
			s := &a.stmts[i]
			if !s.suspect {
				continue
			}
			actions, resources, principals := []string{"x:x"}, []string{"x"}, []string{""}
			for j := range min(len(s.Actions), 12) {
				// Long lists are edited at their ends.
				actions = append(actions, fill(s.Actions[len(s.Actions)-1-j]))
			}
			for j := range min(len(s.Resources), 3) {
				resources = append(resources, fill(s.Resources[len(s.Resources)-1-j]))
			}
			for j := range min(len(s.Principals), 8) {
				principals = append(principals, fill(CanonicalPrincipal(s.Principals[j])))
			}
			some := map[string]string{}
			for j := range s.Conditions {
				if c := &s.Conditions[j]; !c.opaque() && len(c.Values) > 0 && !negated(c.Operator) {
					v := c.Values[0]
					if p, ok := network(v); ok && family(c.Operator) == famIP {
						v = p.Addr().String()
					}
					some[strings.ToLower(c.Key)] = fill(v)
				}
			}
			contexts := []map[string]string{{}}
			if len(some) > 0 {
				contexts = append(contexts, some)
			}
			for _, p := range principals {
				for _, act := range actions {
					if strings.Count(act, ":") == 0 {
						act = "x:" + act
					}
					for _, res := range resources {
						for _, ctx := range contexts {
							if tries++; tries > 200 {
								return nil, Reading{}, false
							}
							q := &Request{Action: act, Resource: res, Principal: p, Context: ctx}
							if new.DecideAs(kind, q, read) == Allowed && old.DecideAs(kind, q, read) != Allowed {
								return q, read, true
							}
						}
					}
				}
			}
		}
	}
	return nil, Reading{}, false
}

// exampleFinding tells a request that was found by trying.
func exampleFinding(q *Request, opts *Options) Finding {
	f := Finding{Severity: Medium, Actions: []string{q.Action}, Resources: []string{q.Resource}, Confirmed: true,
		Witness: Witness{Action: q.Action, Resource: q.Resource, Principal: q.Principal, Context: q.Context}}
	if opts.Kind == Identity || opts.Kind == Control {
		f.Witness.Principal = ""
	} else if q.Principal != "" {
		f.Principals = []string{q.Principal}
	}
	if len(q.Context) == 0 {
		f.Witness.Context = nil
	}
	for _, act := range catalogue {
		if strings.EqualFold(act.Name, q.Action) {
			f.Severity = max(f.Severity, act.Class.severity(true))
		}
	}
	f.Sentence = fmt.Sprintf("%s may now do %s on %s, and perhaps more: the documents are too tangled to work out all of it", capital(opts.Who), q.Action, q.Resource)
	f.SentenceZH = fmt.Sprintf("%s现可对 %s 执行 %s,可能还有更多:策略过于复杂,无法全部分析", opts.WhoZH, q.Resource, q.Action)
	f.short, f.shortZH = f.Sentence, f.SentenceZH
	return f
}
