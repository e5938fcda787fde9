package chattest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// An example app of DingTalk's, its card template, and the group that its robot
// is in.
const (
	DingTalkClientID     = "dingEXAMPLEclient0001"
	DingTalkClientSecret = "EXAMPLEdingtalkSecretEXAMPLE"
	DingTalkTemplate     = "4d2f1c3a-0000-4000-8000-000000000000.schema"
	DingTalkGroup        = "cidEXAMPLE0000000000000=="
	DingTalkCorp         = "dingEXAMPLEcorp01"
	DingTalkTopic        = "/v1.0/card/instances/callback"
	dingtalkPath         = "/dingtalk"
	dingtalkTicketFor    = 90 * time.Second
	dingtalkQPS          = 20    // by app and method, of a standard organisation
	dingtalkKeyBytes     = 100   // of a variable's name
	dingtalkValueBytes   = 1_024 // and its value
	dingtalkAnswer       = 2 * time.Second
)

// DingTalkURL is the address of the emulated open platform.
func (s *Server) DingTalkURL() string { return s.app(dingtalkPath, s.serveDingTalk) }

// DingTalkCard is a card that the app made, in its present state.
type DingTalkCard struct {
	ID, To  string // To is the group (cid…) or the person
	Data    map[string]string
	Private map[string]map[string]string // by person
	Edits   int
	// Delivered is how often it came. What the platform does with a second
	// createAndDeliver of one card is not documented; here the worst: it comes again.
	Delivered int
}

type dingtalkApp struct {
	cards  []*DingTalkCard
	tokens int

	mu      sync.Mutex // of what follows
	tickets map[string]time.Time
	conns   []*conn
	opened  int // since the start
	changed chan struct{}
	waiting map[string]chan []byte // by message id
	next    int
}

// DingTalkCards are the cards of a group or of a person, oldest first.
func (s *Server) DingTalkCards(to string) []DingTalkCard {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []DingTalkCard
	for _, c := range s.dt.cards {
		if c.To == to {
			out = append(out, c.clone())
		}
	}
	return out
}

func (c *DingTalkCard) clone() DingTalkCard {
	x := *c
	x.Data, x.Private = map[string]string{}, map[string]map[string]string{}
	for k, v := range c.Data {
		x.Data[k] = v
	}
	for who, m := range c.Private {
		x.Private[who] = map[string]string{}
		for k, v := range m {
			x.Private[who][k] = v
		}
	}
	return x
}

// DingTalkRevoke ends every token that was given out.
func (s *Server) DingTalkRevoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dt.tokens++
}

func (s *Server) dingtalkToken() string { return "EXAMPLEtoken" + strconv.Itoa(s.dt.tokens) }

func dingtalkRefuse(status int, code, message string) reply {
	return reply{status: status, body: map[string]any{"code": code, "message": message, "requestid": "EXAMPLE"}, entry: Entry{Error: code}}
}

func param(what string) reply {
	return dingtalkRefuse(http.StatusBadRequest, "param."+what, "param."+what)
}

