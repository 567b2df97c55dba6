// The live page and the HTML report in a real Chromium; scripts/page.sh runs it.

import { launch } from "./browser.mjs";
import { form } from "./form.mjs";
import { live } from "./live.mjs";
import { looks } from "./looks.mjs";
import { report } from "./report.mjs";

const browser = await launch();
const faults = [];
let checks = 0;

// `expect("what", whether, detail)`: counted, and said where it does not hold.
const expect = (what, holds, detail = "") => {
  checks += 1;
  if (!holds) faults.push(`${what}${detail === "" ? "" : `: ${detail}`}`);
};

for (const part of [live, form, looks, report]) {
  const begun = Date.now();
  try {
    await part(browser, expect);
  } catch (error) {
    faults.push(`${part.name}: ${error.stack}`);
  }
  console.log(`page: ${part.name}, ${((Date.now() - begun) / 1000).toFixed(1)} s`);
}
await browser.close();
if (faults.length > 0) {
  console.error(faults.map((fault) => `page: ${fault}`).join("\n"));
  process.exit(1);
}
console.log(`page: ok, ${checks} checks`);
process.exit(0);
