package message

import (
	"strings"
	"unicode/utf8"

	"github.com/trailwarden/trailwarden/pipeline/text"
)

// Layout is how one platform writes the markdown that several chats share:
// headings, bold and quotes, nothing else.
type Layout struct {
	Break string // between lines
	Max   int    // bytes of the whole text
	// Link is what a link to the console says; empty leaves it out.
	Link string
}

// Markdown writes the message whole, or what has changed, for a platform whose
// messages cannot be edited. What does not fit goes from the end: of a whole
// message the thread, the small print, then actions; title, reason and fields
// stay.
func (m Message) Markdown(whole bool, l Layout, link string) string {
	b := sheet{l: l}
	b.line("### " + text.Markdown(m.Title, 200))
	thread := func() {
		for _, t := range m.Thread {
			b.line("> " + text.Markdown(t, maxThread))
		}
	}
	if !whole {
		thread()
		m.state(&b, link)
		return b.String()
	}
	b.line(text.Markdown(m.Reason, 500))
	for _, l := range strings.Split(m.Policy, "\n") {
		b.line(text.Markdown(l, 320))
	}
	for _, f := range m.Fields {
		b.line("**" + f.Label + "** " + f.Join(func(r Run) string { return text.Markdown(r.Text, maxValue) }, " · "))
	}
	m.state(&b, link)
	thread()
	b.line("> " + text.Markdown(m.Context, 300))
	return b.String()
}

func (m Message) state(b *sheet, link string) {
	for _, l := range m.State {
		b.line(text.Markdown(l, 250))
	}
	for _, a := range m.Actions {
		b.line(text.Markdown(a, maxLine))
	}
	for _, c := range m.Next {
		b.line("> " + text.Markdown(c, 120))
	}
	if link != "" && b.l.Link != "" {
		b.line("[" + b.l.Link + "](" + link + ")")
	}
}

// sheet collects lines up to a size.
type sheet struct {
	l    Layout
	b    strings.Builder
	over bool
}

// line adds a line, or the part of it that fits; nothing after that.
func (s *sheet) line(t string) {
	if t == "" || t == "> " || s.over {
		return
	}
	if s.b.Len() > 0 {
		t = s.l.Break + t
	}
	const end = "…"
	if room := s.l.Max - len(end) - s.b.Len(); len(t) > room {
		s.over = true
		t = t[:max(room, 0)]
		for len(t) > 0 && !utf8.ValidString(t) {
			t = t[:len(t)-1]
		}
		t += end
	}
	s.b.WriteString(t)
}

func (s *sheet) String() string { return s.b.String() }

// PlainLines is the message as lines without any markup, for mail and logs.
func (m Message) PlainLines() []string {
	out := []string{m.Title, "", m.Reason, ""}
	if m.Policy != "" {
		out = append(append(out, strings.Split(m.Policy, "\n")...), "")
	}
	for _, f := range m.Fields {
		out = append(out, f.Label+": "+f.String())
	}
	section := func(lines []string) {
		if len(lines) > 0 {
			out = append(append(out, ""), lines...)
		}
	}
	section(m.State)
	section(m.Actions)
	section(m.Next)
	section(m.Thread)
	return append(out, "", m.Context)
}
