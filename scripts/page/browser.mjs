// Chromium without a profile and without anything that calls home, and pages that tell what they did wrong.

import { createRequire } from "node:module";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

// The packages lie outside the repository (scripts/page.sh puts them there).
const packages = createRequire(join(process.env.PAGE_PACKAGES, "package.json"));
const { chromium } = packages("playwright-core");
const AXE = readFileSync(packages.resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export const PHONE = { width: 390, height: 844 };
export const DESKTOP = { width: 1280, height: 900 };

export const launch = () => {
  const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
  return chromium.launch({ executablePath, args: FLAGS });
};

// A page of its own with what went wrong on it: errors of scripts, of the console, of requests, and requests to anyone
// but `origin`. `page.faults` may be emptied where a fault was meant to happen.
export const open = async (browser, url, { context = {}, prepare = async () => {} } = {}) => {
  const own = await browser.newContext({ viewport: DESKTOP, ...context });
  const page = await own.newPage();
  const { origin, protocol } = new URL(url);
  page.faults = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.faults.push(`console: ${message.text()} ${message.location().url}`));
  page.on("pageerror", (error) => page.faults.push(`script: ${error.message}`));
  page.on("request", (request) => {
    const there = new URL(request.url());
    if (there.protocol !== "data:" && (there.origin !== origin || (protocol === "file:" && request.url() !== url))) page.faults.push(`outside: ${request.url()}`);
  });
  await prepare(page);
  await page.goto(url);
  return page;
};

// What axe-core finds, as lines; every rule it has for WCAG 2.2 AA and its best practices.
export const violations = async (page) => {
  await page.evaluate(AXE);
  const { violations: found } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(" ")}: ${node.failureSummary.replaceAll("\n", " ")}`));
};
