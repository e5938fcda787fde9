package event

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unsafe"
)

// memo is what a Parser remembers of records before: the words that come again
// in nearly every record, and what they were found to mean. Each word has one
// place, which the next word of the same place takes. A memo changes how fast
// a record is parsed, never what is read out of it.
type memo struct {
	names    [512]nameMemo
	services [64]serviceMemo
	agents   [256]agentMemo
}

type nameMemo struct {
	name, fold string
	info       *nameInfo
}

type serviceMemo struct {
	name, fold string
	info       *serviceInfo
}

type agentMemo struct {
	agent       string
	interactive bool
}

// The longest word, and the longest user agent, that is remembered, in bytes.
const (
	maxMemo      = 96
	maxAgentMemo = 256
)

// Bucket spreads texts over the places of a cache: a number that equal texts
// have in common. It reads a few bytes only, so it is no hash to build a map on.
func Bucket(s string) uint64 {
	// The halves of a product of 128 bits, put together, depend on all bits
	// of both factors: texts often differ in their last letters alone.
	const a, b, c = 0x9e3779b97f4a7c15, 0xd1b54a32d192ed03, 0x8cb92ba72f3d8dd7
	n := len(s)
	var first, middle, last uint64
	if n >= 8 {
		t := unsafe.Slice(unsafe.StringData(s), n)
		first, middle, last = binary.LittleEndian.Uint64(t), binary.LittleEndian.Uint64(t[(n-8)/2:]), binary.LittleEndian.Uint64(t[n-8:])
	} else {
		for i := range n {
			first = first<<8 | uint64(s[i])
		}
	}
	hi, lo := bits.Mul64(first^a, last^b)
	hi, lo = bits.Mul64(hi^lo^uint64(n), middle^c)
	return hi ^ lo
}

// lookName finds an event name in the catalogue and its lower-case form.
func (w *walk) lookName(name string) (*nameInfo, string) {
	if w.memo == nil || len(name) > maxMemo || name == "" {
		info := lookupName(name)
		if info.fold != "" {
			return info, info.fold
		}
		return info, w.lower(name)
	}
	m := &w.memo.names[Bucket(name)%uint64(len(w.memo.names))]
	if m.name != name {
		m.name = strings.Clone(name)
		m.info = lookupName(m.name)
		if m.fold = m.info.fold; m.fold == "" {
			m.fold = string(appendLower(nil, m.name))
		}
	}
	return m.info, m.fold
}

// lookService does the same for a service.
func (w *walk) lookService(name string) (*serviceInfo, string) {
	if w.memo == nil || len(name) > maxMemo || name == "" {
		info := lookupService(name)
		if info.fold != "" {
			return info, info.fold
		}
		return info, w.lower(name)
	}
	m := &w.memo.services[Bucket(name)%uint64(len(w.memo.services))]
	if m.name != name {
		m.name = strings.Clone(name)
		m.info = lookupService(m.name)
		if m.fold = m.info.fold; m.fold == "" {
			m.fold = string(appendLower(nil, m.name))
		}
	}
	return m.info, m.fold
}

// isPersonsAgent does the same for a user agent.
func (w *walk) isPersonsAgent(agent string) bool {
	if w.memo == nil || len(agent) > maxAgentMemo || agent == "" {
		return isPersonsAgent(agent)
	}
	m := &w.memo.agents[Bucket(agent)%uint64(len(w.memo.agents))]
	if m.agent != agent {
		m.agent = strings.Clone(agent)
		m.interactive = isPersonsAgent(m.agent)
	}
	return m.interactive
}
