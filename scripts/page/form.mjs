// “Will it fit?” answers as the command line does, says what is wrong, and never shows an older answer over a newer one.

import { spawnSync } from "node:child_process";
import { dirname } from "node:path";
import { open } from "./browser.mjs";
import { Daemon, pause, until } from "./daemon.mjs";

const CASES = [
  { model: "30b", quant: "int4" },
  { model: "30b", quant: "int8" },
  { model: "qwen3-8b", quant: "int8", context: "32768", concurrency: "4", machine: "m3-max-64gb" },
  { model: "gpt-oss-120b", quant: "", machine: "m3-ultra-96gb", context: "131072" },
  { model: "qwen3-next-80b-a3b", quant: "mxfp4", machine: "m4-max-64gb", context: "65536" },
  { model: "llama-3.1-70b", quant: "mixed_4_6", kv_bits: "8", context: "50000" },
  { model: "qwen2.5-14b", quant: "int5", kv_bits: "4", kv_group_size: "32", quantized_kv_start: "0", context: "20000", machine: "m1-16gb" },
  { model: "gemma-2-9b", quant: "bf16", prefill_step: "512", machine: "m2-24gb", context: "8192" },
  { model: "mistral-7b", quant: "int6", max_kv_size: "4096", context: "100000", machine: "m4-32gb" },
  { model: "deepseek-v3", quant: "int4", machine: "m3-ultra-512gb", wired_limit_mb: "480000", cap: "450GB", context: "16384" },
];
const WRONG = [
  [{ model: "30bb" }, /did you mean 30b/, "model"],
  [{ model: "warp-9000" }, /not in the catalog/, "model"],
  [{ context: "0" }, /out of range/, "context"],
  [{ context: "-5" }, /not a whole number/, "context"],
  [{ concurrency: "99999999999" }, /out of range/, "concurrency"],
  [{ machine: "m9-48gb" }, /unknown chip 'm9'/, "machine"],
  [{ cap: "40 parsecs" }, /is not a size/, "cap"],
  [{ model: "gemma-3-1b", kv_bits: "8", quantized_kv_start: "0" }, /[Qq]uanti/, null],
];
const DEFAULTS = { model: "30b", quant: "int4", kv_bits: "", context: "4096", concurrency: "1", machine: "m4-pro-48gb", prefill_step: "", max_kv_size: "", kv_group_size: "", quantized_kv_start: "", wired_limit_mb: "", cap: "" };

const text = (page, id) => page.locator(`#${id}`).textContent();
const settled = (page) => until("an answer", async () => (await page.locator("#answer").getAttribute("aria-busy")) === "false");

// Fills the whole form at once, so that one question is asked.
const fill = (page, fields) => page.evaluate((values) => {
  for (const [id, value] of Object.entries(values)) document.getElementById(id).value = value;
  document.getElementById("model").dispatchEvent(new Event("input", { bubbles: true }));
}, { ...DEFAULTS, ...fields });

// The same, and the daemon's answer.
const ask = async (page, fields) => {
  const answered = page.waitForResponse((response) => response.url().endsWith("/api/v1/plan"));
  await fill(page, fields);
  return answered;
};

const shvplan = (command) => spawnSync("sh", ["-c", command], { encoding: "utf8", env: { ...process.env, PATH: `${dirname(process.env.SHVPLAN)}:${process.env.PATH}` } });

