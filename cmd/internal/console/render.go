package console

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/packed"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
)

// templates are the files of the folder of that name, packed, and among them the
// description of the JSON forms: `go test
// ./cmd/internal/console -run TestTemplatesArePacked -update` makes it anew.
//
//go:embed templates.tar.zst
var templates []byte

// ours are these files by name.
var ours = sync.OnceValues(func() (map[string][]byte, error) { return packed.Files(templates) })

// What a text may at most be long, in runes.
const (
	maxName  = 120
	maxTitle = 200
	maxText  = 1200
	maxBlock = 20_000

	maxPretty = 48 << 10 // bytes of one JSON text
)

type views struct {
	byLang map[lang]map[string]*template.Template
}

var pageNames = []string{"now", "alert", "entity", "rules", "rule", "actions", "action", "login", "error", "strip"}

func loadViews(assets map[string]asset) (*views, error) {
	files, err := ours()
	if err != nil {
		return nil, fmt.Errorf("the console's templates: %w", err)
	}
	v := &views{byLang: map[lang]map[string]*template.Template{}}
	for _, l := range []lang{english, chinese} {
		v.byLang[l] = map[string]*template.Template{}
		base := template.New("base").Funcs(funcs(l, assets))
		for _, name := range []string{"layout.html", "parts.html"} {
			if _, err := base.New(name).Parse(string(files[name])); err != nil {
				return nil, err
			}
		}
		for _, name := range pageNames {
			t := template.Must(base.Clone())
			if _, err := t.New(name + ".html").Parse(string(files[name+".html"])); err != nil {
				return nil, err
			}
			v.byLang[l][name] = t
		}
	}
	return v, nil
}

func (v *views) render(w io.Writer, l lang, name string, data any) error {
	start := "layout"
	if name == "strip" {
		start = "strip"
	}
	return v.byLang[l][name].ExecuteTemplate(w, start, data)
}

func funcs(l lang, assets map[string]asset) template.FuncMap {
	return template.FuncMap{
		"t": l.t,
		"asset": func(name string) (string, error) {
			a, ok := assets[name]
			if !ok {
				return "", fmt.Errorf("no asset %q", name)
			}
			return "/assets/" + name + "?v=" + a.etag, nil
		},
		// Strangers' text: what cannot be seen is taken out, and length bounded.
		"name":  func(s string) string { return orDash(text.Cut(shown(s), maxName)) },
		"title": func(s string) string { return orDash(text.Cut(shown(s), maxTitle)) },
		"line":  func(s string) string { return text.Cut(shown(s), maxText) },
		"lines": func(s string) string { return text.Cut(text.Block(s), maxBlock) },
		"about": about, "problem": l.problem,
		// Words of the audit log: those of closed sets in the page's language.
		"kind": func(kind string) string { return l.known("audit "+kind, kind) },
		"did": func(kind, what string) string {
			if kind == "action" {
				return l.known("action "+what, what)
			}
			return l.known("did "+what, what)
		},
		"upper": strings.ToUpper,
		"ours":  l.ours,
		"num":   num,
		"stamp": stamp,
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"ago":   l.ago,
		"word":  func(v any) string { return l.t(orDash(text.Cut(text.Line(fmt.Sprint(v)), maxName))) },
		"sev":   func(s alert.Severity) string { return l.t(s.String()) },
		"state": func(s responders.State) string { return l.t("action " + string(s)) },
		"short": short,
		"who":   who,
		"why":   why,
		"entity": func(kind, id string) string {
			// The index keeps no more of a name either.
			return "/entities/" + kind + "?id=" + url.QueryEscape(index.Bounded(id))
		},
		"pretty": pretty,
		"add":    func(a, b int) int { return a + b },
		"neg":    func(n int) int { return -n },
		"join": func(list []string, sep string) string {
			return orDash(text.Cut(text.Line(strings.Join(list, sep)), maxTitle))
		},
		"words": func(w ...string) []string { return w },
		"shares": func(title, kind string, list []index.Share) map[string]any {
			return map[string]any{"Title": title, "Kind": kind, "List": list}
		},
		"seconds": func(t time.Time) int64 {
			return t.Unix()
		},
	}
}

var (
	asideField = regexp.MustCompile(`\s*\((?:\{[^{}]*\}(?:, )?)+\)`)
	titleField = regexp.MustCompile(`\{[^{}]*\}`)
)

// about is the title of a rule without the fields that alerts fill in.
func about(title string) string {
	return titleField.ReplaceAllString(asideField.ReplaceAllString(title, ""), "…")
}

// shown is one line in which what cannot be seen is told by its code point, as
// in reports: two names that differ must not look the same.
func shown(s string) string {
	if !strings.ContainsFunc(s, hides) {
		return text.Line(s)
	}
	var b strings.Builder
	for i, r := range s {
		if i > 4*maxText {
			break // more than is ever shown
		}
		if hides(r) {
			fmt.Fprintf(&b, "‹U+%04X›", r)
		} else {
			b.WriteRune(r)
		}
	}
	return text.Line(b.String())
}

