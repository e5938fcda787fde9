package pipeline

import (
	"context"
	"fmt"
	"time"
)

// Ruling is what events are evaluated by.
type Ruling struct {
	NewEngine func(partition int) Engine
	Rules     string // the hash of the rule set
}

// SetRules asks every partition of this process to go on with other rules, and
// makes them those of partitions taken over later. Each changes at the end of a
// step; Stats says which have. What is asked for last counts. It does not wait.
// Safe from any goroutine.
func (p *Pipeline) SetRules(r Ruling) {
	p.mu.Lock()
	p.wcfg.NewEngine, p.wcfg.Rules = r.NewEngine, r.Rules
	p.mu.Unlock()
	// A worker made between has them already, and takes them again at no cost.
	for _, w := range p.running() {
		w.SetRules(r)
	}
}

// SetRules asks Run to go on with other rules: after what was committed before
// is evaluated again by the ones that Run began with, and at the end of a step.
func (w *Worker) SetRules(r Ruling) {
	w.mu.Lock() // for other callers of SetRules
	defer w.mu.Unlock()
	select {
	case <-w.ruleReq: // no longer wanted
	default:
	}
	w.ruleReq <- r
}

// rulings is where Run hears of new rules while it waits, if it may change them
// now.
func (w *Worker) rulings(draining bool) <-chan Ruling {
	if w.quiet || draining {
		return nil
	}
	return w.ruleReq
}

// ruleRetry is when a change of rules is tried again that could not be made.
const ruleRetry = 5 * time.Second

// adopt goes on with other rules. The step is committed first, and the state as
// the old rules leave it is stored in a snapshot: a later start re-evaluates
// nothing by the new rules that the old ones had decided, and the new engine
// begins exactly as one does that is restarted there. Detectors of rules whose
// settings are the same keep their state (detectors.Rule.State). Where the
// snapshot cannot be stored the change waits.
func (w *Worker) adopt(ctx context.Context, r Ruling) error {
	if r.Rules == w.cfg.Rules {
		return nil
	}
	if err := w.commit(ctx); err != nil {
		return err
	}
	state := w.eng.Snapshot()
	if w.input > 0 && (w.input > w.snapInput || w.snapRules != w.cfg.Rules) {
		stored, err := w.saveState(ctx, state)
		if err != nil {
			return err
		}
		if !stored {
			w.log.Error("the rules are not changed yet: the state before could not be stored", "rules", r.Rules)
			time.AfterFunc(ruleRetry, func() { w.again(r) })
			return nil
		}
	}
	eng := r.NewEngine(w.cfg.Partition)
	if err := eng.Restore(state); err != nil {
		// Not of the file: the same program wrote it a moment ago.
		w.log.Error("the rules are not changed: the new ones cannot take the state over", "rules", r.Rules, "error", err)
		if w.eng = w.cfg.NewEngine(w.cfg.Partition); w.eng.Restore(state) != nil {
			return fmt.Errorf("the state cannot be read back: %w", err)
		}
		return nil
	}
	w.log.Info("the rules have changed", "was", w.cfg.Rules, "is", r.Rules, "input", w.input)
	w.eng, w.cfg.NewEngine, w.cfg.Rules = eng, r.NewEngine, r.Rules
	w.note(func(s *WorkerStats) { s.Rules = r.Rules })
	return nil
}

// again puts a request back unless there is a newer one.
func (w *Worker) again(r Ruling) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.ruleReq <- r:
	default:
	}
}
