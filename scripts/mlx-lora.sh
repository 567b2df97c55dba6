#!/usr/bin/env bash
# Fine-tunes tiny models with the real mlx_lm.lora and compares what it trains, what its optimizer keeps and its peak with
# `shvplan train`. MLX's CPU build and mlx-lm come from PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/mlx-venv.sh
cargo build --quiet --locked -p shvplan
"$python" scripts/mlx_lora.py --shvplan target/debug/shvplan "$@"
