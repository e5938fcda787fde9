// Package backup writes the state folder of a stopped program into one archive
// and puts it back, verified.
package backup

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/bus"
	"github.com/trailwarden/trailwarden/pipeline/durable"
)

// Format is the version of the archive.
const Format = 1

// manifestName is the last entry of an archive: an archive without it was cut.
const manifestName = "trailwarden-backup.json"

// Manifest says what an archive holds.
type Manifest struct {
	Format  int       `json:"format"`
	Made    time.Time `json:"made"`
	Version string    `json:"version"` // of the program that wrote it
	Layout  string    `json:"layout"`  // of the store, "" for an empty one
	Server  string    `json:"nats_server"`
	Files   []File    `json:"files"`
}

// File is one file of the state folder.
type File struct {
	Path   string `json:"path"` // relative, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Errors, for errors.Is.
var (
	// ErrDamaged: the archive is cut, changed, or not one of ours.
	ErrDamaged = errors.New("the archive is damaged")
	// ErrForeign says that something else was taken for an archive.
	ErrForeign = errors.New("this is no archive that trailwarden backup wrote")
	// ErrExists: there is something where the state is to be restored.
	ErrExists = errors.New("there is something already")
	// ErrNewer: written by a program with another format.
	ErrNewer = errors.New("written by a program with another format")
)

// Inside says whether file would be made inside the folder dir, or one below.
// It is false where a folder is missing: nothing can be made then.
func Inside(dir, file string) bool {
	top, err := os.Stat(dir)
	if err != nil {
		return false
	}
	at, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return false
	}
	if at, err = filepath.EvalSymlinks(at); err != nil {
		return false
	}
	for {
		if st, err := os.Stat(at); err == nil && os.SameFile(top, st) {
			return true
		}
		if at == filepath.Dir(at) {
			return false
		}
		at = filepath.Dir(at)
	}
}

// left out: what a running program makes anew.
func leftOut(rel string, mode fs.FileMode) bool {
	return !mode.IsRegular() || filepath.Base(rel) == "LOCK" || strings.HasPrefix(filepath.Base(rel), ".trailwarden-doctor-")
}

// behind is the folder that dir leads to: systemd's DynamicUser makes state folders
// links, and others link them to a larger disk. Walking a link would find nothing,
// and a folder put in its place would lie on the wrong disk.
func behind(dir string) (string, error) {
	if to, err := os.Readlink(dir); err == nil {
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(filepath.Clean(dir)), to)
		}
		dir = to // also of a folder that was moved aside, where the link leads nowhere
	}
	to, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	return to, err
}

// Write writes the state folder dir to w. No program may have it open: the
// error wraps bus.ErrLocked when one does.
func Write(w io.Writer, dir, version string) (Manifest, error) {
	m := Manifest{Format: Format, Made: time.Now().UTC().Truncate(time.Second), Version: version, Server: bus.ServerVersion}
	dir, err := behind(dir)
	if err != nil {
		return m, err
	}
	store := filepath.Join(dir, "store")
	if _, err := os.Stat(store); err != nil {
		return m, fmt.Errorf("there is no store in %s: %w", dir, err)
	}
	release, err := bus.Lock(store)
	if err != nil {
		return m, err
	}
	defer release()
	if m.Layout, err = bus.StoreLayout(store); err != nil {
		return m, err
	}
	buf := bufio.NewWriterSize(w, 1<<20)
	gz, err := gzip.NewWriterLevel(buf, gzip.BestSpeed) // the frames are compressed already
	if err != nil {
		return m, err
	}
	tw := tar.NewWriter(gz)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || d.IsDir() {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is a link, and what it leads to would not be in the archive: let state_dir itself be the link", path)
		}
		if leftOut(rel, d.Type()) {
			return nil
		}
		f, err := add(tw, path, filepath.ToSlash(rel))
		m.Files = append(m.Files, f)
		return err
	})
	if err != nil {
		return m, err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, err
	}
	if err := tw.WriteHeader(&tar.Header{Name: manifestName, Mode: 0o600, Size: int64(len(b)), ModTime: m.Made, Format: tar.FormatPAX}); err != nil {
		return m, err
	}
	if _, err := tw.Write(b); err != nil {
		return m, err
	}
	return m, errors.Join(tw.Close(), gz.Close(), buf.Flush())
}

func add(tw *tar.Writer, path, name string) (File, error) {
	out := File{Path: name}
	f, err := os.Open(path)
	if err != nil {
		return out, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return out, err
	}
	out.Size = st.Size()
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: out.Size, ModTime: st.ModTime(), Format: tar.FormatPAX}); err != nil {
		return out, err
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(tw, sum), f); err != nil {
		return out, fmt.Errorf("%s: %w", path, err)
	}
	out.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return out, nil
}

