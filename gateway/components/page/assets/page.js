/* The live page: reads __state.json once a second, and shows it. Names and texts come from outside
   (queues, paths, brokers): they only ever become text nodes, never markup. */

const STEP = 1000; // milliseconds from one request of the state to the next
const TIMEOUT = 5000; // milliseconds until a request of the state is given up
const STALE = 2500; // milliseconds without an answer after which the numbers count as old
const RECENT = 60; // seconds of a sparkline
const FAILURES = 50; // failures kept of each endpoint
const LATEST = 12; // rows of the table of failures
const LONGEST = 400; // characters shown of a name or a text
const PIXELS_OF_A_POINT = 1.6; // a chart has no more points: they would only be noise

// ---------------------------------------------------------------- texts and numbers

// Characters that change how others are shown (controls, direction marks, invisible ones), as an escape.
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

function plain(text) {
  text = String(text ?? "");
  const shown = text.length > LONGEST ? text.slice(0, LONGEST) + "…" : text;
  return shown.replace(INVISIBLE, (each) => "\\u" + each.charCodeAt(0).toString(16).padStart(4, "0"));
}

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const calendar = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const time = (seconds) => (isNumber(seconds) ? clock.format(seconds * 1000) : NONE);

function count(value) {
  if (!isNumber(value)) return NONE;
  return value < 1e5 ? whole.format(value) : short.format(value);
}

function rate(value) {
  if (!isNumber(value)) return NONE;
  return value === 0 || value >= 10 ? count(value) : value.toFixed(1);
}

function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  if (seconds === 0) return "0";
  if (seconds >= 119.5) return span(seconds);
  const [unit, value] = seconds < 0.0009995 ? ["µs", seconds * 1e6] : seconds < 0.9995 ? ["ms", seconds * 1e3] : ["s", seconds];
  return `${value < 9.95 ? value.toFixed(1).replace(".0", "") : Math.round(value)} ${unit}`;
}

