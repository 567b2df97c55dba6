#!/usr/bin/env python3
"""Recordings for scripts/dashboards.sh, and its questions to Prometheus.

    dashboards_answers.py dump VM_STAT.txt       a recorded vm_stat text, with lines of sysctl, as a recording
    dashboards_answers.py mac|linux MEMORY.json  an answer of /api/v1/memory as a recording, with what this machine may lack
    dashboards_answers.py ask URL                every expression of boards and rules; exit 1 when one is not answered
"""

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIVE, MAC, LINUX = "shvd-linux", "shvd-mac-replayed", "shvd-linux-replayed"
# What a Linux machine may lack (a container has no sensors; a kernel can be built without stall accounting; a group can
# be without limits): the replayed machine has it.
MAY_LACK = {"shv_temperature_celsius", "shv_memory_stall_ratio", "shv_cgroup_usage_bytes", "shv_cgroup_high_bytes", "shv_cgroup_limit_bytes"}
# What only a daemon with a run under way has: the live one.
WHILE_RUNNING = {"shv_pressure_footprint_bytes"}
# Lines of sysctl, which the recorded vm_stat text came without.
SYSCTL = """vm.swapusage: total = 12800.00M  used = 11947.44M  free = 852.56M  (encrypted)
kern.memorystatus_vm_pressure_level: 1
iogpu.wired_limit_mb: 40960
vm.compressor_segment_pages_compressed: 240672
vm.compressor_segment_pages_compressed_limit: 3145728
vm.compressor_swapper_swapout_thrashing_detected: 0
"""


def dump(path):
    text = Path(path).read_text(encoding="utf-8").rstrip("\n") + "\n" + SYSCTL
    print(json.dumps({"taken_at_unix_seconds": 1.7e9, "vm_stat": text}))


def recording(system, path):
    sample = json.loads(Path(path).read_text(encoding="utf-8"))["sample"]
    server = {"pid": 4711, "name": "mlx_lm.server", "watch": "server", "footprint_bytes": 700 << 20, "peak_footprint_bytes": 800 << 20,
              "resident_bytes": 200 << 20, "compressed_bytes": 20 << 20}
    sample["processes"] = [server]
    sample["own_process"] = {"pid": 4710, "name": "shvd", "footprint_bytes": 8 << 20, "resident_bytes": 8 << 20}
    sample["thermal"] = {"temperatures": [{"sensor": "package", "celsius": 61.5}]}
    if system == "mac":
        sample["thermal"]["level"] = "nominal"
    else:
        line = {"ratio_10s": 0.02, "ratio_60s": 0.01, "ratio_300s": 0.0, "total_microseconds": 123456}
        sample["pressure"]["stall"] = {"some": line, "full": line}
        usage = sample["memory"]["total_bytes"] // 4
        sample["cgroup"] = {"usage_bytes": usage, "reclaimable_bytes": usage // 2, "high_bytes": usage * 3, "limit_bytes": usage * 4}
    print(json.dumps(sample))


class Prometheus:
    def __init__(self, url):
        self.url = url

    def get(self, path, **query):
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query, doseq=True)}", timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{error.code}: {json.load(error).get('error')}") from None

    def value(self, expr, at):
        return self.get("/api/v1/query", query=expr, time=at)["result"]


