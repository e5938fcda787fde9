package console

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	page2 "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"

	"github.com/trailwarden/trailwarden/cmd/internal/admin"
	"github.com/trailwarden/trailwarden/cmd/internal/console/index"
	"github.com/trailwarden/trailwarden/pipeline/alert"
	"github.com/trailwarden/trailwarden/responders"
)

// TestBrowser is the acceptance list of the console, in a real browser. It
// waits for conditions on the page, never for time.
func TestBrowser(t *testing.T) {
	browser := browserUp(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, context.Context)
	}{
		{"a live row, and the list does not jump", liveRow},
		{"a restart loses and doubles nothing", restart},
		{"the filter survives reload and back", filters},
		{"triage by keyboard alone", keyboard},
		{"approve and undo", approval},
		{"an approval that ran out", expiry},
		{"a viewer is offered nothing", viewer},
		{"a replay goes on", replaying},
		{"zoom is in the address", zoom},
		{"names of strangers are text", strangers},
		{"without JavaScript", noScript},
		{"accessible, light and dark, narrow and wide", accessible},
		{"the report of a replay, offline and printed", reportPage},
		{"a thousand alerts", thousand},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, browser) })
	}
}

const rowCount = `document.querySelectorAll("#rows > li").length`

func liveRow(t *testing.T, browser context.Context) {
	w := newWorld(t)
	for i := range 40 {
		w.raise(sample(i, t0.Add(time.Duration(i)*time.Second)))
	}
	b := w.tab(browser)
	b.signIn("carol")
	b.live()
	b.until(rowCount + " == 40")
	// At the top the new row is seen first.
	w.raise(sample(100, t0.Add(time.Hour)))
	b.until(rowCount + ` == 41 && document.querySelector("#rows > li a.open").textContent == "AccessKey created for user-100"`)
	// Scrolled down, what one reads stays where it is.
	eval[bool](b, `(document.querySelector("#rows > li:nth-child(30)").scrollIntoView({behavior: "instant"}), window.watched = document.querySelector("#rows > li:nth-child(30)"), window.stood = watched.getBoundingClientRect().top, true)`)
	for i := range 5 {
		w.raise(sample(101+i, t0.Add(time.Hour+time.Duration(i+1)*time.Second)))
	}
	b.until(rowCount + " == 46")
	b.until(`watched.isConnected && Math.abs(watched.getBoundingClientRect().top - stood) < 3`)
	// A row that grows changes in its place and is still one.
	a := sample(105, t0.Add(2*time.Hour))
	a.Count, a.Revision = 77, 2
	w.raise(a)
	b.until(`document.querySelector("#a-` + a.ID + ` .times")?.textContent == "×77" && ` + rowCount + " == 46")
	b.clean()
}

func restart(t *testing.T, browser context.Context) {
	w := newWorld(t)
	w.raise(sample(1, t0))
	b := w.tab(browser)
	// While the console is away the browser says so.
	b.expected = func(s string) bool {
		return strings.Contains(s, "net::ERR_") || strings.Contains(s, "Failed to fetch") || strings.Contains(s, "network error")
	}
	b.signIn("carol")
	b.live()
	b.until(rowCount + " == 1")
	w.stop()
	// While the console is away the pipeline goes on.
	w.commits++
	if err := w.disp.Handle(t.Context(), 0, w.commits, []alert.Alert{sample(2, t0.Add(time.Second)), sample(3, t0.Add(2*time.Second))}); err != nil {
		t.Fatal(err)
	}
	w.start()
	b.until(rowCount + ` == 3 && new Set([...document.querySelectorAll("#rows > li")].map(e => e.id)).size == 3`)
	w.raise(sample(4, t0.Add(3*time.Second)))
	b.until(rowCount + " == 4")
	b.clean()
}

