package journal

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/pause"
)

// AuditStream and its one subject hold the audit log.
const (
	AuditStream  = "AUDIT"
	auditSubject = "aud.log"
)

// audited are the kinds of the journal that the log tells of. The rest is
// book-keeping: caps, cursors, digests.
var audited = []string{"action", "alert", "ask", "card", "click", "freeze", "handson", "note", "notice", "silence", "triage"}

// AuditEntry is one line of the audit log: who did what to which, and the
// journal's record that says so.
type AuditEntry struct {
	N    uint64    `json:"n"` // 1, 2, 3, …: a gap is a removed line
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // of the journal's history, or "gap"
	ID   string    `json:"id"`
	By   string    `json:"by,omitempty"`
	What string    `json:"what"` // state, step, or what was noted
	Seq  uint64    `json:"seq"`  // of the record in the journal
	Sum  string    `json:"sum"`  // and its hash
	// Data is the record; of alerts and notices only what names them, since
	// their text is large and repeats.
	Data json.RawMessage `json:"data,omitempty"`
}

// AuditLine is an entry as it is stored and exported: Hash is over the hash of
// the line before and the very bytes of Entry.
type AuditLine struct {
	Entry json.RawMessage `json:"entry"`
	Prev  string          `json:"prev"`
	Hash  string          `json:"hash"`
}

// export is the line as it is exported, byte for byte: what JSON lets stand for the
// same (a key's or a hash's capitals, spaces, a second key) is a change too.
func (l AuditLine) export() []byte {
	return fmt.Appendf(nil, `{"entry":%s,"prev":"%s","hash":"%s"}`, l.Entry, strings.ToLower(l.Prev), strings.ToLower(l.Hash))
}

// auditBatch is one message of the stream.
type auditBatch struct {
	Lines []AuditLine `json:"lines"`
	Upto  uint64      `json:"upto"` // sequence in the journal that has been read
}

// Limits of one message of the log.
const (
	maxAuditLines = 256
	maxAuditBytes = 512 << 10
	maxAuditData  = 32 << 10
	maxAuditNote  = 66 << 10 // a note is told whole: its data has a limit of its own
)

func auditHash(prev sum, entry []byte) sum {
	h := sha256.New()
	h.Write([]byte("trailwarden.audit/v1"))
	h.Write(prev[:])
	h.Write(entry)
	var s sum
	h.Sum(s[:0])
	return s
}

// Audit writes and reads the audit log. It is made from the journal by
// following it, so that nothing waits for it, nothing is written twice, and a
// crash loses nothing: the last message says how far the journal was read.
// Several processes may run it; who comes second reads on from what the first
// wrote.
type Audit struct {
	// Anew, when set before Run, is called when the log was made although the
	// journal held records: somebody deleted it.
	Anew func()

	j      *JetStream
	stream jetstream.Stream
	log    *slog.Logger
	anew   bool          // made when it was opened, as for Anew
	look   time.Duration // how often a log is looked for that nothing is written to; 0 is 5 s

	mu  sync.Mutex
	err error
}

// OpenAudit opens the stream AUDIT, making it when it is not there. It has half
// the room of the journal and as many copies, and follows it where these are
// changed.
func OpenAudit(ctx context.Context, j *JetStream, log *slog.Logger) (*Audit, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	of := j.stream.CachedInfo().Config
	// Whoever writes to the journal has made the log before, so this order tells
	// a new store from a log that was deleted.
	now, err := j.stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	used := now.State.LastSeq > 0
	s, err := j.js.Stream(ctx, AuditStream)
	for look := 0; used && look < 5 && errors.Is(err, jetstream.ErrStreamNotFound); look++ { // a cluster says so of one that it has just made
		if err := pause.For(ctx, 300*time.Millisecond); err != nil {
			return nil, err
		}
		s, err = j.js.Stream(ctx, AuditStream)
	}
	anew := false
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		anew = used
		s, err = j.makeAudit(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("audit log: open stream %s: %w", AuditStream, err)
	}
	cfg := s.CachedInfo().Config
	if !slices.Contains(cfg.Subjects, auditSubject) || !cfg.DenyDelete {
		return nil, fmt.Errorf("audit log: stream %s is not one of ours: it carries %q", AuditStream, cfg.Subjects)
	}
	if cfg.MaxBytes != of.MaxBytes/2 || cfg.Replicas != of.Replicas {
		cfg.MaxBytes, cfg.Replicas = of.MaxBytes/2, of.Replicas
		if _, err := j.js.UpdateStream(ctx, cfg); err != nil {
			log.Warn("the audit log could not be given the room and the copies of the journal", "error", err)
		}
	}
	return &Audit{j: j, stream: s, log: log, anew: anew}, nil
}

