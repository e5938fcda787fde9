package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"
)

// auditRig is a journal with its audit log; run follows until everything that
// is stored now has been told.
type auditRig struct {
	t  testing.TB
	js jetstream.JetStream
	j  *JetStream
	a  *Audit
}

func newAuditRig(t testing.TB, o Options) *auditRig {
	js := startServer(t, t.TempDir())
	j := open(t, js, o)
	a, err := OpenAudit(t.Context(), j, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &auditRig{t, js, j, a}
}

func (r *auditRig) put(kind, id, data string) uint64 {
	r.t.Helper()
	e, ok, err := r.j.Last(r.t.Context(), kind, id)
	if err != nil {
		r.t.Fatal(err)
	}
	expect := uint64(0)
	if ok {
		expect = e.Seq
	}
	seq, err := r.j.Append(r.t.Context(), kind, id, []byte(data), expect)
	if err != nil {
		r.t.Fatal(err)
	}
	return seq
}

func (r *auditRig) lines() []AuditLine {
	r.t.Helper()
	var out []AuditLine
	if err := r.a.Lines(r.t.Context(), 0, func(l AuditLine) error { out = append(out, l); return nil }); err != nil {
		r.t.Fatal(err)
	}
	return out
}

func entryOf(t testing.TB, l AuditLine) AuditEntry {
	t.Helper()
	var e AuditEntry
	if err := json.Unmarshal(l.Entry, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// run lets n auditors follow until the log has reached the journal's record upto.
func (r *auditRig) run(n int, upto uint64) {
	r.t.Helper()
	ctx, stop := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer stop()
	run, end := context.WithCancel(ctx)
	done := make(chan struct{}, n)
	for range n {
		a := &Audit{j: r.j, stream: r.a.stream, log: r.a.log}
		go func() { a.Run(run); done <- struct{}{} }()
	}
	for {
		t, err := r.a.tip(ctx)
		if err != nil {
			r.t.Fatal(err)
		}
		if t.upto >= upto {
			break
		}
		if sleepFor(ctx, 10*time.Millisecond) != nil {
			r.t.Fatalf("the log is at %d and never reaches %d", t.upto, upto)
		}
	}
	end()
	for range n {
		<-done
	}
}

func sleepFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const actionRecord = `{"v":1,"state":"%s","by":"%s","at":"2026-11-25T06:00:00Z","action":{"id":"a1","kind":"ram.disable_access_key"}}`

func TestAuditTells(t *testing.T) {
	r := newAuditRig(t, Options{})
	r.put("note", "config", `{"v":1,"what":"configuration loaded","by":"host/1"}`)
	r.put("cursor", "0", `{"seq":1}`)
	r.put("alert", "al1", `{"v":1,"alert":{"id":"al1","rule":"ak.leaked_in_use","severity":"critical","count":3,"account_id":"1000000000000001"},"revision":2}`)
	r.put("action", "a1", fmt.Sprintf(actionRecord, "proposed", "playbook"))
	r.put("notice", "slack/al1", `{"v":1,"dest":"slack","alert":"al1","rule":"ak.leaked_in_use","state":"sent"}`)
	r.put("click", "a1", `{"clicks":[{"by":"slack:UMALLORY","what":"approve","reason":"not among respond.approvers"}]}`)
	r.put("action", "a1", fmt.Sprintf(actionRecord, "approved", "slack:UDAVE"))
	r.put("freeze", "all", `{"frozen":true,"by":"cli:dave"}`)
	r.put("triage", "al1", `{"state":"acknowledged","steps":[{"by":"slack:UDAVE","do":"acknowledge"}]}`)
	r.put("silence", "s1", `{"v":1,"id":"s1","matchers":["rule=ak.created"],"author":"slack:UDAVE","comment":"x"}`)
	r.put("silence", "s1", `{"v":1,"id":"s1","matchers":["rule=ak.created"],"author":"slack:UDAVE","comment":"x","ended_by":"cli:erin"}`)
	last := r.put("action", "a2", `not JSON`)
	r.run(1, last)
	var got []string
	for _, l := range r.lines() {
		e := entryOf(t, l)
		got = append(got, fmt.Sprintf("%d %s %s %s: %s", e.N, e.Kind, e.ID, e.By, e.What))
	}
	want := []string{
		"1 note config host/1: configuration loaded", "2 alert al1 : revision 2", "3 action a1 playbook: proposed", "4 notice slack/al1 : sent",
		"5 click a1 slack:UMALLORY: refused: approve", "6 action a1 slack:UDAVE: approved", "7 freeze all cli:dave: frozen",
		"8 triage al1 slack:UDAVE: acknowledge", "9 silence s1 slack:UDAVE: muted", "10 silence s1 cli:erin: unmuted", "11 action a2 : a record that cannot be read",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	rep, err := r.a.Verify(t.Context(), "")
	if err != nil || !rep.OK() || rep.Entries != 11 || rep.Behind != 0 || rep.Journal.Records != 12 {
		t.Fatalf("%+v %v", rep, err)
	}
	// An earlier head vouches for what was before it.
	if rep, err = r.a.Verify(t.Context(), r.lines()[3].Hash); err != nil || !rep.OK() || !rep.HeadFound {
		t.Fatalf("%+v %v", rep, err)
	}
	if rep, err = r.a.Verify(t.Context(), strings.Repeat("0", 64)); err != nil || rep.OK() {
		t.Fatalf("a head that is not there: %+v %v", rep, err)
	}
}

// A note of rules or of the configuration is told with what changed, however long; of
// other records that long it is said that they are left out.
func TestAuditTellsNotesWhole(t *testing.T) {
	r := newAuditRig(t, Options{})
	words := strings.Repeat("ak.created ", 5900)[:64000]
	long := `{"v":1,"what":"rules changed","by":"host/1","data":{"added":["` + words + `"]}}`
	hidden := `{"v":1,"what":"rules changed","by":"host/1","data":{"added":["` + strings.Repeat("\u202e", 21000) + `"]}}`
	r.put("note", "rules", long)
	r.put("action", "a1", `{"v":1,"state":"done","by":"machine","action":{"id":"a1"},"prior":"`+words+`"}`)
	for range 5 { // together more than one message of the log
		r.put("note", "rules", hidden)
	}
	r.run(1, r.put("note", "rules", long))
	lines := r.lines()
	if len(lines) != 8 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, i := range []int{0, 7} {
		if e := entryOf(t, lines[i]); string(e.Data) != long {
			t.Errorf("of a note of %d bytes it is told %.100s", len(long), e.Data)
		}
	}
	if e := entryOf(t, lines[1]); !strings.Contains(string(e.Data), "left_out") {
		t.Errorf("an action is told with %d bytes", len(e.Data))
	}
	if rep, err := r.a.Verify(t.Context(), ""); err != nil || !rep.OK() {
		t.Errorf("%+v %v", rep, err)
	}
}

// What strangers write is escaped before it is hashed, so that an export can be
// read on a terminal and verified as it is.
func TestAuditHidesNothing(t *testing.T) {
	r := newAuditRig(t, Options{})
	r.run(1, r.put("silence", "s1", "{\"v\":1,\"id\":\"s1\",\"author\":\"slack:UDAVE\",\"comment\":\"gnp\u202ehidden\u200b\"}"))
	var export bytes.Buffer
	for _, l := range r.lines() {
		export.Write(append(l.export(), '\n'))
	}
	if s := export.String(); strings.ContainsAny(s, "\u202e\u200b") || !strings.Contains(s, `gnp\u202ehidden\u200b`) {
		t.Errorf("hidden characters stand in the export: %q", s)
	}
	if rep, err := VerifyExport(&export, ""); err != nil || !rep.OK() {
		t.Errorf("%v, %+v", err, rep)
	}
}

// Whoever is killed, restarted, or runs beside another: each record is told
// once, in order, in one chain.
func TestAuditOnceEach(t *testing.T) {
	r := newAuditRig(t, Options{})
	var seqs []uint64
	for i := range 40 {
		seqs = append(seqs, r.put("action", fmt.Sprintf("a%d", i%7), fmt.Sprintf(actionRecord, "proposed", "playbook")))
		if i == 20 {
			r.run(1, seqs[15])
		}
	}
	r.run(3, seqs[len(seqs)-1])
	r.run(2, seqs[len(seqs)-1]) // nothing more to do
	ls := r.lines()
	if len(ls) != len(seqs) {
		t.Fatalf("%d lines for %d records", len(ls), len(seqs))
	}
	for i, l := range ls {
		if e := entryOf(t, l); e.Seq != seqs[i] || e.N != uint64(i+1) {
			t.Fatalf("line %d tells of record %d, want %d", i, e.Seq, seqs[i])
		}
	}
	if rep, err := r.a.Verify(t.Context(), ""); err != nil || !rep.OK() {
		t.Fatalf("%+v %v", rep, err)
	}
}

// Records that were trimmed before they were read are a line of their own.
func TestAuditSaysWhatItMissed(t *testing.T) {
	r := newAuditRig(t, Options{PerHistory: 2})
	for range 5 {
		r.put("action", "a1", fmt.Sprintf(actionRecord, "proposed", "playbook"))
	}
	r.run(1, 5)
	first := entryOf(t, r.lines()[0])
	if first.Kind != "gap" || !strings.Contains(first.What, "1 to 3") {
		t.Fatalf("%+v", first)
	}
	// What is trimmed after it was told is no break.
	for range 5 {
		r.put("action", "a1", fmt.Sprintf(actionRecord, "approved", "playbook"))
	}
	r.run(1, 10)
	if rep, err := r.a.Verify(t.Context(), ""); err != nil || !rep.OK() {
		t.Fatalf("%+v %v", rep, err)
	}
}

// A journal that was changed behind the program's back does not agree with the
// log any more, even when its own chain was made to fit again.
func TestAuditSeesARewrittenJournal(t *testing.T) {
	r := newAuditRig(t, Options{})
	r.put("action", "a1", fmt.Sprintf(actionRecord, "proposed", "playbook"))
	last := r.put("action", "a1", fmt.Sprintf(actionRecord, "denied", "slack:UDAVE"))
	r.run(1, last)
	// The journal is made anew with another story, as who holds the disk could.
	if err := r.js.DeleteStream(t.Context(), Stream); err != nil {
		t.Fatal(err)
	}
	r.j = open(t, r.js, Options{})
	r.a.j = r.j
	r.put("action", "a1", fmt.Sprintf(actionRecord, "proposed", "playbook"))
	r.put("action", "a1", fmt.Sprintf(actionRecord, "approved", "slack:UDAVE"))
	rep, err := r.a.Verify(t.Context(), "")
	if err != nil || rep.OK() || !strings.Contains(strings.Join(rep.Problems, "\n"), "is not the one that the log tells of") {
		t.Fatalf("%+v %v", rep, err)
	}
	if !rep.Journal.OK() {
		t.Fatalf("its own chain should hold: %+v", rep.Journal)
	}
}

// What is put in behind the program's back, and what was taken away.
func TestAuditSeesWhatWasPutInOrRemoved(t *testing.T) {
	r := newAuditRig(t, Options{})
	r.put("action", "a1", fmt.Sprintf(actionRecord, "proposed", "playbook"))
	last := r.put("action", "a2", fmt.Sprintf(actionRecord, "proposed", "playbook"))
	r.run(1, last)
	if err := r.js.DeleteStream(t.Context(), Stream); err != nil {
		t.Fatal(err)
	}
	r.j = open(t, r.js, Options{})
	r.a.j = r.j
	r.put("action", "a1", fmt.Sprintf(actionRecord, "proposed", "playbook"))
	rep, err := r.a.Verify(t.Context(), "")
	if err != nil || rep.OK() || !strings.Contains(strings.Join(rep.Problems, "\n"), "is gone") {
		t.Fatalf("removed: %+v %v", rep, err)
	}
}

func TestAuditStreamThatIsNotOurs(t *testing.T) {
	js := startServer(t, t.TempDir())
	j := open(t, js, Options{})
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: AuditStream, Subjects: []string{"other.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAudit(t.Context(), j, nil); err == nil {
		t.Fatal("used")
	}
}

// Who raises nats.max_bytes gives the log more room, too: one that was full
// would stay so for ever.
func TestAuditGrowsWithTheJournal(t *testing.T) {
	r := newAuditRig(t, Options{MaxBytes: 64 << 10})
	room := func() int64 { return r.a.stream.CachedInfo().Config.MaxBytes }
	if room() != 32<<10 {
		t.Fatalf("room for %d bytes", room())
	}
	cfg := r.j.stream.CachedInfo().Config
	cfg.MaxBytes = 1 << 20
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	j := open(t, r.js, Options{})
	if _, err := OpenAudit(t.Context(), j, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.a.stream.Info(t.Context()); err != nil || room() != 512<<10 {
		t.Errorf("room for %d bytes, %v", room(), err)
	}
	r.run(1, r.put("action", "a1", fmt.Sprintf(actionRecord, "proposed", strings.Repeat("p", 20<<10))))
}

// The log itself cannot be thinned out through the server.
func TestAuditCannotBeDeleted(t *testing.T) {
	r := newAuditRig(t, Options{})
	r.run(1, r.put("action", "a1", fmt.Sprintf(actionRecord, "proposed", "playbook")))
	if err := r.a.stream.DeleteMsg(t.Context(), 1); err == nil {
		t.Error("a line could be deleted")
	}
	if err := r.a.stream.Purge(t.Context()); err == nil {
		t.Error("the log could be purged")
	}
}

// export makes a chain of n lines without a server.
func export(n int) []AuditLine {
	var b auditBatch
	var t tip
	for i := range n {
		b.add(&t, AuditEntry{Kind: "action", ID: fmt.Sprint("a", i%3), What: "proposed", Seq: uint64(2*i + 1), Sum: strings.Repeat("a", 64)})
	}
	return b.Lines
}

func text(t interface{ Fatal(...any) }, ls []AuditLine) []byte {
	var out bytes.Buffer
	for _, l := range ls {
		b, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(b, '\n'))
	}
	return out.Bytes()
}

// Any one change to an export is seen: a changed byte, a line that was
// removed, put in twice, or moved.
func TestAuditExportIsTight(t *testing.T) {
	whole := export(12)
	if r, err := VerifyExport(bytes.NewReader(text(t, whole)), whole[11].Hash); err != nil || !r.OK() || r.Entries != 12 {
		t.Fatalf("%+v %v", r, err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		ls := append([]AuditLine(nil), whole...)
		i := rapid.IntRange(0, len(ls)-1).Draw(rt, "line")
		var b []byte
		switch rapid.SampledFrom([]string{"byte", "remove", "twice", "swap"}).Draw(rt, "change") {
		case "byte":
			b = text(rt, ls)
			k := rapid.IntRange(0, len(b)-2).Draw(rt, "at")
			if b[k] == '\n' {
				rt.Skip("a blank line is no change")
			}
			b[k] ^= byte(rapid.IntRange(1, 127).Draw(rt, "bits"))
		case "remove":
			if i == 0 || i == len(ls)-1 {
				rt.Skip("a shorter log is what --head is for")
			}
			b = text(rt, append(ls[:i:i], ls[i+1:]...))
		case "twice":
			b = text(rt, append(ls[:i+1:i+1], ls[i:]...))
		case "swap":
			k := rapid.IntRange(0, len(ls)-1).Draw(rt, "with")
			if i == k {
				rt.Skip("no change")
			}
			ls[i], ls[k] = ls[k], ls[i]
			b = text(rt, ls)
		}
		if r, err := VerifyExport(bytes.NewReader(b), whole[11].Hash); err == nil && r.OK() {
			rt.Fatalf("not seen: %s", b)
		}
	})
	if r, err := VerifyExport(strings.NewReader("\n"), ""); err != nil || r.OK() {
		t.Fatalf("an empty log passes: %+v %v", r, err)
	}
	// The end cut off, and all of it made anew: only an earlier head tells.
	if r, _ := VerifyExport(bytes.NewReader(text(t, whole[:8])), whole[11].Hash); r.OK() {
		t.Fatal("a shortened log passes with the head of the whole one")
	}
}

func FuzzVerifyExport(f *testing.F) {
	f.Add([]byte(`{"entry":{"n":1},"prev":"","hash":""}`))
	f.Add(text(f, export(3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _ := VerifyExport(bytes.NewReader(b), "") // must not panic, whatever it says
		if uint64(r.Broken) == 0 && r.Entries > 0 && len(r.Head) != 64 {
			t.Fatalf("fine without a head: %+v", r)
		}
	})
}

// A lost answer of the log's own append is not a second line.
func TestAuditAfterALostAnswer(t *testing.T) {
	r := newAuditRig(t, Options{})
	last := r.put("action", "a1", fmt.Sprintf(actionRecord, "proposed", "playbook"))
	// What a process that died right after its append leaves behind.
	tp, err := r.a.tip(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b auditBatch
	m, err := r.j.stream.GetMsg(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	e := AuditEntry{At: m.Time.UTC(), Kind: "action", ID: "a1", Seq: last, Sum: m.Header.Get(headerSum)}
	e.By, e.What, e.Data = tell("action", m.Data)
	b.add(&tp, e)
	b.Upto = last
	data, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	msg := nats.NewMsg(auditSubject)
	msg.Data = data
	if _, err := r.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	r.run(1, r.put("action", "a2", fmt.Sprintf(actionRecord, "proposed", "playbook")))
	if ls := r.lines(); len(ls) != 2 {
		t.Fatalf("%d lines", len(ls))
	}
	if rep, err := r.a.Verify(t.Context(), ""); err != nil || !rep.OK() {
		t.Fatalf("%+v %v", rep, err)
	}
}

// The tail is the end of all lines, turned round, over message boundaries too.
func TestAuditTail(t *testing.T) {
	r := newAuditRig(t, Options{})
	if got, err := r.a.Tail(t.Context(), 5); err != nil || len(got) != 0 {
		t.Fatalf("of an empty log: %v %v", got, err)
	}
	var last uint64
	for i := range 7 {
		last = r.put("freeze", "all", fmt.Sprintf(`{"frozen":%v,"by":"cli:p%d"}`, i%2 == 0, i))
		r.run(1, last)
	}
	all := r.lines()
	for _, n := range []int{0, 1, 3, len(all), len(all) + 10} {
		got, err := r.a.Tail(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != min(n, len(all)) {
			t.Errorf("asked for %d of %d, got %d", n, len(all), len(got))
		}
		for i, e := range got {
			if want := entryOf(t, all[len(all)-1-i]); e.N != want.N || e.By != want.By {
				t.Errorf("%d of %d: entry %d, want %d", i, n, e.N, want.N)
			}
		}
	}
}

// Somebody deletes the log while nothing is written, and once more while nobody runs.
// Each is told, and the log tells again what the journal still holds.
func TestAuditDeleted(t *testing.T) {
	r := newAuditRig(t, Options{})
	r.run(1, r.put("action", "a1", fmt.Sprintf(actionRecord, "proposed", "playbook")))
	before := r.lines()
	anew := make(chan bool, 8)
	watch := func(a *Audit) (end func()) {
		a.look, a.Anew = 10*time.Millisecond, func() { anew <- true }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan bool)
		go func() { a.Run(ctx); close(done) }()
		return func() { cancel(); <-done }
	}
	end := watch(r.a)
	if err := r.js.DeleteStream(t.Context(), AuditStream); err != nil {
		t.Fatal(err)
	}
	<-anew
	end()
	if err := r.js.DeleteStream(t.Context(), AuditStream); err != nil {
		t.Fatal(err)
	}
	a, err := OpenAudit(t.Context(), r.j, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.a = a
	end = watch(a)
	<-anew
	end()
	r.run(1, 1)
	if after := r.lines(); len(after) != 1 || after[0].Hash != before[0].Hash {
		t.Errorf("%d lines, want the one of before", len(after))
	}
	if rep, err := a.Verify(t.Context(), ""); err != nil || !rep.OK() {
		t.Errorf("%+v, %v", rep, err)
	}
	if again, err := OpenAudit(t.Context(), r.j, nil); err != nil || again.anew {
		t.Errorf("one that is there is not told: %v", err)
	}
}
