package slstest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field is one key and value of a log, or one tag of a group.
type Field struct{ Key, Value string }

// Log is one entry of a log group. Time is unix seconds, as on the wire.
type Log struct {
	Time   uint32
	Fields []Field
}

// Group is one log group, the unit that cursors count.
type Group struct {
	Topic, Source string
	Tags          []Field
	Logs          []Log
}

// maxRawSize bounds the uncompressed size of a body the emulator accepts: the
// documented limit of a log group is 5 MB, of a PutLogs body 10 MB.
const maxRawSize = 10 << 20

// appendFrame appends the group as one element of a LogGroupList: the list is
// the concatenation of such frames, so a page is a copy of bytes.
func (g Group) appendFrame(dst []byte) []byte {
	body := g.append(nil)
	dst = protowire.AppendTag(dst, 1, protowire.BytesType)
	return protowire.AppendBytes(dst, body)
}

// append appends the LogGroup message itself.
func (g Group) append(dst []byte) []byte {
	var log, field []byte
	for _, l := range g.Logs {
		log = protowire.AppendTag(log[:0], 1, protowire.VarintType)
		log = protowire.AppendVarint(log, uint64(l.Time))
		for _, f := range l.Fields {
			field = appendField(field[:0], f)
			log = protowire.AppendTag(log, 2, protowire.BytesType)
			log = protowire.AppendBytes(log, field)
		}
		dst = protowire.AppendTag(dst, 1, protowire.BytesType)
		dst = protowire.AppendBytes(dst, log)
	}
	if g.Topic != "" {
		dst = protowire.AppendTag(dst, 3, protowire.BytesType)
		dst = protowire.AppendString(dst, g.Topic)
	}
	if g.Source != "" {
		dst = protowire.AppendTag(dst, 4, protowire.BytesType)
		dst = protowire.AppendString(dst, g.Source)
	}
	for _, f := range g.Tags {
		field = appendField(field[:0], f)
		dst = protowire.AppendTag(dst, 6, protowire.BytesType)
		dst = protowire.AppendBytes(dst, field)
	}
	return dst
}

func appendField(dst []byte, f Field) []byte {
	dst = protowire.AppendTag(dst, 1, protowire.BytesType)
	dst = protowire.AppendString(dst, f.Key)
	dst = protowire.AppendTag(dst, 2, protowire.BytesType)
	return protowire.AppendString(dst, f.Value)
}

var errWire = errors.New("not a protobuf LogGroup")

// parseGroup reads one LogGroup message. Unknown fields are skipped, as a
// protobuf reader must.
func parseGroup(b []byte) (Group, error) {
	var g Group
	err := eachField(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
		if typ != protowire.BytesType {
			return nil
		}
		switch num {
		case 1:
			l, err := parseLog(v)
			if err != nil {
				return err
			}
			g.Logs = append(g.Logs, l)
		case 3:
			g.Topic = string(v)
		case 4:
			g.Source = string(v)
		case 6:
			f, err := parseField(v)
			if err != nil {
				return err
			}
			g.Tags = append(g.Tags, f)
		}
		return nil
	})
	return g, err
}

func parseLog(b []byte) (Log, error) {
	var l Log
	timed := false
	err := eachField(b, func(num protowire.Number, typ protowire.Type, v []byte, n uint64) error {
		switch {
		case num == 1 && typ == protowire.VarintType:
			l.Time, timed = uint32(n), true
		case num == 2 && typ == protowire.BytesType:
			f, err := parseField(v)
			if err != nil {
				return err
			}
			l.Fields = append(l.Fields, f)
		}
		return nil
	})
	if err == nil && !timed {
		err = fmt.Errorf("%w: a log has no time", errWire)
	}
	return l, err
}

func parseField(b []byte) (Field, error) {
	var f Field
	keyed := false
	err := eachField(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
		if typ != protowire.BytesType {
			return nil
		}
		switch num {
		case 1:
			f.Key, keyed = string(v), true
		case 2:
			f.Value = string(v)
		}
		return nil
	})
	if err == nil && !keyed {
		err = fmt.Errorf("%w: a field has no key", errWire)
	}
	return f, err
}

func eachField(b []byte, yield func(protowire.Number, protowire.Type, []byte, uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", errWire, protowire.ParseError(n))
		}
		b = b[n:]
		var v []byte
		var u uint64
		switch typ {
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			u, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: %w", errWire, protowire.ParseError(n))
		}
		b = b[n:]
		if err := yield(num, typ, v, u); err != nil {
			return err
		}
	}
	return nil
}

// cursorText is how a cursor is written: base64 of the decimal integer.
func cursorText(c int64) string {
	var buf [20]byte
	return base64.StdEncoding.EncodeToString(strconv.AppendInt(buf[:0], c, 10))
}

func parseCursor(s string) (int64, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(b), 10, 64)
}

var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
		if err != nil {
			panic(err) // only wrong options can fail
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxRawSize), zstd.WithDecoderConcurrency(2))
		if err != nil {
			panic(err) // only wrong options can fail
		}
		return d
	})
	lz4Pool = sync.Pool{New: func() any { return new(lz4.Compressor) }}
)

// compress encodes a body as "lz4" (one raw block, no frame) or "zstd".
func compress(encoding string, raw []byte) []byte {
	if encoding == "zstd" {
		return zstdEncoder().EncodeAll(raw, nil)
	}
	dst := make([]byte, lz4.CompressBlockBound(len(raw)))
	c := lz4Pool.Get().(*lz4.Compressor)
	n, err := c.CompressBlock(raw, dst)
	lz4Pool.Put(c)
	if err != nil || n == 0 {
		return literalBlock(raw)
	}
	return dst[:n]
}

// literalBlock is an lz4 block of one literal run: what an incompressible
// body looks like.
func literalBlock(raw []byte) []byte {
	dst := make([]byte, 0, len(raw)+len(raw)/255+16)
	n := len(raw)
	if n < 15 {
		dst = append(dst, byte(n<<4))
	} else {
		dst = append(dst, 0xF0)
		for n -= 15; n >= 255; n -= 255 {
			dst = append(dst, 255)
		}
		dst = append(dst, byte(n))
	}
	return append(dst, raw...)
}

// decompress is the reverse for bodies sent to the emulator. rawSize is what
// the sender claims; it must be exact and at most maxRawSize.
func decompress(encoding string, body []byte, rawSize int) ([]byte, error) {
	if rawSize < 0 || rawSize > maxRawSize {
		return nil, fmt.Errorf("raw size %d is outside 0..%d", rawSize, maxRawSize)
	}
	var raw []byte
	switch encoding {
	case "":
		raw = body
	case "lz4":
		raw = make([]byte, rawSize)
		n, err := lz4.UncompressBlock(body, raw)
		if err != nil {
			return nil, fmt.Errorf("lz4: %w", err)
		}
		raw = raw[:n]
	case "zstd":
		var err error
		if raw, err = zstdDecoder().DecodeAll(body, make([]byte, 0, rawSize)); err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
	default:
		return nil, fmt.Errorf("compression %q is not lz4 or zstd", encoding)
	}
	if len(raw) != rawSize {
		return nil, fmt.Errorf("body has %d bytes uncompressed, x-log-bodyrawsize says %d", len(raw), rawSize)
	}
	return raw, nil
}