// maxManifest bounds the manifest; a state folder has some thousand files.
const maxManifest = 64 << 20

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// An archive may unpack to plainBytes, and beyond that to maxRatio times what was read of
// it: what a state folder holds is packed already, and gzip alone packs zeros a
// thousandfold.
var plainBytes int64 = 1 << 30

const maxRatio = 100

// sane reads an archive's packed or unpacked bytes and counts them; of the unpacked ones
// it refuses those that are far more than the packed.
type sane struct {
	r      io.Reader
	n      int64
	packed *sane // nil: these are they
}

func (s *sane) Read(p []byte) (int, error) {
	if s.packed != nil && s.n > plainBytes && s.n/maxRatio > s.packed.n {
		return 0, fmt.Errorf("it unpacks to more than %d times its size", maxRatio)
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	return n, err
}

// Read restores an archive as the state folder dir, which must not exist or be
// empty. Nothing is at dir until everything was read and verified.
func Read(r io.Reader, dir string) (m Manifest, err error) {
	if dir, err = behind(dir); err != nil {
		return m, err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return m, fmt.Errorf("%w in %s", ErrExists, dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return m, err
	}
	tmp, err := os.MkdirTemp(parent, ".trailwarden-restore-") // mode 0700
	if err != nil {
		return m, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(tmp) // a folder of our own
		}
	}()
	m, got, err := unpack(r, tmp)
	if err != nil {
		return m, err
	}
	if err := m.matches(got); err != nil {
		return m, err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%w: %w", ErrExists, err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return m, err
	}
	return m, durable.SyncDir(parent)
}

// unpack writes an archive's files into the folder tmp, and says what they are and what
// its list says of them.
func unpack(r io.Reader, tmp string) (m Manifest, got map[string]File, err error) {
	packed := &sane{r: r}
	unpacked, err := gzip.NewReader(bufio.NewReaderSize(packed, 1<<20))
	switch {
	case errors.Is(err, gzip.ErrHeader):
		return m, nil, ErrForeign
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return m, nil, damaged("it ends after %d bytes", packed.n)
	case err != nil:
		return m, nil, damaged("%v", err)
	}
	gz := &sane{r: unpacked, packed: packed}
	root, err := os.OpenRoot(tmp) // nothing of the archive gets out of it
	if err != nil {
		return m, nil, err
	}
	defer func() { _ = root.Close() }() // it was only written through
	got = map[string]File{}
	whole := false
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, tar.ErrHeader) && len(got) == 0 {
			return m, nil, ErrForeign
		}
		if err != nil {
			return m, nil, damaged("%v", err)
		}
		if whole {
			return m, nil, damaged("something follows its end")
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(filepath.FromSlash(h.Name)) {
			return m, nil, damaged("%q is not a file of a state folder", h.Name)
		}
		if h.Name == manifestName {
			if err := json.NewDecoder(io.LimitReader(tr, maxManifest)).Decode(&m); err != nil {
				return m, nil, damaged("%v", err)
			}
			whole = true
			continue
		}
		if _, twice := got[h.Name]; twice {
			return m, nil, damaged("%q is in it twice", h.Name)
		}
		f, err := extract(root, tr, h)
		if err != nil {
			return m, nil, err
		}
		got[h.Name] = f
	}
	// The end of the compressed stream carries its checksum.
	if n, err := io.Copy(io.Discard, io.LimitReader(gz, 1<<20)); err != nil || n == 1<<20 {
		return m, nil, damaged("its end is missing, or something follows it")
	}
	if !whole {
		return m, nil, damaged("its end is missing")
	}
	return m, got, nil
}

// matches says that the files are those of the list, and that this program can use them.
func (m *Manifest) matches(got map[string]File) error {
	switch {
	case m.Format > Format:
		return fmt.Errorf("%w: archive format %d, this one knows %d", ErrNewer, m.Format, Format)
	case m.Layout != "" && m.Layout != bus.Layout:
		return fmt.Errorf("%w: store layout %s, this one has %s; restore it with trailwarden %s", ErrNewer, m.Layout, bus.Layout, m.Version)
	case len(m.Files) != len(got):
		return damaged("%d files, its list has %d", len(got), len(m.Files))
	case len(got) == 0:
		// Such ones were made of a state_dir that is a link.
		return damaged("there is nothing in it")
	}
	for _, f := range m.Files {
		if got[f.Path] != f {
			return damaged("%s is not what was written", f.Path)
		}
	}
	return nil
}

func extract(root *os.Root, r io.Reader, h *tar.Header) (File, error) {
	out := File{Path: h.Name, Size: h.Size}
	name := filepath.FromSlash(h.Name)
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return out, err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return out, err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), r)
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", ErrDamaged, h.Name, err)
	} else {
		err = f.Sync()
	}
	out.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return out, errors.Join(err, f.Close())
}

// Bytes is the size of all files.
func (m Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Paths lists the files, sorted.
func (m Manifest) Paths() []string {
	var out []string
	for _, f := range m.Files {
		out = append(out, f.Path)
	}
	slices.Sort(out)
	return out
}
