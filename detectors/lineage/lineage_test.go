package lineage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/detectors/window"
	"github.com/trailwarden/trailwarden/pipeline/event"
	"github.com/trailwarden/trailwarden/pipeline/snapshot"
)

var t0 = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func by(id, key string, after time.Duration) *event.Event {
	return &event.Event{ID: "e", Time: t0.Add(after), Actor: event.Actor{ID: id, Key: key}}
}

func made(child, of, maker, key string, after time.Duration) *detectors.Birth {
	return &detectors.Birth{Child: child, Of: of, Maker: maker, Key: key, Action: event.ActIAMAccessKeyCreate,
		Event: fmt.Sprintf("e%s-%d", child, after), At: t0.Add(after), Session: strings.Contains(child, "STS.")}
}

const (
	alice = "user/1000000000000001/alice"
	bob   = "user/1000000000000001/bob"
	carol = "user/1000000000000001/carol"
)

func TestTakeover(t *testing.T) {
	s := New(Config{})
	s.Learn(made("key/LTAIbob2", bob, alice, "LTAIalice", 0))
	s.Learn(made(carol, "", bob, "LTAIbob2", 5*time.Minute))
	s.Learn(made("key/STS.1", "role/1000000000000001/r", carol, "LTAIcarol", 10*time.Minute))
	k := s.Of(by("role/1000000000000001/r", "STS.1", 12*time.Minute))
	if k.Root != alice || k.Depth != 3 || k.By != carol || k.ByKey != "LTAIcarol" || k.Age != 2*time.Minute || !k.Known {
		t.Errorf("%+v", k)
	}
	if want := "the key was made by user carol with AccessKey LTAIcarol 2 minutes before"; k.Sentence != want {
		t.Errorf("%q, want %q", k.Sentence, want)
	}
	// Before it was born nothing was known.
	if k := s.Of(by("role/1000000000000001/r", "STS.1", 9*time.Minute)); k.Known || k.Root != "role/1000000000000001/r" || k.Age != -1 {
		t.Errorf("%+v", k)
	}
	// Four days later she is her own.
	if k := s.Of(by(bob, "LTAIbob2", 96*time.Hour)); k.Root != bob || !k.Known || k.By != alice || k.Depth != 0 || k.Made != 1 {
		t.Errorf("%+v", k)
	}
	// By the console she is not the key.
	if k := s.Of(by(bob, "", time.Hour)); k.Known {
		t.Errorf("%+v", k)
	}
	s.Learn(made("login/"+bob, bob, alice, "", time.Hour))
	if k := s.Of(by(bob, "", 2*time.Hour)); k.Root != alice || k.ByKey != "" {
		t.Errorf("%+v", k)
	}
	text, err := json.Marshal(s.Tell(by(bob, "LTAIbob2", time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"chain":[{"action":"iam.accesskey.create","at":"2026-03-01T09:00:00Z","by":"user/1000000000000001/alice","child":"key/LTAIbob2","event_id":"ekey/LTAIbob2-0","of":"user/1000000000000001/bob","with_key":"LTAIalice"}],` +
		`"made":[{"action":"iam.accesskey.create","at":"2026-03-01T09:05:00Z","child":"user/1000000000000001/carol","event_id":"euser/1000000000000001/carol-300000000000"}],"made_total":1,` +
		`"root":"user/1000000000000001/alice","sentence":"the key was made by user alice with AccessKey LTAIalice 1 hour before"}`; string(text) != want {
		t.Errorf("%s\nwant\n%s", text, want)
	}
	if s.Tell(by("user/1/dave", "LTAIdave", time.Hour)) != nil {
		t.Error("a stranger has a lineage")
	}
}

// TestTellOutlivesTheEvent: what is told shares no memory with the event, whose
// record is written over as soon as it is decided.
func TestTellOutlivesTheEvent(t *testing.T) {
	s := New(Config{})
	s.Learn(made(carol, "", bob, "", 0))
	s.Learn(made("key/LTAIx", carol, bob, "LTAIbob", time.Minute))
	for _, id := range []string{bob, carol} { // a maker that nobody made, and one that was made
		memory := []byte(id)
		ev := by(unsafe.String(unsafe.SliceData(memory), len(memory)), "", time.Hour)
		told, k := s.Tell(ev), s.Of(ev)
		before, err := json.Marshal(told)
		if err != nil || told == nil {
			t.Fatal(told, err)
		}
		root, child := strings.Clone(k.Root), strings.Clone(k.Child)
		for i := range memory {
			memory[i] = '#'
		}
		if after, err := json.Marshal(told); err != nil || !bytes.Equal(before, after) || k.Root != root || k.Child != child {
			t.Errorf("%s became %s, %+v (%v)", before, after, k, err)
		}
	}
}

func TestCircle(t *testing.T) {
	s := New(Config{})
	s.Learn(made(alice, "", bob, "", 0))
	s.Learn(made(bob, "", alice, "", 0))
	if k := s.Of(by(alice, "", time.Minute)); k.Root == "" || k.Depth > 2 {
		t.Errorf("%+v", k)
	}
}

// oracle keeps every birth and works each answer out from the definition.
type oracle struct {
	births []*detectors.Birth
	fresh  time.Duration
}

func (o *oracle) born(child string, at time.Time) *detectors.Birth {
	var best *detectors.Birth
	newest := time.Time{}
	for _, b := range o.births {
		if b.Child == child && b.At.After(newest) {
			newest = b.At
		}
	}
	// Of one child the latest birth counts, whatever the event's time.
	for _, b := range o.births {
		if b.Child == child && b.At.Equal(newest) && !b.At.After(at) && (best == nil || b.Event < best.Event) {
			best = b
		}
	}
	return best
}

func (o *oracle) root(ev *event.Event) (root string, first *detectors.Birth, depth int) {
	id, key, at := ev.Actor.ID, ev.Actor.Key, ev.Time
	seen := map[string]bool{}
	for range maxDepth {
		name := "key/" + key
		if key == "" {
			name = "login/" + id
		}
		b := o.born(name, at)
		if b == nil {
			b = o.born(id, at)
		}
		if b == nil || seen[b.Child] {
			break
		}
		seen[b.Child] = true
		if first == nil {
			first = b
		}
		if ev.Time.Sub(b.At) > o.fresh {
			break
		}
		depth++
		id, key, at = b.Maker, b.Key, b.At
	}
	return id, first, depth
}

func (o *oracle) made(ev *event.Event) int {
	all := map[string]bool{}
	for _, b := range o.births {
		if !b.Session && (ev.Actor.Key != "" && b.Key == ev.Actor.Key || ev.Actor.Key == "" && b.Key == "" && b.Maker == ev.Actor.ID) {
			all[b.Child+b.At.String()] = true
		}
	}
	return len(all)
}

func TestPropOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(Config{Fresh: 30 * time.Second})
		o := &oracle{fresh: 30 * time.Second}
		ids := []string{"user/1/a", "user/1/b", "role/1/c"}
		keys := []string{"", "A", "B", "STS.C"}
		for i := range rapid.IntRange(0, 40).Draw(t, "n") {
			at := time.Duration(rapid.IntRange(0, 60).Draw(t, "at")) * time.Second
			id, key := rapid.SampledFrom(ids).Draw(t, "id"), rapid.SampledFrom(keys).Draw(t, "key")
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				snap := s.Snapshot()
				before := s.Stats()
				s = New(Config{Fresh: 30 * time.Second})
				if err := s.Restore(snap); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(snap, s.Snapshot()) || s.Stats() != before {
					t.Fatal("a restored state is another")
				}
			case 1, 2:
				child := rapid.SampledFrom([]string{"key/A", "key/B", "key/STS.C", "user/1/a", "user/1/b", "login/user/1/a"}).Draw(t, "child")
				if child == id {
					continue
				}
				b := made(child, "", id, key, at)
				b.Event = fmt.Sprintf("e%02d", i)
				s.Learn(b)
				o.births = append(o.births, b)
			default:
				ev := by(id, key, at)
				root, first, depth := o.root(ev)
				k := s.Of(ev)
				if k.Root != root || k.Known != (first != nil) || k.Depth != depth || k.Made != min(o.made(ev), k.Made+maxChildren) {
					t.Fatalf("step %d, %s with %q at %s: got %+v, want root %s, depth %d, %v, made %d", i, id, key, at, k, root, depth, first, o.made(ev))
				}
				if first != nil && (k.By != first.Maker || k.ByKey != first.Key || k.Child != first.Child || k.Age != ev.Time.Sub(first.At)) {
					t.Fatalf("step %d: got %+v, want %+v", i, k, first)
				}
				if o.made(ev) != k.Made {
					t.Fatalf("step %d: %d made, want %d", i, k.Made, o.made(ev))
				}
			}
		}
	})
}

// TestPropOrder: what is known does not depend on the order in which births
// are told.
func TestPropOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []*detectors.Birth
		for i := range rapid.IntRange(1, 12).Draw(t, "n") {
			b := made(rapid.SampledFrom([]string{"key/A", "key/B", "user/1/b"}).Draw(t, "child"), "", rapid.SampledFrom([]string{"user/1/a", "user/1/c"}).Draw(t, "by"),
				rapid.SampledFrom([]string{"", "A"}).Draw(t, "key"), time.Duration(rapid.IntRange(0, 3).Draw(t, "at"))*time.Minute)
			b.Event = fmt.Sprint("e", i)
			list = append(list, b)
		}
		x, y := New(Config{}), New(Config{})
		for _, b := range list {
			x.Learn(b)
		}
		for _, b := range rapid.Permutation(list).Draw(t, "order") {
			y.Learn(b)
		}
		for _, ev := range []*event.Event{by("user/1/b", "A", time.Hour), by("user/1/b", "", time.Hour), by("user/1/a", "B", 2*time.Minute)} {
			if a, b := x.Of(ev), y.Of(ev); a != b {
				t.Fatalf("%+v\n%+v", a, b)
			}
		}
	})
}

func TestBounds(t *testing.T) {
	s := New(Config{MaxKeys: 10})
	for i := range 100 {
		s.Learn(made(fmt.Sprintf("key/K%03d", i), bob, alice, fmt.Sprint("M", i%20), time.Duration(i)*time.Second))
		s.Learn(made(fmt.Sprintf("key/STS.%03d", i), bob, alice, "", time.Duration(i)*time.Second))
	}
	if st := s.Stats(); st.Keys != 20 || st.Evicted != 90+90+90 {
		t.Errorf("%+v", st)
	}
	if k := s.Of(by(bob, "K005", time.Hour)); k.Known {
		t.Error("what was evicted is known")
	}
	s.Advance(t0.Add(48 * time.Hour))
	if s.sessions.Len() != 0 || s.lasting.Len() != 10 {
		t.Error("sessions are kept for ever, or keys are not")
	}
	long := New(Config{})
	for i := range 100 {
		long.Learn(made(fmt.Sprintf("key/K%03d", i), strings.Repeat("x", 10_000), alice, "", time.Duration(i)*time.Second))
	}
	if m := long.makers.Get(alice); len(m.State.newest) != maxChildren || m.State.total != 100 || m.State.newest[0].name != "key/K084" || len(m.State.newest[0].of) > window.MaxKey {
		t.Errorf("%d children of %d", len(m.State.newest), m.State.total)
	}
}

func TestBirthOf(t *testing.T) {
	parse := func(service, name, params, response, more string) *event.Event {
		ev, err := event.Parse([]byte(`{"eventId":"e1","eventTime":"2026-03-01T09:00:00Z","serviceName":"` + service + `","eventName":"` + name + `","recipientAccountId":"1000000000000001",` +
			`"userIdentity":{"type":"ram-user","accountId":"1000000000000001","userName":"alice","accessKeyId":"LTAI5tEXAMPLEalice00001"},"requestParameters":` + params + `,"responseElements":` + response + more + `}`))
		if err != nil {
			t.Fatal(err)
		}
		return ev
	}
	for _, x := range []struct {
		ev   *event.Event
		want string
	}{
		{parse("Ram", "CreateAccessKey", `{"UserName":"bob"}`, `{"AccessKey":{"AccessKeyId":"LTAI5tEXAMPLEbob0000001"}}`, ""), "key/LTAI5tEXAMPLEbob0000001 of user/1000000000000001/bob"},
		{parse("Ram", "CreateAccessKey", `{"UserName":"bob"}`, `{}`, ""), ""},
		{parse("Ram", "CreateAccessKey", `{"UserName":"bob"}`, `{"AccessKey":{"AccessKeyId":"LTAI***"}}`, ""), ""},
		{parse("Ram", "CreateAccessKey", `{"UserName":"bob"}`, `{}`, `,"errorCode":"NoPermission"`), ""},
		{parse("Ims", "CreateUser", `{"UserPrincipalName":"bob@x.onaliyun.com"}`, `{}`, ""), "user/1000000000000001/bob of "},
		{parse("Ram", "CreateLoginProfile", `{"UserName":"bob"}`, `{}`, ""), "login/user/1000000000000001/bob of user/1000000000000001/bob"},
		{parse("Ram", "UpdateLoginProfile", `{"UserName":"alice"}`, `{}`, ""), ""},
		{parse("Sts", "AssumeRole", `{"RoleArn":"acs:ram::1000000000000001:role/r"}`, `{"Credentials":{"AccessKeyId":"STS.EXAMPLE1"}}`, ""), "key/STS.EXAMPLE1 of role/1000000000000001/r session"},
		{parse("Ram", "ListUsers", `{}`, `{}`, ""), ""},
	} {
		got := ""
		if b := detectors.BirthOf(x.ev); b != nil {
			got = b.Child + " of " + b.Of
			if b.Session {
				got += " session"
			}
			if b.Maker != alice || b.Key != "LTAI5tEXAMPLEalice00001" || b.Event != "e1" {
				t.Errorf("%+v", b)
			}
		}
		if got != x.want {
			t.Errorf("%s: %q, want %q", x.ev.Name, got, x.want)
		}
	}
}

func TestMeasuredSize(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := New(Config{})
	for i := range 20_000 {
		b := made(fmt.Sprintf("key/LTAI5tEXAMPLE%010d", i), fmt.Sprintf("user/1000000000000001/u%05d", i), fmt.Sprintf("user/1000000000000001/m%05d", i%5000), fmt.Sprintf("LTAI5tEXAMPLE%010d", i%5000), 0)
		b.Event = fmt.Sprintf("3A5C1B2E-0000-4000-8000-%012d", i)
		s.Learn(b)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	st, heap := s.Stats(), int(after.HeapAlloc)-int(before.HeapAlloc)
	t.Logf("%d bytes a birth by estimate, %d on the heap", st.Bytes/st.Keys, heap/st.Keys)
	if st.Bytes < heap*7/10 || st.Bytes > heap*2 {
		t.Errorf("the estimate of %d bytes is far from the %d measured", st.Bytes, heap)
	}
}

func FuzzRestore(f *testing.F) {
	s := New(Config{})
	for i := range 6 {
		s.Learn(made(fmt.Sprint("key/", i), bob, alice, slices.Repeat([]string{"", "A"}, 3)[i], time.Duration(i)*time.Second))
		s.Learn(made(fmt.Sprint("key/STS.", i), bob, alice, "", time.Duration(i)*time.Second))
	}
	f.Add(s.Snapshot())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, body := range [][]byte{data, snapshot.Reseal(data)} {
			s := New(Config{})
			if err := s.Restore(body); err != nil {
				if s.Stats().Keys != 0 {
					t.Fatal("a refused snapshot left state")
				}
				continue
			}
			s.Learn(made("key/x", bob, alice, "", time.Hour))
			s.Of(by(alice, "", time.Hour))
			s.Tell(by(alice, "", time.Hour))
			if err := New(Config{}).Restore(s.Snapshot()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
