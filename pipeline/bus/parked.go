package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Parked is a record that could not be evaluated, as it lies in QUAR. Its id is
// a function of reason, source and bytes, so parking it again is no second one.
type Parked struct {
	ID        string    `json:"id"`
	Reason    string    `json:"reason"`    // "truncated", "panic", …
	Partition int       `json:"partition"` // -1 when it was never parsed that far
	Source    string    `json:"source"`
	Shard     int       `json:"shard"`
	From      string    `json:"from,omitempty"` // span of the page it came in
	To        string    `json:"to,omitempty"`
	Received  time.Time `json:"received,omitzero"`
	Message   string    `json:"message,omitempty"` // one sentence
	Rule      string    `json:"rule,omitempty"`    // where evaluation failed
	Stack     string    `json:"stack,omitempty"`
	Size      int       `json:"size"` // of Raw as it was
	SHA256    string    `json:"sha256"`
	// Cut says that only the beginning of the record is kept.
	Cut bool `json:"cut,omitempty"`
	// Raw is the record.
	Raw []byte `json:"-"`
	// Seq is where it lies in QUAR.
	Seq uint64 `json:"-"`
}

// Bounds of parked fields, which attackers can fill.
const (
	maxParkedMessage = 1 << 10
	maxParkedStack   = 8 << 10
	maxReason        = 32
)

// reasonToken makes a reason fit for a subject.
func reasonToken(s string) string {
	b := []byte(strings.ToLower(s))
	if len(b) > maxReason {
		b = b[:maxReason]
	}
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			b[i] = '-'
		}
	}
	if len(b) == 0 {
		return "unknown"
	}
	return string(b)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// Park stores a record durably under its reason. It returns false when exactly
// this one is parked already. Records that do not fit a message even compressed
// keep their beginning, size and hash.
func (b *Bus) Park(ctx context.Context, p Parked) (fresh bool, err error) {
	sum := sha256.Sum256(p.Raw)
	p.SHA256, p.Size = hex.EncodeToString(sum[:]), len(p.Raw)
	p.Reason = reasonToken(p.Reason)
	p.Message, p.Rule, p.Stack = clip(p.Message, maxParkedMessage), clip(p.Rule, 256), clip(p.Stack, maxParkedStack)
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\x00%s\x00%d\x00%s", p.Reason, p.Source, p.Shard, p.SHA256)
	p.ID = hex.EncodeToString(h.Sum(nil)[:12])
	raw := p.Raw
	body, zipped := deflate(raw)
	if len(body) > MaxBody || len(raw) > MaxRaw { // MaxRaw is what is believed when it is read
		p.Cut = true
		body, zipped = deflate(raw[:MaxBody-1024])
	}
	kept := len(raw)
	if p.Cut {
		kept = MaxBody - 1024
	}
	head, err := json.Marshal(parkedHead{Parked: p, Kept: kept, Zipped: zipped})
	if err != nil {
		return false, fmt.Errorf("park: %w", err)
	}
	data := append(append(append([]byte(nil), head...), '\n'), body...)
	part := "none"
	if p.Partition >= 0 {
		part = strconv.Itoa(p.Partition)
	}
	subject := fmt.Sprintf("q.%s.%s.%s", p.Reason, part, p.ID)
	// Publish cannot tell a first time from a repeat: a resend is the same.
	if _, err := b.Last(ctx, StreamQuar, subject); err == nil {
		return false, nil
	} else if !errors.Is(err, ErrNotFound) {
		return false, fmt.Errorf("park: %w", err)
	}
	_, err = b.Publish(ctx, Publish{Stream: StreamQuar, Subject: subject, ID: p.ID, Data: data, Fenced: true})
	if errors.Is(err, ErrFenced) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("park: %w", err)
	}
	return true, nil
}

type parkedHead struct {
	Parked
	Kept   int  `json:"kept"`
	Zipped bool `json:"zipped,omitempty"`
}

