#!/usr/bin/env python3
"""Compares shvplan with the real mlx-lm, to the byte: tiny models with random weights, one of each model type.

The configurations are those of planner/tests/exact. mlx-lm builds each model, casts or quantizes it and saves it as
`mlx_lm.convert` does: plain, quantized, by a mixed recipe, and with parameters by module path. Then
- mlx-lm loads the files again and counts its arrays, and shvplan describes the same files;
- shvplan plans from config.json alone, which says how the files are quantized, and from config.json with `--quant`;
- mlx-lm's generate_step runs the loaded model in chunks, and counts its caches after each, plain and quantized. What it
  cannot run, shvplan must refuse.

Usage: mlx_lm_exact.py [--shvplan PATH] [--all] [MODEL_TYPE…]
Without model types, all of them. One configuration of each, in a few forms; --all takes every configuration in every
form. Needs mlx and mlx-lm 0.32.2 (scripts/mlx-lm-exact.sh installs them). Exits 1 on any difference.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import copy
import io
import json
import logging
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import _get_classes, load_model, quantize_model, save_config, save_model

logging.disable()
# Compiled functions are built by a C++ compiler on the CPU; they hold the same without.
mx.disable_compile()
ROOT = pathlib.Path(__file__).resolve().parent.parent
# Larger ones show nothing more.
PARAMETERS_MAX = 20_000_000
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
# Chunks of a prompt, and forms of caches (bits, group) that are run.
CHUNK, KV_FORMS = 128, (None, (8, 32))
# Model types whose scan goes token by token: a context of 300 takes minutes.
SLOW = {"mamba", "falcon_mamba", "jamba", "rwkv7", "recurrent_gemma"}


class Form(collections.namedtuple("Form", "name dtype arguments always")):
    """How a model is stored: the command line's name where it has one, the type (None: the config's own), the arguments
    of quantize_model, and whether it is among the few forms that are always tried."""


FORMS = [
    Form("plain", None, None, True),
    Form("int4:g64", None, {"group_size": 64, "bits": 4}, True),
    Form("mixed_3_6", None, {"group_size": 64, "bits": 3}, True),
    Form("by path", None, {"group_size": 64, "bits": 4}, True),
    Form("by path, some left alone", None, {"group_size": 64, "bits": 4}, False),
    Form("fp32", mx.float32, None, False),
    Form("int8:g32", mx.float16, {"group_size": 32, "bits": 8}, False),
    Form("int3:g128", mx.float32, {"group_size": 128, "bits": 3}, False),
    Form("int5:g64", None, {"group_size": 64, "bits": 5}, False),
    Form("mxfp4", None, {"group_size": 32, "bits": 4, "mode": "mxfp4"}, False),
    Form("nvfp4", None, {"group_size": 16, "bits": 4, "mode": "nvfp4"}, False),
    Form("mxfp8", None, {"group_size": 32, "bits": 8, "mode": "mxfp8"}, False),
]


def source_dtype(config):
    text = config.get("text_config") or {}
    return config.get("torch_dtype") or config.get("dtype") or text.get("dtype") or text.get("torch_dtype") or "bfloat16"


def by_path(family, leaves_some):
    """A predicate with parameters of their own for three parts of the model."""
    def predicate(path, module):
        parts = path.split(".")
        if leaves_some and "0" in parts:
            return False
        if "1" in parts:
            return {"group_size": 32, "bits": 8, "mode": "affine"}
        if "2" in parts:
            return {"group_size": 32, "bits": 4, "mode": "mxfp4"}
        if "embed" in parts[-1]:
            return {"group_size": 64, "bits": 6}
        return family(path, module) if family else True
    return predicate


def build(config, form):
    """The model, its config and its logical parameters, as `mlx_lm.convert` leaves them before saving."""
    model_class, args_class = _get_classes(config=config)
    model = model_class(args_class.from_dict(config))
    text = getattr(model, "language_model", model)
    if type(text).__module__.endswith("gemma3_text") and config.get("tie_word_embeddings", True):
        text.sanitize({})  # drops the output head, as for every checkpoint that has none
    dtype = form.dtype or getattr(mx, source_dtype(config))
    cast = getattr(model, "cast_predicate", lambda _: True)
    model.load_weights([
        (path, array.astype(dtype) if cast(path) and mx.issubdtype(array.dtype, mx.floating) else array)
        for path, array in tree_flatten(model.parameters())
    ])
    parameters = sum(array.size for _, array in tree_flatten(model.parameters()))
    if form.arguments:
        predicate = getattr(model, "quant_predicate", None)
        if form.name.startswith("mixed"):
            predicate = mixed_quant_predicate_builder(form.name, model)
        if form.name.startswith("by path"):
            predicate = by_path(predicate, "alone" in form.name)
        with contextlib.redirect_stdout(io.StringIO()):
            model, config = quantize_model(model, config, quant_predicate=predicate, **form.arguments)
    return model, config, parameters


def plan(shvplan, model, *arguments):
    """The report, or an error that tells why there is none."""
    done = subprocess.run([shvplan, "--model", model, "--memory", "1TB", "--format", "json", *map(str, arguments)],
                          capture_output=True, text=True)
    if not done.stdout:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()[:200]}")
    return json.loads(done.stdout)


def stored(shvplan, config, form, folder):
    """Differences of what one form holds; None where mlx-lm itself cannot."""
    try:
        model, saved, parameters = build(copy.deepcopy(config), form)
        save_model(folder, model)
        save_config(dict(saved), config_path=folder / "config.json")
        loaded, _ = load_model(folder)
    except Exception:
        return None
    expected = sum(array.nbytes for _, array in tree_flatten(loaded.parameters()))
    alone = folder / "alone"
    alone.mkdir()
    shutil.copy(folder / "config.json", alone)
    runs = [("from its files", folder, [])]
    own_dtype = form.dtype is None or form.dtype == getattr(mx, source_dtype(config))
    if form.arguments and own_dtype and "alone" not in form.name:
        runs.append(("from its config.json", alone / "config.json", []))
    if own_dtype and not form.name.startswith("by path"):
        quant = DTYPES[source_dtype(config)] if form.name == "plain" else form.name
        runs.append((f"with --quant {quant}", alone / "config.json", ["--quant", quant]))
    wrong = []
    for what, path, arguments in runs:
        try:
            report = plan(shvplan, path, *arguments)
        except RuntimeError as error:
            wrong.append(f"{what}: {error}")
            continue
        got = report["footprint"]["weights_bytes"]
        if got != expected:
            wrong.append(f"{what}: {got} bytes of weights, MLX holds {expected}")
        if report["model"]["parameters"] != parameters:
            wrong.append(f"{what}: {report['model']['parameters']} parameters, mlx-lm has {parameters}")
        if report["model"].get("notes"):
            wrong.append(f"{what}: {report['model']['notes']}")
    return wrong


def run(model, context, kv):
    """Bytes of the caches after a prompt of `context` tokens, and the most they held after any of its chunks."""
    cache, most = make_prompt_cache(model), 0

    def count():
        return sum(entry.nbytes for entry in cache)

    def chunk(done, of):
        nonlocal most
        if done:
            most = max(most, count())

    quantized = {"kv_bits": kv[0], "kv_group_size": kv[1]} if kv else {}
    for _ in generate_step(mx.zeros((context,), mx.int32), model, max_tokens=0, prompt_cache=cache,
                           prefill_step_size=CHUNK, prompt_progress_callback=chunk, quantized_kv_start=0, **quantized):
        pass
    return count(), most


def flat(config):
    """Names of all fields, those of objects inside included."""
    for field, value in config.items():
        yield field
        if isinstance(value, dict):
            yield from flat(value)


def caches(shvplan, config):
    """Differences of what the caches hold in real runs, and how many runs there were."""
    # On the CPU, MLX multiplies stacks of experts in single precision only, and is far quicker in it. The short run
    # shows which states are in single precision anyway, the long one how caches grow.
    experts = any("experts" in field for field in flat(config))
    wrong, runs = [], 0
    for context, dtype in ((20, mx.float32 if experts else None), (300, mx.float32)):
        if context > 20 and config["model_type"] in SLOW:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = grown(shvplan, config, dtype, context, pathlib.Path(folder))
        wrong, runs = wrong + found, runs + len(KV_FORMS)
    return wrong, runs


def grown(shvplan, config, dtype, context, folder):
    """Differences of what the caches hold after a prompt of `context` tokens."""
    model, saved, _ = build(copy.deepcopy(config), FORMS[0]._replace(dtype=dtype))
    save_model(folder, model)
    save_config(dict(saved), config_path=folder / "config.json")
    model, _ = load_model(folder)
    wrong = []
    for kv in KV_FORMS:
        arguments = ["--context", context, "--prefill-step", CHUNK]
        if kv:
            arguments += ["--kv-quant", f"{kv[0]}:{kv[1]}", "--quantized-kv-start", 0]
        try:
            expected = run(model, context, kv)
        except Exception as error:
            expected = f"{type(error).__name__}: {error}".splitlines()[0][:100]
        try:
            footprint = plan(shvplan, folder, *arguments)["footprint"]
            got = (footprint["cache_bytes"], footprint["cache_peak_bytes"])
        except RuntimeError as error:
            got = str(error)
        refused = isinstance(expected, str) and isinstance(got, str) and got.startswith("exit 2:")
        if got != expected and not refused:
            wrong.append(f"caches, {context} tokens, kv {kv}: {got}, mlx-lm {expected}")
    return wrong


def check(shvplan, case, everything):
    """Counts and differences of one configuration."""
    counts, wrong = collections.Counter(types=1), []
    for form in FORMS:
        if not (form.always or everything):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = stored(shvplan, case["config"], form, pathlib.Path(folder))
        if found is None:
            counts["refused"] += 1
            continue
        counts["forms"] += 1
        wrong += [f"{form.name} {line}" for line in found]
    try:
        found, runs = caches(shvplan, case["config"])
    except Exception as error:
        found, runs = [f"not run: {type(error).__name__}: {error}"], 0
    counts["runs"] += runs
    label = f"{case['config']['model_type']} ({case['name']})"
    return counts, [f"{label}: {line}" for line in wrong + found]


def cases(model_types, everything):
    seen = set()
    for path in sorted((ROOT / "planner/tests/exact").glob("*.json")):
        for case in json.loads(path.read_text()):
            model_type = case["config"]["model_type"]
            wanted = not model_types or model_type in model_types
            if not wanted or "error" in case or case["parameters"] > PARAMETERS_MAX:
                continue
            if model_type in seen and not everything:
                continue
            seen.add(model_type)
            yield case


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shvplan", default=ROOT / "target/debug/shvplan")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("model_types", nargs="*")
    arguments = parser.parse_args()
    counts, wrong = collections.Counter(), []
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        jobs = [pool.submit(check, arguments.shvplan, case, arguments.all)
                for case in cases(arguments.model_types, arguments.all)]
        for job in concurrent.futures.as_completed(jobs):
            found, lines = job.result()
            counts += found
            wrong += lines
            for line in lines:
                print(line, flush=True)
    print(f"{counts['types']} models, {counts['forms']} stored forms ({counts['refused']} more that mlx-lm refuses), "
          f"{counts['runs']} runs: {len(wrong)} differences")
    sys.exit(1 if wrong or not counts["forms"] or not counts["runs"] else 0)


if __name__ == "__main__":
    main()
