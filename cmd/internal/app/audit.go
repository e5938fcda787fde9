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
	"github.com/trailwarden/trailwarden/pipeline/text"
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

// What a note may take, in bytes of JSON: the audit log waits until the start is noted
// in it (keepAudit), and takes no note of more than 64 KiB.
const (
	maxText  = 30 << 10 // the text of a configuration
	maxRules = 40 << 10 // the hashes of the rules
	maxDiff  = 7 << 10  // each list of what was added, removed or changed
)

// jsonSize is the size of texts, or of maps of texts, which always encode.
//
//go:noinline
func jsonSize(v any) int {
	b, _ := json.Marshal(v)
	return len(b)
}

// begun is the beginning of a list, as far as there is room for it, and how many more
// there are. Of a long line it is the beginning, too.
func begun(list []string) (out []string) {
	room := maxDiff
	for i, s := range list {
		s = text.Cut(s, 500)
		if room -= jsonSize(s) + len(","); room < 0 {
			return append(out, fmt.Sprintf("and %d more", len(list)-i))
		}
		out = append(out, s)
	}
	return out
}

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
	a.audit.Anew = func() { a.pipe.AuditAnew(time.Now()) }
	a.audit.Run(ctx)
}

// noteStart puts into the audit log what this process was started with.
func (a *App) noteStart(ctx context.Context) error {
	doc, err := yaml.Dump(a.cfg)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	c := noteOfConfig(a.version, doc)
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
			c.since(before)
		}
	}
	if err := a.machine.AddNote(ctx, noteConfig, owner(), what, c); err != nil {
		return err
	}
	return a.noteRules(ctx)
}

func noteOfConfig(version string, doc []byte) configNote {
	c := configNote{Version: version, Hash: digest(doc), Text: string(doc)}
	if jsonSize(c.Text) > maxText {
		c.Text = "" // the hash still says that something changed
	}
	return c
}

// since lists what differs from the configuration before. Where one of the two was too
// long to be kept nothing is listed: all of the other would seem to be new, or gone.
func (c *configNote) since(before configNote) {
	if c.Text != "" && before.Text != "" {
		removed, added := lineDiff(before.Text, c.Text)
		c.Removed, c.Added = begun(removed), begun(added)
	}
}

// noteRules puts the rules in force into the audit log, and what differs from
// those before.
func (a *App) noteRules(ctx context.Context) error {
	set := a.Rules()
	hashes := map[string]string{}
	for _, in := range set.List() {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("audit log: rule %s: %w", in.ID, err)
		}
		hashes[in.ID] = digest(b)[:12]
	}
	r := noteOfRules(set.Hash(), hashes)
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
		r.since(old)
	}
	return a.machine.AddNote(ctx, noteRules, owner(), what, r)
}

func noteOfRules(hash string, hashes map[string]string) rulesNote {
	r := rulesNote{Hash: hash, Count: len(hashes), Rules: hashes}
	if jsonSize(r.Rules) > maxRules {
		r.Rules = nil
	}
	return r
}

// since lists what differs from the rules before, as that of configNote does.
func (r *rulesNote) since(old rulesNote) {
	if r.Rules == nil || old.Rules == nil {
		return
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
	r.Added, r.Removed, r.Changed = begun(r.Added), begun(r.Removed), begun(r.Changed)
}

// lineDiff lists the lines that only one of two texts has, each with the
// sections that it is in.
func lineDiff(before, after string) (removed, added []string) {
	b, a := placed(before), placed(after)
	for _, l := range slices.Sorted(maps.Keys(b)) {
		if b[l] > a[l] {
			removed = append(removed, l)
		}
	}
	for _, l := range slices.Sorted(maps.Keys(a)) {
		if a[l] > b[l] {
			added = append(added, l)
		}
	}
	return removed, added
}

// placed counts the lines of a YAML text, each after the keys above it.
func placed(doc string) map[string]int {
	out := map[string]int{}
	type level struct {
		indent int
		key    string
	}
	var at []level
	for _, line := range strings.Split(doc, "\n") {
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
