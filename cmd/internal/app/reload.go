package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/config"
	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/rules"
)

// ruleBook is which rules are in force, and what became of the files they come
// from. The set itself is read without the lock.
type ruleBook struct {
	mu      sync.Mutex
	detect  config.Detect // as the set in force was loaded
	loaded  time.Time
	reloads uint64
	refused refusal
	seen    string // FileState before the set was loaded at the start
	waiting string // what the configuration says otherwise than at the start
}

// refusal says that what stands in the files now is not used.
type refusal struct {
	at     time.Time // of the first look at these files; zero when the files are fine
	err    error
	times  uint64
	config bool // the configuration is wrong, and the rules were not looked at
}

// what is refused, in English and in Chinese, and the command that looks closer.
func (r refusal) what() (en, zh, look string) {
	if r.config {
		return "configuration is", "配置文件", "config validate"
	}
	return "rules in the files are", "文件中的规则", "rules lint"
}

// Rules is the rule set in force; a reload replaces it.
func (a *App) Rules() *rules.Set { return a.rules.Load() }

// loadRules reads the rules at the start. When they cannot be used and the last
// ones that could are kept, those are taken: a restart in the night must not
// turn a mistake of the day, which the running program had refused, into
// blindness.
func (a *App) loadRules() error {
	a.book.detect, a.book.loaded = a.cfg.Detect, a.started
	a.book.seen = a.filesNow()
	set, err := RulesOf(a.cfg).Load()
	if err == nil {
		a.rules.Store(set)
		return nil
	}
	kept, kerr := loadKept(a.keptDir(), a.cfg)
	if kerr != nil {
		if !errors.Is(kerr, fs.ErrNotExist) {
			a.log.Error("the rules that were in force last cannot be used either", "error", kerr)
		}
		return fmt.Errorf("%w: the rules cannot be used:\n%w", ErrUnusable, err)
	}
	a.log.Error("the rules in the files cannot be used; those that were in force last are used", "rules", kept.Stamp(), "error", err.Error())
	a.rules.Store(kept)
	a.book.refused = refusal{at: a.started, err: err, times: 1}
	return nil
}

// ruling makes what the partitions work with of a rule set.
func (a *App) ruling(set *rules.Set) pipeline.Ruling {
	grace := a.cfg.Detect.Grace.Std()
	warm, _ := time.Parse(time.RFC3339, a.cfg.Detect.LearnUntil) // validated; zero when not set
	var ours []string
	if tellsOwnCalls(set) { // else nobody would hear of what is withheld
		ours = set.Lists()["own_principals"]
	}
	except := withheld(warm, ours)
	timer := a.meters.timer(set)
	return pipeline.Ruling{Rules: set.Hash(), NewEngine: a.meters.engines(pipeline.DetectorEngines(set, func(partition int) detectors.EngineConfig {
		return detectors.EngineConfig{Grace: grace, IdleAfter: idleAfter(grace), DedupHorizon: a.cfg.Detect.DedupFor.Std(),
			DedupMax: a.cfg.Detect.DedupMax, Judge: a.judges.add(partition), Except: except, Timer: timer,
			OnRuleError: func(e detectors.RuleError) {
				a.meters.ruleError(e)
				a.ruleErr.note(e, time.Now())
				a.log.Error("a rule could not be evaluated", "error", e.Error())
			}}
	}))}
}

// idleAfter is the ingest time after which, when traffic pauses, what waits for
// late events is decided, however long the grace.
func idleAfter(grace time.Duration) time.Duration { return min(max(grace, time.Second), 2*time.Second) }

// watchRules reads the rules again when their files change or it is asked to,
// until ctx ends. Files that are being written are left alone: they count when
// they have not changed between two looks.
func (a *App) watchRules(ctx context.Context) {
	a.noteRefusal(ctx)
	seen := a.book.seen
	before := seen
	var tick <-chan time.Time
	if every := a.cfg.Detect.Reload.Std(); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		tick = t.C
	}
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-a.hangup:
			asked = true
		case <-tick:
		}
		now := a.filesNow()
		if asked || now != seen && now == before {
			seen = now // as before the reading: what is written meanwhile counts next time
			a.reload(ctx, asked)
		}
		before = now
	}
}

// filesNow changes when a file does that the rules are made of.
func (a *App) filesNow() string {
	a.book.mu.Lock()
	r := rulesOf(&a.book.detect)
	a.book.mu.Unlock()
	paths := r.files()
	if a.configPath != "" {
		paths = append(paths, a.configPath)
	}
	return FileState(paths...)
}

