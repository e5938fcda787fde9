package bus

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// Bounds of a frame. A writer keeps to them, a reader refuses what exceeds
// them before it allocates.
const (
	// MaxRecords in a frame.
	MaxRecords = 256
	// MaxBody is the stored (usually compressed) size of all records, so
	// that a frame fits the default max_payload of any server.
	MaxBody = 768 << 10
	// MaxRaw is the size of all records before compression: one record of
	// the largest accepted size.
	MaxRaw = 6 << 20
	// MaxShards is how many shards of one source a frame can name.
	MaxShards = 1024
	// MaxTally is how many spans of time a frame counts logs of.
	MaxTally = 1024
	// TallySpan is the length of one of them, in seconds.
	TallySpan = 600
	// maxText bounds a source name or position.
	maxText = 1024
	// compressFrom is where compression begins to pay.
	compressFrom = 512
)

// Kind says what a frame is for.
type Kind uint8

// The kinds.
const (
	// Data carries records.
	Data Kind = iota + 1
	// Mark carries no records: it makes the position of a page durable of
	// which no partition received a record.
	Mark
	// Tick carries only the ingest stamp: traffic paused, work that waits
	// for the watermark may go on.
	Tick
)

// PartitionCount is how many frames of one shard a partition has received:
// After counts all, up to and including a page; InPage those of the page.
type PartitionCount struct {
	Partition     int
	After, InPage uint64
}

// Frame is the unit on the bus: records of one partition from one page of one
// source shard, with everything needed to know where reading has to resume.
type Frame struct {
	Kind   Kind
	Source string
	Shard  int
	// From and To are the page's span in the source's own positions. PrevTo
	// is the position that was durable before the page.
	From, To, PrevTo string
	// Reach is the furthest To of this and all earlier frames of the same
	// subject: an interrupted page may have reached further than the pages
	// that finished it.
	Reach     string
	Partition int
	// Counter numbers the frames of (partition, source, shard) from 1
	// without gaps: a missing number is lost data.
	Counter uint64
	// Page numbers the pages of (source, shard), every attempt its own.
	Page uint64
	// PrevSeq is the stream sequence of the frame before it on the same
	// subject, 0 for the first; the chain can be walked backwards.
	PrevSeq uint64
	// Counts has one entry per partition that ever received a frame of
	// this shard, ascending. A page is complete when every partition has
	// reached After.
	Counts []PartitionCount
	// Behind are the shards of the source that had more to give when the frame
	// was stored, as far as the reader knew.
	Behind []int
	// Origin is, for records that did not come the usual way (a repair), the
	// source and shard they are of, source/shard; empty means Source and Shard.
	Origin string
	// Repairs names a gap (Commit.Missing) of which all records were read again
	// with this frame.
	Repairs string
	// Tally says how many logs of the source the frame stands for, by the
	// source's own time; parked ones are counted with the first frame of their
	// page. It is compared with what the source says it holds.
	Tally []Tally
	// Received is the ingest stamp, the only "now" that evaluation knows.
	Received time.Time
	// Records are raw audit records. After DecodeFrame they share one
	// buffer that nothing else uses.
	Records [][]byte
}

// Tally counts logs whose time lies in [Span, Span+1) times TallySpan seconds
// after the epoch.
type Tally struct {
	Span  int64
	Count uint64
}

// Codec errors.
var (
	// ErrCorrupt: the bytes are not a frame, or were changed.
	ErrCorrupt = errors.New("corrupt")
	// ErrVersion: written by a newer program.
	ErrVersion = errors.New("unknown version")
)

const (
	frameMagic = "TWF"
	// frameVersion is what is written. Version 1, which has none of Behind,
	// Origin, Repairs and Tally, is read too.
	frameVersion = 2
	flagZstd     = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithEncoderConcurrency(max(runtime.GOMAXPROCS(0), 1)), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err) // fixed options
	}
	return e
})

