// The pictures of docs/images: the page in light and dark, with a made-up hour of a 48 GB Mac.

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { launch, open } from "./browser.mjs";
import { until } from "./daemon.mjs";
import { replayed, withHour } from "./looks.mjs";

const FOLDER = new URL("../../docs/images/", import.meta.url).pathname;
const BYTES_MAX = 200_000;

const onMac = (page) => page.route("**/api/v1/catalog", async (route) => {
  const response = await route.fetch();
  const catalog = await response.json();
  const mac = catalog.machines.find(({ name }) => name === "m4-pro-48gb");
  await route.fulfill({ json: { ...catalog, this_machine: mac, computer: { chip_name: "Apple M4 Pro", system: "macOS 26.1" } } });
});
// The daemon that is asked is no Mac.
const named = (page) => page.route("**/api/v1/plan", (route) => route.continue({ postData: route.request().postData().replace('"this"', '"m4-pro-48gb"') }));

const browser = await launch();
const daemon = await replayed(19715);
for (const colorScheme of ["light", "dark"]) {
  const page = await open(browser, daemon.url, {
    context: { colorScheme, viewport: { width: 1120, height: 900 } },
    prepare: async (one) => { await withHour(one); await onMac(one); await named(one); },
  });
  await page.locator("#model").fill("qwen3-30b-a3b");
  await page.locator("#context").fill("131072");
  await until("the page", async () => /qwen3/.test(await page.locator("#answer").textContent()) && (await page.locator("#plans tr").count()) > 3);
  await page.locator("#context").blur();
  const path = join(FOLDER, `page-${colorScheme}.png`);
  writeFileSync(path, await page.screenshot({ fullPage: true }));
  execFileSync("pngquant", ["--quality", "80-98", "--strip", "--force", "--output", path, path]);
  const bytes = readFileSync(path).length;
  console.log(`${path}: ${bytes} bytes`);
  if (bytes > BYTES_MAX) throw new Error(`${path} has ${bytes} bytes, more than ${BYTES_MAX}`);
  if (page.faults.length > 0) throw new Error(page.faults.join("\n"));
}
await browser.close();
process.exit(0);
