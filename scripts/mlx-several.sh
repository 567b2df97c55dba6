#!/usr/bin/env bash
# Loads several tiny models into one process with the real mlx-lm, lets a draft guess for a target, keeps prompts as
# mlx_lm.server does, and compares with `shvplan --plan`, to the byte. MLX's CPU build and mlx-lm come from PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/mlx-venv.sh
cargo build --quiet --locked -p shvplan
"$python" scripts/mlx_several.py --shvplan target/debug/shvplan
