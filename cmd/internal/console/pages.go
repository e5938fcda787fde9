package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
	"github.com/trailwarden/trailwarden/responders/message"
)

// PerPage is how many alerts, actions or events one page shows.
const PerPage = 50

// NowFacts is the screen Now as JSON.
type NowFacts struct {
	Alerts []index.Alert `json:"alerts"` // newest last event first
	Total  int           `json:"total"`  // that match the filter
	Page   int           `json:"page"`
	Pages  int           `json:"pages"`
	// Unclosed counts alerts that nobody closed, by severity, whatever the filter.
	Unclosed map[string]int `json:"unclosed"`
	Status   admin.Status   `json:"status"`
	Complete bool           `json:"complete"` // false while the journal is still being read after a start
	Dropped  int            `json:"dropped"`  // older alerts that are not listed for lack of room
	Seq      string         `json:"seq"`
}

type nowView struct {
	page
	NowFacts
	Filter     filter
	Rows       []row
	Counts     []count
	Strip      stripView
	Prev, Next string
}

// filter is what the address says.
type filter struct{ Severity, State, Owner, Rule, Account, Text string }

// row is an alert in a list.
type row struct {
	index.Alert
	Account string
	page    *page
}

// P is the page that the row is on.
func (r row) P() *page { return r.page }

// Open says whether somebody may still acknowledge it.
func (r row) Open() bool { return r.State == responders.TriageOpen }

type count struct {
	Severity alert.Severity
	N        int
	At       string
}

func (q *ask) rows(as []index.Alert, p *page) []row {
	out := make([]row, len(as))
	for i, a := range as {
		if q.lang == chinese && a.TitleZH != "" && a.ReasonZH != "" {
			a.Title, a.Reason = a.TitleZH, a.ReasonZH
		}
		out[i] = row{a, q.account(a.AccountID), p}
	}
	return out
}

// account is the name people use, or the id.
func (q *ask) account(id string) string {
	if n := q.s.o.Accounts[id]; n != "" {
		return n
	}
	return id
}

func (q *ask) nowPage() error {
	v := q.r.URL.Query()
	get := func(k string) string { return strings.ToValidUTF8(v.Get(k), "\ufffd") }
	f := filter{Severity: get("severity"), State: get("state"), Owner: get("owner"), Rule: get("rule"), Account: get("account"), Text: get("q")}
	query := index.Query{Owner: f.Owner, Rule: f.Rule, Account: f.Account, Text: f.Text, Limit: PerPage}
	if f.Severity != "" {
		sev, err := alert.ParseSeverity(f.Severity)
		if err != nil {
			return fmt.Errorf("%w: %w", errBadRequest, err)
		}
		query.MinSeverity = sev
	}
	switch f.State {
	case "":
		query.State = index.Unclosed
	case "all":
	case "open", "acknowledged", "closed":
		query.State = responders.TriageState(f.State)
	default:
		return fmt.Errorf("%w: state %q: want open, acknowledged, closed or all", errBadRequest, text.Cut(text.Line(f.State), 40))
	}
	n := pageNumber(q.r)
	query.Offset = (n - 1) * PerPage
	l := q.s.o.Index.List(query)
	facts := NowFacts{Alerts: l.Alerts, Total: l.Total, Page: n, Pages: max((l.Total+PerPage-1)/PerPage, 1), Unclosed: map[string]int{}, Complete: q.s.o.Index.Ready()}
	for s, c := range l.Counts {
		facts.Unclosed[s.String()] = c
	}
	_, facts.Dropped = q.s.o.Index.Held()
	var err error
	if facts.Status, err = q.s.o.Backend.Status(q.r.Context()); err != nil {
		return err
	}
	p := q.page(q.lang.t("Now"))
	p.Nav, p.Live = "now", "alerts"
	facts.Seq = p.LiveSeq
	view := nowView{page: p, NowFacts: facts, Filter: f, Strip: stripOf(facts.Status, &p)}
	view.Rows = q.rows(l.Alerts, &view.page)
	for s := alert.Critical; s >= alert.Info; s-- {
		if l.Counts[s] > 0 {
			view.Counts = append(view.Counts, count{s, l.Counts[s], "/?severity=" + s.String()})
		}
	}
	at := func(n int) string {
		v.Set("page", strconv.Itoa(n))
		v.Del("lang")
		return "/?" + v.Encode()
	}
	if n > 1 {
		view.Prev = at(n - 1)
	}
	if n < facts.Pages {
		view.Next = at(n + 1)
	}
	return q.reply("now", view, facts)
}

