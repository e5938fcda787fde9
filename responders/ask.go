package responders

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// AskPolicy says who is asked "was this you?" about an incident, and what an
// answer changes. Its zero value asks nobody by itself and closes nothing.
type AskPolicy struct {
	Owners []Owner `yaml:"owners" json:"owners" doc:"who owns which identity; the first entry that fits holds"`
	// People says who is asked for an owner, else a team, of the tables
	// detect.owners, when no entry of Owners fits.
	People map[string][]string `yaml:"people" json:"people,omitempty" doc:"an owner or team of the tables detect.owners to who is asked, one after the other: slack:U…, feishu:ou_…, dingtalk:<user id>; an owner there may be written so itself"`
	Within Duration            `yaml:"within" json:"within" doc:"how long one person has to answer before the next is asked (default 30m)"`
	// Auto asks by itself; nil asks only when somebody says so.
	Auto *AskAuto `yaml:"auto" json:"auto,omitempty" doc:"ask the owner by itself; absent: only when somebody presses the button"`
	// OnNo and OnSilence are the severities that a no and a silence raise an
	// incident to; what is worse already stays.
	OnNo      string `yaml:"on_no" json:"on_no,omitempty" doc:"severity that a no raises the incident to (default critical)"`
	OnSilence string `yaml:"on_silence" json:"on_silence,omitempty" doc:"severity when nobody who was asked answers (default high)"`
	CloseUpTo string `yaml:"close_up_to" json:"close_up_to,omitempty" doc:"a yes closes incidents up to this severity (low, medium or high) that nobody looks at and nothing was done about; absent: a yes closes nothing, people do"`
}

// Owner is who answers for an identity.
type Owner struct {
	Identity string   `yaml:"identity" json:"identity" doc:"name or glob of the RAM user or role that made the call; never the session name, which the caller chooses"`
	Accounts []string `yaml:"accounts" json:"accounts,omitempty" doc:"account ids or globs; empty is all"`
	People   []string `yaml:"people" json:"people" doc:"who is asked, one after the other: slack:U…"`
}

// AskAuto says about which live incidents the owner is asked unasked.
type AskAuto struct {
	MinSeverity string   `yaml:"min_severity" json:"min_severity" doc:"least severity (default medium)"`
	Rules       []string `yaml:"rules" json:"rules" doc:"rule ids or globs; empty is all"`
}

// Faults says everything that is wrong with a policy.
func (p AskPolicy) Faults() []Fault {
	var out []Fault
	bad := func(field, format string, args ...any) { out = append(out, Fault{field, fmt.Sprintf(format, args...)}) }
	severity := func(field, word string) alert.Severity {
		if word == "" {
			return 0
		}
		s, err := alert.ParseSeverity(word)
		if err != nil {
			bad(field, "%v", err)
		}
		return s
	}
	if p.Within < 0 || p.Within.Std() > maxExpires {
		bad("within", "%s: want 1m to 7d", p.Within)
	}
	severity("on_no", p.OnNo)
	severity("on_silence", p.OnSilence)
	if s := severity("close_up_to", p.CloseUpTo); s == alert.Critical {
		bad("close_up_to", "critical: what is critical is not closed by the word of one person; want high at most")
	}
	if p.Auto != nil {
		severity("auto.min_severity", p.Auto.MinSeverity)
	}
	chats := func(field string, people []string) {
		for _, who := range people {
			if !inChat(who) {
				bad(field, "%q: want the chat and the person's id in it, such as slack:U0123456789", clip(who, 60))
			}
		}
	}
	for name, people := range p.People {
		if name == "" || len(people) == 0 {
			bad("people", "%q: name who is asked, such as slack:U0123456789", clip(name, 60))
		}
		chats("people", people)
	}
	for i, o := range p.Owners {
		at := fmt.Sprintf("owners[%d].", i)
		if o.Identity == "" {
			bad(at+"identity", "an owner needs the name of an identity, or a glob")
		}
		if len(o.People) == 0 {
			bad(at+"people", "name who is asked, such as slack:U0123456789")
		}
		chats(at+"people", o.People)
	}
	return out
}