def platforms():
    """Of each documented metric: both, macOS or Linux."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"), re.M)
    return dict(rows) | {"up": "both"}


def metrics(expr, known):
    return {word for word in re.findall(r"[a-zA-Z_:][\w:]*", re.sub(r'"[^"]*"', "", expr)) if word in known}


def substitute(expr, job):
    return expr.replace("$__rate_interval", "10s").replace("$job", job).replace("$instance", ".+").replace("$plan", ".+")


def jobs_with_data(expr, known):
    """The jobs that must have data, by the platforms of the metrics named; none for a mixture, which some job must have."""
    named = metrics(expr, known)
    on = {known[name] for name in named}
    if named & WHILE_RUNNING:
        return [LIVE]
    jobs = []
    if "Linux" not in on:
        jobs.append(MAC)
    if "macOS" not in on:
        jobs.append(LINUX)
        if not named & MAY_LACK:
            jobs.append(LIVE)
    return jobs


def ask(url):
    prometheus, known, faults = Prometheus(url), platforms(), []
    panels = [(name, panel) for name in ("fleet", "machine", "models", "runs")
              for panel in json.loads((ROOT / f"dashboards/grafana/{name}.json").read_text(encoding="utf-8"))["panels"] if panel["type"] != "row"]
    until = time.time() + 60
    while time.time() < until:
        answer = prometheus.get("/api/v1/query", query=f'count_over_time(shv_sample_success{{job=~"{LIVE}|{MAC}|{LINUX}"}}[10s]) >= 6')["result"]
        if len(answer) == 3:
            break
        time.sleep(0.5)
    else:
        sys.exit("Prometheus has not scraped the three daemons within a minute")
    at, asked, mac_only, linux_only = time.time(), 0, [], []

    for name, panel in panels:
        where = f"{name}, '{panel['title']}'"
        for target in panel["targets"]:
            expr, found = target["expr"], set()
            for job in (LIVE, MAC, LINUX):
                asked += 1
                try:
                    if prometheus.value(substitute(expr, job), at):
                        found.add(job)
                    prometheus.get("/api/v1/query_range", query=substitute(expr, job), start=at - 10, end=at, step=5)
                except ValueError as error:
                    faults.append(f"{where}: {expr}: {error}")
            wanted = jobs_with_data(expr, known)
            if not found:
                faults.append(f"{where}: no data anywhere: {expr}")
            faults += [f"{where}: no data from {job}: {expr}" for job in wanted if job not in found]
            if found == {MAC}:
                mac_only.append(f"{where}: {target['legendFormat']}")
            elif MAC not in found:
                linux_only.append(f"{where}: {target['legendFormat']}")

    for job in (LIVE, MAC, LINUX):
        targets = next(panel for name, panel in panels if (name, panel["title"]) == ("machine", "Memory"))["targets"]
        answers = {target["legendFormat"]: prometheus.value(substitute(target["expr"], job), at) for target in targets}
        parts = {legend: float(answer[0]["value"][1]) for legend, answer in answers.items() if answer}
        total = parts.pop("total")
        off = sum(parts.values()) / total - 1
        print(f"{job}: the stack sums to {100 * (1 + off):.3f} % of the total; the rest is {100 * parts['rest'] / total:.2f} %")
        if abs(off) > 1e-6:
            faults.append(f"{job}: the stack is off by {100 * off:.3f} %: {parts}, total {total}")

    worst = prometheus.value(substitute(next(t["expr"] for _, p in panels if p["title"] == "Machines" for t in p["targets"] if t["legendFormat"] == "Trouble"), "shvd.*"), at)
    order = [row["metric"]["job"] for row in sorted(worst, key=lambda row: -float(row["value"][1]))]
    if len(order) != 4 or order[0] != "shvd-down":
        faults.append(f"the fleet has not the machine that does not answer first: {order}")

    rules = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        asked += 1
        if rule["health"] != "ok":
            faults.append(f"rule {rule['name']} is {rule['health']}: {rule.get('lastError')}")
        for metric in metrics(rule["query"], known):
            if not prometheus.value(metric, at):
                faults.append(f"rule {rule['name']}: no data for {metric}")
        if rule["type"] == "recording" and not prometheus.value(rule["name"], at):
            faults.append(f"rule {rule['name']} records nothing")
    if len(rules) < 18:
        faults.append(f"Prometheus has {len(rules)} rules")
    down = [rule for rule in rules if rule["name"] == "ShvExporterDown" and rule["alerts"]]
    if not down:
        faults.append("ShvExporterDown is not pending for the machine that does not answer")

    print(f"{len(panels)} panels, {asked} questions, {len(rules)} rules")
    print("macOS only, answered from the replayed Mac:", *mac_only, sep="\n  ")
    print("Linux only:", *linux_only, sep="\n  ")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["dump", path]:
            dump(path)
        case ["mac" | "linux" as system, path]:
            recording(system, path)
        case ["ask", url]:
            ask(url)
        case _:
            sys.exit(__doc__)
