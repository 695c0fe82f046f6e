/* The live page: reads __state.json once a second, and shows it. Names and texts come from outside
   (queues, paths, brokers): they only ever become text nodes, never markup. */

const STEP = 1000; // milliseconds from one request of the state to the next
const TIMEOUT = 5000; // milliseconds until a request of the state is given up
const STALE = 2500; // milliseconds without an answer after which the numbers count as old
const RECENT = 60; // seconds of a sparkline
const FAILURES = 50; // failures kept of each endpoint
const LATEST = 12; // rows of the table of failures
const LONGEST = 400; // characters shown of a name or a text
const HEIGHT = 142; // pixels of a chart
const PIXELS_OF_A_POINT = 1.6; // a chart has no more points: they would only be noise
const EXPIRES_SOON = 30; // days

// ---------------------------------------------------------------- texts and numbers

// Characters that change how others are shown: controls, direction marks, invisible ones.
const INVISIBLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A text from outside, of a bounded length, with escapes for characters that cannot be seen. */
function plain(text) {
  text = String(text ?? "");
  const shown = text.length > LONGEST ? text.slice(0, LONGEST) + "…" : text;
  const escaped = (each) => "\\u" + each.charCodeAt(0).toString(16).padStart(4, "0");
  return shown.replaceAll("\n", " ↵ ").replace(INVISIBLE, escaped);
}

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const calendar = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const isSome = (value) => value > 0;
/** A format for numbers, which says so where there is none. */
const orNone = (format) => (value) => (isNumber(value) ? format(value) : NONE);

const count = orNone((value) => (value < 1e6 ? whole : short).format(value));
const rate = orNone((value) => (value === 0 || value >= 9.95 ? count(value) : value.toFixed(1)));
const time = orNone((seconds) => clock.format(seconds * 1000));
const date = orNone((seconds) => day.format(seconds * 1000));
const ago = orNone((seconds) => `${span(model.state.time - seconds)} ago`);
const twoDigits = (value) => (value < 9.95 ? value.toFixed(1).replace(".0", "") : String(Math.round(value)));

const duration = orNone((seconds) => {
  if (seconds === 0) return "0";
  if (seconds < 0.0009995) return `${twoDigits(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${twoDigits(seconds * 1e3)} ms`;
  return seconds < 119.5 ? `${twoDigits(seconds)} s` : span(seconds);
});

