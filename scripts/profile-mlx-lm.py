"""A llama-shaped model with random weights, run by mlx-lm, that says what it held.

    shvd profile --json profile.json -- python3 scripts/profile-mlx-lm.py held.json
    python3 scripts/profile-mlx-lm.py --compare profile.json held.json

The second command exits with 1 when the profile's peak is more than 2 % away from what the kernel (VmHWM) or MLX (peak
memory, beside what Python held before) says. Needs mlx and mlx-lm.
"""

import json
import sys

LIMIT = 0.02


def status_bytes(field):
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def run(path):
    import mlx.core as mx
    from mlx_lm.models import cache, llama

    mx.set_cache_limit(0)  # what is freed goes back, so that MLX's count and the kernel's mean the same
    mx.eval(mx.ones((8, 8)) @ mx.ones((8, 8)))
    before = status_bytes("VmRSS")
    arguments = llama.ModelArgs(
        model_type="llama", hidden_size=1536, num_hidden_layers=12, intermediate_size=4096,
        num_attention_heads=12, num_key_value_heads=12, rms_norm_eps=1e-5, vocab_size=16000,
    )
    model = llama.Model(arguments)
    mx.eval(model.parameters())
    kept = cache.make_prompt_cache(model)
    logits = model(mx.arange(64)[None], cache=kept)
    for _ in range(4):
        token = mx.argmax(logits[:, -1:], axis=-1)
        logits = model(token, cache=kept)
        mx.eval(logits)
    held = {
        "before_bytes": before,
        "mlx_peak_bytes": mx.get_peak_memory(),
        "kernel_peak_bytes": status_bytes("VmHWM"),
    }
    with open(path, "w") as file:
        json.dump(held, file)


def compare(profile_path, held_path):
    with open(profile_path) as file:
        profile = json.load(file)
    with open(held_path) as file:
        held = json.load(file)
    seen = max(profile["peak"]["bytes"], profile.get("kernel_peak_bytes", 0))
    good = True
    for name, expected, measured in [
        ("readings beside the kernel's peak", held["kernel_peak_bytes"], profile["peak"]["bytes"]),
        ("reported peak beside MLX's peak and Python", held["mlx_peak_bytes"] + held["before_bytes"], seen),
    ]:
        off = measured / expected - 1
        good &= abs(off) <= LIMIT
        print(f"{name}: {measured} bytes, expected {expected}, {off:+.2%}")
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        sys.exit(compare(sys.argv[2], sys.argv[3]))
    run(sys.argv[1])
