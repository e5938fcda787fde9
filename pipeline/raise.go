package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/pause"
)

// The rules of alerts about ourselves. They are not in the rule pack: no event
// leads to them.
const (
	// RuleTampered: somebody removed or changed what this program depends on.
	RuleTampered = "self.tampered"
	// RuleBlind: a source has given no answer for too long.
	RuleBlind = "self.blind"
	// RuleDeficit: the source holds more records than were evaluated.
	RuleDeficit = "self.deficit"
	// RuleLost: records were lost to the source's retention before they were
	// read, or from the store and cannot be read again.
	RuleLost = "self.records_lost"
	// RuleRepaired: records were lost from the store and read again.
	RuleRepaired = "self.store_repaired"
	// RuleStore: the store is filling up, or a part of it is missing.
	RuleStore = "self.store"
	// RuleForgot: rules forgot entities to stay within their bounds.
	RuleForgot = "self.state_full"
	// RuleRefused: rules were changed in the files and cannot be used.
	RuleRefused = "self.rules_refused"
)

// Report is an alert about ourselves.
type Report struct {
	Rule string
	// Key makes two reports the same incident.
	Key           string
	Title, Reason string
	// TitleZH and ReasonZH are the same in Chinese.
	TitleZH, ReasonZH string
	Severity          alert.Severity
	At                time.Time // when it was noticed
	Runbook           alert.Runbook
	Details           map[string]any
}

// Raise makes a report durable, beside the alerts of the partitions and in the
// same stream, so that it takes their way to people whichever process noticed
// it. The same incident raised again reaches nobody again.
func Raise(ctx context.Context, b *bus.Bus, r Report) error {
	if err := raise(ctx, b, r); err != nil {
		return fmt.Errorf("report %s: %w", r.Rule, err)
	}
	return nil
}

func raise(ctx context.Context, b *bus.Bus, r Report) error {
	h := sha256.Sum256([]byte("trailwarden.self/v1\n" + r.Rule + "\n" + r.Key))
	at := r.At.UTC()
	a := alert.Alert{
		Schema: alert.Schema, ID: hex.EncodeToString(h[:16]), Rule: r.Rule, RuleVersion: 1, Title: r.Title, Reason: r.Reason,
		Severity: r.Severity, Outcome: "success", Time: at, FirstAt: at, LastAt: at, Count: 1, EventIDs: []string{},
		TitleZH: r.TitleZH, ReasonZH: r.ReasonZH, Details: r.Details, Runbook: r.Runbook, Revision: 1,
	}
	raw, err := alert.MarshalStored(&a)
	if err != nil {
		return err
	}
	self := selfPartition(b)
	for {
		m, err := b.Last(ctx, bus.StreamCommits, bus.SelfSubject)
		if err != nil && !errors.Is(err, bus.ErrNotFound) {
			return err
		}
		if err == nil && holds(m.Data, a.ID) {
			return nil // a process that starts again and again says the same
		}
		c := &bus.Commit{Partition: self, Part: true, Prev: m.Seq, Alerts: [][]byte{raw}}
		data, err := bus.EncodeCommit(c)
		if err != nil {
			return err
		}
		_, err = b.Publish(ctx, bus.Publish{Stream: bus.StreamCommits, Subject: bus.SelfSubject, ID: c.ID(data), Data: data, Fenced: true, Expect: m.Seq})
		if errors.Is(err, bus.ErrFenced) {
			continue // another process reports something at the same time
		}
		return err
	}
}

// holds says whether a commit record has the alert.
func holds(data []byte, id string) bool {
	c, err := bus.DecodeCommit(data)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(c.Alerts, func(raw []byte) bool {
		a, err := alert.UnmarshalStored(raw)
		return err == nil && a.ID == id
	})
}

// selfPartition is where reports are committed: no events have this number.
func selfPartition(b *bus.Bus) int { return b.Partitions() }

// Raise is the function Raise, once for each incident of this process, and tried
// again until it is stored. It does not wait. At most 64 reports wait at a time.
func (p *Pipeline) Raise(r Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := r.Rule + "\x00" + r.Key
	if p.raised[id] || len(p.reports) >= maxReports {
		return
	}
	if len(p.raised) > 4096 {
		clear(p.raised) // the journal still knows them
	}
	p.raised[id] = true
	if r.At.IsZero() {
		r.At = time.Now()
	}
	p.reports = append(p.reports, r)
	p.log.Error("report", "rule", r.Rule, "reason", r.Reason)
	select {
	case p.reporting <- struct{}{}:
	default:
	}
}

const maxReports = 64

// tell makes a report durable before it returns.
func (p *Pipeline) tell(ctx context.Context, r Report) error {
	p.log.Error("report", "rule", r.Rule, "reason", r.Reason)
	return Raise(ctx, p.b, r)
}

