"""Driver and rank program of scripts/mlx-split.sh."""
import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

TOKENS = 300
COMMON = {
    "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 4,
    "intermediate_size": 512, "vocab_size": 320, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "max_position_embeddings": 4096, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}
# MLX's CPU build multiplies by experts in single precision alone.
EXPERTS = {**COMMON, "torch_dtype": "float32"}
MODELS = {
    "qwen2": {**COMMON, "model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3_moe": {
        **EXPERTS, "model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
        "mlp_only_layers": [1], "moe_intermediate_size": 256, "norm_topk_prob": True, "head_dim": 64,
    },
    "deepseek_v3": {
        **EXPERTS, "model_type": "deepseek_v3", "num_key_value_heads": 8, "moe_intermediate_size": 256,
        "n_shared_experts": 1, "n_routed_experts": 8, "num_experts_per_tok": 2, "q_lora_rank": 128, "kv_lora_rank": 64,
        "qk_rope_head_dim": 64, "qk_nope_head_dim": 64, "v_head_dim": 64, "n_group": 2, "topk_group": 1,
        "first_k_dense_replace": 2, "moe_layer_freq": 1, "routed_scaling_factor": 1.0, "rope_scaling": None,
        "attention_bias": False, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True,
    },
}


def held(model_path, group, mode):
    """What this rank holds of a model that mlx-lm split, and its first token."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.generate import generate_step
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import sharded_load

    before = mx.get_active_memory()
    model, _ = sharded_load(model_path, **{f"{mode}_group": group})
    mx.eval(model.parameters())
    active = mx.get_active_memory() - before
    weights = sum(v.nbytes for _, v in tree_flatten(model.parameters()))
    figures = {"weights_bytes": weights, "active_bytes": active}
    # MLX's CPU build multiplies by quantized matrices slowly, and not at all by quantized experts.
    if any(k.endswith("scales") for k, _ in tree_flatten(model.parameters())):
        return figures
    cache = make_prompt_cache(model)
    mx.random.seed(0)
    prompt = mx.random.randint(0, 300, (TOKENS,))
    mx.eval(prompt)
    mx.reset_peak_memory()
    [(token, _)] = generate_step(prompt, model, max_tokens=1, prompt_cache=cache)
    mx.eval([c.state for c in cache])
    # A token more is on its way: no rank may take it for the next model's.
    mx.synchronize()
    cached = sum(c.nbytes for c in cache)
    return figures | {"cache_bytes": cached, "peak_bytes": mx.get_peak_memory() - before, "token": token}


def rank(args):
    import gc

    import mlx.core as mx

    group = mx.distributed.init(strict=True)
    figures = {}
    for folder in args.folders:
        for mode in ("pipeline", "tensor"):
            figures[f"{os.path.basename(folder)} {mode}"] = held(folder, group, mode)
            gc.collect()
            mx.clear_cache()
    Path(args.out, f"{group.rank()}.json").write_text(json.dumps(figures))


def write_model(folder, config, quant):
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_map_with_path
    from mlx_lm.utils import _get_classes, quantize_model, save_config, save_model
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    mx.random.seed(1)
    cls, args = _get_classes(config)
    model = cls(args.from_dict(dict(config)))
    cast = getattr(model, "cast_predicate", lambda _: True)
    dtype = getattr(mx, config["torch_dtype"])
    keep = lambda k, v: v.astype(dtype) if cast(k) and mx.issubdtype(v.dtype, mx.floating) else v
    model.update(tree_map_with_path(keep, model.parameters()))
    if quant != "plain":
        bits, size = quant.removeprefix("int").split(":g")
        model, config = quantize_model(model, dict(config), int(size), int(bits))
    folder.mkdir(parents=True)
    save_model(folder, model)
    save_config(dict(config), folder / "config.json")
    words = Tokenizer(models.WordLevel({str(i): i for i in range(config["vocab_size"])}, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="0", eos_token="1").save_pretrained(folder)
    assert tree_flatten(model.parameters())


def plan(shvplan, folder, hosts, hostfile):
    output = subprocess.run(
        [shvplan, "split", "--model", str(folder), "--hosts", hosts, "--hostfile", hostfile, "--context", str(TOKENS), "--backend", "cpu", "--format", "json"],
        capture_output=True, text=True)
    if output.returncode not in (0, 1, 3):
        sys.exit(f"shvplan split: {output.stderr}")
    return json.loads(output.stdout)


def free_port():
    """A port from which on the ranks listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(min(taken.getsockname()[1], 65_000))


def launch(command, folders, out):
    """The printed command, its program replaced by this file's rank program."""
    words = shlex.split(command)
    own = [os.path.join(os.path.dirname(sys.executable), words[0]), *words[1 : words.index("--")], "--starting-port", free_port(), "--"]
    # Ranks that share a core each get one thread.
    own[-1:-1] = ["--env", "OMP_NUM_THREADS=1", "--env", "OPENBLAS_NUM_THREADS=1"]
    own += [sys.executable, os.path.abspath(__file__), "rank", "--out", str(out), *map(str, folders)]
    out.mkdir()
    with open(out.with_suffix(".log"), "w+") as log:
        # A session of its own, so that no rank outlives a launcher that is stuck.
        run = subprocess.Popen(own, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        try:
            code = run.wait(timeout=400)
        except subprocess.TimeoutExpired:
            code = "none within 400 s"
            os.killpg(run.pid, signal.SIGKILL)
        if code != 0 or not list(out.iterdir()):
            log.seek(0)
            sys.exit(f"{shlex.join(own)}\nexit {code}\n{log.read()}")


def compare(label, planned, real):
    """The number of figures compared for one rank, and those that differ."""
    figures = [figure for figure in ("weights_bytes", "cache_bytes") if figure in real]
    beyond = real["active_bytes"] - planned["weights_bytes"] - planned["held_bytes"]
    line = f"{label:40}: weights {real['weights_bytes']:>8}, active less planned {beyond:>6}"
    if "cache_bytes" in real:
        line += f", cache {real['cache_bytes']:>7}, peak {real['peak_bytes']:>8} of {planned['peak_low_bytes']}..{planned['peak_high_bytes']}"
    print(line)
    wrong = [f"{label}: {f} planned {planned[f]}, real {real[f]}" for f in figures if real[f] != planned[f]]
    if real.get("peak_bytes", 0) > planned["peak_high_bytes"]:
        wrong.append(f"{label}: the peak lies above its interval")
    return len(figures), wrong


def drive(args):
    checked, wrong = 0, []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        folders = []
        for name, quant in ((name, quant) for name in args.models.split(",") for quant in args.quants.split(",")):
            folders.append(scratch / f"{name}-{quant.replace(':', '-')}")
            write_model(folders[-1], MODELS[name], quant)
        for ranks in args.ranks:
            hosts, hostfile = scratch / "hosts.yaml", scratch / "hosts.json"
            hosts.write_text("link: ethernet-10g\nhosts:\n" + ranks * "  - {ssh: 127.0.0.1, ips: [127.0.0.1], machine: m4-16gb}\n")
            plans = {folder: plan(args.shvplan, folder, str(hosts), str(hostfile)) for folder in folders}
            command = next(iter(plans.values()))["ways"][0]["command"]
            out = scratch / f"out-{ranks}"
            launch(command, folders, out)
            real = [json.loads((out / f"{rank}.json").read_text()) for rank in range(ranks)]
            for folder, way in ((folder, way) for folder, document in plans.items() for way in document["ways"]):
                label = f"{folder.name} {way['mode']}"
                if way["outcome"] == "refused":
                    wrong.append(f"{label} × {ranks}: {way['why']}")
                    continue
                for planned in way["ranks"]:
                    compared, differ = compare(f"{label} × {ranks} rank {planned['rank']}", planned, real[planned["rank"]][label])
                    checked += compared
                    wrong += differ
                if len({figures[label].get("token") for figures in real}) != 1:
                    wrong.append(f"{label} × {ranks}: ranks disagree on the first token")
    print(f"{checked} figures compared, {len(wrong)} differ")
    for line in wrong:
        print(line)
    sys.exit(1 if wrong or not checked else 0)


def main():
    parser = argparse.ArgumentParser()
    if sys.argv[1:2] == ["rank"]:
        parser.add_argument("command")
        parser.add_argument("--out", required=True)
        parser.add_argument("folders", nargs="+")
        return rank(parser.parse_args())
    parser.add_argument("--shvplan", required=True)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--quants", default="plain,int4:g32")
    drive(parser.parse_args())


if __name__ == "__main__":
    main()
