package rules

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// document is a rule file as written. The doc tags become the published JSON
// schema.
type document struct {
	ID          text       `yaml:"id" required:"true" doc:"Equal to the file's name without .yaml. Lower case letters, digits, _ and dots."`
	Version     int        `yaml:"version" required:"true" doc:"Raised by one with each change of meaning. Stamped on every alert."`
	Title       text       `yaml:"title" required:"true" doc:"What happened, short. A template: {actor.name} is replaced by its value."`
	TitleZH     text       `yaml:"title_zh" doc:"The title in Chinese, for destinations, consoles and reports in Chinese. A template that reads what title or reason read. Goes with reason_zh."`
	Description text       `yaml:"description" required:"true" doc:"What the rule is about, and which facts about the records are not certain."`
	Severity    text       `yaml:"severity" required:"true" doc:"info, low, medium, high or critical, or an expression that gives one of these words."`
	Status      string     `yaml:"status" enum:"on,shadow,off" doc:"on (default), shadow (evaluated and counted, no alert) or off."`
	Attack      []text     `yaml:"attack" doc:"MITRE ATT&CK technique or tactic ids."`
	References  []text     `yaml:"references" doc:"Links."`
	Runbook     runbookDoc `yaml:"runbook" doc:"What to do now."`
	Match       text       `yaml:"match" doc:"An expression that gives true or false. Optional only when every step of the detector has its own."`
	Detector    *yaml.Node `yaml:"detector" doc:"A decision over many events: type, by, value and the settings of the type."`
	Reason      text       `yaml:"reason" required:"true" doc:"One sentence a person understands. A template."`
	ReasonZH    text       `yaml:"reason_zh" doc:"The reason in Chinese. A template that reads what title or reason read; verdict.reason and policy.sentence are Chinese in it. Goes with title_zh."`
	Dedup       dedupDoc   `yaml:"dedup" doc:"Which detections are one alert."`
	Respond     text       `yaml:"respond" doc:"Name of the playbook that answers the alert."`
	Budget      float64    `yaml:"budget" doc:"Most alerts a day, on average, that the rule is worth: what rules shadow measures a rule in shadow by. Default 1."`
	Signal      *bool      `yaml:"signal" doc:"True for rules that only feed chains and never page alone. Default: true when the severity is the word info or low."`
	Tests       []testDoc  `yaml:"tests" doc:"At least a match, a near miss, and a failed attempt or an odd encoding."`
}

type runbookDoc struct {
	EN string `yaml:"en" doc:"In English."`
	ZH string `yaml:"zh" doc:"In Chinese."`
}

type dedupDoc struct {
	By     []text        `yaml:"by" doc:"Expressions whose values make detections the same alert. Default: account, actor and target; the detector's key for rules with a detector."`
	Window time.Duration `yaml:"window" doc:"How long detections with one key fold into one alert. Default 1h."`
}

// detectorDoc is what the loader reads of a detector; the rest is the
// settings of its type.
type detectorDoc struct {
	Type  text
	By    text
	Value text
}

// signalsDoc says which rules a detector observes in place of events.
type signalsDoc struct {
	Rules []text `yaml:"rules" required:"true" doc:"Ids or patterns of the rules whose detections are observed."`
	UpTo  string `yaml:"up_to" enum:"info,low,medium,high,critical" doc:"The highest severity observed (default critical)."`
}

// rule is a compiled rule.
type rule struct {
	doc      document
	file     *file
	from     string // "pack" or the folder
	digest   string // of the file
	shadow   bool
	off      bool
	severity *program
	fixed    alert.Severity // when severity is a word
	match    *program
	title    *template
	reason   *template
	titleZH  *template // nil: the alert is English everywhere
	reasonZH *template
	dedup    []*program
	window   time.Duration
	attack   []string
	runbook  alert.Runbook
	signal   bool
	steps    []step
	by       *program
	value    *program
	signals  *signalsDoc // the detector observes other rules
	newDet   func() detectors.Detector
	detType  string
	crowd    *shown // nil: a detection is of whoever made its last event
	state    string
	cond     detectors.Cond
	tests    func() []testDoc
	cases    int        // how many of them
	programs []*program // all of them, to be timed
}

