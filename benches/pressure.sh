#!/usr/bin/env bash
# The host backend's budgets: fill and verify beside memset and read (at least 80 %), and bytes verified a second beside
# stress-ng (at least 5 times), each in one run with its peer. Wants a machine that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v stress-ng >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends stress-ng python3
} >/dev/null
cargo build --release --locked -p shvd
python3 benches/pressure_peer.py "${CARGO_TARGET_DIR:-target}/release/shvd"
cargo bench --locked -p shvd --bench host_memory
