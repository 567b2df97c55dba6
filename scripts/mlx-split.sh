#!/usr/bin/env bash
# Splits tiny models over 2 and 4 real processes with mlx.launch and mlx-lm's own sharded_load, and compares weights and
# caches of every rank with `shvplan split`, to the byte. MLX's CPU build and mlx-lm come from PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/mlx-venv.sh
cargo build --quiet --locked -p shvplan
"$python" scripts/mlx_split.py --shvplan target/debug/shvplan "$@"