func (s *Server) serveDingTalk(w http.ResponseWriter, r *http.Request) {
	switch path := strings.TrimPrefix(r.URL.Path, dingtalkPath); {
	case path == "/v1.0/oauth2/accessToken" && r.Method == http.MethodPost:
		s.serve(w, r, "dingtalk.token", (*Server).dingtalkAuth)
	case path == "/v1.0/card/instances/createAndDeliver" && r.Method == http.MethodPost:
		s.serve(w, r, "dingtalk.create", (*Server).dingtalkCreate)
	case path == "/v1.0/card/instances" && r.Method == http.MethodPut:
		s.serve(w, r, "dingtalk.update", (*Server).dingtalkUpdate)
	case path == "/v1.0/gateway/connections/open" && r.Method == http.MethodPost:
		s.serve(w, r, "dingtalk.open", (*Server).dingtalkOpen)
	case path == "/connect":
		s.serveDingTalkSocket(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) dingtalkAuth(q *request) reply {
	if q.str("appKey") != DingTalkClientID || q.str("appSecret") != DingTalkClientSecret {
		return dingtalkRefuse(http.StatusBadRequest, "invalidClientIdOrSecret", "无效的clientId或者clientSecret")
	}
	return reply{body: map[string]any{"accessToken": s.dingtalkToken(), "expireIn": 7200}}
}

func (s *Server) dingtalkAllowed(q *request, method string) (reply, bool) {
	if q.header.Get("X-Acs-Dingtalk-Access-Token") != s.dingtalkToken() {
		return dingtalkRefuse(http.StatusBadRequest, "InvalidAuthentication", "不合法的access_token"), false
	}
	if _, ok := s.take("dingtalk/"+method, dingtalkQPS, dingtalkQPS); !ok {
		return dingtalkRefuse(http.StatusForbidden, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", "QPS limit"), false
	}
	return reply{}, true
}

type dingtalkData struct {
	CardParamMap map[string]json.RawMessage
}

// values reads the values of a card's variables: strings within the documented
// limits; those of button groups must be what such a component takes.
func (d dingtalkData) values() (map[string]string, string) {
	out := map[string]string{}
	for k, raw := range d.CardParamMap {
		var v string
		switch {
		case len(k) > dingtalkKeyBytes:
			return nil, "cardParamKeyTooLong"
		case json.Unmarshal(raw, &v) != nil:
			return nil, "cardParamNotString"
		case len(v) > dingtalkValueBytes:
			return nil, "cardParamValueTooLong"
		}
		if strings.HasPrefix(k, "buttons") && !buttonGroup(v) {
			return nil, "cardParamButtonGroup"
		}
		out[k] = v
	}
	return out, ""
}

type dingtalkButton struct {
	Text, Color, Status string
	Event               struct {
		Type   string
		Params struct {
			ActionID string `json:"actionId"`
			URL      string
			Params   map[string]any
		}
	}
}

func buttonGroup(v string) bool {
	var list []dingtalkButton
	if json.Unmarshal([]byte(v), &list) != nil {
		return false
	}
	for _, b := range list {
		switch {
		case b.Text == "" || b.Status != "normal" || !slices.Contains([]string{"blue", "red", "gray"}, b.Color):
			return false
		case b.Event.Type == "openLink" && b.Event.Params.URL != "":
		case b.Event.Type == "sendCardRequest" && b.Event.Params.ActionID != "":
		default:
			return false
		}
	}
	return true
}

func (s *Server) dingtalkFind(id string) *DingTalkCard {
	for _, c := range s.dt.cards {
		if c.ID == id {
			return c
		}
	}
	return nil
}

var dingtalkPerson = regexp.MustCompile(`^[A-Za-z0-9_.@-]{1,64}$`)

func (s *Server) dingtalkCreate(q *request) reply {
	if r, ok := s.dingtalkAllowed(q, "create"); !ok {
		return r
	}
	type space struct {
		SupportForward  *bool
		LastMessageI18n map[string]string
	}
	type deliver struct{ RobotCode, SpaceType string }
	var b struct {
		CardTemplateID, OutTrackID, CallbackType, OpenSpaceID string
		UserIDType                                            int
		CardData                                              dingtalkData
		ImGroupOpenSpaceModel, ImRobotOpenSpaceModel          *space
		ImGroupOpenDeliverModel, ImRobotOpenDeliverModel      *deliver
	}
	if json.Unmarshal(q.raw, &b) != nil {
		return param("empty")
	}
	kind, to, _ := strings.Cut(strings.TrimPrefix(b.OpenSpaceID, "dtv1.card//"), ".")
	values, wrong := b.CardData.values()
	model, way := b.ImGroupOpenSpaceModel, b.ImGroupOpenDeliverModel
	if kind == "IM_ROBOT" {
		model, way = b.ImRobotOpenSpaceModel, b.ImRobotOpenDeliverModel
	}
	switch {
	case b.OutTrackID == "":
		return param("outTrackIdEmpty")
	case b.CardTemplateID == "":
		return param("cardTemplateIdEmpty")
	case b.CardTemplateID != DingTalkTemplate:
		return param("cardTemplateNotExist") // the code is not documented
	case b.OpenSpaceID == "":
		return param("openSpaceIdEmpty")
	case !strings.HasPrefix(b.OpenSpaceID, "dtv1.card//") || kind != "IM_GROUP" && kind != "IM_ROBOT":
		return param("openSpaceIdInvalid")
	case kind == "IM_ROBOT" && !dingtalkPerson.MatchString(to):
		return param("userIdNotExist")
	case model == nil || model.SupportForward == nil:
		return param("openSpaceModelInvalid")
	case way == nil || kind == "IM_GROUP" && way.RobotCode == "" || kind == "IM_ROBOT" && way.SpaceType != "IM_ROBOT":
		return param("openDeliverModelError")
	case wrong != "":
		return param(wrong)
	case len(values) == 0:
		return param("cardPublicDataEmpty")
	}
	c := s.dingtalkFind(b.OutTrackID)
	if c == nil { // the data of a card that is there stay as they are
		c = &DingTalkCard{ID: b.OutTrackID, To: to, Data: values, Private: map[string]map[string]string{}}
		s.dt.cards = append(s.dt.cards, c)
	}
	result := map[string]any{"spaceType": kind, "spaceId": to, "success": true, "carrierId": "EXAMPLE"}
	if kind == "IM_GROUP" && to != DingTalkGroup || way.RobotCode != DingTalkClientID {
		result["success"], result["errorMsg"] = false, "robot not in conversation"
	} else {
		c.Delivered++
	}
	r := reply{body: map[string]any{"success": true, "result": map[string]any{"outTrackId": c.ID, "deliverResults": []any{result}}}}
	r.entry.Channel, r.entry.TS = to, c.ID
	return r
}

func (s *Server) dingtalkUpdate(q *request) reply {
	if r, ok := s.dingtalkAllowed(q, "update"); !ok {
		return r
	}
	var b struct {
		OutTrackID        string
		CardData          dingtalkData
		CardUpdateOptions struct{ UpdateCardDataByKey bool }
	}
	if json.Unmarshal(q.raw, &b) != nil || b.OutTrackID == "" {
		return param("outTrackIdEmpty")
	}
	values, wrong := b.CardData.values()
	c := s.dingtalkFind(b.OutTrackID)
	switch {
	case wrong != "":
		return param(wrong)
	case len(values) == 0:
		return param("cardDataAndPrivateDataBothEmpty")
	case c == nil:
		return param("cardNotExist")
	}
	if !b.CardUpdateOptions.UpdateCardDataByKey {
		c.Data = map[string]string{}
	}
	for k, v := range values {
		c.Data[k] = v
	}
	c.Edits++
	return reply{body: map[string]any{"success": true, "result": true}}
}

func (s *Server) dingtalkOpen(q *request) reply {
	if q.str("clientId") != DingTalkClientID || q.str("clientSecret") != DingTalkClientSecret {
		return dingtalkRefuse(http.StatusUnauthorized, "authFailed", "鉴权失败") // the code is not documented
	}
	var subs []struct{ Type, Topic string }
	_ = json.Unmarshal(q.json["subscriptions"], &subs)
	if !slices.Contains(subs, struct{ Type, Topic string }{"CALLBACK", DingTalkTopic}) {
		return param("subscriptions")
	}
	s.dt.mu.Lock()
	defer s.dt.mu.Unlock()
	ticket := "EXAMPLE-" + strconv.Itoa(len(s.dt.tickets)+1)
	s.dt.tickets[ticket] = s.opt.Clock()
	return reply{body: map[string]any{"endpoint": "ws://" + q.host + dingtalkPath + "/connect", "ticket": ticket}}
}

func (s *Server) serveDingTalkSocket(w http.ResponseWriter, r *http.Request) {
	ticket := r.URL.Query().Get("ticket")
	s.dt.mu.Lock()
	made, good := s.dt.tickets[ticket]
	good = good && s.opt.Clock().Sub(made) < dingtalkTicketFor
	s.dt.tickets[ticket] = time.Time{} // for one connection
	s.dt.mu.Unlock()
	if !good {
		http.Error(w, "ticket", http.StatusUnauthorized)
		return
	}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	c := &conn{ws: ws}
	change := func(f func()) {
		s.dt.mu.Lock()
		defer s.dt.mu.Unlock()
		f()
		close(s.dt.changed)
		s.dt.changed = make(chan struct{})
	}
	s.wg.Add(1)
	defer s.wg.Done()
	change(func() { s.dt.conns, s.dt.opened = append(s.dt.conns, c), s.dt.opened+1 })
	defer change(func() { s.dt.conns = slices.DeleteFunc(s.dt.conns, func(x *conn) bool { return x == c }) })
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-s.closing:
		case <-ended:
		}
		_ = ws.Close()
	}()
	for {
		_, raw, err := ws.ReadMessage()
		if err != nil {
			return
		}
		var a struct{ Headers map[string]string }
		_ = json.Unmarshal(raw, &a)
		s.dt.mu.Lock()
		if ch := s.dt.waiting[a.Headers["messageId"]]; ch != nil {
			select {
			case ch <- raw:
			default:
			}
		}
		s.dt.mu.Unlock()
	}
}

// WaitDingTalk waits until n connections of Stream mode were opened since the
// start, however many have ended.
func (s *Server) WaitDingTalk(ctx context.Context, n int) error {
	for {
		s.dt.mu.Lock()
		opened, changed := s.dt.opened, s.dt.changed
		s.dt.mu.Unlock()
		if opened >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("chattest: %d connections were opened: %w", opened, ctx.Err())
		}
	}
}