// stripView is the line that says whether we are blind.
type stripView struct {
	P       *page
	OK      bool
	Sources []stripSource
	Lag     uint64
	Late    uint64
	Parked  uint64
	Waiting int
	Dead    int
	Errors  int // rules with errors
	Frozen  responders.Freeze
	Problem []string
	Rules   int
}

type stripSource struct {
	Name    string
	LastAt  time.Time
	Behind  int
	Records uint64
}

func stripOf(s admin.Status, p *page) stripView {
	v := stripView{P: p, OK: s.Ready && len(s.Problems) == 0, Frozen: s.Frozen, Problem: s.Problems, Rules: s.Rules}
	for _, x := range s.Sources {
		v.Sources = append(v.Sources, stripSource{x.Name, x.Seen(), int(x.BehindSeconds), x.Records})
	}
	for _, x := range s.Partitions {
		v.Lag += x.Lag
		v.Late += x.Late
	}
	for _, n := range s.Parked {
		v.Parked += n
	}
	for _, d := range s.Destinations {
		v.Waiting += d.Waiting
		v.Dead += d.Dead
	}
	return v
}

func (q *ask) strip() error {
	s, err := q.s.o.Backend.Status(q.r.Context())
	if err != nil {
		return err
	}
	p := q.page(q.lang.t("Now"))
	return q.reply("strip", stripOf(s, &p), s)
}

// Evidence is one event of an alert.
type Evidence struct {
	ID    string          `json:"id"`
	Event *index.Event    `json:"event,omitempty"` // absent when it is no longer held
	Raw   json.RawMessage `json:"raw,omitempty"`   // absent when it is no longer kept
}

// AlertFacts is the screen Alert as JSON.
type AlertFacts struct {
	Alert        alert.Alert               `json:"alert"`
	Account      string                    `json:"account,omitempty"`
	Triage       responders.Triage         `json:"triage"`
	Questions    []responders.Question     `json:"questions"` // put to people about it
	Actions      []responders.ActionDetail `json:"actions"`
	Offers       []responders.Offer        `json:"offers"` // what can be asked for
	Evidence     []Evidence                `json:"evidence"`
	Why          []string                  `json:"why,omitempty"` // what the rule's detector knew, and the rule's condition on the evidence, part by part
	Similar      []index.Alert             `json:"similar"`       // in 90 days, at most 10
	SimilarTotal int                       `json:"similar_total"`
	Exception    string                    `json:"exception_draft,omitempty"` // a file for detect.exceptions, without owner and reason
}

type alertView struct {
	page
	AlertFacts
	Row      row
	Details  string
	Replay   string
	Outside  string // where the records are after they have gone here
	InSLS    string
	Runbook  []passage
	Policy   string // what a change of permissions newly allows, in words
	Likes    []row
	Members  []row // of a group, as far as they are held
	Verdicts []responders.TriageVerdict
	Acts     []actView
}

// passage is a part of a runbook: words, or commands to copy.
type passage struct {
	Command bool
	Text    string
}

// passages tells commands, which are indented, from words.
func passages(steps string) (out []passage) {
	if steps == "" {
		return nil
	}
	for _, l := range strings.Split(steps, "\n") {
		command, l := strings.HasPrefix(l, "  "), text.Cut(text.Line(l), maxText)
		switch last := len(out) - 1; {
		case l == "" && last >= 0: // between two passages
		case last >= 0 && out[last].Command == command:
			out[last].Text += "\n" + l
		default:
			out = append(out, passage{command, l})
		}
	}
	return out
}

