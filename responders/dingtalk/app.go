package dingtalk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/listen"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// App is an app's robot: an interactive card for each incident that is edited in
// place, with buttons. It is safe for concurrent use.
//
// A card's id (outTrackId) is ours, so an edit needs nothing that an answer could
// lose, and whether a card was made is found by editing it. What DingTalk does with
// a second createAndDeliver of one id is not documented (that its data change
// nothing is), so after a lost answer the card is looked for first.
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
	_ responders.Finder   = (*App)(nil)
)

const defaultAPI = "https://api.dingtalk.com"

// An app of a standard organisation may call each method 20 times in a second.
const (
	appPerSecond = 5
	appBurst     = 10
	// tokenSlack is how long before its end a token is replaced.
	tokenSlack = 5 * time.Minute
	// limitPause is how long to stay away from a method called too often: its limit is by
	// the second.
	limitPause = 2 * time.Second
)

var (
	templateID = regexp.MustCompile(`^[A-Za-z0-9-]{8,64}(\.schema)?$`)
	chatID     = regexp.MustCompile(`^cid[A-Za-z0-9+/_=-]{4,80}$`)
	corpID     = regexp.MustCompile(`^ding[A-Za-z0-9]{4,60}$`)
	userID     = regexp.MustCompile(`^[A-Za-z0-9_.@-]{1,64}$`)
)

const personPrefix = "dingtalk:"

func newApp(s Spec) (*App, error) {
	if err := responders.JoinFaults(s.Check()); err != nil {
		return nil, err
	}
	s = s.filled()
	return &App{
		spec: s, now: time.Now, words: message.For(message.Language(s.Language), s.Location()),
		post: wire.NewPoster("dingtalk", s.Name, wire.NewLimiter(appPerSecond, appBurst, 2*time.Second), s.CallTimeout()),
	}, nil
}

// filled is s with what it leaves out.
func (s Spec) filled() Spec {
	if s.APIURL == "" {
		s.APIURL = defaultAPI
	}
	s.APIURL = strings.TrimRight(s.APIURL, "/")
	if s.RobotCode == "" {
		s.RobotCode = s.ClientID
	}
	return s
}

// Name is the destination's name in the configuration.
func (a *App) Name() string { return a.spec.Name }

// Close releases idle connections.
func (a *App) Close() { a.post.Close() }

// Codes of the platform's refusals. Of those for tokens and for an app that is not
// known the beginning is compared: they are not in the methods' own lists.
const (
	codeNoCard   = "param.cardNotExist"
	codeQPS      = "QpsLimit"              // Forbidden.AccessDenied.QpsLimitForAppkeyAndApi, …ForApi
	codeQuota    = "ApiCountLimit"         // Forbidden.AccessDenied.ApiCountLimitForOrg
	codeToken    = "InvalidAuthentication" //nolint:gosec // not a credential
	codeClient   = "invalidClientIdOrSecret"
	codeBusy     = "system."
	codeDenied   = "Forbidden.AccessDenied"
	quotaPause   = time.Hour
	hintDelivery = "its robot must be in the group of open_conversation_id, and card_template_id a published template of this app"
)

// hints for codes that a person has to act on.
var hints = map[string]string{
	"param.openSpaceIdInvalid":   "open_conversation_id is not a conversation of this app",
	"param.cardTemplateIdEmpty":  "card_template_id is missing",
	"param.cardTemplateNotExist": "card_template_id is not a template of this app: publish it, and copy its id again",
	"param.userIdNotExist":       "the organisation has no such user",
	"param.contentUnsafe":        "the platform's review of contents refuses the text",
	codeClient:                   "client_id or client_secret is wrong",
}

var errToken = errors.New("the token ended early")

// refusal is what the platform answers when it does not do what it was asked.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func refused(p *wire.Poster, method string, status int, r refusal) error {
	code := text.Cut(text.Line(r.Code), 80)
	said := fmt.Errorf("refused with %s %s", code, text.Cut(text.Line(r.Message), 100))
	switch {
	case strings.Contains(code, codeQPS) || status == http.StatusTooManyRequests:
		return p.Limited(method, code, limitPause)
	case strings.Contains(code, codeQuota):
		err := p.Limited(method, code, quotaPause)
		err.Hint = "the organisation's calls of this month are used up"
		return err
	case strings.HasPrefix(code, codeToken), status == http.StatusUnauthorized && code != codeClient:
		return p.Fail(method, responders.ErrRetry, errToken, code, "")
	case strings.HasPrefix(code, codeBusy) || status >= http.StatusInternalServerError:
		return p.Fail(method, responders.ErrRetry, said, code, "") // an answer: it was not done
	case strings.HasPrefix(code, codeDenied):
		return p.Fail(method, nil, said, code, "the app lacks a permission: Card.Instance.Write")
	}
	return p.Fail(method, nil, said, code, hints[r.Code])
}

