#!/usr/bin/env bash
# `shvd profile` on a real mlx-lm process (PyPI, on the CPU): its peak beside what MLX and the kernel say of the same run,
# and the plan beside both.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/mlx-venv.sh
cargo build --locked -p shvd
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" scripts/profile-mlx-lm.py config "$folder"
target/debug/shvd profile --json "$folder/profile.json" --model "$folder" --quant fp32 --context 64 -- \
    "$python" scripts/profile-mlx-lm.py run "$folder"
"$python" scripts/profile-mlx-lm.py compare "$folder" "$folder/profile.json"
