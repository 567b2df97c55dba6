// The state in one sentence, and the figures behind it.

import { byId, el, say } from "./dom.js";
import { duration, gib, human, orDash } from "./format.js";

const STALE_SECONDS = 10;

// The kernel's own level, or what the distances say where it tells none.
const levelOf = ({ sample, headroom }) => {
  if (sample.pressure.level) return sample.pressure.level;
  const reached = (distance) => distance && distance.expected_bytes <= 0;
  if (reached(headroom.to_critical)) return "critical";
  if (reached(headroom.to_warning)) return "warning";
  return headroom.to_warning ? "normal" : "unknown";
};

const sentenceOf = (level, { headroom }) => {
  const far = (distance) => orDash(distance, (d) => human(Math.max(0, d.expected_bytes)));
  const about = [headroom.to_warning, headroom.to_critical].some((d) => d && d.high_bytes > d.low_bytes) ? "about " : "";
  switch (level) {
    case "critical":
      return "Memory is critical: the system ends programs to get memory back.";
    case "warning":
      return `Memory is pressed: ${about}${far(headroom.to_critical)} to critical. The system asks programs to give memory back.`;
    case "normal":
      return `Memory is fine: ${about}${far(headroom.to_warning)} to warning, ${far(headroom.to_critical)} to critical.`;
    default:
      return "How far this machine is from trouble is not known: its readings lack what that takes.";
  }
};

// What is promised to launches is no part of it.
const takeable = ({ reserved_bytes, headroom: { reclaimable_bytes, to_warning } }) =>
  reclaimable_bytes === undefined ? undefined : Math.max(0, Math.min(reclaimable_bytes, to_warning?.low_bytes ?? Infinity) - (reserved_bytes ?? 0));

const between = (d) => (d && d.high_bytes > d.low_bytes ? `${gib(d.low_bytes)} – ${gib(d.high_bytes)}, by how well other memory compresses` : "");

const tilesOf = ({ sample, derived, headroom, reserved_bytes }) => [
  ["Can be taken now", orDash(takeable({ headroom, reserved_bytes }), human), reserved_bytes ? `beside ${human(reserved_bytes)} reserved` : "without taking a program's memory"],
  ["To warning", orDash(headroom.to_warning?.expected_bytes, human), between(headroom.to_warning)],
  ["To critical", orDash(headroom.to_critical?.expected_bytes, human), between(headroom.to_critical)],
  ["In use", orDash(derived.used_bytes, human), orDash(sample.memory.total_bytes, (total) => `of ${human(total)}`)],
  ["Swap", orDash(sample.swap.used_bytes, human), derived.compression_ratio ? `compressed ${derived.compression_ratio.toFixed(1)} : 1` : ""],
];

let announced = "";

// Screen readers hear of a level that changes, not of each reading.
const announce = (text) => {
  if (announced !== text) {
    announced = text;
    say(byId("announce"), text);
  }
};

export const showState = (live) => {
  const { memory } = live;
  const age = live.age();
  const stale = Boolean(live.problem) || age > STALE_SECONDS;
  const connection = byId("connection");
  connection.dataset.state = stale ? "lost" : "live";
  document.body.classList.toggle("stale", stale);
  say(byId("connection-text"), stale ? `No fresh reading: ${live.problem ?? "none came"}` : `Live, reading ${duration(age)} old`);
  if (stale) announce("There is no fresh reading.");
  if (!memory) return;

  const level = levelOf(memory);
  const sentence = byId("sentence");
  sentence.dataset.level = level;
  const text = sentenceOf(level, memory);
  say(sentence, stale ? `${duration(age)} ago: ${text.charAt(0).toLowerCase()}${text.slice(1)}` : text);
  if (!stale) announce(`Memory pressure: ${level}.`);
  document.title = stale ? "shvd: no fresh reading" : `${orDash(memory.headroom.to_warning?.expected_bytes, human)} to warning · shvd`;

  const tiles = byId("tiles");
  const rows = tilesOf(memory);
  if (tiles.children.length !== rows.length) {
    tiles.replaceChildren(...rows.map(([name]) => el("li", null, el("span", { class: "name" }, name), el("span", { class: "value" }), el("span", { class: "note" }))));
  }
  rows.forEach(([, value, note], at) => {
    const [, valueNode, noteNode] = tiles.children[at].children;
    say(valueNode, value);
    say(noteNode, note);
  });
};