func filters(t *testing.T, browser context.Context) {
	w := newWorld(t)
	for i := range 20 {
		w.raise(sample(i, t0.Add(time.Duration(i)*time.Second)))
	}
	b := w.tab(browser)
	b.signIn("carol")
	eval[bool](b, `(document.querySelector("#filter [name=severity]").value = "critical", document.querySelector("#filter").requestSubmit(), true)`)
	b.until(`location.search.includes("severity=critical") && document.documentElement.dataset.ready && ` + rowCount + " == 5")
	if err := chromedp.Do(b.ctx, chromedp.Reload()); err != nil {
		t.Fatal(err)
	}
	b.until(rowCount + ` == 5 && document.querySelector("#filter [name=severity]").value == "critical" && document.documentElement.dataset.ready`)
	// What comes live obeys it too.
	b.live()
	w.raise(sample(21, t0.Add(time.Minute)), sample(23, t0.Add(time.Minute)))
	b.until(rowCount + " == 6")
	eval[bool](b, `(document.querySelector("#rows a.open").click(), true)`)
	b.until(`location.pathname.startsWith("/alerts/") && document.documentElement.dataset.ready`)
	eval[bool](b, `(history.back(), true)`)
	b.until(`location.search.includes("severity=critical") && ` + rowCount + " == 6")
	b.clean()
}

func keyboard(t *testing.T, browser context.Context) {
	w := newWorld(t)
	for i := range 5 {
		w.raise(sample(i, t0.Add(time.Duration(i)*time.Second)))
	}
	b := w.tab(browser)
	b.signIn("carol")
	b.open("/?severity=low")
	focused := func(n int) string {
		return fmt.Sprintf(`document.activeElement.textContent == "AccessKey created for user-%d"`, n)
	}
	b.keys("j")
	b.until(focused(4))
	b.keys("jj")
	b.until(focused(2))
	b.keys("k")
	b.until(focused(3))
	b.keys("a")
	b.until(`document.querySelector("#a-` + sample(3, t0).ID + `.acknowledged .owner")?.textContent == "cli:carol"`)
	b.until(focused(3)) // the place is kept
	b.keys("j")
	b.until(focused(2))
	b.keys("\r")
	b.until(`location.pathname == "/alerts/` + sample(2, t0).ID + `" && document.documentElement.dataset.ready == "1"`)
	b.keys("a")
	b.until(`document.querySelector("#h-triage .t-acknowledged") && document.documentElement.dataset.ready == "1"`)
	b.keys("u")
	b.until(`location.pathname + location.search == "/?severity=low" && document.documentElement.dataset.ready == "1"`)
	b.until(focused(2)) // back where it was
	b.open("/?severity=low")
	b.until(`document.activeElement == document.body`)
	b.keys("/")
	b.until(`document.activeElement.id == "q"`)
	b.keys("jaj") // in a field keys are text
	b.until(`document.querySelector("#q").value.endsWith("jaj")`)
	// What is live leaves alone what somebody writes.
	b.live()
	w.raise(sample(7, t0.Add(time.Minute)))
	b.until(`document.querySelector("#a-` + sample(7, t0).ID + `") && document.querySelector("#q").value.endsWith("jaj") && document.activeElement.id == "q"`)
	for _, i := range []int{2, 3} {
		tr, err := w.disp.TriageOf(t.Context(), sample(i, t0).ID)
		if err != nil || tr.State != responders.TriageAcknowledged || tr.Owner != "cli:carol" {
			t.Errorf("alert %d: %+v %v", i, tr, err)
		}
	}
	b.clean()
}