/** A long time, in its two largest units: "3 d 4 h". */
function span(seconds) {
  if (!isNumber(seconds)) return NONE;
  let rest = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const number = Math.floor(rest / size);
    rest -= number * size;
    if (number || parts.length || unit === "s") parts.push(`${number} ${unit}`);
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

function bytes(value) {
  if (!isNumber(value)) return NONE;
  for (const unit of ["B", "KiB", "MiB"]) {
    if (value < 1000) return `${value < 9.95 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} GiB`;
}

const percent = (part, all) => (all ? (100 * part) / all : null);
const share = (value) => (!isNumber(value) ? NONE : value === 0 ? "0 %" : value < 0.1 ? "<0.1 %" : `${value.toFixed(value < 10 ? 1 : 0)} %`);
const plural = (number, one) => `${whole.format(number)} ${one}${number === 1 ? "" : "s"}`;

// ---------------------------------------------------------------- elements

const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function drawing(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Sets a text only if it is another one: the browser has nothing to lay out again. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A name from outside, apart from the direction of the text around it. */
const nameOf = (text, className = "name") => make("bdi", { className, title: plain(text) }, plain(text));

// A mark for each level: colour and shape, beside a word.
const MARKS = {
  ok: ["circle", { cx: 12, cy: 12, r: 11 }, "M7 12.4l3.4 3.4L17 9"],
  warning: ["path", { d: "M12 1.6 23.4 22H.6z", "stroke-linejoin": "round" }, "M12 9v6M12 18.2v.4"],
  critical: ["path", { d: "M7.4 1h9.2L23 7.4v9.2L16.6 23H7.4L1 16.6V7.4z" }, "M8 8l8 8M16 8l-8 8"],
  unknown: ["circle", { cx: 12, cy: 12, r: 11 }, "M7 12h.4M12 12h.4M17 12h.4"],
};

function mark(level, colours) {
  const [shape, attributes, glyph] = MARKS[level];
  return drawing("svg", { viewBox: "0 0 24 24", xmlns: "http://www.w3.org/2000/svg" },
    drawing(shape, { ...attributes, fill: colours.fill }),
    drawing("path", { d: glyph, fill: "none", stroke: colours.glyph, "stroke-width": 2.4, "stroke-linecap": "round", "stroke-linejoin": "round" }));
}

// ---------------------------------------------------------------- what the page knows

/** Appends the newer items to a list that keeps a bounded number. */
function append(list, newer, length) {
  list.push(...newer);
  if (list.length > length) list.splice(0, list.length - length);
  return list;
}

class Model {
  constructor() {
    this.forget();
  }

  forget() {
    this.state = null;
    this.history = { times: [], series: {} };
    this.recent = new Map();
    this.failures = new Map();
    this.findings = null;
  }

  get query() {
    return this.state ? `?since=${this.state.history.last}` : "";
  }

  /** Takes a document. False: it continues another start of the gateway; ask again from the beginning. */
  take(state) {
    if (this.state && this.state.boot !== state.boot) {
      this.forget();
      if (!state.history.is_complete) return false;
    }
    const { is_complete: isComplete, length, times, series } = state.history;
    if (isComplete) {
      this.history = { times: [], series: {} };
      this.recent.clear();
    }
    append(this.history.times, times, length);
    for (const [name, values] of Object.entries(series)) {
      append((this.history.series[name] ??= []), values, length);
    }
    this.takeRecent([...state.endpoints, state.unmatched]);
    this.takeFailures(state.failures);
    this.state = state;
    return true;
  }

  takeRecent(endpoints) {
    const known = new Set();
    for (const { id, recent } of endpoints) {
      known.add(id);
      if (!this.recent.has(id)) this.recent.set(id, []);
      append(this.recent.get(id), recent, RECENT);
    }
    for (const id of this.recent.keys()) if (!known.has(id)) this.recent.delete(id);
  }

  takeFailures(failures) {
    for (const failure of failures) {
      if (!this.failures.has(failure.endpoint)) this.failures.set(failure.endpoint, []);
      const list = this.failures.get(failure.endpoint);
      if (!list.some((each) => each.id === failure.id)) append(list, [failure], FAILURES);
    }
  }

  /** The newest failures of all endpoints, the newest first. */
  latestFailures() {
    const all = [...this.failures.values()].flatMap((list) => list.slice(-LATEST));
    return all.sort((a, b) => b.time - a.time).slice(0, LATEST);
  }
}

const model = new Model();

// ---------------------------------------------------------------- charts

// name of the series, label, colour, dashes
const OUTCOMES = [
  ["ok", "delivered", "--blue", "2xx and 3xx that the client has got: messages are acknowledged"],
  ["empty", "empty", "--quiet", "204: an empty queue"],
  ["gone", "client gone", "--purple", "The client has disconnected before the response: messages are given back"],
  ["client_errors", "4xx", "--orange", "4xx: refused requests"],
  ["server_errors", "5xx", "--red", "5xx: failures"],
];

const CHARTS = [
  { id: "requests", title: "Requests", unit: "a second", isStack: true, format: rate, series: OUTCOMES },
  {
    id: "latency", title: "Latency", unit: "", isLog: true, format: duration,
    series: [
      ["p50", "p50", "--blue", "Half of the responses took no longer", []],
      ["p99", "p99", "--red", "99 % of the responses took no longer", [6, 3]],
      ["max", "max", "--grey", "No response took longer", [2, 3]],
    ],
  },
  {
    id: "messages", title: "Messages", unit: "a second", format: rate,
    series: [["taken", "taken", "--blue", "", []], ["published", "published", "--green", "", [6, 3]], ["requeued", "given back", "--purple", "", [2, 3]]],
  },
  {
    id: "running", title: "In flight", unit: "requests", isArea: true, format: count,
    series: [["in_flight", "in flight", "--blue", "", []]],
    extra: ["lag", "event loop late by", duration],
  },
];

const palette = {};
const dark = matchMedia("(prefers-color-scheme: dark)");

function readPalette() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["blue", "pale", "quiet", "green", "orange", "red", "purple", "grey", "grid", "muted", "surface"]) {
    palette[`--${name}`] = style.getPropertyValue(`--${name}`).trim();
  }
}

/** One chart of uPlot with a legend, whose numbers are those at the cursor, or the newest. */
class LiveChart extends HTMLElement {
  configure(spec) {
    this.spec = spec;
    this.data = [[], ...spec.series.map(() => [])];
    this.values = [];
    this.legend = make("dl", { className: "legend" });
    this.plot = make("div", { className: "plot" });
    const unit = spec.unit && make("small", {}, " " + spec.unit);
    this.when = make("small", {});
    this.append(make("h3", { id: `${spec.id}-title` }, spec.title, unit, this.when), this.legend, this.plot);
    for (const [name, label, colour, help, dash] of spec.series) this.addLegend(name, label, help, this.swatch(colour, dash));
    if (spec.extra) this.addLegend(spec.extra[0], spec.extra[1], "", "");
    return this;
  }

  addLegend(name, label, help, swatch) {
    const value = make("dd", { "data-series": name }, NONE);
    this.values.push(value);
    this.legend.append(make("div", { title: help ?? "" }, make("dt", {}, swatch, swatch ? " " : "", label), value));
  }

  swatch(colour, dash) {
    const shape = this.spec.isStack
      ? drawing("rect", { x: 1, width: 10, height: 10, rx: 2 })
      : drawing("path", { d: "M0 5h14", fill: "none", "stroke-width": 2.5, "stroke-dasharray": (dash ?? []).join(" ") });
    shape.style.setProperty(this.spec.isStack ? "fill" : "stroke", `var(${colour})`);
    return drawing("svg", { viewBox: "0 0 14 10", "aria-hidden": "true" }, shape);
  }

  connectedCallback() {
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(this);
  }

  resize() {
    const width = this.plot.clientWidth;
    if (!width || !this.spec) return;
    if (this.chart) this.chart.setSize({ width, height: 138 });
    else this.open(width);
  }

  open(width) {
    this.chart = new uPlot(this.options(width), this.data, this.plot);
    const over = this.chart.over;
    for (const [name, value] of Object.entries({
      tabindex: "0", role: "slider", "aria-orientation": "horizontal", "aria-labelledby": `${this.spec.id}-title`,
      "aria-valuemin": -15 * 60, "aria-valuemax": 0, "aria-valuenow": 0, "aria-valuetext": "now",
    })) over.setAttribute(name, value);
    over.addEventListener("keydown", (event) => this.move(event));
    over.addEventListener("blur", () => this.chart.setCursor({ left: -10, top: -10 }, true, true));
    if (this.history) this.update(this.history);
  }

  options(width) {
    const { series, isStack, isLog, isArea, format } = this.spec;
    const font = `11px ${getComputedStyle(this).fontFamily}`;
    const muted = () => palette["--muted"];
    const grid = { stroke: () => palette["--grid"], width: 1 };
    const line = ([name, label, colour, , dash]) => ({
      label, dash, width: isStack && name !== "ok" ? 1 : 1.5, points: { show: false }, spanGaps: false,
      stroke: () => palette[isStack && name !== "ok" ? "--surface" : colour],
      fill: isStack || isArea ? () => palette[colour === "--blue" ? "--pale" : colour] : undefined,
    });
    // The layers of a stack lie upon each other: the highest is drawn first.
    const lines = isStack ? series.map(line).reverse() : series.map(line);
    return {
      width, height: 138, padding: [8, 16, 0, 0], legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: "page", setSeries: false }, points: { show: !isStack, size: 6 } },
      scales: { x: { time: false, range: () => this.period() }, y: isLog ? { distr: 3, range: logRange } : { range: (_, low, high) => [0, nice(high)] } },
      axes: [
        { stroke: muted, font, grid: { show: false }, ticks: { show: false }, size: 22, gap: 4, splits: () => this.ticks(), values: (_, splits) => splits.map((each, index) => (index === splits.length - 1 ? "now" : `${Math.round((each - splits.at(-1)) / 60)} min`.replace("-", "−"))) },
        { stroke: muted, font, grid, ticks: { show: false }, size: isLog ? 54 : 46, gap: 6, splits: isLog ? decades : (_, __, low, high) => [0, high / 2, high], values: (_, splits) => splits.map((each) => format(each)), filter: (_, splits) => splits },
      ],
      series: [{}, ...lines],
      hooks: { setCursor: [() => this.showValues()] },
    };
  }

  period() {
    const last = this.data[0].at(-1) ?? 0;
    return [last - (this.seconds ?? 900), last];
  }

  ticks() {
    const [first, last] = this.period();
    const third = (last - first) / 3;
    return [first, first + third, first + 2 * third, last];
  }

  update(history, seconds) {
    this.history = history;
    this.seconds = seconds ?? this.seconds;
    if (!this.chart) return;
    const size = Math.round((PIXELS_OF_A_POINT * this.seconds) / this.chart.over.clientWidth);
    const all = this.spec.series.map(([name]) => history.series[name] ?? []);
    const [times, columns] = thin(history.times, all, size);
    this.shown = columns;
    this.data = [times, ...(this.spec.isStack ? stacked(columns) : columns)];
    this.chart.setData(this.data);
    this.showValues();
  }

  showValues() {
    if (!this.history) return;
    const { series } = this.history;
    const index = this.chart?.cursor.left >= 0 ? this.chart.cursor.idx : null;
    const isNow = index === null || index === undefined;
    this.spec.series.forEach(([name], number) => {
      say(this.values[number], this.spec.format(isNow ? series[name]?.at(-1) : this.shown[number][index]));
    });
    if (this.spec.extra) say(this.values.at(-1), this.spec.extra[2](series[this.spec.extra[0]]?.at(-1)));
    say(this.when, isNow ? "" : ` at ${time(this.data[0][index])}`);
  }

  /** Arrow keys move the cursor, of all charts at once. */
  move(event) {
    const times = this.data[0];
    const now = this.chart.cursor.left >= 0 ? this.chart.cursor.idx ?? times.length - 1 : times.length - 1;
    const far = Math.ceil(times.length / 15);
    const target = {
      ArrowLeft: now - 1, ArrowRight: now + 1, PageDown: now - far, PageUp: now + far, Home: 0, End: times.length - 1,
    }[event.key];
    if (target === undefined || !times.length) return;
    event.preventDefault();
    const index = Math.min(times.length - 1, Math.max(0, target));
    this.chart.setCursor({ left: this.chart.valToPos(times[index], "x"), top: 1 }, true, true);
    const told = this.spec.series.map(([, label], number) => `${label} ${this.spec.format(this.shown[number][index])}`);
    this.chart.over.setAttribute("aria-valuenow", Math.round(times[index] - times.at(-1)));
    this.chart.over.setAttribute("aria-valuetext", `${time(times[index])}: ${told.join(", ")}`);
  }

  redraw() {
    this.chart?.redraw(true, true);
  }
}

