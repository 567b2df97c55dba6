// Memory over time as stacked areas, with a cursor for pointer and keyboard, and the same as a table.

import { el, say, svg, table } from "./dom.js";
import { clock, gib, human } from "./format.js";
import { kindsOf, layersOf } from "./layers.js";

const HEIGHT = 260;
const MARGIN = { left: 34, right: 8, top: 10, bottom: 24 };
const GIB = 2 ** 30;
const PIXELS_A_STEP = 2;
const SPANS_MINUTES = [5, 10, 15, 30, 60];
const TABLE_ROWS = 13;
const LEVELS = { 2: ", pressure at warning", 4: ", pressure critical" };

const typicalSeconds = (points) => {
  const gaps = points.slice(-30).map((point, at, all) => (at ? point.unix_seconds - all[at - 1].unix_seconds : 0)).slice(1).sort((a, b) => a - b);
  return gaps[Math.floor(gaps.length / 2)] ?? 1;
};

export class Chart {
  constructor({ frame, legend, table: tableNode, span }) {
    Object.assign(this, { frame, legend, tableNode, span });
    this.points = [];
    this.cursor = null;
    this.picture = svg("svg", { "aria-hidden": "true", height: HEIGHT });
    this.readout = el("p", { class: "readout", "aria-hidden": "true" });
    frame.replaceChildren(this.picture, this.readout);
    frame.addEventListener("pointermove", (event) => this.point(event.clientX));
    frame.addEventListener("pointerleave", () => this.moveTo(null));
    frame.addEventListener("blur", () => this.moveTo(null));
    frame.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(frame);
  }

