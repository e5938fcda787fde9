package app

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/ram"
)

// executors gives the machine the ways in which it may change the cloud. With
// respond.ram switched off it gets none.
func (a *App) executors(mo *responders.MachineOptions) error {
	c := a.cfg.Respond.RAM
	if !c.Enabled {
		return nil
	}
	p, err := cred.New(credOf(ResponderCredentials(a.cfg)))
	if err != nil {
		return err
	}
	rc := ramConfig(a.cfg, p)
	if rc.Others, err = a.others(); err != nil {
		return err
	}
	client, err := ram.New(rc)
	if err != nil {
		return err
	}
	a.closers = append(a.closers, client.Close)
	a.keys = client
	mo.Executors = client.Executors()
	mo.Self = client.Self
	return nil
}

// others tells whom the trail is read as and, with detect.ram, RAM, where the responder
// has credentials or a role of its own; nil where it has not. Who was found out once
// stays known.
func (a *App) others() (func(context.Context) ([]responders.Identity, error), error) {
	c, role := a.cfg, ""
	if c.Detect.RAM.Enabled {
		role = c.Detect.RAM.AssumeRole
	}
	if own := c.Respond.RAM.Credentials.AccessKeyID; role == "" && (own == "" || own == c.Credentials.AccessKeyID) {
		return nil, nil
	}
	rc := ramConfig(c, a.reader)
	rc.AssumeRole = role
	client, err := ram.New(rc)
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, client.Close)
	var known atomic.Pointer[[]responders.Identity]
	return func(ctx context.Context) ([]responders.Identity, error) {
		id, _, _, _, none := a.reader.Get(ctx)
		who, err := client.Self(ctx)
		switch last := known.Load(); {
		case err == nil:
			known.Store(&who)
		case last != nil:
			return *last, nil
		case none != nil: // without credentials nothing is read here
			return nil, nil
		case errors.Is(err, responders.ErrRefused): // the cloud does not take them, and says no name
			return []responders.Identity{{AccessKeyID: id}}, nil
		}
		return who, err
	}, nil
}

func ramConfig(c *config.Config, p *cred.Provider) ram.Config {
	r := c.Respond.RAM
	return ram.Config{
		Region: r.Region, Endpoint: r.Endpoint, AssumeRole: r.AssumeRole, Protected: c.Respond.Guards.Protected,
		Credentials: func(ctx context.Context) (id, secret, token string, err error) {
			id, secret, token, _, err = p.Get(ctx)
			return id, secret, token, err
		},
		Invalidate: p.Invalidate,
	}
}

// Kinds describes every kind of action there is, from the mildest to the
// strongest.
func Kinds() ([]ram.Rung, error) { return ram.Ladder() }

// production is what the tables of owners say of the target of an action.
func (a *App) production(t responders.ActionTarget) string {
	id := ""
	switch {
	case t.UserName != "":
		id = "user/" + t.AccountID + "/" + t.UserName
	case t.RoleName != "":
		id = "role/" + t.AccountID + "/" + t.RoleName
	case t.PrincipalType == "root-account":
		id = "root/" + t.AccountID
	}
	return a.Rules().Owners().Of(id, t.AccessKeyID, t.UserName, t.RoleName, t.AccountID).Production.String()
}
