package evidence

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// Limits bound a Store. The zero value of a field is its default.
type Limits struct {
	Bytes int64         // on disk, all files together; default 256 MiB
	Age   time.Duration // since an alert's records were last added to; default 90 days
}

// MaxRecords and MaxRecord bound what is kept of one alert: how many records,
// and how many bytes each may have. A longer one is left out.
const (
	MaxRecords = 5
	MaxRecord  = 256 << 10
)

// Store is a folder of evidence. It is safe for concurrent use by one process.
type Store struct {
	dir    string
	limits Limits
	enc    *zstd.Encoder
	dec    *zstd.Decoder

	mu    sync.Mutex
	files map[string]file // by alert
	total int64
	swept time.Time
}

type file struct {
	size int64
	at   time.Time
}

// newSuffix is that of a file that is being written.
const newSuffix = ".new"

// Open makes the folder where it is missing, and looks at what is in it. What
// was being written when a process ended is removed.
func Open(dir string, l Limits) (*Store, error) {
	if l.Bytes <= 0 {
		l.Bytes = 256 << 20
	}
	if l.Age <= 0 {
		l.Age = 90 * 24 * time.Hour
	}
	s := &Store{dir: dir, limits: l, files: map[string]file{}}
	var err error
	if s.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(MaxRecord), zstd.WithLowerEncoderMem(true)); err != nil {
		return nil, err
	}
	if s.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(2*MaxRecords*MaxRecord)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), newSuffix) {
			_ = os.Remove(filepath.Join(dir, e.Name())) // it is written over when it stays
		} else if info, err := e.Info(); err == nil && info.Mode().IsRegular() && isID(e.Name()) {
			s.files[e.Name()] = file{info.Size(), info.ModTime()}
			s.total += info.Size()
		}
	}
	return s, nil
}

// isID says that a text is an alert's id: nothing else becomes a file's name.
func isID(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz-") == ""
}

// Records returns what is kept of an alert, as it was recorded: nil when that is
// nothing.
func (s *Store) Records(alert string) ([][]byte, error) {
	s.mu.Lock()
	_, ok := s.files[alert]
	s.mu.Unlock()
	if !ok {
		return nil, nil
	}
	data, err := os.ReadFile(filepath.Join(s.dir, alert))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // gone since
	}
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	out, err := s.decode(data)
	if err != nil {
		return nil, fmt.Errorf("evidence: %s is damaged: %w", filepath.Join(s.dir, alert), err)
	}
	return out, nil
}

// errForm says that a file does not hold what this package writes.
var errForm = errors.New("it does not end where it says")

func (s *Store) decode(data []byte) ([][]byte, error) {
	b, err := s.dec.DecodeAll(data, nil)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for len(b) > 0 {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, errForm
		}
		b = b[k:]
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out, nil
}

// Keep writes the records of an alert in place of those that were kept of it: the
// first MaxRecords of those that are not too long. Either all of them are there
// afterwards or what was before.
func (s *Store) Keep(alert string, records [][]byte, now time.Time) error {
	if !isID(alert) {
		return fmt.Errorf("evidence: %q is no id of an alert", alert)
	}
	var b []byte
	n := 0
	for _, r := range records {
		if len(r) <= MaxRecord && n < MaxRecords {
			b = append(binary.AppendUvarint(b, uint64(len(r))), r...)
			n++
		}
	}
	if n == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data := s.enc.EncodeAll(b, nil)
	name := filepath.Join(s.dir, alert)
	err := os.WriteFile(name+newSuffix, data, 0o600)
	if err == nil {
		err = os.Rename(name+newSuffix, name)
	}
	if err != nil {
		_ = os.Remove(name + newSuffix)
		return fmt.Errorf("evidence: %w", err)
	}
	s.total += int64(len(data)) - s.files[alert].size
	s.files[alert] = file{int64(len(data)), now}
	return s.sweep(now)
}

// sweepEvery is how often is looked for what is too old.
const sweepEvery = time.Hour

// sweep removes what is too old, and the oldest where there is too much, down to
// nine tenths of it.
func (s *Store) sweep(now time.Time) error {
	if s.total <= s.limits.Bytes && now.Sub(s.swept) < sweepEvery {
		return nil
	}
	s.swept = now
	room := s.total
	if s.total > s.limits.Bytes {
		room = s.limits.Bytes / 10 * 9
	}
	byAge := make([]string, 0, len(s.files))
	for id := range s.files {
		byAge = append(byAge, id)
	}
	lists.Sort(byAge, func(a, b string) int { return cmp.Or(s.files[a].at.Compare(s.files[b].at), cmp.Compare(a, b)) })
	for _, id := range byAge {
		if s.total <= room && now.Sub(s.files[id].at) < s.limits.Age {
			break
		}
		if err := os.Remove(filepath.Join(s.dir, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("evidence: %w", err)
		}
		s.total -= s.files[id].size
		delete(s.files, id)
	}
	return nil
}
