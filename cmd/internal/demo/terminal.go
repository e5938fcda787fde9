package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/pipeline/text"
	"github.com/trailwarden/trailwarden/responders"
)

// terminal is a notifier that prints alerts for a person at a terminal. Safe
// for concurrent use.
type terminal struct {
	mu     sync.Mutex
	w      io.Writer
	colour bool
	width  int
	shown  map[string]bool
	posted func(alert.Alert)
}

// newTerminal prints to w, wrapped at width columns (0 means 100). posted,
// which may be nil, is called after each new alert is printed.
func newTerminal(w io.Writer, colour bool, width int, posted func(alert.Alert)) *terminal {
	if width <= 0 || width > 120 {
		width = 100
	}
	return &terminal{w: w, colour: colour, width: width, shown: map[string]bool{}, posted: posted}
}

// Name is "terminal".
func (t *terminal) Name() string { return "terminal" }

// Post prints a new alert.
func (t *terminal) Post(_ context.Context, n responders.Notice) (responders.MessageRef, error) {
	t.mu.Lock()
	t.card(n.Alert, n.Account)
	for _, a := range n.Actions {
		t.action(n.Alert.ID, a)
	}
	t.mu.Unlock()
	if t.posted != nil {
		t.posted(n.Alert)
	}
	return responders.MessageRef{Channel: "terminal", ID: n.Alert.ID}, nil
}

// Update prints what changed about the alert's actions; counts are left to
// the summary.
func (t *terminal) Update(_ context.Context, _ responders.MessageRef, n responders.Notice) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range n.Actions {
		t.action(n.Alert.ID, a)
	}
	return nil
}

// Find is not supported: a terminal cannot be read back.
func (t *terminal) Find(context.Context, string, time.Time) (responders.MessageRef, bool, error) {
	return responders.MessageRef{}, false, errors.ErrUnsupported
}

var styles = map[alert.Severity]string{
	alert.Critical: "\x1b[1;97;41m", alert.High: "\x1b[1;31m", alert.Medium: "\x1b[1;33m", alert.Low: "\x1b[36m", alert.Info: "\x1b[2m",
}

const (
	dim   = "\x1b[2m"
	bold  = "\x1b[1m"
	green = "\x1b[1;32m"
	reset = "\x1b[0m"
)

func (t *terminal) paint(style, s string) string {
	if !t.colour || style == "" {
		return s
	}
	return style + s + reset
}

func (t *terminal) card(a alert.Alert, account string) {
	sev := strings.ToUpper(a.Severity.String())
	title := text.Cut(text.Terminal(a.Title), t.width-24)
	fmt.Fprintf(t.w, "  %s  %s  %s\n", t.paint(dim, a.Time.UTC().Format("15:04:05Z")),
		t.paint(styles[a.Severity], pad(" "+sev+" ", 10)), t.paint(bold, title))
	for _, line := range wrap(text.Terminal(a.Reason), t.width-25) {
		fmt.Fprintf(t.w, "%25s%s\n", "", line)
	}
	small := []string{a.Rule}
	if len(a.Attack) > 0 {
		small = append(small, a.Attack[0])
	}
	if account != "" {
		small = append(small, text.Terminal(account))
	}
	if a.Outcome == "attempt" {
		small = append(small, "attempt, nothing changed")
	}
	for _, line := range wrap(strings.Join(small, " · "), t.width-25) {
		fmt.Fprintf(t.w, "%25s%s\n", "", t.paint(dim, line))
	}
}

// action prints each state of an action once.
func (t *terminal) action(alertID string, a responders.ActionView) {
	key := alertID + a.ID + string(a.State)
	if t.shown[key] || a.State == responders.Proposed && a.Reason == "" || a.State == responders.Approved || a.State == responders.Executing || a.State == responders.Undoing {
		return
	}
	t.shown[key] = true
	var word string
	style := dim
	switch a.State {
	case responders.Done:
		word, style = "CONTAINED", green
	case responders.Undone:
		word, style = "UNDONE", green
	case responders.Observed:
		word = "would contain"
	case responders.Proposed:
		word = "waits for approval"
	default:
		word = strings.ReplaceAll(string(a.State), "_", " ")
	}
	line := text.Terminal(a.Describe)
	if a.State == responders.Undone && a.DescribeUndo != "" {
		line = text.Terminal(a.DescribeUndo)
	}
	if a.Reason != "" && a.State != responders.Done && a.State != responders.Undone {
		line += " (" + text.Terminal(a.Reason) + ")"
	}
	for i, l := range wrap(line, t.width-29-len(word)) {
		if i == 0 {
			fmt.Fprintf(t.w, "%25s%s %s\n", "", t.paint(style, "└─ "+word), l)
		} else {
			fmt.Fprintf(t.w, "%*s%s\n", 29+len(word), "", l)
		}
	}
}

// Say prints a line of narration.
func (t *terminal) Say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.w, "%s\n", t.paint(dim, fmt.Sprintf(format, args...)))
}

// Print prints a line as it is.
func (t *terminal) Print(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.w, format+"\n", args...)
}

func pad(s string, n int) string {
	if len(s) < n {
		return s + strings.Repeat(" ", n-len(s))
	}
	return s
}

// wrap breaks s at spaces into lines of at most n runes.
func wrap(s string, n int) []string {
	n = max(n, 20)
	var lines []string
	line, size := "", 0
	for _, w := range strings.Fields(s) {
		l := len([]rune(w))
		if size > 0 && size+1+l > n {
			lines, line, size = append(lines, line), "", 0
		}
		if size > 0 {
			line, size = line+" ", size+1
		}
		line, size = line+w, size+l
	}
	return append(lines, line)
}
