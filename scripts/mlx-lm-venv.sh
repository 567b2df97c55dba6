#!/usr/bin/env bash
# Prepares the real mlx-lm (PyPI, on the CPU) inside the checkout and prints its Python.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.build/venv
if ! "$venv/bin/python" -c 'from importlib.metadata import version as v; assert v("mlx") == v("mlx-lm") == "0.32.2"' 2>/dev/null; then
    python3 -m venv --clear "$venv" 2>/dev/null || {
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends python3 python3-venv
        python3 -m venv --clear "$venv"
    } >/dev/null
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'mlx[cpu]==0.32.2' 'mlx-lm==0.32.2' >&2
fi
echo "$venv/bin/python"