// send makes one request and reads its answer into out.
func send(ctx context.Context, p *wire.Poster, verb, method, address string, header http.Header, body, out any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return err
	}
	raw, status, err := p.Send(ctx, verb, method, address, header, b.Bytes())
	var r refusal
	if status/100 != 2 && json.Unmarshal(raw, &r) == nil && r.Code != "" {
		return refused(p, method, status, r)
	}
	if err == nil && json.Unmarshal(raw, out) != nil {
		err = p.NoSense(method)
	}
	return err
}

// access is a token for the calls of the app.
func (a *App) access(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now().Before(a.expiry) {
		return a.token, nil
	}
	const method = "oauth2/accessToken"
	var out struct {
		AccessToken string `json:"accessToken"`
		ExpireIn    int    `json:"expireIn"` // seconds
	}
	err := send(ctx, a.post, http.MethodPost, method, a.spec.APIURL+"/v1.0/"+method, nil,
		map[string]string{"appKey": a.spec.ClientID, "appSecret": a.spec.ClientSecret.Reveal()}, &out)
	if err == nil && out.AccessToken == "" {
		err = a.post.NoSense(method)
	}
	if err != nil {
		return "", wire.Again(err) // nothing was said yet
	}
	a.token, a.expiry = out.AccessToken, a.now().Add(max(time.Duration(out.ExpireIn)*time.Second-tokenSlack, 0))
	return a.token, nil
}

// call makes one request of the app.
func (a *App) call(ctx context.Context, verb, method string, body, out any) error {
	token, err := a.access(ctx)
	if err != nil {
		return err
	}
	err = send(ctx, a.post, verb, method, a.spec.APIURL+"/v1.0/"+method, http.Header{"X-Acs-Dingtalk-Access-Token": {token}}, body, out)
	var e *wire.Error
	if errors.As(err, &e) && errors.Is(e.Cause, errToken) {
		a.mu.Lock()
		if a.token == token {
			a.expiry = time.Time{}
		}
		a.mu.Unlock()
	}
	return err
}

// create makes a card and delivers it to a group or to one person.
func (a *App) create(ctx context.Context, id, group, person, title string, vars map[string]string) (responders.MessageRef, error) {
	const method = "card/instances/createAndDeliver"
	space := map[string]any{
		"supportForward":  false, // a card that is passed on would be pressed elsewhere
		"lastMessageI18n": map[string]string{"ZH_CN": title, "EN_US": title}, "notification": map[string]any{"alertContent": title, "notificationOff": false},
	}
	body := map[string]any{
		"cardTemplateId": a.spec.CardTemplateID, "outTrackId": id, "callbackType": "STREAM", "userIdType": 1, "cardData": map[string]any{"cardParamMap": vars},
	}
	to := group
	if person == "" {
		body["openSpaceId"] = "dtv1.card//IM_GROUP." + group
		body["imGroupOpenSpaceModel"], body["imGroupOpenDeliverModel"] = space, map[string]any{"robotCode": a.spec.RobotCode}
	} else {
		to = person
		body["openSpaceId"] = "dtv1.card//IM_ROBOT." + person
		body["imRobotOpenSpaceModel"], body["imRobotOpenDeliverModel"] = space, map[string]any{"spaceType": "IM_ROBOT", "robotCode": a.spec.RobotCode}
	}
	var out struct {
		Success bool
		Result  struct {
			OutTrackID     string `json:"outTrackId"`
			DeliverResults []struct {
				Success  bool
				ErrorMsg string `json:"errorMsg"`
			} `json:"deliverResults"`
		}
	}
	if err := a.call(ctx, http.MethodPost, method, body, &out); err != nil {
		return responders.MessageRef{}, err
	}
	for _, d := range out.Result.DeliverResults {
		if !d.Success {
			// It says that nobody has got it, so that it is sent again; a repeat is
			// expected to deliver then what exists already.
			kind, why := error(nil), text.Cut(text.Line(d.ErrorMsg), 100)
			if low := strings.ToLower(why); strings.Contains(low, "system") || strings.Contains(low, "busy") || strings.Contains(low, "timeout") {
				kind = responders.ErrRetry
			}
			return responders.MessageRef{}, a.post.Fail(method, kind, fmt.Errorf("made and not delivered: %s", why), "", hintDelivery)
		}
	}
	if !out.Success || out.Result.OutTrackID != id {
		return responders.MessageRef{}, a.post.NoSense(method)
	}
	return responders.MessageRef{Channel: to, ID: id}, nil
}

// put edits a card: the variables that are given, and no others.
func (a *App) put(ctx context.Context, id string, vars map[string]string) error {
	var out struct{ Success bool }
	const method = "card/instances"
	err := a.call(ctx, http.MethodPut, method, map[string]any{
		"outTrackId": id, "userIdType": 1, "cardData": map[string]any{"cardParamMap": vars},
		"cardUpdateOptions": map[string]bool{"updateCardDataByKey": true, "updatePrivateDataByKey": true},
	}, &out)
	if err == nil && !out.Success {
		err = a.post.NoSense(method)
	}
	return wire.Again(err) // says the same again
}

