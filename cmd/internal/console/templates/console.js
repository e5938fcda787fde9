// What pages do beyond their HTML: keys, countdowns, ages, one submit per
// click, the chart that can be zoomed. Everything works without it.
(() => {
  "use strict";
  const all = (sel, root = document) => [...root.querySelectorAll(sel)];

  // Keys. j and k move over the rows; the focus is the selection, so a screen
  // reader and the eye agree.
  const links = () => all("#rows [data-row] a.open");
  const move = (step) => {
    const list = links();
    if (!list.length) return;
    const row = document.activeElement?.closest?.("[data-row]");
    let at = row ? list.findIndex((l) => row.contains(l)) : -1;
    at = at < 0 ? (step > 0 ? 0 : list.length - 1) : Math.min(Math.max(at + step, 0), list.length - 1);
    list[at].focus();
    list[at].closest("[data-row]").scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || leaving) return;
    const t = e.target;
    if (t.closest?.("input, textarea, select, [contenteditable]")) {
      if (e.key === "Escape") t.blur();
      return;
    }
    switch (e.key) {
      case "j": move(1); break;
      case "k": move(-1); break;
      case "a": {
        const row = document.activeElement?.closest?.("[data-row]");
        const scope = row || (document.querySelector("#rows") ? null : document);
        scope?.querySelector('[data-do="acknowledge"]')?.click();
        break;
      }
      case "u": document.querySelector("a[data-back]")?.click(); break;
      case "/": document.querySelector("#q")?.focus(); break;
      case "?": {
        const d = document.querySelector("details.keys");
        if (d) { d.open = !d.open; d.scrollIntoView({ block: "nearest" }); }
        break;
      }
      default: return;
    }
    e.preventDefault();
  });

  // One click is one request. The server sees to it too.
  const sent = new WeakSet();
  let leaving = false; // a form is on its way: keys do not overtake it
  addEventListener("pageshow", () => { leaving = false; });
  document.addEventListener("submit", (e) => {
    const f = e.target;
    if (f.method !== "post") return;
    if (sent.has(f)) {
      e.preventDefault();
      e.stopImmediatePropagation();
      return;
    }
    sent.add(f);
    if (!f.hasAttribute("hx-post")) leaving = true;
    setTimeout(() => sent.delete(f), 3000);
  }, true);

  // Countdowns.
  const tick = () => {
    const now = Date.now() / 1000;
    for (const c of all("[data-expires]")) {
      const left = Math.floor(Number(c.dataset.expires) - now);
      c.textContent = left <= 0 ? c.dataset.over : left >= 3600
        ? `${Math.floor(left / 3600)}:${String(Math.floor(left / 60) % 60).padStart(2, "0")}:${String(left % 60).padStart(2, "0")}`
        : `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
      c.classList.toggle("over", left <= 0);
    }
    for (const f of all("form[data-until]")) {
      if (Number(f.dataset.until) <= now) for (const b of all("button, input", f)) b.disabled = true;
    }
  };
  setInterval(tick, 1000);

  // The chart.
  let drawn = null;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const draw = () => {
    const box = document.querySelector("#chart");
    if (!box || !window.uPlot || box === drawn?.box) return;
    const d = JSON.parse(box.dataset.chart);
    if (!d.at?.length) return;
    box.replaceChildren();
    const hint = document.querySelector("#zoomhint");
    if (hint) hint.hidden = false;
    for (const l of all(".legend .drawn")) l.hidden = true; // the chart has its own
    const bars = uPlot.paths.bars({ size: [0.9, 40], align: 1 });
    const total = d.ok.map((v, i) => v + d.bad[i]);
    const axis = { stroke: css("--fg2"), grid: { stroke: css("--line") }, ticks: { stroke: css("--line") } };
    const marks = {
      hooks: {
        draw: [(u) => {
          for (const m of d.marks || []) {
            const x = u.valToPos(m.at, "x", true);
            if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
            u.ctx.fillStyle = css("--s" + m.level);
            u.ctx.fillRect(x - 2, u.bbox.top, 4, 10);
          }
        }],
      },
    };
    let selecting = false;
    const chart = new uPlot({
      width: box.clientWidth, height: 200,
      tzDate: (s) => uPlot.tzDate(new Date(s * 1e3), "Etc/UTC"),
      cursor: { drag: { x: true, y: false, setScale: false } },
      // A bar stands right of its time, so the last one needs room; of one alone uPlot makes years.
      scales: { x: { time: true, range: () => [d.at[0], d.at.at(-1) + d.step] }, y: { range: (u, lo, hi) => [0, Math.max(hi, 1)] } },
      axes: [{
        ...axis, space: 70,
        // 24 hours and ISO days, in every language; the day where it changes.
        values: (u, splits, space, from, step) => splits.map((s, i) => {
          const t = new Date(s * 1e3).toISOString();
          const day = i === 0 || t.slice(0, 10) !== new Date(splits[i - 1] * 1e3).toISOString().slice(0, 10);
          return (step >= 86400 ? "" : t.slice(11, step < 60 ? 19 : 16)) + (day ? "\n" + t.slice(5, 10) : "");
        }),
      }, { ...axis, size: 50, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000] }],
      series: [{ label: d.words[0], value: (u, v) => v == null ? "" : new Date(v * 1e3).toISOString().slice(0, 19) + "Z" },
        { label: d.words[2], paths: bars, fill: css("--bad"), stroke: css("--bad"), points: { show: false }, value: (u, v, si, i) => i == null ? "" : String(d.bad[i]) },
        { label: d.words[1], paths: bars, fill: css("--ok"), stroke: css("--ok"), points: { show: false }, value: (u, v, si, i) => i == null ? "" : String(d.ok[i]) }],
      hooks: {
        // A selection is a place to go to: it is in the address, survives a
        // reload and can be sent to a colleague.
        setSelect: [(u) => {
          if (selecting || u.select.width < 4) return;
          selecting = true;
          const from = Math.floor(u.posToVal(u.select.left, "x")), to = Math.ceil(u.posToVal(u.select.left + u.select.width, "x"));
          const at = new URL(box.dataset.whole, location.href);
          at.searchParams.set("from", new Date(from * 1e3).toISOString().slice(0, 19) + "Z");
          at.searchParams.set("to", new Date(Math.max(to, from + 1) * 1e3).toISOString().slice(0, 19) + "Z");
          location.assign(at);
        }],
      },
      plugins: [marks],
    }, [d.at, total, d.ok], box);
    chart.over.addEventListener("dblclick", () => location.assign(box.dataset.whole));
    drawn = { box, chart };
  };
  addEventListener("resize", () => { if (drawn?.box.isConnected) drawn.chart.setSize({ width: drawn.box.clientWidth, height: 200 }); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (drawn?.box.isConnected) { drawn.chart.destroy(); drawn = null; draw(); }
  });

  // On paper nothing can be opened.
  addEventListener("beforeprint", () => { for (const d of all("main details")) d.open = true; });

  // The way back leads to the list as it was left, with its filter and page, and
  // to the row, or what stands there now. Each tab has its own.
  const kept = (key, value) => {
    try {
      if (value !== undefined) sessionStorage.setItem(key, JSON.stringify(value));
      return JSON.parse(sessionStorage.getItem(key));
    } catch { return null; }
  };
  addEventListener("pagehide", () => {
    const row = document.activeElement?.closest?.("[data-row]");
    if (document.querySelector("#rows")) kept(location.pathname, { at: location.pathname + location.search, row: links().findIndex((l) => row?.contains(l)), id: row?.id });
  });
  const back = () => {
    for (const a of all("a[data-back]")) {
      a.href = kept(a.pathname)?.at || a.href;
      a.addEventListener("click", () => kept("back", a.pathname));
    }
    const was = kept("back") === location.pathname && kept(location.pathname);
    kept("back", 0);
    if (!was) return;
    const list = links();
    (document.getElementById(was.id)?.querySelector("a.open") || list[Math.min(was.row, list.length - 1)])?.focus();
  };

  const start = () => { tick(); draw(); back(); document.documentElement.dataset.ready = "1"; };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
  document.addEventListener("htmx:after:swap", () => { tick(); draw(); });
})();
