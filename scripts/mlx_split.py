"""Driver and rank program of scripts/mlx-split.sh."""
import argparse
import json
import os
import shlex
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
MODELS = {
    "qwen2": {**COMMON, "model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3_moe": {
        **COMMON, "model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
        "mlp_only_layers": [1], "moe_intermediate_size": 256, "norm_topk_prob": True, "head_dim": 64,
    },
    "deepseek_v3": {
        **COMMON, "model_type": "deepseek_v3", "num_key_value_heads": 8, "moe_intermediate_size": 256,
        "n_shared_experts": 1, "n_routed_experts": 8, "num_experts_per_tok": 2, "q_lora_rank": 128, "kv_lora_rank": 64,
        "qk_rope_head_dim": 64, "qk_nope_head_dim": 64, "v_head_dim": 64, "n_group": 2, "topk_group": 1,
        "first_k_dense_replace": 2, "moe_layer_freq": 1, "routed_scaling_factor": 1.0, "rope_scaling": None,
        "attention_bias": False, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True,
    },
}


def rank(args):
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.generate import generate_step
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import sharded_load

    group = mx.distributed.init()
    mode = {f"{args.mode}_group": group}
    model, _ = sharded_load(args.model, **mode)
    mx.eval(model.parameters())
    held = mx.get_active_memory()
    weights = sum(v.nbytes for _, v in tree_flatten(model.parameters()))
    cache = make_prompt_cache(model)
    mx.random.seed(0)
    prompt = mx.random.randint(0, 300, (TOKENS,))
    mx.reset_peak_memory()
    token, _ = next(generate_step(prompt, model, max_tokens=1, prompt_cache=cache))
    mx.eval([c.state for c in cache])
    figures = {
        "rank": group.rank(), "ranks": group.size(), "weights_bytes": weights, "active_bytes": held,
        "cache_bytes": sum(c.nbytes for c in cache), "peak_bytes": mx.get_peak_memory(), "token": token,
    }
    Path(args.out, f"{group.rank()}.json").write_text(json.dumps(figures))


def write_model(folder, config, quant):
    import mlx.core as mx
    from mlx.utils import tree_flatten, tree_map_with_path
    from mlx_lm.utils import _get_classes, quantize_model, save_config, save_model
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    mx.random.seed(1)
    cls, args = _get_classes(config)
    model = cls(args.from_dict(dict(config)))
    cast = getattr(model, "cast_predicate", lambda _: True)
    keep = lambda k, v: v.astype(mx.bfloat16) if cast(k) and mx.issubdtype(v.dtype, mx.floating) else v
    model.update(tree_map_with_path(keep, model.parameters()))
    if quant != "bf16":
        bits, size = quant.removeprefix("int").split(":g")
        model, config = quantize_model(model, dict(config), int(size), int(bits))
    folder.mkdir(parents=True)
    save_model(folder, model)
    save_config(dict(config), folder / "config.json")
    words = Tokenizer(models.WordLevel({str(i): i for i in range(config["vocab_size"])}, unk_token="0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="0", eos_token="1").save_pretrained(folder)
    assert tree_flatten(model.parameters())


def plan(shvplan, folder, hosts, hostfile):
    output = subprocess.run(
        [shvplan, "split", "--model", str(folder), "--hosts", hosts, "--hostfile", hostfile, "--context", str(TOKENS), "--backend", "cpu", "--format", "json"],
        capture_output=True, text=True)
    if output.returncode not in (0, 1, 3):
        sys.exit(f"shvplan split: {output.stderr}")
    return json.loads(output.stdout)


def launch(command, folder, mode, out):
    """The printed command, its program replaced by this file's rank program."""
    words = shlex.split(command)
    own = [os.path.join(os.path.dirname(sys.executable), words[0]), *words[1 : words.index("--") + 1]]
    own += [sys.executable, os.path.abspath(__file__), "rank", "--model", str(folder), "--mode", mode, "--out", str(out)]
    run = subprocess.run(own, capture_output=True, text=True, timeout=300, stdin=subprocess.PIPE)
    if run.returncode or not list(out.iterdir()):
        sys.exit(f"{shlex.join(own)}\n{run.stdout}{run.stderr}")


def drive(args):
    checked, wrong = 0, []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for name in args.models.split(","):
            config = MODELS[name]
            for quant in args.quants.split(","):
                folder = scratch / f"{name}-{quant.replace(':', '-')}"
                write_model(folder, config, quant)
                for ranks in (2, 4):
                    hosts, hostfile = scratch / "hosts.yaml", scratch / "hosts.json"
                    hosts.write_text("link: ethernet-10g\nhosts:\n" + ranks * "  - {ssh: 127.0.0.1, ips: [127.0.0.1], machine: m4-16gb}\n")
                    document = plan(args.shvplan, folder, str(hosts), str(hostfile))
                    tokens = {}
                    for way in document["ways"]:
                        mode = way["mode"]
                        label = f"{name} {quant} {mode} × {ranks}"
                        if way["outcome"] == "refused":
                            wrong.append(f"{label}: {way['why']}")
                            continue
                        out = scratch / f"{folder.name}-{mode}-{ranks}"
                        out.mkdir()
                        launch(way["command"], folder, mode, out)
                        for planned in way["ranks"]:
                            real = json.loads((out / f"{planned['rank']}.json").read_text())
                            tokens.setdefault(mode, set()).add(real["token"])
                            for figure in ("weights_bytes", "cache_bytes"):
                                checked += 1
                                if real[figure] != planned[figure]:
                                    wrong.append(f"{label} rank {planned['rank']}: {figure} planned {planned[figure]}, real {real[figure]}")
                            beyond = real["active_bytes"] - planned["weights_bytes"] - planned["held_bytes"]
                            print(f"{label:34} rank {planned['rank']}: weights {real['weights_bytes']:>9} cache {real['cache_bytes']:>8} active less planned {beyond:>7} peak {real['peak_bytes']:>9} planned {planned['peak_low_bytes']}..{planned['peak_high_bytes']}")
                        if len(tokens[mode]) != 1:
                            wrong.append(f"{label}: ranks disagree on the first token, {tokens[mode]}")
    print(f"{checked} figures compared, {len(wrong)} differ")
    for line in wrong:
        print(line)
    sys.exit(1 if wrong else 0)


def main():
    parser = argparse.ArgumentParser()
    if sys.argv[1:2] == ["rank"]:
        parser.add_argument("command")
        for flag in ("--model", "--mode", "--out"):
            parser.add_argument(flag, required=True)
        return rank(parser.parse_args())
    parser.add_argument("--shvplan", required=True)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--quants", default="bf16,int4:g32")
    drive(parser.parse_args())


if __name__ == "__main__":
    main()
