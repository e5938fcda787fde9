package slstest

import (
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// logstore is one logstore with its shards and consumer groups. All access
// is under Server.mu.
type logstore struct {
	project, name string
	shards        []*shard // by id
	groups        map[string]*group
	nextWrite     int // round robin of unrouted writes
}

type shard struct {
	id         int
	parents    []int // of a split one, of a merge two, none of the first
	readonly   bool
	begin, end *big.Int // key range [begin, end)
	created    time.Time

	first int64 // cursor of frames[0]
	// frames are log groups framed as list elements, never changed once in.
	frames []frame
	bytes  int64

	reads, readBytes *rate.Limiter // nil when unlimited
	writes           *rate.Limiter
}

type frame struct {
	data     []byte
	logs     int
	received time.Time
}

func (s *shard) next() int64 { return s.first + int64(len(s.frames)) }

// keySpace is one past the largest shard key: keys are 128-bit hashes.
var keySpace = new(big.Int).Lsh(big.NewInt(1), 128)

func keyText(k *big.Int) string {
	if k.Cmp(keySpace) >= 0 { // the documented end of the last shard is all f
		k = new(big.Int).Sub(keySpace, big.NewInt(1))
	}
	return fmt.Sprintf("%032x", k)
}

func newLogstore(project, name string, shards int, firstCursor int64, now time.Time, o *Options) *logstore {
	ls := &logstore{project: project, name: name, groups: map[string]*group{}}
	step := new(big.Int).Div(keySpace, big.NewInt(int64(shards)))
	for i := range shards {
		begin := new(big.Int).Mul(step, big.NewInt(int64(i)))
		end := new(big.Int).Add(begin, step)
		if i == shards-1 {
			end = keySpace
		}
		ls.addShard(nil, begin, end, firstCursor, now, o)
	}
	return ls
}

func (ls *logstore) addShard(parents []int, begin, end *big.Int, firstCursor int64, now time.Time, o *Options) *shard {
	s := &shard{id: len(ls.shards), parents: parents, begin: begin, end: end, created: now, first: firstCursor}
	if o.ReadsPerSecond > 0 {
		s.reads = rate.NewLimiter(rate.Limit(o.ReadsPerSecond), o.ReadsPerSecond)
	}
	if o.ReadBytesPerSecond > 0 {
		s.readBytes = rate.NewLimiter(rate.Limit(o.ReadBytesPerSecond), max(o.ReadBytesPerSecond, o.MaxPageBytes))
	}
	if o.WritesPerSecond > 0 {
		s.writes = rate.NewLimiter(rate.Limit(o.WritesPerSecond), o.WritesPerSecond)
	}
	ls.shards = append(ls.shards, s)
	return s
}

func (ls *logstore) shard(id int) *shard {
	if id < 0 || id >= len(ls.shards) {
		return nil
	}
	return ls.shards[id]
}

// append adds groups and drops the oldest above the retention. The receive
// time never goes back, so that a cursor can be found by time.
func (s *shard) append(frames []frame, retainGroups int, retainBytes int64) {
	for _, f := range frames {
		if n := len(s.frames); n > 0 && f.received.Before(s.frames[n-1].received) {
			f.received = s.frames[n-1].received
		}
		s.frames = append(s.frames, f)
		s.bytes += int64(len(f.data))
	}
	drop, bytes := 0, s.bytes
	for drop < len(s.frames) &&
		(retainGroups > 0 && len(s.frames)-drop > retainGroups || retainBytes > 0 && bytes > retainBytes) {
		bytes -= int64(len(s.frames[drop].data))
		drop++
	}
	s.trim(drop)
}

// trim drops the n oldest groups: their cursors are expired from now on.
func (s *shard) trim(n int) {
	n = min(n, len(s.frames))
	for _, f := range s.frames[:n] {
		s.bytes -= int64(len(f.data))
	}
	s.first += int64(n)
	// Clone so that the dropped frames can be collected, but not on each
	// append of a full shard: only when half of the array is dead.
	clear(s.frames[:n])
	s.frames = s.frames[n:]
	if cap(s.frames) > 64 && len(s.frames) < cap(s.frames)/2 {
		s.frames = slices.Clone(s.frames)
	}
}

// at is the cursor of the first group received at or after t.
func (s *shard) at(t time.Time) int64 {
	i, _ := slices.BinarySearchFunc(s.frames, t, func(f frame, t time.Time) int { return f.received.Compare(t) })
	return s.first + int64(i)
}

// split makes the shard read-only and adds two children for its halves, or
// for the parts below and from key when one is given.
func (ls *logstore) split(id int, key *big.Int, firstCursor func() int64, now time.Time, o *Options) ([]*shard, error) {
	s := ls.shard(id)
	switch {
	case s == nil:
		return nil, fmt.Errorf("shard %d does not exist", id)
	case s.readonly:
		return nil, fmt.Errorf("shard %d is read-only", id)
	}
	if key == nil {
		key = new(big.Int).Rsh(new(big.Int).Add(s.begin, s.end), 1)
	}
	if key.Cmp(s.begin) <= 0 || key.Cmp(s.end) >= 0 {
		return nil, fmt.Errorf("key %s is not inside shard %d", keyText(key), id)
	}
	s.readonly = true
	a := ls.addShard([]int{id}, s.begin, key, firstCursor(), now, o)
	b := ls.addShard([]int{id}, key, s.end, firstCursor(), now, o)
	return []*shard{a, b}, nil
}

// merge makes the shard and its neighbour, the open one whose keys begin where its
// own end, read-only and adds one for the keys of both.
func (ls *logstore) merge(id int, firstCursor func() int64, now time.Time, o *Options) (merged, next *shard, err error) {
	s := ls.shard(id)
	if s != nil && !s.readonly {
		for _, n := range ls.shards {
			if !n.readonly && n.begin.Cmp(s.end) == 0 {
				s.readonly, n.readonly = true, true
				return ls.addShard([]int{id, n.id}, s.begin, n.end, firstCursor(), now, o), n, nil
			}
		}
	}
	return nil, nil, fmt.Errorf("shard %d has no neighbour to be merged with, or is not open itself", id)
}

// route finds the shard for a hash key; nil key takes turns.
func (ls *logstore) route(key *big.Int) *shard {
	var open []*shard
	for _, s := range ls.shards {
		if s.readonly {
			continue
		}
		if key != nil && key.Cmp(s.begin) >= 0 && key.Cmp(s.end) < 0 {
			return s
		}
		open = append(open, s)
	}
	if key != nil || len(open) == 0 {
		return nil
	}
	ls.nextWrite++
	return open[(ls.nextWrite-1)%len(open)]
}
