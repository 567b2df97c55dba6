"""Fine-tunes tiny models with mlx_lm.lora and compares with `shvplan train`; run by scripts/mlx-lora.sh."""
import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm import lora

from mlx_split import MODELS, write_model

SEQUENCE, BATCH, STEPS = 96, 2, 2
CASES = [
    # model, quantization, mode, layers, optimizer, checkpointed
    ("qwen2", "plain", "lora", 4, "adam", False),
    ("qwen2", "plain", "lora", -1, "adamw", True),
    ("qwen2", "plain", "dora", 3, "adam", False),
    ("qwen2", "int4:g32", "lora", 6, "adam", False),
    ("qwen2", "int4:g32", "dora", 3, "sgd", False),
    ("qwen2", "plain", "full", 2, "adam", False),
    ("qwen2", "plain", "full", -1, "adafactor", True),
    ("qwen3_moe", "plain", "lora", 6, "adam", False),
    ("qwen3_moe", "plain", "full", 3, "muon", False),
    ("deepseek_v3", "plain", "lora", 3, "adafactor", False),
]


def write_data(folder):
    """Texts that are all longer than a sequence, so that every step is as full as planned."""
    folder.mkdir()
    for name in ("train", "valid"):
        rows = [{"text": " ".join(str((i * n) % 300) for i in range(SEQUENCE + 20))} for n in range(1, 2 * BATCH + 1)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def tune(model, data, adapters, mode, layers, optimizer, checkpoint):
    """Runs mlx_lm.lora's main; figures of what it trained and kept, and its peak."""
    figures = {}
    own_train = lora.train

    def train(model, args, optimizer, **rest):
        layer = type(model.layers[0])
        call = layer.__call__
        trained = tree_flatten(model.trainable_parameters())
        figures["trainable_parameters"] = sum(v.size for _, v in trained)
        figures["gradient_bytes"] = sum(v.nbytes for _, v in trained)
        mx.reset_peak_memory()
        own_train(model=model, args=args, optimizer=optimizer, **rest)
        figures["peak_bytes"] = mx.get_peak_memory()
        figures["optimizer_bytes"] = sum(v.nbytes for _, v in tree_flatten(optimizer.state))
        # Checkpointing changed the class for good.
        layer.__call__ = call

    lora.train = train
    sys.argv = ["mlx_lm.lora", "--train", "--model", str(model), "--data", str(data), "--adapter-path", str(adapters)]
    sys.argv += ["--fine-tune-type", mode, "--num-layers", str(layers), "--optimizer", optimizer]
    sys.argv += ["--batch-size", str(BATCH), "--iters", str(STEPS), "--max-seq-length", str(SEQUENCE)]
    sys.argv += ["--val-batches", "0", *(["--grad-checkpoint"] if checkpoint else [])]
    gc.collect()
    mx.clear_cache()
    before = mx.get_active_memory()
    told = os.dup(1)
    with open(os.devnull, "w") as quiet:
        os.dup2(quiet.fileno(), 1)
        try:
            lora.main()
        finally:
            sys.stdout.flush()
            os.dup2(told, 1)
            os.close(told)
            lora.train = own_train
    figures["peak_bytes"] -= before
    return figures


def plan(shvplan, model, mode, layers, optimizer, checkpoint):
    words = [shvplan, "train", "--model", str(model), "--mode", mode, "--layers", str(layers), "--batch", str(BATCH)]
    words += ["--sequence", str(SEQUENCE), "--optimizer", optimizer, "--backend", "cpu", "--format", "json"]
    words += ["--grad-checkpoint"] if checkpoint else []
    output = subprocess.run(words, capture_output=True, text=True)
    if output.returncode not in (0, 1, 3):
        sys.exit(f"shvplan train: {output.stderr}")
    return json.loads(output.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shvplan", required=True)
    parser.add_argument("--cases", type=int, nargs="+", default=range(len(CASES)))
    args = parser.parse_args()
    wrong, checked = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        write_data(scratch / "data")
        for at in args.cases:
            name, quant, *run = CASES[at]
            folder = scratch / f"{name}-{quant.replace(':', '-')}"
            if not folder.exists():
                write_model(folder, MODELS[name], quant)
            planned = plan(args.shvplan, folder, *run)
            found = tune(folder, scratch / "data", scratch / f"adapters-{at}", *run)
            mode, layers, optimizer, checkpoint = run
            label = f"{name} {quant} {mode} {layers} layers {optimizer}{' checkpointed' if checkpoint else ''}"
            for figure in ("trainable_parameters", "gradient_bytes", "optimizer_bytes"):
                checked += 1
                if planned[figure] != found[figure]:
                    wrong.append(f"{label}: {figure} planned {planned[figure]}, real {found[figure]}")
            low, high = planned["peak_low_bytes"], planned["peak_high_bytes"]
            checked += 1
            if not low <= found["peak_bytes"] <= high:
                wrong.append(f"{label}: the peak lies outside its interval")
            print(
                f"{label:46} trained {found['trainable_parameters']:>8} optimizer {found['optimizer_bytes']:>9}"
                f" peak {found['peak_bytes']:>9} of {low}..{high}, expected {planned['peak_bytes']}"
            )
    print(f"{checked} figures compared, {len(wrong)} differ")
    for line in wrong:
        print(line)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
