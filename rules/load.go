package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

// PackVersion is the version of the shipped rules, by year and month. What
// exactly is in force is told by the hash beside it.
const PackVersion = "2026.11"

// PackTests is how many tests a shipped rule must have.
const PackTests = 3

// LoadOptions says which rules to load and what they may rely on.
type LoadOptions struct {
	// Pack loads the shipped rules.
	Pack bool
	// Dirs are folders of further rule files (*.yaml, sub-folders included),
	// or single files. A rule with the id of a shipped one replaces it.
	Dirs []string
	// Files are further rule files by path, for tests and editors.
	Files map[string][]byte
	// Exceptions are folders of exception files, or single files.
	Exceptions []string
	// ListDirs are folders of named lists, or single files: name.txt holds one
	// entry a line. They add to the entries that Lists has under that name.
	ListDirs []string
	// Owners are tables of who answers for what, or folders of them (.csv,
	// .yaml).
	Owners []string
	// Disable leaves rules out by id, or by a pattern like "signin.*".
	Disable []string
	// Lists are the named lists of the configuration.
	Lists map[string][]string
	// Factories makes detectors by their type word.
	Factories map[string]detectors.Factory
	// Geo says where addresses are; nil is nowhere.
	Geo detectors.Geo
	// Judge makes the policy judge for tests of rules; nil leaves policy
	// facts unknown in them.
	Judge func() detectors.PolicyJudge
	// Lineage makes the memory of who made whom; nil leaves it unknown.
	Lineage func() detectors.Lineage
	// Clock times each expression once on sample events and refuses what
	// takes more than a millisecond, or on a slow machine 20 times what reading
	// the event takes. nil leaves that out. Shipped rules are timed by a test.
	Clock func() time.Time
	// AllowFewTests lets a folder's rules have no tests, while they are
	// being written. The shipped pack always needs PackTests.
	AllowFewTests bool
}

// Set is a compiled set of rules. It is immutable and safe for concurrent
// use, and implements detectors.RuleSet.
type Set struct {
	rules   []*rule
	all     []*rule // those that are off too
	meta    []detectors.Rule
	index   *detectors.Index
	left    [][]test    // by rule: what the index does not prove of its condition
	early   [][2][]test // of these what can be said before events are in order: if not judged, and if judged
	lists   map[string]*list
	geo     detectors.Geo
	judge   func() detectors.PolicyJudge
	kin     func() detectors.Lineage
	tables  *tables
	hash    string
	stamp   string
	sources []Source
	owners  *Owners             // nil without tables
	entries map[string][]string // of lists, as written
	warns   []*Error
	instead []*Error // rules in the place of shipped ones
	empty   []EmptyDir

	exceptions []*exception
}

var _ detectors.RuleSet = (*Set)(nil)

// Load reads, checks and compiles rules. With any fault there is no set: the
// error is an Errors with every fault of every file.
func Load(opts LoadOptions) (*Set, error) {
	l := &loader{opts: opts, c: &compiler{tables: &tables{}, cache: make(map[string]*program)}, rules: make(map[string]*rule), ids: make(map[string]string)}
	if opts.Pack {
		l.readPack()
	}
	for _, dir := range opts.Dirs {
		l.readDir(dir)
	}
	paths := make([]string, 0, len(opts.Files))
	for p := range opts.Files {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		l.add(p, opts.Files[p], "files")
	}
	l.readAll()
	return l.finish()
}

type loader struct {
	opts  LoadOptions
	c     *compiler
	row   []*reading
	rules map[string]*rule
	errs  Errors
	ids   map[string]string // id to file, of broken rules too
	sum   []string
	kept  []Source

	instead Errors
	empty   []EmptyDir
}

// Source is one file as it was read.
type Source struct {
	Kind string // rules, exceptions, lists, owners
	Name string // of the file, without folders
	Data []byte
}

func (l *loader) keep(kind, name string, data []byte) {
	l.kept = append(l.kept, Source{Kind: kind, Name: name, Data: data})
}

// Sources are the files that the set was made of, the shipped rules left out:
// whoever keeps them can load the same set again, whatever becomes of the
// files. The names of one kind differ.
func (s *Set) Sources() []Source { return s.sources }