// DropDingTalk cuts the connections of Stream mode.
func (s *Server) DropDingTalk() {
	s.dt.mu.Lock()
	defer s.dt.mu.Unlock()
	for _, c := range s.dt.conns {
		_ = c.ws.Close()
	}
}

// DingTalkPush sends something to one of the connections and returns the answer
// to it: a ping, a message to go elsewhere, or what nobody asked for. Empty
// topic and kind send data as it is, to which nothing is answered.
func (s *Server) DingTalkPush(ctx context.Context, kind, topic, data string) (code int, answer string, err error) {
	s.dt.mu.Lock()
	s.dt.next++
	id := "EXAMPLEpush" + strconv.Itoa(s.dt.next)
	s.dt.mu.Unlock()
	return s.dingtalkPush(ctx, id, kind, topic, data)
}

func (s *Server) dingtalkPush(ctx context.Context, id, kind, topic, data string) (int, string, error) {
	s.dt.mu.Lock()
	s.dt.next++
	got := make(chan []byte, 1)
	s.dt.waiting[id] = got
	var c *conn
	if len(s.dt.conns) > 0 {
		c = s.dt.conns[s.dt.next%len(s.dt.conns)] // one of them, at random
	}
	s.dt.mu.Unlock()
	defer func() {
		s.dt.mu.Lock()
		delete(s.dt.waiting, id)
		s.dt.mu.Unlock()
	}()
	if c == nil {
		return 0, "", ErrNotConnected
	}
	if kind == "" && topic == "" {
		return 0, "", c.text([]byte(data))
	}
	b, err := json.Marshal(map[string]any{
		"specVersion": "1.0", "type": kind, "data": data, "time": 1800000000000,
		"headers": map[string]string{"appId": "EXAMPLE", "connectionId": "EXAMPLE", "contentType": "application/json", "messageId": id, "time": "1800000000000", "topic": topic},
	})
	if err == nil {
		err = c.text(b)
	}
	if err != nil {
		return 0, "", err
	}
	if kind == "SYSTEM" && topic == "disconnect" {
		return 0, "", nil // not answered
	}
	within := s.opt.AckTimeout
	if within == defaultAck {
		within = dingtalkAnswer
	}
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case raw := <-got:
		var a struct {
			Code    int
			Headers map[string]string
			Data    string
		}
		if err := json.Unmarshal(raw, &a); err != nil || a.Headers["contentType"] != "application/json" {
			return 0, "", fmt.Errorf("chattest: answered %s", raw)
		}
		return a.Code, a.Data, nil
	case <-t.C:
		return 0, "", ErrNotAcked
	case <-ctx.Done():
		return 0, "", ctx.Err()
	}
}