func approval(t *testing.T, browser context.Context) {
	w := newWorld(t)
	w.raise(sample(1, t0))
	d := w.propose(sample(1, t0).ID, "playbook", aliceKey, time.Hour)
	own := w.propose(sample(1, t0).ID, "cli:carol", "LTAI5tEXAMPLEother00001", time.Hour)
	b := w.tab(browser)
	b.signIn("carol")
	b.open("/actions")
	b.until(`/^[0-9]+:[0-9]{2}$/.test(document.querySelector("#act-` + d.ID + ` .countdown").textContent)`)
	// Who asks cannot approve: the button says so, and so does the server.
	b.until(`document.querySelector("#act-` + own.ID + ` .danger").disabled`)
	b.live()
	b.shot("actions-waiting")
	// Twice, as fast as it goes: one act.
	eval[bool](b, `(() => { const f = document.querySelector("#act-`+d.ID+` .danger"); f.click(); f.click(); return true })()`)
	b.until(`document.querySelector("#act-` + d.ID + ` .undo")`)
	if w.cloud.state(aliceKey) != "Inactive" || w.cloud.count("execute") != 1 {
		t.Errorf("the key is %s after %d calls", w.cloud.state(aliceKey), w.cloud.count("execute"))
	}
	if x, err := w.machine.Show(t.Context(), d.ID); err != nil || len(x.Approvals) != 1 || x.Approvals[0].By != "cli:carol" {
		t.Errorf("approvals: %+v %v", x.Approvals, err)
	}
	b.shot("actions-done")
	eval[bool](b, `(document.querySelector("#act-`+d.ID+` .undo").click(), true)`)
	b.until(`document.querySelector("#act-` + d.ID + ` .a-undone")`)
	if w.cloud.state(aliceKey) != "Active" || w.cloud.count("undo") != 1 {
		t.Errorf("after the undo the key is %s", w.cloud.state(aliceKey))
	}
	b.clean()
}

func expiry(t *testing.T, browser context.Context) {
	w := newWorld(t)
	w.raise(sample(1, t0))
	d := w.propose(sample(1, t0).ID, "playbook", aliceKey, 2*time.Second)
	b := w.tab(browser)
	b.signIn("carol")
	b.open("/actions/" + d.ID)
	// It is disabled by its own clock, or gone because the machine was faster.
	b.until(`document.querySelector(".danger") == null || document.querySelector(".danger").disabled`)
	w.await("the expiry", func() bool { x, _ := w.machine.Show(t.Context(), d.ID); return x.State == responders.Expired })
	b.until(`document.querySelector(".a-expired")`)
	if w.cloud.count("execute") != 0 {
		t.Error("it was done")
	}
	b.clean()
}

func viewer(t *testing.T, browser context.Context) {
	w := newWorld(t, func(o *Options) {
		o.Mode = Proxy
		o.Proxy = ProxyAuth{UserHeader: "X-User", Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
		o.Roles = RoleMap{Viewer: []string{"*"}, Analyst: []string{"user:anna"}}
	})
	w.raise(sample(1, t0))
	w.propose(sample(1, t0).ID, "playbook", aliceKey, time.Hour)
	for who, buttons := range map[string]string{"vera": "0", "anna": "1"} {
		b := w.tab(browser)
		if _, err := chromedp.Call(b.ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"X-User": who}}); err != nil {
			t.Fatal(err)
		}
		b.open("/")
		b.until(`document.querySelectorAll('[data-do="acknowledge"]').length == ` + buttons)
		b.open("/actions")
		b.until(`document.querySelector(".act") && document.querySelectorAll(".danger, .undo").length == 0 && document.body.innerText.includes("Deciding needs the role approver")`)
		b.clean()
	}
}

// running is a replay that has read part of 1,000 bytes.
func running(part int64) admin.Replaying {
	return admin.Replaying{ID: strings.Repeat("ab", 16), By: "cli:alice", State: admin.ReplayRunning, Inputs: []string{"archive/2026-11", "<b>more</b>"}, Rules: "h",
		BytesRead: part, BytesTotal: 1000, Records: 1234 * part, Detections: part, EventTime: t0}
}

func replaying(t *testing.T, browser context.Context) {
	w := newWorld(t)
	b := w.tab(browser)
	b.signIn("carol")
	b.open("/actions")
	b.live()
	b.until(`document.querySelectorAll(".replay").length == 0 && document.body.innerText.includes("trailwarden replay --state")`)
	w.index.SetReplay(running(250), time.Now())
	b.until(`document.querySelector(".replay progress")?.value == 25 && document.querySelector(".replay").innerText.includes("archive/2026-11, <b>more</b>")`)
	w.index.SetReplay(running(800), time.Now())
	b.until(`document.querySelector(".replay progress").value == 80 && document.querySelector(".replay").innerText.includes("987,200 records, 800 detections")`)
	done := running(1000)
	done.State, done.Events, done.Alerts = admin.ReplayDone, 1_234_000, 17
	w.index.SetReplay(done, time.Now())
	b.until(`!document.querySelector(".replay progress") && document.querySelector(".replay").innerText.includes("1,234,000 events, 17 alerts")`)
	b.clean()
}

