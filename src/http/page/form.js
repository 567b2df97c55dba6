// “Will it fit?”: asks as the fields change; an answer that comes late never replaces a newer one.

import { commandOf, fieldsOf } from "./command.js";
import { byId, el, say } from "./dom.js";
import { grouped } from "./format.js";
import { reportNodes } from "./report.js";

const PAUSE_MS = 150;
const WORDS = ["model", "quant", "machine", "cap"];
const NUMBERS = ["context", "concurrency", "prefill_step", "kv_bits", "kv_group_size", "quantized_kv_start", "max_kv_size", "wired_limit_mb"];

const field = (name) => byId(name);

// What the fields ask. A number that is none goes as it was typed, so that the answer names it.
const question = () => {
  const asked = {};
  for (const name of WORDS) {
    const text = field(name).value.trim();
    if (text !== "") asked[name] = text;
  }
  for (const name of NUMBERS) {
    const input = field(name);
    const text = input.value.trim();
    if (input.validity.badInput) throw new Error(`${name}: a whole number is expected`);
    if (text === "") continue;
    if (!/^\d+$/.test(text)) throw new Error(`${name}: ${text} is not a whole number of at least ${name === "quantized_kv_start" ? 0 : 1}`);
    asked[name] = Number(text);
  }
  if (asked.kv_bits === undefined) {
    delete asked.kv_group_size;
    delete asked.quantized_kv_start;
  }
  return asked;
};

export class Form {
  constructor() {
    this.asked = 0;
    this.catalog = { default_machine: "m4-pro-48gb" };
    byId("form").addEventListener("input", (event) => this.changed(event.target));
    byId("form").addEventListener("submit", (event) => { event.preventDefault(); this.ask(); });
    byId("copy").addEventListener("click", () => this.copy());
  }

  async start() {
    try {
      const response = await fetch("/api/v1/catalog");
      if (response.ok) this.offer(await response.json());
    } catch {
      // Names can be typed too.
    }
    this.ask();
  }

  offer(catalog) {
    this.catalog = catalog;
    byId("models").replaceChildren(...catalog.models.flatMap(({ name, title, aliases }) => [name, ...aliases].map((value) => el("option", { value, label: title }))));
    const quant = byId("quant");
    const chosen = quant.value;
    quant.replaceChildren(el("option", { value: "" }, "as stored"), ...catalog.quantizations.map((name) => el("option", { value: name, selected: name === chosen }, name)));
    const machines = catalog.machines.map(({ name, title }) => el("option", { value: name, label: title }));
    if (catalog.this_machine) machines.unshift(el("option", { value: "this", label: `This machine: ${catalog.this_machine.title}` }));
    byId("machines").replaceChildren(...machines);
    if (byId("machine").value === "") byId("machine").value = catalog.this_machine ? "this" : catalog.default_machine;
    say(byId("version"), `shvd ${catalog.version}`);
    const { chip_name, memory_bytes, system } = catalog.computer;
    const known = [catalog.this_machine?.title ?? chip_name, catalog.this_machine ? null : memory_bytes && `${Math.round(memory_bytes / 2 ** 30)} GiB`, system];
    say(byId("computer"), known.filter(Boolean).join(" · ") || "This computer");
  }

  changed(input) {
    const slider = byId("context-slider");
    if (input === slider) byId("context").value = String(Math.round(2 ** Number(slider.value) / 128) * 128);
    else if (input === byId("context")) this.slide();
    slider.setAttribute("aria-valuetext", `${grouped(Number(byId("context").value) || 0)} tokens`);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), PAUSE_MS);
  }

  slide() {
    const tokens = Number(byId("context").value);
    if (tokens >= 1) byId("context-slider").value = String(Math.log2(tokens));
  }

  async ask() {
    clearTimeout(this.timer);
    this.asked += 1;
    const mine = this.asked;
    const answer = byId("answer");
    answer.setAttribute("aria-busy", "true");
    this.request?.abort();
    this.request = new AbortController();
    try {
      const asked = question();
      const response = await fetch("/api/v1/plan", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(asked),
        signal: this.request.signal,
      });
      const text = await response.text();
      if (mine !== this.asked) return;
      if (!response.ok) throw new Error(problemOf(response, text));
      this.show(asked, JSON.parse(text));
    } catch (error) {
      if (mine !== this.asked) return;
      this.refuse(error instanceof TypeError ? "shvd does not answer; it is asked again with the next change" : error.message);
    }
    answer.setAttribute("aria-busy", "false");
  }

  show(asked, report) {
    byId("answer").replaceChildren(...reportNodes(report, (flags) => this.apply(flags)));
    this.mark(null);
    say(byId("command"), commandOf(asked, report.machine.name, this.catalog.default_machine));
    byId("copy").disabled = false;
  }

  refuse(why) {
    byId("answer").replaceChildren(el("p", { class: "verdict" }, el("b", { class: "does_not_fit" }, "Not answered")), el("p", { id: "problem" }, why));
    this.mark(why.split(":")[0]);
    say(byId("command"), "shvplan");
    byId("copy").disabled = true;
  }

  // The field that an error is about.
  mark(name) {
    for (const other of [...WORDS, ...NUMBERS]) {
      if (other === name) {
        field(other).setAttribute("aria-invalid", "true");
        field(other).setAttribute("aria-describedby", "problem");
      } else {
        field(other).removeAttribute("aria-invalid");
        field(other).removeAttribute("aria-describedby");
      }
    }
  }

  apply(flags) {
    const fields = fieldsOf(flags);
    if (!fields) return;
    for (const [name, value] of Object.entries(fields)) {
      const input = field(name);
      if (input.tagName === "SELECT" && ![...input.options].some((option) => option.value === value)) input.append(el("option", { value }, value));
      input.value = value;
      input.closest("details")?.setAttribute("open", "");
    }
    this.slide();
    this.ask();
    byId("fit").focus();
  }

  async copy() {
    const button = byId("copy");
    try {
      await navigator.clipboard.writeText(byId("command").textContent);
      say(button, "Copied");
    } catch {
      // Without leave for the clipboard the text is at least selected.
      getSelection().selectAllChildren(byId("command"));
      say(button, "Selected");
    }
    setTimeout(() => say(button, "Copy"), 2000);
  }
}

const problemOf = (response, text) => {
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text || `shvd answered with ${response.status}`;
  }
};
