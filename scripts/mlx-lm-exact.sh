#!/usr/bin/env bash
# shvplan against the real mlx-lm (PyPI, on the CPU): bytes of weights and caches of tiny models, saved, loaded and run.
# Without arguments, a model type of each kind; `every` takes all of them. Other arguments go to mlx_lm_exact.py.
set -euo pipefail
cd "$(dirname "$0")/.."
kinds=(llama qwen3 gemma2 gemma3_text phi3 granite mixtral qwen3_moe gpt_oss deepseek_v2 deepseek_v3 glm4_moe
    qwen3_next qwen3_5_moe granitemoehybrid mamba2 falcon_h1 nemotron_h lfm2 kimi_linear rwkv7 baichuan_m1)
venv=.build/venv
if ! "$venv/bin/python" -c 'from importlib.metadata import version as v; assert v("mlx") == v("mlx-lm") == "0.32.2"' 2>/dev/null; then
    python3 -m venv --clear "$venv" 2>/dev/null || {
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends python3 python3-venv
        python3 -m venv --clear "$venv"
    } >/dev/null
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'mlx[cpu]==0.32.2' 'mlx-lm==0.32.2'
fi
cargo build --release --locked -p shvplan
case "${1:-}" in
    "") set -- "${kinds[@]}" ;;
    every) shift ;;
esac
"$venv/bin/python" scripts/mlx_lm_exact.py --shvplan target/release/shvplan "$@"