func zoom(t *testing.T, browser context.Context) {
	w := newWorld(t)
	for i := range 600 {
		w.event(call(fmt.Sprintf("E%04d", i), "ListUsers", "user-1", aliceKey, "203.0.113.7", t0.Add(-time.Duration(i)*time.Minute)))
	}
	w.event(call("E9999", "ListUsers", "user-9", "LTAI5tEXAMPLEonce0001", "203.0.113.7", t0.Add(-time.Minute)))
	w.raise(sample(1, t0.Add(-time.Hour)))
	b := w.tab(browser)
	b.signIn("carol")
	drag := func(key string, from, to float64) (string, url.Values) {
		b.open("/entities/key?id=" + key)
		b.until(`document.querySelector("#chart .u-over")`)
		box := eval[[]float64](b, `(() => { const r = document.querySelector("#chart .u-over"); r.scrollIntoView({block: "center", behavior: "instant"}); const q = r.getBoundingClientRect(); return [q.left, q.top, q.width, q.height] })()`)
		y := box[1] + box[3]/2
		if err := chromedp.Do(b.ctx, chromedp.DragAndDropXY(box[0]+box[2]*from, y, box[0]+box[2]*to, y, 8)); err != nil {
			t.Fatal(err)
		}
		b.until(`location.search.includes("from=") && location.search.includes("to=") && document.documentElement.dataset.ready == "1"`)
		at := eval[string](b, "location.search")
		q, err := url.ParseQuery(strings.TrimPrefix(at, "?"))
		if err != nil {
			t.Fatal(err)
		}
		return at, q
	}
	// One event is one bar over the whole width, and not a line among years.
	_, once := drag("LTAI5tEXAMPLEonce0001", 0.1, 0.9)
	from, err1 := time.Parse(time.RFC3339, once.Get("from"))
	to, err2 := time.Parse(time.RFC3339, once.Get("to"))
	if err := errors.Join(err1, err2); err != nil || to.Sub(from) > time.Hour {
		t.Errorf("the chart of one event goes beyond %s to %s, %v", from, to, err)
	}
	at, q := drag(aliceKey, 0.4, 0.6)
	var f EntityFacts
	w.as("carol").json("/entities/key?"+q.Encode(), &f)
	if f.Entity.Count == 0 || f.Entity.Count >= 400 || f.Entity.Total != 600 {
		t.Errorf("%s: %d of %d events", at, f.Entity.Count, f.Entity.Total)
	}
	b.shot("entity-zoom")
	if err := chromedp.Do(b.ctx, chromedp.Reload()); err != nil {
		t.Fatal(err)
	}
	b.until(fmt.Sprintf(`location.search == %q && document.body.innerText.includes("%d / 600")`, at, f.Entity.Count))
	// The way back is in the page, and by a double click.
	b.until(`document.querySelector("#chart .u-over")`)
	eval[bool](b, `(document.querySelector("#chart .u-over").dispatchEvent(new MouseEvent("dblclick", {bubbles: true})), true)`)
	b.until(`!location.search.includes("from=")`)
	b.clean()
}

func strangers(t *testing.T, browser context.Context) {
	w := newWorld(t)
	var ids []string
	for i, s := range hostile {
		s = strings.ToValidUTF8(s, "\ufffd")
		a := hostileAlert(s, t0.Add(time.Duration(i)*time.Second))
		a.ID, a.Severity = sample(i, t0).ID, alert.Severity(2+i%4)
		w.raise(a)
		ids = append(ids, a.ID)
		w.propose(a.ID, s, fmt.Sprintf("LTAI5tEXAMPLEhostile%04d", i), time.Hour)
	}
	b := w.tab(browser)
	b.signIn("carol")
	b.until(fmt.Sprintf(rowCount+" == %d", len(hostile)))
	harmless := `document.querySelectorAll("main script, main img, main iframe, main object, main style, main [onerror], main [onclick], main [onmouseover], main b").length == 0 && document.documentElement.scrollWidth <= innerWidth`
	b.until(harmless)
	b.shot("hostile-now")
	b.size(320, 800)
	b.until(harmless)
	b.shot("hostile-now-narrow")
	b.size(1440, 900)
	paths := []string{"/actions"}
	for i, id := range ids {
		if i%3 == 0 || testing.Verbose() {
			paths = append(paths, "/alerts/"+id)
		}
	}
	for _, p := range paths {
		b.open(p)
		b.until(harmless)
	}
	b.open("/alerts/" + ids[10])
	b.shot("hostile-alert")
	b.clean()
}

