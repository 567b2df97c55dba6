#!/usr/bin/env bash
# Scores the planner against exact and measured figures: ../shared/ground-truth/score.py over public/.
# Exact kinds must be exact everywhere; peak, speed and verdicts are printed.
set -euo pipefail
cd "$(dirname "$0")/.."
score=../shared/ground-truth/score.py
[ -f "$score" ] || { echo "ground-truth: $score is not there" >&2; exit 1; }
cargo build --release --locked -p shvplan
python3 "$score" --shvplan target/release/shvplan "$@"
python3 scripts/cpu-measured.py
