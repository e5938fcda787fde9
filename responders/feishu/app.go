package feishu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// App is an app's robot: a card for each incident that is edited in place, with
// buttons, and replies under it for what grows. It is safe for concurrent use.
type App struct {
	spec  Spec
	words *message.Words
	post  *wire.Poster
	now   func() time.Time

	mu     sync.Mutex
	token  string
	expiry time.Time
}

var (
	_ responders.Notifier = (*App)(nil)
	_ responders.Asker    = (*App)(nil)
)

// defaultAPI is Feishu's; Lark's is open.larksuite.com.
const defaultAPI = "https://open.feishu.cn"

// An app may make 1 000 calls a minute and 50 a second; a chat is not for that
// many.
const (
	appPerSecond = 5
	appBurst     = 10
	// maxReply is of one line of a reply, in UTF-16 units.
	maxReply = 300
	// tokenSlack is how long before its end a token is replaced.
	tokenSlack = 5 * time.Minute
)

var (
	chatID   = regexp.MustCompile(`^oc_[A-Za-z0-9]{6,64}$`)
	personID = regexp.MustCompile(`^feishu:ou_[A-Za-z0-9]{6,64}$`)
)

func newApp(s Spec) (*App, error) {
	if err := responders.JoinFaults(s.Check()); err != nil {
		return nil, err
	}
	if s.APIURL == "" {
		s.APIURL = defaultAPI
	}
	s.APIURL = strings.TrimRight(s.APIURL, "/")
	return &App{
		spec: s, now: time.Now, words: message.For(message.Language(s.Language), s.Location()),
		post: wire.NewPoster("feishu", s.Name, wire.NewLimiter(appPerSecond, appBurst, 2*time.Second), s.CallTimeout()),
	}, nil
}

// Name is the destination's name in the configuration.
func (a *App) Name() string { return a.spec.Name }

// Close releases idle connections.
func (a *App) Close() { a.post.Close() }

// Answers that say that a token is no longer good, and that there were too
// many calls.
const (
	codeTokenInvalid = 99991663
	codeTokenExpired = 99991661
	codeTooMany      = 99991400
)

// hints for codes that a person has to act on.
var hints = map[int]string{
	10003:  "app_id or app_secret is wrong",
	10014:  "app_secret is wrong",
	230002: "the app's robot is not in the chat: add it in the chat's settings",
	230013: "the app may not write to this person: widen its availability",
	230027: "the app lacks a permission: im:message:send_as_bot",
}

type answer struct {
	Code   int    `json:"code"`
	Msg    string `json:"msg"`
	Token  string `json:"tenant_access_token"`
	Expire int    `json:"expire"`
	Data   struct {
		MessageID string `json:"message_id"`
	} `json:"data"`
}

// says tells that a refusal of this status says why.
func (a answer) says(status int) bool {
	return a.Code != 0 && status != http.StatusTooManyRequests && status < http.StatusInternalServerError
}

// access is a token for the calls of the app.
func (a *App) access(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now().Before(a.expiry) {
		return a.token, nil
	}
	const method = "tenant_access_token"
	body, err := json.Marshal(map[string]string{"app_id": a.spec.AppID, "app_secret": a.spec.AppSecret.Reveal()})
	if err != nil {
		return "", err
	}
	raw, status, err := a.post.Send(ctx, http.MethodPost, method, a.spec.APIURL+"/open-apis/auth/v3/tenant_access_token/internal", nil, body)
	var out answer
	bad := json.Unmarshal(raw, &out)
	switch {
	case bad == nil && out.says(status):
		return "", a.refused(method, out)
	case err != nil:
		return "", wire.Again(err) // nothing was said yet
	case bad != nil || out.Token == "":
		return "", wire.Again(a.post.NoSense(method))
	}
	a.token, a.expiry = out.Token, a.now().Add(max(time.Duration(out.Expire)*time.Second-tokenSlack, 0))
	return a.token, nil
}