// inChat says that a name is one in a chat: slack:U….
func inChat(who string) bool {
	kind, id, ok := strings.Cut(who, ":")
	return ok && kind != "" && id != "" && text.Line(who) == who && len(who) <= maxOwner
}

func (p AskPolicy) within() time.Duration {
	if p.Within <= 0 {
		return 30 * time.Minute
	}
	return p.Within.Std()
}

func severityOr(word string, def alert.Severity) alert.Severity {
	if s, err := alert.ParseSeverity(word); err == nil {
		return s
	}
	return def
}

// PeopleFor lists who is asked about an incident, in turn. The session name is not
// looked at: whoever assumes a role chooses it.
func (p AskPolicy) PeopleFor(a *alert.Alert) []string {
	for _, o := range p.Owners {
		if len(o.Accounts) > 0 && !globAny(o.Accounts, a.AccountID) {
			continue
		}
		for _, name := range []string{a.Actor.Name, a.Actor.Role, a.Actor.ID} {
			if name != "" && glob(strings.ToLower(o.Identity), strings.ToLower(name)) {
				return o.People
			}
		}
	}
	// What the tables of owners said when the alert was raised.
	owners, _ := a.Details["owners"].(map[string]any)
	actor, _ := owners["actor"].(map[string]any)
	for _, k := range []string{"owner", "team"} {
		name, _ := actor[k].(string)
		switch {
		case name == "":
		case len(p.People[name]) > 0:
			return p.People[name]
		case k == "owner" && inChat(name):
			return []string{name}
		}
	}
	return nil
}

// auto says whether the owner is asked about an incident unasked.
func (p AskPolicy) auto(a *alert.Alert) bool {
	return p.Auto != nil && a.Severity >= severityOr(p.Auto.MinSeverity, alert.Medium) && Takes(p.Auto.Rules, a.Rule)
}

// AskState is where a question stands.
type AskState string

// The states of a question.
const (
	Asked     AskState = "asked" // or about to be
	SaidYes   AskState = "yes"
	SaidNo    AskState = "no"
	Silent    AskState = "silent"    // not answered in time; a late answer still counts
	Unasked   AskState = "unasked"   // the question could not be delivered
	Withdrawn AskState = "withdrawn" // the incident was closed meanwhile
)

// Question is one person asked about one incident: was this you?
type Question struct {
	ID         string    `json:"id"`
	Person     string    `json:"person"` // slack:U…
	By         string    `json:"by"`     // who wanted it asked
	At         time.Time `json:"at"`
	Until      time.Time `json:"until"`
	State      AskState  `json:"state"`
	Since      time.Time `json:"since"`                 // of the state
	AnsweredBy string    `json:"answered_by,omitempty"` // the person, or who wrote down what they said
	Reason     string    `json:"reason,omitempty"`      // why it could not be asked
	// Then are asked after this one, in turn, when no answer comes.
	Then []string `json:"then,omitempty"`
	// Settled says that what follows from the state has been done.
	Settled bool `json:"settled,omitempty"`
}

func (q *Question) open() bool { return q.State == Asked }

// questions are those of one incident, in the order in which they were asked.
type questions struct {
	V     int        `json:"v"`
	Alert string     `json:"alert"`
	What  string     `json:"what"` // the newest step, for the audit log
	By    string     `json:"by"`
	List  []Question `json:"questions"`
	// Told are the states that each question has come to, oldest first, for
	// threads.
	Told []askStep `json:"told"`
}

type askStep struct {
	ID    string   `json:"id"`
	State AskState `json:"state"`
	By    string   `json:"by"`
}

// step notes that a question has come to a state.
func (qs *questions) step(q *Question, by string) {
	qs.What, qs.By = string(q.State)+" "+q.Person, by
	qs.Told = append(qs.Told, askStep{q.ID, q.State, by})
}

func (qs *questions) find(id string) *Question {
	for i := range qs.List {
		if qs.List[i].ID == id {
			return &qs.List[i]
		}
	}
	return nil
}

// ErrBadAsk says that a question cannot be asked or answered; the error's text
// says why.
var ErrBadAsk = errors.New("cannot ask")