// EmptyDir is a folder of LoadOptions without a file of those that it is for: none
// is needed, and a folder is named for what should be in it.
type EmptyDir struct {
	Key  string // of the configuration: rules, exceptions, list_dirs, owners
	Want string // what is missing
	Dir  string
}

func (d EmptyDir) String() string { return "no " + d.Want + " in " + d.Dir }

// Empty are the folders without a file that was read.
func (s *Set) Empty() []EmptyDir { return s.empty }

// fail records a fault of a file as a whole; like file.at not inlined (DESIGN D23).
//
//go:noinline
func (l *loader) fail(path, hint, format string, args ...any) {
	l.errs = append(l.errs, &Error{File: path, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// readPack reads the shipped rules.
func (l *loader) readPack() {
	files, err := unpacked()
	if err != nil {
		l.fail("rules/pack", "", "cannot be read: %v", err)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		l.add("rules/pack/"+name, files[name], "pack")
	}
}

func (l *loader) readFS(fsys fs.FS, root, shown, from string) {
	err := fs.WalkDir(fsys, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return hiddenDir(p)
		}
		if !isRuleFile(p) {
			return nil
		}
		data, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		l.add(filepath.ToSlash(filepath.Join(shown, strings.TrimPrefix(p, root))), data, from)
		return nil
	})
	if err != nil {
		l.fail(shown, "", "cannot be read: %v", err)
	}
}

func (l *loader) readDir(dir string) {
	info, err := os.Stat(dir)
	if err != nil {
		l.fail(dir, "", "cannot be read: %v", errors.Unwrap(err))
		return
	}
	if info.IsDir() {
		n := len(l.row) + len(l.errs)
		if l.readFS(os.DirFS(dir), ".", dir, dir); n == len(l.row)+len(l.errs) {
			l.empty = append(l.empty, EmptyDir{"rules", "rule file (*.yaml)", dir})
		}
		return
	}
	if info.Size() > maxFile {
		l.fail(dir, "", "the file has %d bytes: a rule may have %d", info.Size(), maxFile)
		return
	}
	data, err := os.ReadFile(dir)
	if err != nil {
		l.fail(dir, "", "cannot be read: %v", errors.Unwrap(err))
		return
	}
	l.add(dir, data, filepath.Dir(dir))
}

func isRuleFile(p string) bool {
	base := filepath.Base(p)
	ext := filepath.Ext(base)
	return (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(base, ".") && !strings.HasPrefix(base, "_")
}

// hiddenDir leaves out folders whose name begins with a dot: version control,
// and the copies that Kubernetes keeps beside the files of a ConfigMap.
func hiddenDir(p string) error {
	if base := filepath.Base(p); p != "." && strings.HasPrefix(base, ".") {
		return fs.SkipDir
	}
	return nil
}

// add puts a file in the row of those that are read.
func (l *loader) add(path string, data []byte, from string) {
	l.row = append(l.row, &reading{path: path, data: data, from: from, done: make(chan struct{})})
}

// readAll reads the files of the row. On all cores they are taken apart; what
// they say is compiled in their order, so that nothing depends on who was first.
func (l *loader) readAll() {
	var next atomic.Int64
	one := func() bool {
		i := next.Add(1) - 1
		if i < int64(len(l.row)) {
			l.row[i].parse()
		}
		return i < int64(len(l.row))
	}
	for range min(runtime.GOMAXPROCS(0), len(l.row)) - 1 {
		go func() {
			for one() {
			}
		}()
	}
	for i, r := range l.row {
		for !r.parsed() && one() {
		}
		<-r.done
		l.take(r)
		l.row[i] = nil // what was taken apart is large
	}
}

// take compiles a file that was taken apart.
func (l *loader) take(in *reading) {
	f, path := in.file, in.path
	var r *rule
	if in.root != nil {
		r = l.c.read(in, l.opts.Factories)
		want := 1
		if l.opts.AllowFewTests || in.shipped() {
			want = 0
		}
		tests := child(in.root, "tests")
		if n := 0; tests == nil || len(tests.Content) < want {
			if tests != nil {
				n = len(tests.Content)
			} else {
				tests = in.root
			}
			if n < want {
				f.node(tests, "a match, a near miss, and a failed attempt or odd encoding", "the rule has %d tests: at least %d are needed", n, want)
			}
		}
	}
	if len(f.errs) > 0 {
		l.errs = append(l.errs, f.errs...)
		if id := child(in.root, "id"); id != nil {
			l.ids[id.Value] = path
		}
		return
	}
	r.from = in.from
	r.digest = hash(string(in.data))
	if old := l.rules[r.id()]; old != nil && (old.from == r.from || old.from != "pack") {
		f.node(r.doc.ID.node, "", "rule %q stands in %s already", r.id(), old.file.path)
		l.errs = append(l.errs, f.errs...)
		return
	}
	if old := l.rules[r.id()]; old != nil {
		n := r.doc.ID.node
		l.instead = append(l.instead, f.fault(n.Line, n.Column, "another id leaves both in force", "this stands in the place of the shipped rule %q (%s)", r.id(), old.doc.Title.value))
	}
	l.rules[r.id()], l.ids[r.id()] = r, path
	if !in.shipped() {
		l.keep("rules", r.id()+".yaml", in.data)
	}
	l.sum = append(l.sum, "rule\x00"+r.id()+"\x00"+r.digest)
}

// reading is a file that is being read.
type reading struct {
	path, from string
	data       []byte
	done       chan struct{} // closed when what follows is there

	file   *file
	root   *yaml.Node // nil when it cannot be read
	doc    document
	tests  func() []testDoc
	cases  int    // how many there are
	faulty Errors // in the tests
}

func (r *reading) shipped() bool { return r.from == "pack" }

func (r *reading) parsed() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// testsKey begins the tests of a shipped rule, which are the last thing in it.
const testsKey = "\ntests:\n"

// testBegin begins each of them.
const testBegin = "\n  - "

// parse takes the file apart. The tests of a shipped rule, more than half of it,
// are counted and left for those who want to run them: tests of this package hold
// that they can be, and are as many.
func (r *reading) parse() {
	defer close(r.done)
	data, tests := r.data, false
	if r.shipped() {
		data, _, tests = bytes.Cut(data, []byte(testsKey))
	}
	r.file = newFile(r.path, data)
	defer func() {
		// The parser is not ours and meets whatever a file contains.
		if p := recover(); p != nil {
			r.root = nil
			r.file.at(0, 0, "", "the file cannot be read: %v", p)
		}
	}()
	if r.root = r.file.parse(data); r.root == nil {
		return
	}
	r.file.structure(r.root, reflectOf(&r.doc))
	docs := r.doc.Tests
	r.tests, r.cases = func() []testDoc { return docs }, len(docs)
	if tests {
		r.tests, r.cases = sync.OnceValue(shippedTests(r.path, r.data)), bytes.Count(r.data[len(data):], []byte(testBegin))
		return
	}
	f := &file{path: r.path, lines: r.file.lines}
	checkTests(f, docs)
	r.faulty = f.errs
}

// shippedTests reads the tests of a shipped rule.
func shippedTests(path string, data []byte) func() []testDoc {
	return func() []testDoc {
		var d document
		f := newFile(path, data)
		f.structure(f.parse(data), reflectOf(&d))
		return d.Tests
	}
}

func (l *loader) finish() (*Set, error) {
	for _, pattern := range l.opts.Disable {
		hit := false
		for id := range l.ids {
			if globID(pattern, id) {
				hit = true
				if r := l.rules[id]; r != nil {
					r.off = true
				}
			}
		}
		if !hit {
			known := make([]string, 0, len(l.ids))
			for id := range l.ids {
				known = append(known, id)
			}
			sort.Strings(known)
			l.fail("disable", DidYouMean(pattern, known), "there is no rule %q to leave out", pattern)
		}
	}
	s := &Set{tables: l.c.tables, lists: make(map[string]*list), geo: l.opts.Geo, judge: l.opts.Judge, kin: l.opts.Lineage}
	lists := l.listFiles()
	s.owners = l.owners()
	for _, name := range sortedLists(l.opts.Lists) {
		for _, e := range l.opts.Lists[name] {
			if NoNetwork(e) {
				l.fail("list "+name, `write "203.0.113.0/24" or "2001:db8::/32"`, "%q is not a network", tame(e, 60))
			}
		}
	}
	for name, entries := range lists {
		if len(entries) > 0 {
			s.lists[name] = newList(entries)
		}
	}
	for _, r := range l.rules {
		s.all = append(s.all, r)
	}
	sort.Slice(s.all, func(i, j int) bool { return s.all[i].id() < s.all[j].id() })
	for _, r := range s.all {
		if !r.off {
			s.rules = append(s.rules, r)
		}
	}
	for _, r := range s.all {
		if r.signals == nil {
			continue
		}
		for _, t := range r.signals.Rules {
			if !slices.ContainsFunc(s.all, func(o *rule) bool { return o != r && o.signals == nil && globID(t.value, o.id()) }) && l.opts.Pack {
				r.file.node(t.node, "", "no rule that observes events has the id %q", t.value)
				l.errs = append(l.errs, r.file.errs...)
			}
		}
	}
	l.exceptions(s)
	s.build()
	if len(l.errs) == 0 && l.opts.Clock != nil {
		l.errs = append(l.errs, s.tooSlow(l.opts.Clock)...)
	}
	if len(l.errs) > 0 {
		l.errs.sort()
		return nil, l.errs
	}
	for _, w := range l.c.warns {
		s.warns = append(s.warns, w.err)
	}

	sort.Strings(l.sum)
	var b strings.Builder
	b.WriteString("trailwarden rules 1\n")
	for _, x := range l.sum {
		b.WriteString(x + "\n")
	}
	for _, r := range s.all {
		if r.off {
			b.WriteString("off " + r.id() + "\n")
		}
	}
	for _, name := range sortedLists(lists) {
		fmt.Fprintf(&b, "list %q %q\n", name, lists[name])
	}
	if g, ok := l.opts.Geo.(interface{ Identity() string }); ok {
		fmt.Fprintf(&b, "geo %s\n", g.Identity())
	}
	s.hash = hash(b.String())
	s.sources, s.entries, s.instead, s.empty = l.kept, lists, l.instead, l.empty
	s.stamp = PackVersion + "+" + s.hash
	return s, nil
}

// globID matches an id with a pattern in which * stands for any text.
func globID(pattern, id string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == id
	}
	if !strings.HasPrefix(id, parts[0]) {
		return false
	}
	id = id[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(id, p)
		if i < 0 {
			return false
		}
		id = id[i+len(p):]
	}
	return strings.HasSuffix(id, parts[len(parts)-1])
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// NewLineage implements detectors.Liner.
func (s *Set) NewLineage() detectors.Lineage {
	if s.kin == nil {
		return nil
	}
	return s.kin()
}

// build makes what the engine reads from the rules.
func (s *Set) build() {
	conds := make([]detectors.Cond, len(s.rules))
	s.meta = make([]detectors.Rule, len(s.rules))
	s.left, s.early = make([][]test, len(s.rules)), make([][2][]test, len(s.rules))
	exists := func(name string) bool { return s.lists[name] != nil }
	for i, r := range s.rules {
		conds[i] = r.cond.Settle(exists)
		if r.match != nil {
			s.left[i], s.early[i] = r.match.native.left(exists)
		}
		s.meta[i] = detectors.Rule{
			ID: r.id(), Version: r.doc.Version, Digest: r.digest, Shadow: r.shadow, Policy: r.policy(), New: r.newDet, State: r.state, Cond: conds[i],
			Signals: s.signalsOf(r),
		}
	}
	s.index = detectors.NewIndex(conds)
}

// signalsOf resolves the patterns of a rule that observes others.
func (s *Set) signalsOf(r *rule) *detectors.Signals {
	if r.signals == nil {
		return nil
	}
	out := &detectors.Signals{Weighted: r.detType == "risk"}
	out.UpTo, _ = alert.ParseSeverity(r.signals.UpTo) // one of the words: checked when read
	for _, o := range s.rules {
		if o.signals == nil && r.observes(o.id()) {
			out.Rules = append(out.Rules, o.id())
		}
	}
	return out
}

func (r *rule) observes(id string) bool {
	return r.signals != nil && slices.ContainsFunc(r.signals.Rules, func(t text) bool { return globID(t.value, id) })
}

// Rules implements detectors.RuleSet.
func (s *Set) Rules() []detectors.Rule { return s.meta }

// Index implements detectors.RuleSet.
func (s *Set) Index() *detectors.Index { return s.index }

// NewSession implements detectors.RuleSet.
func (s *Set) NewSession() detectors.Session { return newSession(s) }

// NewEvaluator returns the part of detection that needs no state, for one
// goroutine.
func (s *Set) NewEvaluator() *detectors.Evaluator { return detectors.NewEvaluator(s) }

// Hash implements detectors.RuleSet: it identifies what the files say, wherever
// they are, what is left out, the lists, and the data of addresses and owners.
func (s *Set) Hash() string { return s.hash }

// Stamp is what every alert says of the rules that raised it: the version of
// the shipped rules and Hash.
func (s *Set) Stamp() string { return s.stamp }

// Lists are the named lists with their entries, in the order in which they stand
// in configuration and files. They are not to be changed.
func (s *Set) Lists() map[string][]string { return s.entries }

// Owners says who answers for what; nil without tables.
func (s *Set) Owners() *Owners { return s.owners }

// Geo is what the set was loaded with; nil is nowhere.
func (s *Set) Geo() detectors.Geo { return s.geo }

// Len is the number of rules that are evaluated.
func (s *Set) Len() int { return len(s.rules) }

// Match implements detectors.Session.
func (s *session) Match(n int) (bool, error) {
	r := s.set.rules[n]
	if r.match == nil {
		// Steps alone decide; Pairs says which.
		return true, nil
	}
	return s.holds(r.match)
}

// MatchLeft implements detectors.Leaver.
func (s *session) MatchLeft(n int) (bool, error) {
	m := s.set.rules[n].match
	if m == nil {
		return true, nil
	}
	for _, holds := range s.set.left[n] {
		if !holds(s) {
			return false, nil
		}
	}
	if m.native.whole {
		return true, nil
	}
	return s.truth(m.code)
}

// MayMatch implements detectors.Leaver.
func (s *session) MayMatch(n int, judged bool) bool {
	early := &s.set.early[n][0]
	if judged {
		early = &s.set.early[n][1]
	}
	for _, holds := range *early {
		if !holds(s) {
			return false
		}
	}
	return true
}

// holds evaluates a condition, natively as far as it has a native form.
func (s *session) holds(p *program) (bool, error) {
	if s.ev != nil {
		for i := range p.native.parts {
			if !p.native.parts[i].holds(s) {
				return false, nil
			}
		}
		if p.native.whole {
			return true, nil
		}
	}
	return s.truth(p.code)
}

// Pairs implements detectors.Session.
func (s *session) Pairs(n int, out []detectors.Pair) ([]detectors.Pair, error) {
	return s.observations(s.set.rules[n], out)
}

// Detection implements detectors.Session.
func (s *session) Detection(n int, v *detectors.Verdict, on detectors.Pair) (alert.Detection, error) {
	return s.detection(s.set.rules[n], v, on)
}

// What one expression may take on one event: maxTime, or on a machine that is
// slow or busy so many times what reading the event takes there. A rule must
// not be refused, and a program not fail to start, for the machine's sake.
const (
	maxTime     = time.Millisecond
	maxReadings = 20
)

// tooSlow runs each expression on sample events and reports the slow ones. The
// best of several runs counts.
func (s *Set) tooSlow(clock func() time.Time) Errors {
	var errs Errors
	samples := sampleEvents()
	limits := make([]time.Duration, len(samples))
	for i, ev := range samples {
		read := best(clock, 0, func() { _, _ = event.Parse(ev.Raw()) })
		limits[i] = max(maxTime, maxReadings*read)
	}
	sess := newSession(s)
	for _, r := range s.rules {
		if r.from == "pack" {
			continue
		}
		done := make(map[*program]bool)
		for _, p := range r.programs {
			if p == nil || done[p] {
				continue
			}
			done[p] = true
			for i, ev := range samples {
				sess.Begin(ev)
				took := best(clock, limits[i], func() { _, _ = sess.run(p.code) }) // only its time counts here
				if took > limits[i] {
					errs = append(errs, &Error{File: r.file.path, Message: fmt.Sprintf("the expression %q takes %s on a sample event, more than %s", tame(p.src, 60), took.Round(10*time.Microsecond), limits[i]), Hint: "narrow the list or the pattern"})
					break
				}
			}
		}
	}
	return errs
}

// best is the shortest of several runs, as soon as one is within enough.
func best(clock func() time.Time, enough time.Duration, run func()) time.Duration {
	shortest := time.Duration(math.MaxInt64)
	for try := 0; try < 20 && shortest > enough; try++ {
		start := clock()
		run()
		shortest = min(shortest, clock().Sub(start))
	}
	return shortest
}

// sampleEvents are a usual event and one of unusual size.
func sampleEvents() []*event.Event {
	small := record(map[string]any{"eventName": "CreateAccessKey", "serviceName": "Ram"})
	big := record(map[string]any{"eventName": "RunCommand", "serviceName": "Ecs", "userAgent": strings.Repeat("agent ", 1000),
		"requestParameters": map[string]any{"CommandContent": strings.Repeat("echo x; ", 4000), "InstanceId.1": "i-example"}})
	var out []*event.Event
	for _, raw := range [][]byte{small, big} {
		if ev, err := event.Parse(raw); err == nil {
			out = append(out, ev)
		}
	}
	return out
}

// Info describes a loaded rule.
type Info struct {
	ID          string        `json:"id"`
	Version     int           `json:"version"`
	Title       string        `json:"title"` // the template as written
	TitleZH     string        `json:"title_zh,omitempty"`
	Reason      string        `json:"reason"` // the template as written
	ReasonZH    string        `json:"reason_zh,omitempty"`
	Description string        `json:"description"`
	Severity    string        `json:"severity"` // word, or the expression
	Status      string        `json:"status"`   // on, shadow or off
	Attack      []string      `json:"attack,omitempty"`
	References  []string      `json:"references,omitempty"`
	Match       string        `json:"match,omitempty"`
	Detector    string        `json:"detector,omitempty"` // its type
	Playbook    string        `json:"playbook,omitempty"`
	Signal      bool          `json:"signal,omitempty"`
	Budget      float64       `json:"budget_per_day,omitempty"`
	Ordered     bool          `json:"ordered"` // evaluated in event-time order
	Index       string        `json:"index,omitempty"`
	Tests       int           `json:"tests"`
	File        string        `json:"file"`
	Runbook     alert.Runbook `json:"runbook,omitzero"`
}

// DefaultBudget is the noise budget of a rule that names none, in alerts a day.
const DefaultBudget = 1

// NoiseBudget is how many alerts a day, on average, the rule is worth.
func (in Info) NoiseBudget() float64 {
	if in.Budget == 0 {
		return DefaultBudget
	}
	return in.Budget
}

// List describes every rule, those that are off too, by id.
func (s *Set) List() []Info {
	number := make(map[string]int, len(s.rules))
	for i, r := range s.rules {
		number[r.id()] = i
	}
	out := make([]Info, len(s.all))
	for i, r := range s.all {
		in := Info{
			ID: r.id(), Version: r.doc.Version, Title: r.doc.Title.value, TitleZH: r.doc.TitleZH.value, Reason: r.doc.Reason.value, ReasonZH: r.doc.ReasonZH.value, Description: strings.TrimSpace(r.doc.Description.value),
			Severity: r.doc.Severity.value, Status: "on", Attack: slices.Clone(r.attack), Match: strings.TrimSpace(r.doc.Match.value), Detector: r.detType,
			Playbook: r.doc.Respond.value, Signal: r.signal, Budget: r.doc.Budget, Ordered: r.newDet != nil || r.policy(), Tests: r.cases,
			File: r.file.path, Runbook: r.runbook,
		}
		for _, u := range r.doc.References {
			in.References = append(in.References, u.value)
		}
		switch {
		case r.off:
			in.Status = "off"
		case r.shadow:
			in.Status = "shadow"
		}
		if n, ok := number[r.id()]; ok {
			in.Index = s.index.Describe(n)
		}
		out[i] = in
	}
	return out
}
