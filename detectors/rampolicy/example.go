package rampolicy

import (
	"fmt"
	"iter"
	"strings"
)

// maxExamples is how many requests byExample tries.
const maxExamples = 200

// byExample looks for a request that new allows and old does not among a few
// that the texts of the documents suggest. It proves an expansion where the
// analysis of all requests costs more than is allowed, and proves nothing when
// it finds none.
func byExample(old, new *Document, kind Kind) (q *Request, read Reading, found bool) {
	tries := 0
	for _, read := range readings(old, new, kind) {
		a := newAnalysis(old, new, kind, read, nil)
		for i := range a.stmts {
			if !a.stmts[i].suspect {
				continue
			}
			for q := range suggested(a.stmts[i].Statement) {
				if tries++; tries > maxExamples {
					return nil, Reading{}, false
				}
				if new.DecideAs(kind, q, read) == Allowed && old.DecideAs(kind, q, read) != Allowed {
					return q, read, true
				}
			}
		}
	}
	return nil, Reading{}, false
}

// wildcards are filled in for an example.
var wildcards = strings.NewReplacer("*", "x", "?", "x")

// suggested are requests that a statement's texts suggest.
func suggested(s *Statement) iter.Seq[*Request] {
	actions, resources, principals := []string{"x:x"}, []string{"x"}, []string{""}
	for j := range min(len(s.Actions), 12) {
		// Long lists are edited at their ends.
		actions = append(actions, wildcards.Replace(s.Actions[len(s.Actions)-1-j]))
	}
	for j := range min(len(s.Resources), 3) {
		resources = append(resources, wildcards.Replace(s.Resources[len(s.Resources)-1-j]))
	}
	for j := range min(len(s.Principals), 8) {
		principals = append(principals, wildcards.Replace(CanonicalPrincipal(s.Principals[j])))
	}
	contexts := []map[string]string{{}}
	if some := exampleContext(s.Conditions); len(some) > 0 {
		contexts = append(contexts, some)
	}
	return func(yield func(*Request) bool) {
		for _, p := range principals {
			for _, act := range actions {
				if strings.Count(act, ":") == 0 {
					act = "x:" + act
				}
				for _, res := range resources {
					for _, ctx := range contexts {
						if !yield(&Request{Action: act, Resource: res, Principal: p, Context: ctx}) {
							return
						}
					}
				}
			}
		}
	}
}

// exampleContext has what conditions ask for, as far as one value tells.
func exampleContext(conds []Condition) map[string]string {
	out := map[string]string{}
	for i := range conds {
		c := &conds[i]
		if c.opaque() || len(c.Values) == 0 || negated(c.Operator) {
			continue
		}
		v := c.Values[0]
		if p, ok := network(v); ok && family(c.Operator) == famIP {
			v = p.Addr().String()
		}
		out[strings.ToLower(c.Key)] = wildcards.Replace(v)
	}
	return out
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