/**
 * Means of groups of seconds, for a chart that has fewer pixels than seconds. Groups begin at the same
 * seconds each time, so that the line does not tremble; the group at the end may be short.
 */
function thin(times, columns, size) {
  if (size < 2 || !times.length) return [times, columns];
  const starts = [0];
  times.forEach((each, index) => {
    if (Math.floor(each / size) !== Math.floor(times[starts.at(-1)] / size)) starts.push(index);
  });
  const ends = [...starts.slice(1), times.length];
  const mean = (column) => starts.map((start, group) => {
    const values = column.slice(start, ends[group]).filter(isNumber);
    return values.length ? values.reduce((sum, each) => sum + each, 0) / values.length : null;
  });
  return [ends.map((end) => times[end - 1]), columns.map(mean)];
}

/** Sums from the first column on: the highest layer first, as it is drawn. */
function stacked(columns) {
  const layers = [];
  let below = null;
  for (const column of columns) {
    below = column.map((value, index) => (value ?? 0) + (below?.[index] ?? 0));
    layers.unshift(below);
  }
  return layers;
}

/** The end of an axis: a round number, whose half is round, too. */
function nice(value) {
  if (!(value > 10)) return Math.max(2, 2 * Math.ceil((value || 0) / 2));
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10].find((each) => each * power >= value) * power;
}

function logRange(_, low, high) {
  if (!(low > 0)) return [0.001, 1];
  const first = Math.floor(Math.log10(low) + 1e-9);
  return [10 ** first, 10 ** Math.max(first + 1, Math.ceil(Math.log10(high) - 1e-9))];
}

function decades(_, __, low, high) {
  const found = [];
  for (let power = Math.round(Math.log10(low)); power <= Math.round(Math.log10(high)); power++) found.push(10 ** power);
  return found;
}

// ---------------------------------------------------------------- the histogram

/** Bars of equal width for bounds that grow by a factor: an axis of logarithms. */
class LatencyHistogram extends HTMLElement {
  update(bounds, counts) {
    const all = counts.reduce((sum, each) => sum + each, 0);
    this.hidden = !all;
    if (!all) return this;
    this.bars ??= this.build();
    const [first, last] = this.extent(bounds, counts);
    const highest = Math.max(...counts);
    const limit = percentile(counts, all, 0.99);
    while (this.bars.children.length > last - first) this.bars.lastChild.remove();
    for (let index = first; index < last; index++) {
      const bar = this.bars.children[index - first] ?? this.bars.appendChild(make("li", {}, make("span", { className: "hidden" })));
      bar.style.setProperty("--height", counts[index] / highest);
      bar.className = (counts[index] ? "some" : "") + (index > limit ? " slow" : "");
      const range = index < bounds.length ? `up to ${duration(bounds[index])}` : `above ${duration(bounds.at(-1))}`;
      say(bar.firstChild, `${range}: ${plural(counts[index], "request")}`);
      bar.title = bar.firstChild.textContent;
    }
    this.label(bounds, first, last);
    return this;
  }

  build() {
    this.scale = make("div", { className: "scale", "aria-hidden": "true" });
    const bars = make("ol", { className: "bars", "aria-label": "Requests by duration" });
    this.append(bars, this.scale);
    return bars;
  }

  /** The buckets in use and one more on each side. */
  extent(bounds, counts) {
    const first = counts.findIndex((each) => each);
    const last = counts.findLastIndex((each) => each);
    return [Math.max(0, first - 1), Math.min(counts.length, Math.max(last + 2, first + 8))];
  }

  label(bounds, first, last) {
    const marks = [];
    for (let index = first; index < Math.min(last, bounds.length); index++) {
      const power = Math.log10(bounds[index]);
      if (Math.abs(power - Math.round(power)) < 1e-3) marks.push([(index + 1 - first) / (last - first), duration(bounds[index])]);
    }
    while (this.scale.children.length > marks.length) this.scale.lastChild.remove();
    marks.forEach(([place, text], index) => {
      const label = this.scale.children[index] ?? this.scale.appendChild(make("span"));
      label.style.left = `${(100 * place).toFixed(2)}%`;
      say(label, text);
    });
  }
}

/** The index of the bucket that has this quantile. */
function percentile(counts, all, quantile) {
  let sum = 0;
  return counts.findIndex((each) => (sum += each) >= all * quantile);
}

// ---------------------------------------------------------------- tables

const collator = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  const [hasA, hasB] = [a !== null && a !== undefined && a !== "", b !== null && b !== undefined && b !== ""];
  if (!hasA || !hasB) return hasB - hasA;
  return typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
}

/**
 * A table of rows with an `id`. A column: `name`, `label`, `help`, `type` ("number", "lead", "wrap", ""),
 * `value(row)` to sort by, and `cell(td, row)`, which builds the cell once and returns a function that
 * brings it up to date. Rows keep their places while the pointer or the focus is in the table.
 */
