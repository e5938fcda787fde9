package sls

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	sdk "github.com/aliyun/aliyun-log-go-sdk"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/time/rate"

	"github.com/trailwarden/trailwarden/pipeline/durable"
	"github.com/trailwarden/trailwarden/pipeline/pause"
)

// ExportConfig says which stretch of a logstore is copied into files.
type ExportConfig struct {
	// From and To bound the time at which the service received the records; To
	// is exclusive, and the present when zero. Events are received minutes
	// after they happened: ask for a little more than the events' time.
	From, To time.Time
	// Dir is where the files go, one for each shard: lines of JSON in zstd
	// frames, with the position reached beside it. What is there of the same
	// stretch is continued, not read again.
	Dir string
	// BytesPerSecond bounds the records read, all shards together, before
	// compression (default 20 MB/s); Parallel the shards read at once
	// (default 4).
	BytesPerSecond int
	Parallel       int
	// OnProgress is told of every page, from several goroutines.
	OnProgress func(shard int, records int64, bytes int64)
}

// Estimate is what an export will read, as far as can be told beforehand.
type Estimate struct {
	Shards int
	// Records is how many the service counts in the stretch; -1 when it does
	// not say, for example because the logstore has no index.
	Records int64
	// Bytes is records times the mean size of those looked at; -1 when it
	// cannot be told.
	Bytes int64
}

// Estimate asks how much an export would read. It reads a page of the newest
// records to know their size.
func (s *Source) Estimate(ctx context.Context, c ExportConfig) (Estimate, error) {
	e := Estimate{Records: -1, Bytes: -1}
	client := s.client(ctx)
	defer s.base.CloseIdleConnections()
	shards, err := client.ListShards(s.cfg.Project, s.cfg.Logstore)
	if err != nil {
		return e, refusal("log:ListShards", err)
	}
	e.Shards = len(shards)
	to := c.To
	if to.IsZero() {
		to = time.Now()
	}
	h, err := client.GetHistograms(s.cfg.Project, s.cfg.Logstore, "", c.From.Unix(), to.Unix(), "*")
	if err != nil {
		return e, nil //nolint:nilerr // without an index, or the right to search it, nothing is known; reading works all the same
	}
	if h.IsComplete() {
		e.Records = h.Count
	}
	var in Inspection
	for _, sh := range shards[:min(len(shards), inspectShards)] {
		if err := s.newest(ctx, client, sh.ShardID, &in); err != nil {
			return e, refusal("log:GetCursorOrData", err)
		}
	}
	size := 0
	for _, r := range in.Records {
		size += len(r)
	}
	switch {
	case e.Records == 0:
		e.Bytes = 0
	case e.Records > 0 && len(in.Records) > 0:
		e.Bytes = e.Records * int64(size/len(in.Records))
	}
	return e, nil
}

// Exported is one shard's file.
type Exported struct {
	Shard   int
	Path    string
	Records int64 // in the file, from earlier runs too
	Bytes   int64 // of the records
	Err     error // why it was not read to its end; what is there is whole
}

// position is what stands beside a shard's file: how far it has come.
type position struct {
	Schema  string `json:"schema"`
	Cursor  string `json:"cursor"` // of the next page
	End     string `json:"end"`    // the page to stop before
	Size    int64  `json:"size"`   // of the file: what is behind it was not finished
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"`
	Done    bool   `json:"done"`
}

const positionSchema = "trailwarden.sls-export/v1"

// Export copies a stretch of the logstore into files, all shards side by side.
// It moves no checkpoint and joins no consumer group. The result has every
// shard; the error is the first one's, or the context's. A call with the same
// stretch and folder goes on where the last one ended.
func (s *Source) Export(ctx context.Context, c ExportConfig) ([]Exported, error) {
	if c.BytesPerSecond <= 0 {
		c.BytesPerSecond = 20 << 20
	}
	if c.Parallel <= 0 {
		c.Parallel = 4
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("sls: export: %w", err)
	}
	client := s.client(ctx)
	defer s.base.CloseIdleConnections()
	shards, err := client.ListShards(s.cfg.Project, s.cfg.Logstore)
	if err != nil {
		return nil, refusal("log:ListShards", err)
	}
	limit := rate.NewLimiter(rate.Limit(c.BytesPerSecond), max(c.BytesPerSecond, 16<<20))
	out := make([]Exported, len(shards))
	turns := make(chan struct{}, c.Parallel)
	var wg sync.WaitGroup
	for i, sh := range shards {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			out[i] = s.exportShard(ctx, client, sh.ShardID, &c, limit)
		})
	}
	wg.Wait()
	for _, o := range out {
		if err == nil && o.Err != nil {
			err = fmt.Errorf("shard %d: %w", o.Shard, o.Err)
		}
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out, err
}

// shardExport is the file that a shard is copied into, and how far it has come.
type shardExport struct {
	f      *os.File
	beside string // of the position
	pos    position
}

