#!/usr/bin/env python3
"""What mlx-lm 0.32.2 trains of the configurations of ../exact: the figures of expected.json.

Freezes a model of lazy arrays and wraps or unfreezes its layers as lora.py does; nothing is computed.

    python planner/tests/train/generate.py planner/tests/exact/*.json planner/tests/train/expected.json
"""
import copy
import json
import sys

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import _get_classes

PARAMETERS = {"rank": 8, "scale": 20.0, "dropout": 0.0}


def build(config):
    cls, args = _get_classes(config)
    model = cls(args.from_dict(copy.deepcopy(config)))
    cast = getattr(model, "cast_predicate", lambda _: True)
    keep = lambda k, v: v.astype(mx.bfloat16) if cast(k) and mx.issubdtype(v.dtype, mx.floating) else v
    model.update(tree_map_with_path(keep, model.parameters()))
    model.freeze()
    return model


def trained(config, mode, layers):
    """Elements and bytes of what is trained, or why nothing can be."""
    try:
        model = build(config)
        if layers > len(model.layers):
            return None
        if mode == "full":
            for layer in model.layers[-max(layers, 0) :]:
                layer.unfreeze()
        else:
            linear_to_lora_layers(model, layers, PARAMETERS, use_dora=mode == "dora")
        arrays = [v for _, v in tree_flatten(model.trainable_parameters())]
        return [sum(v.size for v in arrays), sum(v.nbytes for v in arrays)]
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:120]


def main():
    *paths, output = sys.argv[1:]
    rows = []
    for path in paths:
        for entry in json.load(open(path)):
            if "error" in entry:
                continue
            row = {"source": path.rsplit("/", 1)[1], "name": entry["name"], "model_type": entry["config"]["model_type"]}
            for mode in ("lora", "dora", "full"):
                for layers in (-1, 1):
                    row[f"{mode} {layers}"] = trained(entry["config"], mode, layers)
            rows.append(row)
    with open(output, "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print(len(rows), "rows")


if __name__ == "__main__":
    main()
