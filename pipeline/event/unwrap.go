package event

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"
)

// maxWraps is how many containers may stand around a record: an array of
// CloudEvents with an SLS log in them is three.
const maxWraps = 5

// Unwrap finds the single records in a delivered value and calls yield with
// each in order, until it returns false:
//
//   - a JSON array (OSS delivery): every element;
//   - a LookupEvents answer {"Events":[…]}, a GetLogs answer {"data":[…]} or
//     {"logs":[…]}: every element;
//   - an SLS log, pulled or exported, whose field "event" is the record as
//     text or as an object: the record, with the log's own fields left behind;
//   - an SLS log flattened by a collector ("event.eventName",
//     "event_eventname"): the record put together again from its paths;
//   - a CloudEvent: its data;
//   - anything else, a plain record among it: itself.
//
// A value that is no JSON is yielded as it is, so that Parse says what is
// wrong with it. A container that breaks off, or that something stands behind,
// yields its whole elements first; the error then is a *ParseError. Records may
// share memory with record.
func Unwrap(record []byte, yield func(record []byte) bool) error {
	record = bytes.TrimPrefix(record, []byte("\xef\xbb\xbf"))
	_, err := unwrap(record, 0, yield)
	return err
}

// unwrap returns false when yield did.
func unwrap(b []byte, wraps int, yield func([]byte) bool) (goOn bool, err error) {
	i := skipSpace(b, 0)
	if i == len(b) || wraps > maxWraps {
		return yield(b), nil
	}
	switch b[i] {
	case '[':
		end, goOn, err := unwrapArray(b, i, wraps, yield)
		if goOn && err == nil {
			err = behind(b, end)
		}
		return goOn, err
	case '{':
		c := sniff(b, i)
		switch c.kind {
		case containerArray:
			_, goOn, err = unwrapArray(b, c.value.from, wraps, yield)
		case containerField:
			v := b[c.value.from:c.value.to]
			if v[0] == '"' {
				// Decoded even when what is inside is no valid JSON: Parse
				// then gives the reason.
				v = bytesOf(textOf(v))
			}
			goOn, err = unwrap(v, wraps+1, yield)
		case containerFlat:
			r := unflatten(b[i:])
			if r == nil {
				return yield(b), nil
			}
			goOn = yield(r)
		default:
			return yield(b), nil
		}
		if goOn && err == nil && c.end > 0 {
			err = behind(b, c.end)
		}
		return goOn, err
	}
	return yield(b), nil
}

// behind is the error that something stands behind a container: it was
// delivered too, and nobody would look at it. Of a plain record Parse says so.
func behind(b []byte, end int) error {
	if end = skipSpace(b, end); end == len(b) {
		return nil
	}
	w := walk{scanner: scanner{b: b}}
	w.fail(end)
	return w.malformed()
}

// unwrapArray yields the elements of the array at i; end is the index behind it.
func unwrapArray(b []byte, i, wraps int, yield func([]byte) bool) (end int, goOn bool, err error) {
	s := scanner{b: b}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, true, nil
	}
	for {
		from := i
		if i = s.value(i, 1); i < 0 {
			w := walk{scanner: s}
			return 0, true, w.malformed()
		}
		// A broken element says nothing of those behind it.
		goOn, broken := unwrap(b[from:i:i], wraps+1, yield)
		if err = cmp.Or(err, broken); !goOn {
			return i, false, err
		}
		var more bool
		if i, more = s.next(i, ']'); i < 0 {
			w := walk{scanner: s}
			return 0, true, w.malformed()
		}
		if !more {
			return i, true, err
		}
	}
}

type containerKind uint8

const (
	containerNone  containerKind = iota
	containerArray               // value is an array of records
	containerField               // value is the record, as an object or as text
	containerFlat                // the members are paths into the record
)

type container struct {
	kind  containerKind
	value struct{ from, to int }
	end   int // behind the object; 0 when it breaks off
}

// sniff tells a container from a plain record by the object's top-level
// keys. A plain record shows itself at its first or second key, so that
// nothing is read twice.
func sniff(b []byte, i int) container {
	var c container
	s := scanner{b: b}
	i = skipSpace(b, i+1)
	for i < len(b) && b[i] == '"' {
		e, fl := s.str(i + 1)
		if e < 0 {
			return container{}
		}
		key := b[i+1 : e]
		if fl&hasEscape != 0 {
			key = bytesOf(text(key, fl))
		}
		if isRecordKey(key) {
			return container{} // a record, whatever else it carries
		}
		from := s.colon(e + 1)
		if from < 0 || from >= len(b) {
			return container{}
		}
		to := s.value(from, 1)
		if to < 0 {
			return container{}
		}
		if k := containerKey(key, b[from:to]); k != containerNone && (c.kind == containerNone || c.kind == containerFlat) {
			c.kind, c.value.from, c.value.to = k, from, to
		}
		var more bool
		if i, more = s.next(to, '}'); i < 0 {
			return container{}
		} else if !more {
			c.end = i
			break
		}
	}
	return c
}

