#!/usr/bin/env bash
# The engine on real MLX: prepares MLX's CPU build inside the checkout, and runs with it the engine's tests, those that
# need 9 GB of memory included, and every pressure run through the real worker: the baseline's 20 arrays of 100 MB and a
# flipped bit among them.
set -euo pipefail
cd "$(dirname "$0")/.."
config=$(scripts/mlx-linux.sh)
# Gigabytes are filled and compared: without optimisation that alone takes minutes.
with=(--config "$config" --config 'profile.dev.package.shvd.opt-level=2')
step() { echo "mlx-engine: $1, $SECONDS s" >&2; }

step "the code with MLX in it"
cargo clippy "${with[@]}" --locked -p shvd --features mlx-linux --lib --bins --test pressure -- -D warnings
step "tests on MLX"
cargo "${with[@]}" test --locked -p shvd --features mlx-linux --lib --test pressure -- --include-ignored --show-output engine:: mlx:: whole::
step "done"