  show(points) {
    this.points = points.filter((point) => layersOf(point));
    this.draw();
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || !this.shown?.length) return;
    event.preventDefault();
    const last = this.shown.length - 1;
    const at = this.cursor === null ? last : this.nearest(this.cursor);
    this.moveTo(this.shown[Math.min(last, Math.max(0, at + step))].unix_seconds);
  }

  point(clientX) {
    if (!this.shown?.length) return;
    const x = clientX - this.frame.getBoundingClientRect().left;
    const time = this.begin + ((x - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right)) * this.seconds;
    this.moveTo(this.shown[this.nearest(time)].unix_seconds);
  }

  moveTo(time) {
    if (this.cursor === time) return;
    this.cursor = time;
    this.drawCursor();
  }

  nearest(time) {
    let best = 0;
    this.shown.forEach((point, at) => {
      if (Math.abs(point.unix_seconds - time) < Math.abs(this.shown[best].unix_seconds - time)) best = at;
    });
    return best;
  }

  x(time) {
    return MARGIN.left + ((time - this.begin) / this.seconds) * (this.width - MARGIN.left - MARGIN.right);
  }

  y(bytes) {
    return HEIGHT - MARGIN.bottom - (bytes / this.total) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  // Of each few pixels the point with most in use: a short peak is not lost.
  thinned(points) {
    const step = (this.seconds / this.width) * PIXELS_A_STEP;
    const kept = new Map();
    for (const point of points) {
      const bucket = Math.floor(point.unix_seconds / step);
      const other = kept.get(bucket);
      if (!other || (point.used_bytes ?? 0) > (other.used_bytes ?? 0)) kept.set(bucket, point);
    }
    return [...kept.values()];
  }

  draw() {
    this.width = this.frame.clientWidth;
    if (!this.width) return;
    if (!this.points.length) {
      this.picture.setAttribute("width", this.width);
      this.picture.replaceChildren(svg("text", { x: this.width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "No readings that could be drawn"));
      return;
    }
    const last = this.points.at(-1);
    const held = (last.unix_seconds - this.points[0].unix_seconds) / 60;
    const minutes = SPANS_MINUTES.find((m) => held <= m) ?? 60;
    this.seconds = minutes * 60;
    this.begin = last.unix_seconds - this.seconds;
    this.total = this.points.reduce((most, point) => Math.max(most, point.total_bytes), 0);
    this.shown = this.thinned(this.points.filter((point) => point.unix_seconds >= this.begin));
    this.kinds = kindsOf(last);
    say(this.span, minutes === 60 ? "last hour" : `last ${minutes} minutes`);
    this.picture.setAttribute("width", this.width);
    this.cursorNode = svg("g");
    this.picture.replaceChildren(...this.areas(), ...this.axes(), ...this.strip(), this.cursorNode);
    this.drawTable();
    this.drawCursor();
  }

  // Runs without a gap: what was not read is not drawn.
  runs() {
    const gap = Math.max(10, 4 * typicalSeconds(this.points), (this.seconds / this.width) * PIXELS_A_STEP * 2.5);
    const runs = [];
    this.shown.forEach((point, at) => {
      if (at === 0 || point.unix_seconds - this.shown[at - 1].unix_seconds > gap) runs.push([]);
      runs.at(-1).push(point);
    });
    return runs;
  }

  areas() {
    const paths = [];
    for (const run of this.runs()) {
      const below = run.map(() => 0);
      for (const { key } of this.kinds) {
        const lower = [...below];
        run.forEach((point, at) => { below[at] += layersOf(point)[key] ?? 0; });
        const corner = (sum) => (point, at) => `${this.x(point.unix_seconds).toFixed(1)},${this.y(sum[at]).toFixed(1)}`;
        const upper = run.map(corner(below));
        const back = run.map(corner(lower)).reverse();
        paths.push(svg("polygon", { class: `layer ${key}`, points: [...upper, ...back].join(" ") }));
      }
    }
    return paths;
  }

  axes() {
    const nodes = [];
    const step = [1, 2, 4, 8, 16, 32, 64, 128, 256].find((gb) => this.total / GIB / gb <= 4.5) ?? 512;
    for (let at = 0; at * GIB <= this.total * 1.01; at += step) {
      const y = this.y(at * GIB);
      nodes.push(svg("line", { class: "grid", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y }));
      nodes.push(svg("text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, String(at)));
    }
    const ticks = this.width < 480 ? 3 : 6;
    for (let tick = 0; tick <= ticks; tick += 1) {
      const time = this.begin + (this.seconds * tick) / ticks;
      const anchor = tick === 0 ? "start" : tick === ticks ? "end" : "middle";
      nodes.push(svg("text", { x: this.x(time), y: HEIGHT - 6, "text-anchor": anchor }, clock(time, this.seconds < 600)));
    }
    return nodes;
  }

  // Where the kernel said that memory was pressed.
  strip() {
    return this.shown.filter((point) => point.pressure_level > 1).map((point) =>
      svg("rect", { class: point.pressure_level > 2 ? "critical" : "warning", x: this.x(point.unix_seconds) - 1, y: HEIGHT - MARGIN.bottom, width: PIXELS_A_STEP + 1, height: 4 }));
  }

  described(point) {
    const layers = layersOf(point);
    const parts = this.kinds.filter(({ key }) => layers[key] > 0).map(({ key, name }) => `${name} ${human(layers[key])}`);
    return `${clock(point.unix_seconds)}: ${parts.join(", ")}${LEVELS[point.pressure_level] ?? ""}`;
  }

  drawCursor() {
    if (!this.shown?.length) return;
    const last = this.shown.length - 1;
    const at = this.cursor === null ? last : this.nearest(this.cursor);
    const point = this.shown[at];
    this.frame.setAttribute("aria-valuemax", last);
    this.frame.setAttribute("aria-valuenow", at);
    if (this.cursor !== null || document.activeElement !== this.frame) this.frame.setAttribute("aria-valuetext", this.described(point));
    this.readout.hidden = this.cursor === null;
    this.cursorNode.replaceChildren();
    // The legend has the figures under the cursor; without one, the latest.
    this.drawLegend(this.cursor === null ? this.points.at(-1) : point);
    if (this.cursor === null) return;
    const x = this.x(point.unix_seconds);
    this.cursorNode.append(svg("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
    say(this.readout, clock(point.unix_seconds) + (LEVELS[point.pressure_level] ?? ""));
    const room = this.width - MARGIN.right - this.readout.offsetWidth;
    this.readout.style.left = `${Math.max(MARGIN.left, Math.min(room, x - this.readout.offsetWidth / 2))}px`;
  }

  drawLegend(point) {
    const layers = layersOf(point);
    if (this.legend.children.length !== this.kinds.length) {
      this.legend.replaceChildren(...this.kinds.map(({ key, name }) => el("li", null, el("span", { class: `key ${key}`, "aria-hidden": "true" }), `${name} `, el("b"))));
    }
    this.kinds.forEach(({ key }, at) => say(this.legend.children[at].querySelector("b"), human(layers[key] ?? 0)));
  }

  // Written when it is open, and then once in a while.
  drawTable() {
    if (!this.tableNode.closest("details").open || Date.now() - (this.tableAt ?? 0) < 5000) return;
    this.tableAt = Date.now();
    const rows = [];
    for (let row = 0; row < TABLE_ROWS; row += 1) {
      const time = this.begin + (this.seconds * row) / (TABLE_ROWS - 1);
      const point = this.shown[this.nearest(time)];
      if (Math.abs(point.unix_seconds - time) > this.seconds / TABLE_ROWS) continue;
      const layers = layersOf(point);
      rows.push([clock(point.unix_seconds), ...this.kinds.map(({ key }) => gib(layers[key] ?? 0)), gib(point.swap_used_bytes ?? 0)]);
    }
    const headings = [["Time", ""], ...this.kinds.map(({ name }) => [name, "number"]), ["Swap", "number"]];
    this.tableNode.replaceChildren(...table("Memory in GiB", headings, rows).children);
  }
}
