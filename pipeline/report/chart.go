package report

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/lists"
)

// All charts are drawn on a canvas that stretches with the page; words stand
// beside it in HTML, where they keep their size.

// steps are the widths that a bar may have, in seconds.
var steps = []int64{60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400}

const (
	maxBars  = 60
	barWidth = 10
	barsHigh = 100
)

// rect is a mark on a canvas.
type rect struct {
	X, Y, W, H string
	Level      int
}

// column is the marks that share a tooltip.
type column struct {
	Tip   string
	Rects []rect
}

type histogram struct {
	Width   int
	Caption string
	Label   string
	Max     int
	Columns []column
	Ticks   []string
	// Where the alerts are in the time of all events, in thousandths.
	Strip          bool
	StripX, StripW string
	StripFrom      string
	StripTo        string
}

func stepWord(l lang, s int64) string {
	switch {
	case s < 3600:
		return l.t("%d min", s/60)
	case s < 86400:
		return l.t("%d h", s/3600)
	}
	return l.t("%d d", s/86400)
}

func at(sec int64) time.Time { return time.Unix(sec, 0).UTC() }

// floor rounds down to a multiple of step, before 1970 too.
func floor(x, step int64) int64 {
	m := x % step
	if m < 0 {
		m += step
	}
	return x - m
}

func newHistogram(l lang, in *In) histogram {
	first, last := span(in.Alerts)
	lo, hi := first.Unix(), last.Unix()
	step := int64(0)
	for _, s := range steps {
		if floor(hi, s)-floor(lo, s) < s*maxBars {
			step = s
			break
		}
	}
	if step == 0 {
		step = ((hi-lo)/maxBars/86400 + 1) * 86400
	}
	from := floor(lo, step)
	n := int((floor(hi, step)-from)/step) + 1
	// A lone bar says little: give it some room.
	for n < 12 {
		n += 2
		from -= step
	}
	h := histogram{Width: n * barWidth, Caption: l.t("Alerts by time of their last evidence, one bar for %s (UTC).", stepWord(l, step))}
	bars := make([][alert.Critical + 1]int, n)
	for i := range in.Alerts {
		k := int((in.Alerts[i].Time.Unix() - from) / step)
		if k >= 0 && k < n {
			bars[k][level(&in.Alerts[i])]++
		}
	}
	sum := func(b [alert.Critical + 1]int) (s int) {
		for _, c := range b {
			s += c
		}
		return s
	}
	for _, b := range bars {
		h.Max = max(h.Max, sum(b))
	}
	for k, b := range bars {
		total := sum(b)
		if total == 0 {
			continue
		}
		c := column{Tip: at(from+int64(k)*step).Format("2006-01-02 15:04Z") + ": " + severityList(l, b)}
		y := float64(barsHigh)
		for s := alert.Critical; s >= alert.Info; s-- {
			if b[s] == 0 {
				continue
			}
			height := float64(b[s]) / float64(h.Max) * barsHigh
			y -= height
			c.Rects = append(c.Rects, rect{fmt.Sprintf("%.1f", float64(k*barWidth)+0.8), fmt.Sprintf("%.2f", y), fmt.Sprintf("%.1f", barWidth-1.6), fmt.Sprintf("%.2f", height), int(s)})
		}
		h.Columns = append(h.Columns, c)
	}
	layout := "2006-01-02"
	switch total := int64(n) * step; {
	case total <= 2*86400:
		layout = "01-02 15:04"
	case total <= 90*86400:
		layout = "01-02 15h"
	}
	for i := range 5 {
		h.Ticks = append(h.Ticks, at(from+int64(n)*step*int64(i)/4).Format(layout))
	}
	h.Label = l.n(int64(len(in.Alerts)), "%s alert", "%s alerts") + ", " + l.t("%s to %s", stamp(first), stamp(last))
	if s := in.Stats; s.FirstEvent != nil && s.LastEvent != nil {
		a, b := s.FirstEvent.Unix(), s.LastEvent.Unix()
		// Only where the picture above is a small part of the whole.
		if whole := b - a; whole > 0 && lo >= a && hi <= b && int64(n)*step*2 < whole {
			w := max(float64(hi-lo)/float64(whole)*1000, 6)
			x := min(float64(lo-a)/float64(whole)*1000, 1000-w)
			h.Strip, h.StripX, h.StripW = true, fmt.Sprintf("%.1f", x), fmt.Sprintf("%.1f", w)
			h.StripFrom, h.StripTo = stamp(*s.FirstEvent), stamp(*s.LastEvent)
		}
	}
	return h
}

