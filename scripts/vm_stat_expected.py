#!/usr/bin/env python3
"""What follows from a vm_stat dump, computed apart from the Rust code, and compared with it.

    vm_stat_expected.py recording DUMPS.json            dumps as a recording, one JSON object a line, on standard output
    vm_stat_expected.py compare DUMPS.json < LINES      compares what `derive` printed for that recording; exit 1 if unlike

The counters are taken from the JSON's own `counters`, never from the text that the Rust code parses. The formulas are
those of docs/machine.md, in exact fractions.
"""

import json
import math
import re
import sys
from fractions import Fraction

WARNING, CRITICAL = Fraction(10, 20), Fraction(12, 10) * Fraction(10, 35)

# vm_stat's name -> where the figure stands in a sample.
PAGES = {
    "Pages free": "memory.free_bytes",
    "Pages active": "memory.active_bytes",
    "Pages inactive": "memory.inactive_bytes",
    "Pages speculative": "memory.speculative_bytes",
    "Pages throttled": "memory.throttled_bytes",
    "Pages wired down": "memory.wired_bytes",
    "Pages purgeable": "memory.purgeable_bytes",
    "File-backed pages": "memory.file_backed_bytes",
    "Anonymous pages": "memory.anonymous_bytes",
    "Pages stored in compressor": "compressor.stored_bytes",
    "Pages occupied by compressor": "compressor.occupied_bytes",
    "Pages tagged": "tag_storage.tagged_bytes",
    "Pages tagged resident": "tag_storage.tagged_resident_bytes",
    "Pages tagged compressed": "tag_storage.tagged_compressed_bytes",
    "Pages tag-storage": "tag_storage.total_bytes",
    "Pages tag-storage holding tags": "tag_storage.holding_tags_bytes",
    "Pages tag-storage free": "tag_storage.free_bytes",
    "Pages tag-storage non-tag pageable": "tag_storage.nontag_pageable_bytes",
    "Pages tag-storage non-tag wired": "tag_storage.nontag_wired_bytes",
}
EVENTS = {
    '"Translation faults"': "counters.faults",
    "Pages copy-on-write": "counters.cow_faults",
    "Pages zero filled": "counters.zero_fills",
    "Pages reactivated": "counters.reactivations",
    "Pages purged": "counters.purges",
    "Decompressions": "counters.decompressions",
    "Compressions": "counters.compressions",
    "Pageins": "counters.pageins",
    "Pageouts": "counters.pageouts",
    "Swapins": "counters.swapins",
    "Swapouts": "counters.swapouts",
    "Bytes of compressed tags": "tag_storage.compressed_tags_bytes",
    "Tagged compressions": "counters.tagged_compressions",
    "Tagged decompressions": "counters.tagged_decompressions",
}


def dumps(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)["rows"]


def recording(path):
    """Each dump with the sysctl lines its row knows, ten seconds apart."""
    for index, row in enumerate(dumps(path)):
        text = row["text"].rstrip("\n") + "\n"
        if row.get("ram_bytes"):
            text += f"hw.memsize: {row['ram_bytes']}\n"
        if row.get("vm_swapusage"):
            text += f"vm.swapusage: {row['vm_swapusage']}\n"
        if row.get("memorystatus_vm_pressure_level") is not None:
            text += f"kern.memorystatus_vm_pressure_level: {row['memorystatus_vm_pressure_level']}\n"
        print(json.dumps({"taken_at_unix_seconds": 1.0e9 + 10 * index, "vm_stat": text}))


def sum_or_none(*parts):
    return None if None in parts else sum(parts)


def distance(anc, held, reclaimable, ratio, k):
    """(low, expected, high) bytes that may be wired before anc < k * (anc + held)."""
    high = (anc - k * (anc + held)) / (1 - k)
    if high <= reclaimable:
        return (math.floor(high),) * 3
    weight = (1 - k) * (ratio - 1)
    # The Rust code rounds the high end down before it takes the mean.
    expected = (weight * math.floor(high) + reclaimable) / (weight + 1)
    return reclaimable, math.floor(expected), math.floor(high)