func noScript(t *testing.T, browser context.Context) {
	w := newWorld(t)
	w.raise(sample(1, t0))
	for i := range 50 {
		w.event(call(fmt.Sprintf("E%03d", i), "ListUsers", "user-1", aliceKey, "203.0.113.7", t0.Add(time.Duration(i)*time.Minute)))
	}
	d := w.propose(sample(1, t0).ID, "playbook", aliceKey, time.Hour)
	b := w.tab(browser)
	b.signIn("carol")
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	// The page's own scripts are off; the test still reads the page.
	visit := func(p string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		defer cancel()
		if err := chromedp.Do(ctx, chromedp.Navigate(w.base+p)); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
	}
	// press returns when the answer to the form is the page. On its way, it
	// would end a visit, or take the place of what was visited.
	press := func(sel string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		defer cancel()
		eval[bool](b, `(window.pressed = true)`)
		if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(sel))); err != nil {
			t.Fatalf("%s: %v", sel, err)
		}
		b.until(`!window.pressed && document.readyState == "complete"`)
	}
	visit("/")
	press(`[data-do="acknowledge"]`)
	w.await("the acknowledgement", func() bool {
		tr, _ := w.disp.TriageOf(t.Context(), sample(1, t0).ID)
		return tr.State == responders.TriageAcknowledged
	})
	b.until(`!document.documentElement.dataset.ready && document.querySelector(".row.acknowledged")`)
	visit("/entities/key?id=" + aliceKey)
	b.until(`document.querySelectorAll("svg.timeline rect.ok").length > 10 && document.querySelectorAll(".heat rect").length == 168`)
	visit("/actions")
	press("#act-" + d.ID + " .danger")
	w.await("the act", func() bool { return w.cloud.state(aliceKey) == "Inactive" })
	w.await("its outcome", func() bool {
		x, _ := w.machine.Show(t.Context(), d.ID)
		return x.State == responders.Done && x.Undoable
	})
	visit("/actions")
	press("#act-" + d.ID + " .undo")
	w.await("the undo", func() bool { return w.cloud.state(aliceKey) == "Active" })
	b.clean()
}