// Asker is a Notifier that can ask one person alone. Its errors are those of
// Notifier; the question is Notice.Question, its ID recognises the message.
type Asker interface {
	// Reaches says whether a person so named ("slack:U…") can be asked here.
	Reaches(person string) bool
	Ask(ctx context.Context, n Notice) (MessageRef, error)
	UpdateQuestion(ctx context.Context, ref MessageRef, n Notice) error
	FindQuestion(ctx context.Context, n Notice, since time.Time) (ref MessageRef, ok bool, err error)
}

// askSuffix makes the name of the outlet that asks from the destination's.
const askSuffix = ".ask"

// asking makes a Notifier of an Asker, so that questions go out by the same
// queue and journal as everything else.
type asking struct {
	Asker

	name string
}

func (a asking) Name() string { return a.name }
func (a asking) Post(ctx context.Context, n Notice) (MessageRef, error) {
	return a.Ask(ctx, n)
}

func (a asking) Update(ctx context.Context, ref MessageRef, n Notice) error {
	return a.UpdateQuestion(ctx, ref, n)
}

// Find is never called: outlet.lookup gives what FindQuestion needs.
func (a asking) Find(context.Context, string, time.Time) (MessageRef, bool, error) {
	return MessageRef{}, false, errors.ErrUnsupported
}

const (
	maxQuestions = 12 // about one incident
	maxOpenAsks  = 5  // of one person at a time: who is asked more answers nothing
	askFreshFor  = time.Hour
)

func questionID(alertID, person string) string {
	h := sha256.Sum256([]byte("trailwarden.question/v1\n" + alertID + "\n" + person))
	return "q" + hex.EncodeToString(h[:15])
}

// AskRequest asks for a question.
type AskRequest struct {
	By string
	// Person is who is to be asked; empty asks the owner as the policy names
	// them.
	Person string
}

// Ask has the owner of an incident's identity, or another person, asked
// whether it was them. The question is durable when it returns; it is sent
// once, and asking the same person again about the same incident changes
// nothing. Errors: ErrNoAlert, ErrNotAllowed (nobody asks), ErrBadAsk.
func (d *Dispatcher) Ask(ctx context.Context, alertID string, r AskRequest) (Question, error) {
	if r.By == "" {
		return Question{}, fmt.Errorf("ask about %s: %w: it is not said who asks", clip(alertID, 64), ErrNotAllowed)
	}
	s, ok, err := d.storedAlert(ctx, alertID)
	if err != nil {
		return Question{}, err
	} else if !ok {
		return Question{}, fmt.Errorf("%w: %q", ErrNoAlert, clip(alertID, 64))
	}
	a := s.restore()
	person, then := text.Line(r.Person), []string(nil)
	if person == "" {
		people := d.opts.Ask.PeopleFor(&a)
		if len(people) == 0 {
			return badAsk("nobody is named as the owner of %q; add them to respond.ask.owners, or name the person", clip(cmp.Or(a.Actor.Name, a.Actor.Role, "nobody"), 80))
		}
		person, then = people[0], people[1:]
	}
	return d.ask(ctx, a.ID, r.By, person, then)
}

func badAsk(format string, args ...any) (Question, error) {
	return Question{}, fmt.Errorf("%w: %s", ErrBadAsk, fmt.Sprintf(format, args...))
}

func (d *Dispatcher) ask(ctx context.Context, alertID, by, person string, then []string) (Question, error) {
	a, err := d.Stored(ctx, alertID)
	switch {
	case err != nil:
		return Question{}, err
	case strings.HasPrefix(a.Rule, "self."):
		return badAsk("the incident is about trailwarden itself")
	case d.asker(person) == nil:
		return badAsk("no destination can ask %q; a Slack destination with app_token asks slack:U…", clip(person, 60))
	}
	if t, _, err := d.triage(ctx, a.ID); err != nil {
		return Question{}, err
	} else if t.State == TriageClosed {
		return badAsk("the incident is closed; reopen it first")
	}
	q := Question{ID: questionID(a.ID, person), Person: person, By: by, Then: then, State: Asked}
	if err := d.mayAsk(person, q.ID); err != nil {
		return Question{}, err
	}
	full := false
	err = change(ctx, d.j, kindAsk, journalID(a.ID), func(qs *questions) bool {
		if have := qs.find(q.ID); have != nil {
			q = *have
			return false
		}
		if full = len(qs.List) >= maxQuestions; full {
			return false
		}
		now := d.now()
		q.At, q.Since, q.Until = now, now, now.Add(d.opts.Ask.within())
		qs.V, qs.Alert = recordVersion, a.ID
		qs.List = append(qs.List, q)
		qs.step(&q, by)
		return true
	})
	if err != nil {
		return Question{}, err
	}
	if full {
		return badAsk("%d people were asked already", maxQuestions)
	}
	return q, d.sendQuestion(ctx, &a, q)
}

