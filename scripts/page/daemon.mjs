// A daemon of this build, on a port of its own.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "shvd-page-"));
const running = new Set();

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Waits until `check` gives something, or ends with what was waited for.
export const until = async (what, check, seconds = 20) => {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    let why = "";
    try {
      const found = await check();
      if (found) return found;
    } catch (error) {
      why = `: ${error.message}`;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s${why}`);
    await pause(100);
  }
};

export const file = (name, text) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

export class Daemon {
  // `settings` is YAML without `listen`; `listen` what stands beside the address.
  constructor(port, settings, listen = "", headers = {}) {
    Object.assign(this, { port, headers, url: `http://127.0.0.1:${port}/` });
    this.config = file(`${port}.yaml`, `listen: {address: "127.0.0.1:${port}"${listen}}\n${settings}`);
  }

  async start() {
    const child = spawn(process.env.SHVD, ["serve", "--config", this.config], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, SHVD_STATE_DIR: join(folder, String(this.port)) },
    });
    let log = "";
    child.stderr.on("data", (data) => { log = (log + data).slice(-4000); });
    running.add(child);
    this.child = child;
    await until(`the daemon on ${this.port}\n${log}`, async () => {
      if (child.exitCode !== null) throw new Error(log);
      return (await fetch(`${this.url}readyz`, { headers: this.headers })).ok;
    });
    return this;
  }

  async stop() {
    const ended = new Promise((done) => this.child.once("exit", done));
    this.child.kill("SIGTERM");
    await ended;
    running.delete(this.child);
  }

  async get(path) {
    const response = await fetch(new URL(path, this.url), { headers: this.headers });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return response.json();
  }

  // Resident megabytes.
  resident() {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.child.pid}/status`, "utf8"))[1]) / 1024;
  }
}

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});
