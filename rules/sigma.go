package rules

import (
	"crypto/sha1" //nolint:gosec // name-based UUIDs are SHA-1 by definition
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// SigmaRule is a rule in the Sigma language, or why it has no form there.
type SigmaRule struct {
	Rule string `json:"rule"`
	// Text is one Sigma document, or two where a correlation counts; empty when
	// Why says what cannot be expressed.
	Text string `json:"text,omitempty"`
	Why  string `json:"why,omitempty"`
	// Notes say where the Sigma rule is not exactly the rule.
	Notes []string `json:"notes,omitempty"`
}

// Sigma translates rules. Patterns choose them by id; none is all. Rules that are
// off are left out.
func Sigma(set *Set, patterns ...string) []SigmaRule {
	var out []SigmaRule
	for _, r := range set.rules {
		if len(patterns) > 0 && !slices.ContainsFunc(patterns, func(p string) bool { return globID(p, r.id()) }) {
			continue
		}
		x := SigmaRule{Rule: r.id()}
		text, notes, err := sigmaOf(r)
		if err != nil {
			x.Why = err.Error()
		} else {
			x.Text, x.Notes = text, notes
		}
		out = append(out, x)
	}
	return out
}

// sigma collects the selections of one rule.
type sigma struct {
	names  []string
	fields []*yaml.Node // of each selection
	notes  []string
}

// noForm says what has no form in Sigma.
type noForm string

func (n noForm) Error() string { return string(n) }

func (s *sigma) note(text string) {
	if !slices.Contains(s.notes, text) {
		s.notes = append(s.notes, text)
	}
}

// word is a text as a scalar, quoted where YAML would read it otherwise.
func word(v string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v, Style: quoting(v)}
}

func quoting(v string) yaml.Style {
	var n yaml.Node
	if v == "" || slices.Contains([]string{"yes", "no", "on", "off", "y", "n"}, strings.ToLower(v)) || strings.ContainsAny(v, "*?\\%'\"#:{}[]!&|>@`,") || yaml.Unmarshal([]byte(v), &n) != nil || len(n.Content) != 1 || n.Content[0].ShortTag() != "!!str" {
		return yaml.SingleQuotedStyle
	}
	return 0
}

