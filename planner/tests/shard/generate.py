#!/usr/bin/env python3
"""What mlx-lm 0.32.2 gives each rank of a split model, for configurations of ../exact and of cases.json: the figures of expected.json.

Runs the class's own shard() or pipeline() and fills the rank's caches, with lazy arrays and a stand-in for the group, so
that no second process is needed. scripts/mlx-split.sh shows on some of them that real processes hold the same bytes.

    python planner/tests/shard/generate.py planner/tests/exact/*.json planner/tests/shard/cases.json planner/tests/shard/expected.json
"""
import copy
import json
import sys

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import _get_classes, quantize_model


class Group:
    def __init__(self, rank, size):
        self._rank, self._size = rank, size

    def rank(self):
        return self._rank

    def size(self):
        return self._size


SIZE = 1
mx.distributed.all_sum = lambda x, **_: x
mx.distributed.all_gather = lambda x, **_: mx.concatenate([x] * SIZE)
mx.distributed.recv = lambda shape, dtype, *_, **__: mx.zeros(shape, dtype)
mx.distributed.recv_like = lambda x, *_, **__: x
mx.distributed.send = lambda x, *_, **__: x

DTYPES = {"float16": mx.float16, "bfloat16": mx.bfloat16, "float32": mx.float32}
QUANTS = ["bf16", "int4:g64", "int8:g32", "mxfp4"]


def build(config, quant):
    cls, args = _get_classes(config)
    model = cls(args.from_dict(copy.deepcopy(config)))
    text = config.get("text_config") or {}
    name = next((c[k] for c, k in [(config, "torch_dtype"), (config, "dtype"), (text, "dtype"), (text, "torch_dtype")] if c.get(k)), "bfloat16")
    dtype = mx.bfloat16 if quant == "bf16" else DTYPES[name]
    cast = getattr(model, "cast_predicate", lambda _: True)
    keep = lambda k, v: v.astype(dtype) if cast(k) and mx.issubdtype(v.dtype, mx.floating) else v
    model.update(tree_map_with_path(keep, model.parameters()))
    if quant != "bf16":
        plain = {k: v for k, v in config.items() if k not in ("quantization", "quantization_config")}
        if quant == "mxfp4":
            model, _ = quantize_model(model, plain, None, None, mode="mxfp4")
        else:
            bits, group = quant.removeprefix("int").split(":g")
            model, _ = quantize_model(model, plain, int(group), int(bits), mode="affine")
    return model


def weights(model):
    return sum(v.nbytes for _, v in tree_flatten(model.parameters()))


def split(model, mode, rank, size):
    if mode == "tensor":
        model.shard(Group(rank, size))
    else:
        model.model.pipeline(Group(rank, size))


def supported(model, mode):
    if mode == "tensor":
        return hasattr(model, "shard")
    return hasattr(model, "model") and hasattr(model.model, "pipeline")


def cached(model, tokens):
    cache = make_prompt_cache(model)
    for count in (tokens - 1, 1):
        model(mx.zeros((1, count), dtype=mx.int32), cache=cache)
    return sum(c.nbytes for c in cache)


def case(source, name, config, mode, size):
    global SIZE
    SIZE = size
    row = {"source": source, "name": name, "model_type": config["model_type"], "mode": mode, "ranks": size, "weights": {}}
    try:
        probe = build(config, "bf16")
    except Exception:
        return None
    if not supported(probe, mode):
        return row | {"weights": None}
    for quant in QUANTS:
        got = []
        try:
            whole = build(config, quant)
        except Exception:
            continue
        try:
            for rank in range(size):
                model = build(config, quant)
                split(model, mode, rank, size)
                got.append(weights(model))
        except Exception as error:
            got = f"{type(error).__name__}: {error}"[:160]
        row["weights"][quant] = got
    try:
        got = []
        for rank in range(size):
            model = build(config, "bf16")
            split(model, mode, rank, size)
            got.append(cached(model, 300))
    except Exception as error:
        got = f"{type(error).__name__}: {error}"[:160]
    return row | {"cache_300_tokens": got}


def main():
    *paths, output = sys.argv[1:]
    rows = []
    for path in paths:
        source = "/".join(path.split("/")[-2:])
        for entry in json.load(open(path)):
            if "error" in entry:
                continue
            for mode in ("tensor", "pipeline"):
                for size in (2, 4):
                    row = case(source, entry["name"], entry["config"], mode, size)
                    # One row is enough to say that a class cannot be split.
                    if row and (row["weights"] is not None or size == 2):
                        rows.append(row)
    with open(output, "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print(len(rows), "rows")


if __name__ == "__main__":
    main()
