// How the page looks: light, dark, on a phone; what axe finds; nothing runs over the edge. PAGE_PICTURES names a folder
// for the pictures.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DESKTOP, PHONE, open, violations } from "./browser.mjs";
import { Daemon, file, until } from "./daemon.mjs";
import { activity, history, recording } from "./hour.mjs";

export const LOOKS = [
  ["light", { colorScheme: "light", viewport: DESKTOP }],
  ["dark", { colorScheme: "dark", viewport: DESKTOP }],
  ["phone", { colorScheme: "light", viewport: PHONE, deviceScaleFactor: 2, isMobile: true, hasTouch: true }],
  ["phone-dark", { colorScheme: "dark", viewport: PHONE, deviceScaleFactor: 2, isMobile: true, hasTouch: true }],
];

const SETTINGS = `watch: [{label: server, port: 8080}, {label: draft, port: 8081}]
plans:
  - {name: chat, model: qwen3-30b-a3b, quant: int4, context: 32768, machine: m4-pro-48gb, watch: server}
  - {name: vision, model: gemma-3-27b, quant: int4, context: 8192, machine: m4-pro-48gb}
  - {name: small, model: qwen3-0.6b, quant: int4, context: 8192, machine: m4-pro-48gb}
`;

export const replayed = (port) => new Daemon(port, `source: {kind: replay, file: ${file("mac.jsonl", recording(600))}}\n${SETTINGS}`).start();

// A page with an hour behind it.
export const withHour = (page) => page.route("**/api/v1/history*", (route) => route.fulfill({ json: history(Date.now() / 1000) }));

// The same on a daemon that did and promised something.
const withAll = async (page) => {
  await withHour(page);
  for (const [name, json] of Object.entries(activity())) await page.route(`**/api/v1/${name}`, (route) => route.fulfill({ json }));
};

export const picture = async (page, name) => {
  const folder = process.env.PAGE_PICTURES;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
};

export const checkLook = async (page, name, expect) => {
  await picture(page, name);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(`${name}: nothing runs over the edge`, wide <= 0, `${wide} px`);
  const found = await violations(page);
  expect(`${name}: axe finds nothing`, found.length === 0, found.join("\n  "));
};

export const looks = async (browser, expect) => {
  const daemon = await replayed(19714);
  for (const [name, context] of LOOKS) {
    const page = await open(browser, daemon.url, { context, prepare: withAll });
    await until("the hour", async () => (await page.locator("#memory-span").textContent()) === "last hour" && (await page.locator("#answer dl").count()) === 1 && (await page.locator("#plans tr").count()) > 3 && (await page.locator("#bench tr").count()) > 3);
    await checkLook(page, `page-${name}`, expect);
    if (name !== "dark") {
      // Everything open, an answer with advice, a cursor on the chart, and a field that is wrong.
      for (const summary of await page.locator("summary").all()) await summary.click();
      await page.evaluate(() => { document.getElementById("quant").value = "int8"; document.getElementById("quant").dispatchEvent(new Event("input", { bubbles: true })); });
      await until("advice", async () => (await page.locator("#answer .advice li").count()) > 0);
      await page.locator("#chart").focus();
      for (let press = 0; press < 12; press += 1) await page.keyboard.press("PageDown");
      await checkLook(page, `page-${name}-open`, expect);
      await page.locator("#context").fill("0");
      await until("the error", async () => (await page.locator("#problem").count()) === 1);
      await checkLook(page, `page-${name}-wrong`, expect);
    }
    const unexpected = page.faults.filter((fault) => !/status of 400/.test(fault));
    expect(`${name}: nothing went wrong`, unexpected.length === 0, unexpected.join("; "));
    await page.context().close();
  }
  await daemon.stop();
};
