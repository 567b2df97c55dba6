#!/usr/bin/env python3
"""Compare `shvplan --backend cpu` with peaks measured on MLX's CPU build, phase by phase.

    cpu-measured.py [--shvplan PATH] [--data FILE] [--verbose]

The models are small ones with random weights; prefill chunks and the first decoding steps are compared. Exit 1 when the
median error of a dense model is above 3 %, or that of another one above 8 %. Needs Python 3.9 and nothing else.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DENSE = {"llama", "qwen2", "qwen3"}


def quantization(model):
    """The command line's name for a model's quantization."""
    given = model["quantization"]
    if given:
        return f"int{given['bits']}:g{given['group_size']}"
    return {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}[model["dtype"]]


def plan(binary, model, config, run):
    """Peak bytes by phase, and bytes of weights."""
    arguments = [binary, "--model", config, "--quant", quantization(model), "--backend", "cpu", "--format", "json",
                 "--context", str(run["prompt"]), "--prefill-step", str(run["prefill_step_size"]), "--memory", "64GB"]
    if model.get("max_kv_size"):
        arguments += ["--max-kv-size", str(model["max_kv_size"])]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    try:
        footprint = json.loads(done.stdout)["footprint"]
    except ValueError:
        sys.exit(f"{model['name']}: exit {done.returncode}: {done.stderr.strip()}")
    return {step["phase"]: step["bytes"] for step in footprint["timeline"]}, footprint["weights_bytes"]


def errors(binary, model, config):
    """Relative error of every phase that can be compared."""
    found = []
    for run in model["runs"]:
        planned, weights = plan(binary, model, config, run)
        if weights != model["weights_bytes"]:
            sys.exit(f"{model['name']}: {weights} bytes of weights instead of {model['weights_bytes']}")
        for phase in run["phases"]:
            if phase["phase"] == "prefill":
                name = f"prefill_{phase['tokens_before'] + phase['step_len']}"
                expected = planned.get(name)
            elif phase["phase"].startswith("last_prompt_token"):
                name = "first_token"
                expected = max(planned["first_token"], planned["decode"])
            else:
                continue
            if expected is None:
                sys.exit(f"{model['name']}: the timeline has no phase {name}")
            found.append((expected / phase["peak"] - 1, run["prompt"], name))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shvplan", default=os.path.join(HERE, "../target/release/shvplan"))
    parser.add_argument("--data", default=os.path.join(HERE, "../../shared/ground-truth/public/measured.json"))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    with open(options.data) as file:
        models = json.load(file)["runs_by_model"]
    everything, bad = [], []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            config = os.path.join(folder, "config.json")
            with open(config, "w") as file:
                json.dump(model["config"], file)
            found = errors(options.shvplan, model, config)
        sizes = [abs(e) for e, _, _ in found]
        median, budget = statistics.median(sizes), 0.03 if model["config"]["model_type"] in DENSE else 0.08
        worst = max(found, key=lambda e: abs(e[0]))
        print(f"{model['name']:28} {len(found):3} phases  median {median:6.2%}  worst {worst[0]:+7.2%} ({worst[1]} tokens, {worst[2]})  budget {budget:.0%}")
        if options.verbose:
            print("   ", " ".join(f"{e:+.1%}" for e, _, _ in found))
        everything += sizes
        if median > budget:
            bad.append(model["name"])
    everything.sort()
    print(f"all: {len(everything)} phases, median {statistics.median(everything):.2%}, 90 % within {everything[int(len(everything) * .9)]:.2%}, worst {everything[-1]:.2%}")
    if bad:
        sys.exit("beyond the budget: " + ", ".join(bad))


if __name__ == "__main__":
    main()
