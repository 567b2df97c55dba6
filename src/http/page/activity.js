// What this daemon did and promised: reservations, the last pressure run, the last benchmark. Parts that a daemon does
// not have are not shown.

import { byId, el, table } from "./dom.js";
import { capital, day, duration, human, orDash, rate, words } from "./format.js";

const definition = (rows) => el("dl", null, rows.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => [el("dt", null, name), el("dd", null, value)]));

const reservations = (list) => {
  if (list.length === 0) return el("p", { class: "soft" }, "None is held.");
  const rows = list.map((one) => [
    one.label ?? String(one.id),
    human(one.bytes),
    orDash(one.expires_at_unix_seconds ?? one.expires_at, (at) => `in ${duration(Number(at) - Date.now() / 1000)}`),
  ]);
  return el("div", { class: "scroll" }, table("Reservations", [["For", ""], ["Bytes", "number"], ["Ends", "number"]], rows));
};

const pressure = (answer) => {
  const run = answer.status ?? answer.last ?? answer;
  const reason = run.reason ?? {};
  const good = reason.code === "completed" && !run.mismatches;
  const state = run.state && run.state !== "ended" ? capital(run.state) : null;
  return el("div", null,
    el("p", { class: "verdict" }, state ? el("b", { class: "tight" }, state) : el("b", { class: good ? "fits" : "does_not_fit" }, capital(words(reason.code ?? "ended"))), reason.detail ? `: ${reason.detail}` : ""),
    run.target_bytes ? el("progress", { max: run.target_bytes, value: Math.min(run.touched_bytes ?? 0, run.target_bytes), "aria-label": "Held of what was asked for" }) : null,
    definition([
      ["Held", `${human(run.touched_bytes ?? 0)} of ${human(run.target_bytes ?? 0)}`],
      ["Verified", orDash(run.verified_bytes, human)],
      ["Mismatches", orDash(run.mismatches, String)],
      ["Fill, verify", run.fill_bytes_per_second ? `${rate(run.fill_bytes_per_second)}, ${orDash(run.verify_bytes_per_second, rate)}` : null],
      ["Took", orDash(run.seconds, duration)],
      ["Ended", run.ended_at_unix_seconds ? day(run.ended_at_unix_seconds) : null],
    ]));
};

const speedOf = ({ work, timing }) => {
  if (work.flops) return `${(work.flops / timing.median_seconds / 1e12).toFixed(2)} TFLOP/s`;
  return rate(work.bytes / timing.median_seconds);
};

const bench = (answer) => {
  const result = answer.result ?? answer.last ?? answer;
  if (!result.rows) return el("p", null, `Running: ${words(answer.state ?? "started")}`);
  const rows = result.rows.map((row) => [
    row.name,
    row.timing ? `${(row.timing.median_seconds * 1e3).toPrecision(3)} ms` : "left out",
    row.timing ? speedOf(row) : "–",
    row.timing && row.baseline_seconds ? `${(row.baseline_seconds / row.timing.median_seconds).toFixed(2)} ×` : "–",
  ]);
  return el("div", null,
    el("p", { class: "soft" }, `${result.machine_name}, ${result.backend}, ${day(result.measured_at_unix_seconds)}`),
    el("div", { class: "scroll" }, table("Benchmark", [["Kernel", ""], ["Median", "number"], ["Rate", "number"], ["Of the M4 Pro's", "number"]], rows)));
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
    section.hidden = false;
    // Times to come pass without a change of the answer.
    if (this.shown.get(name) === text && name !== "reservations") return;
    this.shown.set(name, text);
    byId(name).replaceChildren(nodes(JSON.parse(text)));
  }
}
