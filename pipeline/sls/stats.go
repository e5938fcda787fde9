package sls

import (
	"sync"
	"sync/atomic"
	"time"
)

// Stats is a snapshot of what a Source did since it was made. Counters only
// grow.
type Stats struct {
	// State is "new", "resolving" (deciding where to start, or waiting for
	// the service), "running", "rebuilding", "draining" or "stopped".
	State string
	// Provider is where the credentials are from.
	Provider string
	// LastPull and LastHeartbeat are when the service last answered well;
	// zero before the first time. HeartbeatAge is the time since then.
	LastPull, LastHeartbeat time.Time
	HeartbeatAge            time.Duration
	// LastSight is LastPull, or later when this process was given no shard to
	// read (others of the group read them all): the last good heartbeat that
	// said so, and had for a while. A worker that was just made is given its
	// shards a few heartbeats later; that is no such while.
	LastSight time.Time
	// Standby says that this is so now.
	Standby bool

	Pages, EmptyPages, Records uint64
	// Bytes are bytes of records; NetBytes bytes of answers as received.
	Bytes, NetBytes uint64

	Checkpoints        uint64 // saved
	CheckpointRefused  uint64 // the server said no, though the SDK says yes
	CheckpointFailures uint64 // not saved for another reason; tried again
	PullErrors         uint64
	HeartbeatErrors    uint64
	StoreErrors        uint64
	Panics             uint64 // recovered inside the SDK's callbacks
	BadAnswers         uint64 // answers that were kept from the SDK
	Evictions          uint64
	GroupsRecreated    uint64
	CursorResets       uint64 // a position had expired: records were lost
	Realigned          uint64 // the server's checkpoint was not the sink's position
	Rebuilds           uint64
	Abandoned          uint64 // workers that did not stop in time

	// Trouble is the last answer that was an error of the service, since
	// LastSight; its Code is empty when there is none.
	Trouble Trouble

	Shards []ShardStats // by shard
}

// Trouble is an error that the service answered.
type Trouble struct {
	Code, Message string
	At            time.Time
}

// Denied says that it is about who we are or about what does not exist: no
// failure of the service, somebody changed something.
func (r Trouble) Denied() bool {
	switch r.Code {
	case "Unauthorized", "AccessKeyIdNotFound", "InvalidAccessKeyId", "SignatureNotMatch", "InvalidSecurityToken",
		"ProjectNotExist", "LogStoreNotExist", "ProjectForbidden", "AccessDenied":
		return true
	}
	return false
}

// ShardStats is about one shard this process has held.
type ShardStats struct {
	Shard    int
	Held     bool   // at the last heartbeat
	Position string // after the last stored page
	LastPull time.Time
	Records  uint64
	// Behind is how old the newest record of the last page was when it was
	// read, where the service said so; 0 at the end of the shard. Where reading
	// stands still, the time since then is added. It is 0 of a shard that is not
	// held.
	Behind time.Duration
}

// counters are the live numbers behind Stats.
type counters struct {
	pages, emptyPages, records, bytes, netBytes      atomic.Uint64
	checkpoints, refused, checkpointFailures         atomic.Uint64
	pullErrors, heartbeatErrors, storeErrors, panics atomic.Uint64
	badAnswers, evictions, groups, resets, realigned atomic.Uint64
	rebuilds, abandoned                              atomic.Uint64
	lastPull, lastHeartbeat                          atomic.Int64 // unix nanoseconds, 0 never
	// idleSince is since when heartbeats have given us nothing to read, 0
	// when they give something; lastIdle is Stats.LastSight without pulls.
	idleSince, lastIdle atomic.Int64 // unix nanoseconds
}

// shardState is what is known of one shard. It outlives workers.
type shardState struct {
	id int
	// turn is held while a page of the shard is processed: a worker that was
	// given up on may still be in the sink when its successor arrives.
	turn chan struct{}

	records  atomic.Uint64
	busy     atomic.Bool  // inside the processor
	lastGood atomic.Int64 // unix nanoseconds of the last good pull, or since when it is held
	lastPull atomic.Int64 // unix nanoseconds of the last good pull
	behind   atomic.Int64 // nanoseconds

	attempts    atomic.Int32 // pulls since the last that reached the processor
	cursorFails atomic.Int32
	fetchStart  atomic.Int64 // unix nanoseconds
	groups      atomic.Int64 // log groups the last answer announced
	failures    atomic.Int32 // pages in a row that could not be processed

	// asked is when the last page was asked for, settled when the last one
	// was after which nothing was left to read, once that is stored. Unix
	// nanoseconds; settled is 0 before it was at its end. took is how long the
	// last answer took.
	asked, settled, took atomic.Int64

	mu       sync.Mutex
	pulled   time.Time // asked, as the monotonic clock has it
	held     bool
	position string // last stored, or resolved start
	invalid  string // a cursor the server refused
	// givenUp is a stored position that the logstore does not have any more:
	// until the sink has another, ours counts.
	givenUp string

	// Only inside turn.
	aligned   bool // the first page since the shard came to us was checked
	pending   bool // stored further than the checkpoint
	lastSave  time.Time
	lastIdle  time.Time
	arena     []byte
	recordBuf [][]byte
	timeBuf   []int64
}