const (
	maxEvidence = 20
	maxRaw      = 5 // records shown in full
	similarFor  = 90 * 24 * time.Hour
)

func (q *ask) alertPage() error {
	ctx := q.r.Context()
	id := q.r.PathValue("id")
	if r, ok := q.s.o.Index.Alert(id); ok {
		id = r.ID
	}
	a, err := q.s.o.Backend.Alert(ctx, id)
	if err != nil {
		return err
	}
	f := AlertFacts{Alert: a, Account: q.s.o.Accounts[a.AccountID], Actions: []responders.ActionDetail{}, Evidence: []Evidence{}}
	for _, d := range q.s.o.Index.Actions() {
		if d.Action.AlertID == a.ID {
			f.Actions = append(f.Actions, d)
		}
	}
	if f.Triage, err = q.s.o.Backend.TriageOf(ctx, a.ID); err != nil {
		return err
	}
	if f.Questions, err = q.s.o.Backend.Questions(ctx, a.ID); err != nil {
		return err
	}
	if f.Questions == nil {
		f.Questions = []responders.Question{}
	}
	if f.Offers, err = q.s.o.Backend.Offers(ctx, a.ID); err != nil {
		return err
	}
	if f.Offers == nil {
		f.Offers = []responders.Offer{}
	}
	line, ok := q.s.o.Index.Alert(a.ID)
	if !ok { // older than what the index holds
		line = index.Alert{ID: a.ID, Rule: a.Rule, Title: a.Title, Reason: a.Reason, TitleZH: a.TitleZH, ReasonZH: a.ReasonZH, Severity: a.Severity, Outcome: a.Outcome, FirstAt: a.FirstAt, LastAt: a.LastAt,
			Count: a.Count, AccountID: a.AccountID, Actor: a.Actor, SourceIP: a.SourceIP, TargetKey: a.TargetKey}
		if a.Target != nil {
			line.Target = *a.Target
		}
	}
	line.State, line.Owner, line.Verdict = f.Triage.State, f.Triage.Owner, f.Triage.Verdict
	if err := q.evidence(&f); err != nil {
		return err
	}
	f.Exception = q.s.o.Backend.DraftException(a)
	f.Similar, f.SimilarTotal = q.s.o.Index.Similar(line, q.now.Add(-similarFor), 10)
	if f.Similar == nil {
		f.Similar = []index.Alert{}
	}
	title, reason := a.Words(q.lang == chinese)
	p := q.page(text.Cut(text.Line(title), maxTitle))
	p.Nav, p.Live = "now", "alerts"
	view := alertView{page: p, AlertFacts: f, Verdicts: []responders.TriageVerdict{responders.TruePositive, responders.FalsePositive, responders.Benign}}
	view.Alert.Title, view.Alert.Reason = title, reason // f, the JSON form, keeps its own
	view.Row = q.rows([]index.Alert{line}, &view.page)[0]
	view.Likes = q.rows(f.Similar, &view.page)
	var in []index.Alert
	for _, id := range responders.Members(&a) {
		if m, ok := q.s.o.Index.Alert(id); ok {
			in = append(in, m)
		}
	}
	view.Members = q.rows(in, &view.page)
	if len(a.Details) > 0 {
		if b, err := json.Marshal(a.Details); err == nil {
			view.Details = pretty(b)
		}
	}
	view.Runbook = passages(a.Steps(q.lang == chinese))
	words := message.English
	if q.lang == chinese {
		words = message.Chinese
	}
	said := message.For(words, nil)
	if view.InSLS = said.InSLS; q.s.o.Raw != nil {
		view.Outside = q.s.o.Raw(&a)
	}
	view.Policy = said.PolicyIn(a.Details, 2_000, maxRaw*2_000)
	view.Acts = q.acts(f.Actions, &view.page)
	entity := a.Actor.AccessKeyID
	if entity == "" {
		entity = a.SourceIP
	}
	if plainWord(entity) {
		view.Replay = fmt.Sprintf("trailwarden replay --entity %s --from %s --to %s FILES", entity, a.FirstAt.Add(-time.Hour).UTC().Format(time.RFC3339), a.LastAt.Add(time.Hour).UTC().Format(time.RFC3339))
	}
	return q.reply("alert", view, f)
}

