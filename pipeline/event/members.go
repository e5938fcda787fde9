package event

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strings"
	"unsafe"
)

// level is which object a member belongs to.
type level uint8

const (
	inNothing level = iota
	inRecord
	inIdentity
	inSession
	inAttributes
	inExtra
	inParams
	inMarks
	inInsight
	levels
)

// member says what becomes of a member of an object: of a string, and of
// numbers and booleans as they are written, the text goes into a string of the
// event or of the walk; a value's span into one of the event's; an object is
// walked at the next level; the mark goes into the walk.
type member struct {
	key  string
	text place
	span place
	next level
	mark uint8
	deep bool // more becomes of a text than to be kept
	// The key once more, for find: its first eight bytes, its last, and those
	// from the ninth on. A shorter key stands in the high bytes, see ends.
	first, last, middle uint64
	long                uint64 // all bits where there is a middle
	length              uint64
}

// place is where a string, or a span, of the event or of the walk is.
type place struct {
	in     uint8
	offset uint16
}

const (
	nowhere = iota // the walk's, too
	inEvent
	inWalk
)

func ofEvent(offset uintptr) place { return place{inEvent, uint16(offset)} }
func ofWalk(offset uintptr) place  { return place{inWalk, uint16(offset)} }
func ofActor(offset uintptr) place { return ofEvent(unsafe.Offsetof(Event{}.Actor) + offset) }
func ofSubs(offset uintptr) place  { return ofEvent(unsafe.Offsetof(Event{}.subs) + offset) }

// reach returns the address of a place.
func (w *walk) reach(p place) unsafe.Pointer {
	if p.in == inEvent {
		return unsafe.Add(unsafe.Pointer(w.ev), p.offset)
	}
	return unsafe.Add(unsafe.Pointer(w), p.offset)
}

// Marks of a platform-side log (operations of Alibaba's own staff), which has
// an event name and an event id but is no audit record.
const (
	markEmployee = 1 << iota
	markProduct
	markIdentity
)

