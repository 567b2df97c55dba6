#!/usr/bin/env bash
# The engine on real MLX: prepares MLX's CPU build inside the checkout and runs the engine's tests with it.
set -euo pipefail
cd "$(dirname "$0")/.."
config=$(scripts/mlx-linux.sh)
cargo --config "$config" test --locked -p shvd --features mlx-linux --lib engine
