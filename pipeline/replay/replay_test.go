package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trailwarden/trailwarden/detectors"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/event"
)

func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%05d", prefix, i)
	}
	return out
}

// TestShapes: the same events come out of every shape that a file can have.
func TestShapes(t *testing.T) {
	r := recs("e", 0, 300)
	pretty := func(s string) string {
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(s), "", "  "); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	sls := make([]string, len(r))
	for i := range r {
		q, err := json.Marshal(r[i])
		if err != nil {
			t.Fatal(err)
		}
		sls[i] = `{"__topic__":"actiontrail_audit_event","__time__":1,"event":` + string(q) + `}`
	}
	lookup := `{"RequestId":"R","NextToken":"x","Events":` + array(r) + `,"StartTime":"a {]","EndTime":"b"}`
	reversed := slices.Clone(r)
	slices.Reverse(reversed)
	var each []string
	for _, x := range r {
		each = append(each, pretty(x))
	}
	want := ids("e", 300)
	for name, files := range map[string]map[string]string{
		"lines":                 {"a.ndjson": lines(r)},
		"lines, no end":         {"a.jsonl": strings.TrimSuffix(lines(r), "\n")},
		"lines, CRLF, gaps":     {"a.jsonl": "\r\n\r\n" + strings.ReplaceAll(lines(r), "\n", "\r\n \r\n")},
		"lines, BOM":            {"a.jsonl": "\xef\xbb\xbf" + lines(r)},
		"array":                 {"a.json": array(r)},
		"array, pretty, BOM":    {"a.json": "\xef\xbb\xbf\n" + pretty(array(r))},
		"array after array":     {"a.json": array(r[:100]) + "\n" + array(r[100:])},
		"pretty objects":        {"a.json": strings.Join(each, "\n")},
		"lookup":                {"a.json": lookup},
		"lookup, pretty":        {"a.json": pretty(lookup)},
		"lookup after lookup":   {"a.json": `{"Events":` + array(r[:50]) + `}` + "\n" + `{"Events":` + array(r[50:]) + `,"NextToken":"{"}`},
		"lookup, lines":         {"a.json": `{"Events":` + array(r[:50]) + "}\n" + `{"Events":` + array(r[50:]) + "}\n"},
		"lookup, newest first":  {"a.json": `{"Events":` + array(reversed) + `}`},
		"lines, newest first":   {"a.jsonl": lines(reversed)},
		"sls lines":             {"a.jsonl": lines(sls)},
		"sls array":             {"a.json": array(sls)},
		"mixed containers":      {"a.jsonl": r[0] + "\n" + array(r[1:50]) + "\n" + `{"Events":` + array(r[50:100]) + "}\n" + lines(sls[100:])},
		"gzip lines":            {"a.jsonl.gz": packGzip(t, lines(r))},
		"gzip in two members":   {"a.jsonl.gz": packGzip(t, lines(r[:7])) + packGzip(t, lines(r[7:]))},
		"zstd array":            {"a.json.zst": packZstd(t, array(r))},
		"packing by content":    {"a.json": packZstd(t, lines(r))},
		"names do not count":    {"a.jsonl": array(r)},
		"two halves":            {"b.json": array(r[:150]), "a.json": array(r[150:])},
		"odd and even":          {"a.json": array(odd(r, 0)), "x/b.jsonl.gz": packGzip(t, lines(odd(r, 1)))},
		"a region each":         {"AliyunLogs/Actiontrail/cn-beijing/2026/01/05/a.gz": packGzip(t, array(odd(r, 0))), "AliyunLogs/Actiontrail/cn-hangzhou/2026/01/05/a.gz": packGzip(t, array(odd(r, 1)))},
		"pages, newest first":   {"p1.json": `{"Events":` + array(reversed[:100]) + `}`, "p2.json": `{"Events":` + array(reversed[100:200]) + `}`, "p3.json": `{"Events":` + array(reversed[200:]) + `}`},
		"with an empty file":    {"a.json": array(r), "b.json": "", "c.jsonl": "\n\n", "d.json": "[]"},
		"other files in folder": {"a.json": array(r), "README.md": "hello", "x.tar.gz": "no", ".hidden.json": "no", ".git/x.json": "no"},
	} {
		for _, block := range []int{512, 64 << 10} {
			dir := write(t, files)
			res, parked, order := play(t, RunConfig{Engine: detectors.EngineConfig{Grace: time.Second}, Options: Options{BlockSize: block}}, dir)
			if s := res.Stats; s.Records != 300 || s.Events != 300 || s.Late != 0 || s.Duplicates != 0 || len(s.FilesFailed) != 0 || s.ByRule["user.created"] != 30 || s.ByRule["order"] != 6 {
				t.Errorf("%s, block %d: %+v", name, block, s)
			}
			if len(parked) > 0 {
				t.Errorf("%s, block %d: parked %v", name, block, parked)
			}
			if !slices.Equal(order, want) {
				t.Errorf("%s, block %d: order is wrong, begins %v", name, block, order[:min(5, len(order))])
			}
		}
	}
}

func odd(r []string, rest int) (out []string) {
	for i, s := range r {
		if i%2 == rest {
			out = append(out, s)
		}
	}
	return out
}

// TestCopiesDiffer: of copies of an event that are not the same, which one
// counts does not depend on the order in which the files are named.
func TestCopiesDiffer(t *testing.T) {
	plain := lines(recs("e", 0, 100))
	dir := write(t, map[string]string{"a": strings.ReplaceAll(plain, `"userName":"user`, `"userName":"anna`), "b": strings.ReplaceAll(plain, `"userName":"user`, `"userName":"ben`), "c": plain})
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	for _, paths := range [][]string{{a, b, c}, {c, b, a}, {b, a, c}, {c, a, b}} {
		res, _, _ := play(t, RunConfig{}, paths...)
		for _, al := range found(t, &res) {
			if al.Rule == "user.created" && !strings.Contains(al.Reason, "anna") {
				t.Errorf("%v: %s", paths, al.Reason)
				break
			}
		}
		if s := res.Stats; s.Duplicates != 200 || s.Events != 100 {
			t.Errorf("%+v", s)
		}
	}
}

