package event

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Action is a canonical action: one word for one act, lower case and dotted,
// whichever of the cloud's twin services it went through. "" is no action.
type Action string

// Actions lists every canonical action in the order of the catalogue.
func Actions() []Action { return slices.Clone(allActions) }

// ActionOf returns the canonical action of an event name of a service, both
// in any letter case, or "". It is what Parse sets; rule tools use it to say
// which action covers an event.
func ActionOf(service, name string) Action {
	if e := lookupName(name).entry(lookupService(service), service, ""); e != nil {
		return e.action
	}
	return ""
}

// EventNames lists the event names that count as action a, in the
// catalogue's order and spelling.
func EventNames(a Action) []string {
	var names []string
	for i := range catalogue.entries {
		if e := &catalogue.entries[i]; e.action == a {
			for _, n := range e.names {
				if !slices.Contains(names, n) {
					names = append(names, n)
				}
			}
		}
	}
	return names
}

// Services lists the serviceName spellings, lower case, under which action a
// is recorded.
func Services(a Action) []string {
	var out []string
	for i := range catalogue.entries {
		e := &catalogue.entries[i]
		if e.action != a {
			continue
		}
		for _, f := range e.families {
			for _, s := range catalogue.aliases[f] {
				if !slices.Contains(out, s) {
					out = append(out, s)
				}
			}
		}
	}
	return out
}

// KnownEvent reports whether name, in any letter case, is an event name or
// API name of the catalogue, and how the cloud spells it.
func KnownEvent(name string) (canonicalSpelling string, ok bool) {
	n := lookupName(name)
	return n.spelling, n.spelling != ""
}

// KnownEvents lists the catalogue of event names, sorted.
func KnownEvents() []string {
	names := make([]string, 0, len(catalogue.byFold))
	for _, n := range catalogue.byFold {
		names = append(names, n.spelling)
	}
	slices.Sort(names)
	return names
}

// packedTexts is actions.txt and events.txt, one after the other, with a line of
// "%" between them: as they are they would be a thousandth of the program.
// `go test ./pipeline/event -run TestCatalogueIsPacked -update` makes it anew.
//
//go:embed catalogue.gz
var packedTexts []byte

const betweenTexts = "\n%\n"

// catalogueTexts unpacks the catalogue.
func catalogueTexts() (actions, events string) {
	var text []byte
	z, err := gzip.NewReader(bytes.NewReader(packedTexts))
	if err == nil {
		text, err = io.ReadAll(z)
	}
	if err != nil {
		panic("event: embedded catalogue: " + err.Error())
	}
	actions, events, _ = strings.Cut(string(text), betweenTexts)
	return actions, events
}

// family groups the serviceName spellings of one service. 0 is none.
type family uint8

type serviceInfo struct {
	fold   string
	family family
}

type nameInfo struct {
	spelling, fold string
	entries        []*actionEntry
}

// actionEntry is one line of actions.txt.
type actionEntry struct {
	action   Action
	families []family
	names    []string
	target   targetSpec
}

type targetSpec struct {
	kind       targetKind
	typ        string   // of an object
	params     []string // where its name is
	resource   string   // or the type of the referenced resource
	key        string   // parameter with the AccessKey id
	keyInReply string   // or the path in responseElements
}

type targetKind uint8

const (
	targetNone targetKind = iota
	targetUser
	targetUserOrSelf
	targetSelf
	targetAccount
	targetPrincipal
	targetRole
	targetRoleARN
	targetGroup
	targetPolicy
	targetObject
)

var targetWords = map[string]targetKind{
	"user": targetUser, "user?": targetUserOrSelf, "self": targetSelf, "account": targetAccount, "principal": targetPrincipal,
	"role": targetRole, "rolearn": targetRoleARN, "group": targetGroup, "policy": targetPolicy,
}

type catalog struct {
	entries  []actionEntry
	families map[string]family
	aliases  map[family][]string // in file order, lower case
	// Both maps hold the catalogue's spelling and the lower-case form, so
	// that the usual record needs one look-up.
	names    map[string]*nameInfo
	services map[string]*serviceInfo
	byFold   map[string]*nameInfo
}

var catalogue = mustCatalog(catalogueTexts())

// These read a user's name from parameters of different spelling.
var (
	familyRAM    = catalogue.families["ram"]
	familyIMS    = catalogue.families["ims"]
	familyAasSub = catalogue.families["aassub"]
)

func mustCatalog(actions, events string) *catalog {
	c, err := parseCatalog(actions, events)
	if err != nil {
		panic("event: embedded catalogue: " + err.Error()) // a build with a broken catalogue must not run
	}
	return c
}

