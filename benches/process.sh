#!/usr/bin/env bash
# The whole process of the main job beside `llmfit plan` for the same model, in one run: wall time and peak resident
# memory. Budget: 5 ms, 8 MB, and 30 times faster than the peer. Exits 1 beyond the budget.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x /usr/bin/time ] || { apt-get update -qq && apt-get install -y -qq time; } >/dev/null
cargo build --release --locked -p shvplan
venv=.build/llmfit
[ -x "$venv/bin/llmfit" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet llmfit==1.1.17; }
python3 benches/process.py target/release/shvplan "$venv/bin/llmfit"
