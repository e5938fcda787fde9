package alert

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/event"
)

// The packed form of a group is its fields one after the other, numbers as
// varints, texts behind their length, and the details as JSON. It lasts as long
// as one run does, and what can be continued of it: readers and writers are of
// one version of the program. As JSON a tenth of a run of ten million events was
// spent on it.

// appendGroup appends a group. The error is that its details have no JSON.
func appendGroup(to []byte, a *group) ([]byte, error) {
	x := &a.alert
	details := []byte(nil)
	if len(x.Details) > 0 {
		var err error
		if details, err = json.Marshal(x.Details); err != nil {
			return nil, err
		}
	}
	to = appendTexts(to, x.Schema, x.ID, x.Rule, x.Pack, x.Title, x.Reason, x.TitleZH, x.ReasonZH, x.Outcome, x.AccountID,
		x.Actor.Type, x.Actor.ID, x.Actor.Name, x.Actor.AccessKeyID, x.Actor.Role, x.Actor.Session,
		x.SourceIP, x.Runbook.EN, x.Runbook.ZH, x.TargetKey, x.Playbook)
	to = appendNumbers(to, x.RuleVersion, int(x.Severity), x.Count, x.Revision)
	to = appendTimes(to, x.Time, x.FirstAt, x.LastAt, a.end)
	to = appendTruths(to, x.Signal, x.Target != nil)
	if t := x.Target; t != nil {
		to = appendTexts(to, t.Type, t.ID, t.Name)
	}
	to = appendList(to, x.Attack)
	to = appendText(to, details)

	l := &a.lead
	// As a rule the alert has what its leading detection has.
	told := l.told()
	same := told == string(details)
	to = appendTruths(to, same)
	if !same {
		to = appendTexts(to, told)
	}
	to = appendTexts(to, l.ID, l.Reason, l.ReasonZH)
	to = appendNumbers(to, int(l.Severity), int(l.Outcome), l.Count)
	to = appendTimes(to, l.At)

	to = appendNumbers(to, len(a.evidence))
	for i := range a.evidence {
		to = appendTexts(appendTimes(to, a.evidence[i].at), a.evidence[i].id)
	}
	kinds := make([]string, 0, 8)
	for kind := range a.seen {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	to = appendNumbers(to, len(kinds))
	for _, kind := range kinds {
		to = appendList(appendTexts(to, kind), a.seen[kind])
	}
	return to, nil
}

func appendText[T string | []byte](to []byte, s T) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

func appendTexts(to []byte, texts ...string) []byte {
	for _, s := range texts {
		to = appendText(to, s)
	}
	return to
}

func appendNumbers(to []byte, numbers ...int) []byte {
	for _, n := range numbers {
		to = binary.AppendVarint(to, int64(n))
	}
	return to
}

// appendTimes appends times, which come back in UTC.
func appendTimes(to []byte, times ...time.Time) []byte {
	for _, t := range times {
		to = binary.AppendUvarint(binary.AppendVarint(to, t.Unix()), uint64(t.Nanosecond()))
	}
	return to
}

func appendTruths(to []byte, truths ...bool) []byte {
	for _, t := range truths {
		n := byte(0)
		if t {
			n = 1
		}
		to = append(to, n)
	}
	return to
}

func appendList(to []byte, list []string) []byte {
	return appendTexts(appendNumbers(to, len(list)), list...)
}

// unpacker reads what was appended. After the first fault, which stays in bad,
// all that it reads is empty.
type unpacker struct {
	rest string
	bad  bool
}

func (u *unpacker) fail() {
	u.rest, u.bad = "", true
}

// varint reads a number; signed, the way of binary.AppendVarint.
func (u *unpacker) varint(signed bool) int64 {
	var n uint64
	for i := 0; i < len(u.rest) && i < binary.MaxVarintLen64; i++ {
		c := u.rest[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break // more than 64 bits
		}
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			u.rest = u.rest[i+1:]
			if !signed {
				return int64(n)
			}
			return int64(n>>1) ^ -int64(n&1)
		}
	}
	u.fail()
	return 0
}

func (u *unpacker) text() string {
	n := u.varint(false)
	if n < 0 || n > int64(len(u.rest)) {
		u.fail()
		return ""
	}
	s := u.rest[:n]
	u.rest = u.rest[n:]
	return s
}

func (u *unpacker) texts(to ...*string) {
	for _, s := range to {
		*s = u.text()
	}
}

func (u *unpacker) number() int { return int(u.varint(true)) }

func (u *unpacker) time() time.Time {
	seconds, nanos := u.varint(true), u.varint(false)
	if nanos < 0 || nanos >= 1e9 {
		u.fail()
	}
	if u.bad {
		return time.Time{}
	}
	return time.Unix(seconds, nanos).UTC()
}

func (u *unpacker) truth() bool {
	n := u.varint(false)
	if n != 0 && n != 1 {
		u.fail()
	}
	return n == 1
}

// count reads how many follow, of at least a byte each.
func (u *unpacker) count() int {
	n := u.number()
	if n < 0 || n > len(u.rest) {
		u.fail()
		return 0
	}
	return n
}

func (u *unpacker) list() []string {
	n := u.count()
	if n == 0 {
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = u.text()
	}
	return out
}

// group reads what appendGroup appended.
func (u *unpacker) group() (*group, error) {
	a := new(group)
	x := &a.alert
	u.texts(&x.Schema, &x.ID, &x.Rule, &x.Pack, &x.Title, &x.Reason, &x.TitleZH, &x.ReasonZH, &x.Outcome, &x.AccountID,
		&x.Actor.Type, &x.Actor.ID, &x.Actor.Name, &x.Actor.AccessKeyID, &x.Actor.Role, &x.Actor.Session,
		&x.SourceIP, &x.Runbook.EN, &x.Runbook.ZH, &x.TargetKey, &x.Playbook)
	x.RuleVersion, x.Severity, x.Count, x.Revision = u.number(), u.severity(), u.number(), u.number()
	x.Time, x.FirstAt, x.LastAt, a.end = u.time(), u.time(), u.time(), u.time()
	x.Signal = u.truth()
	if u.truth() {
		x.Target = new(Target)
		u.texts(&x.Target.Type, &x.Target.ID, &x.Target.Name)
	}
	x.Attack = u.list()
	details := u.text()

	l := &a.lead
	if l.Details = details; !u.truth() {
		l.Details = u.text()
	}
	u.texts(&l.ID, &l.Reason, &l.ReasonZH)
	l.Severity, l.Outcome, l.Count, l.At = u.severity(), event.Outcome(u.number()), u.number(), u.time()

	if n := u.count(); n > 0 {
		a.evidence = make([]evidence, n)
		for i := range a.evidence {
			a.evidence[i] = evidence{at: u.time(), id: u.text()}
		}
	}
	if n := u.count(); n > 0 {
		a.seen = make(map[string][]string, n)
		for range n {
			kind := u.text()
			a.seen[kind] = u.list()
		}
	}
	if u.bad || u.rest != "" || x.Schema != Schema {
		return nil, ErrPart
	}
	if details != "" {
		dec := json.NewDecoder(strings.NewReader(details))
		dec.UseNumber() // nothing is rounded
		if err := dec.Decode(&x.Details); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPart, err)
		}
	}
	return a, nil
}

func (u *unpacker) severity() Severity {
	n := u.number()
	if n < 0 || n > int(Critical) {
		u.fail()
		return 0
	}
	return Severity(n)
}
