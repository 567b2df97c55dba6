#!/usr/bin/env python3
"""Write the rows behind planner/catalog/fitted.json into it: by machine and model, with what is left over.

    fitted-rows.py [--shvplan PATH] [--data FILE]

`decode` and `prefill` hold [rows, median of predicted ÷ printed, least, most]. Needs Python 3.9 and nothing else.
"""
import argparse
import json
import os
import statistics
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
FILE = os.path.join(HERE, "../planner/catalog/fitted.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shvplan", default=os.path.join(HERE, "../target/release/shvplan"))
    parser.add_argument("--data", default=os.path.join(HERE, "../../shared/ground-truth/public/inference.json"))
    options = parser.parse_args()
    folder, groups = os.path.dirname(options.data), {}
    with open(options.data) as file:
        rows = json.load(file)
    for row in rows:
        kinds = [k for k in ("decode", "prefill") if row.get(f"{k}_tokens_per_second")]
        if not kinds or not row.get("machine"):
            continue
        arguments = [options.shvplan, "--model", os.path.join(folder, row["config"]), "--quant", row["quant"], "--machine", row["machine"],
                     "--context", str(row["prompt_tokens"] + row.get("generated_tokens", 0)), "--format", "json"]
        speed = json.loads(subprocess.run(arguments, capture_output=True, text=True, timeout=60).stdout)["speed"]
        name = os.path.splitext(os.path.basename(row["config"]))[0]
        group = groups.setdefault((row["machine"], name), {"decode": [], "prefill": []})
        for kind in kinds:
            key = f"{kind}_tokens_per_second"
            group[kind].append(speed[key]["expected"] / row[key])
    lines = []
    for (machine, model), found in sorted(groups.items()):
        line = {"machine": machine, "model": model}
        for kind, ratios in found.items():
            if ratios:
                line[kind] = [len(ratios), *(round(f(ratios), 2) for f in (statistics.median, min, max))]
        lines.append("  " + json.dumps(line))
    with open(FILE) as file:
        text = file.read()
    head = text[:text.index(' "rows": [')]
    with open(FILE, "w") as file:
        file.write(head + ' "rows": [\n' + ",\n".join(lines) + "\n ]\n}\n")
    with open(FILE) as file:
        json.load(file)


if __name__ == "__main__":
    main()
