#!/usr/bin/env python3
"""Compares what shvplan reads from disk with what MLX holds once mlx-lm has loaded the same files.

For the configurations of planner/tests/exact, mlx-lm builds the model with random weights, casts or quantizes it, and
saves it as `mlx_lm.convert` does; then mlx-lm loads the files again and shvplan describes them, and both must count
the same bytes of weights.

Usage: scripts/disk-models.py [--shvplan PATH] [--all] [MODEL_TYPE…]
Without model types, one configuration of each; --all takes every one. Needs Python with mlx and mlx-lm.
"""
import argparse
import contextlib
import copy
import io
import json
import pathlib
import subprocess
import sys
import tempfile

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.utils import _get_classes, load_model, quantize_model, save_config, save_model

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Larger ones show nothing more.
PARAMETERS_MAX = 20_000_000
# Stored as: type, and the arguments of quantize_model.
FORMS = [
    ("bf16", mx.bfloat16, None),
    ("fp32", mx.float32, None),
    ("int4", mx.bfloat16, {"group_size": 64, "bits": 4}),
    ("int8:g32, fp16", mx.float16, {"group_size": 32, "bits": 8}),
    ("int3 of fp32", mx.float32, {"group_size": 128, "bits": 3}),
    ("mxfp4", mx.bfloat16, {"group_size": 32, "bits": 4, "mode": "mxfp4"}),
    ("nvfp4", mx.bfloat16, {"group_size": 16, "bits": 4, "mode": "nvfp4"}),
    ("mixed_3_6", mx.bfloat16, {"group_size": 64, "bits": 3, "recipe": "mixed_3_6"}),
]


def build(config, dtype, quantization):
    """The model and its config, as `mlx_lm.convert` leaves them before saving."""
    model_class, args_class = _get_classes(config=config)
    model = model_class(args_class.from_dict(config))
    cast = getattr(model, "cast_predicate", lambda _: True)
    model.load_weights([
        (path, array.astype(dtype) if cast(path) and mx.issubdtype(array.dtype, mx.floating) else array)
        for path, array in tree_flatten(model.parameters())
    ])
    if quantization:
        quantization = dict(quantization)
        recipe = quantization.pop("recipe", None)
        predicate = getattr(model, "quant_predicate", None)
        if recipe:
            predicate = mixed_quant_predicate_builder(recipe, model)
        model, config = quantize_model(model, config, quant_predicate=predicate, **quantization)
    return model, config


def described(shvplan, folder):
    done = subprocess.run([shvplan, "--model", folder, "--memory", "1TB", "--format", "json"],
                          capture_output=True, text=True)
    if not done.stdout:
        raise RuntimeError(done.stderr.strip())
    report = json.loads(done.stdout)
    return report["footprint"]["weights_bytes"], report["model"].get("notes", [])


def compare(shvplan, case, form, folder):
    """What is wrong, or None; "skipped" with the reason where mlx-lm itself cannot."""
    name, dtype, quantization = form
    config = copy.deepcopy(case["config"])
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            model, config = build(config, dtype, quantization)
        save_model(folder, model)
        save_config(dict(config), config_path=folder / "config.json")
        loaded, _ = load_model(folder)
        expected = sum(array.nbytes for _, array in tree_flatten(loaded.parameters()))
    except Exception as error:
        return "skipped", f"{type(error).__name__}: {str(error)[:80]}"
    try:
        got, notes = described(shvplan, folder)
    except RuntimeError as error:
        return "wrong", str(error)[:200]
    if got != expected:
        return "wrong", f"{got} bytes, MLX holds {expected}; {notes}"
    if notes:
        return "wrong", f"bytes equal, but: {notes}"
    return "equal", ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shvplan", default=ROOT / "target/debug/shvplan")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("model_types", nargs="*")
    arguments = parser.parse_args()
    counts, seen = {"equal": 0, "wrong": 0, "skipped": 0}, set()
    for path in sorted((ROOT / "planner/tests/exact").glob("*.json")):
        for case in json.loads(path.read_text()):
            model_type = case["config"]["model_type"]
            wanted = not arguments.model_types or model_type in arguments.model_types
            if not wanted or "error" in case or case["parameters"] > PARAMETERS_MAX:
                continue
            if model_type in seen and not arguments.all:
                continue
            seen.add(model_type)
            for form in FORMS:
                with tempfile.TemporaryDirectory() as folder:
                    outcome, why = compare(arguments.shvplan, case, form, pathlib.Path(folder))
                counts[outcome] += 1
                if outcome != "equal":
                    print(f"{outcome}: {case['name']}, {form[0]}: {why}", flush=True)
    print(f"{len(seen)} model types: {counts['equal']} equal, {counts['wrong']} wrong, "
          f"{counts['skipped']} that mlx-lm refuses")
    sys.exit(1 if counts["wrong"] or not counts["equal"] else 0)


if __name__ == "__main__":
    main()