def expected(row):
    """What the program should say of one dump, keys as paths into its line; None for what must be absent."""
    size, counters = row["page_size"], row["counters"]
    pages = lambda name: counters[name] * size if name in counters else None
    out = {f"sample.{path}": pages(name) for name, path in PAGES.items()}
    out.update({f"sample.{path}": counters.get(name) for name, path in EVENTS.items()})

    free, files, purgeable = pages("Pages free"), pages("File-backed pages"), pages("Pages purgeable")
    anonymous, wired = pages("Anonymous pages"), pages("Pages wired down")
    occupied, stored = pages("Pages occupied by compressor"), pages("Pages stored in compressor")

    app = None if None in (anonymous, purgeable) else anonymous - purgeable
    out["derived.app_bytes"] = app
    out["derived.used_bytes"] = sum_or_none(app, wired, occupied)
    # A dump without anonymous pages is not recognised as a Mac's, so its cached files stay unknown.
    out["derived.cached_files_bytes"] = sum_or_none(files, purgeable) if app is not None else None

    reclaimable = sum_or_none(free, files, purgeable)
    out["headroom.reclaimable_bytes"] = reclaimable
    queues = sum_or_none(pages("Pages active"), pages("Pages inactive"), pages("Pages speculative"), free)
    anc = queues if queues is not None else sum_or_none(free, files, anonymous)
    out["non_compressed_bytes"] = anc

    names = ("low_bytes", "expected_bytes", "high_bytes")
    level = None
    if None in (anc, occupied, reclaimable):
        out["headroom.to_warning"] = out["headroom.to_critical"] = None
    else:
        ratio = Fraction(1)
        if stored and occupied:
            ratio = Fraction(math.floor(1000 * min(4, max(1, Fraction(stored, occupied)))), 1000)
        for key, k in (("to_warning", WARNING), ("to_critical", CRITICAL)):
            # A level that the kernel has reached leaves no distance to it.
            reached = (row.get("memorystatus_vm_pressure_level") or 1) >= (2 if key == "to_warning" else 4)
            for name, value in zip(names, distance(anc, occupied, reclaimable, ratio, k)):
                out[f"headroom.{key}.{name}"] = min(value, 0) if reached else value
    if None not in (anc, occupied):
        share = Fraction(anc, anc + occupied)
        level = "critical" if share < CRITICAL else "warning" if share < WARNING else "normal"
    out["computed_level"] = level

    out["sample.memory.total_bytes"] = row.get("ram_bytes")
    swap = row.get("vm_swapusage")
    for name in ("total", "used"):
        amount = re.search(rf"{name} = ([0-9.]+)M", swap) if swap else None
        exact = Fraction(amount[1]) * 2**20 if amount else None
        out[f"sample.swap.{name}_bytes"] = None if exact is None else math.floor(exact + Fraction(1, 2))
    return out


def at(line, path):
    for key in path.split("."):
        line = line.get(key) if isinstance(line, dict) else None
    return line


def compare(path):
    rows, lines = dumps(path), [json.loads(line) for line in sys.stdin]
    if len(rows) != len(lines):
        sys.exit(f"{len(rows)} dumps, but {len(lines)} lines came out")
    unlike = compared = levels = 0
    for row, line in zip(rows, lines):
        for key, want in expected(row).items():
            compared += 1
            if at(line, key) != want:
                unlike += 1
                print(f"{row['id']}: {key}: expected {want}, got {at(line, key)}")
        reported = row.get("reported_reclaimable_bytes")
        if reported is not None and at(line, "headroom.reclaimable_bytes") != reported:
            unlike += 1
            print(f"{row['id']}: its reporter counted {reported} reclaimable bytes")
        kernel, warning = row.get("memorystatus_vm_pressure_level"), at(line, "headroom.to_warning")
        if kernel is not None:
            levels += 1
            critical = at(line, "headroom.to_critical")
            contradicts = warning is None or (warning["high_bytes"] > 0) != (kernel == 1)
            contradicts = contradicts or (critical["high_bytes"] > 0) != (kernel < 4)
            if contradicts:
                unlike += 1
                print(f"{row['id']}: the kernel said level {kernel}, the headroom {warning}")
    print(f"{len(rows)} dumps, {compared} figures compared, {levels} with the kernel's level: {unlike} unlike")
    sys.exit(1 if unlike or not compared or not levels else 0)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("recording", "compare"):
        sys.exit(__doc__)
    {"recording": recording, "compare": compare}[sys.argv[1]](sys.argv[2])