// shown is which facts of the last event are those of the whole detection.
type shown struct{ source, target bool }

// crowdOf says what a detector that is about more than its last event, the one of
// many actors or of nobody, may show of that: what its key is about. An address that
// tries many users is not the last of these, who must not be taken for the one to act
// on; nor is it the caller before a silence, and events counted by address or target
// may be of many. Nil: there is one actor.
func crowdOf(r *rule) *shown {
	switch {
	case r.by.about("actor") || r.by.about("lineage"):
	case r.detType == "absence", r.detType == "distinct" && r.value.about("actor"),
		(r.detType == "threshold" || r.detType == "rate") && (r.by.about("source") || r.by.about("target")) && !r.oneActor():
		return &shown{source: r.by.about("source"), target: r.by.about("target")}
	}
	return nil
}

// oneActor says that the condition is about an actor that it names: the root account,
// or one with a certain name, id or key.
func (r *rule) oneActor() bool {
	if r.match == nil {
		return false
	}
	who := []string{"actor.root", "actor.name", "actor.id", "actor.key", "actor.principal", "actor.role"}
	return slices.ContainsFunc(r.match.names, func(name string) bool { return slices.Contains(who, name) }) || strings.Contains(r.match.src, `"root-account"`)
}

// about says that a field of a group, such as actor, is in a key. A key that is not
// there is about nothing.
func (p *program) about(group string) bool {
	return p != nil && slices.ContainsFunc(p.names, func(name string) bool { return strings.HasPrefix(name, group+".") })
}

type step struct {
	name  string
	src   text
	match *program
	by    *program
}

func (r *rule) id() string { return r.doc.ID.value }

// policy says that the rule is evaluated in event-time order, since it reads what
// is known only then.
func (r *rule) policy() bool {
	return r.reads(func(p *program) bool { return p.policy || p.lineage })
}

func (r *rule) reads(what func(*program) bool) bool {
	return slices.ContainsFunc(r.programs, func(p *program) bool { return p != nil && what(p) })
}