// TestDeterminism: the result does not depend on workers, processors or
// block sizes.
func TestDeterminism(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	files := map[string]string{"bad.jsonl": "{\"a\n" + lines(recs("z", 100, 20))}
	for i := range 9 {
		r := recs(fmt.Sprintf("f%d", i), i*37, 200)
		slices.SortFunc(r[50:60], func(a, b string) int { return strings.Compare(b, a) }) // a little out of order
		files[fmt.Sprintf("f%d.jsonl.gz", i)] = packGzip(t, lines(r))
	}
	files["dup.jsonl"] = lines(recs("f3", 3*37, 200))
	dir := write(t, files)
	var want string
	for _, procs := range []int{1, 2, 4} {
		runtime.GOMAXPROCS(procs)
		for _, workers := range []int{1, 3, 8} {
			for _, block := range []int{700, 4096, 256 << 10} {
				res, parked, order := play(t, RunConfig{Workers: workers, Options: Options{BlockSize: block}, Engine: detectors.EngineConfig{Grace: time.Second}}, dir)
				res.Stats.Seconds, res.Stats.PeakRSSBytes = 0, 0
				res.Stats.BytesRead, res.Stats.BytesDecoded = 0, 0
				b, err := json.Marshal([]any{res, parked, order})
				if err != nil {
					t.Fatal(err)
				}
				if want == "" {
					want = string(b)
					if res.Stats.Events != 9*200+20 || res.Stats.Duplicates != 200 || res.Stats.Parked != 1 {
						t.Fatalf("%+v", res.Stats)
					}
				} else if string(b) != want {
					t.Fatalf("%d processors, %d workers, blocks of %d: another result\n%.400s\n%.400s", procs, workers, block, b, want)
				}
			}
		}
	}
}

func TestParked(t *testing.T) {
	good := recs("e", 0, 4)
	big := `{"eventName":"x","pad":"` + strings.Repeat("y", 10<<20) + `"}`
	for name, c := range map[string]struct {
		file   string
		parked []string
		events int64
		failed string
	}{
		"rubbish lines": {good[0] + "\nhello \"world\n{\"a\":\n\x00\x01\x02\n[1]\n" + lines(good[1:]),
			[]string{"a#2 not-json", "a#3 truncated", "a#4 binary", "a#5 not-an-event"}, 4, ""},
		"rubbish first":    {"hello\n" + lines(good), []string{"a#1 not-json"}, 4, ""},
		"cut first line":   {`{"eventId":"1","eventNa` + "\n" + lines(good), []string{"a#1 truncated"}, 4, ""},
		"cut at a value":   {`{"eventId":"1","n":12` + "\n" + lines(good), []string{"a#1 truncated"}, 4, ""},
		"rubbish in array": {"[" + good[0] + `,12,"x, y",nonsense,` + good[1] + "," + good[2] + `,{"eventName":"x","eventTime":"never"},` + good[3] + "]", []string{"a#2 not-an-event", "a#3 not-an-event", "a#4 not-json", "a#7 bad-time"}, 4, ""},
		"10 MB line":       {good[0] + "\n" + big + "\n" + lines(good[1:]), []string{"a#2 too-large"}, 4, ""},
		"10 MB last line":  {lines(good) + big, []string{"a#5 too-large"}, 4, ""},
		"10 MB element":    {"[" + good[0] + "," + big + "," + strings.Join(good[1:], ",") + "]", []string{"a#2 too-large"}, 4, ""},
		"6 MB element":     {"[" + good[0] + "," + big[:6<<20] + `"},` + strings.Join(good[1:], ",") + "]", []string{"a#2 too-large"}, 4, ""},
		"broken array":     {"[" + good[0] + "," + good[1] + `,{"eventName":"CreateUs`, []string{"a#3 truncated"}, 2, "breaks off"},
		"array, no end":    {"[" + good[0] + "," + good[1] + ",", nil, 2, "breaks off"},
		"never-ending":     {`[` + good[0] + `,{"a":[` + strings.Repeat("[", 9<<20), []string{"a#2 too-large"}, 1, "breaks off"},
		"half a line":      {lines(good) + `{"eventName":`, []string{"a#5 truncated"}, 4, ""},
		"deep":             {lines(good) + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "\n", []string{"a#5 too-deep"}, 4, ""},
		"UTF-16":           {"\xff\xfe{\x00", nil, 0, "UTF-16"},
		"archive twice":    {packGzip(t, packGzip(t, lines(good))), nil, 0, "inside an archive"},
		"cut gzip":         {packGzip(t, lines(recs("e", 0, 2000)))[:9000], nil, -1, "breaks off"},
		"cut zstd":         {packZstd(t, lines(recs("e", 0, 20000)))[:60000], nil, -1, "breaks off"},
		"damaged gzip":     {flip(packGzip(t, lines(recs("e", 0, 2000))), 5000), nil, -1, "damaged"},
		"gzip header only": {"\x1f\x8b", nil, 0, "breaks off"},
	} {
		dir := write(t, map[string]string{"a": c.file, "b": rec("last", 999, "GetUser")})
		res, parked, _ := play(t, RunConfig{}, filepath.Join(dir, "a"), filepath.Join(dir, "b"))
		s := res.Stats
		if c.events >= 0 && !slices.Equal(parked, c.parked) || int(s.Parked) != len(parked) {
			t.Errorf("%s: parked %v, want %v", name, parked, c.parked)
		}
		if c.events >= 0 && s.Events != c.events+1 || c.events < 0 && s.Events < 50 {
			t.Errorf("%s: %d events", name, s.Events)
		}
		if s.Records != s.Events+s.Duplicates+s.Parked {
			t.Errorf("%s: the sum is wrong: %+v", name, s)
		}
		failed := ""
		for _, f := range s.FilesFailed {
			failed += f.Error
		}
		if (failed != "") != (c.failed != "") || !strings.Contains(failed, c.failed) {
			t.Errorf("%s: failed %q, want %q", name, failed, c.failed)
		}
	}
}

