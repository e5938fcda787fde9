package replay

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// Resume is a folder that holds how far a run has come, so that a run that is
// interrupted or killed goes on from there when it is started again. The result
// is the same as if it had never ended: the input is read and parsed again up
// to that place, which takes less than half of the time, and evaluated from
// there on.
//
// What is kept belongs to one input and one Of. With another Of, or when a file
// has another size or was touched since, the run begins again and says why. So it
// does when the events read again are not the ones that were evaluated; where
// they came from standard input, that is an error (ErrChanged), since it can
// be read only once.
type Resume struct {
	// Dir is made if need be; it holds names and alerts, for its owner alone.
	// What else is in it stays as it is. One run at a time may use it: another
	// is refused with ErrBusy, where the system has locks. Forget removes what
	// a run left there.
	Dir string
	// Of names what the result depends on beside the input and the bounds of
	// RunConfig: rules, lists, a baseline.
	Of string
	// Every is how often the state is kept (default 10 s).
	Every time.Duration
	// OnBegin is told once what was found there; twice when events turn out
	// to be others.
	OnBegin func(Resumed)
	// OnTrouble is told when the state cannot be kept any more, and again when
	// that has been better for a while. It does not end the run, whose result does
	// not depend on it: what was kept last stays.
	OnTrouble func(error)
}

// Resumed is what a run found of an earlier one.
type Resumed struct {
	// Events were evaluated then; 0 when the run begins at the beginning.
	Events int64
	At     time.Time // of the last of them
	// Why says why the run begins again although there was a state.
	Why string
}

// ErrChanged says that the input is not what it was when the state was kept.
var ErrChanged = errors.New("the input has changed since the run was interrupted")

// ErrBusy says that another run uses the folder of a Resume.
var ErrBusy = errors.New("another run uses the folder: wait for its end, or name another one")

// The files have names that nobody else's have: the folder may hold what is
// dear to its owner.
const (
	resumeSchema = "trailwarden.resume/v2"
	stateFile    = "trailwarden.resume"
	alertsFile   = "trailwarden.resume.alerts"
	beganFile    = "trailwarden.resume.began"
	roomFile     = "trailwarden.resume.room" // only while a folder is tried out
	stateEvery   = 10 * time.Second
	maxStateHead = 256 << 20 // bytes of JSON
)

// runFiles are the files of a run, whole or being written.
var runFiles = []string{stateFile, stateFile + ".new", alertsFile, beganFile, beganFile + ".new", roomFile, roomFile + ".new"}

// Forget removes what a run left in dir, and dir when nothing else is in it. It
// is ErrBusy when another run has gone on there meanwhile.
func Forget(dir string) error {
	release, err := lockDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer release()
	if err := forget(dir, runFiles...); err != nil {
		return err
	}
	_ = os.Remove(dir) // it stays when something else is in it
	return nil
}

