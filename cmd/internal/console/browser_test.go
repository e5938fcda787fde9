package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	page2 "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium finds the browser. Without one the test is skipped, which
// .ci/run says aloud, or fails where TRAILWARDEN_BROWSER=required. With "off"
// it is skipped also where there is one, because that one does not start.
func chromium(t testing.TB) string {
	t.Helper()
	if os.Getenv("TRAILWARDEN_BROWSER") == "off" {
		t.Skip("NOT CHECKED: the console in a browser; TRAILWARDEN_BROWSER=off")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"} {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	if os.Getenv("TRAILWARDEN_BROWSER") == "required" {
		t.Fatal("no Chromium on this machine, and TRAILWARDEN_BROWSER=required (apt-get install chromium)")
	}
	t.Skip("NOT CHECKED: the console in a browser; there is no Chromium on this machine (apt-get install chromium)")
	return ""
}

// browserUp starts one browser for a test; its tabs have nothing in common.
func browserUp(t *testing.T) context.Context {
	t.Helper()
	path := chromium(t)
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("lang", "en-US"), chromedp.WSURLReadTimeout(patience))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser to end
		cancel()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	return ctx
}

// tab is one page with what went wrong on it.
type tab struct {
	t   *testing.T
	w   *world
	ctx context.Context

	mu       sync.Mutex
	bad      []string // errors and warnings of the console, exceptions
	foreign  []string // requests to any other origin
	dialogs  int
	own      string            // address of a page that is not the console's
	expected func(string) bool // what may be in bad
}

func (w *world) tab(browser context.Context) *tab {
	w.t.Helper()
	t := w.t.(*testing.T)
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b := &tab{t: t, w: w, ctx: ctx}
	if err := chromedp.Listen(ctx, func(ev any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := ev.(type) {
		case *network.EventRequestWillBeSent:
			u, err := url.Parse(e.Request.URL)
			if err != nil || u.Scheme != "data" && u.Scheme != "about" && "http://"+u.Host != w.base && e.Request.URL != b.own {
				b.foreign = append(b.foreign, e.Request.URL)
			}
		case *runtime.EventConsoleAPICalled:
			if e.Type == "error" || e.Type == "warning" {
				s := string(e.Type)
				for _, a := range e.Args {
					s += " " + string(a.Value) + a.Description
				}
				b.bad = append(b.bad, s)
			}
		case *runtime.EventExceptionThrown:
			b.bad = append(b.bad, fmt.Sprint("exception: ", e.ExceptionDetails.Text, " ", describe(e.ExceptionDetails.Exception)))
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == "error" || e.Entry.Level == "warning" {
				b.bad = append(b.bad, string(e.Entry.Level)+" "+e.Entry.Text+" "+e.Entry.URL)
			}
		case *page2.EventJavascriptDialogOpening:
			b.dialogs++
		}
	}); err != nil {
		t.Fatal(err)
	}
	b.call(network.Enable, network.EnableParams{})
	b.size(1440, 900)
	return b
}

func describe(o *runtime.RemoteObject) string {
	if o == nil {
		return ""
	}
	return o.Description
}

func (b *tab) call(cmd any, params any) {
	b.t.Helper()
	var err error
	switch c := cmd.(type) {
	case cdp.Command[network.EnableParams, cdp.Empty]:
		_, err = chromedp.Call(b.ctx, c, params.(network.EnableParams))
	case cdp.Command[emulation.SetEmulatedMediaParams, cdp.Empty]:
		_, err = chromedp.Call(b.ctx, c, params.(emulation.SetEmulatedMediaParams))
	case cdp.Command[emulation.SetScriptExecutionDisabledParams, cdp.Empty]:
		_, err = chromedp.Call(b.ctx, c, params.(emulation.SetScriptExecutionDisabledParams))
	default:
		b.t.Fatalf("%T", cmd)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// clean checks that nothing went wrong and nothing left the origin.
func (b *tab) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.bad {
		if b.expected == nil || !b.expected(s) {
			b.t.Errorf("the console says: %s", s)
		}
	}
	if len(b.foreign) > 0 {
		b.t.Errorf("requests left the origin: %v", b.foreign)
	}
	if b.dialogs > 0 {
		b.t.Errorf("%d dialogs opened", b.dialogs)
	}
}

func (b *tab) size(w, h int64) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(w, h)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) dark(on bool) {
	b.t.Helper()
	v := "light"
	if on {
		v = "dark"
	}
	b.call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: v}}})
}

// try evaluates an expression; false when there was no page to do it on, as in
// the middle of going to another.
func try[T any](b *tab, js string) (v T, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
}

func eval[T any](b *tab, js string) T {
	b.t.Helper()
	v, err := try[T](b, js)
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// until waits for an expression to become true.
func (b *tab) until(js string) {
	b.t.Helper()
	end := time.Now().Add(patience)
	var last error
	for time.Now().Before(end) {
		ok, err := try[bool](b, "!!("+js+")")
		if ok && err == nil {
			return
		}
		last = err
		time.Sleep(20 * time.Millisecond)
	}
	where, _ := try[string](b, `location.href + " " + document.body.innerText.slice(0, 1500)`)
	b.t.Fatalf("never true: %s (%v)\non %s", js, last, where)
}

// open goes to a path and waits until the page's own script has run.
func (b *tab) open(path string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(b.w.base+path)); err != nil {
		b.t.Fatalf("%s: %v", path, err)
	}
	b.until(`document.documentElement.dataset.ready == "1"`)
}

// signIn opens a link and waits for the list.
func (b *tab) signIn(name string) {
	b.t.Helper()
	link, err := b.w.server.LoginURL("cli:" + name)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(link)); err != nil {
		b.t.Fatal(err)
	}
	b.until(`location.pathname == "/" && document.documentElement.dataset.ready == "1"`)
}

func (b *tab) keys(keys string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.KeyEvent(keys)); err != nil {
		b.t.Fatal(err)
	}
}

// live waits until the page is connected to what is live.
func (b *tab) live() {
	b.t.Helper()
	b.until(`document.querySelector("#live")?._htmx?.sse?.reader`)
}

// shot writes a picture for people where TRAILWARDEN_SCREENSHOTS names a folder.
func (b *tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("TRAILWARDEN_SCREENSHOTS")
	if dir == "" {
		return
	}
	img, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if strings.HasPrefix(name, "entity") { // long: the top says it all
		img, err = chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), img, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

var axeSource = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile("testdata/axe/axe.min.js")
	return string(b), err
})

// axe checks the page as it is for accessibility.
func (b *tab) axe(where string) {
	b.t.Helper()
	src, err := axeSource()
	if err != nil {
		b.t.Fatal(err)
	}
	found := eval[string](b, src+`;axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help,
		nodes: v.nodes.slice(0, 5).map(n => n.html.slice(0, 200) + " :: " + (n.any[0]?.message || n.all[0]?.message || n.none[0]?.message || ""))}))))`)
	var list []struct {
		ID, Impact, Help string
		Nodes            []string
	}
	if err := json.Unmarshal([]byte(found), &list); err != nil {
		b.t.Fatal(err)
	}
	for _, v := range list {
		b.t.Errorf("%s: accessibility: %s (%s): %s\n  %s", where, v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n  "))
	}
}
