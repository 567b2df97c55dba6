// Readings: the last hour at first, then each as it comes; after a break in the connection, again.

import { pointOf } from "./layers.js";

const KEPT_SECONDS = 3600;
// More than the chart has columns.
const POINTS = 900;
const WAIT_MS_MIN = 1000;
const WAIT_MS_MAX = 10000;

export class Live {
  // `changed(live)` is called after each reading and each change of the connection.
  constructor(changed) {
    this.changed = changed;
    this.points = [];
    this.memory = null;
    this.problem = "connecting";
    this.receivedAt = 0;
    this.wait = WAIT_MS_MIN;
    this.connections = 0;
  }

  start() {
    this.source?.close();
    const source = new EventSource("/api/v1/events");
    this.source = source;
    source.addEventListener("open", () => {
      this.wait = WAIT_MS_MIN;
      this.connections += 1;
      this.fill();
    });
    source.addEventListener("sample", (event) => this.take(JSON.parse(event.data)));
    source.addEventListener("failure", (event) => this.fail(JSON.parse(event.data).error));
    source.addEventListener("error", () => {
      // Browsers differ in which failures they try again after: this does it after all of them.
      if (this.source !== source) return;
      source.close();
      this.fail("the connection to shvd is lost; trying again");
      setTimeout(() => this.source === source && this.start(), this.wait);
      this.wait = Math.min(this.wait * 1.5, WAIT_MS_MAX);
    });
  }

  async fill() {
    try {
      const response = await fetch(`/api/v1/history?stretch=hour&points=${POINTS}`);
      if (response.ok) this.merge(await response.json());
    } catch {
      // The stream says by itself that the connection is lost.
    }
  }

  // A daemon that was started again knows nothing of before: what this page saw stays.
  merge(points) {
    const known = new Set(this.points.map((point) => Math.round(point.unix_seconds * 2)));
    const all = this.points.concat(points.filter((point) => !known.has(Math.round(point.unix_seconds * 2))));
    all.sort((a, b) => a.unix_seconds - b.unix_seconds);
    this.points = all;
    this.trim();
    this.changed(this);
  }

  take(memory) {
    this.memory = memory;
    this.problem = null;
    this.receivedAt = Date.now();
    const point = pointOf(memory);
    const last = this.points.at(-1);
    // A clock that was set back starts anew.
    if (last && point.unix_seconds < last.unix_seconds - 60) this.points = [];
    if (!last || point.unix_seconds > last.unix_seconds) this.points.push(point);
    this.trim();
    this.changed(this);
  }

  fail(why) {
    this.problem = why;
    this.changed(this);
  }

  trim() {
    const oldest = (this.points.at(-1)?.unix_seconds ?? 0) - KEPT_SECONDS;
    let drop = 0;
    while (drop < this.points.length && this.points[drop].unix_seconds < oldest) drop += 1;
    if (drop > 0) this.points.splice(0, drop);
  }

  // Seconds since the reading that is shown was taken.
  age() {
    return this.memory ? this.memory.age_seconds + (Date.now() - this.receivedAt) / 1000 : Infinity;
  }
}