// forget removes files of a folder that is locked.
func forget(dir string, names ...string) error {
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// resumeState is the head of the state file; the engine's snapshot follows it.
type resumeState struct {
	Schema     string           `json:"schema"`
	Of         string           `json:"of"`
	Bounds     string           `json:"bounds"`
	Inputs     []resumeInput    `json:"inputs"`
	Applied    int64            `json:"applied"`
	Sum        uint64           `json:"sum"` // of the applied events, in their order
	At         time.Time        `json:"at"`
	Detections int64            `json:"detections"`
	ByRule     map[string]int64 `json:"by_rule"`
	Runs       [][3]int64       `json:"runs"` // of the alerts file: at, size, parts
	Alerts     int64            `json:"alerts_bytes"`
	Engine     int64            `json:"engine_bytes"`
	SHA256     string           `json:"engine_sha256"`
}

type resumeInput struct {
	Path    string `json:"path"`
	Size    int64  `json:"size"`
	Changed int64  `json:"changed"` // in ns since 1970
	// Touched is when anything of the file was last changed, as the system
	// tells and nobody can set; 0 where it does not.
	Touched int64 `json:"touched"`
}

// resume is a run's way back.
type resume struct {
	cfg     *Resume
	of      resumeState // Schema, Of, Bounds and Inputs of this run
	now     func() time.Time
	from    *resumeState // of the interrupted run, while there is something to skip
	engine  []byte       // its snapshot
	applied int64        // events so far,
	sum     uint64       // and what tells them from others
	kept    time.Time
	trouble bool // the state could not be kept the last time
	// skipping tells workers that what they read was evaluated before.
	skipping atomic.Bool
	release  func() // the folder's lock
}

// claim makes a folder, takes its lock, and sees that a run can keep its state
// there: hours later would be too late to say that it cannot. What it wrote to find
// that out is gone when it returns.
func claim(dir string) (release func(), err error) {
	_, err = os.Lstat(dir)
	made := errors.Is(err, os.ErrNotExist)
	if err = os.MkdirAll(dir, 0o700); err == nil {
		release, err = lockDir(dir)
	}
	if errors.Is(err, ErrBusy) {
		return nil, fmt.Errorf("the folder for the state of the run: %w", err)
	}
	if err == nil {
		if err = tryOut(dir); err != nil {
			release()
		}
	}
	if err != nil {
		if made {
			_ = os.Remove(dir) // it stays when somebody has put something there
		}
		return nil, fmt.Errorf("the state of the run cannot be kept there (%w): %s", plain(err), remedy(err))
	}
	return release, nil
}

// leastRoom is what must fit into the folder before a run begins, in bytes. States
// may be larger; a folder that is full is found out.
const leastRoom = 1 << 20

// tryOut writes to a folder as a run would.
func tryOut(dir string) error {
	for _, name := range runFiles {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|openFlags, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("%s: %w", name, plain(err))
		}
		st, err := f.Stat()
		_ = f.Close() // nothing was written
		if err == nil && !st.Mode().IsRegular() {
			err = ErrNotRegular
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, plain(err))
		}
	}
	data := make([]byte, leastRoom)
	for i := range data {
		data[i] = byte(i * i >> 8) // zeros may take no room
	}
	path := filepath.Join(dir, roomFile)
	err := writeWhole(path, data)
	if gone := os.Remove(path); err == nil {
		err = gone
	}
	return err
}

// remedy says what to do about a folder that cannot be used.
func remedy(err error) string {
	is := func(codes ...error) bool {
		return slices.ContainsFunc(codes, func(c error) bool { return errors.Is(err, c) })
	}
	switch {
	case is(syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG):
		return "make room there, or name a folder elsewhere"
	case is(syscall.ENOTDIR):
		return "a file has that name; name a folder"
	case is(ErrNotRegular, syscall.EISDIR, syscall.ELOOP):
		return "something else has the name of a file of the run; name another folder"
	case is(os.ErrPermission, syscall.EROFS):
		return "name a folder that may be written to"
	}
	return "name another folder"
}

