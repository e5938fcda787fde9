package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/account"
	"github.com/trailwarden/trailwarden/pipeline/sls/cred"
	"github.com/trailwarden/trailwarden/responders/ram"
)

// judges are the judges of permission changes of the partitions that this
// process works on, by partition.
type judges struct {
	mu sync.Mutex
	m  map[int]*account.Judge
	// made is told of new judges, which know nothing yet.
	made chan struct{}
}

func newJudges() *judges {
	return &judges{m: map[int]*account.Judge{}, made: make(chan struct{}, 1)}
}

// add gives a partition a new judge.
func (s *judges) add(partition int) detectors.PolicyJudge {
	j := account.New(account.Config{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[partition] = j
	select {
	case s.made <- struct{}{}:
	default:
	}
	return j
}

func (s *judges) all() []*account.Judge {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*account.Judge, 0, len(s.m))
	for _, j := range s.m {
		out = append(out, j)
	}
	return out
}

func (s *judges) offer(k *account.Known) {
	for _, j := range s.all() {
		j.Offer(k)
	}
}

// lister is what the reader asks of RAM; *ram.Client is one.
type lister interface {
	Caller(ctx context.Context) (ram.Whoami, error)
	Inventory(ctx context.Context, account string) (ram.Inventory, error)
	PolicyVersions(ctx context.Context, account string, system bool, name string) ([]ram.PolicyText, error)
}

// inventoryReader tells the judges what accounts look like, read-only: all of
// it at the start and again after a while, and single policies when a
// judgement lacked their text. What it cannot read the judges say they do not
// know; it never stops anything.
type inventoryReader struct {
	ram      lister
	accounts []string // empty: the credentials' own
	every    time.Duration
	poll     time.Duration // between looks for what is wanted
	pause    time.Duration // between readings of everything, at least
	judges   *judges
	log      *slog.Logger
	now      func() time.Time
}

// slackOfClocks covers clocks that differ, and events whose time is that of the call's
// beginning.
const slackOfClocks = 2 * time.Minute

func inventoryOf(c *config.Config, p *cred.Provider, js *judges, log *slog.Logger) (*inventoryReader, *ram.Client, error) {
	r := c.Detect.RAM
	client, err := readsRAM(c, p)
	if err != nil {
		return nil, nil, err
	}
	every := r.Every.Std()
	if every <= 0 {
		every = 24 * time.Hour
	}
	return &inventoryReader{ram: client, accounts: r.Accounts, every: every, poll: 10 * time.Second, pause: time.Minute, judges: js, log: log, now: time.Now}, client, nil
}

// readsRAM makes the client of what detect.ram may read.
func readsRAM(c *config.Config, p *cred.Provider) (*ram.Client, error) {
	r := c.Detect.RAM
	return ram.New(ram.Config{Region: r.Region, Endpoint: r.Endpoint, AssumeRole: r.AssumeRole,
		Credentials: func(ctx context.Context) (id, secret, token string, err error) {
			id, secret, token, _, err = p.Get(ctx)
			return id, secret, token, err
		},
		Invalidate: p.Invalidate,
	})
}

// run works until ctx ends.
func (r *inventoryReader) run(ctx context.Context) {
	var next, last time.Time
	fresh := false
	for ctx.Err() == nil {
		// A new judge needs a listing of its own: what one from yesterday
		// shows may have been taken away meanwhile.
		if now := r.now(); now.After(next) || fresh && now.Sub(last) >= r.pause {
			last, next, fresh = now, now.Add(r.every), false
			r.readAll(ctx)
		}
		r.readWanted(ctx)
		select {
		case <-ctx.Done():
		case <-r.judges.made:
			fresh = true
		case <-time.After(r.poll):
		}
	}
}

func (r *inventoryReader) readAll(ctx context.Context) {
	accounts, err := accountsOrOwn(ctx, r.ram, r.accounts)
	if err != nil {
		r.failed(ctx, "", err)
		return
	}
	for _, id := range accounts {
		from := r.now().Add(-slackOfClocks)
		inv, err := r.ram.Inventory(ctx, id)
		if err != nil {
			r.failed(ctx, id, err)
			continue
		}
		k := known(&inv)
		k.From, k.Until = from, r.now().Add(slackOfClocks)
		r.judges.offer(k)
		attrs := []any{"account", id, "policies", len(inv.Policies), "holders", len(inv.Holders), "roles", len(inv.Roles), "settings", len(inv.Settings)}
		if d := inv.Directory; d != nil {
			attrs = append(attrs, "control_policies", len(d.Policies), "directory_entries", len(d.Parent)+1)
		}
		if len(inv.Missing) > 0 || inv.Partial {
			r.log.Warn("permissions were read in part; what is missing is judged as not known", append(attrs, "refused", inv.Missing, "cut", inv.Partial)...)
		} else {
			r.log.Info("permissions were read", attrs...)
		}
	}
}

// accountsOrOwn is the accounts to read: those that are named, or the
// credentials' own.
func accountsOrOwn(ctx context.Context, c interface {
	Caller(context.Context) (ram.Whoami, error)
}, named []string) ([]string, error) {
	if len(named) > 0 {
		return named, nil
	}
	who, err := c.Caller(ctx)
	return []string{who.Account}, err
}

func (r *inventoryReader) failed(ctx context.Context, account string, err error) {
	if ctx.Err() == nil {
		r.log.Warn("permissions could not be read; changes are judged by the events alone", "account", account, "error", err.Error())
	}
}

// readWanted looks up the policies that judgements lacked.
func (r *inventoryReader) readWanted(ctx context.Context) {
	for _, j := range r.judges.all() {
		for _, w := range j.Wanted() {
			if ctx.Err() != nil {
				return
			}
			from := r.now().Add(-slackOfClocks)
			list, err := r.ram.PolicyVersions(ctx, w.Account, w.System, w.Name)
			if err != nil {
				r.failed(ctx, w.Account, err)
				continue
			}
			if len(list) > 0 {
				k := known(&ram.Inventory{Account: w.Account, Policies: list})
				k.From, k.Until = from, r.now().Add(slackOfClocks)
				j.Offer(k)
			}
		}
	}
}

// known puts an inventory into the judge's words.
func known(inv *ram.Inventory) *account.Known {
	k := &account.Known{Account: inv.Account, Trust: map[string]string{}, Settings: inv.Settings, Scoped: inv.Scoped, Complete: inv.Whole()}
	if d := inv.Directory; d != nil {
		k.Directory = &account.KnownDirectory{Root: d.Root, Parent: d.Parent}
		for _, p := range d.Policies {
			k.Directory.Guards = append(k.Directory.Guards, account.KnownGuard{ID: p.ID, Text: p.Text, Targets: p.Targets})
		}
	}
	for _, p := range inv.Policies {
		k.Policies = append(k.Policies, account.KnownPolicy{System: p.System, Name: p.Name, Version: p.Version, Text: p.Text, InForce: p.Default})
	}
	for _, h := range inv.Holders {
		x := account.KnownHolder{Kind: h.Kind, Name: h.Name, Links: h.Links, Keys: h.Keys, KeysKnown: h.KeysKnown, MFA: h.MFA, MFAKnown: h.MFAKnown}
		for _, a := range h.Attached {
			x.Attached = append(x.Attached, account.Attachment{System: a.System, Policy: a.Name, ResourceGroup: a.Group})
		}
		k.Holders = append(k.Holders, x)
	}
	for _, r := range inv.Roles {
		k.Trust[r.Role] = r.Text
	}
	return k
}