// memberTables are the members that each level knows. Those without a place are
// known, so that no other spelling of theirs is looked for, and reachable
// through Field only.
var memberTables = [levels]memberTable{
	inNothing: newTable(nil),
	inRecord: newTable([]member{
		{key: "eventId", text: ofEvent(unsafe.Offsetof(Event{}.ID))},
		{key: "eventName", text: ofEvent(unsafe.Offsetof(Event{}.Name))},
		{key: "eventType", text: ofEvent(unsafe.Offsetof(Event{}.Type))},
		{key: "eventTime", text: ofWalk(unsafe.Offsetof(walk{}.time))},
		{key: "eventSource", text: ofEvent(unsafe.Offsetof(Event{}.Source))},
		{key: "serviceName", text: ofEvent(unsafe.Offsetof(Event{}.Service))},
		{key: "acsRegion", text: ofEvent(unsafe.Offsetof(Event{}.Region))},
		{key: "requestId", text: ofEvent(unsafe.Offsetof(Event{}.RequestID))},
		{key: "sourceIpAddress", text: ofWalk(unsafe.Offsetof(walk{}.address))},
		{key: "userAgent", text: ofEvent(unsafe.Offsetof(Event{}.UserAgent))},
		{key: "apiVersion", text: ofEvent(unsafe.Offsetof(Event{}.APIVersion))},
		{key: "errorCode", text: ofWalk(unsafe.Offsetof(walk{}.errCode))},
		{key: "errorMessage", text: ofWalk(unsafe.Offsetof(walk{}.errMessage))},
		{key: "eventRW", text: ofWalk(unsafe.Offsetof(walk{}.rw))},
		{key: "eventCategory", text: ofEvent(unsafe.Offsetof(Event{}.Category))},
		{key: "recipientAccountId", text: ofWalk(unsafe.Offsetof(walk{}.recipient))},
		{key: "isGlobal", text: ofWalk(unsafe.Offsetof(walk{}.global))},
		{key: "vpcId", text: ofEvent(unsafe.Offsetof(Event{}.VPCID))},
		{key: "resourceType", text: ofSubs(unsafe.Offsetof(subdocs{}.resourceType))},
		{key: "resourceName", text: ofSubs(unsafe.Offsetof(subdocs{}.resourceName))},
		{key: "userIdentity", next: inIdentity, mark: markIdentity},
		{key: "requestParameters", span: ofSubs(unsafe.Offsetof(subdocs{}.params)), next: inParams},
		{key: "requestParameterJson", span: ofSubs(unsafe.Offsetof(subdocs{}.paramJSON))},
		{key: "responseElements", span: ofSubs(unsafe.Offsetof(subdocs{}.response))},
		{key: "additionalEventData", span: ofSubs(unsafe.Offsetof(subdocs{}.extra)), next: inExtra},
		// Copies made by the Log Audit Service.
		{key: "addionalEventData", span: ofSubs(unsafe.Offsetof(subdocs{}.extraMisspelt)), next: inExtra},
		{key: "referencedResources", span: ofSubs(unsafe.Offsetof(subdocs{}.resources))},
		{key: "eventAttributes", span: ofSubs(unsafe.Offsetof(subdocs{}.attributes)), next: inMarks},
		{key: "insightDetails", span: ofSubs(unsafe.Offsetof(subdocs{}.insight)), next: inInsight},
		{key: "EmployeeID", mark: markEmployee},
		{key: "EventProduct", mark: markProduct},
		{key: "eventVersion"}, {key: "extend"}, {key: "sharedEventId"}, {key: "__expanded"},
	}),
	inIdentity: newTable([]member{
		{key: "type", text: ofWalk(unsafe.Offsetof(walk{}.identity))},
		{key: "accountId", text: ofActor(unsafe.Offsetof(Actor{}.Account))},
		{key: "principalId", text: ofActor(unsafe.Offsetof(Actor{}.Principal))},
		{key: "userName", text: ofWalk(unsafe.Offsetof(walk{}.user))},
		{key: "accessKeyId", text: ofWalk(unsafe.Offsetof(walk{}.key))},
		{key: "sessionContext", next: inSession},
	}),
	inSession: newTable([]member{
		{key: "attributes", next: inAttributes},
		{key: "sessionAttributes", next: inAttributes},
	}),
	inAttributes: newTable([]member{
		{key: "mfaAuthenticated", text: ofWalk(unsafe.Offsetof(walk{}.sessionMFA))},
		{key: "creationDate"},
	}),
	inExtra: newTable([]member{
		{key: "mfaChecked", text: ofWalk(unsafe.Offsetof(walk{}.signinMFA))},
		{key: "isMFAChecked", text: ofWalk(unsafe.Offsetof(walk{}.rootMFA))},
		{key: "Scheme"}, {key: "CallerBid"},
	}),
	inParams: newTable([]member{
		{key: "stsTokenPlayerUid", text: ofWalk(unsafe.Offsetof(walk{}.playerUID))},
		{key: "UserClientIp", text: ofWalk(unsafe.Offsetof(walk{}.clientIP))},
		{key: "MFAAuthenticated", text: ofWalk(unsafe.Offsetof(walk{}.ssoMFA))},
	}),
	inMarks: newTable([]member{
		{key: "SensitiveAction", text: ofWalk(unsafe.Offsetof(walk{}.sensitive))},
	}),
	inInsight: newTable([]member{
		{key: "insightType", text: ofEvent(unsafe.Offsetof(Event{}.InsightType))},
	}),
}

// memberTable finds members by their keys, each in the one slot that its hash
// names: the factor is chosen so that no two share one.
type memberTable struct {
	slots   [tableSlots]*member
	factor  uint64
	lengths uint64 // of the keys, a bit for each
	known   []member
}

const (
	tableSlots = 128
	// maxKey is the longest key that a table may know, in bytes.
	maxKey = 24
)

