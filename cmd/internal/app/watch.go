package app

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
	"github.com/trailwarden/trailwarden/pipeline/sls"
)

// How long a source may refuse us, or be silent, before people are told.
const (
	refusedFor = 2 * time.Minute
	blindFor   = 5 * time.Minute
)

// alarmed turns what a source noticed into a report to people, where it is one.
func alarmed(source, group string, a sls.Alarm, now time.Time) (pipeline.Report, bool) {
	switch a.Kind {
	case sls.AlarmGroupMissing:
		return pipeline.Report{
			Rule: pipeline.RuleTampered, Key: source + "/group/" + now.UTC().Format(time.RFC3339), At: now, Severity: alert.Critical,
			Title: "The consumer group was deleted", TitleZH: "消费组被删除",
			ReasonZH: fmt.Sprintf("有人删除了 %s 的消费组 %s，本系统正是通过它读取审计跟踪；现已重建，从已存储记录的末尾继续读取", source, group),
			Reason:   fmt.Sprintf("somebody deleted the consumer group %s of %s, with which this system reads the trail; it was made again, and reading goes on where what is stored ends", group, source),
			Details:  map[string]any{"source": source, "consumer_group": group},
			Runbook: alert.Runbook{
				EN: "Find out who did it: search the trail for DeleteConsumerGroup. Whoever blinds the detection comes before or after something else.",
				ZH: "查明是谁所为:在操作审计中搜索 DeleteConsumerGroup。破坏检测的人往往前后还有其他动作。",
			},
		}, true
	case sls.AlarmCursorExpired:
		return pipeline.Report{
			Rule: pipeline.RuleLost, Key: fmt.Sprintf("%s/%d/%s", source, a.Shard, a.From), At: now, Severity: alert.High,
			Title: "Records expired before they were read", TitleZH: "记录在读取之前已过期",
			ReasonZH: fmt.Sprintf("%s：分区 %d 自位置 %s 起的记录在读取之前已不在日志库中（超过保存时间，或日志库被删除后重建；若重建后分区减少，已不存在的分区中未读的记录也一并丢失），未经检测", source, a.Shard, a.From),
			Reason:   fmt.Sprintf("%s: %s", source, a.Message),
			Details:  map[string]any{"source": source, "shard": a.Shard, "from": a.From, "to": a.To},
			Runbook: alert.Runbook{
				EN: "Find out who deleted the logstore (DeleteLogStore), or raise its retention and find out why reading stood still for so long. A delivery to OSS, where there is one, still has the records: trailwarden replay.",
				ZH: "查明是谁删除了日志库(DeleteLogStore),或延长其保存时间并查明读取为何停滞。若有 OSS 投递,可用 trailwarden replay 重查。",
			},
		}, true
	}
	return pipeline.Report{}, false
}

// seen is when a source was last well: it answered a read, or others read all
// its shards. A process with a store of its own is alone: whoever holds the
// shards then is not of us.
func seen(st sls.Stats, alone bool) time.Time {
	if alone {
		return st.LastPull
	}
	return st.LastSight
}

// Why a source is not seen that others read, and what to do.
const (
	strangers   = "others in the consumer group hold its shards, and what they read does not come to this store; next: a consumer_group of its own, or one nats.url for all"
	strangersZH = "消费组中的其他进程持有其分区，所读内容不进入本存储；请为本进程另设 consumer_group，或让所有进程共用一个 nats.url"
)

// elsewhere says that a source is not seen because others read it who have another
// store.
func elsewhere(st sls.Stats, seen time.Time) bool { return st.Standby && st.LastSight.After(seen) }

// whyBlind says what a source that is not seen does, and what it was last answered.
func whyBlind(st sls.Stats, seen time.Time) string {
	switch {
	case elsewhere(st, seen):
		return strangers
	case st.Trouble.Code != "":
		return st.State + ", " + st.Trouble.Code
	}
	return st.State
}

// sight judges a source's condition: refused is somebody's doing, silent may be
// anybody's. seen is when it was last well.
func sight(source string, st sls.Stats, seen, started, now time.Time) (pipeline.Report, bool) {
	since := seen
	if since.Before(started) {
		since = started
	}
	blind := now.Sub(since)
	denied := st.Trouble.Denied() && st.Trouble.At.After(since)
	at := since.UTC().Format(time.RFC3339)
	key := source + "/" + at
	switch {
	case denied && blind >= refusedFor:
		return pipeline.Report{
			Rule: pipeline.RuleTampered, Key: key, At: now, Severity: alert.Critical,
			Title: "The log service refuses to let this system read", TitleZH: "日志服务（SLS）拒绝本系统读取",
			ReasonZH: fmt.Sprintf("%s 自 %s 起返回 %s：密钥、角色、其权限策略、日志库或项目已被更改或删除，当前完全看不到该跟踪",
				source, at, st.Trouble.Code),
			Reason: fmt.Sprintf("%s has answered %s since %s: the key, the role, its policy, the logstore or the project was changed or removed, and nothing of this trail is seen now",
				source, st.Trouble.Code, at),
			Details: map[string]any{"source": source, "code": st.Trouble.Code, "since": since.UTC()},
			Runbook: alert.Runbook{
				EN: "Compare the reader's policies, keys and role with what they should be (trailwarden doctor says what is refused). What happened meanwhile is read when reading works again, within the logstore's retention.",
				ZH: "核对读取身份的策略、密钥与角色(trailwarden doctor 会指出被拒绝的操作)。恢复后会在日志库保存期内补读期间的记录。",
			},
		}, true
	case blind >= blindFor:
		r := pipeline.Report{
			Rule: pipeline.RuleBlind, Key: key, At: now, Severity: alert.High,
			Title: "The trail cannot be read", TitleZH: "无法读取审计跟踪",
			ReasonZH: fmt.Sprintf("%s 自 %s 起没有应答（最近的错误：%s）：当前完全看不到该跟踪", source, at, cmp.Or(st.Trouble.Code, "无，网络没有响应")),
			Reason: fmt.Sprintf("%s has given no answer since %s (last error: %s): nothing of this trail is seen now", source, at,
				orNone(st.Trouble.Code)),
			Details: map[string]any{"source": source, "since": since.UTC()},
		}
		if elsewhere(st, seen) {
			r.Reason, r.ReasonZH = source+": "+strangers, source+"："+strangersZH
		}
		return r, true
	}
	return pipeline.Report{}, false
}

