package ram

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/sts"

	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/responders"
)

// noCredentials is the Action of an Error that there was nothing to sign with.
const noCredentials = "credentials"

// identity is who makes a call: the configured credentials, or a session in
// another account.
type identity interface {
	keys(ctx context.Context, c *Client) (keys, error)
	// renew drops what was refused; false when there is nothing newer to get.
	renew(c *Client) bool
}

// own are the configured credentials.
type own struct{}

func (own) keys(ctx context.Context, c *Client) (keys, error) {
	var k keys
	err := protect(func() (err error) {
		k.id, k.secret, k.token, err = c.cfg.Credentials(ctx)
		return err
	})
	switch {
	case err != nil:
		return keys{}, &Error{Action: noCredentials, Class: responders.ErrRetry, Detail: "nothing was sent: " + cred.Scrub(err.Error(), k.secrets()...), cause: contextErr(err)}
	case k.id == "" || k.secret == "":
		return keys{}, &Error{Action: noCredentials, Class: responders.ErrRefused, Detail: "the responder has no credentials; configure respond.ram.credentials"}
	}
	return k, nil
}

func (own) renew(c *Client) bool {
	if c.cfg.Invalidate == nil {
		return false
	}
	c.cfg.Invalidate()
	c.self.mu.Lock()
	c.self.key = "" // the new ones may be another principal's
	c.self.mu.Unlock()
	return true
}

// Whoami is a principal as GetCallerIdentity shows it.
type Whoami struct {
	Account, User, Role string // User or Role is empty; both for root
	Root                bool
}

// self remembers who we are. It is asked again when the key changes: another
// key may be another principal.
type self struct {
	mu  sync.Mutex
	key string // AccessKey id the answer is for; of role sessions "STS."
	who Whoami
}

// sessionKey folds the rotating keys of a role into one.
func sessionKey(id string) string {
	if strings.HasPrefix(id, "STS.") {
		return "STS."
	}
	return id
}

func (c *Client) whoami(ctx context.Context) (Whoami, keys, error) {
	k, err := own{}.keys(ctx, c)
	if err != nil {
		return Whoami{}, keys{}, err
	}
	c.self.mu.Lock()
	who, fresh := c.self.who, c.self.key == sessionKey(k.id)
	c.self.mu.Unlock()
	if fresh {
		return who, k, nil
	}
	who, err = c.callerIdentity(ctx, own{})
	if err != nil {
		return Whoami{}, keys{}, fmt.Errorf("who we are in the cloud could not be found out: %w", err)
	}
	c.self.mu.Lock()
	c.self.key, c.self.who = sessionKey(k.id), who
	c.self.mu.Unlock()
	return who, k, nil
}

func (c *Client) callerIdentity(ctx context.Context, as identity) (Whoami, error) {
	var resp *sts.GetCallerIdentityResponse
	_, err := c.do(ctx, as, op{product: "sts", action: "GetCallerIdentity"}, func(w *worker) (err error) {
		resp, err = w.sts.getCallerIdentity(sts.CreateGetCallerIdentityRequest())
		return err
	})
	if err != nil {
		return Whoami{}, err
	}
	who, ok := parseARN(resp.Arn)
	if !ok || who.Account != resp.AccountId || !digits(resp.AccountId) {
		return Whoami{}, &Error{Action: "sts GetCallerIdentity", Class: responders.ErrRefused, Detail: "the answer does not say who we are: " + clean(resp.Arn, 120)}
	}
	return who, nil
}

// parseARN reads acs:ram::<account>:root, :user/<name>, :assumed-role/<role>/<session>
// and :role/<role>/<session>.
func parseARN(arn string) (Whoami, bool) {
	rest, ok := strings.CutPrefix(arn, "acs:ram::")
	account, what, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || !digits(account) {
		return Whoami{}, false
	}
	w := Whoami{Account: account}
	kind, name, _ := strings.Cut(what, "/")
	switch kind {
	case "root":
		w.Root = true
		return w, name == ""
	case "user":
		w.User = name
		return w, name != ""
	case "assumed-role", "role":
		w.Role, _, _ = strings.Cut(name, "/")
		return w, w.Role != ""
	}
	return Whoami{}, false
}

