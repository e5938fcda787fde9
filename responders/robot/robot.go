package robot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/message"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Platform is one kind of robot.
type Platform struct {
	Name   string // as the configuration knows it
	Method string // what a request is called in errors

	// A bucket of Burst and PerSecond lets at most Burst + 60 PerSecond
	// messages through in any minute, which must be below PerMinute, what the
	// platform takes.
	PerSecond float64
	Burst     int
	PerMinute int

	// Body is the message of a notice: whole, or as what changed.
	Body func(w *message.Words, n responders.Notice, whole bool, keyword string) map[string]any
	// Sign returns the address to post to at this moment and may add to body.
	// It is called when there is a secret.
	Sign func(address, secret string, body map[string]any, now time.Time) string

	// What the answer's code means, where it is not 0 (taken) and not simply a
	// refusal.
	Limited map[int]time.Duration // leave the robot alone for so long
	Busy    map[int]bool          // the message may or may not have been taken
	Hints   map[int]string        // what to do about a refusal
}

// Access is what a robot asks of whoever posts. Secret and Keyword are empty
// where it asks for none.
type Access struct {
	Webhook, Secret responders.Secret
	Keyword         string
}

// patience is how long a call waits for its turn before the dispatcher is told
// to come back.
const patience = 2 * time.Second

// Robot is a responders.Notifier. It is safe for concurrent use.
type Robot struct {
	platform Platform
	name     string
	access   Access
	words    *message.Words
	post     *wire.Poster
	now      func() time.Time
}

var (
	_ responders.Notifier = (*Robot)(nil)
	_ responders.Static   = (*Robot)(nil)
)

// New returns a Robot, or what spec finds wrong with itself. It does not
// connect.
func New(p Platform, spec responders.Spec, c responders.Common, a Access) (*Robot, error) {
	if err := responders.JoinFaults(spec.Check()); err != nil {
		return nil, err
	}
	return &Robot{
		platform: p, name: c.Name, access: a, now: time.Now,
		words: message.For(message.Language(c.Language), c.Location()),
		post:  wire.NewPoster(p.Name, c.Name, wire.NewLimiter(p.PerSecond, p.Burst, patience), c.CallTimeout()),
	}, nil
}

// Check finds what is wrong with an Access, by the names of a configuration.
func (a Access) Check() []responders.Fault {
	out := wire.CheckAddress("webhook", a.Webhook.Reveal())
	if text.Line(a.Keyword) != a.Keyword || len(a.Keyword) > 60 {
		out = append(out, responders.Fault{Field: "keyword", Message: "want one short word"})
	}
	return out
}

// Name is the destination's name in the configuration.
func (r *Robot) Name() string { return r.name }

// Static says that messages cannot be edited.
func (r *Robot) Static() {}

// Post sends a message.
func (r *Robot) Post(ctx context.Context, n responders.Notice) (responders.MessageRef, error) {
	return responders.MessageRef{ID: "sent"}, r.send(ctx, n, true)
}

// Update sends a further message that says what changed.
func (r *Robot) Update(ctx context.Context, _ responders.MessageRef, n responders.Notice) error {
	return r.send(ctx, n, false)
}

// Find cannot: a robot does not read.
func (r *Robot) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

// Close releases idle connections.
func (r *Robot) Close() { r.post.Close() }

func (r *Robot) send(ctx context.Context, n responders.Notice, whole bool) error {
	body := r.platform.Body(r.words, n, whole, r.access.Keyword)
	address := r.access.Webhook.Reveal()
	if secret := r.access.Secret.Reveal(); secret != "" {
		address = r.platform.Sign(address, secret, body, r.now())
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	method := r.platform.Method
	answer, err := r.post.JSON(ctx, method, address, nil, b)
	if err != nil {
		return err
	}
	// One of two spellings.
	var out struct {
		Errcode, Code *int
		Errmsg, Msg   string
	}
	err = json.Unmarshal(answer, &out)
	if out.Errcode == nil {
		out.Errcode, out.Errmsg = out.Code, out.Msg
	}
	if err != nil || out.Errcode == nil {
		return r.post.NoSense(method)
	}
	code, shown := *out.Errcode, strconv.Itoa(*out.Errcode)
	if code == 0 {
		return nil
	}
	if after := r.platform.Limited[code]; after > 0 {
		return r.post.Limited(method, shown, after)
	}
	if r.platform.Busy[code] {
		return r.post.Fail(method, responders.ErrInDoubt, errors.New("system busy"), shown, "")
	}
	return r.post.Fail(method, nil, fmt.Errorf("refused with %s %s", shown, text.Cut(text.Line(out.Errmsg), 100)), shown, r.platform.Hints[code])
}
