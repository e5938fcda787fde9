package console

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/text"
)

// EntityFacts is the screen Entity as JSON.
type EntityFacts struct {
	Entity index.Entity  `json:"entity"`
	Alerts []index.Alert `json:"alerts"` // that name it, newest first, at most 100
	Page   int           `json:"page"`
	Pages  int           `json:"pages"`
	// Held is the time of the oldest event that is held: before it nothing is
	// known here.
	Held time.Time `json:"held_since,omitzero"`
}

type entityView struct {
	page
	EntityFacts
	Bars       []bar
	Marks      []mark
	Width      int
	Heat       []heatCell
	Days       []string
	Rows       []row  // the newest of Alerts
	AllRows    string // where the others are; "" when there are none
	Ranges     []rangeLink
	Prev, Next string
	Whole      string // this entity without a range
	Ticks      []string
	Replay     string
	Data       string // for the chart that can be zoomed
}

type bar struct {
	X, W    string
	OK, Bad rectY
	Tip     string
}

type rectY struct{ Y, H string }

type mark struct {
	X, Tip string
	Level  int
}

type heatCell struct {
	X, Y, Level int
	Tip         string
}

type rangeLink struct {
	Word, At string
	On       bool
}

const (
	chartWide = 960
	chartHigh = 100
)

// when reads a time of the address: RFC 3339 or seconds since 1970.
func when(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < 1<<36 {
		return time.Unix(n, 0).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%w: %q is not a time like 2026-11-20T00:00:00Z", errBadRequest, s[:min(len(s), 40)])
	}
	return t.UTC(), nil
}

// entityRows is how many alerts the page of an entity shows.
const entityRows = 20

func (q *ask) entityPage() error {
	kind, v := q.r.PathValue("kind"), q.r.URL.Query()
	switch kind {
	case index.KindActor, index.KindKey, index.KindIP:
	default:
		return fmt.Errorf("%w: kind %q: want actor, key or ip", admin.ErrNotFound, kind[:min(len(kind), 40)])
	}
	id := v.Get("id")
	if id == "" || len(id) > 1024 {
		return fmt.Errorf("%w: which %s? (id=…)", errBadRequest, kind)
	}
	from, err := when(v.Get("from"))
	if err != nil {
		return err
	}
	to, err := when(v.Get("to"))
	if err != nil {
		return err
	}
	n := pageNumber(q.r)
	e := q.s.o.Index.Entity(kind, id, from, to, (n-1)*PerPage, PerPage)
	f := EntityFacts{Entity: e, Alerts: q.s.o.Index.About(kind, id, 100), Page: n, Pages: max((e.Count+PerPage-1)/PerPage, 1)}
	if f.Alerts == nil {
		f.Alerts = []index.Alert{}
	}
	_, _, f.Held, _ = q.s.o.Index.EventsHeld()
	p := q.page(q.lang.t("Entity"))
	p.Nav = ""
	view := entityView{page: p, EntityFacts: f}
	view.Rows = q.rows(f.Alerts[:min(len(f.Alerts), entityRows)], &view.page)
	if len(f.Alerts) > entityRows {
		// The list is searched by words: of an identity, its name.
		view.AllRows = "/?" + url.Values{"state": {"all"}, "q": {id[strings.LastIndexByte(id, '/')+1:]}}.Encode()
	}
	at := func(set map[string]string) string {
		w := url.Values{"id": {id}}
		if s := v.Get("from"); s != "" {
			w.Set("from", s)
		}
		if s := v.Get("to"); s != "" {
			w.Set("to", s)
		}
		for k, s := range set {
			if w.Set(k, s); s == "" {
				w.Del(k)
			}
		}
		return "/entities/" + kind + "?" + w.Encode()
	}
	view.Whole = at(map[string]string{"from": "", "to": ""})
	if n > 1 {
		view.Prev = at(map[string]string{"page": strconv.Itoa(n - 1)})
	}
	if n < f.Pages {
		view.Next = at(map[string]string{"page": strconv.Itoa(n + 1)})
	}
	view.Ranges = append(view.Ranges, rangeLink{q.lang.t("all"), view.Whole, from.IsZero() && to.IsZero()})
	if !e.Last.IsZero() {
		for _, r := range []struct {
			word string
			d    time.Duration
		}{{"last hour", time.Hour}, {"last 24 h", 24 * time.Hour}, {"last 7 d", 7 * 24 * time.Hour}} {
			lo := e.Last.Add(-r.d).Truncate(time.Second)
			hi := e.Last.Add(time.Second).Truncate(time.Second)
			view.Ranges = append(view.Ranges, rangeLink{q.lang.t(r.word), at(map[string]string{"from": lo.Format(time.RFC3339), "to": hi.Format(time.RFC3339)}), from.Equal(lo) && to.Equal(hi)})
		}
	}
	view.draw(q.lang)
	if plainWord(id) {
		view.Replay = "trailwarden replay --entity " + id + " FILES"
	}
	return q.reply("entity", view, f)
}

