package detectors

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Holder owns the memory of an event and its record. An engine tells it when
// it needs them no longer.
type Holder interface{ Release() }

// pending is an event whose ordered work waits.
type pending struct {
	at    time.Time
	ev    *event.Event // nil where brief is enough
	brief *event.Brief
	work  []work
	hold  Holder
	judge bool
	timed bool
	turn  uint8  // which acts of one second come first, see turn
	birth *Birth // what the event made
}

func (p *pending) id() string {
	if p.ev == nil && p.brief == nil {
		return ""
	}
	if p.ev == nil {
		return p.brief.ID
	}
	return p.ev.ID
}

func (p *pending) recipient() string {
	if p.ev == nil {
		return p.brief.Recipient
	}
	return p.ev.Recipient
}

func (p *pending) raw() []byte {
	if p.ev == nil {
		return p.brief.Raw()
	}
	return p.ev.Raw()
}

// whole returns the event; nil when it is no event but the watermark.
func (p *pending) whole() *event.Event {
	if p.ev == nil && p.brief != nil {
		p.ev = p.brief.Event()
	}
	return p.ev
}

// turn says which of the acts of one second come first. Times are whole seconds, ids say
// nothing, and a program makes a user, gives it a policy and a key within one: what makes
// an identity or a policy comes before what needs that, and what ends something last.
// Where something was ended first and then made anew, less is known of it afterwards
// than there is, which hides nothing.
func turn(a event.Action) uint8 {
	s := string(a)
	if what, ok := strings.CutSuffix(s, ".create"); ok {
		switch what {
		case "iam.accesskey", "iam.policy_version", "iam.login_profile":
			return 1
		case "sso.assignment":
			return 2
		}
		return 0
	}
	switch {
	case strings.HasPrefix(s, "sts.assume"):
		return 1
	case strings.HasSuffix(s, ".delete"), strings.HasSuffix(s, ".detach"), a == event.ActIAMGroupRemoveUser:
		return 3
	}
	return 2
}

// before orders events by time, then by turn, id and recipient.
func (p *pending) before(o *pending) int {
	return cmp.Or(p.at.Compare(o.at), cmp.Compare(p.turn, o.turn), cmp.Compare(p.id(), o.id()), cmp.Compare(p.recipient(), o.recipient()))
}

// reorder holds the waiting events and gives them back in order. It is a
// calendar: events are filed by the second that they are of, in the order in
// which they come, and a second is put in order when its turn comes. Recorded
// times are whole seconds as a rule, so that comparing ids while they come in,
// as a heap does, would be most of the work.
type reorder struct {
	n       int
	days    map[int64]*second
	due     []int64 // the seconds that have events, a heap
	last    *second // where the last event went
	lastKey int64
	now     *second // the one of due[0]; nil when it has to be looked up
	free    []*second
}

// second is the events of one second.
type second struct {
	items  []pending
	order  []place // of items, from next on what is left
	next   int
	sorted bool
}

// place is an item's number with the beginning of what it is sorted by.
type place struct {
	when uint32 // the nanosecond, and the turn in the last two bits
	item int32
	id   uint64
}

func (o *place) nano() int { return int(o.when >> 2) }

func (r *reorder) len() int { return r.n }

func (r *reorder) push(p *pending) {
	key := p.at.Unix()
	s := r.last
	if s == nil || key != r.lastKey {
		if s = r.days[key]; s == nil {
			if r.days == nil {
				r.days = make(map[int64]*second)
			}
			if n := len(r.free); n > 0 {
				s, r.free = r.free[n-1], r.free[:n-1]
			} else {
				s = new(second)
			}
			r.days[key] = s
			r.enter(key)
		}
		r.last, r.lastKey = s, key
	}
	s.order = append(s.order, place{when: uint32(p.at.Nanosecond())<<2 | uint32(p.turn), item: int32(len(s.items)), id: prefix(p.id())})
	s.items = append(s.items, *p)
	s.sorted = false
	r.n++
}

