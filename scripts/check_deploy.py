#!/usr/bin/env python3
"""Checks that launchd plists parse and say what they must, and, where systemd is, how much its unit exposes (at most 2)."""

import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
EXPOSURE_MAX = 2.0


def main():
    plists = sorted(DEPLOY.glob("*/*.plist"))
    faults = [] if plists else ["no plists found"]
    for path in plists:
        job = plistlib.loads(path.read_bytes())
        if job["Label"] != path.stem:
            faults.append(f"{path.name}: the label is {job['Label']}")
        if not job["ProgramArguments"][0].startswith("/"):
            faults.append(f"{path.name}: {job['ProgramArguments'][0]} is no full path")
        if "LaunchDaemons" in path.read_text(encoding="utf-8") and job.get("UserName") in (None, "root"):
            faults.append(f"{path.name}: runs as root")
        if job.get("KeepAlive") != {"SuccessfulExit": False} or "StandardErrorPath" not in job:
            faults.append(f"{path.name}: no restart after a failure, or no log")
    print(f"{len(plists)} plists parse")
    if shutil.which("systemd-analyze"):
        said = subprocess.run(["systemd-analyze", "security", "--offline=true", DEPLOY / "systemd/shvd.service"], capture_output=True, text=True, check=True).stdout
        exposure = float(re.search(r"Overall exposure level for shvd.service: ([\d.]+)", said)[1])
        print(f"shvd.service: exposure {exposure}")
        if exposure > EXPOSURE_MAX:
            faults.append(f"shvd.service: exposure {exposure} is over {EXPOSURE_MAX}")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