// severityList says how many of each, the worst first.
func severityList(l lang, n [alert.Critical + 1]int) string {
	var parts []string
	for s := alert.Critical; s >= alert.Info; s-- {
		if n[s] > 0 {
			parts = append(parts, l.t("%s %s", num(int64(n[s])), l.severity(s)))
		}
	}
	return strings.Join(parts, l.t(", "))
}

type heat struct {
	Caption string
	Days    []string
	Cells   []heatCell
	Hours   []string
}

type heatCell struct {
	X, Y, Level int
	Tip         string
}

// heatLevels is how many shades there are, beside none.
const heatLevels = 5

func newHeat(l lang, as []alert.Alert) heat {
	// Monday first, as ISO has it.
	days := []string{l.t("Mon"), l.t("Tue"), l.t("Wed"), l.t("Thu"), l.t("Fri"), l.t("Sat"), l.t("Sun")}
	var n [7][24]int
	most, md, mh := 0, 0, 0
	for i := range as {
		t := as[i].Time.UTC()
		n[(int(t.Weekday())+6)%7][t.Hour()]++
	}
	for d := range n {
		for h, c := range n[d] {
			if c > most {
				most, md, mh = c, d, h
			}
		}
	}
	tip := func(d, h int) string {
		return l.t("%s %02d:00–%02d:00, %s", days[d], h, (h+1)%24, l.n(int64(n[d][h]), "%s alert", "%s alerts"))
	}
	out := heat{Days: days, Hours: []string{"00", "06", "12", "18", "24"}, Caption: l.t("Alerts by hour of the day and weekday (UTC); busiest: %s.", tip(md, mh))}
	for d := range n {
		for h, c := range n[d] {
			cell := heatCell{X: h, Y: d}
			if c > 0 {
				cell.Level, cell.Tip = 1+(c*heatLevels-1)/most, tip(d, h)
			}
			cell.Level = min(cell.Level, heatLevels)
			out.Cells = append(out.Cells, cell)
		}
	}
	return out
}

// bar is one line of a ranking.
type bar struct {
	Name  string
	Count int
	Rects []rect
	Tip   string
	lane  []rect
}

// Lane is its alerts over time.
func (b bar) Lane() []rect { return b.lane }

// rank counts alerts by a name, the most and worst first.
func rank(l lang, as []alert.Alert, name func(*alert.Alert) string, n int) []bar {
	type entry struct {
		name   string
		counts [alert.Critical + 1]int
		total  int
		weight int
		at     map[[2]int]bool
	}
	byName := map[string]*entry{}
	first, last := span(as)
	whole := max(last.Unix()-first.Unix(), 1)
	var list []*entry
	for i := range as {
		key := name(&as[i])
		if key == "" {
			continue
		}
		e := byName[key]
		if e == nil {
			e = &entry{name: key, at: map[[2]int]bool{}}
			byName[key] = e
			list = append(list, e)
		}
		s := level(&as[i])
		e.counts[s]++
		e.total++
		e.weight = max(e.weight, int(s))
		e.at[[2]int{int(float64(as[i].Time.Unix()-first.Unix()) / float64(whole) * 490), int(s)}] = true
	}
	lists.Sort(list, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(b.total, a.total), strings.Compare(a.name, b.name))
	})
	most := 1
	list = list[:min(n, len(list))]
	for _, e := range list {
		most = max(most, e.total)
	}
	var out []bar
	for _, e := range list {
		b := bar{Name: inert(e.name, maxShort), Count: e.total, Tip: severityList(l, e.counts)}
		x := 0.0
		for s := alert.Critical; s >= alert.Info; s-- {
			if e.counts[s] > 0 {
				w := float64(e.counts[s]) / float64(most) * 100
				b.Rects = append(b.Rects, rect{fmt.Sprintf("%.2f", x), "0", fmt.Sprintf("%.2f", w), "10", int(s)})
				x += w
			}
		}
		var marks [][2]int
		for k := range e.at {
			marks = append(marks, k)
		}
		// The worst is drawn last, on top.
		lists.Sort(marks, func(a, b [2]int) int { return cmp.Or(cmp.Compare(a[1], b[1]), cmp.Compare(a[0], b[0])) })
		for _, k := range marks {
			b.lane = append(b.lane, rect{fmt.Sprint(k[0] * 2), "1", "7", "8", k[1]})
		}
		out = append(out, b)
	}
	return out
}