func (a *App) refused(method string, out answer) error {
	code := strconv.Itoa(out.Code)
	switch out.Code {
	case codeTooMany:
		return a.post.Limited(method, code, wire.DefaultPause)
	case codeTokenInvalid, codeTokenExpired:
		return a.post.Fail(method, responders.ErrRetry, errors.New("the token ended early"), code, "")
	}
	return a.post.Fail(method, nil, fmt.Errorf("refused with %s %s", code, text.Cut(text.Line(out.Msg), 100)), code, hints[out.Code])
}

// Inspect asks the platform, sending nothing, whether an app can be used: err says
// why nothing can be sent, buttons why no press is heard of. With ErrRefused it is
// the platform that says no; else it gave no answer.
func Inspect(ctx context.Context, s Spec, log *slog.Logger) (buttons, err error) {
	a, err := newApp(s)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	if _, err := a.access(ctx); err != nil {
		var e *wire.Error
		if errors.As(err, &e) && e.Code != "" && e.Kind == nil {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return nil, err
	}
	l := newListener(a.spec, nil, log)
	defer l.post.Close()
	_, _, buttons = l.endpoint(ctx)
	return buttons, nil
}

// call makes one request of the app.
func (a *App) call(ctx context.Context, verb, method, path string, body any) (answer, error) {
	token, err := a.access(ctx)
	if err != nil {
		return answer{}, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return answer{}, err
	}
	raw, status, err := a.post.Send(ctx, verb, method, a.spec.APIURL+path, http.Header{"Authorization": {"Bearer " + token}}, b.Bytes())
	var out answer
	if json.Unmarshal(raw, &out) == nil && out.says(status) {
		if out.Code == codeTokenInvalid || out.Code == codeTokenExpired {
			a.mu.Lock()
			if a.token == token {
				a.expiry = time.Time{}
			}
			a.mu.Unlock()
		}
		return out, a.refused(method, out)
	}
	if err == nil && !json.Valid(raw) {
		err = a.post.NoSense(method)
	}
	return out, err
}

// uuid recognises a repeat: of requests with one, at most one is done within
// an hour.
func (a *App) uuid(parts ...string) string {
	h := sha256.Sum256([]byte("trailwarden.feishu/v1\n" + a.spec.Name + "\n" + strings.Join(parts, "\n")))
	return hex.EncodeToString(h[:16])
}

func (a *App) send(ctx context.Context, idType, to, uuid string, card map[string]any) (responders.MessageRef, error) {
	content, err := json.Marshal(card)
	if err != nil {
		return responders.MessageRef{}, err
	}
	out, err := a.call(ctx, http.MethodPost, "im.message.create", "/open-apis/im/v1/messages?receive_id_type="+idType,
		map[string]string{"receive_id": to, "msg_type": "interactive", "content": string(content), "uuid": uuid})
	if err != nil {
		return responders.MessageRef{}, wire.Again(err)
	}
	if out.Data.MessageID == "" {
		return responders.MessageRef{}, wire.Again(a.post.NoSense("im.message.create"))
	}
	return responders.MessageRef{Channel: to, ID: out.Data.MessageID}, nil
}

func (a *App) patch(ctx context.Context, ref responders.MessageRef, card map[string]any) error {
	content, err := json.Marshal(card)
	if err != nil {
		return err
	}
	_, err = a.call(ctx, http.MethodPatch, "im.message.patch", "/open-apis/im/v1/messages/"+url.PathEscape(ref.ID), map[string]string{"content": string(content)})
	return wire.Again(err) // says the same again
}

// reply says under a card what has grown. A repeat is recognised.
func (a *App) reply(ctx context.Context, ref responders.MessageRef, n responders.Notice) error {
	m := a.words.Lay(n, maxTitle)
	if len(m.Thread) == 0 {
		return nil
	}
	lines := slices.Clone(m.Thread)
	if over := len(lines) - maxThread; over > 0 {
		lines = append(lines[:maxThread], fmt.Sprintf(a.words.More, over))
	}
	// Unlike a card's plain text, a text message knows links and tags.
	for i, x := range lines {
		lines[i] = text.Markdown(x, maxReply)
	}
	said := strings.Join(lines, "\n")
	content, err := json.Marshal(map[string]string{"text": said})
	if err != nil {
		return err
	}
	_, err = a.call(ctx, http.MethodPost, "im.message.reply", "/open-apis/im/v1/messages/"+url.PathEscape(ref.ID)+"/reply",
		map[string]any{"content": string(content), "msg_type": "text", "reply_in_thread": true, "uuid": a.uuid("reply", ref.ID, strconv.Itoa(n.Alert.Revision), said)})
	return wire.Again(err)
}

// Post sends a card.
func (a *App) Post(ctx context.Context, n responders.Notice) (responders.MessageRef, error) {
	return a.send(ctx, "chat_id", a.spec.ChatID, a.uuid("card", n.Alert.ID, strconv.Itoa(n.Copy)), a.card(n))
}

// Update edits the card, then says under it what has grown. After an error both
// may be made again.
func (a *App) Update(ctx context.Context, ref responders.MessageRef, n responders.Notice) error {
	if err := a.patch(ctx, ref, a.card(n)); err != nil {
		return err
	}
	return a.reply(ctx, ref, n)
}

// Find cannot, and need not: a repeat is recognised by its uuid.
func (a *App) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

// Reaches says whether a person can be asked here: feishu:ou_….
func (a *App) Reaches(person string) bool { return personID.MatchString(person) }

// Ask sends a question to one person alone.
func (a *App) Ask(ctx context.Context, n responders.Notice) (responders.MessageRef, error) {
	if n.Question == nil || !a.Reaches(n.Question.Person) {
		return responders.MessageRef{}, errors.New("feishu: not a question for a person here")
	}
	return a.send(ctx, "open_id", strings.TrimPrefix(n.Question.Person, "feishu:"), a.uuid("question", n.Question.ID), a.question(n))
}

// UpdateQuestion shows what became of a question.
func (a *App) UpdateQuestion(ctx context.Context, ref responders.MessageRef, n responders.Notice) error {
	if n.Question == nil {
		return errors.New("feishu: a notice without a question")
	}
	return a.patch(ctx, ref, a.question(n))
}

// FindQuestion is as Find.
func (a *App) FindQuestion(context.Context, responders.Notice, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

// button asks for something when it is pressed. Its value holds ids and no
// text of an event; confirm names the exact call.
func button(label, style string, p responders.Press, title, confirm string) map[string]any {
	value := map[string]string{"do": p.Do, "alert": text.CutUTF16(text.Line(p.AlertID), 120)}
	for k, v := range map[string]string{"ref": p.Ref, "hash": p.Hash, "choice": p.Choice} {
		if v != "" {
			value[k] = text.CutUTF16(text.Line(v), 120)
		}
	}
	out := map[string]any{"tag": "button", "text": plain(label), "type": style, "value": value}
	if confirm != "" {
		out["confirm"] = map[string]any{"title": plain(title), "text": plain(message.One(confirm, 300))}
	}
	return out
}

// menu is a choice of one of several.
func menu(label string, p responders.Press, options ...[2]string) map[string]any {
	var list []any
	for _, o := range options {
		list = append(list, map[string]any{"text": plain(o[1]), "value": o[0]})
	}
	return map[string]any{"tag": "select_static", "placeholder": plain(label), "options": list,
		"value": map[string]string{"do": p.Do, "alert": text.CutUTF16(text.Line(p.AlertID), 120)}}
}

// card is the whole message with its buttons.
func (a *App) card(n responders.Notice) map[string]any {
	w := a.words
	n.Thread = nil // goes under it
	c := body(w, n, true, "")["card"].(map[string]any)
	c["config"] = map[string]any{"wide_screen_mode": true, "update_multi": true}
	press := func(do string) responders.Press { return responders.Press{Do: do, AlertID: n.Alert.ID} }
	about := func(do string, v *responders.ActionView) responders.Press {
		return responders.Press{Do: do, AlertID: n.Alert.ID, Ref: v.ID, Hash: v.ActionHash}
	}
	var row []any
	var waits, done *responders.ActionView
	for i := range n.Actions {
		v := &n.Actions[i]
		if waits == nil && v.State == responders.Proposed {
			waits = v
		}
		if done == nil && message.Undoable(*v) {
			done = v
		}
	}
	closed := n.Triage.State == responders.TriageClosed
	switch {
	case closed:
		row = append(row, button(w.Reopen, "default", press(responders.PressReopen), "", ""))
	default:
		if n.Triage.State != responders.TriageAcknowledged {
			row = append(row, button(w.Ack, "default", press(responders.PressAcknowledge), "", ""))
		}
		if n.MayAsk {
			row = append(row, button(w.AskOwner, "default", press(responders.PressAsk), "", ""))
		}
		if waits != nil {
			row = append(row, button(w.Contain, "danger", about(responders.PressApprove, waits), w.ContainTitle, w.AreSure+" "+waits.Describe),
				button(w.Deny, "default", about(responders.PressDeny, waits), "", ""))
		}
	}
	if done != nil {
		what := done.DescribeUndo
		if what == "" {
			what = done.Describe
		}
		row = append(row, button(w.UndoButton, "default", about(responders.PressUndo, done), w.UndoTitle, w.AreSure+" "+what))
	}
	if !closed {
		if !strings.HasPrefix(n.Alert.Rule, "self.") {
			row = append(row, menu(w.Mute, press(responders.PressMute), [2]string{"1h", w.MuteHours[0]}, [2]string{"8h", w.MuteHours[1]}, [2]string{"7d", w.MuteHours[2]}))
		}
		row = append(row, menu(w.Close, press(responders.PressClose), [2]string{string(responders.FalsePositive), w.FalsePositive},
			[2]string{string(responders.Benign), w.Benign}, [2]string{string(responders.TruePositive), w.TruePositive}))
	}
	elements := c["elements"].([]any)
	small := elements[len(elements)-1]
	c["elements"] = append(elements[:len(elements)-1:len(elements)-1], map[string]any{"tag": "action", "actions": row}, small)
	return c
}

// question is the card of a question.
func (a *App) question(n responders.Notice) map[string]any {
	w, q := a.words, n.Question
	m := w.Lay(n, maxTitle)
	title := w.AskTitle
	if acct := message.AccountName(n); acct != "" {
		title += " · " + acct
	}
	elements := []any{div(w.AskIntro)}
	if m.Reason != "" {
		elements = append(elements, div(m.Reason))
	}
	var fields []any
	for _, f := range m.Fields {
		fields = append(fields, map[string]any{"is_short": true, "text": plain(f.Label + "\n" + f.String())})
	}
	elements = append(elements, map[string]any{"tag": "div", "fields": fields})
	end, open, no := w.AskStanding(n)
	if end != "" {
		elements = append(elements, div(end))
	}
	press := func(do string) responders.Press {
		return responders.Press{Do: do, AlertID: n.Alert.ID, Ref: q.ID}
	}
	var row []any
	if open {
		row = append(row, button(w.AskYes, "default", press(responders.PressYes), "", ""))
	}
	if no {
		row = append(row, button(w.AskNo, "danger", press(responders.PressNo), "", ""))
	}
	if len(row) > 0 {
		elements = append(elements, map[string]any{"tag": "action", "actions": row})
	}
	if q.State == responders.Asked {
		elements = append(elements, map[string]any{"tag": "note", "elements": []any{plain(fmt.Sprintf(w.AskSmall, w.Clock(q.Until)))}})
	}
	return map[string]any{
		"config": map[string]any{"wide_screen_mode": true, "update_multi": true},
		"header": map[string]any{"template": "orange", "title": plain(message.One(title, maxTitle))}, "elements": elements,
	}
}
