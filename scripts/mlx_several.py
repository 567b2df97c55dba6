"""Several tiny models in one process of the real mlx-lm, beside `shvplan --plan`; run by scripts/mlx-several.sh."""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.generate import BatchGenerator, generate_step, speculative_generate_step
from mlx_lm.lora import CONFIG_DEFAULTS
from mlx_lm.models.cache import LRUPromptCache, make_prompt_cache
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load

from mlx_split import COMMON, write_model

PROMPT, ANSWER, PROMPTS = 300, 10, 10
CONTEXT = PROMPT + ANSWER
MODELS = {
    "target": ({**COMMON, "model_type": "llama", "head_dim": 64}, "plain"),
    "draft": ({**COMMON, "model_type": "qwen2", "num_hidden_layers": 2, "tie_word_embeddings": True}, "plain"),
    "tuned": ({**COMMON, "model_type": "qwen3", "head_dim": 32}, "int4:g32"),
    "embedder": ({**COMMON, "model_type": "qwen2", "num_hidden_layers": 3}, "plain"),
}


def plan(shvplan, scratch):
    """The plan that a user would write for the four."""
    text = f"""models:
  - {{name: chat, model: {scratch}/target, context: {CONTEXT}, draft: {scratch}/draft, prompt_caches: {PROMPTS}}}
  - {{name: tuned, model: {scratch}/tuned, context: {CONTEXT}, adapter: {{rank: 8, layers: 4}}}}
  - {{name: search, model: {scratch}/embedder, context: {PROMPT}, embedder: true}}
turns: true
"""
    (scratch / "plan.yaml").write_text(text)
    words = [shvplan, "--plan", str(scratch / "plan.yaml"), "--backend", "cpu", "--format", "json"]
    output = subprocess.run(words, capture_output=True, text=True)
    if output.returncode:
        sys.exit(f"shvplan --plan: {output.returncode} {output.stderr}")
    return json.loads(output.stdout)


def settled():
    mx.synchronize()
    mx.clear_cache()
    return mx.get_active_memory()


def answer(target, draft, prompt):
    """One answer of a target and its draft; their caches."""
    cache = make_prompt_cache(target) + make_prompt_cache(draft)
    for _ in speculative_generate_step(prompt, target, draft, max_tokens=ANSWER, prompt_cache=cache):
        pass
    mx.eval([c.state for c in cache])
    return cache


def measure(scratch):
    """Bytes of each step, as MLX counts its active memory."""
    real, before = {}, settled()
    models = {name: load(str(scratch / name))[0] for name in MODELS}
    real["weights_bytes"] = settled() - before
    linear_to_lora_layers(models["tuned"], 4, CONFIG_DEFAULTS["lora_parameters"])
    mx.eval(models["tuned"].parameters())
    real["adapter_bytes"] = settled() - before - real["weights_bytes"]
    prompt = mx.random.randint(0, 300, (PROMPT,))
    mx.eval(prompt)
    mx.reset_peak_memory()
    target, draft = models["target"], models["draft"]
    cache = answer(target, draft, prompt)
    layers = len(target.layers)
    real["target_cache_bytes"] = sum(c.nbytes for c in cache[:layers])
    real["draft_cache_bytes"] = sum(c.nbytes for c in cache[layers:])

    tuned = make_prompt_cache(models["tuned"])
    for _ in generate_step(prompt, models["tuned"], max_tokens=ANSWER, prompt_cache=tuned):
        pass
    mx.eval([c.state for c in tuned])
    real["tuned_cache_bytes"] = sum(c.nbytes for c in tuned)

    # As the server does once an answer is done: its caches are kept, and the next answer has its own.
    del cache
    kept = LRUPromptCache(PROMPTS)
    for n in range(PROMPTS + 1):
        own = mx.concatenate([mx.array([n]), prompt[1:]])
        kept.insert_cache("chat", [n] * CONTEXT, answer(target, draft, own))
    real["prompt_cache_bytes"] = kept.nbytes
    cache = answer(target, draft, prompt)

    mx.eval(models["embedder"](prompt[None]))
    real["peak_bytes"] = mx.get_peak_memory() - before
    real["resident_bytes"] = settled() - before
    del cache
    return real


