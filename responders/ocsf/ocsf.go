// Package ocsf writes alerts as OCSF Detection Findings (class 2004) to a file
// of JSON lines, for a lake or a collector that follows files. An incident is
// one finding when it opens and one more for each change (activity Update),
// all with the same finding_info.uid.
//
// A line is written whole and synced before it counts as sent; what a crash
// cut off is removed at the next start, and after a lost answer the file is
// read: a finding stands in it once. The file is turned over by size, with as
// many old ones kept as configured.
package ocsf

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	finding "github.com/trailwarden/trailwarden/pipeline/ocsf"
	"github.com/trailwarden/trailwarden/responders"
	"github.com/trailwarden/trailwarden/responders/wire"
)

// Spec is the configuration of one file.
type Spec struct {
	responders.Common `yaml:",inline"`
	Path              string `yaml:"path" doc:"the file, such as /var/lib/trailwarden/findings.jsonl; mode 0600"`
	MaxBytes          int64  `yaml:"max_bytes" doc:"turned over beyond this size (default 100 MiB)"`
	Keep              *int   `yaml:"keep" doc:"old files kept beside it (default 5; 0: none, what was turned over is gone)"`
}

// Check implements responders.Spec.
func (s Spec) Check() []responders.Fault {
	out := s.Faults()
	if s.Path == "" {
		out = append(out, responders.Fault{Field: "path", Message: "which file? such as /var/lib/trailwarden/findings.jsonl"})
	}
	if s.MaxBytes != 0 && s.MaxBytes < 1<<20 {
		out = append(out, responders.Fault{Field: "max_bytes", Message: fmt.Sprintf("%d: want at least 1048576 (1 MiB)", s.MaxBytes)})
	}
	if s.Keep != nil && (*s.Keep < 0 || *s.Keep > 1000) {
		out = append(out, responders.Fault{Field: "keep", Message: fmt.Sprintf("%d: want 0 to 1000", *s.Keep)})
	}
	return out
}

// Notifier implements responders.Spec.
func (s Spec) Notifier(log *slog.Logger) (responders.Notifier, error) { return New(s, log) }

// Notifier is a responders.Notifier. It is safe for concurrent use; one
// process writes a file.
type Notifier struct {
	spec Spec
	keep int // old files
	mu   sync.Mutex
	f    *os.File
	size int64
}

var (
	_ responders.Notifier = (*Notifier)(nil)
	_ responders.Spec     = Spec{}
)

// New returns a Notifier, or what is wrong with s. The file is opened at the
// first finding.
func New(s Spec, _ *slog.Logger) (*Notifier, error) {
	if err := responders.JoinFaults(s.Check()); err != nil {
		return nil, err
	}
	if s.MaxBytes == 0 {
		s.MaxBytes = 100 << 20
	}
	n := &Notifier{spec: s, keep: 5}
	if s.Keep != nil {
		n.keep = *s.Keep
	}
	return n, nil
}

// Name is the destination's name in the configuration.
func (n *Notifier) Name() string { return n.spec.Name }

func (n *Notifier) fail(step string, kind, err error) error {
	return &wire.Error{Platform: "ocsf", Destination: n.spec.Name, Method: step, Kind: kind, Cause: err}
}

// Post writes the finding.
func (n *Notifier) Post(_ context.Context, notice responders.Notice) (responders.MessageRef, error) {
	return responders.MessageRef{ID: notice.Alert.ID}, n.write(notice, false)
}

// Update writes a finding of activity Update.
func (n *Notifier) Update(_ context.Context, _ responders.MessageRef, notice responders.Notice) error {
	return n.write(notice, true)
}

// Find reads the files for a finding of this alert, the newest file first.
func (n *Notifier) Find(_ context.Context, alertID string, since time.Time) (responders.MessageRef, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := 0; i <= n.keep; i++ {
		ok, older, err := find(n.old(i), alertID, since)
		if err != nil {
			return responders.MessageRef{}, false, n.fail("read", responders.ErrRetry, err)
		}
		if ok {
			return responders.MessageRef{ID: alertID}, true, nil
		}
		if older {
			break
		}
	}
	return responders.MessageRef{}, false, nil
}

// find looks through one file; older says that it ends before since.
func find(path, alertID string, since time.Time) (ok, older bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, true, nil
	}
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.ModTime().Before(since) {
		return false, true, nil
	}
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return false, false, nil // a line without an end was not written whole
		}
		if err != nil {
			return false, false, err
		}
		if !bytes.Contains(line, []byte(alertID)) {
			continue
		}
		var v struct {
			FindingInfo struct {
				UID string `json:"uid"`
			} `json:"finding_info"`
		}
		if json.Unmarshal(line, &v) == nil && v.FindingInfo.UID == alertID {
			return true, false, nil
		}
	}
}

func (n *Notifier) old(i int) string {
	if i == 0 {
		return n.spec.Path
	}
	return n.spec.Path + "." + strconv.Itoa(i)
}

func (n *Notifier) write(notice responders.Notice, update bool) error {
	var b bytes.Buffer
	if err := alert.WriteLine(&b, finding.Of(&notice.Alert, "", update)); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.open(); err != nil {
		return n.fail("open", responders.ErrRetry, err)
	}
	if n.size > 0 && n.size+int64(b.Len()) > n.spec.MaxBytes {
		if err := n.turn(); err != nil {
			return n.fail("turn over", responders.ErrRetry, err)
		}
	}
	wrote, err := n.f.Write(b.Bytes())
	if err == nil {
		err = n.f.Sync()
	}
	if err != nil {
		// Nothing half is left behind; whether the disk kept it is read later.
		back := n.f.Truncate(n.size)
		_ = n.f.Close()
		n.f = nil
		if wrote < b.Len() || back == nil {
			return n.fail("write", responders.ErrRetry, err)
		}
		return n.fail("write", responders.ErrInDoubt, err)
	}
	n.size += int64(b.Len())
	return nil
}

// open opens the file and takes off what an earlier process did not finish.
func (n *Notifier) open() error {
	if n.f != nil {
		at, err1 := os.Stat(n.spec.Path)
		is, err2 := n.f.Stat()
		if err1 == nil && err2 == nil && os.SameFile(at, is) {
			n.size = is.Size() // logrotate may have cut it (copytruncate)
			return nil
		}
		// Moved or removed by somebody else: what is written there nobody reads.
		_ = n.f.Close()
		n.f = nil
	}
	if err := os.MkdirAll(filepath.Dir(n.spec.Path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(n.spec.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	size, err := whole(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	n.f, n.size = f, size
	return nil
}

// whole is the length of f up to its last line break.
func whole(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for end := st.Size(); end > 0; {
		from := max(end-int64(len(buf)), 0)
		part := buf[:end-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		end = from
	}
	return 0, nil
}

// turn renames the files by one, the last one kept is gone, and begins a new one.
func (n *Notifier) turn() error {
	if err := n.f.Close(); err != nil {
		return err
	}
	n.f = nil
	if n.keep == 0 {
		if err := os.Remove(n.spec.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for i := n.keep - 1; i >= 0; i-- {
		if err := os.Rename(n.old(i), n.old(i+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return n.open()
}

// Close closes the file.
func (n *Notifier) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.f != nil {
		_ = n.f.Close() // every line was synced
		n.f = nil
	}
}