// exportShard copies a shard, and goes on where its position says.
func (s *Source) exportShard(ctx context.Context, client sdk.ClientInterface, shard int, c *ExportConfig, limit *rate.Limiter) (out Exported) {
	until := ""
	name := fmt.Sprintf("%s_%s_%d_%d-", s.cfg.Project, s.cfg.Logstore, shard, c.From.Unix())
	if c.To.IsZero() {
		name += "now"
	} else {
		until = strconv.FormatInt(c.To.Unix(), 10)
		name += until
	}
	out = Exported{Shard: shard, Path: filepath.Join(c.Dir, name+".jsonl.zst")}
	x := shardExport{beside: filepath.Join(c.Dir, "."+name+".position")}
	var err error
	if x.pos, err = readPosition(x.beside); err == nil {
		out.Records, out.Bytes = x.pos.Records, x.pos.Bytes
		if x.pos.Done && until != "" {
			return out
		}
		err = s.stretch(client, shard, &x.pos, strconv.FormatInt(c.From.Unix(), 10), until)
	}
	if err == nil {
		x.f, err = openAt(out.Path, x.pos.Size)
	}
	if err != nil {
		out.Err = err
		return out
	}
	defer x.f.Close()
	out.Err = s.copyShard(ctx, client, shard, &x, limit, func() {
		out.Records, out.Bytes = x.pos.Records, x.pos.Bytes
		if c.OnProgress != nil {
			c.OnProgress(shard, x.pos.Records, x.pos.Bytes)
		}
	})
	return out
}

// stretch looks up where a shard is read from and to. An until of "" is the present,
// which has moved on since the last run.
func (s *Source) stretch(client sdk.ClientInterface, shard int, pos *position, from, until string) (err error) {
	if pos.Cursor == "" {
		if pos.Cursor, err = client.GetCursor(s.cfg.Project, s.cfg.Logstore, shard, from); err != nil {
			return refusal("log:GetCursorOrData", err)
		}
	}
	if pos.End != "" && until != "" {
		return nil
	}
	pos.Done = false
	if pos.End, err = client.GetCursor(s.cfg.Project, s.cfg.Logstore, shard, cmp.Or(until, "end")); err != nil {
		return refusal("log:GetCursorOrData", err)
	}
	return nil
}

// openAt opens a file to go on behind its first size bytes: what is there was being
// written when the last run ended.
func openAt(path string, size int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if st, serr := f.Stat(); serr != nil || st.Size() < size {
		err = fmt.Errorf("%s is shorter than its position says: remove both to begin again", path)
	} else if err = f.Truncate(size); err == nil {
		_, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// copyShard writes page after page, each with its position, and tells it to done.
func (s *Source) copyShard(ctx context.Context, client sdk.ClientInterface, shard int, x *shardExport, limit *rate.Limiter, done func()) error {
	zw, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer func() { _ = zw.Close() }()
	state := &shardState{}
	var text, packed []byte
	for pos := &x.pos; !pos.Done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		list, next, err := s.exportPage(ctx, client, shard, pos.Cursor, pos.End)
		if err != nil {
			return refusal("log:GetCursorOrData", err)
		}
		text = text[:0]
		records, _ := state.extract(list)
		for _, r := range records {
			text = append(append(text, bytes.ReplaceAll(r, []byte("\n"), []byte(" "))...), '\n')
		}
		pos.Done = next == pos.Cursor || next == pos.End
		if v, ok := cursorValue(next); ok {
			if end, ok := cursorValue(pos.End); ok && v >= end {
				pos.Done = true
			}
		}
		pos.Schema, pos.Cursor = positionSchema, next
		if len(records) > 0 {
			packed = zw.EncodeAll(text, packed[:0])
			if _, err := x.f.Write(packed); err != nil {
				return err
			}
			pos.Size, pos.Records, pos.Bytes = pos.Size+int64(len(packed)), pos.Records+int64(len(records)), pos.Bytes+int64(len(text))
		}
		// The position vouches for the file: the file is stored first.
		if err := errors.Join(x.f.Sync(), writePosition(x.beside, pos)); err != nil {
			return err
		}
		done()
		if err := limit.WaitN(ctx, min(len(text), limit.Burst())); err != nil {
			return err
		}
	}
	return nil
}

// readPosition is the position beside a shard's file; none where it was not begun.
func readPosition(path string) (pos position, err error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return pos, nil
	case err != nil:
		return pos, err
	case json.Unmarshal(b, &pos) != nil || pos.Schema != positionSchema:
		return pos, fmt.Errorf("%s is not a position of an export: remove it to begin again", path)
	}
	return pos, nil
}

// writePosition puts the position on the disk before it takes the place of the last
// one: a power cut would leave an empty one otherwise, and the shard be read again.
func writePosition(path string, p *position) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return durable.Replace(path, append(b, '\n'), 0o600)
}

// exportTries is how often a page is asked for before its shard is given up.
const exportTries = 6

func (s *Source) exportPage(ctx context.Context, c sdk.ClientInterface, shard int, cursor, end string) (list *sdk.LogGroupList, next string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the SDK panicked on a page of shard %d: %v", shard, r)
		}
	}()
	for try := range exportTries {
		if try > 0 {
			if err := pause.For(ctx, time.Duration(1<<try)*50*time.Millisecond); err != nil {
				return nil, "", err
			}
		}
		list, next, err = c.PullLogs(s.cfg.Project, s.cfg.Logstore, shard, cursor, end, s.cfg.PageGroups)
		if err == nil {
			return list, next, nil
		}
	}
	return nil, "", err
}