// exists edits a card, and says whether there is one.
func (a *App) exists(ctx context.Context, id string, vars map[string]string) (bool, error) {
	err := a.put(ctx, id, vars)
	var e *wire.Error
	if errors.As(err, &e) && e.Code == codeNoCard {
		return false, nil
	}
	return err == nil, err
}

// Post makes and delivers a card.
func (a *App) Post(ctx context.Context, n responders.Notice) (responders.MessageRef, error) {
	c := a.card(n)
	return a.create(ctx, a.trackID(n), a.spec.OpenConversationID, "", c.title, c.vars(true))
}

// Update edits the card.
func (a *App) Update(ctx context.Context, ref responders.MessageRef, n responders.Notice) error {
	return a.put(ctx, ref.ID, a.card(n).vars(false))
}

// Find cannot: which copy of an incident's card it would be is not known. FindNotice
// can.
func (a *App) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

// FindNotice says whether the card of a notice was made, and shows on it what it
// should show.
func (a *App) FindNotice(ctx context.Context, n responders.Notice, _ time.Time) (responders.MessageRef, bool, error) {
	id := a.trackID(n)
	ok, err := a.exists(ctx, id, a.card(n).vars(true))
	return responders.MessageRef{Channel: a.spec.OpenConversationID, ID: id}, ok, err
}

// Reaches says whether a person can be asked here: dingtalk:<user id>.
func (a *App) Reaches(person string) bool {
	id, ours := strings.CutPrefix(person, personPrefix)
	return ours && userID.MatchString(id)
}

// Ask sends a question to one person alone.
func (a *App) Ask(ctx context.Context, n responders.Notice) (responders.MessageRef, error) {
	if n.Question == nil || !a.Reaches(n.Question.Person) {
		return responders.MessageRef{}, errors.New("dingtalk: not a question for a person here")
	}
	c := a.question(n)
	return a.create(ctx, a.questionID(n), "", strings.TrimPrefix(n.Question.Person, personPrefix), c.title, c.vars(true))
}

// UpdateQuestion shows what became of a question.
func (a *App) UpdateQuestion(ctx context.Context, ref responders.MessageRef, n responders.Notice) error {
	if n.Question == nil {
		return errors.New("dingtalk: a notice without a question")
	}
	return a.put(ctx, ref.ID, a.question(n).vars(false))
}

// FindQuestion is as FindNotice.
func (a *App) FindQuestion(ctx context.Context, n responders.Notice, _ time.Time) (responders.MessageRef, bool, error) {
	id := a.questionID(n)
	ok, err := a.exists(ctx, id, a.question(n).vars(true))
	return responders.MessageRef{Channel: strings.TrimPrefix(n.Question.Person, personPrefix), ID: id}, ok, err
}

// A card's id names its incident: tw1.<destination>.<copy>.<incident>. The
// destination's hash only tells cards of several destinations of one app apart;
// a press may come in by any of their connections.
var trackIDs = regexp.MustCompile(`^tw1\.[0-9a-f]{8}\.(?:[0-9]{1,6}|q[0-9a-f]{12})\.(?:i([A-Za-z0-9-]{1,100})|b([A-Za-z0-9_-]{1,200}))$`)

func (a *App) track(copy, alertID string) string {
	h := sha256.Sum256([]byte("trailwarden.dingtalk/v1\n" + a.spec.Name + "\n" + a.spec.OpenConversationID))
	id := "i" + alertID
	if !plainID.MatchString(alertID) {
		id = "b" + base64.RawURLEncoding.EncodeToString([]byte(text.Cut(alertID, 32)))
	}
	return "tw1." + hex.EncodeToString(h[:4]) + "." + copy + "." + id
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)

func (a *App) trackID(n responders.Notice) string { return a.track(strconv.Itoa(n.Copy), n.Alert.ID) }

func (a *App) questionID(n responders.Notice) string {
	h := sha256.Sum256([]byte(n.Question.ID))
	return a.track("q"+hex.EncodeToString(h[:6]), n.Alert.ID)
}

// incidentOf is the incident that a card is about; false when the card is none of
// ours.
func incidentOf(trackID string) (string, bool) {
	m := trackIDs.FindStringSubmatch(trackID)
	if m == nil {
		return "", false
	}
	if m[1] != "" {
		return m[1], true
	}
	b, err := base64.RawURLEncoding.DecodeString(m[2])
	return string(b), err == nil
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
		return nil, refusing(err)
	}
	l := newListener(a.spec, nil, log)
	defer l.post.Close()
	_, buttons = l.open(ctx)
	return buttons, nil
}

// refusing says of an error that is final, and an answer, that it is ErrRefused.
func refusing(err error) error {
	var e *wire.Error
	if errors.As(err, &e) && e.Code != "" && e.Final() {
		return fmt.Errorf("%w: %w", listen.ErrRefused, err)
	}
	return err
}

// ErrRefused says that the platform refuses the app; trying again is in vain.
var ErrRefused = listen.ErrRefused
