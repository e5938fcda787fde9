package app

import (
	"context"

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
	client, err := ram.New(ramConfig(a.cfg, p))
	if err != nil {
		return err
	}
	a.closers = append(a.closers, client.Close)
	a.keys = client
	mo.Executors = client.Executors()
	mo.Self = client.Self
	return nil
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
