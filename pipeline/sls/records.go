package sls

import (
	"encoding/json"
	"fmt"

	sdk "github.com/aliyun/aliyun-log-go-sdk"
	"github.com/klauspost/compress/zstd"
)

// maxArena is how much memory a shard keeps for the records of its next page.
const maxArena = 4 << 20

// eventField is the field that holds the record as ActionTrail delivers it.
const eventField = "event"

// extract copies the records of a page into the shard's arena. A log gives the
// text of its field "event"; one without gives a JSON object of all its
// fields, in which the parser looks for an export by index paths, or finds a
// reason to park it: nothing is dropped here, whatever its topic. times has the
// log's time for its first record, 0 for further ones.
func (sh *shardState) extract(list *sdk.LogGroupList) (records [][]byte, times []int64) {
	size, count := 0, 0
	for _, g := range list.LogGroups {
		for _, l := range g.Logs {
			count++
			for _, kv := range l.Contents {
				size += len(kv.GetValue())
			}
		}
	}
	if cap(sh.arena) < size || cap(sh.arena) > maxArena && size <= maxArena {
		sh.arena = make([]byte, 0, size)
	}
	arena := sh.arena[:0]
	records, times = sh.recordBuf[:0], sh.timeBuf[:0]
	if cap(records) < count {
		records, times = make([][]byte, 0, count), make([]int64, 0, count)
	}
	for _, g := range list.LogGroups {
		for _, l := range g.Logs {
			found, at := false, int64(l.GetTime())
			for _, kv := range l.Contents {
				if v := kv.GetValue(); kv.GetKey() == eventField && v != "" {
					start := len(arena)
					arena = append(arena, v...)
					records, times = append(records, arena[start:len(arena):len(arena)]), append(times, at)
					found, at = true, 0
				}
			}
			if !found {
				records, times = append(records, fieldsObject(g.GetTopic(), l)), append(times, at)
			}
		}
	}
	sh.arena, sh.recordBuf, sh.timeBuf = arena[:0], records[:0], times[:0]
	return records, times
}

// fieldsObject is a log as one JSON object, fields in their order.
func fieldsObject(topic string, l *sdk.Log) []byte {
	b := []byte{'{'}
	add := func(k, v string) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		key, err1 := json.Marshal(k)
		val, err2 := json.Marshal(v)
		if err1 != nil || err2 != nil { // a string always encodes
			return
		}
		b = append(append(append(b, key...), ':'), val...)
	}
	hasTopic := false
	for _, kv := range l.Contents {
		hasTopic = hasTopic || kv.GetKey() == "__topic__"
		add(kv.GetKey(), kv.GetValue())
	}
	if topic != "" && !hasTopic {
		add("__topic__", topic)
	}
	return append(b, '}')
}

// boundedZstd is the SDK's zstd coder with a bound on what a page may unpack
// to; the SDK's own would unpack 64 GiB.
type boundedZstd struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newBoundedZstd() boundedZstd {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(fmt.Sprintf("sls: zstd options: %v", err)) // constant options
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxPageRaw), zstd.WithDecoderConcurrency(0))
	if err != nil {
		panic(fmt.Sprintf("sls: zstd options: %v", err)) // constant options
	}
	return boundedZstd{enc, dec}
}

// Compress implements the SDK's LogCompressor.
func (z boundedZstd) Compress(src, dst []byte) ([]byte, error) {
	return z.enc.EncodeAll(src, dst[:0]), nil
}

// Decompress implements the SDK's LogCompressor.
func (z boundedZstd) Decompress(src, dst []byte) ([]byte, error) {
	return z.dec.DecodeAll(src, dst[:0])
}
