package event

import (
	"bytes"
	"testing"
)

// memory is a file in memory.
type memory struct {
	b       []byte
	changed []int64
}

func (m *memory) Reread(buf []byte, at int64, size int) []byte {
	if at+int64(size) > int64(len(m.b)) {
		return buf
	}
	return append(buf, m.b[at:][:size]...)
}

func (m *memory) Changed(at int64) { m.changed = append(m.changed, at) }

func TestLeftRecord(t *testing.T) {
	const before = `{"eventId":"e0","eventName":"GetUser"}` + "\n"
	record := `{"eventId":"e1","eventName":"CreateUser","recipientAccountId":"1000000000000001"}`
	f := &memory{b: []byte("x\n" + before + record + "\n")}
	at := len(before)
	held := bytes.Clone(f.b[2+at:][:len(record)])
	ev, err := Parse(held)
	if err != nil {
		t.Fatal(err)
	}
	b := ev.Brief()
	b.ID, b.Recipient = "e1", "1000000000000001" // in memory of their own
	b.Leave(&Block{File: f, At: 2}, at)
	for i := range held {
		held[i] = 'X'
	}
	var o Event
	b.Outline(&o)
	r := o.Record()
	for name, got := range map[string]string{"brief": string(b.Raw()), "outline": string(o.Raw()), "record": string(r.Bytes()), "copy": string(r.Append([]byte("<"))[1:])} {
		if got != record {
			t.Errorf("%s: %q", name, got)
		}
	}
	if r.Len() != len(record) || o.ID != "e1" || o.Time != b.Time {
		t.Errorf("%d %+v", r.Len(), o)
	}
	if again := b.Event(); again.Name != "CreateUser" || string(again.Raw()) != record {
		t.Errorf("%+v", again)
	}
	// One outline after the other, left or at hand.
	var o2 Event
	o.Outline(&o2)
	if string(o2.Raw()) != record {
		t.Errorf("%q", o2.Raw())
	}
	if whole, err := Parse([]byte(before)); err != nil {
		t.Fatal(err)
	} else if whole.Outline(&o); string(o.Raw())+"\n" != before {
		t.Errorf("%q", o.Raw())
	}
	if len(f.changed) > 0 {
		t.Error(f.changed)
	}

	// Another record stands there now.
	copy(f.b[2+at:], []byte(`{"eventId":"e2"`))
	if ev := b.Event(); ev.ID != "e1" || ev.Name != "" || ev.Recipient != "1000000000000001" || len(f.changed) != 1 || f.changed[0] != int64(2+at) {
		t.Errorf("%+v %v", ev, f.changed)
	}
	// One with the same id.
	copy(f.b[2+at:], record)
	if ev := b.Event(); ev.Name != "CreateUser" || len(f.changed) != 1 {
		t.Errorf("%+v %v", ev, f.changed)
	}
	f.b[2+at+len(record)-3]++
	if ev := b.Event(); ev.Name != "" || len(r.Append(nil)) != 0 || len(o.Raw()) == 0 || len(f.changed) != 3 {
		t.Errorf("%+v %v", ev, f.changed)
	}
	// None.
	f.b = f.b[:20]
	if ev := b.Event(); ev.ID != "e1" || ev.Name != "" || len(r.Bytes()) != 0 {
		t.Errorf("%+v", ev)
	}
}