func (j *JetStream) makeAudit(ctx context.Context) (jetstream.Stream, error) {
	of := j.stream.CachedInfo().Config
	s, err := j.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: AuditStream, Description: "what was loaded, said, clicked and done, in one chain", Subjects: []string{auditSubject},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxBytes: of.MaxBytes / 2, MaxAge: of.MaxAge, MaxMsgSize: 1 << 20, Replicas: of.Replicas, DenyDelete: true, DenyPurge: true,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was first
		s, err = j.js.Stream(ctx, AuditStream)
	}
	return s, err
}

// tip is where the log ends.
type tip struct {
	msg  uint64 // sequence of the last message, 0 when there is none
	n    uint64 // of the last entry
	hash sum
	upto uint64
}

func (a *Audit) tip(ctx context.Context) (tip, error) {
	ctx, cancel := context.WithTimeout(ctx, a.j.timeout)
	defer cancel()
	m, err := a.stream.GetLastMsgForSubject(ctx, auditSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return tip{}, nil
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return tip{}, errAuditGone
	}
	if err != nil {
		return tip{}, fmt.Errorf("audit log: %w", err)
	}
	var b auditBatch
	if err := json.Unmarshal(m.Data, &b); err != nil || len(b.Lines) == 0 {
		return tip{}, fmt.Errorf("audit log: the message at %d cannot be read; run audit verify", m.Sequence)
	}
	t := tip{msg: m.Sequence, upto: b.Upto}
	l := b.Lines[len(b.Lines)-1]
	var e AuditEntry
	if t.hash, err = parseSum(l.Hash); err == nil {
		err = json.Unmarshal(l.Entry, &e)
	}
	if err != nil {
		return tip{}, fmt.Errorf("audit log: the last line cannot be read (%w); run audit verify", err)
	}
	t.n = e.N
	return t, nil
}

// Run follows the journal until ctx ends. What fails is tried again; Err says
// what is wrong meanwhile.
func (a *Audit) Run(ctx context.Context) {
	if a.anew && a.Anew != nil {
		a.Anew()
	}
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
		err := a.follow(ctx, func() { wait = 200 * time.Millisecond })
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errAuditGone) {
			// What the journal still holds is told anew.
			if _, err = a.j.makeAudit(ctx); err == nil {
				a.log.Error("somebody deleted the audit log: it is made again from what the journal still holds", "stream", AuditStream)
				if a.Anew != nil {
					a.Anew()
				}
			}
		}
		a.note(err)
		if err != nil {
			a.log.Error("the audit log falls behind and is tried again", "err", err, "again_in", wait)
		}
		if pause.For(ctx, wait) != nil {
			return
		}
	}
}

