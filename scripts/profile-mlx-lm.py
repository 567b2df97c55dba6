"""A llama-shaped model with random weights, run by mlx-lm, that says what it held.

    profile-mlx-lm.py config FOLDER                 writes the model's config.json there
    profile-mlx-lm.py run FOLDER                    runs it and writes held.json there
    profile-mlx-lm.py compare FOLDER PROFILE.json   sets a profile of that run beside it

The last exits with 1 when the profile's peak is more than 2 % away from what the kernel (VmHWM) or MLX (peak memory,
beside what Python held before) says, or when the plan's weights are not what MLX held. Needs mlx and mlx-lm.
"""

import json
import sys
from pathlib import Path

LIMIT = 0.02
CONTEXT = 64
CONFIG = {
    "model_type": "llama", "hidden_size": 1536, "num_hidden_layers": 12, "intermediate_size": 4096, "num_attention_heads": 12,
    "num_key_value_heads": 12, "rms_norm_eps": 1e-5, "vocab_size": 16000, "tie_word_embeddings": False,
}


def status_bytes(field):
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(field + ":")).split()[1]) * 1024


def run(folder):
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models import cache, llama

    mx.set_cache_limit(0)  # what is freed goes back, so that MLX's count and the kernel's mean the same
    mx.eval(mx.ones((8, 8)) @ mx.ones((8, 8)))
    before = status_bytes("VmRSS")
    model = llama.Model(llama.ModelArgs.from_dict(CONFIG))
    mx.eval(model.parameters())
    weights = sum(array.nbytes for _, array in tree_flatten(model.parameters()))
    kept = cache.make_prompt_cache(model)
    logits = model(mx.arange(CONTEXT)[None], cache=kept)
    for _ in range(4):
        token = mx.argmax(logits[:, -1:], axis=-1)
        logits = model(token, cache=kept)
        mx.eval(logits)
    held = {
        "before_bytes": before,
        "weights_bytes": weights,
        "mlx_peak_bytes": mx.get_peak_memory(),
        "kernel_peak_bytes": status_bytes("VmHWM"),
    }
    (folder / "held.json").write_text(json.dumps(held), encoding="utf-8")


def compare(folder, profile):
    held = json.loads((folder / "held.json").read_text(encoding="utf-8"))
    seen = max(profile["peak"]["bytes"], profile.get("kernel_peak_bytes", 0))
    faults = []
    for name, expected, measured, limit in [
        ("readings beside the kernel's peak", held["kernel_peak_bytes"], profile["peak"]["bytes"], LIMIT),
        ("reported peak beside MLX's peak and Python", held["mlx_peak_bytes"] + held["before_bytes"], seen, LIMIT),
        ("planned weights beside MLX's arrays", held["weights_bytes"], profile["plan"]["expected"]["load_bytes"], 0),
    ]:
        off = measured / expected - 1
        if abs(off) > limit:
            faults.append(f"{name}: {off:+.2%} is more than {limit:.0%}")
        print(f"{name}: {measured} bytes, expected {expected}, {off:+.2%}")
    if profile.get("exit_code") != 0:
        faults.append(f"the process ended with {profile.get('exit_code')}")
    sys.exit("\n".join(faults) or None)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["config", folder]:
            (Path(folder) / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
        case ["run", folder]:
            run(Path(folder))
        case ["compare", folder, profile]:
            compare(Path(folder), json.loads(Path(profile).read_text(encoding="utf-8")))
        case _:
            sys.exit(__doc__)