// evidence fills in the events that an alert rests on, from the event stream or,
// when they have left it, from what was kept, and why its rule fired.
func (q *ask) evidence(f *AlertFacts) error {
	ctx, a := q.r.Context(), &f.Alert
	f.Why = knew(a.Details)
	ids := a.EventIDs[:min(len(a.EventIDs), maxEvidence)]
	held := q.s.o.Index.Events(ids)
	kept := map[string]json.RawMessage{}
	records, err := q.s.o.Backend.Kept(a.ID)
	if err != nil {
		q.s.o.Log.Warn("evidence that was kept cannot be read", "alert", a.ID, "error", err)
	}
	for _, r := range records {
		ev, err := event.Parse(r)
		if err != nil {
			continue
		}
		kept[ev.ID] = r
		if _, ok := held[ev.ID]; !ok {
			held[ev.ID] = index.EventOf(ev)
		}
	}
	raws := 0
	for _, id := range ids {
		e := Evidence{ID: id}
		if ev, ok := held[id]; ok {
			e.Event = &ev
		}
		if e.Event != nil && raws < maxRaw {
			e.Raw = kept[id]
			if e.Raw == nil {
				if e.Raw, err = q.s.o.Backend.Record(ctx, e.Event.Pos); err != nil && !errors.Is(err, ErrGone) {
					return err
				}
			}
			if e.Raw != nil {
				// A rule that is no longer loaded explains nothing.
				lines, _ := q.s.o.Backend.Explain(a.Rule, e.Raw)
				f.Why = append(f.Why, explained(e.Event, lines, raws == 0)...)
				raws++
			}
		}
		f.Evidence = append(f.Evidence, e)
	}
	return nil
}

// plainWord says that a text can stand in a command line that people copy.
func plainWord(s string) bool {
	return s != "" && len(s) <= 128 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:_-") == "" && s[0] != '-'
}

// body reads a form or a JSON object of strings.
func (q *ask) body() (map[string]string, error) {
	out := map[string]string{}
	if strings.HasPrefix(q.r.Header.Get("Content-Type"), "application/json") {
		if err := json.NewDecoder(q.r.Body).Decode(&out); err != nil {
			return nil, fmt.Errorf("%w: the body is not an object of strings", errBadRequest)
		}
		return out, nil
	}
	if err := q.r.ParseForm(); err != nil {
		return nil, fmt.Errorf("%w: the form cannot be read", errBadRequest)
	}
	for k, v := range q.r.PostForm {
		out[k] = v[0]
	}
	return out, nil
}

func (q *ask) triage() error {
	b, err := q.body()
	if err != nil {
		return err
	}
	id := q.r.PathValue("id")
	t, err := q.s.o.Backend.Triage(q.r.Context(), id, responders.TriageRequest{By: q.u.By, Do: b["do"], Owner: b["owner"], Verdict: responders.TriageVerdict(b["verdict"]), Note: b["note"]})
	if err != nil {
		return err
	}
	// What was written is shown by the page that the browser is sent to.
	q.settle(func() bool {
		a, ok := q.s.o.Index.Alert(id)
		return !ok || a.State == t.State && a.Owner == t.Owner && a.Verdict == t.Verdict
	})
	return q.back("/alerts/"+url.PathEscape(id), t)
}

// question has a person asked whether it was them.
func (q *ask) question() error {
	b, err := q.body()
	if err != nil {
		return err
	}
	id := q.r.PathValue("id")
	x, err := q.s.o.Backend.Ask(q.r.Context(), id, strings.TrimSpace(b["person"]), q.u.By)
	if err != nil {
		return err
	}
	return q.back("/alerts/"+url.PathEscape(id), x)
}