func flip(s string, at int) string {
	b := []byte(s)
	for i := range 40 {
		b[at+i] ^= 0xff
	}
	return string(b)
}

func TestDeliveryNames(t *testing.T) {
	r := recs("e", 0, 12)
	name := func(n int) string {
		return fmt.Sprintf("Actiontrail_cn-hangzhou_20260105080500_1002_%d_4567_0123456789abcdef0123456789abcdef.gz", n)
	}
	dir := write(t, map[string]string{
		"AliyunLogs/Actiontrail/cn-hangzhou/2026/01/05/" + name(12): packGzip(t, array(r)),
		"AliyunLogs/Actiontrail/cn-beijing/2026/01/05/" + name(13):  packGzip(t, array(recs("f", 5, 12))),
	})
	res, _, _ := play(t, RunConfig{}, dir)
	if s := res.Stats; s.Events != 24 || s.FilesRead != 2 || len(s.FilesFailed) != 1 || !strings.Contains(s.FilesFailed[0].Error, "13 events by name, 12 inside") ||
		!strings.Contains(s.FilesFailed[0].Path, "cn-beijing") {
		t.Errorf("%+v", s)
	}
	for name, want := range map[string]int{
		name(0): 0, "x/" + name(7): 7, "Actiontrail_cn-hangzhou_20260105080500_1002_x_4567_0123456789abcdef0123456789abcdef.gz": -1, "a.gz": -1, "Actiontrail.json": -1,
	} {
		if got := nameCount(name); got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// TestBombs: what unpacks to far more than it is packed is refused early.
func TestBombs(t *testing.T) {
	spaces := strings.Repeat(" ", 8<<20)
	for name, data := range map[string]string{"gzip": packGzip(t, lines(recs("e", 0, 20))+spaces), "zstd": packZstd(t, lines(recs("e", 0, 20))+spaces)} {
		dir := write(t, map[string]string{"a": data, "b": rec("b", 0, "GetUser")})
		res, _, _ := play(t, RunConfig{Options: Options{RatioFloor: 1 << 20}}, filepath.Join(dir, "a"), filepath.Join(dir, "b"))
		s := res.Stats
		if len(s.FilesFailed) != 1 || !strings.Contains(s.FilesFailed[0].Error, "200 times") || s.BytesDecoded > 4<<20 {
			t.Errorf("%s: %+v", name, s)
		}
		// Above the floor only: small files may be as regular as they like.
		if res, _, _ := play(t, RunConfig{}, filepath.Join(dir, "a")); len(res.Stats.FilesFailed) != 0 || res.Stats.Events != 20 {
			t.Errorf("%s: %+v", name, res.Stats)
		}
	}
	dir := write(t, map[string]string{"a": lines(recs("e", 0, 2000))})
	res, _, _ := play(t, RunConfig{Options: Options{MaxDecoded: 100 << 10, BlockSize: 4096}}, filepath.Join(dir, "a"))
	if s := res.Stats; len(s.FilesFailed) != 1 || !strings.Contains(s.FilesFailed[0].Error, "total") || s.Events == 0 || s.Events > 400 {
		t.Errorf("total: %+v", s)
	}
	// A window that would need 1 GiB, from its header alone.
	window := "\x28\xb5\x2f\xfd\x00\xa0" + strings.Repeat("\x00", 40)
	dir = write(t, map[string]string{"a": window, "b": rec("b", 0, "GetUser")})
	res, _, _ = play(t, RunConfig{}, dir+"/a", dir+"/b")
	if s := res.Stats; len(s.FilesFailed) != 1 || !strings.Contains(s.FilesFailed[0].Error, "window") {
		t.Errorf("window: %+v", s.FilesFailed)
	}
}

func TestNothing(t *testing.T) {
	dir := write(t, map[string]string{"README.md": "x"})
	for _, paths := range [][]string{{}, {dir}, {filepath.Join(dir, "none")}} {
		res, err := Run(context.Background(), paths, RunConfig{Rules: newTestSet()})
		if !errors.Is(err, ErrNothing) || res.Stats.Schema != StatsSchema {
			t.Errorf("%v: %v", paths, err)
		}
	}
	if _, err := Run(context.Background(), []string{filepath.Join(dir, "none")}, RunConfig{Rules: newTestSet()}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestStdin(t *testing.T) {
	in := packGzip(t, lines(recs("e", 0, 5)))
	res, _, _ := play(t, RunConfig{Options: Options{Stdin: strings.NewReader(in)}}, "-")
	if s := res.Stats; s.Events != 5 || s.BytesRead != int64(len(in)) || s.FilesRead != 1 {
		t.Errorf("%+v", s)
	}
	// A run that waits for input can be cancelled.
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := Run(ctx, []string{"-"}, RunConfig{Rules: newTestSet(), Options: Options{Stdin: r}})
		done <- err
	}()
	if _, err := w.Write([]byte(rec("x", 0, "GetUser") + "\n")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_ = w.Close() // lets the reader that was given up end
}

// TestCancel: a run that is stopped ends with what it found and names what it
// did not read.
func TestCancel(t *testing.T) {
	dir := write(t, map[string]string{"a.jsonl": lines(recs("e", 0, 5000)), "b.jsonl": lines(recs("f", 10_000, 5000))})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	set := newTestSet()
	set.order.every = func(int) { cancel() }
	res, err := Run(ctx, []string{dir}, RunConfig{Rules: set, Options: Options{BlockSize: 2048}})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s := res.Stats
	if s.Events == 0 || s.Events > 9000 || len(found(t, &res)) == 0 || s.FirstEvent == nil || s.FilesRead != 1 {
		t.Errorf("%d alerts, %+v", s.Alerts, s)
	}
	if s.FilesPart != 1 || s.FilesFound() != 2 || s.FilesWhole() != 0 {
		t.Errorf("%+v", s)
	}
	if int64(len(set.order.ids)) != s.Events {
		t.Errorf("%d of %d events were decided", len(set.order.ids), s.Events)
	}
	if len(s.FilesFailed) != 2 || !strings.Contains(s.FilesFailed[0].Error, "the run was stopped after ") || s.FilesFailed[1].Error != "the run was stopped before it was read" {
		t.Errorf("%+v", s.FilesFailed)
	}
}

func TestFilters(t *testing.T) {
	dir := write(t, map[string]string{"a.jsonl": lines(recs("e", 0, 70))})
	at := func(sec int) time.Time { return t0.Add(time.Duration(sec) * time.Second) }
	for i, c := range []struct {
		cfg  RunConfig
		want int64
	}{
		{RunConfig{}, 70}, {RunConfig{From: at(60)}, 10}, {RunConfig{To: at(60)}, 60}, {RunConfig{From: at(10), To: at(20)}, 10},
	} {
		res, _, _ := play(t, c.cfg, dir)
		if s := res.Stats; s.Events != c.want || s.Records != 70 || s.Filtered != 70-c.want {
			t.Errorf("%d: %d events, want %d: %+v", i, s.Events, c.want, s)
		}
		var first, last *time.Time // of what was left out
		for sec := range 70 {
			if e := at(sec); !c.cfg.From.IsZero() && e.Before(c.cfg.From) || !c.cfg.To.IsZero() && !e.Before(c.cfg.To) {
				if first == nil {
					first = &e
				}
				last = &e
			}
		}
		if s := res.Stats; !reflect.DeepEqual(s.FilteredFirst, first) || !reflect.DeepEqual(s.FilteredLast, last) {
			t.Errorf("%d: left out %v to %v, want %v to %v", i, s.FilteredFirst, s.FilteredLast, first, last)
		}
	}
}

// TestTrail: everything is evaluated whatever the entity; its own events are
// counted.
func TestTrail(t *testing.T) {
	r := recs("e", 0, 70)
	made := `{"eventId":"made","eventName":"CreateAccessKey","serviceName":"Ram","eventTime":"2026-01-05T09:30:00Z","recipientAccountId":"` + acct + `","sourceIpAddress":"203.0.113.99",` +
		`"userIdentity":{"type":"ram-user","accountId":"` + acct + `","principalId":"1","userName":"user3","accessKeyId":"LTAI5tEXAMPLEuser300001"},` +
		`"requestParameters":{"UserName":"user5"},"responseElements":{"AccessKey":{"AccessKeyId":"LTAI5tEXAMPLEmade000001"}}}`
	dir := write(t, map[string]string{"a.jsonl": lines(append(r, made))})
	for _, c := range []struct {
		entity string
		want   int64
	}{
		{"user3", 11}, {"user/" + acct + "/USER3", 11}, {acct, 71}, {"203.0.113.5", 1}, {" nobody ", 0}, {"x", 7}, {"e-00004", 1}, {"LTAI5tEXAMPLEmade000001", 1}, {"user5", 11},
	} {
		for _, workers := range []int{1, 3} {
			res, _, _ := play(t, RunConfig{Entity: c.entity, Workers: workers, Options: Options{BlockSize: 1500}}, dir)
			if res.Trail == nil || res.Trail.Events != c.want || res.Stats.Events != 71 || res.Stats.Filtered != 0 {
				t.Errorf("%s: %+v, want %d; %+v", c.entity, res.Trail, c.want, res.Stats)
			}
		}
	}
	res, _, _ := play(t, RunConfig{Entity: "user3"}, dir)
	tr := res.Trail
	if tr.By != 11 || tr.Attempts != 0 || tr.Identities[0].Word != "user/"+acct+"/user3" || tr.Identities[0].Count != 11 || len(tr.Keys) != 1 || len(tr.Addresses) != 11 {
		t.Errorf("%+v", tr)
	}
	// One step each, since the address is another one each time; the key that
	// was made is what it made.
	if len(tr.Steps) != 11 || tr.Steps[10].Action != "Ram:CreateAccessKey" || tr.Steps[10].Count != 1 || tr.Steps[10].EventID != "made" || tr.StepsCut != 0 {
		t.Errorf("%+v", tr.Steps)
	}
	// Of more than there is room for, what alerts rest on, then changes, then the rare.
	if got := tr.Telling(2, []alert.Alert{{EventIDs: []string{tr.Steps[4].EventID}}}); len(got) != 2 || got[0].EventID != tr.Steps[4].EventID && got[1].EventID != tr.Steps[4].EventID {
		t.Errorf("%+v", got)
	}
	if got := tr.Telling(99, nil); len(got) != 11 || got[10].EventID != "made" {
		t.Errorf("%+v", got)
	}
	if h := tr.Hours(); h[8] != 10 || h[9] != 1 {
		t.Errorf("%v", h)
	}
	if n := len(tr.Offspring); n == 0 || tr.Offspring[n-1].Child != "key/LTAI5tEXAMPLEmade000001" || tr.Offspring[n-1].WithKey != "LTAI5tEXAMPLEuser300001" || tr.Offspring[n-1].Depth != 1 {
		t.Errorf("%+v", tr.Offspring)
	}
	last := tr.Made[len(tr.Made)-1]
	if last.EventID != "made" || last.Key != "LTAI5tEXAMPLEmade000001" || last.Action != "Ram:CreateAccessKey" || last.Target != "user/"+acct+"/user5" {
		t.Errorf("%+v", tr.Made)
	}
	if h := tr.Histogram(tr.First, tr.Last, 2); h[0] != 10 || h[1] != 1 {
		t.Errorf("%v", h)
	}
	var about []string
	for _, a := range found(t, &res) {
		if tr.Concerns(&a) {
			about = append(about, a.ID)
		}
	}
	if len(about) == 0 || int64(len(about)) == res.Stats.Alerts {
		t.Errorf("%d of %d alerts", len(about), res.Stats.Alerts)
	}
	if res, _, _ := play(t, RunConfig{}, dir); res.Trail != nil {
		t.Error("a trail of nobody")
	}
}

// TestWarm: events before the time asked for are evaluated and not told about.
func TestWarm(t *testing.T) {
	dir := write(t, map[string]string{"a.jsonl": lines(recs("e", 0, 200))})
	res, _, order := play(t, RunConfig{From: t0.Add(150 * time.Second), Warm: 100 * time.Second, Entity: "user3"}, dir)
	if res.Stats.Events != 150 || len(order) != 150 || res.Trail.Events != 8 {
		t.Errorf("%+v, %d observed, %+v", res.Stats, len(order), res.Trail)
	}
	for _, a := range found(t, &res) {
		if a.Time.Before(t0.Add(150 * time.Second)) {
			t.Errorf("%s at %s", a.Rule, a.Time)
		}
	}
}

// TestCoverage: hours without an event are named where there are events in
// most hours, by account and region.
func TestCoverage(t *testing.T) {
	var r []string
	add := func(account, region string, hours ...int) {
		for _, h := range hours {
			r = append(r, fmt.Sprintf(`{"eventId":"%s-%s-%d","eventName":"GetUser","serviceName":"Ram","acsRegion":%q,"eventTime":%q,"recipientAccountId":%q}`,
				account, region, h, region, t0.Add(time.Duration(h)*time.Hour+7*time.Minute).Format(time.RFC3339), account))
		}
	}
	add("1", "cn-hangzhou", 0, 1, 2, 5, 6, 7, 8, 9)
	add("1", "cn-beijing", 0, 1, 2, 5, 7, 8)
	add("1", "eu-central-1", 0, 9) // used twice a day: no gaps
	add("2", "", 0, 1, 2, 3)
	slices.SortStableFunc(r, func(a, b string) int {
		at := func(s string) string { _, s, _ = strings.Cut(s, `"eventTime":"`); return s[:20] }
		return strings.Compare(at(a), at(b))
	})
	dir := write(t, map[string]string{"a.jsonl": lines(r)})
	hour := func(from, to int) Gap {
		return Gap{From: t0.Add(time.Duration(from) * time.Hour), To: t0.Add(time.Duration(to) * time.Hour)}
	}
	var want []Cover
	for _, workers := range []int{1, 4} {
		res, _, _ := play(t, RunConfig{Workers: workers, Options: Options{BlockSize: 600}}, dir)
		var got []string
		for _, c := range res.Coverage {
			got = append(got, fmt.Sprint(c.Account, "/", c.Region, " ", c.Events, " ", c.Gaps))
		}
		expect := []string{
			fmt.Sprint("1/ 16 ", []Gap{hour(3, 5)}), // of the whole account: not repeated below
			fmt.Sprint("1/cn-beijing 6 ", []Gap{hour(6, 7)}),
			"1/cn-hangzhou 8 []", "1/eu-central-1 2 []",
			fmt.Sprint("2/ 4 ", []Gap{hour(4, 9)}), // while the other one goes on
		}
		if !slices.Equal(got, expect) {
			t.Errorf("got %q\nwant %q", got, expect)
		}
		if want == nil {
			want = res.Coverage
		} else if fmt.Sprint(want) != fmt.Sprint(res.Coverage) {
			t.Error("the coverage depends on the number of workers")
		}
		if h := res.Histogram(10); h[0] != 4 || h[3] != 1 || h[4] != 0 {
			t.Errorf("%v", h)
		}
	}
}

// TestGaps: one event of a bad clock hides no gap, a long outage between two
// busy stretches is one, and where too little happens to tell, that is said.
func TestGaps(t *testing.T) {
	span := func(from, to int64) (out []int64) {
		for h := from; h < to; h++ {
			out = append(out, h)
		}
		return out
	}
	cat := func(l ...[]int64) []int64 { return slices.Concat(l...) }
	for name, c := range map[string]struct {
		seen   []int64
		whole  bool
		want   string // from-to, in hours
		sparse bool
	}{
		"nothing":                  {nil, true, "", false},
		"one hour":                 {span(5, 6), true, "", false},
		"all":                      {span(0, 50), true, "", false},
		"a hole":                   {cat(span(0, 20), span(22, 40)), true, "20-22", false},
		"one of two":               {cat(span(0, 1), span(2, 3)), true, "1-2", false},
		"a hole, a clock ahead":    {cat(span(0, 20), span(22, 40), span(700_000, 700_001)), true, "20-22", false},
		"a hole, a clock behind":   {cat(span(-400_000, -399_999), span(0, 20), span(22, 40)), true, "20-22", false},
		"all, a clock ahead":       {cat(span(0, 20), span(700_000, 700_002)), true, "", false},
		"an outage":                {cat(span(0, 10), span(110, 120)), true, "10-110", false},
		"an outage, of a region":   {cat(span(0, 10), span(110, 120)), false, "", false},
		"a sign of life in it":     {cat(span(0, 10), span(60, 61), span(110, 120)), true, "10-60 61-110", false},
		"two outages":              {cat(span(0, 10), span(110, 120), span(300, 310)), true, "10-110 120-300", false},
		"twice a day":              {[]int64{0, 12, 24, 36, 48, 60}, true, "", true},
		"twice a day, of a region": {[]int64{0, 12, 24, 36, 48, 60}, false, "", true},
		"twice in all":             {[]int64{0, 70_000_000}, true, "", true},
		"before 1970":              {cat(span(-40, -20), span(-18, 0)), true, "-20--18", false},
	} {
		h := &hours{seen: map[int64]int64{}}
		for _, n := range c.seen {
			h.seen[n]++
		}
		var could *bounds
		if c.whole {
			could = new(bounds)
		}
		gaps, sparse := h.gaps(nil, could)
		var got []string
		for _, g := range gaps {
			got = append(got, fmt.Sprintf("%d-%d", g.From.Unix()/3600, g.To.Unix()/3600))
		}
		if strings.Join(got, " ") != c.want || sparse != c.sparse {
			t.Errorf("%s: %v %v, want %s %v", name, got, sparse, c.want, c.sparse)
		}
	}
}

// TestGapsOfAccounts: an account that falls silent while others go on, or in a time
// that was asked for, is missing from then on; a short stretch with many events is
// no bad clock. Where nothing can be said (?), or a few events lie apart (~), that is.
func TestGapsOfAccounts(t *testing.T) {
	type stretch struct{ from, to, events int64 } // in hours, and in each
	for name, c := range map[string]struct {
		accounts map[string][]stretch
		from, to int64 // 0: not asked
		want     string
	}{
		"a day's middle is lost":     {map[string][]stretch{"a": {{0, 2, 100}, {20, 24, 100}}}, 0, 0, "a 2-20"},
		"its evening, but an hour":   {map[string][]stretch{"a": {{0, 6, 100}, {23, 24, 100}}}, 0, 0, "a 6-23"},
		"two events of another day":  {map[string][]stretch{"a": {{-4000, -3999, 2}, {20, 44, 100}}}, 0, 0, "a~"},
		"too little to say":          {map[string][]stretch{"a": {{0, 2, 100}, {22, 24, 100}}}, 0, 0, "a?"},
		"one falls silent":           {map[string][]stretch{"a": {{0, 24, 100}}, "b": {{0, 4, 100}}}, 0, 0, "b 4-23"},
		"but for a sign":             {map[string][]stretch{"a": {{0, 24, 100}}, "b": {{0, 4, 100}, {12, 13, 1}}}, 0, 0, "b 4-12 13-23"},
		"one begins late":            {map[string][]stretch{"a": {{0, 24, 100}}, "b": {{20, 24, 100}}}, 0, 0, "b 1-20"},
		"each has its time":          {map[string][]stretch{"a": {{0, 24, 100}}, "b": {{24, 48, 100}}}, 0, 0, "a 24-47 b 1-24"},
		"busy once a month":          {map[string][]stretch{"a": {{0, 720, 100}}, "b": {{100, 103, 100}}}, 0, 0, "b?"},
		"more was asked for":         {map[string][]stretch{"a": {{30, 60, 100}}}, 24, 72, "a 24-30 60-72"},
		"to an hour that is read":    {map[string][]stretch{"a": {{30, 60, 100}}}, 30, 60, ""},
		"of one who is hardly there": {map[string][]stretch{"a": {{30, 31, 2}}}, 24, 72, "a?"},
	} {
		cover := coverage{all: map[coverKey]*hours{}}
		for account, list := range c.accounts {
			for _, s := range list {
				for hour := s.from; hour < s.to; hour++ {
					for range s.events {
						cover.add(&event.Event{Recipient: account, Region: "cn-hangzhou", Time: time.Unix(hour*3600+1, 0)})
					}
				}
			}
		}
		at := func(hour int64) (at time.Time) {
			if hour != 0 {
				at = time.Unix(hour*3600, 0)
			}
			return at
		}
		var got []string
		for _, c := range cover.covers(at(c.from), at(c.to)) {
			if c.Apart {
				got = append(got, c.Account+"~")
			}
			if c.Sparse {
				got = append(got, c.Account+"?")
			} else if len(c.Gaps) > 0 {
				got = append(got, c.Account)
			}
			for _, g := range c.Gaps {
				got = append(got, fmt.Sprintf("%d-%d", g.From.Unix()/3600, g.To.Unix()/3600))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

// TestGapsUsual: hours in which an account is still on other days, too, are told apart
// from those in which it is not; also where it has events in few hours.
func TestGapsUsual(t *testing.T) {
	type lost struct{ from, to int64 }
	day := func(d, hour int64) int64 { return (d+4)*24 + hour } // from Monday, 5 January 1970
	for name, c := range map[string]struct {
		days          int64
		hours, resort func(hour int64) bool // with events, on working days and others
		lost          []lost
		want          string // d.h-d.h
		usual         int
	}{
		"day and evening":                 {14, func(h int64) bool { return h >= 6 && h < 21 }, nil, nil, "", 13},
		"a day lost":                      {14, func(h int64) bool { return h >= 6 && h < 21 }, nil, []lost{{day(8, 0), day(9, 0)}}, "7.21-9.6", 11},
		"two hours of a morning":          {14, func(h int64) bool { return h >= 6 && h < 21 }, nil, []lost{{day(8, 8), day(8, 10)}}, "8.8-8.10", 13},
		"around the clock":                {14, func(int64) bool { return true }, nil, []lost{{day(8, 3), day(8, 4)}}, "8.3-8.4", 0},
		"two days are not enough to tell": {2, func(h int64) bool { return h >= 6 && h < 21 }, nil, nil, "0.21-1.6", 0},
		"office hours":                    {14, func(h int64) bool { return h >= 1 && h < 10 }, func(int64) bool { return false }, nil, "", 0},
		"a working day of it lost":        {14, func(h int64) bool { return h >= 1 && h < 10 }, func(int64) bool { return false }, []lost{{day(8, 0), day(9, 0)}}, "7.10-9.1", 0},
		"an afternoon of it":              {14, func(h int64) bool { return h >= 1 && h < 10 }, func(int64) bool { return false }, []lost{{day(8, 6), day(9, 0)}}, "8.6-9.1", 0},
		"twice a day":                     {14, func(h int64) bool { return h == 3 || h == 15 }, nil, nil, "", 0},
	} {
		cover := coverage{all: map[coverKey]*hours{}}
	hours:
		for at := day(0, 0); at < day(c.days, 0); at++ {
			has := c.hours
			if c.resort != nil && (at/24-4)%7 >= 5 {
				has = c.resort
			}
			for _, l := range c.lost {
				if at >= l.from && at < l.to {
					continue hours
				}
			}
			if has(at % 24) {
				cover.add(&event.Event{Recipient: "a", Region: "cn-hangzhou", Time: time.Unix(at*3600+1, 0)})
			}
		}
		var got []string
		usual := 0
		for _, c := range cover.covers(time.Time{}, time.Time{}) {
			for _, g := range c.Gaps {
				if g.Usual {
					usual++
					continue
				}
				from, to := g.From.Unix()/3600, g.To.Unix()/3600
				got = append(got, fmt.Sprintf("%d.%d-%d.%d", from/24-4, from%24, to/24-4, to%24))
			}
		}
		if s := strings.Join(got, " "); s != c.want || usual != c.usual {
			t.Errorf("%s: %q and %d usual ones, want %q and %d", name, s, usual, c.want, c.usual)
		}
	}
}

// TestGapsOfRegions: a region that had events around the clock for longer than it has
// been silent is told as silent, up to the last events of its account; no other is.
func TestGapsOfRegions(t *testing.T) {
	type stretch struct{ from, to, every int64 } // in hours, with events in every so manieth
	const days = 24
	home := []stretch{{0, 30 * days, 1}}
	for name, c := range map[string]struct {
		home, region []stretch
		want         string
	}{
		"goes on":                     {home, []stretch{{0, 30 * days, 1}}, ""},
		"stops":                       {home, []stretch{{0, 20 * days, 1}}, "480-719"},
		"stops a day before the end":  {home, []stretch{{0, 29*days - 2, 1}}, "694-719"},
		"stops in the last day":       {home, []stretch{{0, 29*days + 1, 1}}, ""},
		"begins late":                 {home, []stretch{{10 * days, 30 * days, 1}}, ""},
		"six days of work":            {home, []stretch{{20 * days, 26 * days, 1}}, ""},
		"silent for longer than not":  {home, []stretch{{0, 14 * days, 1}}, ""},
		"office hours":                {home, []stretch{{0, 20 * days, 2}}, ""},
		"an event since then":         {home, []stretch{{0, 20 * days, 1}, {25 * days, 25*days + 1, 1}}, "480-600"},
		"as silent before":            {home, []stretch{{0, 10 * days, 1}, {10*days + 30, 28 * days, 1}}, "240-270"},
		"a clock ahead, of the other": {append([]stretch{{90_000, 90_001, 1}}, home...), []stretch{{0, 20 * days, 1}}, "480-719"},
		"a clock ahead, of its own":   {home, []stretch{{0, 20 * days, 1}, {90_000, 90_001, 1}}, ""},
	} {
		cover := coverage{all: map[coverKey]*hours{}}
		for region, list := range map[string][]stretch{"cn-hangzhou": c.home, "cn-shanghai": c.region} {
			for _, s := range list {
				for hour := s.from; hour < s.to; hour += s.every {
					cover.add(&event.Event{Recipient: "a", Region: region, Time: time.Unix(hour*3600+1, 0)})
				}
			}
		}
		var got []string
		for _, c := range cover.covers(time.Time{}, time.Time{}) {
			for _, g := range c.Gaps {
				if c.Region != "cn-shanghai" || c.Sparse {
					got = append(got, c.Region)
				}
				if g.To.Sub(g.From) >= 24*time.Hour {
					got = append(got, fmt.Sprintf("%d-%d", g.From.Unix()/3600, g.To.Unix()/3600))
				}
			}
		}
		got = slices.DeleteFunc(got, func(s string) bool { return name == "office hours" && !strings.Contains(s, "-") })
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
}

// TestStats: the JSON is the contract of the design, section 5.3.
func TestStats(t *testing.T) {
	text := lines(recs("e", 0, 100)) + "junk\n" + lines(recs("e", 0, 1))
	dir := write(t, map[string]string{"a.jsonl.gz": packGzip(t, text)})
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	calls := 0
	var progress []Progress
	res, _, _ := play(t, RunConfig{Now: func() time.Time { calls++; return begun.Add(time.Duration(calls) * 1500 * time.Millisecond) },
		OnProgress: func(p Progress) { progress = append(progress, p) }}, dir)
	var got map[string]any
	if err := json.Unmarshal(res.Stats.JSON(), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"schema", "records", "events", "parked", "duplicates", "late", "bytes_read", "bytes_decoded", "detections", "alerts", "by_rule", "by_severity",
		"files_read", "files_failed", "first_event", "last_event", "seconds", "peak_rss_bytes"} {
		if _, ok := got[key]; !ok {
			t.Errorf("no %s", key)
		}
	}
	st, err := os.Stat(filepath.Join(dir, "a.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"schema": "trailwarden.stats/v1", "records": 102.0, "events": 100.0, "parked": 1.0, "duplicates": 1.0, "bytes_read": float64(st.Size()),
		"bytes_decoded": float64(len(text)), "detections": 12.0, "alerts": 12.0, "by_rule": map[string]any{"user.created": 10.0, "order": 2.0}, "by_severity": map[string]any{"low": 10.0, "high": 2.0},
		"files_read": 1.0, "files_failed": []any{}, "first_event": "2026-01-05T08:00:00Z", "last_event": "2026-01-05T08:01:39Z", "seconds": 1.5, "parked_by_reason": map[string]any{"not-json": 1.0}} {
		if !reflect.DeepEqual(got[key], want) {
			t.Errorf("%s: %v, want %v", key, got[key], want)
		}
	}
	if res.Stats.PeakRSSBytes < 1<<20 {
		t.Errorf("peak RSS %d", res.Stats.PeakRSSBytes)
	}
	if n := len(progress); n == 0 || progress[n-1].BytesRead != st.Size() || progress[n-1].BytesTotal != st.Size() || progress[n-1].Records != 102 {
		t.Errorf("%+v", progress)
	}
	as := found(t, &res)
	for i := 1; i < len(as); i++ {
		a, b := &as[i-1], &as[i]
		if a.Time.After(b.Time) || a.Time.Equal(b.Time) && (a.Rule > b.Rule || a.Rule == b.Rule && a.ID >= b.ID) {
			t.Errorf("alerts %d and %d are not in order", i-1, i)
		}
	}
}

// TestManyOpen: more files overlap than may be open; nothing is lost.
func TestManyOpen(t *testing.T) {
	files := map[string]string{}
	for i := range 30 {
		files[fmt.Sprintf("f%02d.jsonl", i)] = lines(recs(fmt.Sprintf("f%02d", i), i, 40))
	}
	dir := write(t, files)
	res, _, order := play(t, RunConfig{Options: Options{MaxOpen: 4, BlockSize: 1024}}, dir)
	if s := res.Stats; s.Events != 1200 || len(order) != 1200 || s.FilesRead != 30 {
		t.Errorf("%+v", s)
	}
}

func TestReversedTooLong(t *testing.T) {
	r := recs("e", 0, 3000)
	slices.Reverse(r)
	dir := write(t, map[string]string{"a.jsonl": lines(r)})
	defer func(n int) { maxReversed = n }(maxReversed)
	maxReversed = 1000
	res, _, _ := play(t, RunConfig{Options: Options{BlockSize: 4096}, Engine: detectors.EngineConfig{Grace: time.Second}}, dir)
	if s := res.Stats; s.Events != 3000 || len(s.FilesFailed) != 1 || !strings.Contains(s.FilesFailed[0].Error, "newest first") {
		t.Errorf("%+v", s)
	}
}

// A record over the cap before the events does not hide that they are written
// newest first.
func TestReversedBehindLong(t *testing.T) {
	long := `{"eventId":"x","pad":"` + strings.Repeat("x", 900_000)
	for name, first := range map[string]string{"whole": long + `"}`, "broken off": long} {
		dir := write(t, map[string]string{"a.jsonl": first + "\n" + lines(reversed(recs("e", 0, 3000))), "b.jsonl": lines(recs("f", 100, 3000))})
		res, _, order := play(t, RunConfig{Options: Options{BlockSize: 4096, MaxRecord: 200_000}}, dir)
		if s := res.Stats; s.Events != 6000 || s.Parked != 1 || s.Late != 0 || len(order) != 6000 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestRecords(t *testing.T) {
	dir := write(t, map[string]string{"a.json": `{"Events":` + array(recs("a", 0, 3)) + `}`, "b.jsonl.gz": packGzip(t, lines(recs("b", 0, 3)))[:60], "c.jsonl": lines(recs("c", 0, 3)) + "junk"})
	r, err := Open([]string{dir, filepath.Join(dir, "none")}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Paths()) != 3 {
		t.Error(r.Paths())
	}
	var got []string
	for path, raw := range r.Records(context.Background()) {
		id := "?"
		if ev, err := event.Parse(raw); err == nil {
			id = ev.ID
		}
		got = append(got, filepath.Base(path)+" "+id)
	}
	if s := strings.Join(got, ","); s != "a.json a-00000,a.json a-00001,a.json a-00002,c.jsonl c-00000,c.jsonl c-00001,c.jsonl c-00002,c.jsonl ?" {
		t.Error(s)
	}
	if f := r.Failed(); len(f) != 2 || !errors.Is(f[0], os.ErrNotExist) || !errors.Is(f[1], ErrTruncated) {
		t.Error(f)
	}
	for range r.Records(context.Background()) {
		break
	}
}

// TestCannotAct: no package that can act is linked in, even indirectly.
func TestCannotAct(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range strings.Fields(string(out)) {
		for _, bad := range []string{"trailwarden/responders", "trailwarden/pipeline/sls", "trailwarden/pipeline/bus", "alibaba-cloud-sdk-go", "aliyun-log-go-sdk", "nats", "net/http"} {
			if strings.Contains(dep, bad) {
				t.Errorf("replay imports %s", dep)
			}
		}
	}
}

// endless writes records one a second, without a file.
type endless struct {
	n, max int
	rest   []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		if e.n == e.max {
			return 0, io.EOF
		}
		sep := ","
		if e.n == 0 {
			sep = "["
		}
		e.rest = []byte(sep + rec(fmt.Sprintf("m-%d", e.n), e.n, "GetUser"))
		e.n++
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// TestMemory: memory does not grow with the input, even where every event is
// held back by the engine, and an array is one value of any length.
func TestMemory(t *testing.T) {
	peak := func(n int) (most uint64) {
		set := newTestSet()
		set.order.forget = true
		runtime.GC()
		sample := func() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
		set.order.every = func(i int) {
			if i%4000 == 0 {
				sample()
			}
		}
		res, err := Run(context.Background(), []string{"-"}, RunConfig{Rules: set, Options: Options{Stdin: &endless{max: n}}, Engine: detectors.EngineConfig{DedupHorizon: time.Hour}})
		if err != nil || res.Stats.Events != int64(n) || len(res.Stats.FilesFailed) != 1 {
			t.Fatalf("%+v %v", res.Stats, err)
		}
		return most
	}
	small, large := peak(20_000), peak(120_000)
	if large > 2*small+(16<<20) {
		t.Errorf("peak heap %d KB for 20,000 events, %d KB for 120,000", small>>10, large>>10)
	}
	t.Logf("peak heap %d KB, %d KB", small>>10, large>>10)
}

// TestMemoryOfFiles: memory does not grow with the number of files, either, of which
// a trail delivers a few hundred a day, all of them small.
func TestMemoryOfFiles(t *testing.T) {
	peak := func(n int) (most uint64) {
		set := newTestSet()
		set.order.forget = true
		set.order.every = func(i int) {
			if i%1600 == 0 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
		files := map[string]string{}
		for i := range n { // more of them wait at a time than blocks are kept for later
			files[fmt.Sprintf("%05d.json.gz", i)] = packGzip(t, array(recs(fmt.Sprint("f", i), 40*i, 8)))
		}
		res, err := Run(context.Background(), []string{write(t, files)}, RunConfig{Rules: set, Options: Options{BlockSize: 64 << 10}})
		if err != nil || res.Stats.Events != int64(8*n) {
			t.Fatalf("%+v %v", res.Stats, err)
		}
		return most
	}
	small, large := peak(400), peak(1200)
	if large > small+(16<<20) {
		t.Errorf("peak heap %d KB for 400 files, %d KB for 1200", small>>10, large>>10)
	}
	t.Logf("peak heap %d KB, %d KB", small>>10, large>>10)
}