func hides(r rune) bool { return r != '\n' && r != '\r' && r != utf8.RuneError && text.Hidden(r) }

// short is the beginning of an id, enough for the command line.
func short(s string) string {
	r := []rune(shown(s))
	return string(r[:min(len(r), 12)])
}

// who is an identity without its account, which stands elsewhere.
func who(id string) string {
	if p := strings.Split(id, "/"); len(p) == 3 {
		id = p[0] + "/" + p[2]
	}
	return orDash(text.Cut(shown(id), maxName))
}

// why is one line of a condition's tree, with its place in it.
func why(line string) string {
	in := len(line) - len(strings.TrimLeft(line, " "))
	return strings.Repeat(" ", min(in, 40)) + text.Cut(shown(line), maxText)
}

func orDash(s string) string {
	if s == "" {
		return text.Dash
	}
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return text.Dash
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// num writes a number with separators for thousands.
func num(n any) string {
	s := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// ago says how long before now a time was, in the largest unit.
func (l lang) ago(t, now time.Time) string {
	if t.IsZero() {
		return text.Dash
	}
	d := now.Sub(t)
	if d < 0 {
		d = -d
	}
	switch {
	case d < time.Minute:
		return l.t("%d s", int(d.Seconds()))
	case d < time.Hour:
		return l.t("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return l.t("%d h", int(d.Hours()))
	}
	return l.t("%d d", int(d.Hours()/24))
}

// pretty shows JSON for reading: indented, and what cannot be seen as its
// escape, since two values that differ must not look the same.
func pretty(raw json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		b.Reset()
		b.Write(raw)
	}
	s := b.String()
	if len(s) > maxPretty {
		s = strings.ToValidUTF8(s[:maxPretty], "") + "…" // all of it is in the JSON form
	}
	var out strings.Builder
	out.Grow(len(s))
	for _, r := range s {
		if r != '\n' && r != utf8.RuneError && text.Hidden(r) {
			if r > 0xffff {
				fmt.Fprintf(&out, `\U%08x`, r)
			} else {
				fmt.Fprintf(&out, `\u%04x`, r)
			}
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// page is what every page has.
type page struct {
	Title   string
	Lang    string // of the html element
	Other   string // the other language's code, for the link
	OtherAs string // its name in itself
	OtherAt string // this page in it
	User    user
	SignedIn,
	CanTriage, CanDecide bool
	CSRF    string
	Self    string // this page with its query, for live updates and for coming back
	Nav     string // which tab
	Now     time.Time
	Version string
	LiveSeq string
	LogOut  bool
	Live    string // event that makes the page ask for itself again; "" for none
}

func (q *ask) page(title string) page {
	p := page{Title: title, Lang: q.lang.tag(), User: q.u, SignedIn: q.u.By != "", CanTriage: q.u.can(Analyst), CanDecide: q.u.can(Approver), Now: q.now,
		Version: q.s.o.Version, LogOut: q.s.o.Mode != Proxy}
	if p.SignedIn {
		p.CSRF = q.s.keep.csrf(q.u, 0)
	}
	u := *q.r.URL
	v := u.Query()
	v.Del("lang")
	v.Del("token")
	u.RawQuery = v.Encode()
	p.Self = ownPath(u.RequestURI(), "/")
	if q.r.Method != http.MethodGet {
		p.Self = "/"
	}
	other := chinese
	p.OtherAs = "中文"
	if q.lang == chinese {
		other, p.OtherAs = english, "English"
	}
	p.Other = other.tag()
	v.Set("lang", other.code())
	u.RawQuery = v.Encode()
	p.OtherAt = ownPath(u.RequestURI(), "/")
	seqs, _ := q.s.o.Index.Seq()
	p.LiveSeq = formatSeqs(seqs)
	return p
}

// langOf is the language that a person chose, else the first that the browser
// asks for and that we have.
func langOf(w http.ResponseWriter, r *http.Request, k *keeper) lang {
	const name = "trailwarden_lang"
	if l := r.URL.Query().Get("lang"); l == "en" || l == "zh" {
		k.setCookie(w, name, l, http.SameSiteLaxMode, 365*24*time.Hour)
		return langFrom(l)
	}
	if c := k.cookie(r, name); c == "en" || c == "zh" {
		return langFrom(c)
	}
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		switch {
		case strings.HasPrefix(tag, "zh"):
			return chinese
		case strings.HasPrefix(tag, "en"):
			return english
		}
	}
	return english
}

// pageNumber reads ?page=, from 1.
func pageNumber(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || n < 1 || n > 100_000 {
		return 1
	}
	return n
}