// isRecordKey reports the keys that only a record itself has at its top.
func isRecordKey(key []byte) bool {
	switch string(key) {
	case "eventId", "eventName", "eventType", "eventTime", "userIdentity", "eventSource", "serviceName", "eventVersion", "apiVersion", "acsRegion",
		"requestParameters", "requestParameterJson", "responseElements", "additionalEventData", "referencedResources", "sourceIpAddress":
		return true
	}
	if len(key) < 7 || len(key) > maxKey {
		return false
	}
	var lower [maxKey]byte
	switch string(appendLower(lower[:0], key)) {
	case "eventid", "eventname", "eventtype", "eventtime", "useridentity", "eventsource", "servicename", "eventversion", "apiversion", "acsregion",
		"requestparameters", "requestparameterjson", "responseelements", "additionaleventdata", "referencedresources", "sourceipaddress":
		return true
	}
	return false
}

func containerKey(key, value []byte) containerKind {
	holds := func() containerKind {
		switch value[0] {
		case '[':
			return containerArray
		case '{':
			return containerField
		case '"':
			if mayHoldJSON(value[1 : len(value)-1]) {
				return containerField
			}
		}
		return containerNone
	}
	switch {
	case len(key) > 6 && len(key) <= 128 && hasPrefixFold(view(key), "event") && (key[5] == '.' || key[5] == '_'):
		return containerFlat
	case strings.EqualFold(view(key), "events"), strings.EqualFold(view(key), "logs"):
		if value[0] == '[' {
			return containerArray
		}
	case strings.EqualFold(view(key), "event"), strings.EqualFold(view(key), "data"):
		return holds()
	}
	return containerNone
}

// flatObjects are the record's objects, and whether their own keys may
// contain the separator: of a parameter only the first step is a path.
var flatObjects = map[string]bool{
	"useridentity": true, "responseelements": true, "insightdetails": true, "eventattributes": true,
	"requestparameters": false, "additionaleventdata": false, "addionaleventdata": false, "referencedresources": false,
}

// node is an object being put together again, in the order of the export.
type node struct {
	key   string
	value []byte // JSON of a leaf; nil for an object
	sub   []*node
	index map[string]*node // of sub, by key
}

func (n *node) child(key string) *node {
	c := n.index[key]
	if c != nil {
		return c
	}
	if n.index == nil {
		n.index = map[string]*node{}
	}
	c = &node{key: key}
	n.sub, n.index[key] = append(n.sub, c), c
	return c
}

// unflatten puts a record together from the index paths of an SLS log.
// Values that a collector wrote for "absent" are left out. It returns nil when
// no path says anything.
func unflatten(b []byte) []byte {
	root := &node{}
	members(b, func(key string, from, to int) bool {
		if len(key) <= 6 || !hasPrefixFold(key, "event") || key[5] != '.' && key[5] != '_' {
			return true
		}
		sep, path := key[5:6], key[6:]
		v := b[from:to]
		if s, ok := scalar(v); !ok || s == "" || isNull(s) {
			return true
		}
		n, deep := root, false
		head, rest, more := strings.Cut(path, sep)
		if more {
			deep, more = flatObjects[strings.ToLower(head)], hasFlatObject(head)
		}
		if !more { // a member of the record itself, whatever its name
			n = n.child(path)
		} else if n = n.child(head); deep {
			for p := range strings.SplitSeq(rest, sep) {
				n = n.child(p)
			}
		} else {
			n = n.child(rest)
		}
		n.value = v
		return true
	})
	if len(root.sub) == 0 {
		return nil
	}
	// The whole parameters win over the few that were indexed.
	for _, n := range root.sub {
		if strings.EqualFold(n.key, "requestParameterJson") && len(n.value) > 0 {
			if doc := unquote(n.value); len(doc) > 0 && doc[0] == '{' {
				for _, p := range root.sub {
					if strings.EqualFold(p.key, "requestParameters") {
						p.sub = nil
					}
				}
			}
		}
	}
	return root.append(make([]byte, 0, len(b)))
}

func hasFlatObject(head string) bool {
	_, ok := flatObjects[strings.ToLower(head)]
	return ok
}

func (n *node) append(dst []byte) []byte {
	if len(n.sub) == 0 {
		if n.value == nil {
			return append(dst, "{}"...)
		}
		return append(dst, n.value...)
	}
	// A path that is both a leaf and an object (an index over JSON text and
	// over its parts) counts as the object.
	dst = append(dst, '{')
	for i, c := range n.sub {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, c.key)
		dst = append(dst, ':')
		dst = c.append(dst)
	}
	return append(dst, '}')
}

// appendJSONString appends s as a JSON string.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, `\u00`...)
			if c < 0x10 {
				dst = append(dst, '0')
			}
			dst = strconv.AppendUint(dst, uint64(c), 16)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