func (a *Audit) note(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

// Err is why the log falls behind, nil while it does not.
func (a *Audit) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// errAuditGone: the stream of the log does not exist.
var errAuditGone = errors.New("audit log: its stream does not exist any more")

// errOvertaken: another process wrote first.
var errOvertaken = errors.New("another process wrote first")

func (a *Audit) follow(ctx context.Context, fine func()) error {
	t, err := a.tip(ctx)
	if err != nil {
		return err
	}
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{Subjects}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: t.upto + 1,
		InactiveThreshold: time.Minute, MaxResetAttempts: 3}
	cons, err := a.j.stream.OrderedConsumer(ctx, cfg)
	if err != nil {
		return fmt.Errorf("audit log: follow the journal: %w", err)
	}
	it, err := cons.Messages(jetstream.PullMaxMessages(maxAuditLines), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(2*time.Second))
	if err != nil {
		return fmt.Errorf("audit log: follow the journal: %w", err)
	}
	defer it.Stop()
	var b auditBatch
	size := 0
	for {
		m, err := a.next(ctx, it)
		if err != nil {
			return err
		}
		md, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("audit log: follow the journal: %w", err)
		}
		seq := md.Sequence.Stream
		if seq <= max(t.upto, b.Upto) {
			continue // met again after the consumer was set up anew
		}
		if from := max(t.upto, b.Upto) + 1; seq > from {
			size += b.add(&t, AuditEntry{At: md.Timestamp.UTC(), Kind: "gap", What: fmt.Sprintf("records %d to %d of the journal were trimmed before they were read", from, seq-1), Seq: seq - 1})
		}
		if kind, id, ok := parseSubject(m.Subject()); ok && slices.Contains(audited, kind) {
			e := AuditEntry{At: md.Timestamp.UTC(), Kind: kind, ID: id, Seq: seq, Sum: m.Headers().Get(headerSum)}
			e.By, e.What, e.Data = tell(kind, m.Data())
			size += b.add(&t, e)
		}
		b.Upto = seq
		if len(b.Lines) == 0 || md.NumPending > 0 && len(b.Lines) < maxAuditLines && size < maxAuditBytes {
			continue // book-keeping is not worth a message of its own
		}
		next, err := a.publish(ctx, t, b)
		if errors.Is(err, errOvertaken) {
			return nil // go on from what the other wrote
		}
		if err != nil {
			return err
		}
		t, b, size = next, auditBatch{}, 0
		a.note(nil)
		fine()
	}
}

// next waits for the next record of the journal, and sees meanwhile whether the
// log is still there.
func (a *Audit) next(ctx context.Context, it jetstream.MessagesContext) (jetstream.Msg, error) {
	for {
		within, cancel := context.WithTimeout(ctx, cmp.Or(a.look, 5*time.Second))
		m, err := it.Next(jetstream.NextContext(within))
		idle := within.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil {
			return m, nil
		}
		if !idle {
			return nil, fmt.Errorf("audit log: follow the journal: %w", err)
		}
		if _, err := a.tip(ctx); errors.Is(err, errAuditGone) {
			return nil, err
		}
	}
}

// add appends an entry to the batch and returns its size. t runs along.
func (b *auditBatch) add(t *tip, e AuditEntry) int {
	t.n++
	e.N = t.n
	raw, err := json.Marshal(e)
	if err != nil { // Data was checked by tell
		raw = []byte(`{}`)
	}
	// Strangers' text is printed with the line, and escapes are all that may
	// be changed of it before it is hashed.
	raw = alert.EscapeJSON(raw)
	l := AuditLine{Entry: raw, Prev: t.hash.String()}
	t.hash = auditHash(t.hash, raw)
	l.Hash = t.hash.String()
	b.Lines = append(b.Lines, l)
	return len(raw) + 200
}

func (a *Audit) publish(ctx context.Context, t tip, b auditBatch) (tip, error) {
	data, err := json.Marshal(b)
	if err != nil {
		return t, fmt.Errorf("audit log: %w", err)
	}
	msg := nats.NewMsg(auditSubject)
	msg.Data = data
	ctx, cancel := context.WithTimeout(ctx, a.j.timeout)
	defer cancel()
	ack, err := a.j.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(AuditStream), jetstream.WithExpectLastSequencePerSubject(t.msg))
	switch {
	case err != nil && conflict(err):
		return t, errOvertaken // also when a lost answer of ours was a yes
	case err != nil:
		return t, fmt.Errorf("audit log: %w", err)
	}
	t.msg, t.upto = ack.Sequence, b.Upto
	return t, nil
}