var (
	idPattern     = regexp.MustCompile(`^[a-z0-9][a-z0-9_]*(\.[a-z0-9_]+)*$`)
	attackPattern = regexp.MustCompile(`^(T\d{4}(\.\d{3})?|TA\d{4})$`)
	namePattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*$`)
)

// defaultWindow is how long detections with one key fold together.
const defaultWindow = time.Hour

// maxWindow bounds it: the grouper keeps a window until it has passed.
const maxWindow = 31 * 24 * time.Hour

// read checks and compiles one file. Faults go to the file.
func (c *compiler) read(in *reading, factories map[string]detectors.Factory) *rule {
	f, root := in.file, in.root
	r := &rule{file: f, doc: in.doc, tests: in.tests, cases: in.cases}
	d := &r.doc
	name := strings.TrimSuffix(filepath.Base(f.path), filepath.Ext(f.path))
	if d.ID.set() {
		switch {
		case !idPattern.MatchString(d.ID.value):
			f.node(d.ID.node, "lower case letters, digits, _ and dots: ak.created_for_other", "%q is not a rule id", d.ID.value)
		case d.ID.value != name:
			f.node(d.ID.node, fmt.Sprintf("call the file %s.yaml", d.ID.value), "the id is not the file's name %q", name)
		}
	}
	if n := child(root, "version"); n != nil && n.ShortTag() == "!!int" && d.Version < 1 {
		f.node(n, "start with 1", "the version must be at least 1")
	}
	for _, t := range []text{d.Title, d.Description, d.Reason, d.TitleZH, d.ReasonZH} {
		if t.set() && strings.TrimSpace(t.value) == "" {
			f.node(t.node, "", "this text is empty")
		}
	}
	for _, a := range d.Attack {
		if !attackPattern.MatchString(a.value) {
			f.node(a.node, "T1098, T1098.001 or TA0004", "%q is not an ATT&CK id", clean(a.value))
		}
		r.attack = append(r.attack, a.value)
	}
	for _, u := range d.References {
		if !strings.HasPrefix(u.value, "https://") && !strings.HasPrefix(u.value, "http://") {
			f.node(u.node, "", "a reference must be a link")
		}
	}
	if d.Respond.set() && !namePattern.MatchString(d.Respond.value) {
		f.node(d.Respond.node, "lower case letters, digits, - and _", "%q is not a playbook name", d.Respond.value)
	}
	r.runbook = alert.Runbook{EN: strings.TrimSpace(d.Runbook.EN), ZH: strings.TrimSpace(d.Runbook.ZH)}
	r.shadow, r.off = d.Status == "shadow", d.Status == "off"

	detector := d.Detector != nil
	keys := allowed{policy: true}
	texts := allowed{policy: true, verdict: detector, late: detector}
	if d.Match.set() {
		r.match = c.expression(f, d.Match, d.Match.value, 0, useMatch, allowed{policy: true})
	}
	if detector {
		c.detector(f, r, factories, keys)
	} else if !d.Match.set() {
		f.node(root, "", "key %q is missing", "match")
	}
	if d.Title.set() {
		r.title = c.template(f, d.Title, texts)
	}
	if d.Reason.set() {
		r.reason = c.template(f, d.Reason, texts)
	}
	c.chinese(f, r, texts)
	if d.Severity.set() {
		c.severity(f, r, texts)
	}
	for _, t := range d.Dedup.By {
		if !t.set() {
			continue // no text: a fault that was said
		}
		r.dedup = append(r.dedup, c.expression(f, t, t.value, 0, useKey, allowed{policy: true, late: detector}))
	}
	r.window = d.Dedup.Window
	if n := child(child(root, "dedup"), "window"); n == nil {
		r.window = defaultWindow
	} else if _, err := ParseDuration(n.Value); err == nil && (r.window < time.Second || r.window > maxWindow) {
		f.node(n, "", "a window must be from 1s to 31d")
	}
	if n := child(root, "budget"); n != nil && (d.Budget <= 0 || math.IsNaN(d.Budget) || math.IsInf(d.Budget, 0)) {
		f.node(n, "0.5 is every other day", "a budget is a number of alerts a day, above 0")
	}
	if d.Signal != nil {
		r.signal = *d.Signal
	} else {
		r.signal = r.fixed == alert.Info || r.fixed == alert.Low
	}
	f.also(in.faulty)
	if len(f.errs) > 0 {
		return nil
	}

	r.cond = r.condition()
	for _, p := range []*program{r.match, r.severity, r.by, r.value} {
		if p != nil {
			r.programs = append(r.programs, p)
		}
	}
	r.programs = append(r.programs, r.dedup...)
	for _, t := range []*template{r.title, r.reason, r.titleZH, r.reasonZH} {
		if t == nil {
			continue
		}
		for _, p := range t.parts {
			if p.code != nil {
				r.programs = append(r.programs, p.code)
			}
		}
	}
	for _, s := range r.steps {
		r.programs = append(r.programs, s.match, s.by)
	}
	return r
}

// chinese compiles the texts in Chinese. They are two or none, and read nothing
// that the English ones do not: what an alert costs, and when it is evaluated,
// does not depend on who reads it.
func (c *compiler) chinese(f *file, r *rule, may allowed) {
	d := &r.doc
	switch {
	case !d.TitleZH.set() && !d.ReasonZH.set():
		return
	case !d.TitleZH.set():
		f.node(d.ReasonZH.node, "a rule has title_zh and reason_zh, or neither", "reason_zh without title_zh: half of the alert would be English")
		return
	case !d.ReasonZH.set():
		f.node(d.TitleZH.node, "a rule has title_zh and reason_zh, or neither", "title_zh without reason_zh: half of the alert would be English")
		return
	}
	r.titleZH, r.reasonZH = c.template(f, d.TitleZH, may), c.template(f, d.ReasonZH, may)
	english := map[string]bool{"verdict.reason": true} // a reason without a verdict has its reason appended
	for _, t := range []*template{r.title, r.reason} {
		t.reads(func(name string) { english[name] = true })
	}
	for _, t := range []struct {
		*template
		of text
	}{{r.titleZH, d.TitleZH}, {r.reasonZH, d.ReasonZH}} {
		t.reads(func(name string) {
			if !english[name] {
				f.node(t.of.node, "use what title and reason use", "the Chinese text reads %s, which neither title nor reason reads", name)
			}
		})
	}
}

func (c *compiler) severity(f *file, r *rule, may allowed) {
	t := r.doc.Severity
	if sev, err := alert.ParseSeverity(t.value); err == nil {
		r.fixed = sev
		return
	}
	if regexp.MustCompile(`^[A-Za-z]+$`).MatchString(t.value) {
		f.node(t.node, DidYouMean(t.value, alert.Severities()), "severity %q: want info, low, medium, high or critical, or an expression", t.value)
		return
	}
	p := c.expression(f, t, t.value, 0, useText, may)
	if p == nil {
		return
	}
	for _, w := range p.consts {
		if _, err := alert.ParseSeverity(w); err != nil {
			f.node(t.node, DidYouMean(w, alert.Severities()), "the expression can give %q, which is no severity", w)
		}
	}
	if p.kind.String() != "string" {
		f.node(t.node, "", "a severity expression must give a word, this gives a %s", p.kind)
	}
	r.severity = p
}

// detector reads the detector of a rule and makes its factory.
func (c *compiler) detector(f *file, r *rule, factories map[string]detectors.Factory, may allowed) {
	n := r.doc.Detector
	if n.Kind != yaml.MappingNode {
		f.node(n, "", "a detector is a mapping, this is %s", kindOf(n))
		return
	}
	d := detectorDoc{}
	settings := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column, Tag: "!!map"}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		switch key.Value {
		case "type", "by", "value":
			var t text
			before := len(f.errs)
			f.value(val, reflectOf(&t), "")
			if len(f.errs) > before {
				continue
			}
			switch key.Value {
			case "type":
				d.Type = t
			case "by":
				d.By = t
			default:
				d.Value = t
			}
		case "signals":
			before := len(f.errs)
			d := &signalsDoc{UpTo: "critical"}
			f.value(val, reflectOf(d), "")
			if len(f.errs) == before {
				r.signals = d
			}
		case "steps":
			settings.Content = append(settings.Content, key, c.steps(f, r, val, may))
		default:
			settings.Content = append(settings.Content, key, val)
		}
	}
	if d.By.set() {
		r.by = c.expression(f, d.By, d.By.value, 0, useKey, may)
	}
	if d.Value.set() {
		r.value = c.expression(f, d.Value, d.Value.value, 0, useKey, may)
	}
	needBy := len(r.steps) == 0
	for i := range r.steps {
		if r.steps[i].by == nil {
			r.steps[i].by = r.by
			needBy = true
		}
	}
	if needBy && child(n, "by") == nil {
		f.node(n, "for example by: actor.id", "the detector needs %q: what its state belongs to", "by")
	}
	if slices.Contains([]string{"distinct", "first_seen", "travel", "peer"}, d.Type.value) && child(n, "value") == nil && child(n, "signals") == nil {
		// Without one nothing is counted or remembered, and the rule is silent for ever.
		example := map[string]string{"distinct": "source.ip", "peer": `actor.account + "|" + action`}[d.Type.value]
		f.node(n, "for example value: "+cmp.Or(example, "source.place"), "the detector %s needs %q: what is counted or remembered", d.Type.value, "value")
	}
	if r.signals != nil && len(r.steps) > 0 {
		f.node(n, "", "a detector observes steps or signals, not both")
	}
	if r.signals != nil && d.Value.set() {
		f.node(d.Value.node, "", "the value of a signal is the rule that gave it: leave the key out")
	}
	if r.match == nil && r.signals == nil && len(r.steps) == 0 && !r.doc.Match.set() {
		f.node(n, "", "the rule has neither a match nor steps nor signals")
	}
	if !d.Type.set() {
		if child(n, "type") == nil {
			f.node(n, "", "the detector needs a type")
		}
		return
	}
	factory := factories[d.Type.value]
	if factory == nil {
		known := make([]string, 0, len(factories))
		for k := range factories {
			known = append(known, k)
		}
		slices.Sort(known)
		hint := DidYouMean(d.Type.value, known)
		if hint == "" {
			hint = "known types: " + strings.Join(known, ", ")
		}
		f.node(d.Type.node, hint, "unknown detector type %q", d.Type.value)
		return
	}
	s := &settingsNode{file: f, node: settings}
	newDet, err := makeDetector(factory, s)
	switch {
	case err != nil:
		f.adopt(n, err)
	case newDet == nil:
		f.node(d.Type.node, "", "detector type %q gave no detector", d.Type.value)
	}
	r.newDet, r.detType = newDet, d.Type.value
	r.crowd, r.state = crowdOf(r), stateOf(n)
}

// makeDetector keeps a factory's panic from ending the load.
func makeDetector(factory detectors.Factory, s detectors.Settings) (fn func() detectors.Detector, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the settings cannot be used: %v", r)
		}
	}()
	return factory(s)
}

// steps compiles the match and by of each step, and returns the steps
// without them, for the factory.
func (c *compiler) steps(f *file, r *rule, n *yaml.Node, may allowed) *yaml.Node {
	if n.Kind != yaml.SequenceNode {
		f.node(n, "", "steps must be a list, this is %s", kindOf(n))
		return n
	}
	out := *n
	out.Content = nil
	names := map[string]bool{}
	for _, sn := range n.Content {
		if sn.Kind != yaml.MappingNode {
			f.node(sn, "{name: …, match: …}", "a step is a mapping, this is %s", kindOf(sn))
			continue
		}
		rest := *sn
		rest.Content = nil
		var st step
		for i := 0; i+1 < len(sn.Content); i += 2 {
			key, val := sn.Content[i], sn.Content[i+1]
			var t text
			switch key.Value {
			case "match", "by":
				before := len(f.errs)
				f.value(val, reflectOf(&t), "")
				if len(f.errs) > before {
					continue
				}
				if key.Value == "match" {
					st.src = t
					st.match = c.expression(f, t, t.value, 0, useMatch, may)
				} else {
					st.by = c.expression(f, t, t.value, 0, useKey, may)
				}
			case "name":
				st.name = val.Value
				rest.Content = append(rest.Content, key, val)
			default:
				rest.Content = append(rest.Content, key, val)
			}
		}
		if child(sn, "match") == nil {
			f.node(sn, "", "the step needs a match")
		}
		if st.name == "" {
			f.node(sn, "", "the step needs a name")
		} else if names[st.name] {
			f.node(child(sn, "name"), "", "two steps are named %q", st.name)
		}
		names[st.name] = true
		r.steps = append(r.steps, st)
		out.Content = append(out.Content, &rest)
	}
	return &out
}

// stateOf is a stable text of everything a detector's state depends on. Words
// in Chinese are for people, and roaming is about what is told: with new ones
// nothing that was learned is lost.
func stateOf(n *yaml.Node) string {
	var b strings.Builder
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		switch n.Kind {
		case yaml.ScalarNode:
			fmt.Fprintf(&b, "%q", strings.Join(strings.Fields(n.Value), " "))
		default:
			b.WriteByte('(')
			for i, c := range n.Content {
				if key := n.Content[i&^1].Value; n.Kind == yaml.MappingNode && (strings.HasSuffix(key, "_zh") || key == "roaming") {
					continue
				}
				walk(c)
				b.WriteByte(' ')
			}
			b.WriteByte(')')
		}
	}
	walk(n)
	return hash(b.String())
}

// detection says what rule r has to say about the current event.
func (s *session) detection(r *rule, v *detectors.Verdict, on detectors.Pair) (alert.Detection, error) {
	d := alert.Detection{
		Rule: r.id(), RuleVersion: r.doc.Version, Pack: s.set.stamp, Attack: r.attack, Runbook: r.runbook, Window: r.window,
		Playbook: r.doc.Respond.value, Signal: r.signal, Severity: r.fixed,
	}
	ev := s.ev
	s.values = s.values[:0]
	if v != nil {
		if on.Key == "" && ev != nil {
			// The verdict came with the watermark: its event's own key.
			var err error
			if s.pairs, err = s.observations(r, s.pairs[:0]); err != nil {
				return d, err
			}
			if len(s.pairs) > 0 {
				on = s.pairs[0]
			}
		}
		s.env.Verdict = envVerdict{Reason: v.Reason, Count: v.Count, Key: on.Key, Value: on.Value, Span: span(v.First, v.Last)}
		d.Time, d.FirstAt, d.EventIDs, d.Count = v.Last, v.First, v.EventIDs, v.Count
		d.Details = v.Details
		defer func() { s.env.Verdict = envVerdict{} }()
	}
	if ev != nil {
		if v == nil {
			d.Time, d.FirstAt, d.EventIDs, d.Count = ev.Time, ev.Time, []string{strings.Clone(ev.ID)}, 1
		}
		s.who(&d, ev)
		if r.crowd != nil {
			d.Actor = alert.Actor{}
			if !r.crowd.source {
				d.SourceIP = ""
			}
			if !r.crowd.target {
				d.Target, d.TargetKey = alert.Target{}, ""
			}
		}
	}
	d.Count = max(d.Count, len(d.EventIDs))
	s.describe(&d, r)
	var err error
	if r.severity != nil {
		word, err := s.scalar(r.severity)
		if err != nil {
			return d, fmt.Errorf("severity: %w", err)
		}
		if d.Severity, err = alert.ParseSeverity(word); err != nil {
			// A wrong word must not lose the alert.
			d.Severity = alert.High
		}
	}
	if d.Title, err = s.render(r.title, maxTitle); err != nil {
		return d, fmt.Errorf("title: %w", err)
	}
	if d.Reason, err = s.render(r.reason, maxReason); err != nil {
		return d, fmt.Errorf("reason: %w", err)
	}
	if v != nil && !r.reason.verdict && v.Reason != "" {
		d.Reason = tame(strings.TrimSuffix(d.Reason, ".")+": "+v.Reason, maxReason)
	}
	if r.titleZH != nil {
		if err := s.chinese(&d, r, v); err != nil {
			return d, err
		}
	}
	d.Key, err = s.dedupKey(r)
	return d, err
}

// chinese fills the texts in Chinese: the same expressions, with what the
// detector and the judge say in that language.
func (s *session) chinese(d *alert.Detection, r *rule, v *detectors.Verdict) (err error) {
	if s.judged && !s.filled {
		s.fill() // later it would be in English
	}
	verdict, sentence := s.env.Verdict.Reason, s.env.Policy.Sentence
	if v != nil {
		s.env.Verdict.Reason = cmp.Or(v.ReasonZH, v.Reason)
	}
	if s.judged {
		s.env.Policy.Sentence = cmp.Or(s.policy.SentenceZH, sentence)
	}
	s.zh = true
	defer func() { s.env.Verdict.Reason, s.env.Policy.Sentence, s.zh = verdict, sentence, false }()
	if d.TitleZH, err = s.render(r.titleZH, maxTitle); err != nil {
		return fmt.Errorf("title_zh: %w", err)
	}
	if d.ReasonZH, err = s.render(r.reasonZH, maxReason); err != nil {
		return fmt.Errorf("reason_zh: %w", err)
	}
	if v != nil && !r.reasonZH.verdict && !r.reason.verdict && v.ReasonZH != "" {
		d.ReasonZH = tame(strings.TrimSuffix(d.ReasonZH, "。")+"："+v.ReasonZH, maxReason)
	}
	return nil
}

// describe adds to the details what every alert shows: the call, where it was
// made and by what program; and the facts about a permission change.
func (s *session) describe(d *alert.Detection, r *rule) {
	details := make(map[string]any, len(d.Details)+5)
	for k, x := range d.Details {
		details[k] = x
	}
	put := func(key, value string) {
		if _, taken := details[key]; !taken && value != "" {
			details[key] = tame(strings.Clone(value), maxValue)
		}
	}
	if ev := s.ev; ev != nil {
		name := ev.Name
		if name != "" && ev.Service != "" {
			name = ev.Service + ":" + name
		}
		put("event", name)
		put("region", ev.Region)
		put("user_agent", ev.UserAgent)
		put("error_code", ev.ErrorCode)
		if s.geo != nil {
			s.locate()
			put("country", s.lazy.country)
			if s.lazy.asn != 0 {
				put("asn", strconv.FormatUint(uint64(s.lazy.asn), 10))
			}
			put("as_org", s.lazy.org)
		}
		if c := called(ev); c != nil {
			details["call"] = c
		}
		if o := s.set.owners; o != nil {
			owners := map[string]any{}
			for who, x := range map[string]Ownership{"actor": o.actor(ev), "target": o.target(ev)} {
				if !x.IsZero() && (r.crowd == nil || who == "target" && r.crowd.target) {
					owners[who] = x.details()
				}
			}
			if _, taken := details["owners"]; !taken && len(owners) > 0 {
				details["owners"] = owners
			}
		}
	}
	if s.judged && r.policy() && len(s.policy.Details) > 0 {
		details["policy"] = s.policy.Details
	}
	if len(details) > 0 {
		d.Details = details
	}
}

// called is what somebody who takes a change of identities or trails back
// needs of the call: the names in it, and the request to find it again by.
func called(ev *event.Event) map[string]any {
	a := string(ev.Action)
	if ev.RW == event.Read || !strings.HasPrefix(a, "iam.") && !strings.HasPrefix(a, "trail.") &&
		!strings.EqualFold(ev.Service, "Ims") && !strings.EqualFold(ev.Service, "Ram") && !strings.EqualFold(ev.Service, "Actiontrail") {
		return nil
	}
	out := map[string]any{}
	put := func(key, value string) {
		if value != "" {
			out[key] = tame(strings.Clone(value), maxValue)
		}
	}
	param := func(key string, names ...string) {
		for _, n := range names {
			if v, ok := ev.Param(n); ok && v != "" {
				put(key, v)
				return
			}
		}
	}
	put("action", a)
	put("request_id", ev.RequestID)
	switch {
	case strings.HasPrefix(a, "iam.policy"):
		param("policy_name", "PolicyName")
		param("policy_type", "PolicyType")
		param("version_id", "VersionId")
		if ev.Target.Type == "group" {
			put("group", ev.Target.Name)
		}
	case strings.HasPrefix(a, "iam.group."):
		group, _ := ev.Param("GroupName")
		if group == "" {
			group, _ = ev.Param("UserGroupName")
		}
		group, _, _ = strings.Cut(group, "@") // as IMS writes it
		put("group", group)
	case strings.HasPrefix(a, "trail."):
		param("trail", "Name", "TrailName")
	}
	return out
}

// who copies what the event says about actor, target and place. Strings are
// copied because a detection outlives the event's record.
func (s *session) who(d *alert.Detection, ev *event.Event) {
	a := &ev.Actor
	d.Outcome = ev.Outcome
	d.AccountID = strings.Clone(ev.Recipient)
	d.Actor = alert.Actor{
		Type: a.Type.String(), ID: strings.Clone(a.ID), Name: tame(strings.Clone(a.Name), maxValue), AccessKeyID: strings.Clone(a.Key),
		Role: tame(strings.Clone(a.Role), maxValue), Session: tame(strings.Clone(a.Session), maxValue),
	}
	if a.Type == event.IdentityUnknown {
		d.Actor.Type = ""
	}
	if d.SourceIP = strings.Clone(s.ip()); d.SourceIP == "" {
		d.SourceIP = tame(strings.Clone(ev.Address.Text), maxValue)
	}
	t := &ev.Target
	d.Target = alert.Target{Type: strings.Clone(t.Type), ID: strings.Clone(t.ID), Name: tame(strings.Clone(t.Name), maxValue)}
	d.TargetKey = strings.Clone(t.Key)
}

// dedupKey builds what makes detections one alert: the rule's id and the
// values of its dedup expressions, separated by a character that is taken
// out of the values.
func (s *session) dedupKey(r *rule) (string, error) {
	out := append(s.line[:0], r.id()...)
	add := func(v string) {
		out = append(append(out, 0x1f), strings.ReplaceAll(v, "\x1f", " ")...)
	}
	switch {
	case len(r.dedup) > 0:
		for _, p := range r.dedup {
			v, err := s.scalar(p)
			if err != nil {
				return "", fmt.Errorf("dedup: %w", err)
			}
			add(v)
		}
	case r.newDet != nil:
		add(s.account())
		add(s.env.Verdict.Key)
	default:
		add(s.account())
		if s.ev != nil {
			add(s.ev.Actor.ID)
			add(s.ev.Target.ID)
		}
	}
	s.line = out
	return string(out), nil
}

func (s *session) account() string {
	if s.ev == nil {
		return ""
	}
	return s.ev.Recipient
}

// observations appends what the rule's detector is to observe.
func (s *session) observations(r *rule, out []detectors.Pair) ([]detectors.Pair, error) {
	value := ""
	if r.value != nil {
		var err error
		if value, err = s.word(r.value); err != nil {
			return out, fmt.Errorf("value: %w", err)
		}
	}
	if len(r.steps) == 0 {
		key, err := s.word(r.by)
		if err != nil {
			return out, fmt.Errorf("by: %w", err)
		}
		if key == "" {
			return out, nil // nothing that state could belong to
		}
		return append(out, detectors.Pair{Key: key, Value: value}), nil
	}
	for i := range r.steps {
		st := &r.steps[i]
		ok, err := s.holds(st.match)
		if err != nil {
			return out, fmt.Errorf("step %s: %w", st.name, err)
		}
		if !ok {
			continue
		}
		key, err := s.word(st.by)
		if err != nil {
			return out, fmt.Errorf("by of step %s: %w", st.name, err)
		}
		if key != "" {
			out = append(out, detectors.Pair{Key: key, Value: st.name})
		}
	}
	return out, nil
}

// span words a stretch of time.
func span(first, last time.Time) string {
	d := last.Sub(first)
	if first.IsZero() || d < 0 {
		return ""
	}
	unit := func(n time.Duration, word string) string {
		if n == 1 {
			return "1 " + word
		}
		return fmt.Sprintf("%d %ss", n, word)
	}
	switch {
	case d < 2*time.Minute:
		return unit(d/time.Second, "second")
	case d < 2*time.Hour:
		return unit(d/time.Minute, "minute")
	case d < 48*time.Hour:
		return unit(d/time.Hour, "hour")
	default:
		return unit(d/(24*time.Hour), "day")
	}
}
