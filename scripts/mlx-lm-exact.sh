#!/usr/bin/env bash
# shvplan against the real mlx-lm (PyPI, on the CPU): bytes of weights and caches of tiny models, saved, loaded and run.
# Without arguments, a model type of each kind; `every` takes all of them. Other arguments go to mlx_lm_exact.py.
set -euo pipefail
cd "$(dirname "$0")/.."
kinds=(llama qwen3 gemma2 gemma3_text phi3 granite mixtral qwen3_moe gpt_oss deepseek_v2 deepseek_v3 glm4_moe
    qwen3_next qwen3_5_moe granitemoehybrid mamba2 falcon_h1 nemotron_h lfm2 kimi_linear rwkv7 baichuan_m1)
. scripts/mlx-venv.sh
cargo build --release --locked -p shvplan
case "${1:-}" in
    "") set -- "${kinds[@]}" ;;
    every) shift ;;
esac
"$python" scripts/mlx_lm_exact.py --shvplan target/release/shvplan "$@"