func orNone(s string) string {
	if s == "" {
		return "none, the network is silent"
	}
	return s
}

// evicted adds up what the partitions' rules forgot to stay within their bounds.
func evicted(workers []pipeline.WorkerStats) map[string]uint64 {
	sum := map[string]uint64{}
	for _, w := range workers {
		for rule, n := range w.Evicted {
			sum[rule] += n
		}
	}
	return sum
}

// memory is what the rules of each partition had forgotten at the last look.
type memory map[int]uint64

// forgot says whether a partition that was looked at before has forgotten more
// since: what one that was just taken over forgot was told by who had it.
func (m memory) forgot(workers []pipeline.WorkerStats) (more bool) {
	for _, w := range workers {
		if w.State != "running" {
			continue // it has not read its state yet
		}
		n := uint64(0)
		for _, x := range w.Evicted {
			n += x
		}
		last, known := m[w.Partition]
		more = more || known && n > last
		m[w.Partition] = n
	}
	return more
}

// forgetting is the report that rules forget entities, once a day.
func forgetting(workers []pipeline.WorkerStats, now time.Time) pipeline.Report {
	by := evicted(workers)
	all := uint64(0)
	var rules []string
	for rule, n := range by {
		all += n
		rules = append(rules, fmt.Sprintf("%s %d", rule, n))
	}
	lists.Sort(rules, strings.Compare)
	list := strings.Join(rules, ", ")
	return pipeline.Report{
		Rule: pipeline.RuleForgot, Key: "entities/" + now.UTC().Format(time.DateOnly), At: now, Severity: alert.Medium,
		Title: "Rules forget entities for lack of room", TitleZH: "规则因容量不足遗忘对象",
		Reason: fmt.Sprintf("to stay within max_keys and max_bytes rules have forgotten %d entities so far (%s): what is usual for them is learned anew and what they had begun is not counted; there are more than there is room for, or somebody makes many to that end",
			all, list),
		ReasonZH: fmt.Sprintf("为不超出 max_keys 与 max_bytes，规则至今已遗忘 %d 个对象（%s）：其常态需重新学习，已开始的行为不再计入；或是对象数量超过容量，或是有人为此大量制造", all, list),
		Details:  map[string]any{"evicted": by},
		Runbook: alert.Runbook{
			EN: "Look for who makes so many identities, addresses or names. Where they are in order, raise max_keys and max_bytes of these rules; an identity takes 0.3 to 2 KB.",
			ZH: "查明是谁制造了如此多的身份、地址或名称;若属正常,调大这些规则的 max_keys 与 max_bytes,每个身份约占 0.3 至 2 KB。",
		},
	}
}

// slow says whether alerts have waited for a minute to be handed on.
func slow(r pipeline.ReaderStats, now time.Time) bool {
	return !r.At.IsZero() && now.Sub(r.At) > time.Minute
}

// lateness counts the events of the last hour, and which of them came late.
type lateness struct {
	last  []came       // of each partition, at the last look
	spans [12]struct { // of five minutes
		came
		of int64 // which since 1970
	}
}

// came is how many events were evaluated and how many of them were late.
type came struct{ events, late uint64 }

const span = 5 * 60 // seconds

// look counts what came since the last look; what came before a partition was taken
// over is of who had it. It returns what came in the last hour where rules are wrong by
// so many late ones, or nil: one in twenty, as the alert of Prometheus has it, and not a
// handful.
func (l *lateness) look(workers []pipeline.WorkerStats, now time.Time) *came {
	of := now.Unix() / span
	at := &l.spans[of%int64(len(l.spans))]
	if at.of != of {
		at.of, at.came = of, came{}
	}
	for i := range workers {
		w := &workers[i]
		for w.Partition >= len(l.last) {
			l.last = append(l.last, came{})
		}
		was, is := l.last[w.Partition], came{}
		if w.State == "running" {
			is = came{w.Evaluated, w.Late}
		}
		l.last[w.Partition] = is
		if was.events > 0 && is.events >= was.events && is.late >= was.late {
			at.events += is.events - was.events
			at.late += is.late - was.late
		}
	}
	var sum came
	for i := range l.spans {
		if x := &l.spans[i]; of-x.of < int64(len(l.spans)) {
			sum.events, sum.late = sum.events+x.events, sum.late+x.late
		}
	}
	if sum.late < 20 || 20*sum.late <= sum.events {
		return nil
	}
	return &sum
}

// watch tells people when a source is blind, and when rules forget, and counts what
// comes late, until ctx ends.
func (a *App) watch(ctx context.Context) {
	known, late := memory{}, lateness{}
	t := time.NewTicker(15 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, s := range a.sources {
			st := s.Stats()
			if r, bad := sight(s.Name(), st, seen(st, a.bus.Embedded()), a.started, time.Now()); bad {
				a.pipe.Raise(r)
			}
		}
		workers := a.pipe.Workers()
		a.late.Store(late.look(workers, time.Now()))
		if known.forgot(workers) {
			a.pipe.Raise(forgetting(workers, time.Now()))
		}
	}
}
