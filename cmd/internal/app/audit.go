package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/pipeline/pause"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/journal"
)

// Names of the notes in the audit log.
const (
	noteConfig = "config"
	noteRules  = "rules"
	// noteRefused is apart, so that it does not stand between two sets that were
	// in force.
	noteRefused = "rules_refused"
	noteReplay  = "replay"
)

func digest(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// configNote is what the audit log keeps of a configuration: its text with
// secrets masked, and what differs from the one before.
type configNote struct {
	Version string   `json:"version"`
	Hash    string   `json:"sha256"`
	Removed []string `json:"removed,omitempty"` // lines
	Added   []string `json:"added,omitempty"`
	Text    string   `json:"text,omitempty"`
}

// rulesNote is what it keeps of a rule set.
type rulesNote struct {
	Hash    string            `json:"hash"`
	Count   int               `json:"count"`
	Added   []string          `json:"added,omitempty"`
	Removed []string          `json:"removed,omitempty"`
	Changed []string          `json:"changed,omitempty"`
	Rules   map[string]string `json:"rules,omitempty"` // id to the beginning of its hash
}

// maxDiff bounds the lines of a configuration that are listed.
const maxDiff = 200

// keepAudit notes the start and then follows the journal until ctx ends.
func (a *App) keepAudit(ctx context.Context) {
	for {
		err := a.noteStart(ctx)
		if err == nil || ctx.Err() != nil {
			break
		}
		a.log.Error("the start could not be noted in the audit log and is tried again", "error", err)
		if pause.For(ctx, 5*time.Second) != nil {
			return
		}
	}
	a.audit.Run(ctx)
}

// noteStart puts into the audit log what this process was started with.
func (a *App) noteStart(ctx context.Context) error {
	text, err := yaml.Dump(a.cfg)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	c := configNote{Version: a.version, Hash: digest(text), Text: string(text)}
	if len(c.Text) > 30<<10 {
		c.Text = ""
	}
	what := "configuration loaded for the first time"
	last, ok, err := a.machine.LastNote(ctx, noteConfig)
	if err != nil {
		return err
	}
	var before configNote
	if ok && json.Unmarshal(last.Data, &before) == nil {
		what = "configuration loaded, unchanged"
		if before.Hash != c.Hash {
			what = "configuration changed"
			c.Removed, c.Added = lineDiff(before.Text, c.Text)
		}
	}
	if err := a.machine.AddNote(ctx, noteConfig, owner(), what, c); err != nil {
		return err
	}

	return a.noteRules(ctx)
}

// noteRules puts the rules in force into the audit log, and what differs from
// those before.
func (a *App) noteRules(ctx context.Context) error {
	set := a.Rules()
	r := rulesNote{Hash: set.Hash(), Count: set.Len(), Rules: map[string]string{}}
	for _, in := range set.List() {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("audit log: rule %s: %w", in.ID, err)
		}
		r.Rules[in.ID] = digest(b)[:12]
	}
	if len(r.Rules) > 1500 {
		r.Rules = nil // would not fit; the hash still says that something changed
	}
	what := "rules loaded for the first time"
	last, ok, err := a.machine.LastNote(ctx, noteRules)
	if err != nil {
		return err
	}
	var old rulesNote
	if ok && json.Unmarshal(last.Data, &old) == nil {
		what = "rules loaded, unchanged"
		if old.Hash != r.Hash {
			what = "rules changed"
		}
		for _, id := range slices.Sorted(maps.Keys(r.Rules)) {
			switch was, there := old.Rules[id]; {
			case !there:
				r.Added = append(r.Added, id)
			case was != r.Rules[id]:
				r.Changed = append(r.Changed, id)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(old.Rules)) {
			if _, there := r.Rules[id]; !there {
				r.Removed = append(r.Removed, id)
			}
		}
	}
	return a.machine.AddNote(ctx, noteRules, owner(), what, r)
}

// lineDiff lists the lines that only one of two texts has, each with the
// sections that it is in.
func lineDiff(before, after string) (removed, added []string) {
	b, a := placed(before), placed(after)
	for _, l := range slices.Sorted(maps.Keys(b)) {
		if b[l] > a[l] && len(removed) < maxDiff {
			removed = append(removed, l)
		}
	}
	for _, l := range slices.Sorted(maps.Keys(a)) {
		if a[l] > b[l] && len(added) < maxDiff {
			added = append(added, l)
		}
	}
	return removed, added
}

// placed counts the lines of a YAML text, each after the keys above it.
func placed(text string) map[string]int {
	out := map[string]int{}
	type level struct {
		indent int
		key    string
	}
	var at []level
	for _, line := range strings.Split(text, "\n") {
		body := strings.TrimLeft(line, " ")
		if body == "" {
			continue
		}
		indent := len(line) - len(body)
		for len(at) > 0 && at[len(at)-1].indent >= indent {
			at = at[:len(at)-1]
		}
		path := ""
		for _, l := range at {
			path += l.key + "."
		}
		if key, ok := strings.CutSuffix(body, ":"); ok {
			at = append(at, level{indent, strings.TrimPrefix(key, "- ")})
			continue
		}
		out[path+body]++
	}
	return out
}

// AuditLines implements admin.Backend.
func (a *App) AuditLines(ctx context.Context, after uint64, limit int) ([]journal.AuditLine, error) {
	if a.audit == nil {
		return nil, errNoResponders
	}
	out := []journal.AuditLine{}
	err := a.audit.Lines(ctx, after, func(l journal.AuditLine) error {
		if len(out) == limit {
			return errEnough
		}
		out = append(out, l)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, err
}

var errEnough = errors.New("enough")

// AuditVerify implements admin.Backend.
func (a *App) AuditVerify(ctx context.Context, head string) (journal.AuditReport, error) {
	if a.audit == nil {
		return journal.AuditReport{}, errNoResponders
	}
	return a.audit.Verify(ctx, head)
}

// AuditReplay implements admin.Backend: somebody replayed history.
func (a *App) AuditReplay(ctx context.Context, by string, r admin.Replayed) error {
	if a.machine == nil {
		return errNoResponders
	}
	return a.machine.AddNote(ctx, noteReplay, by, fmt.Sprintf("replay of %d events, %d alerts", r.Events, r.Alerts), r)
}

// Replaying implements admin.Backend: the console shows it.
func (a *App) Replaying(_ context.Context, r admin.Replaying) error {
	if a.machine == nil {
		return errNoResponders // there is nobody either to note it in the audit log
	}
	if a.index != nil {
		a.index.SetReplay(r, time.Now())
	}
	return nil
}

// Card implements admin.Backend.
func (a *App) Card(ctx context.Context, alertID string) (responders.KeyCard, bool, error) {
	if a.dispatcher == nil {
		return responders.KeyCard{}, false, errNoResponders
	}
	return a.dispatcher.Card(ctx, alertID)
}

// Contain implements admin.Backend: a person asks for an action about an alert.
func (a *App) Contain(ctx context.Context, alertID, kind, by string, params map[string]string) (responders.ActionDetail, error) {
	if a.dispatcher == nil {
		return responders.ActionDetail{}, errNoResponders
	}
	al, _, err := a.Alert(ctx, alertID)
	if err != nil {
		return responders.ActionDetail{}, err
	}
	return a.dispatcher.Contain(ctx, al, kind, by, params)
}