class StateTable extends HTMLElement {
  configure(spec) {
    this.spec = spec;
    this.rows = new Map();
    this.needle = "";
    this.sorting = spec.sorting ?? null;
    this.number = make("p", {});
    this.selector = this.buildSelector();
    const heading = make("h2", { id: `${spec.id}-title` }, spec.title);
    this.empty = make("p", { hidden: true }, spec.empty);
    const controls = spec.controls?.(this) ?? [];
    this.append(make("div", { className: "head" }, heading, this.number, this.empty, ...controls, this.selector.parentNode));
    this.buildTable();
    return this;
  }

  buildTable() {
    const { columns, caption } = this.spec;
    this.heads = columns.map((column) => this.buildHead(column));
    this.body = make("tbody", { role: "rowgroup" });
    this.table = make("table", { role: "table" },
      make("caption", { className: "hidden" }, caption),
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...this.heads)), this.body);
    this.append(this.table);
    this.nothing = make("tr", { className: "none", role: "row", hidden: true }, make("td", { colSpan: columns.length, role: "cell", className: "full" }));
    this.body.append(this.nothing);
    this.markSorting();
  }

  buildHead(column) {
    const head = make("th", { scope: "col", role: "columnheader", className: column.type ?? "", title: column.help ?? "" });
    if (column.value) {
      const button = make("button", { type: "button" }, ...(column.colour ? [dot(column.colour)] : []), column.label);
      button.addEventListener("click", () => this.sortBy(column.name));
      head.append(button);
    } else head.append(make("span", {}, column.label));
    return head;
  }

  buildSelector() {
    const select = make("select", {}, make("option", { value: "" }, "as configured"));
    for (const column of this.spec.columns) if (column.value) select.append(make("option", { value: column.name }, column.label));
    select.addEventListener("change", () => {
      this.sorting = null;
      if (select.value) this.sortBy(select.value);
      else this.sorted();
    });
    return make("label", { className: "sorting" }, "Sort by ", select).lastChild;
  }

  /** The first click sorts numbers from the largest; the second turns the order; the third ends it. */
  sortBy(name) {
    const column = this.spec.columns.find((each) => each.name === name);
    const first = column.type === "number" ? -1 : 1;
    if (this.sorting?.name !== name) this.sorting = { name, sign: first };
    else this.sorting = this.sorting.sign === first ? { name, sign: -first } : null;
    this.sorted();
  }

  sorted() {
    this.markSorting();
    this.place(true);
  }

  markSorting() {
    this.spec.columns.forEach((column, index) => {
      if (this.sorting?.name === column.name) this.heads[index].setAttribute("aria-sort", this.sorting.sign > 0 ? "ascending" : "descending");
      else this.heads[index].removeAttribute("aria-sort");
    });
    this.selector.value = this.sorting?.name ?? "";
  }

  update(rows) {
    const known = new Set();
    rows.forEach((row, index) => {
      known.add(row.id);
      const entry = this.rows.get(row.id) ?? this.add(row);
      entry.row = row;
      entry.index = index;
      entry.search ??= plain(this.spec.search ? this.spec.search(row) : row.id).toLowerCase();
      for (const refresh of entry.cells) refresh(row);
      if (entry.isOpen) entry.refresh(row);
    });
    for (const [id, entry] of this.rows) if (!known.has(id)) this.drop(id, entry);
    this.place(false);
  }

  add(row) {
    const tr = make("tr", { className: "row", role: "row" });
    const cells = this.spec.columns.map((column) => {
      const td = make("td", { className: column.type ?? "", role: "cell" });
      if (column.type !== "lead") td.dataset.label = column.label;
      tr.append(td);
      return column.cell(td, row, this);
    });
    const entry = { tr, cells, row, isOpen: false, details: null };
    if (this.spec.details) {
      tr.classList.add("openable");
      tr.addEventListener("click", (event) => {
        if (event.target.closest("button, a, select")?.className !== "toggle" && (event.target.closest("button, a") || String(getSelection()))) return;
        this.toggle(entry);
      });
    }
    this.rows.set(row.id, entry);
    return entry;
  }

  drop(id, entry) {
    entry.tr.remove();
    entry.details?.remove();
    this.rows.delete(id);
  }

  toggle(entry) {
    entry.isOpen = !entry.isOpen;
    entry.tr.classList.toggle("open", entry.isOpen);
    const button = entry.tr.querySelector(".toggle");
    button.setAttribute("aria-expanded", entry.isOpen);
    if (entry.isOpen) {
      const cell = make("td", { colSpan: this.spec.columns.length, role: "cell" });
      entry.details = make("tr", { className: "details", role: "row", id: button.getAttribute("aria-controls") }, cell);
      entry.refresh = this.spec.details(cell, entry.row);
      entry.refresh(entry.row);
      entry.tr.after(entry.details);
    } else {
      entry.details.remove();
      entry.details = null;
    }
  }

  filter(needle) {
    this.needle = needle;
    this.place(true);
  }

  /** Shows the rows that the filter lets pass, in their order. */
  place(isAsked) {
    const entries = [...this.rows.values()];
    let shown = 0;
    for (const entry of entries) {
      const isShown = entry.search.includes(this.needle);
      shown += isShown;
      entry.tr.hidden = !isShown;
      if (entry.details) entry.details.hidden = !isShown;
    }
    if (isAsked || !this.matches(":hover, :focus-within")) this.order(entries);
    this.table.hidden = !entries.length;
    this.empty.hidden = !!entries.length;
    this.classList.toggle("is-empty", !entries.length);
    this.nothing.hidden = !entries.length || shown > 0;
    if (!this.nothing.hidden) say(this.nothing.firstChild, `Nothing here matches “${plain(this.needle)}”.`);
    this.shown = shown;
    say(this.number, this.spec.count?.(entries, shown) ?? (this.needle ? `${shown} of ${entries.length}` : entries.length ? `${entries.length}` : ""));
  }

  order(entries) {
    const column = this.sorting && this.spec.columns.find((each) => each.name === this.sorting.name);
    const last = (entry) => (this.spec.isLast?.(entry.row) ? 1 : 0);
    entries.sort((a, b) => last(a) - last(b) || (column ? this.sorting.sign * this.compareValues(column, a, b) : 0) || a.index - b.index);
    let before = this.nothing;
    for (const { tr, details } of entries) {
      if (before.nextSibling !== tr) before.after(tr);
      if (details && tr.nextSibling !== details) tr.after(details);
      before = details ?? tr;
    }
  }

  /** Rows without a value are the last in both directions. */
  compareValues(column, a, b) {
    const [first, second] = [column.value(a.row), column.value(b.row)];
    const missing = (value) => value === null || value === undefined || value === "";
    return missing(first) || missing(second) ? compare(first, second) * this.sorting.sign : compare(first, second);
  }
}