// answer writes down what a person said otherwise than by the button.
func (q *ask) answer() error {
	b, err := q.body()
	if err != nil {
		return err
	}
	if b["answer"] != "yes" && b["answer"] != "no" {
		return fmt.Errorf("%w: answer: want yes or no", errBadRequest)
	}
	id := q.r.PathValue("id")
	x, err := q.s.o.Backend.Answer(q.r.Context(), id, b["question"], q.u.By, b["answer"] == "yes")
	if err != nil {
		return err
	}
	return q.back("/alerts/"+url.PathEscape(id), x)
}

// request asks for containment in this person's name.
func (q *ask) request() error {
	id := q.r.PathValue("id")
	return q.decide(func(b map[string]string) (responders.ActionDetail, error) {
		return q.s.o.Backend.Request(q.r.Context(), id, b["action"], q.u.By)
	})
}

// settle waits a moment until the index has seen what was just done, so that
// the page that follows shows it. What takes longer comes by the live page.
func (q *ask) settle(seen func() bool) {
	end := time.NewTimer(2 * time.Second)
	defer end.Stop()
	for {
		_, changed := q.s.o.Index.Seq()
		if seen() {
			return
		}
		select {
		case <-changed:
		case <-end.C:
			return
		case <-q.r.Context().Done():
			return
		}
	}
}

// actView is an action with what this person may do about it.
type actView struct {
	responders.ActionDetail
	P                *page
	Waits, CanUndo   bool // may be asked for; the machine decides
	OwnRequest       bool
	Missing          int // approvals
	Account          string
	Effect, UndoText string
}

func (q *ask) acts(ds []responders.ActionDetail, p *page) []actView {
	out := make([]actView, len(ds))
	for i, d := range ds {
		v := actView{ActionDetail: d, P: p, Account: q.account(d.Action.Target.AccountID), OwnRequest: d.Action.Requester == q.u.By}
		v.Waits = d.State == responders.Proposed && q.now.Before(d.ExpiresAt)
		v.CanUndo = d.Undoable
		v.Missing = max(d.Need-len(d.Approvals), 0)
		out[i] = v
	}
	return out
}

// ActionsFacts is the screen Actions as JSON.
type ActionsFacts struct {
	Waiting []responders.ActionDetail `json:"waiting"` // for a person
	Log     []responders.ActionDetail `json:"log"`     // the others, newest proposal first, one page
	Total   int                       `json:"total"`   // of the log
	Page    int                       `json:"page"`
	Pages   int                       `json:"pages"`
	Frozen  responders.Freeze         `json:"frozen"`
	// Replays tell this process of themselves since it began; those that run come first.
	Replays []admin.Replaying    `json:"replays"`
	Audit   []journal.AuditEntry `json:"audit"` // the newest entries but notices; replays that somebody made are among them
}

// auditTail is how many entries of the audit log are shown.
const auditTail = 50

type actionsView struct {
	page
	ActionsFacts
	Wait, Done []actView
	Runs       []replayView
	Prev, Next string
}

type replayView struct {
	admin.Replaying
	Percent int // -1 when not known
	Left    string
	Took    string
}

func (q *ask) replayViews(list []admin.Replaying) []replayView {
	out := make([]replayView, len(list))
	for i, r := range list {
		v := replayView{Replaying: r, Percent: -1}
		if part, ok := r.Part(); ok && !r.Over() {
			v.Percent = int(100 * part)
		}
		if left := r.Left(q.now); left > 0 {
			v.Left = q.lang.ago(q.now.Add(-left), q.now)
		}
		v.Took = q.lang.ago(r.Started, r.Seen)
		out[i] = v
	}
	return out
}