func accessible(t *testing.T, browser context.Context) {
	w := newWorld(t)
	for i := range 400 {
		ip, name := "203.0.113.7", "ListUsers"
		if i%7 == 0 {
			ip, name = "198.51.100.9", "CreateAccessKey"
		}
		w.event(call(fmt.Sprintf("E%03d", i), name, "user-1", aliceKey, ip, t0.Add(-time.Duration(i)*17*time.Minute)))
	}
	for i := range 8 {
		w.raise(sample(i, t0.Add(time.Duration(i)*time.Second)))
	}
	for _, q := range []responders.TriageRequest{{Do: responders.DoAcknowledge}, {Do: responders.DoNote, Note: "asked alice in the team's channel"}} {
		q.By = "cli:carol"
		if _, err := w.disp.Triage(t.Context(), sample(3, t0).ID, q); err != nil {
			t.Fatal(err)
		}
	}
	d := w.propose(sample(3, t0).ID, "playbook", aliceKey, 50*time.Minute)
	if _, err := w.machine.Approve(t.Context(), d.ID, "web:carol", d.Hash); err != nil {
		t.Fatal(err)
	}
	w.await("the outcome", func() bool {
		x, _ := w.machine.Show(t.Context(), d.ID)
		return x.State == responders.Done && x.Undoable
	})
	w.propose(sample(3, t0).ID, "playbook", "LTAI5tEXAMPLEother00001", 50*time.Minute)
	w.await("the index", func() bool { return len(w.index.Actions(responders.Done)) == 1 })
	failed := running(90)
	failed.ID, failed.State, failed.Error = strings.Repeat("cd", 16), admin.ReplayFailed, "archive/2026-11/x.gz: unexpected end of the file"
	w.index.SetReplay(failed, t0)
	w.index.SetReplay(running(620), time.Now())
	b := w.tab(browser)
	b.signIn("carol")
	pages := map[string]string{"now": "/", "alert": "/alerts/" + sample(3, t0).ID, "entity": "/entities/key?id=" + aliceKey, "rules": "/rules", "rule": "/rules/ak.created", "actions": "/actions", "action": "/actions/" + d.ID, "error": "/nosuch"}
	b.expected = func(s string) bool { return strings.Contains(s, "404") }
	for name, path := range pages {
		for _, l := range []string{"en", "zh"} {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			b.size(1440, 900)
			b.dark(false)
			b.open(path + sep + "lang=" + l)
			for _, dark := range []bool{false, true} {
				for _, wide := range []int64{1440, 320} {
					// Wide in light and narrow in dark; the other two, and
					// Chinese, where there is time.
					if dark != (wide == 320) && os.Getenv("TRAILWARDEN_LONG") == "" || l == "zh" && dark && os.Getenv("TRAILWARDEN_LONG") == "" {
						continue
					}
					b.dark(dark)
					b.size(wide, 900)
					where := fmt.Sprintf("%s-%s-%s-%d", name, l, map[bool]string{false: "light", true: "dark"}[dark], wide)
					b.until(fmt.Sprintf("innerWidth == %d && matchMedia('(prefers-color-scheme: dark)').matches == %v", wide, dark))
					if over := eval[int](b, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
						t.Errorf("%s is %d px wider than the window", where, over)
					}
					// Each weekday stands beside its row, also in words of two characters.
					if name == "entity" {
						b.until(`[...document.querySelectorAll(".heat .days span")].every((d, i) => { const r = d.getBoundingClientRect(), s = document.querySelector(".heat svg").getBoundingClientRect(); return Math.abs((r.top + r.bottom) / 2 - s.top - s.height * (i + .5) / 7) < 6 })`)
					}
					// Words do not change what is accessible, so one language
					// is enough where time counts.
					if l == "en" {
						b.axe(where)
					}
					b.shot(where)
				}
			}
		}
	}
	// Without any alert, signed out, and refused.
	empty := newWorld(t)
	e := empty.tab(browser)
	e.expected = func(s string) bool {
		return strings.Contains(s, "401") || strings.Contains(s, "404") || strings.Contains(s, "400")
	}
	e.open("/?lang=en")
	e.axe("login")
	e.shot("login")
	e.signIn("carol")
	for name, path := range map[string]string{"empty-now": "/", "empty-actions": "/actions", "empty-entity": "/entities/key?id=x", "bad-request": "/?severity=purple"} {
		for _, wide := range []int64{1440, 390} {
			e.size(wide, 900)
			e.open(path)
			where := fmt.Sprintf("%s-%d", name, wide)
			if over := eval[int](e, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
				t.Errorf("%s is %d px wider than the window", where, over)
			}
			if wide == 390 {
				e.axe(where)
			}
			e.shot(where)
		}
	}
	e.clean()
	b.clean()
}