// tell makes an entry's words from a record of the journal. It reads only
// what it needs, so that records of other versions are told too.
func tell(kind string, record []byte) (by, what string, data json.RawMessage) {
	var r struct {
		By, State, What, Do string
		Frozen              bool
		Author              string
		EndedBy             string `json:"ended_by"`
		Steps               []struct{ By, Do string }
		Clicks              []json.RawMessage
		Alert               json.RawMessage
		Revision            int
		Dest, Reason        string
	}
	if err := json.Unmarshal(record, &r); err != nil {
		// Alerts have an object where notices have an id: read what fits.
		var as *json.UnmarshalTypeError
		if !errors.As(err, &as) {
			return "", "a record that cannot be read", nil
		}
	}
	by, what, data = r.By, r.State, record
	limit := maxAuditData
	switch kind {
	case "freeze":
		what = "released"
		if r.Frozen {
			what = "frozen"
		}
	case "triage":
		if n := len(r.Steps); n > 0 {
			by, what = r.Steps[n-1].By, r.Steps[n-1].Do
		}
	case "click":
		var c struct{ By, What string }
		if n := len(r.Clicks); n > 0 && json.Unmarshal(r.Clicks[n-1], &c) == nil {
			by, what, data = c.By, "refused: "+c.What, r.Clicks[n-1]
		}
	case "note":
		what, limit = r.What, maxAuditNote
	case "ask":
		what = r.What
	case "silence":
		if by, what = r.Author, "muted"; r.EndedBy != "" {
			by, what = r.EndedBy, "unmuted"
		}
	case "handson":
		what = "switched on again by a person"
	case "card":
		what = "card"
	case "alert":
		var a struct {
			ID, Rule, Severity, Outcome string
			Count                       int
			AccountID                   string `json:"account_id"`
		}
		_ = json.Unmarshal(r.Alert, &a) // what is missing stays empty
		by, what = "", fmt.Sprintf("revision %d", r.Revision)
		data, _ = json.Marshal(map[string]any{"rule": a.Rule, "severity": a.Severity, "outcome": a.Outcome, "count": a.Count, "account_id": a.AccountID})
	case "notice":
		var n struct{ Dest, Alert, Rule, Reason string }
		_ = json.Unmarshal(record, &n)
		by = ""
		data, _ = json.Marshal(map[string]any{"destination": n.Dest, "alert": n.Alert, "rule": n.Rule, "reason": n.Reason})
	}
	if len(data) > limit || !json.Valid(data) {
		data, _ = json.Marshal(map[string]any{"left_out": fmt.Sprintf("%d bytes; the hash names them", len(record))})
	}
	var small bytes.Buffer
	if json.Compact(&small, data) == nil {
		data = small.Bytes()
	}
	return by, what, data
}

// Lines calls yield with every line after entry number after, in order.
func (a *Audit) Lines(ctx context.Context, after uint64, yield func(AuditLine) error) error {
	var e struct{ N uint64 }
	return a.messages(ctx, func(_ uint64, b auditBatch) error {
		for _, l := range b.Lines {
			if err := json.Unmarshal(l.Entry, &e); err == nil && e.N <= after {
				continue
			}
			if err := yield(l); err != nil {
				return err
			}
		}
		return nil
	})
}

