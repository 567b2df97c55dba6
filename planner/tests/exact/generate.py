#!/usr/bin/env python3
"""Fills the cases of exact/*.json with what mlx-lm really allocates (see README.md). Needs mlx and mlx-lm 0.32.2."""

import copy
import json
import logging
import sys

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import _get_classes, quantize_model

DTYPES = {"bf16": mx.bfloat16, "fp16": mx.float16, "fp32": mx.float32}
QUANTS = ["int4:g64", "int8:g32", "int3:g128", "mxfp4", "nvfp4", "mxfp8", "mixed_3_6"]
CONTEXTS = [[1, 1], [257, 1], [2048, 3], [4097, 1]]
STEP = 2048
logging.disable()


def model_of(config, dtype):
    model_class, args_class = _get_classes(config)
    model = model_class(args_class.from_dict(copy.deepcopy(config)))
    text = getattr(model, "language_model", model)
    if type(text).__module__.endswith("gemma3_text") and config.get("tie_word_embeddings", True):
        text.sanitize({})  # drops the output head, as for every checkpoint that has none
    cast = getattr(model, "cast_predicate", lambda _: True)
    floating = lambda k, v: v.astype(dtype) if cast(k) and mx.issubdtype(v.dtype, mx.floating) else v
    model.update(tree_map_with_path(floating, model.parameters()))
    return model


def source_dtype(config):
    text = config.get("text_config") or {}
    name = config.get("torch_dtype") or config.get("dtype") or text.get("dtype") or text.get("torch_dtype") or "bfloat16"
    return getattr(mx, name)


def quantized(config, dtype, name):
    model, bare = model_of(config, dtype), copy.deepcopy(config)
    for key in ("quantization", "quantization_config"):
        bare.pop(key, None)
    if name.startswith("int"):
        bits, _, group = name[3:].partition(":g")
        return quantize_model(model, bare, int(group or 64), int(bits), mode="affine")[0]
    if name.startswith("mixed"):
        predicate = mixed_quant_predicate_builder(name, model, 64)
        return quantize_model(model, bare, 64, 4, mode="affine", quant_predicate=predicate)[0]
    return quantize_model(model, bare, None, None, mode=name)[0] if name not in DTYPES else model


def weights(config, name):
    try:
        model = quantized(config, DTYPES.get(name, source_dtype(config)), name)
    except Exception:
        return None
    return sum(v.nbytes for _, v in tree_flatten(model.parameters()))


def cache_row(model, context, batch, kv):
    row = {"context": context, "concurrency": batch}
    cache, most, left = make_prompt_cache(model), 0, context

    def step(tokens):
        nonlocal most
        model(mx.zeros((batch, tokens), dtype=mx.int32), cache=cache)
        for i, entry in enumerate(cache):
            if kv and hasattr(entry, "to_quantized"):
                bits, group = map(int, kv.split(":"))
                cache[i] = entry.to_quantized(group_size=group, bits=bits)
        most = max(most, sum(e.nbytes for e in cache))

    if kv:
        row["kv"] = kv
    try:
        while left > 1:
            tokens = min(STEP, left - 1)
            step(tokens)
            left -= tokens
        step(1)
        row["bytes"] = sum(e.nbytes for e in cache)
        if most > row["bytes"]:
            row["peak"] = most
    except Exception as error:
        row["bytes"] = None
        row["why"] = f"{type(error).__name__}: {error}".splitlines()[0][:120]
    return row


def fill(case):
    kept = {k: case[k] for k in ("name", "config", "quants", "contexts", "kv") if k in case}
    config = case["config"]
    try:
        model = model_of(config, source_dtype(config))
    except (Exception, SystemExit) as error:  # olmo's module leaves the process without a package of its own
        return kept | {"error": f"{type(error).__name__}: {error}".splitlines()[0][:120]}
    plain = next(k for k, v in DTYPES.items() if v == source_dtype(config))
    kept["parameters"] = sum(v.size for _, v in tree_flatten(model.parameters()))
    kept["quant"] = {q: weights(config, q) for q in [plain, *case.get("quants", QUANTS)]}
    kept["cache"] = [cache_row(model, n, b, None) for n, b in case.get("contexts", CONTEXTS)]
    kept["cache"] += [cache_row(model, 300, 1, kv) for kv in case.get("kv", ["8:64", "4:32"])]
    return kept


def printed(cases):
    """JSON with one line a field and a cache row, so that a change is seen in a diff."""
    blocks = []
    for case in cases:
        lines = []
        for key, value in case.items():
            if key == "cache":
                rows = ",\n".join("      " + json.dumps(row) for row in value)
                lines.append(f'    "cache": [\n{rows}\n    ]')
            else:
                lines.append(f"    {json.dumps(key)}: {json.dumps(value)}")
        blocks.append("  {\n" + ",\n".join(lines) + "\n  }")
    return "[\n" + ",\n".join(blocks) + "\n]\n"


for path in sys.argv[1:]:
    with open(path) as file:
        cases = json.load(file)
    text = printed([fill(case) for case in cases])
    with open(path, "w") as file:
        file.write(text)
