package slstest

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"testing"

	sls "github.com/aliyun/aliyun-log-go-sdk"
	"pgregory.net/rapid"
)

// FuzzDecompress: hostile bodies give an error or exactly the claimed size.
func FuzzDecompress(f *testing.F) {
	raw := bytes.Repeat([]byte("trail"), 50)
	for _, enc := range []string{"lz4", "zstd", ""} {
		b := raw
		if enc != "" {
			b = compress(enc, raw)
		}
		f.Add(enc, b, len(raw))
		f.Add(enc, b, len(raw)+1)
		f.Add(enc, b[:len(b)/2], len(raw))
	}
	f.Add("lz4", []byte{0xF0, 0xFF, 0xFF}, 1<<30)
	f.Fuzz(func(t *testing.T, enc string, body []byte, size int) {
		out, err := decompress(enc, body, size)
		if err == nil && len(out) != size {
			t.Fatalf("%d bytes without error, claimed %d", len(out), size)
		}
	})
}

// FuzzParseGroup: never panics, and what it accepts means the same to the SDK.
func FuzzParseGroup(f *testing.F) {
	f.Add(Group{Topic: "t", Source: "s", Tags: []Field{{"a", "b"}}, Logs: []Log{{Time: 1, Fields: []Field{{"event", "{}"}}}}}.append(nil))
	f.Add([]byte{0x0A, 0x02, 0x08, 0x01})
	f.Add([]byte{0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := parseGroup(b)
		if err != nil {
			return
		}
		again, err := parseGroup(g.append(nil))
		if err != nil || !reflect.DeepEqual(again, g) {
			t.Fatalf("not stable: %+v became %+v, %v", g, again, err)
		}
		list, err := sls.LogsBytesDecode(g.appendFrame(nil))
		if err != nil || len(list.LogGroups) != 1 || len(list.LogGroups[0].Logs) != len(g.Logs) || list.LogGroups[0].GetTopic() != g.Topic {
			t.Fatalf("the SDK reads %v, %v from %+v", list, err, g)
		}
	})
}

// FuzzRequest: no request makes the server panic or answer success to an
// unknown path.
func FuzzRequest(f *testing.F) {
	ls := "/logstores/actiontrail_main"
	f.Add("GET", ls+"/shards/0", "type=logs&count=10&cursor=MTcwMTAwMDAwMDAwMDAwMA==", "", "lz4", "0")
	f.Add("POST", ls, "", "\x0a\x02\x08\x01", "", "4")
	f.Add("POST", ls+"/shards/route", "key=ff", "\x0a\x02\x08\x01", "", "4")
	f.Add("POST", ls+"/consumergroups/cg", "type=heartbeat&consumer=c", "[0]", "", "0")
	f.Add("POST", ls+"/consumergroups/cg", "type=checkpoint&consumer=c&forceSuccess=true", `{"shard":-1,"checkpoint":"AA=="}`, "", "0")
	f.Add("POST", ls+"/logs", "", `{"from":0,"to":9999999999,"query":"a: b"}`, "zstd", "0")
	f.Add("GET", ls, "type=histogram&from=-9223372036854775808&to=9223372036854775807", "", "", "0")
	f.Add("POST", ls+"/shards/0", "action=split&key=7f", "", "", "0")
	f.Add("POST", ls+"/shards/0", "action=merge", "", "", "0")
	f.Fuzz(func(t *testing.T, method, path, query, body, encoding, size string) {
		s := New(Options{RetainGroups: 10})
		s.Append(0, []byte("{}"))
		s.AppendRaw(0, []byte{0xFF})
		s.SetCheckpoint("cg", 0, "AA==")
		r := httptest.NewRequest("GET", "/", bytes.NewReader([]byte(body)))
		r.Method, r.URL, r.Host = method, &url.URL{Path: path, RawQuery: query}, "localhost"
		r.Header.Set("Accept-Encoding", encoding)
		r.Header.Set("X-Log-Compresstype", encoding)
		r.Header.Set("X-Log-Bodyrawsize", size)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code == 0 || w.Code == http.StatusInternalServerError {
			t.Fatalf("%s %s?%s: status %d %s", method, path, query, w.Code, w.Body)
		}
	})
}

// TestShares: whatever the members do, every shard has at most one owner,
// shares differ by at most one, and no shard is answered to two consumers.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ls := newLogstore("p", "l", rapid.IntRange(1, 9).Draw(t, "shards"), 1, newClock().Now(), &Options{})
		g := newGroup("g", 15_000_000_000, false)
		clk := newClock()
		holds := map[string][]int{}
		t.Repeat(map[string]func(*rapid.T){
			"beat": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "consumer")
				got, ok := g.heartbeat(ls, name, holds[name], clk.Now())
				if !ok {
					delete(holds, name) // evicted: it must drop everything
					return
				}
				// A client gives up at once what it is not told to hold; it
				// says so at its next heartbeat.
				holds[name] = got
			},
			"evict": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "consumer")
				g.evict(name)
				delete(holds, name)
			},
			"split": func(t *rapid.T) {
				id := rapid.IntRange(0, len(ls.shards)-1).Draw(t, "shard")
				if len(ls.shards) < 20 {
					_, _ = ls.split(id, nil, func() int64 { return 1 }, clk.Now(), &Options{})
				}
			},
			"merge": func(t *rapid.T) {
				id := rapid.IntRange(0, len(ls.shards)-1).Draw(t, "shard")
				if len(ls.shards) < 20 {
					_, _, _ = ls.merge(id, func() int64 { return 1 }, clk.Now(), &Options{})
				}
			},
			"": func(t *rapid.T) {
				count := map[string]int{}
				for _, o := range g.owner {
					count[o]++
				}
				for name := range g.consumers {
					for id := range ls.shards {
						for other := range g.consumers {
							if other < name && contains(holds[name], id) && contains(holds[other], id) {
								t.Fatalf("shard %d is held by %s and %s", id, name, other)
							}
						}
					}
				}
			},
		})
		if len(g.consumers) > 0 {
			g.rebalance(ls)
			low, high := len(ls.shards), 0
			for n := range g.consumers {
				c := 0
				for _, o := range g.owner {
					if o == n {
						c++
					}
				}
				low, high = min(low, c), max(high, c)
			}
			if high-low > 1 || len(g.owner) != len(ls.shards) {
				t.Fatalf("shares from %d to %d, %d of %d shards owned", low, high, len(g.owner), len(ls.shards))
			}
		}
	})
}

func contains(s []int, v int) bool {
	for _, x := range s {
		if x == v {
			return true
		}
	}
	return false
}