// Two decoders, so that damaged frames and commits cannot make us allocate what
// only a snapshot may need.
var (
	decoder    = sync.OnceValue(func() *zstd.Decoder { return newDecoder(2 * MaxRaw) })
	bigDecoder = sync.OnceValue(func() *zstd.Decoder { return newDecoder(MaxSnapshot + 1<<20) })
)

func newDecoder(limit uint64) *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(max(runtime.GOMAXPROCS(0), 1)),
		zstd.WithDecoderMaxMemory(limit), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		panic(err) // fixed options
	}
	return d
}

// inflate decompresses src, which must give exactly size bytes. It never
// allocates more than that and a little, whatever src claims.
func inflate(src []byte, size int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(src); err != nil {
		return nil, fmt.Errorf("%w: body: %w", ErrCorrupt, err)
	}
	// Our encoder always writes the size, so its absence is damage too.
	if !h.HasFCS || h.FrameContentSize != uint64(size) {
		return nil, fmt.Errorf("%w: body is %d bytes, want %d", ErrCorrupt, h.FrameContentSize, size)
	}
	d := decoder
	if size > MaxRaw {
		d = bigDecoder
	}
	out, err := d().DecodeAll(src, make([]byte, 0, size))
	if err != nil {
		return nil, fmt.Errorf("%w: body: %w", ErrCorrupt, err)
	}
	if len(out) != size {
		return nil, fmt.Errorf("%w: body is %d bytes, want %d", ErrCorrupt, len(out), size)
	}
	return out, nil
}

// deflate compresses raw where that makes it smaller.
func deflate(raw []byte) (body []byte, zipped bool) {
	if len(raw) < compressFrom {
		return raw, false
	}
	z := encoder().EncodeAll(raw, make([]byte, 0, len(raw)/4))
	if len(z) >= len(raw) {
		return raw, false
	}
	return z, true
}