func roleARN(arn string) (account, name string, ok bool) {
	rest, ok1 := strings.CutPrefix(arn, "acs:ram::")
	account, name, ok2 := strings.Cut(rest, ":role/")
	return account, name, ok1 && ok2 && digits(account) && name != "" && !strings.ContainsAny(name, "/ *?{}")
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Self lists our own principals, for the guards: the configured credentials,
// where a role is assumed, that role in every account, and Config.Others.
func (c *Client) Self(ctx context.Context) ([]responders.Identity, error) {
	who, k, err := c.whoami(ctx)
	if err != nil {
		return nil, err
	}
	id := responders.Identity{AccountID: who.Account, UserName: who.User, RoleName: who.Role}
	if !strings.HasPrefix(k.id, "STS.") {
		id.AccessKeyID = k.id
	}
	out := []responders.Identity{id}
	if c.cfg.AssumeRole != "" {
		_, name, _ := roleARN(strings.ReplaceAll(c.cfg.AssumeRole, "{account}", who.Account))
		out = append(out, responders.Identity{RoleName: name})
	}
	if c.cfg.Others == nil {
		return out, nil
	}
	others, err := c.cfg.Others(ctx)
	if err != nil {
		return nil, fmt.Errorf("who reads the trail could not be found out: %w", err)
	}
	return append(out, others...), nil
}

// scope is an account in which calls are made.
type scope struct {
	account string
	as      identity
}

// in is the scope of an account, or a refusal when we cannot act there: a call
// of RAM names no account and would hit a namesake in ours.
func (c *Client) in(ctx context.Context, account string) (scope, error) {
	who, _, err := c.whoami(ctx)
	switch {
	case err != nil:
		return scope{}, err
	case c.cfg.AssumeRole != "":
		s := c.scopes.get(account, strings.ReplaceAll(c.cfg.AssumeRole, "{account}", account))
		if a, _, _ := roleARN(s.arn); a != account {
			return scope{}, refuse("the role to assume, %s, is not in account %s", s.arn, account)
		}
		return scope{account, s}, nil
	case who.Root:
		return scope{}, refuse("the responder works with the key of the root account, which may do everything and cannot be limited; give it a role")
	case who.Account != account:
		return scope{}, refuse("the target is in account %s and the responder's credentials are of account %s; configure a role to assume there", account, who.Account)
	}
	return scope{account, own{}}, nil
}

type scopes struct {
	mu sync.Mutex
	m  map[string]*session
}

func (s *scopes) get(account, arn string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[account] == nil {
		s.m[account] = &session{arn: arn, turn: make(chan struct{}, 1)}
	}
	return s.m[account]
}

// session is an assumed role, renewed before it ends. While a renewal fails
// the old credentials are used for as long as they are valid.
type session struct {
	arn string

	turn chan struct{} // holds one: one renewal at a time
	mu   sync.Mutex
	k    keys
	ends time.Time
}

const (
	sessionLife  = time.Hour // every role allows this much
	renewBefore  = 5 * time.Minute
	minRemaining = 5 * time.Second
)

func (s *session) current() (k keys, left time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.k, time.Until(s.ends)
}

func (s *session) keys(ctx context.Context, c *Client) (keys, error) {
	if k, left := s.current(); left > renewBefore {
		return k, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return keys{}, &Error{Action: "sts AssumeRole", Class: responders.ErrRetry, Detail: "nothing was sent: stopped while waiting for the session", cause: ctx.Err()}
	}
	k, left := s.current()
	if left > renewBefore {
		return k, nil
	}
	var resp *sts.AssumeRoleResponse
	_, err := c.do(ctx, own{}, op{product: "sts", action: "AssumeRole"}, func(w *worker) (err error) {
		r := sts.CreateAssumeRoleRequest()
		r.RoleArn, r.RoleSessionName = s.arn, RoleSessionName
		r.DurationSeconds = requests.NewInteger(int(sessionLife / time.Second))
		resp, err = w.sts.assumeRole(r)
		return err
	})
	if err == nil && (resp.Credentials.AccessKeyId == "" || resp.Credentials.AccessKeySecret == "" || resp.Credentials.SecurityToken == "") {
		err = &Error{Action: "sts AssumeRole", Class: responders.ErrRetry, Detail: "nothing was sent: the answer holds no credentials"}
	}
	if err != nil {
		if left > minRemaining && !errors.Is(err, responders.ErrRefused) {
			return k, nil
		}
		return keys{}, fmt.Errorf("role %s could not be assumed: %w", s.arn, err)
	}
	ends, err := time.Parse("2006-01-02T15:04:05Z", resp.Credentials.Expiration)
	if err != nil {
		ends = time.Now().Add(sessionLife / 2)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.k, s.ends = keys{resp.Credentials.AccessKeyId, resp.Credentials.AccessKeySecret, resp.Credentials.SecurityToken}, ends
	return s.k, nil
}

func (s *session) renew(*Client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	had := !s.ends.IsZero()
	s.k, s.ends = keys{}, time.Time{}
	return had
}