// mayAsk bounds how many questions wait for one person.
func (d *Dispatcher) mayAsk(person, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, w := range d.waiting {
		if w.person == person && w.id != id {
			n++
		}
	}
	if n >= maxOpenAsks {
		return fmt.Errorf("%w: %s has %d questions waiting already", ErrBadAsk, clip(person, 60), n)
	}
	return nil
}

// waitingFor is an open question as memory knows it.
type waitingFor struct {
	id, alert, person string
	until             time.Time
	errs              int
}

// sendQuestion creates the notice of a question that is open, and waits for
// its answer. It may be repeated.
func (d *Dispatcher) sendQuestion(ctx context.Context, a *alert.Alert, q Question) error {
	if !q.open() {
		return nil
	}
	o := d.asker(q.Person)
	if o == nil { // it was configured once
		return d.setQuestion(ctx, a.ID, q.ID, Unasked, machineName, "no destination reaches this person any more")
	}
	now := d.now()
	n := notice{
		V: recordVersion, Dest: o.name, Alert: q.ID, Of: a.ID, Rule: RuleQuestion, Severity: max(a.Severity, alert.High), EventAt: now,
		State: noticePending, At: now,
	}
	_, err := appendJSON(ctx, d.j, kindNotice, noticeID(o.name, q.ID), n, 0)
	if err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	if err == nil {
		o.add(o.item(n))
	}
	d.await(a.ID, q)
	d.nudge(a.ID, q.ID)
	return nil
}

// await has a question's end looked after.
func (d *Dispatcher) await(alertID string, q Question) {
	d.mu.Lock()
	d.waiting[q.ID] = waitingFor{q.ID, alertID, q.Person, q.Until, 0}
	d.mu.Unlock()
	select {
	case d.askWake <- struct{}{}:
	default:
	}
}

// nudge has every message about an incident, and that of a question, look again.
func (d *Dispatcher) nudge(alertID, question string) {
	for _, o := range d.outlets {
		o.add(changed(alertID))
	}
	for _, o := range d.askers {
		o.add(changed(question))
	}
}

// asker is the outlet that can ask a person; nil when none can.
func (d *Dispatcher) asker(person string) *outlet {
	for _, o := range d.askers {
		if o.dst.Notifier.(asking).Reaches(person) {
			return o
		}
	}
	return nil
}

// Answer records a person's answer to a question and does what follows from
// it. by is who says so: the person asked, or, from the command line and the
// console, somebody who was told by them otherwise. It fails with ErrNotAllowed for
// everybody else, and with ErrBadAsk when there is no such question or it has
// its answer. A yes may be taken back by a no, never the other way round.
func (d *Dispatcher) Answer(ctx context.Context, alertID, question, by string, yes bool) (Question, error) {
	var qs questions
	if _, err := readLast(ctx, d.j, kindAsk, journalID(alertID), &qs); err != nil {
		return Question{}, err
	}
	q := qs.find(question)
	if q == nil {
		return Question{}, fmt.Errorf("%w: there is no such question about incident %s", ErrBadAsk, clip(alertID, 64))
	}
	// What is written down for somebody comes from where only operators are.
	heard := strings.HasPrefix(by, "cli:") || strings.HasPrefix(by, "web:")
	if by != q.Person && !heard {
		return Question{}, d.refuseAnswer(ctx, *q, by, "the question was put to "+q.Person)
	}
	to := map[bool]AskState{true: SaidYes, false: SaidNo}[yes]
	if q.State == to && q.AnsweredBy == by {
		return *q, d.settle(ctx, alertID, q.ID) // the same click again
	}
	if q.State == SaidNo || q.State == SaidYes && yes || q.State == Withdrawn {
		return Question{}, d.refuseAnswer(ctx, *q, by, fmt.Sprintf("it is %s already%s", q.State, byOf(*q)))
	}
	if err := d.setQuestion(ctx, alertID, q.ID, to, by, ""); err != nil {
		// What is recorded without its consequences is taken up soon.
		soon := *q
		soon.Until = d.now().Add(2 * time.Second)
		d.await(alertID, soon)
		return Question{}, err
	}
	if _, err := readLast(ctx, d.j, kindAsk, journalID(alertID), &qs); err != nil {
		return Question{}, err
	}
	if q = qs.find(question); q.State != to {
		return Question{}, d.refuseAnswer(ctx, *q, by, fmt.Sprintf("it is %s already%s", q.State, byOf(*q)))
	}
	return *q, nil
}

