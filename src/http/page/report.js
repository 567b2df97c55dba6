// An answer of POST /api/v1/plan: verdict, bar against the ceilings, figures, advice.

import { el, svg } from "./dom.js";
import { capital, gib, grouped, human, words } from "./format.js";

const WORDS = { fits: "Fits", tight: "Tight", does_not_fit: "Does not fit" };
const CEILINGS = {
  gpu_working_set: "GPU working set",
  physical_memory: "Memory less what macOS needs",
  operator_cap: "Own cap",
  reclaimable_now: "Free right now",
  device_memory: "GPU memory",
};
const UNBOUNDED = 2 ** 30;

const ceilingName = (code) => CEILINGS[code] ?? capital(words(code));

const percent = (part) => `${(part * 100).toFixed(2)}%`;

const bar = ({ footprint, machine, verdict }) => {
  const { weights_bytes: weights, peak_bytes: peak } = footprint;
  const work = footprint.working_set_bytes + footprint.runtime_bytes;
  const parts = [["weights", "weights", weights], ["cache", "caches", Math.max(0, peak - weights - work)], ["work", "working set", work]];
  const end = Math.max(footprint.peak_high_bytes, ...machine.ceilings.map((c) => c.bytes)) * 1.03;
  let from = 0;
  const rects = parts.map(([kind, , bytes]) => {
    const rect = svg("rect", { class: kind, x: percent(from / end), y: 8, width: percent(bytes / end), height: 32 });
    from += bytes;
    return rect;
  });
  const low = footprint.peak_low_bytes;
  const interval = svg("rect", { class: "interval", x: percent(low / end), y: 22, width: percent((footprint.peak_high_bytes - low) / end), height: 4 });
  const marks = machine.ceilings.map((ceiling) => {
    const x = percent(ceiling.bytes / end);
    return svg("line", { class: ceiling.name === verdict.binding_ceiling ? "limit binding" : "limit", x1: x, x2: x, y1: 2, y2: 46 });
  });
  const spoken = `${parts.map(([, name, bytes]) => `${name} ${human(bytes)}`).join(", ")}; ${machine.ceilings.map((c) => `${ceilingName(c.name)} ${human(c.bytes)}`).join(", ")}`;
  return [
    svg("svg", { class: "bar", width: "100%", height: 48, role: "img", "aria-label": capital(spoken) },
      svg("rect", { class: "free", x: 0, y: 8, width: percent(Math.min(...machine.ceilings.map((c) => c.bytes)) / end), height: 32 }), rects, interval, marks),
    el("ul", { class: "legend" },
      parts.map(([kind, name, bytes]) => el("li", null, el("span", { class: `key ${kind}`, "aria-hidden": "true" }), `${capital(name)} `, el("b", null, human(bytes)))),
      machine.ceilings.map((c) => el("li", null, el("span", { class: c.name === verdict.binding_ceiling ? "key limit binding" : "key limit", "aria-hidden": "true" }), `${ceilingName(c.name)} `, el("b", null, human(c.bytes))))),
  ];
};

// A figure with its exact value, which stands in the page as it came.
const exact = (bytes) => el("data", { value: String(bytes), title: `${grouped(bytes)} bytes` }, human(bytes));

const figures = ({ footprint, limits, speed, model, workload }) => {
  const tokens = (n) => (n === 0 ? "none" : n >= UNBOUNDED ? "unbounded" : `${grouped(n)} tokens`);
  const own = model.max_context_tokens ? `; the model's own maximum is ${grouped(model.max_context_tokens)}` : "";
  const per = (r) => `${r.expected.toFixed(1)} tokens a second (${r.low.toFixed(1)} – ${r.high.toFixed(1)})`;
  const many = workload.concurrency === 1 ? "" : ` for each of ${grouped(workload.concurrency)}`;
  const rows = [
    ["Peak", [exact(footprint.peak_bytes), ` (${gib(footprint.peak_low_bytes)} – ${gib(footprint.peak_high_bytes)})`]],
    ["Weights", [exact(footprint.weights_bytes), `, ${grouped(footprint.weights_bytes)} bytes`]],
    ["Cache", [exact(footprint.cache_bytes), `, ${grouped(footprint.cache_bytes)} bytes`]],
    ["Longest context", [`${tokens(limits.max_context_tokens)}${many}${own}`]],
    ["Conversations", [`${grouped(limits.max_concurrency)} at ${grouped(workload.context_tokens)} tokens`]],
    ["Decoding", [per(speed.decode_tokens_per_second), `, bound by ${words(speed.bound_by)}`]],
    ["Reading a prompt", [per(speed.prefill_tokens_per_second)]],
  ];
  return el("dl", null, rows.map(([name, value]) => [el("dt", null, name), el("dd", null, value)]));
};

const reasonText = (reason) => {
  switch (reason.code) {
    case "peak_above_ceiling":
      return `The expected peak is ${human(reason.over_bytes)} above a ceiling: ${ceilingName(reason.ceiling)}.`;
    case "high_above_ceiling":
      return `The high end of the peak reaches ${human(reason.over_bytes)} beyond what a ceiling leaves: ${ceilingName(reason.ceiling)}.`;
    case "above_mlx_warning_line":
      return `The weights are above ${human(reason.line_bytes)}, where mlx-lm warns that the model is large for this machine.`;
    case "beyond_model_context":
      return `The context is beyond the model's own maximum of ${grouped(reason.max_context_tokens)} tokens.`;
    default:
      return capital(`${words(reason.code)}.`);
  }
};

const advice = (rows, rejected, apply) => {
  if (rows.length === 0 && rejected.length === 0) return null;
  const items = rows.map((row) => {
    const button = el("button", { type: "button" }, "Try it");
    button.addEventListener("click", () => apply(row.flags));
    button.setAttribute("aria-label", `Try it: ${row.change}`);
    return el("li", null, el("div", null, capital(row.change), el("br"), el("span", { class: "soft" }, `Then it ${row.outcome_after === "fits" ? "fits" : `is ${words(row.outcome_after)}`}. The cost: ${row.cost}.`)), button);
  });
  return [
    rows.length > 0 ? el("h3", null, "What would make it fit") : null,
    rows.length > 0 ? el("ul", { class: "advice" }, items) : null,
    rejected.map((text) => el("p", { class: "soft" }, `${capital(text)}.`)),
  ];
};

// The answer's nodes. `apply` is called with the flags of an advice.
export const reportNodes = (report, apply) => {
  const { verdict, machine, model, quantization } = report;
  const apart = human(Math.abs(verdict.headroom_bytes));
  const place = verdict.headroom_bytes >= 0 ? "to spare under" : "over";
  return [
    el("p", { class: "verdict" }, el("b", { class: verdict.outcome }, WORDS[verdict.outcome] ?? words(verdict.outcome)),
      `: ${apart} ${place} the ${ceilingName(verdict.binding_ceiling).replace(/^Memory/, "memory").replace(/^Own/, "own")}`),
    el("p", { class: "soft" }, `${model.name} · ${quantization.name}, ${quantization.bits_per_weight.toFixed(2)} bits a weight · ${machine.name}`),
    ...bar(report),
    figures(report),
    ...verdict.reasons.map((reason) => el("p", { class: "reason" }, reasonText(reason))),
    advice(report.advice, report.rejected_changes, apply),
  ].flat(Infinity).filter(Boolean);
};