// reload reads everything that the rules are made of anew and, if all of it is
// good, lets the partitions go on with it. Otherwise the rules in force stay.
func (a *App) reload(ctx context.Context, asked bool) {
	a.book.mu.Lock()
	detect := a.book.detect
	a.book.mu.Unlock()
	var err error
	var next *config.Config
	if a.reread != nil {
		if next, err = a.reread(); err == nil {
			detect = next.Detect
		}
	}
	unread := err != nil
	var set *rules.Set
	if err == nil {
		set, err = rulesOf(&detect).Load()
	}
	if err != nil {
		a.book.mu.Lock()
		fresh := a.book.refused.err == nil || a.book.refused.err.Error() != err.Error()
		a.book.refused.err, a.book.refused.config = err, unread
		a.book.refused.times++
		if fresh {
			a.book.refused.at = time.Now()
		}
		a.book.mu.Unlock()
		if fresh || asked {
			what, _, _ := refusal{config: unread}.what()
			a.log.Error("the "+what+" refused; the rules in force stay", "rules", a.Rules().Stamp(), "error", err.Error())
		}
		if fresh {
			a.noteRefusal(ctx)
		}
		return
	}
	was := a.Rules()
	waiting := ""
	if next != nil {
		waiting = strings.Join(config.Changed(a.cfg, next), ", ")
	}
	a.book.mu.Lock()
	news := waiting != a.book.waiting
	a.book.waiting = waiting
	mended := a.book.refused.err != nil
	a.book.refused.at, a.book.refused.err = time.Time{}, nil
	changed := was.Hash() != set.Hash()
	a.book.detect = detect
	if changed {
		a.book.loaded = time.Now()
		a.book.reloads++
		a.rules.Store(set)
	}
	a.book.mu.Unlock()
	if waiting != "" && (news || asked) {
		a.log.Warn("the configuration was changed; this counts when the program is started again", "changed", waiting)
	}
	if !changed {
		if asked || mended {
			a.log.Info("the rules are as they were", "rules", set.Stamp())
		}
		return
	}
	a.pipe.SetRules(a.ruling(set))
	a.log.Info("the rules were read again", "was", was.Stamp(), "is", set.Stamp(), "rules", set.Len())
	a.keepRules()
	if a.machine != nil {
		if err := a.noteRules(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("the change of rules could not be noted in the audit log", "error", err)
		}
	}
	debug.FreeOSMemory() // compiling takes several times the memory that the rules do
}

// noteRefusal tells people and the audit log that the files hold rules that are
// not used.
func (a *App) noteRefusal(ctx context.Context) {
	a.book.mu.Lock()
	r := a.book.refused
	a.book.mu.Unlock()
	if r.err == nil {
		return
	}
	first := faultsOf(r.err, 20)[0]
	what, whatZH, look := r.what()
	a.pipe.Raise(pipeline.Report{
		Rule: pipeline.RuleRefused, Key: r.at.UTC().Format(time.RFC3339Nano), At: r.at, Severity: alert.High,
		Title: "The " + what + " refused", TitleZH: whatZH + "被拒绝",
		ReasonZH: fmt.Sprintf("%s已改动但无法使用（%s）；原规则 %s 继续生效，改动所要检测的内容暂时检测不到", whatZH, first, a.Rules().Stamp()),
		Reason:   fmt.Sprintf("what was changed cannot be used (%s); the rules before, %s, stay in force, so what the change was meant to find is not found", first, a.Rules().Stamp()),
		Details:  map[string]any{"pack": a.Rules().Stamp(), "faults": faultsOf(r.err, 20)},
		Runbook: alert.Runbook{
			EN: "trailwarden " + look + " --config … shows every fault with its place. Mend or take back the change; it is read again by itself.",
			ZH: "用 trailwarden " + look + " --config … 查看每处错误的位置;修正或撤回改动后会自动重新读取。",
		},
	})
	if a.machine == nil {
		return
	}
	if err := a.machine.AddNote(ctx, noteRefused, owner(), "rules refused, those in force stay", map[string]any{"pack": a.Rules().Stamp(), "faults": faultsOf(r.err, 20)}); err != nil && ctx.Err() == nil {
		a.log.Error("the refusal of rules could not be noted in the audit log", "error", err)
	}
}

// faultsOf lists the faults of an error from loading rules, each with its place,
// and counts those beyond a limit.
func faultsOf(err error, limit int) []string {
	out := faultLines(err)
	if len(out) > limit {
		out = append(out[:limit], fmt.Sprintf("and %d more", len(out)-limit))
	}
	return out
}

func faultLines(err error) (out []string) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range several.Unwrap() {
			out = append(out, faultLines(e)...)
		}
		return out
	}
	if all := (rules.Errors)(nil); errors.As(err, &all) {
		return faultLines(all)
	}
	out = strings.Split(err.Error(), "\n")
	if one := (*rules.Error)(nil); errors.As(err, &one) {
		return out[:1] // without the picture
	}
	if len(out) > 1 && strings.HasSuffix(out[0], ":") {
		return out[1:] // without the heading
	}
	return out
}

// FileState changes when a file under the paths does, or what a link there points
// to.
func FileState(paths ...string) string {
	var b strings.Builder
	add := func(path string) {
		// Stat and not what the folder says, so that links count.
		if i, err := os.Stat(path); err != nil {
			fmt.Fprintf(&b, "%s: %v\n", path, err)
		} else if !i.IsDir() {
			fmt.Fprintf(&b, "%s %d %d\n", path, i.Size(), i.ModTime().UnixNano())
		}
	}
	for _, p := range paths {
		i, err := os.Stat(p)
		if err != nil || !i.IsDir() {
			add(p)
			continue
		}
		_ = fs.WalkDir(os.DirFS(p), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				fmt.Fprintf(&b, "%s: %v\n", path, err)
				return nil
			}
			if !d.IsDir() {
				add(filepath.Join(p, path))
			}
			return nil
		})
	}
	return b.String()
}