// literal is a value in which Sigma's wildcards stand for themselves.
var sigmaEscape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`)

func mapping(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(pairs); i += 2 {
		v, ok := pairs[i+1].(*yaml.Node)
		if !ok {
			v = word(fmt.Sprint(pairs[i+1]))
		}
		n.Content = append(n.Content, word(pairs[i].(string)), v)
	}
	return n
}

func words(values []string) *yaml.Node {
	if len(values) == 1 {
		return word(values[0])
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, v := range values {
		n.Content = append(n.Content, word(v))
	}
	return n
}

// selection makes a selection, or finds one that is equal, and returns its name.
func (s *sigma) selection(name string, fields *yaml.Node) string {
	text, _ := yaml.Marshal(fields)
	for i, f := range s.fields {
		if t, _ := yaml.Marshal(f); string(t) == string(text) {
			return s.names[i]
		}
	}
	base, n := name, 1
	for slices.Contains(s.names, name) {
		n++
		name = base + strconv.Itoa(n)
	}
	s.names, s.fields = append(s.names, name), append(s.fields, fields)
	return name
}

// sigmaFields are texts of events by the field of the record.
var sigmaFields = map[string]string{
	"event.id": "eventId", "event.name": "eventName", "event.service": "serviceName", "event.type": "eventType", "event.region": "acsRegion",
	"event.rw": "eventRW", "event.category": "eventCategory", "event.source": "eventSource", "event.error_code": "errorCode",
	"event.error_message": "errorMessage", "event.user_agent": "userAgent", "event.request_id": "requestId", "event.account": "recipientAccountId",
	"event.vpc": "vpcId", "event.api_version": "apiVersion", "event.insight_type": "insightDetails.insightType",
	"actor.type": "userIdentity.type", "actor.name": "userIdentity.userName", "actor.principal": "userIdentity.principalId",
	"actor.account": "userIdentity.accountId", "actor.key": "userIdentity.accessKeyId", "source.text": "sourceIpAddress", "source.ip": "sourceIpAddress",
}

// sigmaCalls are functions of a name, by the part of the record that they read.
var sigmaCalls = map[string]string{"param": "requestParameters.", "resp": "responseElements.", "extra": "additionalEventData.", "field": ""}

// place is the record's field of an expression.
func (s *sigma) place(n ast.Node) (string, error) {
	if name, ok := path(n); ok {
		if f := sigmaFields[name]; f != "" {
			return f, nil
		}
		return "", noForm(fmt.Sprintf("%s is worked out by trailwarden and stands in no field of the record", name))
	}
	if b, ok := n.(*ast.BuiltinNode); ok && (b.Name == "lower" || b.Name == "trim") && len(b.Arguments) == 1 {
		return s.place(b.Arguments[0]) // Sigma does not tell letter case apart
	}
	name, args, ok := called2(n)
	if prefix, known := sigmaCalls[name]; ok && known && len(args) == 1 {
		if key, ok := args[0].(*ast.StringNode); ok {
			return prefix + key.Value, nil
		}
	}
	return "", noForm(fmt.Sprintf("%s is worked out by trailwarden and stands in no field of the record", tame(n.String(), 60)))
}

func called2(n ast.Node) (string, []ast.Node, bool) {
	c, ok := n.(*ast.CallNode)
	if !ok {
		return "", nil, false
	}
	id, ok := c.Callee.(*ast.IdentifierNode)
	if !ok {
		return "", nil, false
	}
	return id.Value, c.Arguments, true
}

// cond translates a condition into one over selections.
func (s *sigma) cond(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.ChainNode:
		return s.cond(n.Node)
	case *ast.UnaryNode:
		if n.Operator == "!" || n.Operator == "not" {
			c, err := s.cond(n.Node)
			return negated(c), err
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&", "and", "||", "or":
			op := map[string]string{"&&": "and", "||": "or"}[n.Operator]
			if op == "" {
				op = n.Operator
			}
			var parts []string
			for _, k := range chain(n, map[string]string{"and": "all of", "or": "any of"}[op]) {
				if k == ast.Node(n) {
					return "", noForm("a condition that is not understood: " + tame(n.String(), 60))
				}
				if list := configured(k, op == "and"); list != "" {
					s.note("it supposes that the list " + list + " is filled")
					continue
				}
				c, err := s.cond(k)
				if err != nil {
					return "", err
				}
				parts = append(parts, c)
			}
			switch len(parts) {
			case 0:
				return "", noForm("it asks only whether lists are configured")
			case 1:
				return parts[0], nil
			}
			return "(" + strings.Join(parts, " "+op+" ") + ")", nil
		case "!=":
			c, err := s.compare(n.Left, "==", n.Right)
			return negated(c), err
		}
		return s.compare(n.Left, n.Operator, n.Right)
	case *ast.CallNode:
		return s.call(n)
	case *ast.MemberNode:
		switch name, _ := path(n); name {
		case "actor.root":
			return s.selection("root", mapping("userIdentity.type", "root-account")), nil
		case "actor.service_linked":
			return s.selection("service_linked", mapping("userIdentity.userName|startswith", "AliyunServiceRoleFor")), nil
		case "event.global":
			return s.selection("global", mapping("isGlobal", "true")), nil
		}
	}
	return "", noForm(fmt.Sprintf("%s is worked out by trailwarden and stands in no field of the record", tame(n.String(), 60)))
}

// negated is the opposite of a condition that is one unit.
func negated(c string) string {
	if rest, ok := strings.CutPrefix(c, "not "); ok {
		return rest
	}
	return "not " + c
}

// configured is the list whose presence is asked for, where that is a part that
// can be left out when it is there.
func configured(n ast.Node, want bool) string {
	if u, ok := n.(*ast.UnaryNode); ok && (u.Operator == "!" || u.Operator == "not") {
		return configured(u.Node, !want)
	}
	if name, args, ok := called2(n); ok && want && name == "has_list" && len(args) == 1 {
		if l, ok := args[0].(*ast.StringNode); ok {
			return l.Value
		}
	}
	return ""
}

var privateNets = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "fc00::/7", "fe80::/10"}

func (s *sigma) compare(left ast.Node, op string, right ast.Node) (string, error) {
	lits, ok := literals(right)
	if !ok {
		return "", noForm("it compares two values of one event: " + tame(left.String()+" "+op+" "+right.String(), 60))
	}
	var values []string
	for _, l := range lits {
		values = append(values, l.Value)
	}
	name, _ := path(left)
	if op == "==" || op == "in" {
		switch name {
		case "action":
			return s.actions(values)
		case "outcome":
			refused := s.selection("refused", mapping("errorCode|re", ".+"))
			if slices.Contains(values, "success") && slices.Contains(values, "attempt") {
				return "", noForm("outcome in both words")
			}
			if values[0] == "success" {
				return "not " + refused, nil
			}
			return refused, nil
		case "actor.kind":
			if !slices.Equal(values, []string{"service"}) {
				return "", noForm("actor.kind tells people from workloads by several facts")
			}
			s.note("the cloud's own callers are known by type system, and by the names of service-linked roles")
			return "(" + s.selection("cloud_itself", mapping("userIdentity.type", "system")) + " or " +
				s.selection("service_linked", mapping("userIdentity.userName|startswith", "AliyunServiceRoleFor")) + ")", nil
		case "actor.key_kind":
			switch values[0] {
			case "long-term":
				return s.selection("long_term_key", mapping("userIdentity.accessKeyId|startswith", "LTAI")), nil
			case "sts":
				return s.selection("temporary_key", mapping("userIdentity.accessKeyId|startswith", "STS.")), nil
			}
		case "source.kind":
			if slices.Equal(values, []string{"public"}) {
				s.note("a public address is one that is in no private or shared network")
				return "(" + s.selection("an_address", mapping("sourceIpAddress|cidr", words([]string{"0.0.0.0/0", "::/0"}))) + " and not " +
					s.selection("private_address", mapping("sourceIpAddress|cidr", words(privateNets))) + ")", nil
			}
		}
	}
	field, err := s.place(left)
	if err != nil {
		return "", err
	}
	label := strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(field[strings.LastIndexByte(field, '.')+1:], "_"))
	if label == "" || label[0] >= '0' && label[0] <= '9' {
		label = "value"
	}
	escaped := make([]string, len(values))
	for i, v := range values {
		escaped[i] = sigmaEscape.Replace(v)
	}
	switch op {
	case "==", "in":
		if slices.Contains(values, "") {
			if len(values) > 1 {
				return "", noForm("a list in which the empty text is one of the words")
			}
			return "not " + s.selection(label+"_there", mapping(field+"|re", ".+")), nil
		}
		return s.selection(label, mapping(field, words(escaped))), nil
	case "startsWith":
		return s.selection(label, mapping(field+"|startswith", words(escaped))), nil
	case "endsWith":
		return s.selection(label, mapping(field+"|endswith", words(escaped))), nil
	case "contains":
		return s.selection(label, mapping(field+"|contains", words(escaped))), nil
	case "matches":
		return s.selection(label, mapping(field+"|re", words(values))), nil
	}
	return "", noForm("the operator " + op)
}

// actions are the calls under which acts appear.
func (s *sigma) actions(acts []string) (string, error) {
	var parts []string
	for _, a := range acts {
		names, services := event.EventNames(event.Action(a)), event.Services(event.Action(a))
		if len(names) == 0 || len(services) == 0 {
			return "", noForm(fmt.Sprintf("action %q is told by more than the name of the call", a))
		}
		slices.Sort(names)
		slices.Sort(services)
		parts = append(parts, s.selection(strings.NewReplacer(".", "_", "-", "_").Replace(a), mapping("eventName", words(names), "serviceName", words(services))))
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return "(" + strings.Join(parts, " or ") + ")", nil
}

func (s *sigma) call(n *ast.CallNode) (string, error) {
	name, args, _ := called2(n)
	var texts []string
	for _, a := range args {
		if t, ok := a.(*ast.StringNode); ok {
			texts = append(texts, t.Value)
		}
	}
	switch {
	case name == "has_param" && len(texts) == 1:
		return s.selection("has_"+strings.ToLower(texts[0]), mapping("requestParameters."+texts[0]+"|exists", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"})), nil
	case name == "param_is" && len(texts) == 2:
		values := []string{texts[1]}
		switch event.ParseTruth(texts[1]) {
		case event.Yes:
			values = []string{"true", "1", "yes"}
		case event.No:
			values = []string{"false", "0", "no"}
		}
		return s.selection(strings.ToLower(texts[0]), mapping("requestParameters."+texts[0], words(values))), nil
	case name == "in_cidr" && len(texts) == len(args)-1:
		field, err := s.place(args[0])
		if err != nil {
			return "", err
		}
		return s.selection("network", mapping(field+"|cidr", words(texts))), nil
	case name == "contains_any" && len(args) == 2:
		field, err := s.place(args[0])
		lits, ok := literals(args[1])
		if err != nil || !ok {
			return "", noForm("contains_any of what stands in no field")
		}
		var values []string
		for _, l := range lits {
			values = append(values, sigmaEscape.Replace(l.Value))
		}
		return s.selection("words", mapping(field+"|contains", words(values))), nil
	case name == "one_of_list" && len(args) == 2 && len(texts) > 0:
		field, err := s.place(args[1])
		if err != nil {
			return "", err
		}
		mod := "|expand"
		if strings.HasSuffix(texts[0], "_networks") || strings.HasSuffix(texts[0], "_exits") {
			mod = "|cidr|expand"
		}
		s.note("the placeholder %" + texts[0] + "% has to be filled with the list of that name")
		return s.selection(texts[0], mapping(field+mod, "%"+texts[0]+"%")), nil
	}
	return "", noForm(fmt.Sprintf("%s is worked out by trailwarden and stands in no field of the record", tame(n.String(), 60)))
}

var sigmaTactics = map[string]string{"TA0001": "initial-access", "TA0002": "execution", "TA0003": "persistence", "TA0004": "privilege-escalation",
	"TA0005": "defense-evasion", "TA0006": "credential-access", "TA0007": "discovery", "TA0008": "lateral-movement", "TA0009": "collection",
	"TA0010": "exfiltration", "TA0011": "command-and-control", "TA0040": "impact", "TA0042": "resource-development", "TA0043": "reconnaissance"}

// sigmaID is the same for a rule at any time: a UUID made of its id.
func sigmaID(id string) string {
	h := sha1.Sum([]byte("trailwarden sigma/1\n" + id)) //nolint:gosec // as above
	h[6], h[8] = h[6]&0x0f|0x50, h[8]&0x3f|0x80
	x := hex.EncodeToString(h[:16])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

var braces = regexp.MustCompile(`\{[^{}]*\}`)

func (r *rule) sigmaLevel() string {
	top := r.fixed
	if r.severity != nil {
		for _, w := range r.severity.consts {
			if s, err := alert.ParseSeverity(w); err == nil {
				top = max(top, s)
			}
		}
	}
	if top <= alert.Info {
		return "informational"
	}
	return top.String()
}

func (r *rule) sigmaHead(title, id string) []any {
	status := "test"
	if r.shadow {
		status = "experimental"
	}
	return []any{"title", title, "id", sigmaID(id), "status", status,
		"description", strings.Join(strings.Fields(r.doc.Description.value), " ")}
}

func (r *rule) sigmaTail() []any {
	var tags []string
	for _, a := range r.attack {
		if t := sigmaTactics[a]; t != "" {
			tags = append(tags, "attack."+t)
		} else if !strings.HasPrefix(a, "TA") {
			tags = append(tags, "attack."+strings.ToLower(a))
		}
	}
	var out []any
	if len(tags) > 0 {
		n := words(append(tags, ""))
		n.Content = n.Content[:len(tags)] // a list, also of one
		out = append(out, "tags", n)
	}
	return append(out, "level", r.sigmaLevel())
}

// sigmaGroup is by what a detector's key groups.
var sigmaGroup = map[string][]string{
	"actor.id": {"userIdentity.accountId", "userIdentity.userName"}, "event.account": {"recipientAccountId"}, "source.ip": {"sourceIpAddress"},
	"actor.key": {"userIdentity.accessKeyId"}, "actor.name": {"userIdentity.userName"}, "source.text": {"sourceIpAddress"},
}

func sigmaOf(r *rule) (string, []string, error) {
	kind := r.detType
	switch {
	case r.signals != nil:
		return "", nil, noForm("it observes what other rules find")
	case kind != "" && kind != "threshold" && kind != "distinct":
		return "", nil, noForm(fmt.Sprintf("the detector %s keeps a memory that Sigma has no word for", kind))
	case r.match == nil:
		return "", nil, noForm("it has no condition of its own")
	}
	tree, err := parser.Parse(r.doc.Match.value)
	if err != nil {
		return "", nil, err // cannot be: it was compiled
	}
	s := &sigma{}
	condition, err := s.cond(tree.Node)
	if err != nil {
		return "", nil, err
	}
	if strings.HasPrefix(condition, "(") && closes(condition) == len(condition)-1 {
		condition = condition[1 : len(condition)-1]
	}
	title := strings.TrimSpace(braces.ReplaceAllString(r.doc.Title.value, "…"))
	if title == "" {
		title = r.id()
	}
	base := r.id()
	if kind != "" {
		base += " (events)"
	}
	detection := &yaml.Node{Kind: yaml.MappingNode}
	for i, name := range s.names {
		detection.Content = append(detection.Content, word(name), s.fields[i])
	}
	detection.Content = append(detection.Content, word("condition"), word(condition))
	head := r.sigmaHead(title, base)
	if kind != "" {
		head[1] = title + " (single event)"
		head = append(head[:2], append([]any{"name", sigmaName(r.id())}, head[2:]...)...)
	}
	if refs := r.doc.References; len(refs) > 0 {
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, u := range refs {
			n.Content = append(n.Content, word(u.value))
		}
		head = append(head, "references", n)
	}
	docs := []*yaml.Node{mapping(append(append(head, "author", "trailwarden "+r.id(), "logsource", mapping("product", "alibaba_cloud", "service", "actiontrail"),
		"detection", detection), r.sigmaTail()...)...)}
	if kind != "" {
		c, err := r.sigmaCorrelation(s)
		if err != nil {
			return "", nil, err
		}
		docs[0].Content[len(docs[0].Content)-1].Value = "informational"
		docs = append(docs, mapping(append(append(r.sigmaHead(title, r.id()), "correlation", c), r.sigmaTail()...)...))
	}
	var b strings.Builder
	for i, d := range docs {
		if i > 0 {
			b.WriteString("---\n")
		}
		text, err := yaml.Marshal(d)
		if err != nil {
			return "", nil, err
		}
		b.Write(text)
	}
	return b.String(), s.notes, nil
}

func sigmaName(id string) string { return strings.NewReplacer(".", "_").Replace(id) }

// closes is where the bracket that s begins with is closed.
func closes(s string) int {
	depth := 0
	for i, c := range s {
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// sigmaCorrelation says how many events in what time.
func (r *rule) sigmaCorrelation(s *sigma) (*yaml.Node, error) {
	set := struct {
		Count  int
		Window string
	}{}
	for i := 0; i+1 < len(r.doc.Detector.Content); i += 2 {
		switch v := r.doc.Detector.Content[i+1].Value; r.doc.Detector.Content[i].Value {
		case "count":
			set.Count, _ = strconv.Atoi(v)
		case "window":
			set.Window = v
		case "type", "by", "value", "noun", "noun_zh":
		default:
			return nil, noForm(fmt.Sprintf("the setting %s of its detector", r.doc.Detector.Content[i].Value))
		}
	}
	group := sigmaGroup[strings.TrimSpace(r.by.src)]
	if set.Count == 0 || !regexp.MustCompile(`^[0-9]+[smhd]$`).MatchString(set.Window) || group == nil {
		return nil, noForm("its detector groups by, or counts, what stands in no field of the record")
	}
	n := words(append(group, ""))
	n.Content = n.Content[:len(group)]
	kind, cond := "event_count", mapping("gte", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(set.Count)})
	if r.detType == "distinct" {
		tree, err := parser.Parse(r.value.src)
		if err != nil {
			return nil, err
		}
		field, err := s.place(tree.Node)
		if err != nil {
			return nil, err
		}
		kind = "value_count"
		cond.Content = append([]*yaml.Node{word("field"), word(field)}, cond.Content...)
	}
	rules := words([]string{sigmaName(r.id()), ""})
	rules.Content = rules.Content[:1]
	return mapping("type", kind, "rules", rules, "group-by", n, "timespan", set.Window, "condition", cond), nil
}