// report makes reports durable, until ctx ends.
func (p *Pipeline) report(ctx context.Context) {
	for wait := 100 * time.Millisecond; ; {
		p.mu.Lock()
		var next Report
		n := len(p.reports)
		if n > 0 {
			next = p.reports[0]
		}
		p.mu.Unlock()
		if n == 0 {
			select {
			case <-p.reporting:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err := Raise(ctx, p.b, next); err != nil {
			if ctx.Err() != nil {
				return
			}
			p.log.Warn("a report could not be stored, trying again", "rule", next.Rule, "error", err)
			if pause.For(ctx, wait) != nil {
				return
			}
			wait = min(wait*2, 30*time.Second)
			continue
		}
		wait = 100 * time.Millisecond
		p.mu.Lock()
		p.reports = p.reports[1:]
		p.mu.Unlock()
	}
}

// whenFullZH is bus.WhenFull in Chinese.
var whenFullZH = map[string]string{
	bus.StreamEvents:  "在检测赶上之前停止从来源读取，其余由来源保留",
	bus.StreamCommits: "在响应赶上之前停止检测",
	bus.StreamActions: "通知与处置无法记入日志而停止，请调大 nats.max_bytes",
	bus.StreamSnap:    "快照失败，启动变慢且 EVENTS 无法清理，请调大 nats.max_bytes",
	bus.StreamQuar:    "最早被隔离的记录将被丢弃",
	bus.StreamAudit:   "审计日志不再写入新内容，请调大 nats.max_bytes",
}

// reportStore says before a limit bites that it is near, and that a part of the
// store is gone.
func (p *Pipeline) reportStore(h *bus.Health) {
	day := time.Now().UTC().Format(time.DateOnly)
	if h.Free > 0 {
		p.Raise(Report{Rule: RuleStore, Key: "disk/" + day, Title: "The event store is filling up", TitleZH: "事件存储即将写满", Severity: alert.High, Reason: h.Short(),
			ReasonZH: fmt.Sprintf("state_dir 所在磁盘仅剩 %d MiB，被其他数据占用：写满后将无法存储，程序随之退出，请释放空间", h.Free>>20)})
	}
	for _, u := range h.Streams {
		f := u.Fraction()
		if f < bus.WarnAt && !u.Refusing {
			continue
		}
		r := Report{Rule: RuleStore, Key: u.Stream + "/filling/" + day, Title: "The event store is filling up", TitleZH: "事件存储即将写满", Severity: alert.Medium,
			Details: map[string]any{"stream": u.Stream, "bytes": u.Bytes, "max_bytes": u.Max}}
		if f >= bus.FullAt || u.Refusing {
			r.Key, r.Severity, r.Title = u.Stream+"/full/"+day, alert.High, "The event store is full"
			r.TitleZH = "事件存储已满"
		}
		r.Reason = fmt.Sprintf("%s holds %d of %d MiB (%.0f %%): %s", u.Stream, u.Bytes>>20, u.Max>>20, f*100, bus.WhenFull(u.Stream))
		r.ReasonZH = fmt.Sprintf("%s 已占用 %d MiB（共 %d MiB，%.0f %%）：%s", u.Stream, u.Bytes>>20, u.Max>>20, f*100, whenFullZH[u.Stream])
		p.Raise(r)
	}
	for _, name := range h.Missing {
		if name == bus.StreamAudit {
			p.AuditAnew(time.Now())
			continue
		}
		p.Raise(Report{Rule: RuleTampered, Key: "stream/" + name + "/" + day, Title: "A stream of the event store was removed", Severity: alert.Critical,
			TitleZH: "事件存储的一个流被删除", ReasonZH: fmt.Sprintf("流 %s 已不存在：有人将其删除，其中内容在此处已丢失，但日志服务（SLS）中仍有原始记录。缺失部分存储时重启会被拒绝，并提示如何处理", name),
			Reason:  fmt.Sprintf("the stream %s does not exist any more: somebody deleted it, and what it held is lost here. The records are still in the log service. A restart will refuse to begin with a part of the store missing and say what to do", name),
			Details: map[string]any{"stream": name}})
	}
}

// AuditAnew reports that the audit log was deleted. The responders make it again.
func (p *Pipeline) AuditAnew(at time.Time) {
	p.Raise(Report{Rule: RuleTampered, Key: "stream/" + bus.StreamAudit + "/" + at.UTC().Format(time.DateOnly), Title: "The audit log was deleted", TitleZH: "审计日志被删除", Severity: alert.Critical, At: at,
		Reason:   "the stream AUDIT did not exist any more: somebody deleted it. It is made again from what the journal still holds (256 records of each history), in a new chain: a head that was noted before is not in it",
		ReasonZH: "流 AUDIT 已不存在：有人将其删除。系统会根据操作日志中仍保留的内容（每段历史最近 256 条）重新建立，但哈希链是新的：此前记下的链头已不在其中",
		Details:  map[string]any{"stream": bus.StreamAudit}})
}