func byOf(q Question) string {
	if q.AnsweredBy == "" {
		return ""
	}
	return ", said " + q.AnsweredBy
}

func (d *Dispatcher) refuseAnswer(ctx context.Context, q Question, by, reason string) error {
	err := change(ctx, d.j, kindClick, q.ID, func(c *clicks) bool {
		c.add(Click{At: d.now(), By: clip(by, 200), What: "answer", Reason: reason})
		return true
	})
	d.log.Warn("answer refused", "question", q.ID, "by", by, "reason", reason)
	kind := ErrNotAllowed
	if by == q.Person {
		kind = ErrBadAsk
	}
	return errors.Join(fmt.Errorf("%w: %s", kind, reason), err)
}

// leads says what may become of a question in each state.
var leads = map[AskState][]AskState{
	Asked:   {SaidYes, SaidNo, Silent, Unasked, Withdrawn},
	Silent:  {SaidYes, SaidNo},
	Unasked: {SaidYes, SaidNo},
	SaidYes: {SaidNo},
}

// setQuestion moves a question on, if it still may be moved so, and does what
// follows.
func (d *Dispatcher) setQuestion(ctx context.Context, alertID, id string, to AskState, by, reason string) error {
	err := change(ctx, d.j, kindAsk, journalID(alertID), func(qs *questions) bool {
		q := qs.find(id)
		if q == nil || !slices.Contains(leads[q.State], to) {
			return false
		}
		q.State, q.Since, q.Reason, q.Settled = to, d.now(), clip(reason, maxReason), false
		if to == SaidYes || to == SaidNo {
			q.AnsweredBy = by
		}
		qs.step(q, by)
		return true
	})
	if err != nil {
		return err
	}
	// Also what somebody else recorded, and could not finish.
	return d.settle(ctx, alertID, id)
}

// settle does what follows from a question's state. Each part of it may be
// done again: after a crash it is.
func (d *Dispatcher) settle(ctx context.Context, alertID, id string) error {
	var qs questions
	if _, err := readLast(ctx, d.j, kindAsk, journalID(alertID), &qs); err != nil {
		return err
	}
	p := qs.find(id)
	if p == nil || p.open() {
		return nil
	}
	if !p.Settled {
		if err := d.follow(ctx, alertID, qs, *p); err != nil {
			return err
		}
		d.log.Info("the owner of an identity was asked", "alert_id", alertID, "person", p.Person, "answer", string(p.State))
	}
	d.mu.Lock()
	delete(d.waiting, id)
	d.mu.Unlock()
	d.nudge(alertID, id)
	return nil
}

// follow does what a state leads to, and records that it was done.
func (d *Dispatcher) follow(ctx context.Context, alertID string, qs questions, q Question) error {
	var err error
	switch q.State {
	case SaidNo:
		if err = d.raiseSeverity(ctx, alertID, severityOr(d.opts.Ask.OnNo, alert.Critical)); err == nil {
			err = d.reopenAfterNo(ctx, alertID, q)
		}
	case Silent, Unasked:
		var asked bool
		if asked, err = d.askNext(ctx, alertID, q); err == nil && !asked {
			err = d.raiseSeverity(ctx, alertID, severityOr(d.opts.Ask.OnSilence, alert.High))
		}
	case SaidYes:
		err = d.closeAfterYes(ctx, alertID, qs, q)
	}
	if err != nil {
		return err
	}
	return change(ctx, d.j, kindAsk, journalID(alertID), func(qs *questions) bool {
		x := qs.find(q.ID)
		if x == nil || x.Settled || x.State != q.State {
			return false
		}
		x.Settled = true
		qs.What, qs.By = "settled", machineName
		return true
	})
}