// Tail returns the last n entries, the newest first.
func (a *Audit) Tail(ctx context.Context, n int) ([]AuditEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, a.j.timeout)
	defer cancel()
	m, err := a.stream.GetLastMsgForSubject(ctx, auditSubject)
	out := []AuditEntry{}
	for ; len(out) < n && err == nil; m, err = a.stream.GetMsg(ctx, m.Sequence-1) {
		var b auditBatch
		if err := json.Unmarshal(m.Data, &b); err != nil {
			return out, fmt.Errorf("audit log: the message at %d cannot be read; run audit verify", m.Sequence)
		}
		for i := len(b.Lines) - 1; i >= 0 && len(out) < n; i-- {
			var e AuditEntry
			if err := json.Unmarshal(b.Lines[i].Entry, &e); err != nil {
				return out, fmt.Errorf("audit log: a line of the message at %d cannot be read; run audit verify", m.Sequence)
			}
			out = append(out, e)
		}
		if m.Sequence <= 1 {
			break
		}
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) { // the beginning, or what has expired
		return out, fmt.Errorf("audit log: %w", err)
	}
	return out, nil
}

// messages reads the stream as it is now.
func (a *Audit) messages(ctx context.Context, yield func(seq uint64, b auditBatch) error) error {
	r := &JetStream{js: a.j.js, stream: a.stream, timeout: a.j.timeout}
	return r.each(ctx, auditSubject, jetstream.DeliverAllPolicy, func(m jetstream.Msg, md *jetstream.MsgMetadata) error {
		var b auditBatch
		if err := json.Unmarshal(m.Data(), &b); err != nil {
			b = auditBatch{Lines: []AuditLine{{Entry: json.RawMessage(`{}`)}}} // the checker says so
		}
		return yield(md.Sequence.Stream, b)
	})
}

// AuditReport is what a verification found.
type AuditReport struct {
	Entries uint64    `json:"entries"`
	First   uint64    `json:"first"` // number of the first entry; above 1 when older ones expired
	Last    uint64    `json:"last"`
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	// Head is the hash of the last line. Kept elsewhere, it proves later that
	// nothing up to here was rewritten (audit verify --head).
	Head string `json:"head"`
	// HeadFound says that the head that was asked for is in the chain.
	HeadFound bool `json:"head_found,omitempty"`
	// Behind is how many records of the journal are not in the log yet.
	Behind   int      `json:"behind,omitempty"`
	Problems []string `json:"problems,omitempty"` // at most MaxBreaks
	Broken   int      `json:"broken"`
	Journal  *Report  `json:"journal,omitempty"` // of the journal's own chains
}

// OK says that nothing was changed, removed or put in, as far as can be seen.
func (r AuditReport) OK() bool { return r.Broken == 0 && (r.Journal == nil || r.Journal.OK()) }

func (r *AuditReport) fail(format string, args ...any) {
	r.Broken++
	if len(r.Problems) < MaxBreaks {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// auditChecker checks lines in order.
type auditChecker struct {
	report AuditReport
	prev   sum
	begun  bool
	head   string
}

func (c *auditChecker) line(l AuditLine) (AuditEntry, bool) {
	var e AuditEntry
	if err := json.Unmarshal(l.Entry, &e); err != nil || e.N == 0 {
		c.report.fail("after entry %d: a line that is no entry", c.report.Last)
		return e, false
	}
	own, err := parseSum(l.Hash)
	prev, perr := parseSum(l.Prev)
	switch {
	case err != nil || perr != nil:
		c.report.fail("entry %d carries no hash", e.N)
	case auditHash(prev, l.Entry) != own:
		c.report.fail("entry %d was changed: its hash does not fit its content", e.N)
	case c.begun && e.N != c.report.Last+1:
		c.report.fail("entry %d follows entry %d: lines were removed or put in", e.N, c.report.Last)
	case c.begun && prev != c.prev:
		c.report.fail("entry %d does not follow the one before it: something before it was changed, removed or put in", e.N)
	case !c.begun && e.N == 1 && prev != (sum{}):
		c.report.fail("entry 1 follows something that is not there")
	}
	if !c.begun {
		c.begun, c.report.First, c.report.From = true, e.N, e.At
	}
	c.report.Entries++
	c.report.Last, c.report.To, c.report.Head = e.N, e.At, l.Hash
	c.prev = own
	if c.head != "" && l.Hash == c.head {
		c.report.HeadFound = true
	}
	return e, true
}

func (c *auditChecker) end() AuditReport {
	if c.head != "" && !c.report.HeadFound {
		c.report.fail("the head %s is not in the chain: what it vouched for was rewritten or removed", c.head)
	}
	return c.report
}

// VerifyExport checks lines as Lines and `audit export` give them, one JSON
// object a line. head, when not empty, must be in the chain.
func VerifyExport(r io.Reader, head string) (AuditReport, error) {
	c := auditChecker{head: head}
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), 4<<20)
	for s.Scan() {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		var l AuditLine
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			c.report.fail("after entry %d: a line that is no entry", c.report.Last)
			continue
		}
		if e, ok := c.line(l); ok && !bytes.Equal(s.Bytes(), l.export()) {
			c.report.fail("entry %d is not written as it was exported", e.N)
		}
	}
	if c.report.Entries == 0 && c.report.Broken == 0 {
		c.report.fail("there is no entry: nothing is vouched for")
	}
	return c.end(), s.Err()
}

