#!/usr/bin/env bash
# Splits tiny models over 2 and 4 real processes with mlx.launch and mlx-lm's own sharded_load, and compares weights and
# caches of every rank with `shvplan split`, to the byte. Needs Python 3 and PyPI; PYTHON_VENV names a venv that is there.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${PYTHON_VENV:-.build/venv}
if [ ! -x "$venv/bin/mlx.launch" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet 'mlx-lm==0.32.2' 'mlx[cpu]==0.32.2'
fi
cargo build --quiet -p shvplan
exec "$venv/bin/python" scripts/mlx_split.py --shvplan target/debug/shvplan "$@"