const sameAsCommandLine = async (page, fields, expect) => {
  const name = JSON.stringify(fields);
  const response = await ask(page, fields);
  const body = await response.text();
  await settled(page);
  await until(`the answer to ${name}`, async () => (await page.locator("#answer dl").count()) === 1);
  const command = await text(page, "command");
  const printed = shvplan(`${command} --format json`);
  expect(`${name}: ${command} prints what the form got`, printed.stdout === body, printed.stderr || `${printed.stdout.slice(0, 300)} and ${body.slice(0, 300)}`);
  const { footprint, verdict } = JSON.parse(printed.stdout);
  const shown = await page.locator("#answer data").evaluateAll((nodes) => nodes.map((node) => Number(node.value)));
  expect(`${name}: the figures shown`, JSON.stringify(shown) === JSON.stringify([footprint.peak_bytes, footprint.weights_bytes, footprint.cache_bytes]), `${shown}`);
  const words = { fits: "Fits", tight: "Tight", does_not_fit: "Does not fit" }[verdict.outcome];
  const headline = await page.locator("#answer .verdict").textContent();
  // The sentence of the text report stands in the page word by word, but for its case.
  const [first] = shvplan(`${command}`).stdout.split("\n");
  const figure = /\S+ [GM]iB/.exec(first)[0];
  expect(`${name}: the verdict`, headline.startsWith(words) && headline.includes(figure), `${headline} and ${first}`);
  expect(`${name}: a text for the bar`, /Weights .*GiB.*working set/.test(await page.locator("#answer svg").getAttribute("aria-label")));
};

export const form = async (browser, expect) => {
  const daemon = await new Daemon(19713, "source: {kind: auto}\n").start();
  const page = await open(browser, daemon.url, { context: { permissions: ["clipboard-read", "clipboard-write"] } });
  await settled(page);
  expect("the catalog is offered", (await page.locator("#models option").count()) > 80 && (await page.locator("#machines option").count()) > 20);
  for (const fields of CASES) await sameAsCommandLine(page, fields, expect);

  await page.locator("#copy").click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect("the command is copied", copied === (await text(page, "command")), copied);
  expect("no case went wrong", page.faults.length === 0, page.faults.join("; "));

  for (const [fields, why, field] of WRONG) {
    await fill(page, fields);
    await until(`${JSON.stringify(fields)} is refused`, async () => why.test(await text(page, "answer"))).catch(async (error) => expect(error.message, false, await text(page, "answer")));
    if (field) expect(`${field} is marked`, (await page.locator(`#${field}`).getAttribute("aria-invalid")) === "true");
  }
  const unexpected = page.faults.filter((fault) => !/status of 4(00|22)/.test(fault));
  expect("errors are answers, not faults", unexpected.length === 0, unexpected.join("; "));

  // The slider and the field say the same.
  await ask(page, {});
  await page.locator("#context-slider").focus();
  await page.keyboard.press("ArrowRight");
  expect("the slider sets the field", Number(await page.locator("#context").inputValue()) > 4096, await page.locator("#context").inputValue());
  await page.locator("#context").fill("65536");
  expect("the field sets the slider", (await page.locator("#context-slider").inputValue()) === "16", await page.locator("#context-slider").inputValue());

  // Advice can be tried, and then it fits.
  await ask(page, { quant: "int8" });
  await until("advice", async () => (await page.locator("#answer .advice button").count()) > 0);
  await page.locator("#answer .advice button").first().click();
  await until("the first advice fits", async () => /^(Fits|Tight)/.test(await page.locator("#answer .verdict").textContent()));

  // The first of two answers is held back until after the second, once with and once without the chance to cancel it.
  for (const [aborts, newer] of [[true, "13b"], [false, "65b"]]) {
    const stands = async () => (await text(page, "answer")).includes(`llama-1-${newer}`);
    let held = 0;
    let release;
    const released = new Promise((done) => { release = done; });
    if (!aborts) await page.evaluate(() => { AbortController.prototype.abort = () => {}; });
    await page.route("**/api/v1/plan", async (route) => {
      held += 1;
      if (held === 1) await released;
      await route.continue().catch(() => {});
    });
    await fill(page, { model: "7b" });
    await until("the first question", () => held === 1);
    await fill(page, { model: newer });
    await until("the second answer", stands);
    release();
    await pause(1000);
    expect(`the newest question stays answered (${aborts ? "cancelled" : "late"})`, await stands(), await text(page, "answer"));
    await page.unroute("**/api/v1/plan");
  }
  await page.context().close();
  await daemon.stop();
};
