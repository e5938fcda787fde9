// Package geotest writes mmdb files: enough of the format to test against the
// real reader. It is for tests.
package geotest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sort"
)

// File is an mmdb file with one record a network (in CIDR notation). A record
// may hold strings, uint16, uint32, uint64, lists and maps of them; another
// type, or a network that is none, panics.
func File(records map[string]any) []byte {
	type node struct {
		kid  [2]*node
		data int // offset of the record + 1
	}
	root := &node{}
	var data bytes.Buffer
	networks := make([]string, 0, len(records))
	for n := range records {
		networks = append(networks, n)
	}
	sort.Strings(networks)
	for _, n := range networks {
		p := netip.MustParsePrefix(n)
		a, bits := p.Addr().As16(), p.Bits()
		if p.Addr().Is4() {
			v4 := p.Addr().As4()
			a = [16]byte{}
			copy(a[12:], v4[:])
			bits += 96
		}
		at := root
		for i := range bits {
			b := a[i/8] >> (7 - i%8) & 1
			if at.kid[b] == nil {
				at.kid[b] = &node{}
			}
			at = at.kid[b]
		}
		at.data = data.Len() + 1
		value(&data, records[n])
	}
	var nodes []*node
	index := map[*node]int{}
	var number func(n *node)
	number = func(n *node) {
		if n.data > 0 {
			return
		}
		index[n] = len(nodes)
		nodes = append(nodes, n)
		for _, k := range n.kid {
			if k != nil {
				number(k)
			}
		}
	}
	number(root)
	var out bytes.Buffer
	for _, n := range nodes {
		for _, k := range n.kid {
			v := len(nodes) // not found
			if k != nil && k.data > 0 {
				v = len(nodes) + 16 + k.data - 1
			} else if k != nil {
				v = index[k]
			}
			out.Write(binary.BigEndian.AppendUint32(nil, uint32(v)))
		}
	}
	out.Write(make([]byte, 16))
	out.Write(data.Bytes())
	out.WriteString("\xab\xcd\xefMaxMind.com")
	value(&out, map[string]any{
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1_700_000_000),
		"database_type": "test", "ip_version": uint16(6), "node_count": uint32(len(nodes)), "record_size": uint16(32),
		"languages": []any{"en"}, "description": map[string]any{"en": "test"},
	})
	return out.Bytes()
}

func value(w *bytes.Buffer, v any) {
	head := func(typ, size int) {
		ext := 0
		if typ > 7 {
			ext, typ = typ-7, 0
		}
		extra := []byte(nil)
		if size >= 29 {
			extra, size = []byte{byte(size - 29)}, 29
		}
		w.WriteByte(byte(typ<<5 | size))
		if ext > 0 {
			w.WriteByte(byte(ext))
		}
		w.Write(extra)
	}
	uint := func(typ int, n uint64) {
		b := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, n), "\x00")
		head(typ, len(b))
		w.Write(b)
	}
	switch v := v.(type) {
	case string:
		head(2, len(v))
		w.WriteString(v)
	case uint16:
		uint(5, uint64(v))
	case uint32:
		uint(6, uint64(v))
	case uint64:
		uint(9, v)
	case []any:
		head(11, len(v))
		for _, x := range v {
			value(w, x)
		}
	case map[string]any:
		head(7, len(v))
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			value(w, k)
			value(w, v[k])
		}
	default:
		panic(fmt.Sprintf("mmdb: %T", v))
	}
}