// prefix is the first eight bytes of an id as a number of the same order.
func prefix(id string) uint64 {
	var b [8]byte
	copy(b[:], id)
	return binary.BigEndian.Uint64(b[:])
}

// first returns the first waiting event; there must be one.
func (r *reorder) first() *pending {
	if r.now == nil {
		r.now = r.days[r.due[0]]
	}
	s := r.now
	if !s.sorted {
		slices.SortFunc(s.order[s.next:], func(a, b place) int {
			switch {
			case a.when != b.when:
				return cmp.Compare(a.when, b.when)
			case a.id != b.id:
				return cmp.Compare(a.id, b.id)
			}
			return cmp.Or(s.items[a.item].before(&s.items[b.item]), cmp.Compare(a.item, b.item))
		})
		s.sorted = true
	}
	return &s.items[s.order[s.next].item]
}

// dueBefore says whether the first waiting event is older than mark.
func (r *reorder) dueBefore(mark time.Time) bool {
	if r.n == 0 {
		return false
	}
	// As a rule the second says it, which needs no order.
	if key := r.due[0]; key != mark.Unix() || mark.Nanosecond() == 0 {
		return key < mark.Unix()
	}
	r.first()
	return r.now.order[r.now.next].nano() < mark.Nanosecond()
}

// soon yields the waiting events that pop will return next as long as none is
// pushed: of one second, older than mark, and at most max. The first must be.
func (r *reorder) soon(mark time.Time, max int) iter.Seq[*pending] {
	return func(yield func(*pending) bool) {
		r.first()
		s, over := r.now, r.due[0] != mark.Unix()
		for _, o := range s.order[s.next:min(s.next+max, len(s.order))] {
			if !over && o.nano() >= mark.Nanosecond() || !yield(&s.items[o.item]) {
				return
			}
		}
	}
}

// pop removes the first waiting event and returns it.
func (r *reorder) pop() pending {
	top := *r.first()
	r.drop()
	return top
}

// drop removes the first waiting event, which first has returned, from where it
// lies.
func (r *reorder) drop() {
	s := r.now
	s.items[s.order[s.next].item] = pending{} // do not keep its event alive
	r.n--
	if s.next++; s.next == len(s.order) {
		delete(r.days, r.due[0])
		r.now = nil
		r.leave()
		if r.last == s {
			r.last = nil
		}
		if len(r.free) < 1024 && cap(s.items) <= 1024 {
			s.items, s.order, s.next, s.sorted = s.items[:0], s.order[:0], 0, false
			r.free = append(r.free, s)
		}
	}
}

// enter and leave keep the heap of seconds.
func (r *reorder) enter(key int64) {
	r.due = append(r.due, key)
	r.now = nil // it may be a second before
	i := len(r.due) - 1
	for i > 0 {
		up := (i - 1) / 2
		if r.due[up] <= key {
			break
		}
		r.due[i] = r.due[up]
		i = up
	}
	r.due[i] = key
}

func (r *reorder) leave() {
	last := len(r.due) - 1
	key := r.due[last]
	r.due = r.due[:last]
	if last == 0 {
		return
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && r.due[child+1] < r.due[child] {
			child++
		}
		if key <= r.due[child] {
			break
		}
		r.due[i] = r.due[child]
		i = child
	}
	r.due[i] = key
}

// newest is the time of the last waiting event, zero when there is none.
func (r *reorder) newest() (at time.Time) {
	if r.n == 0 {
		return at
	}
	s := r.days[slices.Max(r.due)]
	for _, o := range s.order[s.next:] {
		if t := s.items[o.item].at; t.After(at) || at.IsZero() {
			at = t
		}
	}
	return at
}

// sorted returns the waiting events in order, without removing them.
func (r *reorder) sorted() []pending {
	out := make([]pending, 0, r.n)
	for _, s := range r.days {
		for _, o := range s.order[s.next:] {
			out = append(out, s.items[o.item])
		}
	}
	lists.Sort(out, func(a, b pending) int { return a.before(&b) })
	return out
}
