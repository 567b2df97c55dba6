// What is watched and planned on this machine.

import { byId, el, scrolled } from "./dom.js";
import { human, orDash } from "./format.js";

const none = (...text) => el("p", { class: "soft" }, ...text);

// Replaced only where it changed, so that a selection lives.
const shown = new Map();
const show = (id, value, make) => {
  const text = JSON.stringify(value);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  byId(id).replaceChildren(make(value));
};

export const showProcesses = ({ sample }) => {
  const rows = (sample.processes ?? []).map((p) => [
    p.watch && p.watch !== p.name ? `${p.name} (${p.watch})` : p.name,
    String(p.pid),
    orDash(p.footprint_bytes, human),
    orDash(p.peak_footprint_bytes, human),
    orDash(p.compressed_bytes, human),
  ]);
  show("processes", rows, () => rows.length > 0
    ? scrolled("Watched processes", [["Process", ""], ["Pid", "number"], ["Footprint", "number"], ["Peak", "number"], [sample.memory.wired_bytes === undefined ? "Swapped" : "Compressed", "number"]], rows)
    : none("None is running, or none is watched. Add one to ", el("code", null, "watch"), " in the settings: ", el("code", null, "watch: [{label: server, port: 8080}]"), "."));
};

const fits = (plan) => {
  if (plan.actual_bytes !== null) return el("span", { class: "fits" }, "running");
  if (plan.fits === null) return el("span", { class: "soft" }, "not known");
  return plan.fits ? el("span", { class: "fits" }, "yes") : el("span", { class: "does_not_fit" }, "no");
};

export const showPlans = (plans) => {
  show("plans", plans, () => plans.length > 0
    ? scrolled("Plans of the settings", [["Plan", ""], ["Fits now", ""], ["Headroom", "number"], ["Peak", "number"], ["Takes now", "number"]],
      plans.map((plan) => [
        el("span", null, plan.name, el("br"), el("span", { class: "soft" }, `${plan.model}, ${plan.quantization}`)),
        fits(plan), orDash(plan.actual_bytes === null ? plan.headroom_bytes : null, human), human(plan.peak_bytes), orDash(plan.actual_bytes, human)]))
    : none("None is configured. Add one to ", el("code", null, "plans"), " in the settings, and it is held against each reading."));
};