customElements.define("live-chart", LiveChart);
customElements.define("latency-histogram", LatencyHistogram);
customElements.define("state-table", StateTable);

// ---------------------------------------------------------------- columns

// ---------------------------------------------------------------- columns

const LEVELS = {
  up: "ok", attached: "ok", ready: "ok", closed: "ok", idle: "unknown",
  blocked: "warning", stopping: "warning", "half-open": "warning",
  down: "critical", open: "critical", "not ready": "critical",
};
const URGENCY = { critical: 0, warning: 1, unknown: 2, ok: 3 };

function dot(colour) {
  const element = make("span", { className: "dot", "aria-hidden": "true" });
  element.style.setProperty("--series", `var(${colour})`);
  return element;
}

/** A cell of one text, which is quiet where the value is 0 or not known, and loud where `isBad`. */
function cellOf(value, format, isBad) {
  return (td) => {
    const node = td.appendChild(document.createTextNode(""));
    return (row) => {
      const now = value(row);
      say(node, format(now));
      td.classList.toggle("zero", !now);
      td.classList.toggle("bad", !!isBad?.(now, row));
    };
  };
}

function number(name, label, { help, format = count, value = (row) => row[name], isBad, colour } = {}) {
  return { name, label, help, colour, type: "number", value, cell: cellOf(value, format, isBad) };
}

/** Text from outside. */
function words(name, label, { value = (row) => row[name], type = "", isCode = false } = {}) {
  const cell = (td) => {
    const node = td.appendChild(make("bdi", { className: isCode ? "name" : "" }));
    return (row) => {
      say(node, plain(value(row)) || NONE);
      td.classList.toggle("zero", !value(row));
      td.classList.toggle("blank", !value(row));
    };
  };
  return { name, label, type, value, cell };
}

/** A level as mark and word; below it what is wrong. */
function levelColumn(name, label, levelOf, wordOf, problemOf) {
  const cell = (td) => {
    const word = td.appendChild(make("span", { className: "level" }));
    const problem = td.appendChild(make("bdi", { className: "problem" }));
    return (row) => {
      word.dataset.level = levelOf(row);
      say(word, plain(wordOf(row)));
      const text = plain(problemOf?.(row));
      say(problem, text);
      td.classList.toggle("full", !!text);
    };
  };
  return { name, label, value: (row) => URGENCY[levelOf(row)] + plain(wordOf(row)), cell };
}

const statusOf = (row) => LEVELS[row.status] ?? "unknown";
const status = levelColumn("status", "State", statusOf, (row) => row.status, (row) => row.problem);

/** What a row is of; `below` in a second line. */
function lead(name, label, { value = (row) => row[name], below } = {}) {
  const cell = (td, row) => {
    const second = below ? make("bdi", { className: "below" }) : "";
    td.append(make("div", {}, nameOf(value(row)), second));
    return (now) => below && say(second, plain(below(now)));
  };
  return { name, label, type: "lead", value, cell };
}

// ---------------------------------------------------------------- endpoints

let outcomes = "minute"; // or "total"

const failed = (row) => row.minute.client_errors + row.minute.server_errors;
const responses = (row) => Object.values(row.minute).reduce((sum, each) => sum + each, 0);

function outcome([name, label, colour, help]) {
  const isBad = name === "server_errors" ? (value) => value > 0 : undefined;
  return number(name, label[0].toUpperCase() + label.slice(1), { help, colour, value: (row) => row[outcomes][name], isBad });
}

let numberOfDetails = 0;

function endpointCell(td, row) {
  const id = `details-${++numberOfDetails}`;
  const name = row.id ? `${row.method} ${row.path}` : "requests without an endpoint";
  const toggle = make("button", { type: "button", className: "toggle", "aria-expanded": "false", "aria-controls": id, "aria-label": `Details of ${plain(name)}` });
  const path = row.id ? nameOf(row.path) : make("span", { className: "zero" }, "no endpoint: 404, 405, health");
  td.append(make("div", {}, toggle, make("span", { className: "method" }, plain(row.method)), path));
  return () => {};
}

function sparkCell(td, row) {
  const [area, line] = [drawing("polygon", {}), drawing("polyline", {})];
  td.append(drawing("svg", { viewBox: `0 0 ${RECENT - 1} 20`, preserveAspectRatio: "none", "aria-hidden": "true" }, area, line));
  return ({ id }) => {
    const recent = model.recent.get(id) ?? [];
    const highest = Math.max(1, ...recent);
    const start = RECENT - recent.length;
    const points = recent.map((each, index) => `${start + index},${(19.5 - (18.5 * each) / highest).toFixed(1)}`).join(" ");
    line.setAttribute("points", points);
    area.setAttribute("points", points && `${start},20 ${points} ${RECENT - 1},20`);
  };
}

const ENDPOINTS = {
  id: "endpoints", title: "Endpoints", caption: "Endpoints, with rates, durations and outcomes of their requests",
  empty: "No endpoints are configured.",
  search: (row) => `${row.id} ${JSON.stringify(row.pipe)}`,
  isLast: (row) => !row.id,
  controls: (table) => [outcomeSelector(table)],
  details: endpointDetails,
  columns: [
    { name: "path", label: "Endpoint", type: "lead", value: (row) => row.path, cell: endpointCell },
    { name: "recent", label: "Last minute", type: "spark", cell: sparkCell },
    number("rate", "Req/s", { format: rate, help: "Requests in the last second" }),
    number("p50", "p50", { format: duration, help: "Half of the responses of the last minute took no longer" }),
    number("p99", "p99", { format: duration, help: "99 % of the responses of the last minute took no longer" }),
    number("errors", "Errors", { format: share, value: (row) => percent(failed(row), responses(row)), help: "4xx and 5xx among the responses of the last minute" }),
    ...OUTCOMES.map(outcome),
  ],
};

function outcomeSelector(table) {
  const select = make("select", {}, make("option", { value: "minute" }, "of the last minute"), make("option", { value: "total" }, "since the start"));
  select.addEventListener("change", () => {
    outcomes = select.value;
    table.update(endpointRows());
    table.place(true);
  });
  return make("label", { className: "control" }, "Outcomes ", select);
}

function endpointRows() {
  const { endpoints, unmatched } = model.state;
  return unmatched.total.ok + unmatched.total.client_errors + unmatched.total.server_errors + unmatched.total.gone ? [...endpoints, unmatched] : endpoints;
}