// askNext asks the next person who can be asked; false when there is none.
// An error is one of the journal.
func (d *Dispatcher) askNext(ctx context.Context, alertID string, q Question) (bool, error) {
	for i, next := range q.Then {
		x, err := d.ask(ctx, alertID, machineName, next, q.Then[i+1:])
		if err != nil && !errors.Is(err, ErrBadAsk) {
			return false, err
		}
		if err != nil {
			d.log.Warn("the next person could not be asked", "alert_id", alertID, "person", next, "err", err)
			continue
		}
		if x.State != Silent && x.State != Unasked {
			return true, nil
		}
	}
	return false, nil
}

// raiseSeverity makes an incident at least as severe, and tells those whom it
// now concerns.
func (d *Dispatcher) raiseSeverity(ctx context.Context, alertID string, to alert.Severity) error {
	var a alert.Alert
	err := change(ctx, d.j, kindAlert, journalID(alertID), func(s *storedAlert) bool {
		fresh := s.V != 0 && s.severity() < to
		if fresh {
			s.Raised = to
		}
		a = s.restore()
		return fresh
	})
	if err != nil || a.ID == "" {
		return err
	}
	return d.show(ctx, a, "")
}

// reopenAfterNo takes back what a yes, or somebody who thought it harmless, has
// closed.
func (d *Dispatcher) reopenAfterNo(ctx context.Context, alertID string, q Question) error {
	t, _, err := d.triage(ctx, alertID)
	if err != nil || t.State != TriageClosed || t.Verdict == TruePositive || t.At.After(q.Since) {
		return err
	}
	_, err = d.Triage(ctx, alertID, TriageRequest{By: q.AnsweredBy, Do: DoReopen})
	return err
}

// closeAfterYes closes an incident when the policy says so, nobody looks at it
// and nothing was done about it.
func (d *Dispatcher) closeAfterYes(ctx context.Context, alertID string, qs questions, q Question) error {
	upTo := severityOr(d.opts.Ask.CloseUpTo, 0)
	s, ok, err := d.storedAlert(ctx, alertID)
	if err != nil || !ok || upTo == 0 || s.restore().Severity > upTo || strings.HasPrefix(s.Alert.Rule, "self.") {
		return err
	}
	if slices.ContainsFunc(qs.List, func(x Question) bool { return x.State == SaidNo }) {
		return nil
	}
	t, _, err := d.triage(ctx, alertID)
	if err != nil || t.State != TriageOpen || t.At.After(q.Since) {
		return err
	}
	actions, err := d.m.List(ctx, ListFilter{AlertID: s.Alert.ID})
	if err != nil || slices.ContainsFunc(actions, func(x ActionDetail) bool { return x.State == Done || !x.State.settled() }) {
		return err
	}
	_, err = d.Triage(ctx, alertID, TriageRequest{By: q.AnsweredBy, Do: DoClose, Verdict: Benign})
	return err
}

// autoAsk asks the owner of a live incident when the policy says so. That it
// cannot is no reason to hold anything up; only a journal that fails is.
func (d *Dispatcher) autoAsk(ctx context.Context, origin Origin, a *alert.Alert) error {
	if origin != Live || strings.HasPrefix(a.Rule, "self.") || !d.opts.Ask.auto(a) || d.now().Sub(a.LastAt) > askFreshFor {
		return nil
	}
	if len(d.opts.Ask.PeopleFor(a)) == 0 {
		return nil
	}
	_, err := d.Ask(ctx, a.ID, AskRequest{By: requesterPlaybook})
	if errors.Is(err, ErrBadAsk) {
		d.log.Warn("the owner of an identity was not asked", "alert_id", a.ID, "reason", err)
		return nil
	}
	return err
}

// Questions lists what was asked about an incident, in order.
func (d *Dispatcher) Questions(ctx context.Context, alertID string) ([]Question, error) {
	qs, _, err := d.questions(ctx, alertID)
	return qs.List, err
}

