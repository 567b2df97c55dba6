# Sourced by scripts that run the real mlx-lm: sets `python` to one that has it and MLX's CPU build. MLX_VENV names a venv
# that is there; without it one is made under target/.
venv=${MLX_VENV:-target/mlx-venv}
python=$venv/bin/python
if ! "$python" -c 'from importlib.metadata import version as v; assert v("mlx") == v("mlx-lm") == "0.32.2"' 2>/dev/null; then
    python3 -m venv --clear "$venv" 2>/dev/null || {
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends python3 python3-venv
        python3 -m venv --clear "$venv"
    } >/dev/null
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'mlx[cpu]==0.32.2' 'mlx-lm==0.32.2'
fi