// draw makes the charts that need no script.
func (v *entityView) draw(l lang) {
	e := &v.Entity
	v.Width = chartWide
	n := len(e.Buckets)
	if n > 0 {
		most := 1
		for _, b := range e.Buckets {
			most = max(most, b.OK+b.Refused)
		}
		w := float64(chartWide) / float64(n)
		data := struct {
			Step  int64   `json:"step"`
			At    []int64 `json:"at"`
			OK    []int   `json:"ok"`
			Bad   []int   `json:"bad"`
			Marks []struct {
				At    int64  `json:"at"`
				Level int    `json:"level"`
				ID    string `json:"id"`
			} `json:"marks"`
			Words [3]string `json:"words"`
		}{Step: e.Step, Words: [3]string{l.t("time (UTC)"), l.t("done"), l.t("refused")}}
		for i, b := range e.Buckets {
			data.At, data.OK, data.Bad = append(data.At, b.At.Unix()), append(data.OK, b.OK), append(data.Bad, b.Refused)
			if b.OK+b.Refused == 0 {
				continue
			}
			hOK, hBad := float64(b.OK)/float64(most)*chartHigh, float64(b.Refused)/float64(most)*chartHigh
			v.Bars = append(v.Bars, bar{X: fmt.Sprintf("%.2f", float64(i)*w), W: fmt.Sprintf("%.2f", max(w-0.6, 0.6)),
				OK: rectY{fmt.Sprintf("%.2f", chartHigh-hOK), fmt.Sprintf("%.2f", hOK)}, Bad: rectY{fmt.Sprintf("%.2f", chartHigh-hOK-hBad), fmt.Sprintf("%.2f", hBad)},
				Tip: l.t("%s: %s done, %s refused", b.At.Format("2006-01-02 15:04:05Z"), num(b.OK), num(b.Refused))})
		}
		first := e.Buckets[0].At
		span := time.Duration(n) * time.Duration(e.Step) * time.Second
		for i := len(v.Alerts) - 1; i >= 0; i-- {
			a := v.Alerts[i]
			x := float64(a.LastAt.Sub(first)) / float64(span)
			if x < 0 || x > 1 {
				continue
			}
			v.Marks = append(v.Marks, mark{X: fmt.Sprintf("%.2f", x*chartWide), Tip: a.LastAt.UTC().Format("2006-01-02 15:04:05Z") + " " + l.t(a.Severity.String()) + " " + text.Cut(text.Line(a.Rule), maxName), Level: int(a.Severity)})
			data.Marks = append(data.Marks, struct {
				At    int64  `json:"at"`
				Level int    `json:"level"`
				ID    string `json:"id"`
			}{a.LastAt.Unix(), int(a.Severity), a.ID})
		}
		for i := range 5 {
			v.Ticks = append(v.Ticks, first.Add(span*time.Duration(i)/4).Format("01-02 15:04"))
		}
		if b, err := json.Marshal(data); err == nil {
			v.Data = string(b)
		}
	}
	for _, d := range []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"} {
		v.Days = append(v.Days, l.t(d))
	}
	most := 1
	for d := range e.Heat {
		for _, c := range e.Heat[d] {
			most = max(most, c)
		}
	}
	for d := range e.Heat {
		for h, c := range e.Heat[d] {
			cell := heatCell{X: h, Y: d}
			if c > 0 {
				cell.Level = min(1+(c*5-1)/most, 5)
				cell.Tip = l.t("%s %02d:00 UTC: %s events", v.Days[d], h, num(c))
			}
			v.Heat = append(v.Heat, cell)
		}
	}
}
