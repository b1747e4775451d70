"use strict";
(() => {
const PAGE_ROWS = 100;
const NAME = 0, STATUS = 1, FLAGS = 2, WHY = 3, LENGTH = 4, RATE = 5, CHANNELS = 6, CALLS = 7,
  CALLS_DB = 8, LOST = 9, BACKGROUND_DB = 10;
const WORDS = ["Before", "After", "Removed"];
const $ = (id) => document.getElementById(id);
const data = (id) => JSON.parse($(id).textContent);
const table = data("table");
const words = new Map(table.flags.map(([key, word]) => [key, word]));
const harmless = new Set(table.flags.filter((f) => f[2]).map((f) => f[0]));
const rows = table.rows.map((row, index) => ({ row, index, card: -1, low: row[NAME].toLowerCase() }));
table.cards.forEach((index, number) => { rows[index].card = number; });

// --- small things ------------------------------------------------------------------------------
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}
const count = (n) => n.toLocaleString("en");
const db = (value) => {
  if (value == null) return "–";
  const size = Math.abs(value).toFixed(1);
  return (size === "0.0" ? "" : value > 0 ? "+" : "\u2212") + size + "\u00a0dB";
};
const signed = (number) => String(number).replace("-", "\u2212");
const kilo = (hertz) => hertz >= 1000 ? +(hertz / 1000).toFixed(2) + " kHz" : hertz + " Hz";
function clock(seconds) {
  if (seconds < 1) return +seconds.toPrecision(2) + " s";
  if (seconds < 60) return +seconds.toFixed(1) + " s";
  const whole = Math.round(seconds), h = Math.floor(whole / 3600), m = Math.floor(whole % 3600 / 60);
  const rest = String(whole % 60).padStart(2, "0");
  return h ? `${h}:${String(m).padStart(2, "0")}:${rest}` : `${m}:${rest} min`;
}
function span(seconds) {
  if (seconds < 3600) return clock(seconds);
  return (seconds / 3600).toFixed(seconds < 36000 ? 1 : 0) + " h";
}
function quantile(values, share) {
  if (!values.length) return null;
  const at = (values.length - 1) * share, low = Math.floor(at), high = Math.ceil(at);
  return values[low] + (values[high] - values[low]) * (at - low);
}
const sorted = (column) => rows.map((r) => r.row[column]).filter((v) => v != null).sort((a, b) => a - b);
function ticks(from, to, most) {
  const width = to - from;
  if (!(width > 0)) return [];
  const raw = width / most, scale = 10 ** Math.floor(Math.log10(raw));
  const step = scale * [1, 2, 5, 10].find((m) => m * scale >= raw * (1 - 1e-9));
  const found = [];
  for (let n = Math.ceil(from / step - 1e-9); n * step <= to + step * 1e-6; n++) found.push(+(n * step).toPrecision(8));
  return found;
}
const parts = (name) => { const at = name.lastIndexOf("/") + 1; return [name.slice(0, at), name.slice(at)]; };
function flagMarks(row) {
  return row[FLAGS].map((key) => make("span", { class: `flag ${key}${harmless.has(key) ? " harmless" : ""}` }, words.get(key)));
}
function link(row, ...label) {
  // Names that hold escapes of what cannot be printed lead nowhere.
  if (table.base == null || row[STATUS] === "failed" || row[NAME].includes("\\")) return null;
  const href = table.base + row[NAME].split("/").map(encodeURIComponent).join("/");
  return make("a", { href, title: "Open the denoised file" }, ...label);
}

// --- summary -----------------------------------------------------------------------------------
function summary() {
  const run = table.run;
  $("title").textContent = run.title;
  $("subtitle").textContent = [`model ${run.model}`, ...run.options, run.time, `version ${run.version}`].join(" \u00b7 ");
  const warnings = [];
  if (run.stopped) warnings.push(`The run stopped: ${run.stopped}. ${count(run.left)} files were not tried.`);
  if (run.unlisted) warnings.push(`${count(run.unlisted)} more files are not on this page; the manifest in OUTPUT has them all.`);
  $("stopped").hidden = !warnings.length;
  $("stopped").textContent = warnings.join(" ");
  const by = (status) => rows.filter((r) => r.row[STATUS] === status).length;
  const failed = by("failed"), looked = rows.filter((r) => r.row[FLAGS].some((f) => !harmless.has(f))).length;
  const lengths = sorted(LENGTH), background = sorted(BACKGROUND_DB), calls = sorted(CALLS_DB);
  const found = rows.reduce((sum, r) => sum + (r.row[CALLS] || 0), 0);
  const lost = rows.reduce((sum, r) => sum + (r.row[LOST] || 0), 0);
  const range = (values) => values.length > 3 ? `half of the files ${db(quantile(values, .25))} to ${db(quantile(values, .75))}` : "";
  const tiles = [
    ["Files", count(rows.length), failed ? `${count(failed)} failed` : by("skipped") ? `${count(by("skipped"))} done in an earlier run` : "all denoised", failed > 0],
    ["Audio", lengths.length ? span(lengths.reduce((a, b) => a + b, 0)) : "–", run.elapsed ? `this run took ${span(run.elapsed)}` : ""],
    ["Background", db(quantile(background, .5)), range(background)],
    ["Calls", db(quantile(calls, .5)), calls.length ? `${count(found)} found, ${count(lost)} lost more than 12 dB` : "none were found"],
    ["Worth a look", count(looked), looked ? "files with a flag" : "no file has a flag"],
  ];
  for (const [name, value, small, bad] of tiles)
    $("tiles").append(make("div", { class: bad ? "tile bad" : "tile" }, make("h3", {}, name), make("strong", {}, value), make("small", {}, small)));
}

// --- filter ------------------------------------------------------------------------------------
const wanted = new Set();
let shown = rows.slice(), order = { column: NAME, down: false }, page = 0;

function chips() {
  for (const [key, word] of table.flags) {
    const n = rows.filter((r) => r.row[FLAGS].includes(key)).length;
    if (!n) continue;
    $("chips").append(make("button", {
      class: "chip", type: "button", "aria-pressed": "false",
      onclick: (event) => {
        wanted.has(key) ? wanted.delete(key) : wanted.add(key);
        event.currentTarget.setAttribute("aria-pressed", wanted.has(key));
        filter();
      },
    }, word, make("b", {}, count(n))));
  }
}
function filter() {
  const text = $("find").value.trim().toLowerCase();
  shown = rows.filter((r) => r.low.includes(text) && (!wanted.size || r.row[FLAGS].some((f) => wanted.has(f))));
  page = 0;
  $("matches").textContent = shown.length === rows.length ? "" : `${count(shown.length)} of ${count(rows.length)}`;
  const visible = new Set(shown.map((r) => r.index));
  let cardsShown = 0;
  for (const card of cards) {
    card.element.hidden = !visible.has(card.index);
    cardsShown += !card.element.hidden;
    if (card.element.hidden) card.stop();
  }
  $("look").hidden = !cards.length;
  $("look-note").textContent = cardsShown === rows.length ? "" : cardsShown
    ? `${count(cardsShown)} of ${count(shown.length)} files, the most telling stretch of each`
    : "This page has no pictures of these files" + (shown.some((r) => link(r.row)) ? "; open them from the table." : ".");
  arrange();
}

// --- table -------------------------------------------------------------------------------------
const columns = [
  ["File", NAME], ["Length", LENGTH], ["Rate", RATE], ["Calls found", CALLS], ["Background", BACKGROUND_DB],
  ["Calls", CALLS_DB], ["Flags", FLAGS],
];
const rank = new Map(table.flags.map(([key], i) => [key, i]));
const value = (row, column) => column === FLAGS
  ? row[FLAGS].reduce((best, key) => Math.min(best, rank.get(key)), 99) : row[column];

function head() {
  for (const [word, column] of columns)
    $("files").tHead.rows[0].append(make("th", { scope: "col" }, make("button", {
      type: "button",
      onclick: () => { order = { column, down: order.column === column && !order.down }; page = 0; arrange(); },
    }, word)));
}
function arrange() {
  const { column, down } = order, sign = down ? -1 : 1;
  shown.sort((a, b) => {
    const x = value(a.row, column), y = value(b.row, column);
    if (x == null || y == null) return (x == null) - (y == null) || a.index - b.index;
    return (x < y ? -sign : x > y ? sign : 0) || a.index - b.index;
  });
  [...$("files").tHead.rows[0].cells].forEach((cell, i) => {
    if (columns[i][1] === column) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
  fill();
}
function fill() {
  const body = $("files").tBodies[0], pages = Math.max(1, Math.ceil(shown.length / PAGE_ROWS));
  page = Math.min(Math.max(page, 0), pages - 1);
  const from = page * PAGE_ROWS, part = shown.slice(from, from + PAGE_ROWS);
  body.replaceChildren(...part.map(line));
  if (!part.length) body.append(make("tr", {}, make("td", { class: "nothing", colspan: columns.length }, "No file is like this.")));
  $("page").textContent = shown.length > PAGE_ROWS ? `${count(from + 1)}–${count(from + part.length)} of ${count(shown.length)}` : "";
  document.querySelector(".pager").hidden = pages === 1;
  $("previous").disabled = page === 0;
  $("next").disabled = page === pages - 1;
}
function line({ row, card, index }) {
  const [folder, name] = parts(row[NAME]);
  const label = [folder && make("span", { class: "dim" }, folder), name].filter(Boolean);
  const file = card >= 0
    ? make("button", { class: "jump", type: "button", title: "Look and listen", onclick: () => goTo(index) }, ...label)
    : link(row, ...label) ?? make("span", {}, ...label);
  const cell = (word, text) => make("td", { "data-name": word }, text ?? "");
  return make("tr", {},
    make("td", {}, file),
    cell("Length", row[LENGTH] == null ? null : clock(row[LENGTH])),
    cell("Rate", row[RATE] ? kilo(row[RATE]) : null),
    cell("Calls found", row[CALLS] == null ? null : count(row[CALLS])),
    cell("Background", row[LENGTH] == null ? null : db(row[BACKGROUND_DB])),
    cell("Calls", row[LENGTH] == null ? null : db(row[CALLS_DB])),
    make("td", {}, ...flagMarks(row), row[WHY] ? make("span", { class: "why" }, row[WHY]) : null));
}
function goTo(index) {
  const card = cards.find((c) => c.index === index);
  if (!card || card.element.hidden) return;
  card.element.scrollIntoView();
  card.element.focus({ preventScroll: true });
}

// --- cards -------------------------------------------------------------------------------------
const stops = table.colours.match(/.{6}/g).map((c) => "#" + c);
let current = null;

class CardView {
  constructor(index, number) {
    Object.assign(this, { index, number, row: rows[index].row, panels: [], sounds: {}, on: -1, at: 0, other: false, detail: null });
    const [folder, name] = parts(this.row[NAME]);
    this.place = make("div", { class: "plot" });
    this.foot = make("div", { class: "foot" });
    this.meta = make("p", { class: "meta" });
    const calls = this.row[CALLS];
    this.element = make("article", { class: "card", tabindex: "0", "aria-label": this.row[NAME], onfocusin: () => choose(this) },
      make("div", { class: "head" }, make("h3", {}, folder && make("span", { class: "folder" }, folder), name), ...flagMarks(this.row)),
      this.meta,
      make("div", { class: "figures" },
        make("span", {}, "Background ", make("b", {}, db(this.row[BACKGROUND_DB]))),
        make("span", {}, "Calls ", make("b", {}, db(this.row[CALLS_DB])),
          calls ? ` (${count(calls)} found${this.row[LOST] ? `, ${count(this.row[LOST])} lost` : ""})` : " (none found)"),
        this.row[WHY] ? make("span", { class: "dim" }, this.row[WHY]) : null),
      this.place, this.foot);
    // Room for the pictures, so that nothing moves when they come.
    this.place.style.minHeight = matchMedia("(max-width: 720px)").matches ? "528px" : "486px";
  }
  show() {
    if (this.detail) return;
    const d = this.detail = data(`card-${this.number}`);
    if (d.error) { this.place.style.minHeight = 0; this.place.append(make("p", {}, d.error)); return; }
    const row = this.row;
    this.meta.textContent = [kilo(row[RATE]), clock(row[LENGTH]) + " long",
      row[CHANNELS] > 1 ? `channel ${d.channel} of ${row[CHANNELS]}` : "",
      d.seconds < row[LENGTH] - .01 ? `shown from ${clock(d.start)} to ${clock(d.start + d.seconds)}` : ""].filter(Boolean).join(" \u00b7 ");
    const top = d.rate / 2000, unit = top < 1 ? "Hz" : "kHz", height = top < 1 ? top * 1000 : top;
    WORDS.forEach((word, i) => {
      this.place.append(make("div", { class: "axis", "aria-hidden": "true" }, ...ticks(0, height * .97, 4).map((t, n) => {
        const mark = make("span", {}, n === 0 ? unit : String(t));
        mark.style.bottom = `${100 * (n === 0 ? .045 : t / height)}%`;
        return mark;
      })));
      const button = make("button", { type: "button", "aria-label": `Play ${word.toLowerCase()}` }, word);
      const head = make("div", { class: "head-line" });
      const panel = make("div", { class: "panel" },
        make("img", { alt: `Spectrogram ${word.toLowerCase()}, 0 to ${+height.toFixed(1)} ${unit}, ${d.seconds.toFixed(1)} s`, src: `data:image/png;base64,${d.pictures[i]}` }), head, button);
      if (i === 0) for (const [from, to] of d.marks) {
        const mark = make("div", { class: "mark" });
        mark.style.left = `${100 * (from - d.start) / d.seconds}%`;
        mark.style.width = `${100 * (to - from) / d.seconds}%`;
        panel.append(mark);
      }
      button.addEventListener("click", (event) => { event.stopPropagation(); this.toggle(i); });
      panel.addEventListener("click", (event) => {
        const box = panel.getBoundingClientRect();
        this.play(i, (event.clientX - box.left) / box.width);
      });
      this.place.append(panel);
      this.panels.push({ panel, head, button });
    });
    const times = ticks(d.start, d.start + d.seconds, matchMedia("(max-width: 720px)").matches ? 4 : 8);
    this.place.append(make("div", { class: "times", "aria-hidden": "true" }, ...times.map((t, n) => {
      const share = (t - d.start) / d.seconds;
      const mark = make("span", { class: share > .97 ? "end" : null }, n === times.length - 1 ? `${t} s` : String(t));
      mark.style.left = `${100 * share}%`;
      return mark;
    })));
    this.place.style.minHeight = 0;
    this.footer(d);
  }
  footer(d) {
    const bar = make("i");
    bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
    if (d.other.length) {
      const word = d.speed < 1 ? `${Math.round(1 / d.speed)} \u00d7 slower` : `${d.speed} \u00d7 faster`;
      const set = (other) => {
        const was = this.on, playing = this.audio && !this.audio.paused;
        this.stop();
        this.other = other;
        [...speeds.children].forEach((b, i) => b.setAttribute("aria-pressed", String(!!i === other)));
        if (playing) this.play(was, this.at);
      };
      const speeds = make("span", { class: "speeds", role: "group", "aria-label": "Playback speed" },
        make("button", { type: "button", onclick: () => set(false) }, "Real time"),
        make("button", { type: "button", onclick: () => set(true) }, word));
      this.foot.append(speeds);
      set(true);
    }
    this.foot.append(
      make("span", { class: "legend" }, signed(d.low.toFixed(0)), bar, signed(`${d.high.toFixed(0)} dB`)),
      d.marks.length ? make("span", { class: "legend" }, make("i", { class: "key" }), "call found") : "",
      d.gain > .5 ? `played ${d.gain.toFixed(0)} dB louder` : "", link(this.row, "open the denoised file") || "");
  }
  audioOf(i) {
    const key = `${i}${this.other}`;
    if (!this.sounds[key]) {
      const text = atob((this.other ? this.detail.other : this.detail.sounds)[i]);
      const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
      this.sounds[key] = new Audio(URL.createObjectURL(new Blob([bytes], { type: "audio/mpeg" })));
      this.sounds[key].addEventListener("ended", () => { this.at = 0; this.stop(); });
    }
    return this.sounds[key];
  }
  toggle(i) {
    if (this.on === i && this.audio && !this.audio.paused) this.pause();
    else this.play(i, this.at >= .995 ? 0 : this.at);
  }
  play(i, at) {
    this.show();
    if (this.detail.error) return;
    for (const card of cards) if (card !== this) card.stop();
    choose(this);
    const audio = this.audioOf(i), start = () => { audio.currentTime = at * audio.duration; };
    if (this.audio && this.audio !== audio) this.audio.pause();
    this.audio = audio; this.on = i; this.at = at;
    if (audio.readyState) start(); else audio.addEventListener("loadedmetadata", start, { once: true });
    audio.play().catch((error) => { $("said").textContent = `cannot play: ${error.message}`; this.stop(); });
    this.mark("playing");
    const step = () => {
      if (this.audio !== audio || audio.paused) return;
      if (audio.duration) this.at = Math.min(audio.currentTime / audio.duration, 1);
      this.move();
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
  pause() { this.audio.pause(); this.mark("paused"); }
  stop() {
    if (this.audio) this.audio.pause();
    this.audio = null; this.on = -1;
    this.mark("");
  }
  mark(state) {
    this.panels.forEach(({ panel, button }, i) => {
      panel.classList.toggle("playing", state === "playing" && i === this.on);
      panel.classList.toggle("paused", state !== "" && !(state === "playing" && i === this.on));
      button.setAttribute("aria-label", `${state === "playing" && i === this.on ? "Pause" : "Play"} ${WORDS[i].toLowerCase()}`);
    });
    this.move();
  }
  move() { for (const { head } of this.panels) head.style.left = `${100 * this.at}%`; }
}
function choose(card) {
  if (current === card) return;
  if (current) current.element.classList.remove("current");
  current = card;
  card.element.classList.add("current");
}
const cards = table.cards.map((index, number) => new CardView(index, number));

// --- scatter -----------------------------------------------------------------------------------
const dots = rows.filter((r) => r.row[CALLS_DB] != null && r.row[BACKGROUND_DB] != null);
let places = [];
function scatter() {
  $("overview").hidden = dots.length < 3;
  if (dots.length < 3) return;
  const canvas = $("scatter"), box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
  canvas.width = box.width * ratio; canvas.height = box.height * ratio;
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const ink = (name) => style.getPropertyValue(name).trim();
  pen.scale(ratio, ratio);
  pen.font = "11.5px system-ui, sans-serif";
  const left = 52, right = box.width - 12, top = 10, bottom = box.height - 34;
  const xs = dots.map((d) => -d.row[BACKGROUND_DB]), ys = dots.map((d) => d.row[CALLS_DB]);
  const low = (v, least) => Math.min(v.reduce((a, b) => Math.min(a, b)), least), high = (v, most) => Math.max(v.reduce((a, b) => Math.max(a, b)), most);
  // Digital silence changes without bounds: what lies beyond these is drawn on the edge.
  const x0 = Math.max(low(xs, 0) - 1, -20), x1 = Math.min(high(xs, 10) * 1.05, 60), y0 = Math.max(low(ys, -4) * 1.1, -40), y1 = high(ys, 1) + .5;
  const px = (x) => left + (Math.min(Math.max(x, x0), x1) - x0) / (x1 - x0) * (right - left), py = (y) => bottom - (Math.max(y, y0) - y0) / (y1 - y0) * (bottom - top);
  pen.fillStyle = ink("--dim"); pen.strokeStyle = ink("--line");
  pen.textAlign = "right"; pen.textBaseline = "middle";
  for (const t of ticks(y0, y1, 5)) { pen.beginPath(); pen.moveTo(left, py(t)); pen.lineTo(right, py(t)); pen.stroke(); pen.fillText(signed(t), left - 7, py(t)); }
  pen.textAlign = "center"; pen.textBaseline = "top";
  for (const t of ticks(x0, x1, 7)) { pen.beginPath(); pen.moveTo(px(t), top); pen.lineTo(px(t), bottom); pen.stroke(); pen.fillText(signed(t), px(t), bottom + 6); }
  pen.fillText("background quieter by, dB", (left + right) / 2, bottom + 20);
  pen.save(); pen.translate(9, (top + bottom) / 2); pen.rotate(-Math.PI / 2); pen.textBaseline = "middle"; pen.fillText("calls changed by, dB", 0, 0); pen.restore();
  places = dots.map((d, i) => [px(xs[i]), py(ys[i]), d]);
  const grave = (d) => d.row[FLAGS].some((f) => !harmless.has(f));
  const alpha = dots.length > 2000 ? .4 : .8;
  for (const flagged of [false, true]) {
    pen.fillStyle = ink(flagged ? "--bad" : "--dot");
    for (const [x, y, d] of places) if (grave(d) === flagged) { pen.globalAlpha = alpha; pen.beginPath(); pen.arc(x, y, dots.length > 500 ? 2.2 : 3.6, 0, 7); pen.fill(); }
  }
  pen.globalAlpha = 1;
}
function nearest(event) {
  const box = $("scatter").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, least = 15 ** 2;
  for (const [dx, dy, dot] of places) { const d = (dx - x) ** 2 + (dy - y) ** 2; if (d < least) { least = d; best = dot; } }
  return best;
}
$("scatter").addEventListener("mousemove", (event) => {
  const dot = nearest(event);
  $("scatter").title = dot ? `${dot.row[NAME]}: background ${db(dot.row[BACKGROUND_DB])}, calls ${db(dot.row[CALLS_DB])}` : "";
});
$("scatter").addEventListener("click", (event) => {
  const dot = nearest(event);
  if (!dot) return;
  $("find").value = dot.row[NAME];
  filter();
  (dot.card >= 0 ? $("look") : $("files")).scrollIntoView();
});

// --- keys --------------------------------------------------------------------------------------
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input");
  if (event.key === "Escape" && typing) { event.target.value = ""; filter(); event.target.blur(); return; }
  if (typing) return;
  if (event.key === "/") { event.preventDefault(); $("find").focus(); return; }
  const visible = cards.filter((card) => !card.element.hidden);
  if (event.key === "j" || event.key === "k") {
    const at = visible.indexOf(current), next = visible[at < 0 ? 0 : at + (event.key === "j" ? 1 : -1)];
    if (next) goTo(next.index);
    return;
  }
  const card = current && !current.element.hidden ? current : visible[0];
  if (!card) return;
  if ("123".includes(event.key)) card.play(+event.key - 1, card.at);
  else if (event.key === " " && !event.target.matches("button, a, summary")) {
    event.preventDefault();
    card.toggle(card.on < 0 ? 0 : card.on);
  }
});

// --- start -------------------------------------------------------------------------------------
summary();
chips();
head();
$("cards").append(...cards.map((card) => card.element));
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) {
    seen.unobserve(entry.target);
    cards.find((card) => card.element === entry.target).show();
  }
}, { rootMargin: "700px" });
for (const card of cards) seen.observe(card.element);
$("find").addEventListener("input", filter);
$("previous").addEventListener("click", () => { page--; fill(); });
$("next").addEventListener("click", () => { page++; fill(); });
filter();
scatter();
const settle = () => { document.documentElement.style.scrollPaddingTop = `${document.querySelector(".bar").offsetHeight + 10}px`; };
settle();
addEventListener("resize", () => { settle(); scatter(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", scatter);
addEventListener("beforeprint", () => { for (const card of cards) card.show(); });
})();