// newTable makes the table of a level's members. It panics when there is none,
// which a test of the program would see before any user.
func newTable(known []member) memberTable {
	for i := range known {
		m := &known[i]
		n := len(m.key)
		if n == 0 || n > maxKey {
			panic("event: a key of this length cannot be found: " + m.key)
		}
		// What is around it is shifted out.
		text := append(append(make([]byte, 8, 48), m.key...), make([]byte, 16)...)
		m.first, m.last = ends(text, 8, 8+n)
		m.middle = binary.LittleEndian.Uint64(text[16:])
		if m.length = uint64(n); n > 16 {
			m.long = math.MaxUint64
		}
		m.deep = m.next != inNothing || m.span.in != nowhere || m.mark != 0
		if m.text.in == nowhere {
			m.text = unknown.text
		}
	}
search:
	for factor := uint64(0x9e3779b97f4a7c15); factor>>32 != 0; factor = factor*0xd1342543de82ef95 + 2 {
		t := memberTable{factor: factor | 1, known: known}
		for i := range t.slots {
			t.slots[i] = &unknown
		}
		for i := range known {
			slot := t.slot(known[i].first, known[i].last)
			if *slot != &unknown {
				continue search
			}
			*slot = &known[i]
			t.lengths |= 1 << len(known[i].key)
		}
		return t
	}
	panic("event: no factor keeps the keys apart")
}

func (t *memberTable) slot(first, last uint64) **member {
	return &t.slots[(first^bits.RotateLeft64(last, 29))*t.factor>>(64-7)]
}

// match returns the member that the slot of a key has, if it is the key's; else
// unknown.
func (t *memberTable) match(first, last, ninth, length uint64) *member {
	m := *t.slot(first, last)
	if (m.first^first)|(m.last^last)|(m.middle^ninth)&m.long|(m.length^length) != 0 {
		return &unknown
	}
	return m
}

// ends reads the first and the last eight bytes of b[from:to]; one that has
// fewer stands in the high bytes of the first and in the low bytes of the last.
// There must be eight bytes from from on, and before to.
func ends(b []byte, from, to int) (first, last uint64) {
	short := to - from - 8 // of eight bytes, where that is less than none
	outside := uint64(short&(short>>63)*-8) & 63
	return load8(b, from) << outside, load8(b, to-8) >> outside
}

// load8 reads eight bytes, which must be there.
func load8(b []byte, i int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))[:])
}

// find returns the member whose key is b[from:to], spelled like this; nil for
// none.
func (t *memberTable) find(b []byte, from, to int) *member {
	n := to - from
	if t.lengths>>(n&63)&1 == 0 {
		return nil
	}
	if to < 8 || from+16 > len(b) {
		return t.named(string(b[from:to])) // at the very beginning or end
	}
	first, last := ends(b, from, to)
	if m := t.match(first, last, load8(b, from+8), uint64(n)); m != &unknown {
		return m
	}
	return nil
}

// named is find for a key that stands alone.
func (t *memberTable) named(key string) *member {
	for i := range t.known {
		if t.known[i].key == key {
			return &t.known[i]
		}
	}
	return nil
}

// unusual finds a member whose key is not spelled as usual: written with
// escapes, or, but for parameters, in another letter case.
func (w *walk) unusual(lv level, key []byte, flags uint8) *member {
	t := &memberTables[lv]
	if flags&hasEscape != 0 {
		key = bytesOf(text(key, flags))
		if m := t.named(string(key)); m != nil {
			return m
		}
	}
	if lv == inParams || len(key) > maxKey {
		return &unknown
	}
	var lower [maxKey]byte
	if k, ok := foldedKeys[string(appendLower(lower[:0], key))]; ok && k != string(key) {
		if m := t.named(k); m != nil {
			return m
		}
	}
	return &unknown
}

// unknown is what becomes of a member that nobody looks for: nothing.
var unknown = member{
	text:   place{nowhere, uint16(unsafe.Offsetof(walk{}.nowhere))},
	length: math.MaxUint64, // no key is it
}

// foldedKeys maps the lower-case form of each key that some level takes to
// its usual spelling: product pages and collectors write keys in other cases.
// Parameters are looked up again by target.go.
var foldedKeys = func() map[string]string {
	m := map[string]string{}
	for lv := range memberTables {
		if level(lv) == inParams {
			continue
		}
		for i := range memberTables[lv].known {
			k := memberTables[lv].known[i].key
			m[strings.ToLower(k)] = k
		}
	}
	return m
}()