/** What an open row shows: histogram, last failures, pipe. */
function endpointDetails(cell, row) {
  const histogram = make("latency-histogram");
  const summary = make("p", { className: "note" });
  const failures = make("div", { className: "failures", tabIndex: 0, role: "region", "aria-label": `Last failures of ${plain(row.id) || "requests without an endpoint"}` });
  const panels = make("div", { className: "panels" },
    make("div", {}, make("h3", {}, "Durations of the last 15 minutes"), histogram, summary),
    make("div", {}, make("h3", {}, "Last failures"), failures));
  if (row.id) panels.append(make("div", { className: "wide" }, make("h3", {}, "Pipe"), pipeOf(row.pipe)));
  cell.append(panels);
  let newest = null;
  return (now) => {
    histogram.update(model.state.bounds, now.counts);
    say(summary, now.counts.some((each) => each)
      ? `In the last minute: half within ${duration(now.p50)}, 99 % within ${duration(now.p99)}, the longest within ${duration(now.max)}.`
      : "No request in the last 15 minutes.");
    const list = model.failures.get(row.id) ?? [];
    if (newest === (list.at(-1)?.id ?? "")) return;
    newest = list.at(-1)?.id ?? "";
    failures.replaceChildren(list.length ? failureTable(list) : make("p", { className: "note" }, "None."));
  };
}

