package event

import (
	"encoding/binary"
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
	const p = 0x9e3779b97f4a7c15
	n := len(s)
	h := uint64(n) * p
	if n >= 8 {
		b := unsafe.Slice(unsafe.StringData(s), n)
		h ^= binary.LittleEndian.Uint64(b)
		h = h*p ^ binary.LittleEndian.Uint64(b[n-8:])
		h = h*p ^ binary.LittleEndian.Uint64(b[(n-8)/2:])
	} else {
		for i := range n {
			h = h<<8 ^ h>>56 ^ uint64(s[i])
		}
	}
	h *= p
	return h ^ h>>29
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