func (q *ask) actionsPage() error {
	all := q.s.o.Index.Actions()
	f := ActionsFacts{Waiting: []responders.ActionDetail{}, Page: pageNumber(q.r)}
	rest := []responders.ActionDetail{}
	for _, d := range all {
		if d.NeedsPerson && !(d.State == responders.Proposed && !q.now.Before(d.ExpiresAt)) {
			f.Waiting = append(f.Waiting, d)
		} else {
			rest = append(rest, d)
		}
	}
	// What runs out first comes first.
	lists.Sort(f.Waiting, func(a, b responders.ActionDetail) int { return a.ExpiresAt.Compare(b.ExpiresAt) })
	f.Total = len(rest)
	f.Pages = max((f.Total+PerPage-1)/PerPage, 1)
	lo := min((f.Page-1)*PerPage, len(rest))
	f.Log = rest[lo:min(lo+PerPage, len(rest))]
	s, err := q.s.o.Backend.Status(q.r.Context())
	if err != nil {
		return err
	}
	f.Frozen = s.Frozen
	tail, err := q.s.o.Backend.AuditTail(q.r.Context(), 8*auditTail)
	if err != nil {
		return err
	}
	f.Audit = []journal.AuditEntry{}
	for _, e := range tail {
		// Each alert has several for each destination; they are counted above.
		if e.Kind != "notice" && e.Kind != "card" && len(f.Audit) < auditTail {
			f.Audit = append(f.Audit, e)
		}
	}
	f.Replays = q.s.o.Index.Replays(q.now)
	p := q.page(q.lang.t("Actions and replays"))
	p.Nav, p.Live = "actions", "actions from:body throttle:400ms, replays"
	view := actionsView{page: p, ActionsFacts: f, Runs: q.replayViews(f.Replays)}
	view.Wait, view.Done = q.acts(f.Waiting, &view.page), q.acts(f.Log, &view.page)
	if f.Page > 1 {
		view.Prev = fmt.Sprintf("/actions?page=%d", f.Page-1)
	}
	if f.Page < f.Pages {
		view.Next = fmt.Sprintf("/actions?page=%d", f.Page+1)
	}
	return q.reply("actions", view, f)
}

type actionView struct {
	page
	Act   actView
	Prior string
	After string
}

func (q *ask) actionPage() error {
	d, err := q.s.o.Backend.Action(q.r.Context(), q.r.PathValue("id"))
	if err != nil {
		return err
	}
	p := q.page(q.lang.t("Action"))
	p.Nav, p.Live = "actions", "actions"
	view := actionView{page: p}
	view.Act = q.acts([]responders.ActionDetail{d}, &view.page)[0]
	if len(d.Prior) > 0 {
		view.Prior = pretty(d.Prior)
	}
	if d.Result != nil && len(d.Result.After) > 0 {
		view.After = pretty(d.Result.After)
	}
	return q.reply("action", view, d)
}

// decide hands a request on to the action machine, which decides.
func (q *ask) decide(do func(b map[string]string) (responders.ActionDetail, error)) error {
	b, err := q.body()
	if err != nil {
		return err
	}
	d, err := do(b)
	if err != nil {
		return err
	}
	q.settle(func() bool {
		for _, x := range q.s.o.Index.Actions() {
			if x.ID == d.ID {
				return x.Seq >= d.Seq
			}
		}
		return false // not there yet
	})
	return q.back("/actions/"+url.PathEscape(d.ID), d)
}

func (q *ask) approve() error {
	return q.decide(func(b map[string]string) (responders.ActionDetail, error) {
		return q.s.o.Backend.Approve(q.r.Context(), q.r.PathValue("id"), q.u.By, b["hash"])
	})
}

func (q *ask) deny() error {
	return q.decide(func(b map[string]string) (responders.ActionDetail, error) {
		return q.s.o.Backend.Deny(q.r.Context(), q.r.PathValue("id"), q.u.By, text.Cut(text.Line(b["reason"]), 300))
	})
}

func (q *ask) undo() error {
	return q.decide(func(map[string]string) (responders.ActionDetail, error) {
		return q.s.o.Backend.Undo(q.r.Context(), q.r.PathValue("id"), q.u.By)
	})
}

