#!/usr/bin/env bash
# Replays every vm_stat dump of the ground truth through the reader and compares what follows from it with what
# scripts/vm_stat_expected.py computes on its own.
#
# Usage: scripts/replay-vm-stat.sh [vm_stat.json]   (default: ../shared/ground-truth/public/vm_stat.json)
set -euo pipefail
cd "$(dirname "$0")/.."

dumps="${1:-../shared/ground-truth/public/vm_stat.json}"
cargo build --quiet --package shv-machine --example derive
derive="${CARGO_TARGET_DIR:-target}/debug/examples/derive"

python3 scripts/vm_stat_expected.py recording "$dumps" | "$derive" | python3 scripts/vm_stat_expected.py compare "$dumps"