// atEnd notes that everything the shard had when its last page was asked for is
// stored.
func (sh *shardState) atEnd() { sh.settled.Store(sh.asked.Load()) }

// received is the time of a page that was just read: when it was asked for, which the
// service has confirmed by answering, and what went by since. The clock may have been
// set meanwhile, and a stamp of next year makes what follows late for a year.
func (sh *shardState) received() time.Time {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.pulled.IsZero() {
		return time.Now().UTC()
	}
	return unixNano(&sh.asked).Add(time.Since(sh.pulled))
}

func (sh *shardState) setPosition(p string) {
	sh.mu.Lock()
	sh.position = p
	sh.mu.Unlock()
}

// shard returns the state of a shard, making it when it is new.
func (s *Source) shard(id int) *shardState {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shards[id]
	if sh == nil {
		sh = &shardState{id: id, turn: make(chan struct{}, 1)}
		s.shards[id] = sh
	}
	return sh
}

func (s *Source) allShards() []*shardState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*shardState, 0, len(s.shards))
	for _, sh := range s.shards {
		out = append(out, sh)
		for i := len(out) - 1; i > 0 && out[i-1].id > sh.id; i-- { // they are few
			out[i-1], out[i] = out[i], out[i-1]
		}
	}
	return out
}

func unixNano(v *atomic.Int64) time.Time {
	if n := v.Load(); n != 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
}

// Stats returns a snapshot. Safe at any time.
func (s *Source) Stats() Stats {
	c := &s.n
	out := Stats{
		State:    s.state.Load().(string),
		Provider: s.cred.ProviderName(),
		LastPull: unixNano(&c.lastPull), LastHeartbeat: unixNano(&c.lastHeartbeat),
		Pages: c.pages.Load(), EmptyPages: c.emptyPages.Load(), Records: c.records.Load(),
		Bytes: c.bytes.Load(), NetBytes: c.netBytes.Load(),
		Checkpoints: c.checkpoints.Load(), CheckpointRefused: c.refused.Load(), CheckpointFailures: c.checkpointFailures.Load(),
		PullErrors: c.pullErrors.Load(), HeartbeatErrors: c.heartbeatErrors.Load(), StoreErrors: c.storeErrors.Load(),
		Panics: c.panics.Load(), BadAnswers: c.badAnswers.Load(), Evictions: c.evictions.Load(),
		GroupsRecreated: c.groups.Load(), CursorResets: c.resets.Load(), Realigned: c.realigned.Load(),
		Rebuilds: c.rebuilds.Load(), Abandoned: c.abandoned.Load(),
	}
	if !out.LastHeartbeat.IsZero() {
		out.HeartbeatAge = time.Since(out.LastHeartbeat)
	}
	out.LastSight = out.LastPull
	if idle := unixNano(&c.lastIdle); idle.After(out.LastSight) {
		out.LastSight = idle
		out.Standby = c.idleSince.Load() != 0
	}
	s.mu.Lock()
	if s.trouble.At.After(out.LastSight) {
		out.Trouble = s.trouble
	}
	s.mu.Unlock()
	now := time.Now()
	for _, sh := range s.allShards() {
		sh.mu.Lock()
		x := ShardStats{Shard: sh.id, Held: sh.held, Position: sh.position}
		sh.mu.Unlock()
		x.LastPull, x.Records = unixNano(&sh.lastPull), sh.records.Load()
		if x.Held {
			x.Behind = time.Duration(sh.behind.Load())
			if at := unixNano(&sh.asked); !at.IsZero() && s.stale(sh, now) {
				x.Behind += now.Sub(at)
			}
		}
		out.Shards = append(out.Shards, x)
	}
	return out
}