// newResume looks for a state that belongs to this run.
func newResume(cfg *RunConfig, inputs []input, again string) (_ *resume, err error) {
	s := &resume{cfg: cfg.Resume, now: cfg.Now, kept: cfg.Now()}
	if s.release, err = claim(s.cfg.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	b := cfg.Engine
	s.of = resumeState{Schema: resumeSchema, Of: s.cfg.Of,
		Bounds: fmt.Sprint(cfg.From, cfg.To, cfg.Warm, b.Grace, b.DedupHorizon, b.DedupMax, b.ReorderMax, b.IncludeShadow, cfg.Options.MaxRecord, cfg.Options.MaxOpen, cfg.Options.Regions)}
	for _, in := range inputs {
		x := resumeInput{Path: in.path, Size: in.size}
		if st, err := os.Lstat(in.path); err == nil && in.path != "-" {
			x.Size, x.Changed, x.Touched = st.Size(), st.ModTime().UnixNano(), touched(st)
		}
		s.of.Inputs = append(s.of.Inputs, x)
	}
	state, engine, err := readState(filepath.Join(s.cfg.Dir, stateFile))
	why := again
	switch {
	case why != "":
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		why = "what was kept cannot be read: " + err.Error()
	default:
		why = s.differs(state)
	}
	if why != "" || err != nil {
		if err := forget(s.cfg.Dir, stateFile, stateFile+".new", alertsFile); err != nil {
			return nil, err
		}
		if why != "" {
			s.tell(Resumed{Why: why})
		}
		return s, nil
	}
	s.from, s.engine = state, engine
	s.skipping.Store(state.Applied > 0)
	s.tell(Resumed{Events: state.Applied, At: state.At})
	return s, nil
}

func (s *resume) tell(r Resumed) {
	if s.cfg.OnBegin != nil {
		s.cfg.OnBegin(r)
	}
}

// differs says why a state is not of this run.
func (s *resume) differs(o *resumeState) string {
	switch {
	case o.Schema != s.of.Schema:
		return "another version of the program kept the state"
	case o.Of != s.of.Of || o.Bounds != s.of.Bounds:
		return "rules or settings are not those of the interrupted run"
	case len(o.Inputs) != len(s.of.Inputs):
		return fmt.Sprintf("there are %d files to read, and there were %d", len(s.of.Inputs), len(o.Inputs))
	}
	for i, in := range s.of.Inputs {
		if was := o.Inputs[i]; was.Path != in.Path {
			return fmt.Sprintf("%s is to be read where %s was", in.Path, was.Path)
		} else if was != in {
			return in.Path + " has changed"
		}
	}
	return ""
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// count books an event that is about to be applied.
func (s *resume) count(res *result) {
	h := crc32.Update(0, castagnoli, []byte(res.v.ID()))
	s.sum = bits.RotateLeft64(s.sum, 7)*0x9e3779b97f4a7c15 + uint64(h) ^ uint64(res.at.UnixNano())
	s.applied++
}

// skip says that the event was applied by the interrupted run.
func (r *run) skip(res *result) (bool, error) {
	s := r.resume
	if s.from != nil && s.applied == s.from.Applied {
		if err := r.goOn(); err != nil {
			return false, err
		}
	}
	s.count(res)
	return s.from != nil, nil
}

// goOn takes up the state when everything before it was read again.
func (r *run) goOn() error {
	s := r.resume
	if s.sum != s.from.Sum || s.applied != s.from.Applied {
		return fmt.Errorf("%w: other events than before", ErrChanged)
	}
	return r.takeUp()
}

// takeUp makes the state that was kept the run's own.
func (r *run) takeUp() error {
	s := r.resume
	if err := r.engine.Restore(s.engine); err != nil {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	r.stats.Detections, r.stats.ByRule = s.from.Detections, s.from.ByRule
	if r.stats.ByRule == nil {
		r.stats.ByRule = map[string]int64{}
	}
	s.skipping.Store(false)
	s.from, s.engine = nil, nil
	return nil
}

// open lets the alerts wait in the folder, after those of the interrupted run.
func (s *resume) open(p *sorter) error {
	f, err := os.OpenFile(filepath.Join(s.cfg.Dir, alertsFile), os.O_RDWR|os.O_CREATE|openFlags, 0o600)
	if err != nil {
		return fmt.Errorf("the alerts of the interrupted run: %w", plain(err))
	}
	p.file, p.stays = f, true
	if s.from == nil {
		return f.Truncate(0)
	}
	if st, err := f.Stat(); err != nil || st.Size() < s.from.Alerts {
		return fmt.Errorf("%w: its alerts are gone", ErrChanged)
	}
	for _, run := range s.from.Runs {
		p.runs = append(p.runs, stretch{run[0], run[1], int(run[2])})
	}
	p.size = s.from.Alerts
	if err := f.Truncate(p.size); err != nil {
		return err
	}
	_, err = f.Seek(p.size, io.SeekStart)
	return err
}

// keepNow says that the state was not kept for a while.
func (s *resume) keepNow() bool {
	return s.from == nil && s.now().Sub(s.kept) >= cmp.Or(s.cfg.Every, stateEvery)
}

// keep writes down how far the run is. A run that is still reading what was
// evaluated before has a better state in the folder than it could write. Where
// that fails the run goes on, as long as the alerts have room in memory.
func (r *run) keep(at time.Time) error {
	s := r.resume
	if s == nil || s.from != nil || r.err != nil {
		return nil
	}
	r.collect()
	if r.err != nil {
		return r.err
	}
	r.parts.held = append(r.parts.held, r.grouper.Take()...)
	err := r.writeDown(at)
	s.kept = s.now()
	if err == nil {
		s.trouble = false
		return nil
	}
	if len(r.parts.held) >= r.cfg.Held {
		return err
	}
	if !s.trouble && s.cfg.OnTrouble != nil {
		s.cfg.OnTrouble(err)
	}
	s.trouble = true
	return nil
}

// writeDown is keep without what becomes of an error. What was kept before is
// still whole then.
func (r *run) writeDown(at time.Time) error {
	s := r.resume
	if len(r.parts.held) > 0 {
		if err := r.parts.spill(); err != nil {
			return err
		}
	}
	if err := r.parts.file.Sync(); err != nil {
		return r.parts.full(err)
	}
	engine := r.engine.Snapshot()
	sum := sha256.Sum256(engine)
	st := s.of
	st.Applied, st.Sum, st.At = s.applied, s.sum, at
	st.Detections, st.ByRule = r.stats.Detections, maps.Clone(r.stats.ByRule)
	for _, run := range r.parts.runs {
		st.Runs = append(st.Runs, [3]int64{run.at, run.size, int64(run.parts)})
	}
	st.Alerts, st.Engine, st.SHA256 = r.parts.size, int64(len(engine)), hex.EncodeToString(sum[:])
	if err := writeState(filepath.Join(s.cfg.Dir, stateFile), &st, engine); err != nil {
		return fmt.Errorf("the state of the run cannot be kept (%w): %s", plain(err), remedy(err))
	}
	return nil
}

// ended keeps the state of a run that has read everything, or was stopped, and
// sees to it that nothing is left to be skipped.
func (r *run) ended(stopped error) error {
	s := r.resume
	if s.from != nil && stopped != nil {
		// Stopped again before it was where it had been: what is told is what
		// was found then, and what is kept stays as it is.
		if s.from.At.After(r.last) {
			r.last = s.from.At
		}
		return r.takeUp()
	}
	if s.from != nil {
		// All of it was evaluated before, or there is less than there was.
		if err := r.goOn(); err != nil {
			return err
		}
	}
	return r.keep(r.last)
}

// Began tells when the run that is kept in dir was begun, so that times that are
// counted back from now mean the same when it goes on: now the first time, and
// again when of is another; it is what now is counted in. The folder is made if
// need be; ErrBusy says that a run uses it.
func Began(dir, of string, now time.Time) (time.Time, error) {
	now = now.UTC().Round(0) // as it is read back
	release, err := claim(dir)
	if err != nil {
		return now, err
	}
	defer release()
	path := filepath.Join(dir, beganFile)
	type began struct {
		Of string    `json:"of"`
		At time.Time `json:"at"`
	}
	var was began
	if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &was) == nil && was.Of == of && !was.At.After(now) {
		return was.At, nil
	}
	data, err := json.Marshal(began{of, now})
	if err == nil {
		err = writeWhole(path, data)
	}
	if err != nil {
		return now, fmt.Errorf("the folder for the state of the run: %w", err)
	}
	return now, nil
}

func writeState(path string, st *resumeState, engine []byte) error {
	head, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return writeWhole(path, append(append(head, '\n'), engine...))
}

// writeWhole writes a file that has its name only when it is whole.
func writeWhole(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|openFlags, 0o600)
	if err != nil {
		return err
	}
	if err = putFile(f, data); err == nil {
		err = f.Sync()
	}
	if err = cmp.Or(err, f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		_ = os.Remove(path + ".new") // half a file is none
	}
	return err
}

// putFile is how the files of a run are written; a variable for tests of disks that
// are full.
var putFile = func(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}

// readState reads what writeState wrote, and nothing else.
func readState(path string) (*resumeState, []byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, nil, plain(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxBytesState {
		return nil, nil, errors.New("it is no state of a run")
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, nil, err
	}
	return parseState(data)
}

// maxBytesState is the largest state file that is read.
const maxBytesState = 4 << 30

func parseState(data []byte) (*resumeState, []byte, error) {
	head, engine, ok := bytes.Cut(data, []byte("\n"))
	var s resumeState
	if !ok || len(head) > maxStateHead || json.Unmarshal(head, &s) != nil {
		return nil, nil, errors.New("it is no state of a run")
	}
	if sum := sha256.Sum256(engine); s.Engine != int64(len(engine)) || s.SHA256 != hex.EncodeToString(sum[:]) || s.Applied < 0 {
		return nil, nil, errors.New("it is damaged")
	}
	size := int64(0)
	for _, run := range s.Runs {
		if run[0] != size || run[1] < 0 || run[2] < 0 || run[1] > s.Alerts-size || run[2] > run[1] {
			return nil, nil, errors.New("it is damaged")
		}
		size += run[1]
	}
	if size != s.Alerts {
		return nil, nil, errors.New("it is damaged")
	}
	return &s, engine, nil
}

// evaluated makes up for what a worker left out: the event comes after the
// place where the interrupted run was.
func (r *run) evaluated(res *result, hold *batch) {
	ev := res.v.Event
	res.v, res.raw = r.own.eval.Evaluate(ev), false
	if res.v.Keeps() && hold != nil {
		res.v.Hold = hold
	}
}