function failureTable(list) {
  const heads = ["Time", "Status", "Reason", "Trace"].map((each) => make("th", { scope: "col" }, each));
  const rows = list.toReversed().map((each) => make("tr", {},
    make("td", { className: "time" }, make("time", { dateTime: new Date(each.time * 1000).toISOString(), title: calendar.format(each.time * 1000) }, time(each.time))),
    make("td", {}, String(each.status)),
    make("td", { className: "wrap" }, make("bdi", {}, plain(each.reason))),
    make("td", {}, make("code", { title: each.trace_id ? "trace id" : "request id" }, plain(each.trace_id || each.request_id) || NONE))));
  return make("table", {}, make("caption", { className: "hidden" }, "Last failures, the newest first"), make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
}

const MERGES = { merge: "merge of all", sequential: "one after the other" };

function box({ kind, name }) {
  return make("li", { className: "box" }, make("small", {}, plain(kind)), make("bdi", {}, plain(name)));
}

/** Boxes from left to right: guards, branches below each other, the response and what changes it. */
function pipeOf({ guards, branches, merge, stages }) {
  const end = { kind: "response", name: branches.length > 1 ? MERGES[merge] ?? merge : "of this branch" };
  const series = (boxes) => make("ol", { className: "series" }, ...boxes.map(box));
  const parallel = make("ul", { className: "branches" }, ...branches.map((boxes) => make("li", {}, series(boxes))));
  return make("div", { className: "pipe" }, series(guards), parallel, series([end, ...stages]));
}

// ---------------------------------------------------------------- the other tables

const SEVERITIES = { CRITICAL: "critical", HIGH: "critical", MEDIUM: "warning", warning: "warning", LOW: "unknown", hint: "unknown" };
const ORDER = ["CRITICAL", "HIGH", "warning", "MEDIUM", "LOW", "hint"];
const EXPIRES_SOON = 30; // days

function certificateLevel({ days, problem }) {
  if (problem || (isNumber(days) && days <= 0)) return "critical";
  return isNumber(days) ? (days <= EXPIRES_SOON ? "warning" : "ok") : "unknown";
}

const daysLeft = (days) => (!isNumber(days) ? NONE : days <= 0 ? "expired" : days < 10 ? days.toFixed(1) : count(Math.floor(days)));
const ago = (seconds) => (isNumber(seconds) ? `${span(model.state.time - seconds)} ago` : NONE);

const SPECS = [
  ENDPOINTS,
  {
    id: "queues", title: "Queues", caption: "Queues that the gateway consumes from", empty: "No queues are consumed.",
    rows: (state) => state.queues, level: statusOf, search: (row) => `${row.id} ${row.status} ${row.problem}`,
    columns: [
      lead("queue", "Queue", { below: (row) => row.broker }), status,
      number("ack_rate", "Acked/s", { format: rate, help: "Messages acknowledged a second" }),
      number("buffered", "Buffered", { help: "Messages in the gateway, for the next requests" }),
      number("buffered_bytes", "Size", { format: bytes, help: "Size of the buffered messages" }),
      number("unacked", "Unacked"),
      number("waiting", "Waiting", { help: "Requests and workers of agents that wait for a message" }),
      number("parked", "Parked", { help: "Messages that wait to be tried again", isBad: (value) => value > 0 }),
      number("consumers", "Consumers"), number("prefetch", "Prefetch"),
      number("requeued", "Given back", { help: "Messages given back to the queue since the start" }),
      number("rejected", "Rejected", { help: "Messages rejected since the start", isBad: (value) => value > 0 }),
    ],
  },
  {
    id: "producers", title: "Producers", caption: "Exchanges that the gateway publishes to", empty: "No exchanges are published to.",
    rows: (state) => state.producers, level: statusOf, search: (row) => `${row.id} ${row.status} ${row.problem}`,
    columns: [
      lead("exchange", "Exchange", { value: (row) => row.exchange || "(default exchange)", below: (row) => row.broker }), status,
      number("confirm_rate", "Confirmed/s", { format: rate }),
      number("unconfirmed", "Unconfirmed", { help: "Written messages that the broker has not answered yet" }),
      number("waiting", "Waiting", { help: "Messages that cannot be written yet" }),
      number("confirmed", "Confirmed", { help: "Since the start" }),
      number("returned", "Returned", { help: "Mandatory messages that no queue takes, since the start", isBad: (value) => value > 0 }),
      number("nacked", "Nacked", { help: "Messages that the broker has refused, since the start", isBad: (value) => value > 0 }),
    ],
  },
  {
    id: "links", title: "Links", caption: "Connections to brokers", empty: "No brokers are configured.",
    rows: (state) => state.links, level: statusOf, search: (row) => `${row.id} ${row.status} ${row.problem} ${row.node}`,
    columns: [
      lead("broker", "Broker", { below: (row) => (row.host === row.broker ? "" : row.host && `connected to ${row.host}`) }),
      words("role", "For"), status, words("node", "Node"),
      { ...number("up", "Up", { help: "Connections that are up, of all workers" }), cell: cellOf((row) => `${row.up} of ${row.of}`, String) },
      number("since", "Since", { format: ago, value: (row) => row.blocked_since ?? row.since }),
      number("reconnects", "Reconnects"),
      number("silence", "Last frame", { format: (value) => (isNumber(value) ? `${duration(value)} ago` : NONE), help: "When the broker has sent anything" }),
      number("heartbeat", "Heartbeat", { format: (value) => (value ? `${value} s` : "none") }),
      number("certificate_days", "TLS, days left", { format: daysLeft, isBad: (value) => isNumber(value) && value <= EXPIRES_SOON }),
    ],
  },
  {
    id: "agents", title: "Agents", caption: "Async agents", empty: "No agents are configured.",
    rows: (state) => state.agents, level: statusOf, search: (row) => `${row.id} ${row.status} ${row.problem}`,
    columns: [
      lead("agent", "Agent"), status,
      number("success_rate", "Done/s", { format: rate }), number("failure_rate", "Failed/s", { format: rate, isBad: (value) => value > 0 }),
      number("in_flight", "In flight"), number("workers", "Workers"),
      number("parked", "Parked", { help: "Messages that wait to be tried again", isBad: (value) => value > 0 }),
      number("dead_lettered", "Dead-lettered", { help: "Messages since the start", isBad: (value) => value > 0 }),
      number("succeeded", "Done", { help: "Messages since the start" }), number("failed", "Failed", { help: "Tries since the start" }),
      number("last_message", "Last message", { format: ago }),
      words("last_error", "Last error", { type: "wrap" }),
    ],
  },
  {
    id: "failures", title: "Last failures", short: "Failures", caption: "The last failures of all endpoints and agents", empty: "No request has failed.",
    rows: () => model.latestFailures(), search: (row) => `${row.endpoint} ${row.status} ${row.reason} ${row.trace_id} ${row.request_id}`,
    isEvents: true,
    columns: [
      { ...number("time", "Time", { format: time }), type: "time" },
      { ...number("status", "Status", { format: String }), type: "code" },
      words("endpoint", "Endpoint", { value: (row) => row.endpoint || "no endpoint", type: "wrap", isCode: true }),
      words("reason", "Reason", { type: "wrap" }), words("trace", "Trace or request id", { value: (row) => row.trace_id || row.request_id, isCode: true, type: "wrap" }),
    ],
  },
  {
    id: "workers", title: "Workers", caption: "Processes of this gateway", empty: "No worker has reported.", isHalf: true, isOptional: (rows) => rows.length < 2,
    rows: (state) => state.workers, level: (row) => workerLevel(row),
    columns: [
      number("number", "Worker", { format: String }), levelColumn("state", "State", (row) => workerLevel(row), (row) => (row.is_up ? (row.is_ready ? "ready" : "not ready") : "no report")),
      number("pid", "Process", { format: String }), number("in_flight", "In flight"),
      number("lag", "Loop late by", { format: duration, help: "How late the event loop was in the last second" }),
      number("age", "Reported", { format: (value) => (value ? `${duration(value)} ago` : "now") }), number("started", "Started", { format: ago }),
    ],
  },
  {
    id: "limits", title: "Limits", caption: "Rate limits", empty: "No rate limits are configured.", isHalf: true,
    rows: (state) => state.limits, level: (row) => (row.denied_rate > 0 ? "warning" : "ok"),
    columns: [lead("endpoint", "Of"), number("denied_rate", "Denied/s", { format: rate, isBad: (value) => value > 0 }), number("denied", "Denied", { help: "Since the start" })],
  },
  {
    id: "breakers", title: "Circuit breakers", short: "Breakers", caption: "Circuit breakers", empty: "No circuit breakers are configured.", isHalf: true,
    rows: (state) => state.breakers, level: statusOf,
    columns: [lead("endpoint", "Endpoint"), words("backend", "Backend"), status],
  },
  {
    id: "certificates", title: "Certificates", caption: "Certificates in files", empty: "No certificates are configured.", isHalf: true,
    rows: (state) => state.certificates, level: certificateLevel, search: (row) => `${row.file} ${row.path} ${row.names.join(" ")} ${row.problem}`,
    columns: [
      lead("file", "File"), words("use", "For"), words("names", "Names", { value: (row) => row.names.join(", "), type: "wrap" }),
      levelColumn("days", "Days left", certificateLevel, (row) => (row.problem ? "unreadable" : daysLeft(row.days)), (row) => row.problem),
      number("expires", "Expires", { format: (value) => (isNumber(value) ? day.format(value * 1000) : NONE) }),
    ],
  },
  {
    id: "resources", title: "Other resources", short: "Resources", caption: "Key sources and other resources", empty: "", isHalf: true, isOptional: (rows) => !rows.length,
    rows: (state) => state.resources, level: (row) => (row.is_ready ? "ok" : "critical"),
    columns: [
      lead("kind", "Kind"),
      levelColumn("state", "State", (row) => (row.is_ready ? "ok" : "critical"), (row) => (row.is_ready ? "ready" : "not ready"), (row) => row.problem),
      words("details", "Details", { value: (row) => Object.entries(row.details).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", "), type: "wrap" }),
    ],
  },
  {
    id: "findings", title: "Findings", caption: "Findings of check and audit in the configuration", empty: "The configuration has no findings.",
    rows: () => model.findings ?? [], level: (row) => SEVERITIES[row.severity] ?? "unknown",
    search: (row) => `${row.severity} ${row.rule} ${row.path} ${row.name} ${row.text}`,
    columns: [
      { ...levelColumn("severity", "Severity", (row) => SEVERITIES[row.severity] ?? "unknown", (row) => row.severity.toLowerCase()), value: (row) => ORDER.indexOf(row.severity) },
      words("source", "Of", { value: (row) => [row.source, row.rule].filter(Boolean).join(" ") }),
      words("text", "Finding", { type: "wrap" }),
      words("path", "Where", { isCode: true, type: "wrap" }),
      words("name", "Endpoint or agent", { type: "wrap" }),
    ],
  },
];

const workerLevel = (row) => (row.is_up ? (row.is_ready ? "ok" : "warning") : "critical");

// ---------------------------------------------------------------- the page

const charts = [];
const tables = new Map();
const links = new Map();

function build() {
  readPalette();
  for (const spec of CHARTS) {
    const chart = make("live-chart").configure(spec);
    charts.push(chart);
    byId("charts").append(chart);
  }
  for (const spec of SPECS) {
    const table = make("state-table").configure(spec);
    const section = make("section", { id: spec.id, className: spec.isHalf ? "half" : "", "aria-labelledby": `${spec.id}-title` }, table);
    tables.set(spec.id, table);
    byId("tables").append(section);
    const level = make("span", { className: "level", hidden: true }, make("span", { className: "hidden" }));
    const number = make("span", {});
    const item = make("li", {}, make("a", { href: `#${spec.id}` }, spec.short ?? spec.title, " ", number, level));
    links.set(spec.id, { item, level, number });
    byId("sections").append(item);
  }
  listen();
}

