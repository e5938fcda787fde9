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

// fields are those of a group that are always there, in the order in which they
// are packed; of l, its lead.
func (a *group) fields() (texts [24]*string, numbers [4]*int, severities [2]*Severity, times [6]*time.Time) {
	x, l := &a.alert, &a.lead
	return [24]*string{&x.Schema, &x.ID, &x.Rule, &x.Pack, &x.Title, &x.Reason, &x.TitleZH, &x.ReasonZH, &x.Outcome, &x.AccountID,
			&x.Actor.Type, &x.Actor.ID, &x.Actor.Name, &x.Actor.AccessKeyID, &x.Actor.Role, &x.Actor.Session,
			&x.SourceIP, &x.Runbook.EN, &x.Runbook.ZH, &x.TargetKey, &x.Playbook, &l.ID, &l.Reason, &l.ReasonZH},
		[4]*int{&x.RuleVersion, &x.Count, &x.Revision, &l.Count},
		[2]*Severity{&x.Severity, &l.Severity},
		[6]*time.Time{&x.Time, &x.FirstAt, &x.LastAt, &x.SuccessAt, &a.end, &l.At}
}

// appendGroup appends a group. The error is that its details have no JSON.
func appendGroup(to []byte, a *group) ([]byte, error) {
	x, l := &a.alert, &a.lead
	details := []byte(nil)
	if len(x.Details) > 0 {
		var err error
		if details, err = json.Marshal(x.Details); err != nil {
			return nil, err
		}
	}
	texts, numbers, severities, times := a.fields()
	for _, s := range texts {
		to = appendText(to, *s)
	}
	for _, n := range numbers {
		to = appendNumber(to, *n)
	}
	for _, s := range severities {
		to = appendNumber(to, int(*s))
	}
	for _, t := range times {
		to = appendTime(to, *t)
	}
	to = appendNumber(to, int(l.Outcome))
	to = appendTruth(to, x.Signal)
	if to = appendTruth(to, x.Target != nil); x.Target != nil {
		to = appendText(appendText(appendText(to, x.Target.Type), x.Target.ID), x.Target.Name)
	}
	to = appendList(to, x.Attack)
	to = appendText(to, details)
	// As a rule the alert has what its leading detection has.
	told := l.told()
	same := told == string(details)
	if to = appendTruth(to, same); !same {
		to = appendText(to, told)
	}

	to = appendNumber(to, len(a.evidence))
	for i := range a.evidence {
		to = appendText(appendTime(to, a.evidence[i].at), a.evidence[i].id)
	}
	kinds := make([]string, 0, 8)
	for kind := range a.seen {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	to = appendNumber(to, len(kinds))
	for _, kind := range kinds {
		to = appendList(appendText(to, kind), a.seen[kind])
	}
	return to, nil
}

func appendText[T string | []byte](to []byte, s T) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

func appendNumber(to []byte, n int) []byte { return binary.AppendVarint(to, int64(n)) }

// appendTime appends a time, which comes back in UTC.
func appendTime(to []byte, t time.Time) []byte {
	return binary.AppendUvarint(binary.AppendVarint(to, t.Unix()), uint64(t.Nanosecond()))
}

func appendTruth(to []byte, t bool) []byte {
	if t {
		return append(to, 1)
	}
	return append(to, 0)
}

func appendList(to []byte, list []string) []byte {
	to = appendNumber(to, len(list))
	for _, s := range list {
		to = appendText(to, s)
	}
	return to
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
	x, l := &a.alert, &a.lead
	texts, numbers, severities, times := a.fields()
	for _, s := range texts {
		*s = u.text()
	}
	for _, n := range numbers {
		*n = u.number()
	}
	for _, s := range severities {
		*s = u.severity()
	}
	for _, t := range times {
		*t = u.time()
	}
	l.Outcome = event.Outcome(u.number())
	x.Signal = u.truth()
	if u.truth() {
		x.Target = &Target{Type: u.text(), ID: u.text(), Name: u.text()}
	}
	x.Attack = u.list()
	details := u.text()
	if l.Details = details; !u.truth() {
		l.Details = u.text()
	}

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
