// The HTML report: one file, no network, the figures of the JSON.

import { spawnSync } from "node:child_process";
import { pathToFileURL } from "node:url";
import { open } from "./browser.mjs";
import { file } from "./daemon.mjs";
import { LOOKS, checkLook } from "./looks.mjs";

const CASES = [
  ["fits", ["--model", "30b", "--quant", "int4"]],
  ["over", ["--model", "llama-3.1-70b", "--quant", "int8", "--context", "32768", "--concurrency", "2"]],
  ["hybrid", ["--model", "qwen3-next-80b-a3b", "--quant", "mxfp4", "--machine", "m4-max-64gb", "--context", "131072"]],
];

const shvplan = (words) => {
  const run = spawnSync(process.env.SHVPLAN, words, { encoding: "utf8", maxBuffer: 64 << 20 });
  if (run.error || run.status === 2) throw new Error(run.stderr || String(run.error));
  return run.stdout;
};
const grouped = (n) => n.toLocaleString("en-US");
const gib = (bytes) => (bytes / 2 ** 30).toFixed(1);

const figures = async (page, words, expect) => {
  const name = words.join(" ");
  const { footprint, machine, verdict, limits, speed, advice } = JSON.parse(shvplan([...words, "--explain", "--format", "json"]));
  const shown = await page.locator("main").innerText();
  const wanted = [
    `${grouped(footprint.weights_bytes)} bytes`, `${grouped(footprint.cache_bytes)} bytes at the end, ${grouped(footprint.cache_peak_bytes)} at most`,
    `${gib(footprint.peak_bytes)} GiB (${gib(footprint.peak_low_bytes)} – ${gib(footprint.peak_high_bytes)} GiB)`,
    `${speed.decode_tokens_per_second.expected.toFixed(1)} tokens a second`, `${grouped(limits.max_concurrency)} at `,
    ...machine.ceilings.flatMap((ceiling) => [grouped(ceiling.bytes), ceiling.why]), ...advice.map((one) => one.flags),
    { fits: "Fits", tight: "Tight", does_not_fit: "Does not fit" }[verdict.outcome],
  ];
  for (const figure of wanted) expect(`${name}: the report has '${figure}'`, shown.includes(figure));
  const rows = await page.locator("details tbody tr").evaluateAll((nodes) => nodes.map((row) => Number(row.lastElementChild.textContent.replaceAll(",", ""))));
  expect(`${name}: the ledger`, JSON.stringify(rows) === JSON.stringify(footprint.ledger.map((line) => line.bytes)), `${rows.length} lines`);
  expect(`${name}: the ledger sums to the weights`, rows.reduce((sum, bytes) => sum + bytes, 0) === footprint.weights_bytes);
};

export const report = async (browser, expect) => {
  for (const [name, words] of CASES) {
    const url = pathToFileURL(file(`${name}.html`, shvplan([...words, "--format", "html"]))).href;
    for (const [look, context] of LOOKS) {
      const page = await open(browser, url, { context: { ...context, offline: true } });
      if (look === "light") await figures(page, words, expect);
      await checkLook(page, `report-${name}-${look}`, expect);
      await page.locator("summary").click();
      await checkLook(page, `report-${name}-${look}-open`, expect);
      expect(`${name}, ${look}: nothing went wrong`, page.faults.length === 0, page.faults.join("; "));
      await page.context().close();
    }
  }
};
