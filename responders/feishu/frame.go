package feishu

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// frame is a message of the long connection, a protobuf of nine fields. It is
// coded here because the platform's SDK has it in a package that compiles all
// of its services.
type frame struct {
	SeqID, LogID    uint64
	Service, Method int32
	Headers         []header
	Encoding, Type  string
	Payload         []byte
	LogIDNew        string
}

type header struct{ Key, Value string }

// The methods.
const (
	frameControl = 0
	frameData    = 1
)

func (f *frame) get(key string) string {
	for _, h := range f.Headers {
		if h.Key == key {
			return h.Value
		}
	}
	return ""
}

func (f *frame) marshal() []byte {
	var b []byte
	number := func(n protowire.Number, v uint64) {
		b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
	}
	number(1, f.SeqID)
	number(2, f.LogID)
	number(3, uint64(f.Service)) //nolint:gosec // protobuf sign-extends 32-bit integers
	number(4, uint64(f.Method))  //nolint:gosec // as above
	for _, h := range f.Headers {
		var x []byte
		x = protowire.AppendString(protowire.AppendTag(x, 1, protowire.BytesType), h.Key)
		x = protowire.AppendString(protowire.AppendTag(x, 2, protowire.BytesType), h.Value)
		b = protowire.AppendBytes(protowire.AppendTag(b, 5, protowire.BytesType), x)
	}
	b = protowire.AppendString(protowire.AppendTag(b, 6, protowire.BytesType), f.Encoding)
	b = protowire.AppendString(protowire.AppendTag(b, 7, protowire.BytesType), f.Type)
	b = protowire.AppendBytes(protowire.AppendTag(b, 8, protowire.BytesType), f.Payload)
	return protowire.AppendString(protowire.AppendTag(b, 9, protowire.BytesType), f.LogIDNew)
}

var errFrame = errors.New("feishu: not a frame")

func (f *frame) unmarshal(b []byte) error {
	*f = frame{}
	return fields(b, func(n protowire.Number, v uint64, s []byte) error {
		switch n {
		case 1:
			f.SeqID = v
		case 2:
			f.LogID = v
		case 3:
			f.Service = int32(v) //nolint:gosec // as protobuf does
		case 4:
			f.Method = int32(v) //nolint:gosec // as protobuf does
		case 5:
			var h header
			err := fields(s, func(n protowire.Number, _ uint64, s []byte) error {
				switch n {
				case 1:
					h.Key = string(s)
				case 2:
					h.Value = string(s)
				}
				return nil
			})
			if err != nil || len(f.Headers) >= 64 {
				return errFrame
			}
			f.Headers = append(f.Headers, h)
		case 6:
			f.Encoding = string(s)
		case 7:
			f.Type = string(s)
		case 8:
			f.Payload = s
		case 9:
			f.LogIDNew = string(s)
		}
		return nil
	})
}

// fields visits the fields of a message; those of other kinds are skipped.
func fields(b []byte, visit func(n protowire.Number, v uint64, s []byte) error) error {
	for len(b) > 0 {
		n, typ, l := protowire.ConsumeTag(b)
		if l < 0 {
			return errFrame
		}
		b = b[l:]
		var v uint64
		var s []byte
		switch typ {
		case protowire.VarintType:
			v, l = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			s, l = protowire.ConsumeBytes(b)
		default:
			l = protowire.ConsumeFieldValue(n, typ, b)
			n = 0
		}
		if l < 0 {
			return errFrame
		}
		b = b[l:]
		if err := visit(n, v, s); err != nil {
			return err
		}
	}
	return nil
}