// SessionFacts says who asks; programs take the token for their requests here.
type SessionFacts struct {
	User user   `json:"user"`
	CSRF string `json:"csrf"` // for the header X-CSRF-Token
}

func (q *ask) session() error {
	q.json(http.StatusOK, SessionFacts{q.u, q.s.keep.csrf(q.u, 0)})
	return nil
}

type loginView struct {
	page
	OIDC  bool
	Proxy bool
	To    string // after a sign-in that came from another site
}

type errorView struct {
	page
	Status  int
	Kind    string // as in JSON
	Message string
}

// login signs in by a link (local), or goes to the sign-in service.
func (q *ask) login() error {
	s := q.s
	switch s.o.Mode {
	case OIDC:
		return s.oidc.begin(q.w, q.r, s.keep)
	case Local:
		if token := q.r.URL.Query().Get("token"); token != "" {
			by, ok := s.keep.useLink(token)
			if !ok {
				return fmt.Errorf("%w: this link was used already or is too old; make a new one with: trailwarden console", errForbidden)
			}
			_, name, _ := strings.Cut(by, ":")
			s.keep.signIn(q.w, session{Mode: Local, By: by, Name: name})
			s.o.Log.Info("console: signed in", "by", by)
			return q.landed()
		}
	}
	if q.u.By != "" {
		http.Redirect(q.w, q.r, "/", http.StatusSeeOther)
		return nil
	}
	return errSignIn
}

// landed shows a page that goes on by itself. A redirect would not do: a
// browser that came from another site does not send the new cookie along it.
func (q *ask) landed() error {
	q.render(http.StatusOK, "login", loginView{page: q.page(q.lang.t("Signed in")), To: "/"})
	return nil
}

func (q *ask) loginCallback() error {
	if q.s.oidc == nil {
		return fmt.Errorf("login: %w", admin.ErrNotFound)
	}
	v, err := q.s.oidc.finish(q.w, q.r, q.s.keep)
	if err != nil {
		return err
	}
	q.s.keep.signIn(q.w, v)
	q.s.o.Log.Info("console: signed in", "by", v.By)
	return q.landed()
}

func (q *ask) logout() error {
	q.s.keep.setCookie(q.w, sessionCookie, "", http.SameSiteStrictMode, 0)
	http.Redirect(q.w, q.r, "/login", http.StatusSeeOther)
	return nil
}

func (q *ask) asset() error {
	a, ok := q.s.assets[q.r.PathValue("name")]
	if !ok {
		return fmt.Errorf("%s: %w", q.r.URL.Path, admin.ErrNotFound)
	}
	h := q.w.Header()
	h.Set("Content-Type", a.typ)
	etag := `"` + a.etag + `"`
	body := a.body
	if a.packed {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(q.r.Header) {
			h.Set("Content-Encoding", "gzip")
			etag = `"` + a.etag + `-gz"`
		} else {
			var err error
			if body, err = a.unpack(); err != nil {
				return err
			}
		}
	}
	h.Set("ETag", etag)
	h.Set("Cache-Control", "no-cache")
	if q.r.URL.Query().Get("v") == a.etag {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if q.r.Header.Get("If-None-Match") == etag {
		q.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, _ = q.w.Write(body) // the client went away
	return nil
}

// acceptsGzip says whether a client takes gzip. Every browser does.
func acceptsGzip(h http.Header) bool {
	for part := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, q, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			v, found := strings.CutPrefix(strings.ReplaceAll(q, " ", ""), "q=")
			return !found || strings.Trim(v, "0.") != ""
		}
	}
	return false
}

func (q *ask) favicon() error {
	q.r.SetPathValue("name", "favicon.svg")
	return q.asset()
}

// openapi answers with the description of the JSON forms; a test makes it from the
// types that the handlers answer with.
func (q *ask) openapi() error {
	files, err := ours()
	if err != nil {
		return err
	}
	q.w.Header().Set("Content-Type", "application/json")
	_, _ = q.w.Write(files["openapi.json"]) // the client went away
	return nil
}