/** A long time, in its two largest units: "3 d 4 h". */
function span(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const number = Math.floor(rest / size);
    rest -= number * size;
    if (number || parts.length || unit === "s") parts.push(`${number} ${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

const bytes = orNone((value) => {
  const power = value < 1000 ? 0 : Math.min(4, Math.ceil(Math.log(value / 1000) / Math.log(1024)));
  return `${twoDigits(value / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
});

const percent = orNone((value) => {
  if (value === 0) return "0 %";
  return value < 0.1 ? "<0.1 %" : `${value.toFixed(value < 9.95 ? 1 : 0)} %`;
});

// ---------------------------------------------------------------- elements

const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
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

/** Sets a text only if it is another one: otherwise the browser has nothing to lay out again. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A name from outside; its direction does not change that of the text around it. */
const nameOf = (text) => make("bdi", { className: "name", title: plain(text) }, plain(text));

const hiddenText = (text) => make("span", { className: "hidden" }, text);

function menu(label, className, options, change) {
  const select = make("select", {}, ...options.map(([value, text]) => make("option", { value }, text)));
  select.addEventListener("change", () => change(select.value));
  return make("label", { className }, `${label} `, select);
}

function dot(colour) {
  const element = make("span", { className: "dot", "aria-hidden": "true" });
  element.style.setProperty("--series", `var(${colour})`);
  return element;
}

// The mark of a level: a shape, a colour and a glyph, beside a word.
const MARKS = {
  ok: ["circle", { cx: 12, cy: 12, r: 11 }, "M7 12.4l3.4 3.4L17 9"],
  warning: ["path", { d: "M12 1.6 23.4 22H.6z", "stroke-linejoin": "round" }, "M12 9v6M12 18.2v.4"],
  critical: ["path", { d: "M7.4 1h9.2L23 7.4v9.2L16.6 23H7.4L1 16.6V7.4z" }, "M8 8l8 8M16 8l-8 8"],
  unknown: ["circle", { cx: 12, cy: 12, r: 11 }, "M7 12h.4M12 12h.4M17 12h.4"],
};

function mark(level, fill, stroke) {
  const [shape, attributes, d] = MARKS[level];
  const line = { d, fill: "none", stroke, "stroke-width": 2.4, "stroke-linecap": "round", "stroke-linejoin": "round" };
  return drawing("svg", { viewBox: "0 0 24 24" }, drawing(shape, { ...attributes, fill }), drawing("path", line));
}

// ---------------------------------------------------------------- what the page knows

/** Appends the newer items to a list that keeps a bounded number. */
function append(list, newer, length) {
  list.push(...newer);
  if (list.length > length) list.splice(0, list.length - length);
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

  /** Takes a document. False: it continues what another process has begun; ask for all of it. */
  take(state) {
    const { is_complete: isComplete, length, times, series } = state.history;
    if (this.state && this.state.boot !== state.boot) {
      this.forget();
      if (!isComplete) return false;
    }
    if (isComplete) {
      this.history = { times: [], series: {} };
      this.recent.clear();
    }
    append(this.history.times, times, length);
    for (const [name, values] of Object.entries(series)) {
      append((this.history.series[name] ??= []), values, length);
    }
    for (const { id, recent } of [...state.endpoints, state.unmatched]) {
      if (!this.recent.has(id)) this.recent.set(id, []);
      append(this.recent.get(id), recent, RECENT);
    }
    for (const failure of state.failures) this.takeFailure(failure);
    this.state = state;
    return true;
  }

  takeFailure(failure) {
    if (!this.failures.has(failure.endpoint)) this.failures.set(failure.endpoint, []);
    const list = this.failures.get(failure.endpoint);
    if (!list.some((each) => each.id === failure.id)) append(list, [failure], FAILURES);
  }

  /** Of all endpoints and agents, the newest first. */
  latestFailures() {
    const all = [...this.failures.values()].flatMap((list) => list.slice(-LATEST));
    return all.sort((a, b) => b.time - a.time).slice(0, LATEST);
  }
}

const model = new Model();

// ---------------------------------------------------------------- charts

// Of each series: its name, a label, its colour, what it means, and the dashes of its line.
const OUTCOMES = [
  ["ok", "delivered", "--blue", "2xx and 3xx: the messages of the response are acknowledged when it has arrived"],
  ["empty", "empty", "--quiet", "204: such as of an empty queue"],
  ["gone", "client gone", "--purple", "The client has disconnected before the response: its messages are given back"],
  ["client_errors", "4xx", "--orange", "The request was refused"],
  ["server_errors", "5xx", "--red", "The gateway or a backend has failed"],
];

const CHARTS = [
  { id: "requests", title: "Requests", unit: "a second", isStack: true, format: rate, series: OUTCOMES },
  {
    id: "latency", title: "Latency", isLog: true, format: duration,
    series: [
      ["p50", "p50", "--blue", "Half of the responses took no longer", []],
      ["p99", "p99", "--red", "99 % of the responses took no longer", [6, 3]],
      ["max", "max", "--grey", "No response took longer", [2, 3]],
    ],
  },
  {
    id: "messages", title: "Messages", unit: "a second", format: rate,
    series: [
      ["taken", "taken", "--blue", "Acknowledged or rejected", []],
      ["published", "published", "--green", "Confirmed by the broker", [6, 3]],
      ["requeued", "given back", "--purple", "Returned to their queue", [2, 3]],
    ],
  },
  {
    id: "running", title: "In flight", unit: "requests", isArea: true, format: count,
    series: [["in_flight", "in flight", "--blue", "Requests that run", []]],
    extra: ["lag", "event loop late by", duration],
  },
];

const COLOURS = ["blue", "pale", "quiet", "green", "orange", "red", "purple", "grey", "grid", "muted", "surface"];
const palette = {};

function readPalette() {
  const style = getComputedStyle(document.documentElement);
  for (const name of COLOURS) palette[`--${name}`] = style.getPropertyValue(`--${name}`).trim();
}

/** A chart of uPlot with a legend, whose numbers are those at the cursor, or else the newest. */
class LiveChart extends HTMLElement {
  configure(spec) {
    this.spec = spec;
    this.data = [[], ...spec.series.map(() => [])];
    this.values = [];
    this.legend = make("dl", { className: "legend" });
    this.plot = make("div", { className: "plot" });
    this.when = make("small");
    const unit = spec.unit ? make("small", {}, ` ${spec.unit}`) : "";
    this.append(make("h3", { id: `${spec.id}-title` }, spec.title, unit, this.when), this.legend, this.plot);
    for (const [name, label, colour, help, dash] of spec.series) {
      this.addLegend(name, label, help, this.swatch(colour, dash));
    }
    if (spec.extra) this.addLegend(spec.extra[0], spec.extra[1], "", "");
    new ResizeObserver(() => this.resize()).observe(this);
    return this;
  }

  addLegend(name, label, help, swatch) {
    const value = make("dd", { "data-series": name }, NONE);
    this.values.push(value);
    this.legend.append(make("div", { title: help }, make("dt", {}, swatch, label), value));
  }

  swatch(colour, dash) {
    const line = { d: "M0 5h14", fill: "none", "stroke-width": 2.5, "stroke-dasharray": (dash ?? []).join(" ") };
    const { isStack } = this.spec;
    const shape = isStack ? drawing("rect", { x: 1, width: 10, height: 10, rx: 2 }) : drawing("path", line);
    shape.style.setProperty(isStack ? "fill" : "stroke", `var(${colour})`);
    return drawing("svg", { viewBox: "0 0 14 10", "aria-hidden": "true" }, shape);
  }

  resize() {
    const width = this.plot.clientWidth;
    if (!width) return;
    if (this.chart) this.chart.setSize({ width, height: HEIGHT });
    else this.open(width);
  }

  open(width) {
    this.chart = new uPlot(this.options(width), this.data, this.plot);
    const { over } = this.chart;
    const attributes = {
      tabindex: 0, role: "slider", "aria-orientation": "horizontal", "aria-labelledby": `${this.spec.id}-title`,
      "aria-valuemin": -900, "aria-valuemax": 0, "aria-valuenow": 0, "aria-valuetext": "now",
    };
    for (const [name, value] of Object.entries(attributes)) over.setAttribute(name, value);
    over.addEventListener("keydown", (event) => this.move(event));
    over.addEventListener("blur", () => this.chart.setCursor({ left: -10, top: -10 }, true, true));
    if (this.history) this.update(this.history, this.seconds);
  }

  options(width) {
    const { series, isStack, isLog } = this.spec;
    const lines = series.map((each) => this.line(each));
    return {
      width, height: HEIGHT, padding: [8, 16, 0, 0], legend: { show: false },
      cursor: {
        y: false, drag: { x: false, y: false }, points: { show: !isStack, size: 6 },
        sync: { key: "page", setSeries: false },
      },
      scales: {
        x: { time: false, range: () => this.period() },
        y: isLog ? { distr: 3, range: logRange } : { range: (_, low, high) => [0, nice(high)] },
      },
      axes: this.axes(),
      // The layers of a stack lie upon each other: the highest is drawn first.
      series: [{}, ...(isStack ? lines.reverse() : lines)],
      hooks: { setCursor: [() => this.showValues()] },
    };
  }

  line([name, label, colour, , dash]) {
    const { isStack, isArea } = this.spec;
    const isLayer = isStack && name !== "ok";
    const filled = colour === "--blue" ? "--pale" : colour;
    return {
      label, dash, width: isLayer ? 1 : 1.5, points: { show: false },
      stroke: () => palette[isLayer ? "--surface" : colour],
      fill: isStack || isArea ? () => palette[filled] : undefined,
    };
  }

  axes() {
    const { isLog, format } = this.spec;
    const font = `11px ${getComputedStyle(this).fontFamily}`;
    const both = { stroke: () => palette["--muted"], font, ticks: { show: false } };
    const halves = (_, __, low, high) => [0, high / 2, high];
    const x = { size: 26, gap: 8, grid: { show: false }, splits: () => this.thirds(), values: (_, splits) => splits.map(before) };
    const y = {
      size: isLog ? 54 : 46, gap: 6, grid: { stroke: () => palette["--grid"], width: 1 },
      splits: isLog ? decades : halves, values: (_, splits) => splits.map(format), filter: (_, splits) => splits,
    };
    return [{ ...both, ...x }, { ...both, ...y }];
  }

  period() {
    const last = this.data[0].at(-1) ?? 0;
    return [last - (this.seconds ?? 900), last];
  }

  thirds() {
    const [first, last] = this.period();
    return [0, 1, 2, 3].map((third) => first + (third * (last - first)) / 3);
  }

  update(history, seconds) {
    this.history = history;
    this.seconds = seconds;
    if (!this.chart) return;
    const size = Math.round((PIXELS_OF_A_POINT * seconds) / this.chart.over.clientWidth);
    const all = this.spec.series.map(([name]) => history.series[name] ?? []);
    const [times, columns] = thin(history.times, all, size);
    this.columns = columns;
    this.data = [times, ...(this.spec.isStack ? stacked(columns) : columns)];
    this.chart.setData(this.data);
    this.showValues();
  }

  /** The index of the point under the cursor. Null: there is no cursor. */
  get index() {
    return this.chart.cursor.left >= 0 ? this.chart.cursor.idx ?? null : null;
  }

  showValues() {
    if (!this.columns) return;
    const { index } = this;
    const { series } = this.history;
    this.spec.series.forEach(([name], number) => {
      const value = index === null ? series[name]?.at(-1) : this.columns[number][index];
      say(this.values[number], this.spec.format(value));
    });
    if (this.spec.extra) say(this.values.at(-1), this.spec.extra[2](series[this.spec.extra[0]]?.at(-1)));
    say(this.when, index === null ? "" : ` at ${time(this.data[0][index])}`);
  }

  /** Arrow keys move the cursor, of all charts at once. */
  move(event) {
    const times = this.data[0];
    const last = times.length - 1;
    const [at, far] = [this.index ?? last, Math.ceil(times.length / 15)];
    const keys = { ArrowLeft: at - 1, ArrowRight: at + 1, PageDown: at - far, PageUp: at + far, Home: 0, End: last };
    if (!(event.key in keys) || last < 0) return;
    event.preventDefault();
    const index = Math.min(last, Math.max(0, keys[event.key]));
    this.chart.setCursor({ left: this.chart.valToPos(times[index], "x"), top: 1 }, true, true);
    const values = this.spec.series.map(([, label], number) => {
      return `${label} ${this.spec.format(this.columns[number][index])}`;
    });
    this.chart.over.setAttribute("aria-valuenow", Math.round(times[index] - times[last]));
    this.chart.over.setAttribute("aria-valuetext", `${time(times[index])}: ${values.join(", ")}`);
  }

  redraw() {
    this.chart?.redraw(true, true);
  }
}

/**
 * Means of groups of seconds, for a chart that has fewer pixels than seconds. Groups begin at the same
 * seconds each time, so that the line does not tremble.
 */
function thin(times, columns, size) {
  if (size < 2 || !times.length) return [times, columns];
  const starts = [0];
  times.forEach((each, index) => {
    if (Math.floor(each / size) !== Math.floor(times[starts.at(-1)] / size)) starts.push(index);
  });
  const ends = [...starts.slice(1), times.length];
  starts[starts.length - 1] = Math.max(0, times.length - size); // the newest is no mean of one second
  const mean = (column) => starts.map((start, group) => {
    const values = column.slice(start, ends[group]).filter(isNumber);
    return values.length ? values.reduce((sum, each) => sum + each, 0) / values.length : null;
  });
  return [ends.map((end) => times[end - 1]), columns.map(mean)];
}

/** Sums from the first column on: the highest layer first, as it is drawn. */
function stacked(columns) {
  const layers = [];
  for (const column of columns) {
    const below = layers[0];
    layers.unshift(column.map((value, index) => (value ?? 0) + (below?.[index] ?? 0)));
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
  const [first, last] = [Math.round(Math.log10(low)), Math.round(Math.log10(high))];
  return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
}

/** The label of a point in time: how long before the last one. */
function before(each, index, all) {
  return index === all.length - 1 ? "now" : `−${Math.round((all.at(-1) - each) / 60)} min`;
}

// ---------------------------------------------------------------- the histogram

/** Bars of equal width for bounds that grow by a factor: an axis of logarithms. */
class LatencyHistogram extends HTMLElement {
  update(bounds, counts) {
    const all = counts.reduce((sum, each) => sum + each, 0);
    this.hidden = !all;
    if (!all) return;
    this.bars ??= this.build();
    // The buckets in use, and one more on each side.
    const first = Math.max(0, counts.findIndex(isSome) - 1);
    const last = Math.min(counts.length, Math.max(counts.findLastIndex(isSome) + 2, first + 8));
    const [highest, slow] = [Math.max(...counts), indexOfQuantile(counts, all, 0.99)];
    resizeList(this.bars, last - first, () => make("li", {}, hiddenText("")));
    for (let index = first; index < last; index++) {
      const bar = this.bars.children[index - first];
      const number = counts[index];
      const range = index < bounds.length ? `up to ${duration(bounds[index])}` : `above ${duration(bounds.at(-1))}`;
      bar.style.setProperty("--height", number / highest);
      bar.className = `${number ? "some" : ""} ${index > slow ? "slow" : ""}`;
      bar.title = `${range}: ${count(number)} request${number === 1 ? "" : "s"}`;
      say(bar.firstChild, bar.title);
    }
    this.label(bounds.slice(first, last), last - first);
  }

  build() {
    this.scale = make("div", { className: "scale", "aria-hidden": "true" });
    const bars = make("ol", { className: "bars", "aria-label": "Requests by duration" });
    this.append(bars, this.scale);
    return bars;
  }

  /** A label at each power of ten. */
  label(bounds, bars) {
    const isPower = (bound) => Math.abs(Math.log10(bound) - Math.round(Math.log10(bound))) < 1e-3;
    const marks = bounds.flatMap((bound, index) => (isPower(bound) ? [[index + 1, bound]] : []));
    resizeList(this.scale, marks.length, () => make("span"));
    marks.forEach(([place, bound], index) => {
      this.scale.children[index].style.left = `${((100 * place) / bars).toFixed(2)}%`;
      say(this.scale.children[index], duration(bound));
    });
  }
}

function resizeList(list, length, makeItem) {
  while (list.children.length > length) list.lastChild.remove();
  while (list.children.length < length) list.append(makeItem());
}

function indexOfQuantile(counts, all, quantile) {
  let sum = 0;
  return counts.findIndex((each) => (sum += each) >= all * quantile);
}

// ---------------------------------------------------------------- tables

const collator = new Intl.Collator("en", { numeric: true });
const isMissing = (value) => value === null || value === undefined || value === "";

/** Compares two values of a column; what is missing is the last, whatever the sign. */
function compare(a, b, sign) {
  if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
  return sign * (isNumber(a) && isNumber(b) ? a - b : collator.compare(a, b));
}

/** What the filter looks at: all texts of a row. */
const textsOf = (row) => Object.values(row).filter((each) => typeof each === "string").join(" ");

/**
 * A table of rows with an `id`. A column: `name`, `label`, `help`, `type` (a class of its cells), `value(row)`
 * to sort by, and `cell(td, row)`, which builds a cell once and returns a function that brings it up to date.
 * Rows keep their places while the pointer or the focus is in the table.
 */
class StateTable extends HTMLElement {
  configure(spec) {
    this.spec = spec;
    this.rows = new Map();
    this.needle = "";
    this.sorting = null; // or the column and the sign
    this.number = make("p");
    this.empty = make("p", { hidden: true }, spec.empty);
    const sortable = spec.columns.filter((each) => each.value);
    const options = [["", "as configured"], ...sortable.map((each) => [each.name, each.label])];
    const sorting = menu("Sort by", "sorting", options, (name) => this.sort(name && this.first(name)));
    this.selector = sorting.lastChild;
    const heading = make("h2", { id: `${spec.id}-title` }, spec.title);
    this.append(make("div", { className: "head" }, heading, this.number, this.empty, spec.control?.(this) ?? "", sorting));
    this.append(this.buildTable());
    return this;
  }

  buildTable() {
    const { columns, caption } = this.spec;
    this.heads = columns.map((column) => this.buildHead(column));
    this.body = make("tbody", { role: "rowgroup" });
    this.nothing = make("tr", { className: "none", role: "row", hidden: true },
      make("td", { colSpan: columns.length, role: "cell", className: "full" }));
    this.body.append(this.nothing);
    const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...this.heads));
    const title = make("caption", { className: "hidden" }, caption);
    this.table = make("table", { role: "table" }, title, head, this.body);
    return this.table;
  }

  buildHead({ name, label, type = "", help = "", colour, value }) {
    const head = make("th", { scope: "col", role: "columnheader", className: type, title: help });
    if (value) {
      const button = make("button", { type: "button" }, colour ? dot(colour) : "", label);
      button.addEventListener("click", () => this.turn(name));
      head.append(button);
    } else head.append(make("span", {}, label));
    return head;
  }

  /** Numbers begin with the largest. */
  first(name) {
    const column = this.spec.columns.find((each) => each.name === name);
    return { column, sign: column.type === "number" ? -1 : 1 };
  }

  /** The first click sorts, the second turns the order, the third ends it. */
  turn(name) {
    const first = this.first(name);
    const { column, sign } = this.sorting ?? {};
    if (column !== first.column) this.sort(first);
    else this.sort(sign === first.sign ? { column, sign: -sign } : null);
  }

  sort(sorting) {
    this.sorting = sorting || null;
    this.spec.columns.forEach((column, index) => {
      const isSorted = this.sorting?.column === column;
      if (isSorted) this.heads[index].setAttribute("aria-sort", this.sorting.sign > 0 ? "ascending" : "descending");
      else this.heads[index].removeAttribute("aria-sort");
    });
    this.selector.value = this.sorting?.column.name ?? "";
    this.place(true);
  }

  update(rows) {
    const known = new Set();
    rows.forEach((row, index) => {
      known.add(row.id);
      const entry = this.rows.get(row.id) ?? this.add(row);
      Object.assign(entry, { row, index });
      for (const refresh of entry.cells) refresh(row);
      entry.refresh?.(row);
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
      return column.cell(td, row);
    });
    const entry = { tr, cells, row, details: null, refresh: null };
    if (this.spec.details) {
      tr.classList.add("openable");
      tr.addEventListener("click", (event) => {
        if (event.target.closest(".toggle") || !String(getSelection())) this.toggle(entry);
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
    const button = entry.tr.querySelector(".toggle");
    const isOpen = !entry.details;
    if (isOpen) {
      const cell = make("td", { colSpan: this.spec.columns.length, role: "cell" });
      entry.details = make("tr", { className: "details", role: "row", id: button.getAttribute("aria-controls") }, cell);
      entry.refresh = this.spec.details(cell, entry.row);
      entry.refresh(entry.row);
      entry.tr.after(entry.details);
    } else {
      entry.details.remove();
      entry.details = entry.refresh = null;
    }
    entry.tr.classList.toggle("open", isOpen);
    button.setAttribute("aria-expanded", isOpen);
  }

  filter(needle) {
    this.needle = needle;
    this.place(true);
  }

  isShown(row) {
    return !this.needle || plain((this.spec.search ?? textsOf)(row)).toLowerCase().includes(this.needle);
  }

  /** Shows the rows that the filter lets pass, in their order. */
  place(isAsked) {
    const entries = [...this.rows.values()];
    let shown = 0;
    for (const { tr, row, details } of entries) {
      tr.hidden = !this.isShown(row);
      if (details) details.hidden = tr.hidden;
      shown += !tr.hidden;
    }
    if (isAsked || !this.matches(":hover, :focus-within")) this.order(entries);
    const isEmpty = !entries.length;
    this.classList.toggle("is-empty", isEmpty);
    this.table.hidden = isEmpty;
    this.empty.hidden = !isEmpty;
    this.nothing.hidden = isEmpty || shown > 0;
    if (!this.nothing.hidden) say(this.nothing.firstChild, `Nothing here matches “${plain(this.needle)}”.`);
    say(this.number, isEmpty ? "" : this.needle ? `${shown} of ${entries.length}` : String(entries.length));
  }

  order(entries) {
    const { column, sign } = this.sorting ?? {};
    const isLast = (entry) => !!this.spec.isLast?.(entry.row);
    const byColumn = (a, b) => (column ? compare(column.value(a.row), column.value(b.row), sign) : 0);
    entries.sort((a, b) => isLast(a) - isLast(b) || byColumn(a, b) || a.index - b.index);
    let previous = this.nothing;
    for (const { tr, details } of entries) {
      if (previous.nextSibling !== tr) previous.after(tr);
      if (details && tr.nextSibling !== details) tr.after(details);
      previous = details ?? tr;
    }
  }
}

customElements.define("live-chart", LiveChart);
customElements.define("latency-histogram", LatencyHistogram);
customElements.define("state-table", StateTable);

// ---------------------------------------------------------------- columns

/** A cell of a number, which is quiet where it is 0 or not known, and loud where `isBad`. */
function cellOf(value, format, isBad) {
  return (td) => (row) => {
    const now = value(row);
    say(td, format(now));
    td.classList.toggle("zero", !now);
    td.classList.toggle("bad", !!isBad?.(now));
  };
}

function number(name, label, help = "", { format = count, value = (row) => row[name], isBad, colour, type = "number" } = {}) {
  return { name, label, help, colour, type, value, cell: cellOf(value, format, isBad) };
}

/** Text from outside. */
function words(name, label, { value = (row) => row[name], type = "", isCode = false } = {}) {
  const cell = (td) => {
    const node = td.appendChild(make("bdi", { className: isCode ? "name" : "" }));
    return (row) => {
      const text = plain(value(row));
      say(node, text || NONE);
      td.classList.toggle("zero", !text);
      td.classList.toggle("blank", !text);
    };
  };
  return { name, label, type, value, cell };
}

const URGENCY = ["critical", "warning", "unknown", "ok"];

/** A level as mark and word; below it what is wrong. */
function levelColumn(name, label, levelOf, wordOf, value = (row) => URGENCY.indexOf(levelOf(row)) + wordOf(row)) {
  const cell = (td) => {
    const word = td.appendChild(make("span", { className: "level" }));
    const problem = td.appendChild(make("bdi", { className: "problem" }));
    return (row) => {
      word.dataset.level = levelOf(row);
      say(word, plain(wordOf(row)));
      say(problem, plain(row.problem));
      td.classList.toggle("full", !!row.problem);
    };
  };
  return { name, label, value, cell };
}

/** What a row is of; `below` in a second line. */
function lead(name, label, { value = (row) => row[name], below = () => "" } = {}) {
  const cell = (td, row) => {
    const second = make("bdi", { className: "below" });
    td.append(make("div", {}, nameOf(value(row)), second));
    return (now) => say(second, plain(below(now)));
  };
  return { name, label, type: "lead", value, cell };
}

const LEVELS = {
  up: "ok", attached: "ok", ready: "ok", closed: "ok", idle: "unknown",
  blocked: "warning", stopping: "warning", "half-open": "warning", down: "critical", open: "critical",
};
const levelOfStatus = (row) => LEVELS[row.status] ?? "unknown";
const status = levelColumn("status", "State", levelOfStatus, (row) => row.status);

// ---------------------------------------------------------------- endpoints

let period = "minute"; // of the columns of outcomes; or "total"

const sum = (outcomes) => Object.values(outcomes).reduce((all, each) => all + each, 0);

function errorShare({ minute }) {
  const all = sum(minute);
  return all ? (100 * (minute.client_errors + minute.server_errors)) / all : null;
}

function outcome([name, label, colour, help]) {
  const isBad = name === "server_errors" ? isSome : undefined;
  const title = label[0].toUpperCase() + label.slice(1);
  return number(name, title, help, { colour, isBad, value: (row) => row[period][name] });
}

const titleOf = (row) => plain(row.id ? `${row.method} ${row.path}` : "requests without an endpoint");
let numberOfRows = 0;

function endpointCell(td, row) {
  const toggle = make("button", {
    type: "button", className: "toggle", "aria-label": `Details of ${titleOf(row)}`,
    "aria-expanded": "false", "aria-controls": `details-${++numberOfRows}`,
  });
  const path = row.id ? nameOf(row.path) : make("span", { className: "zero" }, "no endpoint: 404, 405, health");
  td.append(make("div", {}, toggle, make("span", { className: "method" }, plain(row.method)), path));
  return () => {};
}

function sparkCell(td) {
  const [area, line] = [drawing("polygon", {}), drawing("polyline", {})];
  const box = { viewBox: `0 0 ${RECENT - 1} 20`, preserveAspectRatio: "none", "aria-hidden": "true" };
  td.append(drawing("svg", box, area, line));
  return ({ id }) => {
    const recent = model.recent.get(id) ?? [];
    const [start, highest] = [RECENT - recent.length, Math.max(1, ...recent)];
    const place = (each, index) => `${start + index},${(19.5 - (18.5 * each) / highest).toFixed(1)}`;
    const points = recent.map(place).join(" ");
    line.setAttribute("points", points);
    area.setAttribute("points", points && `${start},20 ${points} ${RECENT - 1},20`);
  };
}

function periodMenu(table) {
  const options = [["minute", "of the last minute"], ["total", "since the start"]];
  return menu("Outcomes", "control", options, (chosen) => {
    period = chosen;
    table.update(endpointRows(model.state));
    table.place(true);
  });
}

/** The last row is that of requests without an endpoint, if there were any. */
const endpointRows = ({ endpoints, unmatched }) => (sum(unmatched.total) ? [...endpoints, unmatched] : endpoints);

/** What an open row shows: histogram, last failures, pipe. */
function endpointDetails(cell, row) {
  const histogram = make("latency-histogram");
  const summary = make("p", { className: "note" });
  const label = `Last failures of ${titleOf(row)}`;
  const failures = make("div", { className: "failures", tabIndex: 0, role: "region", "aria-label": label });
  const panels = make("div", { className: "panels" },
    make("div", {}, make("h3", {}, "Durations, up to the last 15 minutes"), histogram, summary),
    make("div", {}, make("h3", {}, "Last failures"), failures));
  if (row.id) panels.append(make("div", { className: "wide" }, make("h3", {}, "Pipe"), pipeOf(row.pipe)));
  cell.append(panels);
  let newest;
  return ({ id, counts, p50, p99, max }) => {
    histogram.update(model.state.bounds, counts);
    const last = `half within ${duration(p50)}, 99 % within ${duration(p99)}, all within ${duration(max)}`;
    say(summary, isNumber(p50) ? `In the last minute: ${last}.` : "No response in the last minute.");
    const list = model.failures.get(id) ?? [];
    if (newest === (list.at(-1)?.id ?? "")) return;
    newest = list.at(-1)?.id ?? "";
    failures.replaceChildren(list.length ? failureTable(list) : make("p", { className: "note" }, "None."));
  };
}

function failureTable(list) {
  const heads = ["Time", "Status", "Reason", "Trace"].map((each) => make("th", { scope: "col" }, each));
  const cells = (...contents) => make("tr", {}, ...contents.map((each) => make("td", {}, each)));
  const rows = list.toReversed().map((each) => {
    const when = make("time", { title: calendar.format(each.time * 1000) }, time(each.time));
    const trace = make("code", { title: each.trace_id ? "trace id" : "request id" }, plain(each.trace_id || each.request_id));
    return cells(when, String(each.status), make("bdi", {}, plain(each.reason)), trace);
  });
  const caption = make("caption", { className: "hidden" }, "Last failures, the newest first");
  return make("table", {}, caption, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
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

// ---------------------------------------------------------------- all tables

const SEVERITIES = {
  CRITICAL: "critical", HIGH: "critical", warning: "warning", MEDIUM: "warning", LOW: "unknown", hint: "unknown",
};
const ORDER = Object.keys(SEVERITIES);
const levelOfFinding = (row) => SEVERITIES[row.severity] ?? "unknown";

function findingRows() {
  return (model.findings ?? []).toSorted((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity));
}

function levelOfWorker(row) {
  if (!row.is_up) return "critical";
  return row.is_ready ? "ok" : "warning";
}

function wordOfWorker(row) {
  if (!row.is_up) return "no report";
  return row.is_ready ? "ready" : "not ready";
}

function levelOfCertificate({ days, problem }) {
  if (problem || (isNumber(days) && days <= 0)) return "critical";
  if (!isNumber(days)) return "unknown";
  return days <= EXPIRES_SOON ? "warning" : "ok";
}

const daysLeft = orNone((days) => (days <= 0 ? "expired" : days < 10 ? days.toFixed(1) : count(Math.floor(days))));
const expiresSoon = (days) => isNumber(days) && days <= EXPIRES_SOON;
const endpointOf = (row) => row.endpoint || "no endpoint";
const traceOf = (row) => row.trace_id || row.request_id;
const textOf = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
const brokerBelow = { below: (row) => row.broker };
const sinceStart = "Since the start";

/* `level(row)`: what needs attention is marked in the list of sections. `isHalf`: half as wide as the page.
   `isOptional(rows)`: without a section, if so. */
const SPECS = [
  {
    id: "endpoints", title: "Endpoints", empty: "No endpoints are configured.",
    caption: "Endpoints, with rates, durations and outcomes of their requests",
    rows: endpointRows, isLast: (row) => !row.id, search: (row) => `${row.id} ${JSON.stringify(row.pipe)}`,
    control: periodMenu, details: endpointDetails,
    columns: [
      { name: "path", label: "Endpoint", type: "lead", value: (row) => row.path, cell: endpointCell },
      { name: "recent", label: "Last minute", type: "spark", cell: sparkCell },
      number("rate", "Req/s", "Requests in the last second", { format: rate }),
      number("p50", "p50", "Half of the responses of the last minute took no longer", { format: duration }),
      number("p99", "p99", "99 % of the responses of the last minute took no longer", { format: duration }),
      number("errors", "Errors", "4xx and 5xx, of the responses of the last minute", { format: percent, value: errorShare }),
      ...OUTCOMES.map(outcome),
    ],
  },
  {
    id: "queues", title: "Queues", empty: "No queues are consumed.",
    caption: "Queues that the gateway consumes from", level: levelOfStatus, rows: (state) => state.queues,
    columns: [
      lead("queue", "Queue", brokerBelow), status,
      number("ack_rate", "Acked/s", "Messages acknowledged a second", { format: rate }),
      number("buffered", "Buffered", "Messages in the gateway, for the next requests"),
      number("buffered_bytes", "Size", "Of the buffered messages", { format: bytes }),
      number("unacked", "Unacked", "Messages that the gateway has and has not settled"),
      number("waiting", "Waiting", "Requests, and workers of agents, that wait for a message"),
      number("parked", "Parked", "Messages that wait to be tried again", { isBad: isSome }),
      number("consumers", "Consumers"), number("prefetch", "Prefetch"),
      number("requeued", "Given back", sinceStart), number("rejected", "Rejected", sinceStart, { isBad: isSome }),
    ],
  },
  {
    id: "producers", title: "Producers", empty: "No exchanges are published to.",
    caption: "Exchanges that the gateway publishes to", level: levelOfStatus, rows: (state) => state.producers,
    columns: [
      lead("exchange", "Exchange", { ...brokerBelow, value: (row) => row.exchange || "(default exchange)" }), status,
      number("confirm_rate", "Confirmed/s", "Messages that the broker has confirmed", { format: rate }),
      number("unconfirmed", "Unconfirmed", "Written messages that the broker has not answered yet"),
      number("waiting", "Waiting", "Messages that cannot be written yet"),
      number("confirmed", "Confirmed", sinceStart),
      number("returned", "Returned", "Mandatory messages that no queue takes, since the start", { isBad: isSome }),
      number("nacked", "Nacked", "Messages that the broker has refused, since the start", { isBad: isSome }),
    ],
  },
  {
    id: "links", title: "Links", empty: "No brokers are configured.",
    caption: "Connections to brokers", level: levelOfStatus, rows: (state) => state.links,
    columns: [
      lead("broker", "Broker", { below: (row) => (row.host && row.host !== row.broker ? `connected to ${row.host}` : "") }),
      words("role", "For"), status, words("node", "Node"),
      number("up", "Up", "Connections that are up, of all workers", { value: (row) => `${row.up} of ${row.of}`, format: String }),
      number("since", "Since", "In this state", { format: ago, value: (row) => row.blocked_since ?? row.since }),
      number("reconnects", "Reconnects", sinceStart),
      number("silence", "Silent for", "The time since the broker has sent anything", { format: duration }),
      number("heartbeat", "Heartbeat", "", { format: (seconds) => (seconds ? `${seconds} s` : "none") }),
      number("certificate_days", "TLS, days left", "", { format: daysLeft, isBad: expiresSoon }),
    ],
  },
  {
    id: "agents", title: "Agents", empty: "No agents are configured.",
    caption: "Async agents", level: levelOfStatus, rows: (state) => state.agents,
    columns: [
      lead("agent", "Agent"), status,
      number("success_rate", "Done/s", "Messages", { format: rate }),
      number("failure_rate", "Failed/s", "Tries", { format: rate, isBad: isSome }),
      number("in_flight", "In flight", "Messages that are processed now"), number("workers", "Workers"),
      number("parked", "Parked", "Messages that wait to be tried again", { isBad: isSome }),
      number("dead_lettered", "Dead-lettered", sinceStart, { isBad: isSome }),
      number("succeeded", "Done", "Messages since the start"), number("failed", "Failed", "Tries since the start"),
      number("last_message", "Last message", "", { format: ago }), words("last_error", "Last error", { type: "wrap" }),
    ],
  },
  {
    id: "failures", title: "Last failures", short: "Failures", empty: "No request has failed.", isEvents: true,
    caption: "The last failures of all endpoints and agents", rows: () => model.latestFailures(),
    columns: [
      number("time", "Time", "", { format: time, type: "" }), number("status", "Status", "", { format: String, type: "" }),
      words("endpoint", "Endpoint", { value: endpointOf, type: "wrap", isCode: true }), words("reason", "Reason", { type: "wrap" }),
      words("trace", "Trace or request id", { value: traceOf, isCode: true, type: "wrap" }),
    ],
  },
  {
    id: "workers", title: "Workers", empty: "", isHalf: true, isOptional: (rows) => rows.length < 2,
    caption: "Processes of this gateway", level: levelOfWorker, rows: (state) => state.workers,
    columns: [
      number("number", "Worker", "", { format: String, type: "" }),
      levelColumn("state", "State", levelOfWorker, wordOfWorker), number("pid", "Process", "", { format: String }),
      number("in_flight", "In flight", "Requests that run"),
      number("lag", "Late by", "How late the event loop was in the last second", { format: duration }),
      number("started", "Started", "", { format: ago }),
    ],
  },
  {
    id: "limits", title: "Limits", empty: "No rate limits are configured.", isHalf: true,
    caption: "Rate limits", level: (row) => (row.denied_rate > 0 ? "warning" : "ok"), rows: (state) => state.limits,
    columns: [
      lead("endpoint", "Of"),
      number("denied_rate", "Denied/s", "Requests", { format: rate, isBad: isSome }), number("denied", "Denied", sinceStart),
    ],
  },
  {
    id: "breakers", title: "Circuit breakers", short: "Breakers", empty: "No circuit breakers are configured.",
    caption: "Circuit breakers", isHalf: true, level: levelOfStatus, rows: (state) => state.breakers,
    columns: [lead("endpoint", "Endpoint"), words("backend", "Backend"), status],
  },
  {
    id: "certificates", title: "Certificates", empty: "No certificates are configured.", isHalf: true,
    caption: "Certificates in files", level: levelOfCertificate, rows: (state) => state.certificates,
    columns: [
      lead("file", "File"), words("use", "For"),
      words("names", "Names", { value: (row) => row.names.join(", "), type: "wrap" }),
      levelColumn("days", "Days left", levelOfCertificate,
        (row) => (row.problem ? "unreadable" : daysLeft(row.days)), (row) => (row.problem ? -1e9 : row.days)),
      number("expires", "Expires", "", { format: date }),
    ],
  },
  {
    id: "resources", title: "Other resources", short: "Resources", empty: "", isHalf: true,
    caption: "Key sources and other resources", isOptional: (rows) => !rows.length,
    level: (row) => (row.is_ready ? "ok" : "critical"), rows: (state) => state.resources,
    columns: [
      lead("kind", "Kind"),
      levelColumn("state", "State", (row) => (row.is_ready ? "ok" : "critical"), (row) => (row.is_ready ? "ready" : "not ready")),
      words("details", "Details", {
        type: "wrap", value: (row) => Object.entries(row.details).map(([key, value]) => `${key} ${textOf(value)}`).join(", "),
      }),
    ],
  },
  {
    id: "findings", title: "Findings", empty: "The configuration has no findings.",
    caption: "Findings of check and audit in the configuration", level: levelOfFinding, rows: findingRows,
    columns: [
      levelColumn("severity", "Severity", levelOfFinding, (row) => row.severity.toLowerCase(), (row) => ORDER.indexOf(row.severity)),
      words("source", "Of", { value: (row) => `${row.source} ${row.rule}` }), words("text", "Finding", { type: "wrap" }),
      words("path", "Where", { isCode: true, type: "wrap" }), words("name", "Endpoint or agent", { type: "wrap" }),
    ],
  },
];

// ---------------------------------------------------------------- the page

const charts = [];
const sections = new Map(); // the table of each, and its entry in the list of sections

function build() {
  readPalette();
  for (const spec of CHARTS) charts.push(make("live-chart").configure(spec));
  byId("charts").append(...charts);
  for (const spec of SPECS) {
    const table = make("state-table").configure(spec);
    const className = spec.isHalf ? "half" : "";
    byId("tables").append(make("section", { id: spec.id, className, "aria-labelledby": `${spec.id}-title` }, table));
    const level = make("span", { className: "level", hidden: true }, hiddenText(""));
    const number = make("span", { className: "zero" });
    const item = make("li", {}, make("a", { href: `#${spec.id}` }, spec.short ?? spec.title, number, level));
    byId("sections").append(item);
    sections.set(spec, { table, item, number, level });
  }
  listen();
}

function listen() {
  const filter = byId("filter");
  filter.addEventListener("input", () => {
    for (const { table } of sections.values()) table.filter(filter.value.trim().toLowerCase());
  });
  filter.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !filter.value) return;
    filter.value = "";
    filter.dispatchEvent(new Event("input"));
  });
  document.addEventListener("keydown", (event) => {
    const isForUs = event.key === "/" && !(event.ctrlKey || event.metaKey || event.altKey);
    if (!isForUs || event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    filter.focus();
    filter.select();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readPalette();
    for (const chart of charts) chart.redraw();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    if (!isStale()) heard = performance.now();
    poll();
  });
}

const COLOURS_OF_LEVELS = { green: "ok", amber: "warning", red: "critical" };

function show(state) {
  const { level, word, text, reasons } = state.state;
  showState(COLOURS_OF_LEVELS[level] ?? "unknown", word, text, reasons);
  showFacts(state);
  const seconds = state.history.length * state.history.step;
  for (const chart of charts) chart.update(model.history, seconds);
  for (const spec of SPECS) showSection(spec, spec.rows(state));
}

/** `text` begins with `word`, which is shown in the colour of the level. */
function showState(level, word, text, reasons) {
  const sentence = byId("sentence");
  if (sentence.dataset.text !== text) {
    sentence.dataset.text = text;
    const end = text.startsWith(`${word}.`) ? word.length + 1 : word.length;
    sentence.replaceChildren(make("strong", {}, plain(text.slice(0, end))), make("bdi", {}, plain(text.slice(end))));
  }
  const key = reasons.join("\n");
  if (byId("reasons").dataset.key !== key) {
    byId("reasons").dataset.key = key;
    byId("reasons").replaceChildren(...reasons.map((each) => make("li", {}, make("bdi", {}, plain(each)))));
  }
  showMark(level);
  const { name, instance } = model.state?.gateway ?? { name: "Hutch Gateway" };
  const title = plain(`${word}: ${name || instance}`);
  if (document.title !== title) document.title = title;
}

/** Beside the sentence, and as the icon of the tab. */
function showMark(level) {
  const place = byId("state");
  if (place.dataset.level === level && byId("mark").firstChild) return;
  place.dataset.level = level;
  byId("mark").replaceChildren(mark(level, "var(--level-mark)", "var(--page)"));
  const colour = getComputedStyle(place).getPropertyValue("--level-mark").trim();
  const icon = new XMLSerializer().serializeToString(mark(level, colour, "#fff"));
  document.querySelector("link[rel=icon]").href = `data:image/svg+xml,${encodeURIComponent(icon)}`;
}

const facts = new Map();

function fact(name, text, title, href) {
  if (!facts.has(name)) {
    const value = href ? make("a", { href }) : make("span");
    byId("facts").append(make("div", {}, make("dt", {}, name), " ", make("dd", {}, value)));
    facts.set(name, value);
  }
  say(facts.get(name), plain(text));
  facts.get(name).title = plain(title);
}

function showFacts({ gateway, workers }) {
  say(byId("instance"), plain(gateway.name || gateway.instance));
  say(byId("host"), gateway.name ? plain(gateway.instance) : "");
  const running = workers.filter((each) => each.is_up).length;
  fact("version", gateway.version, `Python ${gateway.python}, ${gateway.async_library}`);
  fact("configuration", gateway.config, gateway.config_file, "__config.json");
  fact("up", span(gateway.uptime), `since ${calendar.format(gateway.started * 1000)}`);
  fact("workers", running === workers.length ? count(running) : `${running} of ${workers.length}`);
}

function showSection(spec, rows) {
  const { table, item, number, level } = sections.get(spec);
  const isComputed = spec.id !== "findings" || model.findings;
  say(table.empty, isComputed ? spec.empty : "They are being computed.");
  table.update(rows);
  byId(spec.id).hidden = item.hidden = !!spec.isOptional?.(rows);
  say(number, spec.isEvents ? "" : String(rows.length));
  const levels = rows.map((row) => spec.level?.(row)).filter((each) => each === "critical" || each === "warning");
  level.hidden = !levels.length;
  level.dataset.level = levels.includes("critical") ? "critical" : "warning";
  say(level.firstChild, `(${levels.length} to look at)`);
}

// ---------------------------------------------------------------- asking

let heard = performance.now(); // when the gateway answered last, or the page was opened or shown again
let isAsking = false;
let next = 0;

const read = (address) => fetch(address, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
const isStale = () => document.documentElement.classList.contains("stale");
const setStale = (value) => document.documentElement.classList.toggle("stale", value);

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
  show(state);
  return askFindings();
}

async function askFindings() {
  if (model.findings || !model.state.findings.is_known) return;
  try {
    const found = await (await read("__findings.json")).json();
    if (found.is_known) model.findings = found.findings;
  } catch {
    return; // asked again after the next answer
  }
  show(model.state);
}

/** Says so when the gateway has not answered for a while. The seconds are not in the live region. */
function watch() {
  const silence = performance.now() - heard;
  if (document.hidden || silence < STALE) return;
  setStale(true);
  const { state } = model;
  if (state?.gateway.is_draining) {
    showState("unknown", "Stopped", "Stopped. The gateway was draining, and does not answer any more.", []);
  } else showState("critical", "No answer", "No answer from the gateway.", []);
  const age = state ? ` The numbers below are of ${time(state.time)}.` : "";
  say(byId("age"), `For ${span(silence / 1000)}.${age}`);
}

function showRefusal(status, text) {
  heard = performance.now();
  setStale(true);
  showState("critical", "Refused", `Refused. The gateway answers with status ${status}.`, text ? [text] : []);
}

build();
poll();
setInterval(watch, STEP);