// EncodeFrame writes a frame. It fails with ErrTooLarge when the records do not
// fit, and on a frame that its own decoder would refuse.
func EncodeFrame(f *Frame) ([]byte, error) {
	raw := 0
	for _, r := range f.Records {
		raw += len(r)
	}
	switch {
	case f.Kind < Data || f.Kind > Tick:
		return nil, fmt.Errorf("frame: kind %d", f.Kind)
	case len(f.Records) > MaxRecords:
		return nil, fmt.Errorf("frame: %w: %d records, at most %d", ErrTooLarge, len(f.Records), MaxRecords)
	case (f.Kind == Data) != (len(f.Records) > 0):
		return nil, fmt.Errorf("frame: kind %d with %d records", f.Kind, len(f.Records))
	case raw > MaxRaw:
		return nil, fmt.Errorf("frame: %w: %d bytes of records, at most %d", ErrTooLarge, raw, MaxRaw)
	case len(f.Behind) > MaxShards || len(f.Tally) > MaxTally:
		return nil, fmt.Errorf("frame: %d shards, %d spans", len(f.Behind), len(f.Tally))
	case f.Shard < 0 || f.Partition < 0 || f.Partition >= MaxPartitions || len(f.Counts) > MaxPartitions:
		return nil, fmt.Errorf("frame: shard %d, partition %d, %d counts", f.Shard, f.Partition, len(f.Counts))
	}
	for _, s := range []string{f.Source, f.Origin, f.Repairs, f.From, f.To, f.PrevTo, f.Reach} {
		if len(s) > maxText {
			return nil, fmt.Errorf("frame: source or position of %d bytes, at most %d", len(s), maxText)
		}
	}
	joined := make([]byte, 0, raw)
	for _, r := range f.Records {
		joined = append(joined, r...)
	}
	body, zipped := deflate(joined)
	if len(body) > MaxBody {
		return nil, fmt.Errorf("frame: %w: body of %d bytes, at most %d", ErrTooLarge, len(body), MaxBody)
	}
	b := make([]byte, 0, len(body)+len(f.Source)+len(f.From)+len(f.To)+len(f.PrevTo)+len(f.Reach)+4*len(f.Records)+8*len(f.Counts)+64)
	b = append(b, frameMagic...)
	flags := byte(0)
	if zipped {
		flags |= flagZstd
	}
	b = append(b, frameVersion, byte(f.Kind), flags)
	b = appendText(b, f.Source)
	b = binary.AppendUvarint(b, uint64(f.Shard))
	b = appendText(b, f.From)
	b = appendText(b, f.To)
	b = appendText(b, f.PrevTo)
	b = appendText(b, f.Reach)
	b = binary.AppendUvarint(b, uint64(f.Partition))
	b = binary.AppendUvarint(b, f.Counter)
	b = binary.AppendUvarint(b, f.Page)
	b = binary.AppendUvarint(b, f.PrevSeq)
	b = binary.AppendUvarint(b, uint64(len(f.Counts)))
	for _, c := range f.Counts {
		b = binary.AppendUvarint(b, uint64(c.Partition))
		b = binary.AppendUvarint(b, c.After)
		b = binary.AppendUvarint(b, c.InPage)
	}
	b = binary.AppendVarint(b, f.Received.UnixNano())
	b = appendText(b, f.Origin)
	b = appendText(b, f.Repairs)
	b = binary.AppendUvarint(b, uint64(len(f.Behind)))
	for _, n := range f.Behind {
		b = binary.AppendUvarint(b, uint64(max(n, 0)))
	}
	b = binary.AppendUvarint(b, uint64(len(f.Tally)))
	for _, t := range f.Tally {
		b = binary.AppendVarint(b, t.Span)
		b = binary.AppendUvarint(b, t.Count)
	}
	b = binary.AppendUvarint(b, uint64(len(f.Records)))
	for _, r := range f.Records {
		b = binary.AppendUvarint(b, uint64(len(r)))
	}
	b = binary.AppendUvarint(b, uint64(len(body)))
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// cursor reads varints and texts; after the first fault every read gives zero
// values.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 || v > limit {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) bytes(limit uint64) []byte {
	n := c.uvarint(limit)
	if c.bad || n > uint64(len(c.b)) {
		c.bad = true
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

// DecodeFrame reads what EncodeFrame wrote. data may be reused afterwards. It
// returns ErrCorrupt for anything else, ErrVersion for a newer format; it never
// panics and never allocates more than MaxRaw and a little.
func DecodeFrame(data []byte) (*Frame, error) {
	return decodeFrame(data, true)
}

// DecodeFrameHead reads all but the records, which stay nil. The checksum is
// verified over the whole frame.
func DecodeFrameHead(data []byte) (*Frame, error) {
	return decodeFrame(data, false)
}

func decodeFrame(data []byte, body bool) (*Frame, error) {
	const head = len(frameMagic) + 3
	if len(data) < head+4 || string(data[:len(frameMagic)]) != frameMagic {
		return nil, fmt.Errorf("frame: %w: no frame", ErrCorrupt)
	}
	end := len(data) - 4
	if crc32.Checksum(data[:end], castagnoli) != binary.LittleEndian.Uint32(data[end:]) {
		return nil, fmt.Errorf("frame: %w: checksum", ErrCorrupt)
	}
	version := data[3]
	if version == 0 || version > frameVersion {
		return nil, fmt.Errorf("frame: %w %d, this program reads 1 to %d", ErrVersion, version, frameVersion)
	}
	f := &Frame{Kind: Kind(data[4])}
	flags := data[5]
	if f.Kind < Data || f.Kind > Tick || flags > flagZstd {
		return nil, fmt.Errorf("frame: %w: kind %d, flags %d", ErrCorrupt, f.Kind, flags)
	}
	c := &cursor{b: data[head:end]}
	f.Source = string(c.bytes(maxText))
	f.Shard = int(c.uvarint(math.MaxInt32))
	f.From = string(c.bytes(maxText))
	f.To = string(c.bytes(maxText))
	f.PrevTo = string(c.bytes(maxText))
	f.Reach = string(c.bytes(maxText))
	f.Partition = int(c.uvarint(MaxPartitions - 1))
	f.Counter = c.uvarint(math.MaxUint64)
	f.Page = c.uvarint(math.MaxUint64)
	f.PrevSeq = c.uvarint(math.MaxUint64)
	if n := int(c.uvarint(MaxPartitions)); n > 0 && !c.bad {
		f.Counts = make([]PartitionCount, n)
		for i := range f.Counts {
			f.Counts[i] = PartitionCount{Partition: int(c.uvarint(MaxPartitions - 1)), After: c.uvarint(math.MaxUint64), InPage: c.uvarint(math.MaxUint64)}
		}
	}
	f.Received = time.Unix(0, c.varint()).UTC()
	if version >= 2 {
		f.Origin = string(c.bytes(maxText))
		f.Repairs = string(c.bytes(maxText))
		for n := c.uvarint(MaxShards); n > 0 && !c.bad; n-- {
			f.Behind = append(f.Behind, int(c.uvarint(math.MaxInt32)))
		}
		for n := c.uvarint(MaxTally); n > 0 && !c.bad; n-- {
			f.Tally = append(f.Tally, Tally{Span: c.varint(), Count: c.uvarint(math.MaxUint64)})
		}
	}
	n := int(c.uvarint(MaxRecords))
	if !c.bad && (f.Kind == Data) != (n > 0) {
		return nil, fmt.Errorf("frame: %w: kind %d with %d records", ErrCorrupt, f.Kind, n)
	}
	lens := make([]int, n)
	total := 0
	for i := range lens {
		lens[i] = int(c.uvarint(MaxRaw))
		if total += lens[i]; total > MaxRaw {
			c.bad = true
			break
		}
	}
	stored := c.bytes(MaxBody)
	if c.bad || len(c.b) != 0 {
		return nil, fmt.Errorf("frame: %w: malformed head", ErrCorrupt)
	}
	if !body {
		return f, nil
	}
	var raw []byte
	if flags&flagZstd != 0 {
		var err error
		if raw, err = inflate(stored, total); err != nil {
			return nil, fmt.Errorf("frame: %w", err)
		}
	} else {
		if len(stored) != total {
			return nil, fmt.Errorf("frame: %w: body is %d bytes, want %d", ErrCorrupt, len(stored), total)
		}
		raw = append(make([]byte, 0, total), stored...)
	}
	if n > 0 {
		f.Records = make([][]byte, n)
		for i, l := range lens {
			f.Records[i], raw = raw[:l:l], raw[l:]
		}
	}
	return f, nil
}

// ID is the message id of an encoded frame: a function of its whole content.
func (f *Frame) ID(encoded []byte) string {
	var d xxhash.Digest
	d.Reset()
	_, _ = fmt.Fprintf(&d, "%s\x00%d\x00%s\x00%s\x00%d\x00%d\x00%d", f.Source, f.Shard, f.From, f.To, f.Partition, f.Counter, f.Page)
	var out [16]byte
	binary.BigEndian.PutUint64(out[:8], d.Sum64())
	binary.BigEndian.PutUint64(out[8:], xxhash.Sum64(encoded))
	return hex.EncodeToString(out[:])
}

// ShardToken is the subject token of a source shard.
func ShardToken(source string, shard int) string {
	var out [8]byte
	binary.BigEndian.PutUint64(out[:], xxhash.Sum64String(fmt.Sprintf("%s\x00%d", source, shard)))
	return hex.EncodeToString(out[:])
}

// EventsSubject is where frames of a partition and a source shard go.
func EventsSubject(partition int, token string) string {
	return fmt.Sprintf("ev.%d.%s", partition, token)
}

// CommitSubject is where a partition's commit records go.
func CommitSubject(partition int) string { return fmt.Sprintf("cm.%d", partition) }

// SelfSubject is where reports about ourselves are committed: not a partition's,
// so that a server can keep those who may report from committing.
const SelfSubject = "cm.self"

// Fits says whether a single record fits a frame once compressed.
func Fits(record []byte) bool {
	if len(record) > MaxRaw {
		return false
	}
	body, _ := deflate(record)
	return len(body) <= MaxBody
}
