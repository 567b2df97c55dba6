// Readings: they arrive, they survive the daemon, they need no more than a user, and they cost little.

import { randomBytes } from "node:crypto";
import { execFileSync } from "node:child_process";
import { open } from "./browser.mjs";
import { Daemon, file, until } from "./daemon.mjs";

const RESIDENT_MB_MAX = 12;
const text = (page, id) => page.locator(`#${id}`).textContent();
const shownAt = (page) => page.locator("#chart").getAttribute("aria-valuetext");
const isLive = async (page) => (await page.locator("#connection").getAttribute("data-state")) === "live";

const settings = `source: {kind: auto}
watch: [{label: this, name: node}]
plans:
  - {name: chat, model: qwen3-0.6b, quant: int4, watch: this}
  - {name: large, model: llama-3.1-405b, quant: int4}
`;

export const live = async (browser, expect) => {
  const daemon = await new Daemon(19711, settings).start();
  const page = await open(browser, daemon.url);
  await until("the first reading", () => isLive(page));

  const response = await fetch(daemon.url);
  const policy = response.headers.get("content-security-policy") ?? "";
  expect("a strict policy", policy.includes("default-src 'none'") && policy.includes("script-src 'self'") && !policy.includes("unsafe"), policy);

  const first = await shownAt(page);
  await until("a second reading", async () => (await shownAt(page)) !== first);
  expect("the sentence says how far it is", /to warning|to critical|critical/.test(await text(page, "sentence")), await text(page, "sentence"));
  const { sample } = await daemon.get("/api/v1/memory");
  const total = `of ${(sample.memory.total_bytes / 2 ** 30).toFixed(1)} GiB`;
  expect("the total is the machine's", (await text(page, "tiles")).includes(total), total);
  await until("the plans", async () => /large/.test(await text(page, "plans")));
  expect("a plan that cannot fit is said not to", /llama-3\.1-405b[^]*no/.test(await text(page, "plans")), await text(page, "plans"));
  expect("the watched process is there", (await text(page, "processes")).includes(`${process.pid}`), await text(page, "processes"));
  const reserved = await fetch(`${daemon.url}api/v1/reservations`, { method: "POST", body: JSON.stringify({ model: "tiny", bytes: 64 << 20, ttl_seconds: 600 }) });
  expect("something is reserved", reserved.status === 201, await reserved.text());
  await until("the reservation", async () => /tiny.*64 MiB.*in 10 min/.test(await text(page, "reservations")));
  await runs(daemon, page, expect);
  const layers = await page.locator("#chart polygon").count();
  expect("the chart is drawn", layers >= 3, `${layers} layers`);

  // By keyboard: the cursor moves through the chart, and says where it is.
  await page.locator("#chart").focus();
  await page.keyboard.press("Home");
  const oldest = await shownAt(page);
  await page.keyboard.press("End");
  expect("the cursor moves by keyboard", oldest !== (await shownAt(page)) && /^\d\d:\d\d:\d\d: .*GiB/.test(oldest), oldest);
  await page.locator("summary", { hasText: "table" }).click();
  await until("the chart as a table", async () => (await page.locator("#chart-table tbody tr").count()) > 0);
  expect("nothing went wrong", page.faults.length === 0, page.faults.join("; "));

  // The daemon goes and comes back: the page says so, and keeps what it saw.
  const begun = (await page.locator("#chart-table tbody th").first().textContent()).trim();
  await daemon.stop();
  await until("the page says that the connection is lost", async () => !(await isLive(page)));
  expect("it says that the reading is old", /no fresh reading/i.test(await text(page, "connection-text")), await text(page, "connection-text"));
  await daemon.start();
  await until("the page is live again", () => isLive(page), 20);
  await page.locator("#chart").focus();
  await page.keyboard.press("Home");
  expect("what was seen before is kept", (await shownAt(page)).slice(0, 8) <= begun, `${await shownAt(page)} after ${begun}`);
  const refused = page.faults.filter((fault) => !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/.test(fault));
  expect("nothing else went wrong", refused.length === 0, refused.join("; "));
  await page.context().close();

  // Twenty looks at the page, and the daemon is as small as it has to be.
  await Promise.all(Array.from({ length: 20 }, async () => {
    for (const path of ["", "page/page.css", "page/main.js", "api/v1/catalog", "api/v1/history", "api/v1/plans", "api/v1/memory"]) await (await fetch(daemon.url + path)).text();
  }));
  const resident = daemon.resident();
  console.log(`page: the daemon holds ${resident.toFixed(1)} MB after 21 looks at the page`);
  expect("the daemon stays small", resident <= RESIDENT_MB_MAX, `${resident.toFixed(1)} MB`);
  await daemon.stop();
  await sparse(browser, expect);
  await withUsers(browser, expect);
};

// A pressure run and a benchmark, started over HTTP, show with what came of them.
const runs = async (daemon, page, expect) => {
  const post = async (name, body) => {
    const response = await fetch(`${daemon.url}api/v1/${name}`, { method: "POST", body: JSON.stringify(body) });
    expect(`${name} is started`, response.status === 202, await response.text());
  };
  expect("what never ran is not shown", (await page.locator("#pressure-section").isHidden()) && (await page.locator("#bench-section").isHidden()));
  await post("pressure", { backend: "host", target: { bytes: 128 << 20 }, block_bytes: 16 << 20, hold_seconds: 0 });
  await until("the pressure run", async () => /Completed.*128 MiB of 128 MiB.*every byte as written/.test(await text(page, "pressure")), 30);
  await post("bench", { backend: "host", only: ["matmul-1000-fp32"], seconds: 0.2 });
  await until("the benchmark", async () => /matmul-1000-fp32.*ms.*FLOP\/s/.test(await text(page, "bench")), 60);
};

// Readings that lack most of what the page shows: it says so and goes on.
const sparse = async (browser, expect) => {
  for (const name of ["seven-lines", "old-4096", "plain-8gb-swapped"]) {
    const recording = new URL(`../../machine/tests/data/vm_stat/${name}.txt`, import.meta.url).pathname;
    const daemon = await new Daemon(19716, `source: {kind: replay, file: ${recording}}\nsampling: {stale_after_ms: 600000}\n`).start();
    const page = await open(browser, daemon.url);
    await until(`the reading of ${name}`, async () => !/Waiting/.test(await text(page, "sentence")));
    expect(`${name}: no figure is made up`, !/NaN|undefined|null|Infinity/.test(await page.locator("body").innerText()), await page.locator("body").innerText());
    expect(`${name}: nothing went wrong`, page.faults.length === 0, page.faults.join("; "));
    await page.context().close();
    await daemon.stop();
  }
};

const withUsers = async (browser, expect) => {
  const password = randomBytes(12).toString("hex");
  const hash = execFileSync("htpasswd", ["-nbBC", "5", "ann", password], { encoding: "utf8" }).trim().split(":")[1];
  const web = file("web.yaml", `basic_auth_users: {ann: "${hash}"}\n`);
  const headers = { Authorization: `Basic ${Buffer.from(`ann:${password}`).toString("base64")}` };
  const daemon = await new Daemon(19712, settings, `, web_config: ${web}`, headers).start();
  expect("nobody is turned away", (await fetch(daemon.url)).status === 401);
  const page = await open(browser, daemon.url, { context: { httpCredentials: { username: "ann", password } } });
  await until("a reading for a user", () => isLive(page));
  await until("an answer for a user", async () => /Fits/.test(await text(page, "answer")));
  expect("nothing went wrong for a user", page.faults.length === 0, page.faults.join("; "));
  await page.context().close();
  await daemon.stop();
};