func (c *conn) text(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.ws.SetWriteDeadline(time.Now().Add(5 * time.Second))
	return c.ws.WriteMessage(websocket.TextMessage, b)
}

// DingTalkPress is a press of a button of a card.
type DingTalkPress struct {
	User string
	Card string // outTrackId
	// Button is the actionId of the button.
	Button string
	// Corp is the organisation of who presses, DingTalkCorp when empty.
	Corp string
	// MessageID is the push's; empty is a new one. The same twice is one press
	// delivered twice.
	MessageID string
	// Edit changes what is sent, as no client of DingTalk would.
	Edit func(callback map[string]any)
}

// PressDingTalk sends a press to one of the connections, as the platform does,
// puts what the answer changes on the card, and returns the private variable
// "reply" of whoever pressed: what they are shown.
func (s *Server) PressDingTalk(ctx context.Context, p DingTalkPress) (string, error) {
	s.mu.Lock()
	c := s.dingtalkFind(p.Card)
	var card DingTalkCard
	if c != nil {
		card = c.clone()
	}
	s.mu.Unlock()
	var params map[string]any
	for k, v := range card.Data {
		var list []dingtalkButton
		if !strings.HasPrefix(k, "buttons") || json.Unmarshal([]byte(v), &list) != nil {
			continue
		}
		for _, b := range list {
			if b.Event.Type == "sendCardRequest" && b.Event.Params.ActionID == p.Button {
				params = b.Event.Params.Params
			}
		}
	}
	if params == nil && p.Edit == nil {
		return "", fmt.Errorf("chattest: card %q has no button %q", p.Card, p.Button)
	}
	if p.Corp == "" {
		p.Corp = DingTalkCorp
	}
	content, _ := json.Marshal(map[string]any{"cardPrivateData": map[string]any{"actionIds": []string{p.Button}, "params": params}})
	body := map[string]any{
		"type": "actionCallback", "outTrackId": p.Card, "corpId": p.Corp, "userId": p.User, "userIdType": 1, "extension": "{}",
		"spaceType": "im", "spaceId": card.To, "content": string(content), "value": string(content),
	}
	if p.Edit != nil {
		p.Edit(body)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	if p.MessageID == "" {
		s.dt.mu.Lock()
		s.dt.next++
		p.MessageID = "EXAMPLEpress" + strconv.Itoa(s.dt.next)
		s.dt.mu.Unlock()
	}
	code, raw, err := s.dingtalkPush(ctx, p.MessageID, "CALLBACK", DingTalkTopic, string(data))
	if err != nil {
		return "", err
	}
	var out struct {
		Response *struct {
			CardUpdateOptions struct{ UpdateCardDataByKey, UpdatePrivateDataByKey bool }
			CardData          dingtalkData
			UserPrivateData   dingtalkData
		}
	}
	if code != http.StatusOK || json.Unmarshal([]byte(raw), &out) != nil || out.Response == nil {
		return "", fmt.Errorf("chattest: answered %d %s", code, raw)
	}
	if len(out.Response.CardData.CardParamMap) > 0 && !out.Response.CardUpdateOptions.UpdateCardDataByKey {
		return "", errors.New("chattest: the answer would empty the card")
	}
	values, wrong := out.Response.UserPrivateData.values()
	if wrong != "" {
		return "", errors.New("chattest: the answer is not taken: " + wrong)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != nil && len(values) > 0 {
		if c.Private[p.User] == nil {
			c.Private[p.User] = map[string]string{}
		}
		for k, v := range values {
			c.Private[p.User][k] = v
		}
	}
	return values["reply"], nil
}
