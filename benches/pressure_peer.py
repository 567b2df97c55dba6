"""Bytes verified a second: `shvd pressure` beside `stress-ng --vm 2 --verify`, turn about, over the same time.

    pressure_peer.py SHVD [SECONDS] [ROUNDS]

stress-ng fills memory with seeded random bytes and compares them, again and again (--vm-method rand-set: of its methods
the one whose data do not compress, as ours). One of its operations is 4096 times 8 bytes, filled and compared
(stress-vm.c: VM_BOGO_SHIFT and the chunk of rand-set). shvd fills once and compares again and again; its whole run
counts, fill and release included. Prints both medians, the ratio, and what each takes of a core; fails below 5 times.
"""

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile

OPERATION_BYTES = 4096 * 8
WORKERS, WORKER_BYTES = 2, 512 << 20
RATIO_MIN = 5.0


def timed(command):
    """Output of a command, and seconds of processor time of it and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout + done.stderr, sum(getattr(after, field) - getattr(before, field) for field in ("ru_utime", "ru_stime"))


def peer(seconds):
    words, cpu = timed(["stress-ng", "--vm", str(WORKERS), "--vm-bytes", str(WORKERS * WORKER_BYTES), "--vm-method", "rand-set", "--verify",
                        "--timeout", str(seconds), "--metrics-brief"])
    operations, real = re.search(r" vm +(\d+) +([\d.]+)", words).groups()
    verified = int(operations) * OPERATION_BYTES
    return verified / float(real), verified / cpu


def own(shvd, seconds, folder):
    words, cpu = timed([shvd, "pressure", "--backend", "host", "--size", str(WORKERS * WORKER_BYTES), "--block", str(64 << 20), "--hold",
                        str(seconds), "--verify-every", "0", "--json", "--state-dir", folder])
    outcome = json.loads(words)
    assert outcome["reason"]["code"] == "completed" and outcome["mismatches"] == 0, outcome["reason"]
    return outcome["verified_bytes"] / outcome["seconds"], outcome["verified_bytes"] / cpu


def main(shvd, seconds=5, rounds=3):
    rates = {"shvd": [], "stress-ng": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(int(rounds)):
            rates["shvd"].append(own(shvd, seconds, folder))
            rates["stress-ng"].append(peer(seconds))
    medians = {name: [statistics.median(rate) for rate in zip(*rows)] for name, rows in rates.items()}
    for name, (wall, cpu) in medians.items():
        print(f"{name:<10}{wall / 1e9:7.2f} GB verified a second {cpu / 1e9:7.2f} GB a second of one core")
    ratio, ratio_cpu = (a / b for a, b in zip(medians["shvd"], medians["stress-ng"]))
    load = os.getloadavg()[0]
    print(f"{ratio:.1f} times as many a second, {ratio_cpu:.1f} times as many a second of a core; load {load:.1f}, {os.cpu_count()} cores, median of {rounds}")
    if ratio < RATIO_MIN:
        sys.exit(f"below {RATIO_MIN:.0f} times stress-ng")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3, 4):
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
