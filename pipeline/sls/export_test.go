package sls

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"
	"github.com/klauspost/compress/zstd"

	"github.com/trailwarden/trailwarden/pipeline/slstest"
)

// exported reads what an export wrote, by shard.
func exported(t *testing.T, out []Exported) (lines []string) {
	t.Helper()
	for _, o := range out {
		b, err := os.ReadFile(o.Path)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := z.DecodeAll(b, nil)
		z.Close()
		if err != nil {
			t.Fatal(err)
		}
		got := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
		if int64(len(got)) != o.Records {
			t.Errorf("shard %d: %d records in the file, %d told", o.Shard, len(got), o.Records)
		}
		lines = append(lines, got...)
	}
	slices.Sort(lines)
	return lines
}

// TestExportGoesOn: a stretch that ends with the present ends later when it is
// asked for again, and what came meanwhile is read.
func TestExportGoesOn(t *testing.T) {
	t.Parallel()
	so := signed()
	so.Shards = 2
	r := newRig(t, so)
	begin := time.Now().Add(-3 * time.Hour).Truncate(time.Second)
	var want []string
	add := func(n int) {
		for range n {
			at := begin.Add(time.Duration(len(want)) * time.Second)
			rec := fmt.Sprintf(`{"eventId":"e%03d","eventName":"GetUser"}`, len(want))
			r.srv.AppendLogs(len(want)%2, at, slstest.Group{Logs: []slstest.Log{{Time: uint32(at.Unix()), Fields: []slstest.Field{{Key: "event", Value: rec}}}}})
			want = append(want, rec)
		}
	}
	src, err := New(r.config(), r.sink, r.options())
	if err != nil {
		t.Fatal(err)
	}
	ec := ExportConfig{From: begin, Dir: t.TempDir()}
	for _, n := range []int{20, 0, 30, 1} {
		add(n)
		out, err := src.Export(context.Background(), ec)
		if err != nil {
			t.Fatal(err)
		}
		if got := exported(t, out); !slices.Equal(got, want) {
			t.Fatalf("%d records, want %d", len(got), len(want))
		}
	}
}

// TestExport: a stretch of receive time comes out whole, once, over all shards,
// through refused pages and an interruption.
func TestExport(t *testing.T) {
	t.Parallel()
	so := signed()
	so.Shards = 3
	r := newRig(t, so)
	begin := time.Now().Add(-3 * time.Hour).Truncate(time.Second)
	var want []string
	for i := range 300 {
		at := begin.Add(time.Duration(i) * 30 * time.Second)
		rec := fmt.Sprintf("{\"eventId\":\"e%03d\",\n\"eventName\":\"GetUser\"}", i)
		r.srv.AppendLogs(i%3, at, slstest.Group{Logs: []slstest.Log{{Time: uint32(at.Unix()), Fields: []slstest.Field{{Key: "event", Value: rec}}}}})
		if i >= 20 && i < 220 {
			want = append(want, strings.ReplaceAll(rec, "\n", " "))
		}
	}
	slices.Sort(want)
	cfg := r.config()
	cfg.PageGroups = 7
	src, err := New(cfg, r.sink, r.options())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "x")
	ec := ExportConfig{From: begin.Add(20 * 30 * time.Second), To: begin.Add(220 * 30 * time.Second), Dir: dir, Parallel: 2}

	// Stopped in the middle: what is there is whole.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ec.OnProgress = func(int, int64, int64) { cancel() }
	if _, err := src.Export(ctx, ec); err == nil {
		t.Fatal("an interrupted export has no error")
	}
	ec.OnProgress = nil
	// A torn write behind the position is cut off.
	files, err := filepath.Glob(filepath.Join(dir, "*.zst"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("\x28\xb5\x2f\xfdtorn"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r.srv.Inject(slstest.Fault{Call: slstest.PullLogs, Status: 403, Code: "ReadQuotaExceed", Times: 3})
	out, err := src.Export(context.Background(), ec)
	if err != nil {
		t.Fatal(err)
	}
	if got := exported(t, out); !slices.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	// Once more reads nothing.
	before := r.srv.Calls(slstest.PullLogs)
	again, err := src.Export(context.Background(), ec)
	if err != nil || !slices.Equal(exported(t, again), want) {
		t.Error(err)
	}
	if n := r.srv.Calls(slstest.PullLogs); n != before {
		t.Errorf("%d pages were read again", n-before)
	}
	e, err := src.Estimate(context.Background(), ec)
	if err != nil || e.Shards != 3 {
		t.Errorf("%+v %v", e, err)
	}
	if e.Records >= 0 && (e.Records != 200 || e.Bytes <= 0) {
		t.Errorf("%+v", e)
	}
	t.Logf("%+v", e)

	// A page that is refused for ever is told, by shard.
	h := r.srv.Inject(slstest.Fault{Call: slstest.PullLogs, Status: 401, Code: "Unauthorized", Message: "denied", Times: -1})
	ec.Dir = filepath.Join(t.TempDir(), "y")
	if _, err := src.Export(context.Background(), ec); err == nil || !strings.Contains(err.Error(), "shard ") {
		t.Error(err)
	}
	_ = h
}

// refusing is a client that has no page to give.
type refusing struct {
	sdk.ClientInterface
	pulls int
	each  func()
}

func (r *refusing) PullLogs(string, string, int, string, string, int) (*sdk.LogGroupList, string, error) {
	r.pulls++
	r.each()
	return nil, "", &sdk.Error{HTTPCode: 500, Code: "InternalServerError"}
}

// TestExportPageTries: a page is asked for some times, and not once more when the
// person who waits for it has given up.
func TestExportPageTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Source{}
		c := &refusing{each: func() {}}
		if _, _, err := s.exportPage(t.Context(), c, 0, "a", "b"); err == nil || c.pulls != exportTries {
			t.Errorf("%d tries: %v", c.pulls, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		c = &refusing{each: cancel}
		if _, _, err := s.exportPage(ctx, c, 0, "a", "b"); !errors.Is(err, context.Canceled) || c.pulls != 1 {
			t.Errorf("%d tries after the end: %v", c.pulls, err)
		}
	})
}

// TestExportPositionRefused: what is no position, and a file that is shorter than
// its position, are told and not written over.
func TestExportPositionRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ".p.position")
	want := position{Schema: positionSchema, Cursor: "MTA=", End: "MjA=", Size: 4, Records: 2, Bytes: 9}
	if err := writePosition(path, &want); err != nil {
		t.Fatal(err)
	}
	if got, err := readPosition(path); err != nil || got != want {
		t.Errorf("%+v: %v", got, err)
	}
	if got, err := readPosition(path + "s"); err != nil || got != (position{}) {
		t.Errorf("of a shard that was not begun: %+v: %v", got, err)
	}
	for _, text := range []string{"", "{", `{"schema":"trailwarden.sls-export/v2"}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readPosition(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", text, err)
		}
	}
	file := filepath.Join(dir, "p.jsonl.zst")
	if err := os.WriteFile(file, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openAt(file, 6); err == nil {
		t.Error("a file that lost its end is gone on with")
	}
	f, err := openAt(file, want.Size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "1234x" {
		t.Errorf("%q: %v", b, err)
	}
}