// reportPage opens the reports that replays write, as a person does who got one
// by mail: it asks for nothing but itself, works, and prints.
func reportPage(t *testing.T, browser context.Context) {
	w := newWorld(t)
	for _, l := range []string{"en", "zh"} {
		file, err := filepath.Abs(filepath.Join("..", "..", "..", "pipeline", "report", "testdata", "report."+l+".html"))
		if err != nil {
			t.Fatal(err)
		}
		here := (&url.URL{Scheme: "file", Path: file}).String()
		b := w.tab(browser)
		b.own = here
		if err := chromedp.Do(b.ctx, chromedp.Navigate(here)); err != nil {
			t.Fatal(err)
		}
		b.until(`document.querySelector("#tools") && !document.querySelector("#tools").hidden`)
		shown := `[...document.querySelectorAll("#list > details")].filter(e => !e.hidden).length`
		all := eval[int](b, shown)
		eval[bool](b, `(() => { const q = document.querySelector("#tools [type=search]"); q.value = "spraying"; q.dispatchEvent(new Event("input", {bubbles: true})); return true })()`)
		b.until(shown + " > 0 && " + shown + fmt.Sprintf(" < %d", all))
		eval[bool](b, `(() => { const q = document.querySelector("#tools [type=search]"); q.value = ""; q.dispatchEvent(new Event("input", {bubbles: true})); return true })()`)
		b.until(shown + fmt.Sprintf(" == %d", all))
		for _, dark := range []bool{false, true} {
			b.dark(dark)
			for _, wide := range []int64{1440, 320} {
				if dark != (wide == 320) && os.Getenv("TRAILWARDEN_LONG") == "" {
					continue
				}
				b.size(wide, 900)
				where := fmt.Sprintf("report-%s-%v-%d", l, dark, wide)
				b.until(fmt.Sprintf("innerWidth == %d && matchMedia('(prefers-color-scheme: dark)').matches == %v", wide, dark))
				if over := eval[int](b, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
					t.Errorf("%s is %d px wider than the window", where, over)
				}
				b.axe(where)
				b.shot(where)
			}
		}
		pdf, err := chromedp.Call(b.ctx, page2.PrintToPDF, page2.PrintToPDFParams{})
		if err != nil || len(pdf.Data) < 10_000 {
			t.Errorf("printed to %d bytes, %v", len(pdf.Data), err)
		}
		if dir := os.Getenv("TRAILWARDEN_SCREENSHOTS"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, "report-"+l+".pdf"), pdf.Data, 0o600); err != nil {
				t.Error(err)
			}
		}
		b.clean()
	}
}

// With 1,000 alerts and 50,000 events of one key every screen answers; how
// fast is measured by the benchmarks and told, not asserted.
func thousand(t *testing.T, browser context.Context) {
	w := newWorld(t)
	fill(w.index, 1000, 50_000)
	b := w.tab(browser)
	b.signIn("carol")
	b.until(fmt.Sprintf("%s == %d", rowCount, PerPage))
	if _, err := chromedp.Call(b.ctx, performance.Enable, performance.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/", "/?q=user-77", "/?page=20", "/entities/key?id=" + aliceKey, "/rules", "/actions"} {
		b.open(p)
		b.until(`performance.getEntriesByType("navigation")[0].loadEventEnd > 0`)
		took := eval[[]float64](b, `(n => [n.responseEnd - n.requestStart, n.loadEventEnd - n.startTime])(performance.getEntriesByType("navigation")[0])`)
		m, err := chromedp.Call(b.ctx, performance.GetMetrics, cdp.Empty{})
		if err != nil {
			t.Fatal(err)
		}
		busy := 0.0
		for _, x := range m.Metrics {
			if x.Name == "ThreadTime" {
				busy = x.Value
			}
		}
		t.Logf("%s: %.0f ms from request to the whole answer, %.0f ms until it is shown with its scripts run, %.0f ms of them the browser's main thread at work", p, took[0], took[1], busy*1e3)
	}
	b.clean()
}

// fill puts alerts and events of one key into an index.
func fill(x *index.Index, alerts, events int) {
	now := time.Now().UTC()
	for i := range alerts {
		a := sample(i, now.Add(-time.Duration(i)*time.Minute))
		x.Apply(responders.Change{Seq: uint64(i + 1), AlertID: a.ID, Alert: &a})
	}
	for i := range events {
		raw := call(fmt.Sprintf("F%06d", i), "ListUsers", fmt.Sprintf("user-%d", i%50), aliceKey, fmt.Sprintf("203.0.113.%d", i%200), now.Add(-time.Duration(i)*time.Minute))
		ev, err := parse(raw)
		if err != nil {
			panic(err)
		}
		x.AddEvent(ev, index.Pos{Seq: uint64(i / 256), Index: i % 256})
	}
}
