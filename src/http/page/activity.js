// What this daemon did and promised: reservations, the last pressure run, the last benchmark. Parts that a daemon does
// not have are not shown.

import { byId, el, scrolled } from "./dom.js";
import { capital, day, duration, human, orDash, rate, words } from "./format.js";

const definition = (rows) => el("dl", null, rows.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => [el("dt", null, name), el("dd", null, value)]));

const reservations = (list) => {
  if (list.length === 0) return el("p", { class: "soft" }, "None is held. ", el("code", null, "shvplan gate --reserve"), " takes one.");
  const rows = list.map((one) => [
    one.pid ? `${one.model} (pid ${one.pid})` : one.model,
    human(one.bytes),
    orDash(one.remaining_bytes, human),
    `in ${duration(one.expires_unix_seconds - Date.now() / 1000)}`,
  ]);
  return scrolled("Reservations", [["For", ""], ["Reserved", "number"], ["Not in use yet", "number"], ["Ends", "number"]], rows);
};

const held = (run) => [
  run.target_bytes ? el("progress", { max: run.target_bytes, value: Math.min(run.touched_bytes, run.target_bytes), "aria-label": "Held of what was asked for" }) : null,
  definition([
    ["Held", `${human(run.touched_bytes)} of ${human(run.target_bytes)}`],
    ["Verified", `${human(run.verified_bytes)}, ${run.mismatches === 0 ? "every byte as written" : `${run.mismatches} not as written`}`],
    ["Fill", orDash(run.fill_bytes_per_second, rate)],
    ["Verify", orDash(run.verify_bytes_per_second, rate)],
    ["Took", duration(run.seconds)],
    ["Ended", run.ended_at_unix_seconds ? capital(day(run.ended_at_unix_seconds)) : null],
  ]),
];

// A run that is under way, else the last.
const pressure = ({ run, last }) => {
  if (run && run.state !== "ended") return el("div", null, el("p", { class: "verdict" }, el("b", { class: "tight" }, capital(run.state))), held(run));
  if (!last) return null;
  const good = last.reason.code === "completed" && last.mismatches === 0;
  return el("div", null,
    el("p", { class: "verdict" }, el("b", { class: good ? "fits" : "does_not_fit" }, capital(words(last.reason.code)))),
    good ? null : el("p", null, capital(last.reason.detail)),
    held(last));
};

const speedOf = ({ work, timing }) =>
  work.flops ? `${(work.flops / timing.median_seconds / 1e12).toFixed(2)} TFLOP/s` : rate(work.bytes / timing.median_seconds);

const result = ({ rows, machine_name, backend, measured_at_unix_seconds }) => {
  const cells = rows.map((row) => [
    row.name,
    row.timing ? `${(row.timing.median_seconds * 1e3).toPrecision(3)} ms` : "left out",
    row.timing ? speedOf(row) : "–",
    row.timing && row.baseline_seconds ? `${(row.baseline_seconds / row.timing.median_seconds).toFixed(2)} ×` : "–",
  ]);
  return [
    el("p", { class: "soft" }, `${machine_name}, ${backend}, ${day(measured_at_unix_seconds)}`),
    scrolled("Benchmark", [["Kernel", ""], ["Median", "number"], ["Rate", "number"], ["Of an M4 Pro's", "number"]], cells),
  ];
};

const bench = ({ run, last }) => {
  const under = run?.running ? el("p", { class: "verdict" }, el("b", { class: "tight" }, "Measuring"), `: ${run.rows_done} of ${run.rows} rows after ${duration(run.seconds)}`) : null;
  const failed = run && !run.running && run.error ? el("p", null, capital(run.error)) : null;
  return under || failed || last ? el("div", null, under, failed, last ? result(last) : null) : null;
};

const PARTS = [
  { name: "reservations", path: "/api/v1/reservations", nodes: reservations },
  { name: "pressure", path: "/api/v1/pressure", nodes: pressure },
  { name: "bench", path: "/api/v1/bench", nodes: bench },
];

export class Activity {
  constructor() {
    this.missing = new Set();
    this.shown = new Map();
  }

  // A daemon that was started again may be a newer one.
  again() {
    this.missing.clear();
  }

  async refresh() {
    await Promise.all(PARTS.filter(({ name }) => !this.missing.has(name)).map((part) => this.part(part)));
  }

  async part({ name, path, nodes }) {
    const section = byId(`${name}-section`);
    const response = await fetch(path);
    if (response.status === 404 || response.status === 405) this.missing.add(name);
    if (response.status !== 200) {
      section.hidden = true;
      this.shown.delete(name);
      return;
    }
    const text = await response.text();
    // Times to come pass without a change of the answer.
    if (this.shown.get(name) === text && name !== "reservations") return;
    this.shown.set(name, text);
    const found = nodes(JSON.parse(text));
    section.hidden = found === null;
    if (found) byId(name).replaceChildren(found);
  }
}