// Verify checks the log against itself and against the journal that it was
// made from, and the journal's own chains. It reads both.
func (a *Audit) Verify(ctx context.Context, head string) (AuditReport, error) {
	c := auditChecker{head: head}
	told := map[uint64]string{} // sum by sequence in the journal
	later := map[string]int{}   // entries of a history
	silences := uint64(0)       // the first that the log tells of: earlier programs told of none
	type logged struct {
		seq uint64
		key string
	}
	var order []logged
	upto := uint64(0)
	err := a.messages(ctx, func(_ uint64, b auditBatch) error {
		for _, l := range b.Lines {
			e, ok := c.line(l)
			if ok && e.Kind != "gap" {
				told[e.Seq] = e.Sum
				if e.Kind == "silence" && silences == 0 {
					silences = e.Seq
				}
				order = append(order, logged{e.Seq, e.Kind + "." + e.ID})
			}
		}
		upto = max(upto, b.Upto)
		return nil
	})
	if err != nil {
		return c.report, err
	}
	present := map[uint64]bool{}
	var v verifier
	err = a.j.each(ctx, Subjects, jetstream.DeliverAllPolicy, func(m jetstream.Msg, md *jetstream.MsgMetadata) error {
		kind, id, ok := parseSubject(m.Subject())
		seq, h := md.Sequence.Stream, m.Headers()
		if !ok {
			v.fail("", m.Subject(), seq, "a subject that the journal never writes")
			return nil
		}
		v.add(kind, id, seq, m.Data(), h.Get(headerPrev), h.Get(headerSum))
		if !slices.Contains(audited, kind) {
			return nil
		}
		present[seq] = true
		switch was, known := told[seq]; {
		case known && was != h.Get(headerSum):
			c.report.fail("record %d of the journal (%s %s) is not the one that the log tells of", seq, kind, id)
		case !known && seq > upto:
			c.report.Behind++
		case !known && kind == "silence" && (silences == 0 || seq < silences):
		case !known && c.report.First <= 1:
			c.report.fail("record %d of the journal (%s %s) is not in the log: it was put in", seq, kind, id)
		}
		return nil
	})
	if err != nil {
		return c.report, err
	}
	info, err := a.j.stream.Info(ctx)
	if err != nil {
		return c.report, fmt.Errorf("audit log: %w", err)
	}
	keep, oldest := info.Config.MaxMsgsPerSubject, info.Config.MaxAge
	for _, o := range slices.Backward(order) {
		later[o.key]++
		expired := oldest > 0 && o.seq < info.State.FirstSeq
		if !present[o.seq] && !expired && (keep <= 0 || int64(later[o.key]) <= keep) {
			c.report.fail("record %d of the journal (%s), which the log tells of, is gone", o.seq, o.key)
		}
	}
	c.report.Journal = &v.report
	return c.end(), nil
}