func (d *Dispatcher) questions(ctx context.Context, alertID string) (qs questions, seq uint64, err error) {
	seq, err = readLast(ctx, d.j, kindAsk, journalID(alertID), &qs)
	return qs, seq, err
}

// recoverAsks takes up what was asked, and what did not follow from an answer yet.
func (d *Dispatcher) recoverAsks(ctx context.Context) error {
	all, err := newestOf[questions](ctx, d.j, kindAsk, d.unread(kindAsk))
	if err != nil {
		return err
	}
	ids := make([]string, 0, len(all))
	for id := range all {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		for _, q := range all[id].List {
			if q.Settled {
				continue
			}
			if !q.open() {
				if err := d.settle(ctx, all[id].Alert, q.ID); err != nil {
					return err
				}
				continue
			}
			a, err := d.Stored(ctx, all[id].Alert)
			if errors.Is(err, ErrNoAlert) {
				continue
			}
			if err == nil {
				err = d.sendQuestion(ctx, &a, q)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// watchAsks ends questions that nobody answers in time, until ctx ends.
func (d *Dispatcher) watchAsks(ctx context.Context) {
	for ctx.Err() == nil {
		now := d.now()
		var due []waitingFor
		var next time.Time
		d.mu.Lock()
		for _, w := range d.waiting {
			if !now.Before(w.until) {
				due = append(due, w)
			} else if next.IsZero() || w.until.Before(next) {
				next = w.until
			}
		}
		d.mu.Unlock()
		lists.Sort(due, func(a, b waitingFor) int { return cmp.Or(a.until.Compare(b.until), strings.Compare(a.id, b.id)) })
		for _, w := range due {
			if err := d.endQuestion(ctx, w); err != nil && ctx.Err() == nil {
				w.errs++
				w.until = now.Add(backoff(w.id, w.errs, time.Second, maxPause))
				d.log.Error("the end of a question could not be recorded and is tried again", "question", w.id, "err", err)
				d.mu.Lock()
				if _, still := d.waiting[w.id]; still {
					d.waiting[w.id] = w
				}
				d.mu.Unlock()
			}
		}
		if len(due) > 0 {
			continue // those that failed have a new time
		}
		rest(ctx, d.askWake, now, next)
	}
}

// endQuestion looks at a question whose time has come: it is over, or what
// follows from its answer is still to be done.
func (d *Dispatcher) endQuestion(ctx context.Context, w waitingFor) error {
	qs, _, err := d.questions(ctx, w.alert)
	if err != nil {
		return err
	}
	if q := qs.find(w.id); q != nil && q.open() && d.now().Before(q.Until) {
		d.await(w.alert, *q)
		return nil
	}
	t, _, err := d.triage(ctx, w.alert)
	if err != nil {
		return err
	}
	to := Silent
	if t.State == TriageClosed {
		to = Withdrawn
	}
	if err := d.setQuestion(ctx, w.alert, w.id, to, machineName, ""); err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.waiting, w.id)
	d.mu.Unlock()
	return nil
}

// asked says what was asked and answered between two numbers of steps.
func (qs questions) asked(after, upto int) []Line {
	var out []Line
	upto = min(upto, len(qs.Told))
	for _, s := range qs.Told[min(after, upto):upto] {
		q := qs.find(s.ID)
		if q == nil {
			continue
		}
		var l Line
		switch s.State {
		case Asked:
			l = say(SayAsked, q.Person, q.By, q.Until)
		case SaidYes:
			l = say(SayAnswerYes, q.Person)
			l.More = []Line{say(SayOwnWord)}
		case SaidNo:
			l = say(SayAnswerNo, q.Person)
		case Silent:
			l = say(SaySilent, q.Person)
		case Unasked:
			l = say(SayUnasked, q.Person, Ours(q.Reason))
		case Withdrawn:
			l = say(SayWithdrawn, q.Person)
		}
		if (s.State == SaidYes || s.State == SaidNo) && s.By != q.Person {
			l.More = append([]Line{say(SayHeardBy, s.By)}, l.More...)
		}
		out = append(out, l)
	}
	return out
}
