package detectors

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

// seen remembers which events have been applied, by event time in buckets, so
// that old ones are forgotten a bucket at a time. A repeated record has the
// same event time as the first, so one bucket decides.
type seen struct {
	horizon time.Duration
	width   time.Duration
	max     int
	buckets map[int64]*keySet
	size    int
	newest  int64 // the newest bucket forgotten: nothing older is remembered
	lost    uint64

	last     *keySet // the bucket used last; nil when it may be gone
	lastAt   int64
	from, to int64 // the times of that bucket, in nanoseconds; to is outside
	calm     int64 // up to there, less the horizon, a watermark makes nothing older
}

// seenBuckets is how finely the horizon is cut: what is forgotten is a bucket.
const seenBuckets = 288

func newSeen(horizon time.Duration, max int) *seen {
	return &seen{
		horizon: horizon,
		width:   horizon/seenBuckets + 1,
		max:     max,
		buckets: make(map[int64]*keySet),
		newest:  -1 << 62,
		calm:    math.MinInt64,
	}
}

// bucket is the one of a time in nanoseconds since 1970.
func (s *seen) bucket(n int64) int64 {
	b := n / int64(s.width)
	if n < 0 {
		b--
	}
	return b
}

// use makes a bucket the one used last.
func (s *seen) use(b int64, set *keySet) {
	s.last, s.lastAt = set, b
	s.from, s.to = b*int64(s.width), (b+1)*int64(s.width)
	if b < 0 {
		s.to = s.from // before 1970 a bucket has other edges: it is looked up each time
	}
}

// add remembers a key and says whether it was known. An event older than what
// is remembered cannot be recognised: it is taken as new and counted.
func (s *seen) add(key [16]byte, at time.Time) bool {
	n := at.UnixNano()
	b, set := s.lastAt, s.last
	if set == nil || n < s.from || n >= s.to {
		b = s.bucket(n)
		if set = s.buckets[b]; set != nil {
			s.use(b, set)
		}
	}
	if set != nil && b > s.newest && s.size < s.max {
		// As nearly always: one look at the bucket says and does all.
		if !set.add(key) {
			return true
		}
		s.size++
		return false
	}
	if set.has(key) {
		return true
	}
	if b <= s.newest {
		s.lost++
		return false
	}
	for s.size >= s.max && len(s.buckets) > 0 {
		oldest := s.oldest()
		if oldest == b && len(s.buckets) == 1 {
			break // one bucket alone is over the bound: forget it below
		}
		s.forget(oldest)
		if oldest >= b {
			s.lost++
			return false
		}
	}
	if s.size >= s.max {
		s.forget(b)
		s.newest = b - 1
	}
	if set = s.buckets[b]; set == nil {
		set = newKeySet(s.buckets[b-1].len())
		s.buckets[b] = set
	}
	set.add(key)
	s.size++
	return false
}

func (s *seen) oldest() int64 {
	first := true
	var min int64
	for b := range s.buckets {
		if first || b < min {
			min, first = b, false
		}
	}
	return min
}

func (s *seen) forget(b int64) {
	s.last = nil
	s.size -= s.buckets[b].len()
	delete(s.buckets, b)
	if b > s.newest {
		s.newest = b
	}
}

// advance forgets what is older than the horizon before the watermark.
func (s *seen) advance(watermark time.Time) {
	old := watermark.UnixNano() - int64(s.horizon)
	if old < s.calm {
		return
	}
	limit := s.bucket(old) - 1
	s.calm = (limit + 2) * int64(s.width)
	if limit <= s.newest {
		return
	}
	s.last = nil
	for b := range s.buckets {
		if b <= limit {
			s.size -= s.buckets[b].len()
			delete(s.buckets, b)
		}
	}
	s.newest = limit
}

func (s *seen) snapshot(e *snapshot.Encoder) {
	e.Int(int64(s.width))
	e.Int(s.newest)
	e.Uint(s.lost)
	starts := make([]int64, 0, len(s.buckets))
	for b := range s.buckets {
		starts = append(starts, b)
	}
	sort.Slice(starts, func(i, j int) bool { return starts[i] < starts[j] })
	e.Uint(uint64(len(starts)))
	for _, b := range starts {
		keys := slices.Clone(s.buckets[b].keys)
		sort.Slice(keys, func(i, j int) bool { return string(keys[i][:]) < string(keys[j][:]) })
		e.Int(b)
		e.Uint(uint64(len(keys)))
		for _, k := range keys {
			e.Raw(k[:])
		}
	}
}

// restore reads a snapshot. Buckets keep the width that they were made with,
// so a horizon that was configured differently takes effect without losing
// what is remembered.
func (s *seen) restore(d *snapshot.Decoder) {
	width := time.Duration(d.Int())
	s.newest = d.Int()
	s.lost = d.Uint()
	if width <= 0 {
		d.Fail("duplicate horizon has no width")
		return
	}
	s.width, s.last, s.calm = width, nil, math.MinInt64
	for range d.Count(1) {
		b := d.Int()
		n := d.Count(16)
		set := newKeySet(n)
		for range n {
			set.add([16]byte(d.Raw(16)))
		}
		if d.Err() != nil {
			return
		}
		s.size += set.len() - s.buckets[b].len()
		s.buckets[b] = set
	}
}
