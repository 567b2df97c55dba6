#!/usr/bin/env bash
# Tiny models made by the real mlx-lm, saved, and read back from disk by shvplan: the bytes must be equal. Installs mlx-lm
# into the checkout. Arguments go to disk-models.py; without any, these families are compared.
set -euo pipefail
cd "$(dirname "$0")/.."
families=(llama qwen2 qwen3 gemma2 gemma3_text phi3 granite olmo3 mixtral qwen3_moe gpt_oss deepseek_v3 glm4_moe)
venv=.build/mlx-lm
[ -x "$venv/bin/mlx_lm.convert" ] || {
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet 'mlx-lm==0.32.2' 'mlx[cpu]==0.32.2'
}
cargo build --release --locked -p shvplan
[ $# -gt 0 ] || set -- "${families[@]}"
"$venv/bin/python" scripts/disk-models.py --shvplan target/release/shvplan "$@"
