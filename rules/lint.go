package rules

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// Lint says what is allowed but probably not meant, for every rule, in order
// of file and position. What is wrong for certain was refused by Load.
func Lint(set *Set) []*Error {
	out := Errors(slices.Clone(set.warns))
	number := make(map[string]int, len(set.rules))
	for i, r := range set.rules {
		number[r.id()] = i
	}
	for _, r := range set.all {
		l := &linter{r: r}
		l.rule()
		if i, ok := number[r.id()]; ok && r.signals == nil && set.index.Never(i) {
			l.warn(r.doc.Match.node, "look at the and/or of the match", "no event can match this rule")
		}
		out = append(out, l.out...)
	}
	out.sort()
	return out
}

// Instead says which rules stand in the place of shipped ones, each with its
// place. That is no fault: it is how a shipped rule is changed.
func (s *Set) Instead() []*Error { return s.instead }

type linter struct {
	r   *rule
	out Errors
}

func (l *linter) warn(n *yaml.Node, hint, format string, args ...any) {
	line, column := 1, 1
	if n != nil {
		line, column = n.Line, n.Column
	}
	l.out = append(l.out, l.r.file.fault(line, column, hint, format, args...))
}

// chinese looks for texts that a reader of Chinese would see in English: all of
// them in a rule that we ship, half of them in one that has some Chinese.
func (l *linter) chinese() {
	r, d := l.r, &l.r.doc
	if r.titleZH == nil {
		if r.from == "pack" {
			l.warn(d.Title.node, "add title_zh and reason_zh", "no title and reason in Chinese")
		}
		return
	}
	for _, t := range []text{d.TitleZH, d.ReasonZH} {
		if !strings.ContainsFunc(t.value, isHan) {
			l.warn(t.node, "", "there is no Chinese in this text")
		}
	}
	if n := len([]rune(d.TitleZH.value)); n > 120 {
		l.warn(d.TitleZH.node, "", "the title has %d characters: chats cut it at about 120", n)
	}
	if d.Detector == nil || r.reasonZH.plainly() && r.reason.verdict {
		return
	}
	// The detector's words come into the reason.
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
			switch key := n.Content[i].Value; key {
			case "noun", "phrase", "name":
				if zh := child(n, key+"_zh"); zh == nil || !strings.ContainsFunc(zh.Value, isHan) {
					l.warn(n.Content[i], "add "+key+"_zh", "%s has no Chinese, and the reason in Chinese says it", key)
				}
			case "steps":
				for _, s := range n.Content[i+1].Content {
					walk(s)
				}
			}
		}
	}
	walk(d.Detector)
}

// called warns of a call in a test that is nearly one that there is: a near miss that
// is misspelt passes whatever the rule says. What is like none may be made up.
func (l *linter) called(t *testDoc, call text) {
	_, name, _ := strings.Cut(call.value, ":")
	if _, known := event.KnownEvent(name); known || strings.Contains(name, "{n}") {
		return
	}
	if hint := DidYouMean(name, event.KnownEvents()); hint != "" {
		l.warn(call.node, hint, "test %q: unknown event name %q", t.Name.value, name)
	}
}

func isHan(c rune) bool { return unicode.Is(unicode.Han, c) }

func (l *linter) rule() {
	r, d := l.r, &l.r.doc
	if len(r.attack) == 0 {
		l.warn(d.ID.node, "", "no ATT&CK id: coverage does not count the rule")
	}
	for _, a := range d.Attack {
		if twin := attackTwins[a.value]; twin != "" && !slices.Contains(r.attack, twin) {
			l.warn(a.node, "add "+twin, "ATT&CK 19 gave %s another number", a.value)
		}
	}
	if !r.signal && (r.runbook.EN == "" || r.runbook.ZH == "") {
		l.warn(d.ID.node, "", "no runbook in English and Chinese: who is paged must know what to do")
	}
	l.chinese()
	if n := len([]rune(d.Title.value)); n > 120 {
		l.warn(d.Title.node, "", "the title has %d characters: chats cut it at about 120", n)
	}
	tests := r.tests()
	if len(tests) < PackTests {
		l.warn(d.ID.node, "a match, a near miss, and a failed attempt or odd encoding", "%d tests: good rules have %d", len(tests), PackTests)
	}
	hit, miss := false, false
	for _, t := range tests {
		for _, e := range t.Events {
			l.called(&t, e.Event)
		}
		if t.Expect.Alerts != nil && *t.Expect.Alerts > 0 {
			hit = true
		} else {
			miss = true
		}
	}
	if len(tests) > 0 && !hit {
		l.warn(tests[0].Name.node, "", "no test expects an alert")
	}
	if len(tests) > 0 && !miss {
		l.warn(tests[0].Name.node, "the same event, harmless", "no test expects silence")
	}
	if r.match != nil {
		l.events(d.Match, r.match.src)
		l.reach(d.Match)
	}
	for _, s := range r.steps {
		if s.src.set() {
			l.reach(s.src)
		}
	}
	if r.by != nil && slices.Contains(namesIn(r.by.src), "actor.key") && r.cond.Overall("actor.key_kind", "sts") {
		l.warn(child(d.Detector, "by"), `add actor.key_kind == "long-term" to the match, or use actor.id`,
			"temporary keys change with every session: state by actor.key never learns them")
	}
	if r.reads(func(p *program) bool { return p.policy }) && !slices.ContainsFunc(actions, func(a string) bool {
		return detectors.PolicyAction(event.Action(a)) && r.cond.Possible("", a, "")
	}) {
		l.warn(d.Match.node, "narrow the match to actions like iam.policy.attach", "policy facts exist only for changes of permissions, which this rule does not match")
	}
}

// events warns where event names are matched one service at a time although
// one action covers the twins.
func (l *linter) events(t text, src string) {
	tree, err := parser.Parse(src)
	if err != nil {
		return
	}
	var where []place
	v := &literalLister{}
	ast.Walk(&tree.Node, v)
	for _, lit := range v.names {
		for _, a := range actions {
			if !slices.ContainsFunc(event.EventNames(event.Action(a)), func(n string) bool { return strings.EqualFold(n, lit.Value) }) {
				continue
			}
			if len(event.Services(event.Action(a))) < 2 {
				continue
			}
			if where == nil {
				where = l.r.file.places(t.node)
			}
			p := where[min(lit.Location().From, len(where)-1)]
			l.out = append(l.out, l.r.file.fault(p.line, p.column, fmt.Sprintf("compare action with %q", a),
				"%s is one of several names of one act: twin services are missed", lit.Value))
			break
		}
	}
}

type literalLister struct{ names []*ast.StringNode }

// Visit implements ast.Visitor.
func (v *literalLister) Visit(node *ast.Node) {
	b, ok := (*node).(*ast.BinaryNode)
	if !ok || b.Operator != "==" && b.Operator != "in" {
		return
	}
	if name, ok := path(b.Left); ok && name == "event.name" {
		if lits, ok := literals(b.Right); ok {
			v.names = append(v.names, lits...)
		}
	}
}

func namesIn(src string) []string {
	tree, err := parser.Parse(src)
	if err != nil {
		return nil
	}
	return fieldsIn(tree.Node)
}