func parseCatalog(actions, events string) (*catalog, error) {
	c := &catalog{families: map[string]family{}, aliases: map[family][]string{}, names: map[string]*nameInfo{},
		services: map[string]*serviceInfo{}, byFold: map[string]*nameInfo{}}
	for i, line := range strings.Split(actions, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		var err error
		if strings.Contains(line, "|") {
			err = c.addEntry(line)
		} else {
			err = c.addFamily(line)
		}
		if err != nil {
			return nil, fmt.Errorf("actions.txt:%d: %w", i+1, err)
		}
	}
	for i := range c.entries {
		e := &c.entries[i]
		for _, n := range e.names {
			info := c.addName(n)
			info.entries = append(info.entries, e)
		}
	}
	for _, line := range strings.Split(events, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		for _, n := range strings.Fields(line) {
			c.addName(n)
		}
	}
	return c, nil
}

func (c *catalog) addFamily(line string) error {
	name, list, ok := strings.Cut(line, "=")
	if name = strings.TrimSpace(name); !ok || c.families[name] != 0 {
		return fmt.Errorf("%q: want family = serviceName, …, once", line)
	}
	f := family(len(c.families) + 1)
	c.families[name] = f
	for _, s := range strings.Split(list, ",") {
		s = strings.ToLower(strings.TrimSpace(s))
		if c.services[s] != nil {
			return fmt.Errorf("service %q stands in two families", s)
		}
		c.services[s] = &serviceInfo{fold: s, family: f}
		c.aliases[f] = append(c.aliases[f], s)
	}
	return nil
}

func (c *catalog) addEntry(line string) error {
	cols := strings.Split(line, "|")
	if len(cols) < 4 || len(cols) > 5 {
		return fmt.Errorf("want action | services | events | target [| key], got %d columns", len(cols))
	}
	e := actionEntry{action: Action(strings.TrimSpace(cols[0]))}
	for _, f := range strings.Split(cols[1], ",") {
		id := c.families[strings.TrimSpace(f)]
		if id == 0 {
			return fmt.Errorf("unknown family %q", strings.TrimSpace(f))
		}
		e.families = append(e.families, id)
	}
	for _, n := range strings.Split(cols[2], ",") {
		e.names = append(e.names, strings.TrimSpace(n))
	}
	spec := strings.TrimSpace(cols[3])
	if kind, ok := targetWords[spec]; ok {
		e.target.kind = kind
	} else {
		typ, list, ok := strings.Cut(spec, ":")
		if !ok {
			return fmt.Errorf("unknown target %q", spec)
		}
		e.target.kind, e.target.typ = targetObject, typ
		for _, p := range strings.Split(list, ",") {
			if r, ok := strings.CutPrefix(p, "res="); ok {
				e.target.resource = r
			} else {
				e.target.params = append(e.target.params, p)
			}
		}
	}
	if len(cols) == 5 {
		if e.target.key = strings.TrimSpace(cols[4]); strings.HasPrefix(e.target.key, "response:") {
			e.target.key, e.target.keyInReply = "", strings.TrimPrefix(e.target.key, "response:")
		}
	}
	c.entries = append(c.entries, e)
	return nil
}

// addName returns the entry of a name; the first spelling met stays.
func (c *catalog) addName(name string) *nameInfo {
	fold := strings.ToLower(name)
	info := c.byFold[fold]
	if info == nil {
		info = &nameInfo{spelling: name, fold: fold}
		c.byFold[fold] = info
		c.names[fold] = info
	}
	c.names[name] = info
	return info
}

var (
	noName    = &nameInfo{}
	noService = &serviceInfo{}
)

const maxFoldedName = 96

func lookupName(name string) *nameInfo {
	if n := catalogue.names[name]; n != nil {
		return n
	}
	if len(name) <= maxFoldedName && !isLower(name) {
		var lower [maxFoldedName]byte
		if n := catalogue.byFold[string(appendLower(lower[:0], name))]; n != nil {
			return n
		}
	}
	return noName
}

func lookupService(name string) *serviceInfo {
	if name == "" || len(name) > 32 {
		return noService
	}
	var lower [32]byte
	if s := catalogue.services[string(appendLower(lower[:0], name))]; s != nil {
		return s
	}
	return noService
}

// entry finds the line of a name that belongs to the service. When the record
// names no service, the host in eventSource decides, and where that does not
// say either, the name alone if it has one line only.
func (n *nameInfo) entry(service *serviceInfo, raw, source string) *actionEntry {
	if len(n.entries) == 0 {
		return nil
	}
	if raw == "" && service.family == 0 {
		if service = serviceOfHost(source); service.family == 0 {
			if len(n.entries) == 1 {
				return n.entries[0]
			}
			return nil
		}
	}
	for _, e := range n.entries {
		for _, f := range e.families {
			if f == service.family {
				return e
			}
		}
	}
	return nil
}

// serviceOfHost reads the service from eventSource: "ims-share.aliyuncs.com",
// "actiontrail.cn-hangzhou.aliyuncs.com", "http://account.aliyun.com/login/…".
func serviceOfHost(host string) *serviceInfo {
	if _, rest, ok := strings.Cut(host, "://"); ok {
		host = rest
	}
	label, _, _ := strings.Cut(host, ".")
	for _, suffix := range []string{"-share", "-pop", "-inner", "-openapi"} {
		label = strings.TrimSuffix(label, suffix)
	}
	return lookupService(label)
}