def served(shvplan, folder):
    """A batch as mlx_lm.server runs it: the caches in use are the plan's, and what is kept of them no more than planned."""
    count, wrong = 3, []
    words = [shvplan, "--model", str(folder), "--context", str(CONTEXT), "--concurrency", str(count)]
    words += ["--prompt-caches", str(count), "--backend", "cpu", "--format", "json"]
    [planned] = json.loads(subprocess.run(words, capture_output=True, text=True).stdout)["models"]
    batch = BatchGenerator(load(str(folder))[0], max_tokens=ANSWER)
    batch.insert([[n] * (PROMPT - 100 * n) for n in range(count)])
    in_use, kept = 0, 0
    while responses := [r for both in batch.next() for r in both]:
        in_use = max(in_use, batch.prompt_cache_nbytes)
        for done in (r for r in responses if getattr(r, "prompt_cache", None)):
            kept += sum(c.nbytes for c in done.prompt_cache)
    print(f"{'batch of 3':22} {planned['cache_bytes']:>10} planned, {in_use:>10} real")
    print(f"{'kept of it':22} {planned['prompt_cache_bytes']:>10} at most, {kept:>10} real")
    if in_use != planned["cache_bytes"]:
        wrong.append(f"batch of {count}: planned {planned['cache_bytes']}, real {in_use}")
    if not 0 < kept <= planned["prompt_cache_bytes"]:
        wrong.append(f"kept of a batch: at most {planned['prompt_cache_bytes']} planned, {kept} real")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shvplan", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for name, (config, quant) in MODELS.items():
            write_model(scratch / name, config, quant)
        document = plan(args.shvplan, scratch)
        real = measure(scratch)
        batch_wrong = served(args.shvplan, scratch / "target")
    chat, draft, tuned, search = document["models"]
    total = lambda field: sum(m[field] for m in document["models"])
    caches = total("cache_bytes")
    planned = {
        "weights_bytes": total("weights_bytes"),
        "adapter_bytes": tuned["adapter_bytes"],
        "target_cache_bytes": chat["cache_bytes"],
        "draft_cache_bytes": draft["cache_bytes"],
        "tuned_cache_bytes": tuned["cache_bytes"],
        "prompt_cache_bytes": chat["prompt_cache_bytes"],
    }
    wrong = [f"{name}: planned {bytes}, real {real[name]}" for name, bytes in planned.items() if real[name] != bytes]
    wrong += batch_wrong
    for name, bytes in planned.items():
        print(f"{name:22} {bytes:>10} planned, {real[name]:>10} real")
    resident = total("weights_bytes") + total("adapter_bytes") + total("cache_bytes") + total("prompt_cache_bytes")
    beyond = real["resident_bytes"] - resident
    print(f"{'all of them':22} {resident:>10} planned, {real['resident_bytes']:>10} active")
    # The prompt itself, a few positions.
    if not 0 <= beyond <= 1 << 14:
        wrong.append(f"active memory is {beyond} bytes beyond the plan's sum")
    peak, at = document["peak_taking_turns"], document["peak_while"]
    print(f"{'peak':22} {real['peak_bytes']:>10} real, of {peak['low_bytes']}..{peak['high_bytes']}, {at['name']} {at['phase']}")
    # How low it stays depends on when threads free what they are done with.
    if not resident <= real["peak_bytes"] <= peak["high_bytes"]:
        wrong.append("the peak lies above its interval")
    if search["cache_bytes"]:
        wrong.append("an embedder keeps caches")
    print(f"{len(planned) + 4} figures compared, {len(wrong)} differ")
    for line in wrong:
        print(line)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