func parseParked(m Message) (Parked, error) {
	i := strings.IndexByte(string(m.Data), '\n')
	if i < 0 {
		return Parked{}, fmt.Errorf("parked record %d: %w", m.Seq, ErrCorrupt)
	}
	var h parkedHead
	if err := json.Unmarshal(m.Data[:i], &h); err != nil {
		return Parked{}, fmt.Errorf("parked record %d: %w: %w", m.Seq, ErrCorrupt, err)
	}
	body := m.Data[i+1:]
	if h.Kept < 0 || h.Kept > MaxRaw {
		return Parked{}, fmt.Errorf("parked record %d: %w", m.Seq, ErrCorrupt)
	}
	if h.Zipped {
		var err error
		if body, err = inflate(body, h.Kept); err != nil {
			return Parked{}, fmt.Errorf("parked record %d: %w", m.Seq, err)
		}
	}
	h.Raw, h.Seq = body, m.Seq
	return h.Parked, nil
}

// EachParked goes through the quarantine, oldest first, until fn returns false.
func (b *Bus) EachParked(ctx context.Context, fn func(Parked) bool) error {
	st, err := b.State(ctx, StreamQuar)
	if err != nil || st.Msgs == 0 {
		return err
	}
	r := b.NewReader(StreamQuar, st.First, 16, "q.>")
	defer r.Stop()
	for {
		d, err := r.Next(ctx)
		if err != nil {
			return err
		}
		p, err := parseParked(d.Message)
		if err != nil {
			b.log.Error("a parked record cannot be read", "error", err)
		} else if !fn(p) {
			return nil
		}
		if d.Pending == 0 || d.Seq >= st.Last {
			return nil
		}
	}
}

// Unpark removes a parked record after it was dealt with.
func (b *Bus) Unpark(ctx context.Context, p Parked) error {
	err := b.retry(ctx, func(ctx context.Context) error {
		s, err := b.handle(ctx, StreamQuar)
		if err != nil {
			return err
		}
		err = s.DeleteMsg(ctx, p.Seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			return nil
		}
		return err
	})
	return wrap("bus: unpark", err)
}

// ParkedCounts says how many records lie in quarantine by reason.
func (b *Bus) ParkedCounts(ctx context.Context) (map[string]uint64, error) {
	out := map[string]uint64{}
	err := b.retry(ctx, func(ctx context.Context) error {
		clear(out)
		s, err := b.handle(ctx, StreamQuar)
		if err != nil {
			return err
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter("q.>"))
		if err != nil {
			return err
		}
		for subject, n := range info.State.Subjects {
			if parts := strings.Split(subject, "."); len(parts) == 4 {
				out[parts[1]] += n
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrap("bus: counting parked records", err)
	}
	return out, nil
}

// SaveCursor remembers how far a named reader of COMMITS has got in a
// partition. It is durable; after a crash a reader may see again what it saw
// since the last save.
func (b *Bus) SaveCursor(ctx context.Context, name string, partition int, seq uint64) error {
	subject, err := cursorSubject(name, partition)
	if err != nil {
		return err
	}
	_, err = b.Publish(ctx, Publish{Stream: StreamCommits, Subject: subject, Rollup: true, Data: strconv.AppendUint(nil, seq, 10)})
	return err
}

// LoadCursor returns what SaveCursor saved last, 0 when nothing was.
func (b *Bus) LoadCursor(ctx context.Context, name string, partition int) (uint64, error) {
	subject, err := cursorSubject(name, partition)
	if err != nil {
		return 0, err
	}
	m, err := b.Last(ctx, StreamCommits, subject)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	seq, err := strconv.ParseUint(string(m.Data), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cursor of %s in partition %d: %w: %w", name, partition, ErrCorrupt, err)
	}
	return seq, nil
}

func cursorSubject(name string, partition int) (string, error) {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) {
		return "", fmt.Errorf("reader name %q: want small letters, digits, - and _", name)
	}
	return fmt.Sprintf("cur.%s.%d", name, partition), nil
}