function listen() {
  const filter = byId("filter");
  filter.addEventListener("input", () => {
    for (const table of tables.values()) table.filter(filter.value.trim().toLowerCase());
  });
  filter.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !filter.value) return;
    filter.value = "";
    filter.dispatchEvent(new Event("input"));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    event.preventDefault();
    filter.focus();
    filter.select();
  });
  dark.addEventListener("change", () => {
    readPalette();
    for (const chart of charts) chart.redraw();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    if (!document.documentElement.classList.contains("stale")) heard = performance.now();
    poll();
  });
}

function show() {
  const { state } = model;
  showState(stateLevel(state), state.state.word, state.state.text, state.state.reasons);
  showFacts(state);
  const seconds = state.history.length * state.history.step;
  for (const chart of charts) chart.update(model.history, seconds);
  for (const spec of SPECS) showTable(spec, spec === ENDPOINTS ? endpointRows() : spec.rows(state));
}

const stateLevel = ({ state }) => ({ green: "ok", amber: "warning", red: "critical" })[state.level] ?? "unknown";

function showState(level, word, text, reasons) {
  const rest = text.startsWith(word) ? text.slice(word.length) : ` ${text}`;
  const stop = rest.startsWith(".") ? "." : "";
  const sentence = byId("sentence");
  if (sentence.dataset.text !== text) {
    sentence.dataset.text = text;
    sentence.replaceChildren(make("strong", {}, plain(word) + stop), make("bdi", {}, plain(rest.slice(stop.length))));
  }
  const place = byId("state");
  if (place.dataset.level !== level || !byId("mark").firstChild) {
    place.dataset.level = level;
    showMark(level);
  }
  const title = `${word} – ${model.state ? model.state.gateway.name || model.state.gateway.instance : "Hutch Gateway"}`;
  if (document.title !== plain(title)) document.title = plain(title);
  showReasons(reasons);
}

/** Beside the sentence, and as the icon of the tab. */
function showMark(level) {
  const style = getComputedStyle(byId("state"));
  byId("mark").replaceChildren(mark(level, { fill: "var(--level-mark)", glyph: "var(--page)" }));
  const icon = mark(level, { fill: style.getPropertyValue("--level-mark").trim(), glyph: "#ffffff" });
  document.querySelector("link[rel=icon]").href = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(icon))}`;
}

function showReasons(reasons) {
  const list = byId("reasons");
  const key = reasons.join("\n");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...reasons.map((each) => make("li", {}, make("bdi", {}, plain(each)))));
}

const facts = new Map();

function fact(name, text, href) {
  if (!facts.has(name)) {
    const value = make(href ? "a" : "span", href ? { href } : {});
    byId("facts").append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    facts.set(name, value);
  }
  say(facts.get(name), plain(text));
}

function showFacts({ gateway, workers }) {
  say(byId("instance"), plain(gateway.name || gateway.instance));
  say(byId("host"), gateway.name ? plain(gateway.instance) : "");
  fact("version", gateway.version);
  fact("configuration", gateway.config, "__config.json");
  fact("up", span(gateway.uptime));
  const running = workers.filter((each) => each.is_up).length;
  fact("workers", running === workers.length ? String(running) : `${running} of ${workers.length}`);
  facts.get("up").title = `since ${calendar.format(gateway.started * 1000)}`;
  facts.get("configuration").title = plain(gateway.config_file);
}

function showTable(spec, rows) {
  const table = tables.get(spec.id);
  if (spec.id === "findings" && !model.findings) say(table.empty, "The findings are being computed.");
  else if (spec.id === "findings") say(table.empty, spec.empty);
  table.update(rows);
  const isHidden = !!spec.isOptional?.(rows);
  byId(spec.id).hidden = isHidden;
  const { item, level, number } = links.get(spec.id);
  item.hidden = isHidden;
  say(number, spec.isEvents ? "" : String(spec === ENDPOINTS ? model.state.endpoints.length : rows.length));
  const worst = rows.filter((row) => ["critical", "warning"].includes(spec.level?.(row)));
  level.dataset.level = worst.some((row) => spec.level(row) === "critical") ? "critical" : "warning";
  level.hidden = !worst.length;
  say(level.firstChild, ` (${worst.length} to look at)`);
}

// ---------------------------------------------------------------- asking

let heard = performance.now(); // when the gateway has answered last, or the page was opened or shown again
let isAsking = false;
let next = 0;

/** Asks once, and again after a second, as long as the page can be seen. */
async function poll() {
  if (isAsking || document.hidden) return;
  isAsking = true;
  clearTimeout(next);
  const began = performance.now();
  try {
    await ask();
  } finally {
    isAsking = false;
    next = setTimeout(poll, Math.max(100, STEP - (performance.now() - began)));
  }
}

const read = (address) => fetch(address, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });

async function ask() {
  let state;
  try {
    const response = await read(`__state.json${model.query}`);
    if (!response.ok) return showRefusal(response.status, await response.text());
    state = await response.json();
  } catch {
    return watch(); // no connection, no answer in time, or half an answer
  }
  heard = performance.now();
  if (!model.take(state)) return ask();
  setStale(false);
  say(byId("age"), "");
  show();
  return askFindings();
}

async function askFindings() {
  if (model.findings || !model.state.findings.is_known) return;
  try {
    const found = await (await read("__findings.json")).json();
    if (found.is_known) model.findings = found.findings;
  } catch {
    // Asked again after the next answer.
  }
}

const setStale = (isStale) => document.documentElement.classList.toggle("stale", isStale);

/** Says so when the gateway has not answered for a while. The seconds are not in the live region. */
function watch() {
  const silence = performance.now() - heard;
  if (document.hidden || silence < STALE) return;
  setStale(true);
  const { state } = model;
  if (state?.gateway.is_draining) showState("unknown", "Stopped", "Stopped. The gateway was draining, and does not answer any more.", []);
  else showState("critical", "No answer", "No answer from the gateway.", []);
  say(byId("age"), `For ${span(silence / 1000)}.` + (state ? ` The numbers below are of ${time(state.time)}.` : ""));
}

function showRefusal(status, text) {
  heard = performance.now();
  setStale(true);
  showState("critical", "Refused", `Refused. The gateway answers with status ${status}.`, text ? [text.slice(0, LONGEST)] : []);
}

build();
poll();
setInterval(watch, STEP);
