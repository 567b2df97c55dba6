#!/usr/bin/env bash
# Prepares the real MLX for the `mlx-linux` feature, inside the checkout.
#
#   scripts/mlx-linux.sh            CPU build of MLX
#   scripts/mlx-linux.sh --cuda     CUDA build of MLX
#
# It prints the path of a Cargo config file. Use it as
#   cargo --config .build/mlx/cpu/cargo.toml test --features mlx-linux
# (clippy is a program of its own: cargo clippy --config FILE --features mlx-linux)
# Running it again does nothing unless an input changed.
#
# What it does: takes libmlx.so and its headers from PyPI, compiles the mlx-c
# sources that the mlx-sys crate carries against them, generates mlx-sys's
# bindings, and writes a config that replaces mlx-sys's build script (which
# clones MLX and links Apple's frameworks) by these.
set -euo pipefail

MLX_VERSION=0.32.2 # the version that mlx-c 0.7.0, inside mlx-sys 0.7.0, is written for
BINDGEN_VERSION=0.72.1

flavor=cpu
wheel_package=mlx-cpu
case "${1:-}" in
"") ;;
--cuda)
  flavor=cuda
  wheel_package=mlx-cuda-13
  ;;
-h | --help)
  sed -n '2,16s/^# \{0,1\}//p' "$0"
  exit 0
  ;;
*)
  echo "mlx-linux.sh: unknown argument '$1' (accepted: --cuda, --help)" >&2
  exit 2
  ;;
esac

if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
  echo "mlx-linux.sh: this machine is $(uname -s) $(uname -m); it prepares MLX for Linux x86_64 only." >&2
  echo "On macOS build with --features mlx, which needs no preparation." >&2
  exit 2
fi

root=$(cd "$(dirname "$0")/.." && pwd)
parts=$root/scripts/mlx-linux
out=$root/.build/mlx/$flavor
tools=$root/.build/mlx/tools
config=$out/cargo.toml
mkdir -p "$out" "$tools"

stamp=$(cat "$0" "$parts"/* <(grep -A2 '^name = "mlx-sys"' "$root/Cargo.lock") <(echo "$root") | sha256sum | cut -d' ' -f1)
if [ -f "$config" ] && [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
  echo "$config"
  exit 0
fi
rm -f "$out/stamp"

say() { echo "mlx-linux.sh: $*" >&2; }

# --- Debian packages -------------------------------------------------------
packages=()
for pair in g++:g++ /usr/include/fmt/format.h:libfmt-dev unzip:unzip; do
  need=${pair%%:*}
  if ! command -v "$need" >/dev/null && [ ! -e "$need" ]; then packages+=("${pair##*:}"); fi
done
if ! compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || ! compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null; then
  packages+=(libclang1-14 libclang-common-14-dev)
fi
if [ ${#packages[@]} -gt 0 ]; then
  say "installing ${packages[*]}"
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq >&2
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
fi

# --- bindgen, built while the compiler works below --------------------------
bindgen_pid=
if ! "$tools/bin/bindgen" --version 2>/dev/null | grep -q " $BINDGEN_VERSION$"; then
  say "building bindgen $BINDGEN_VERSION"
  # Unoptimised: it runs once, for a second.
  env -u RUSTFLAGS cargo install --quiet --debug --locked --version "=$BINDGEN_VERSION" \
    --target-dir "$tools/target" --root "$tools" bindgen-cli >&2 &
  bindgen_pid=$!
fi

# --- MLX itself --------------------------------------------------------------
wheel=$out/wheel
if [ ! -f "$wheel/mlx/lib/libmlx.so" ]; then
  say "fetching $wheel_package $MLX_VERSION"
  rm -rf "$out/download" "$wheel.part"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$out/download" "$wheel_package==$MLX_VERSION" >&2
  unzip -q "$out"/download/*.whl -d "$wheel.part"
  rm -rf "$out/download" "$wheel"
  mv "$wheel.part" "$wheel"
fi

# --- mlx-c from the sources that mlx-sys carries -------------------------------
manifest=$(cargo metadata --format-version 1 --manifest-path "$root/Cargo.toml" --features mlx-linux |
  python3 -c 'import json,sys; print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"]=="mlx-sys"))')
mlxc=$(dirname "$manifest")/src/mlx-c
objects=$out/objects
rm -rf "$objects"
mkdir -p "$objects" "$out/lib" "$out/gen"
say "compiling mlx-c"
flags=(-std=c++20 -O1 -fPIC -w -I "$wheel/mlx/include" -I "$mlxc")
cp "$parts/prelude.hpp" "$objects/prelude.hpp"
g++ "${flags[@]}" -x c++-header "$objects/prelude.hpp" -o "$objects/prelude.hpp.gch"
find "$mlxc/mlx/c" -name '*.cpp' -print0 |
  xargs -0 -P "$(nproc)" -I{} sh -c 'out=$1/$(basename "$2" .cpp).o; shift 2; exec "$@" -o "$out"' \
    compile "$objects" {} g++ "${flags[@]}" -include "$objects/prelude.hpp" -c {}
g++ -O1 -fPIC -c "$parts/mach_time.cpp" -o "$objects/mach_time.o"
g++ -shared -o "$out/lib/libmlxc.so" "$objects"/*.o -L "$wheel/mlx/lib" -lmlx -Wl,-rpath,"\$ORIGIN/../wheel/mlx/lib"
rm -rf "$objects"

# --- bindings -------------------------------------------------------------------
[ -z "$bindgen_pid" ] || wait "$bindgen_pid"
rm -rf "$tools/target"
"$tools/bin/bindgen" --rust-target 1.73 --blocklist-function malloc --blocklist-function realloc \
  --blocklist-type float16_t \
  --raw-line '#[repr(transparent)] #[derive(Debug, Default, Clone, Copy)] pub struct float16_t(pub u16);' \
  "$mlxc/mlx/c/mlx.h" -- -I "$mlxc" -include "$parts/half.h" >"$out/gen/bindings.rs"

# --- Cargo config -----------------------------------------------------------------
# `rpath` is read by the root build.rs as DEP_MLX_RPATH. A target directory of its own
# keeps these builds from invalidating the ordinary ones.
cat >"$config.part" <<EOF
[build]
target-dir = "$root/.build/mlx/$flavor/target"

[target.x86_64-unknown-linux-gnu.mlx]
rustc-link-search = ["native=$out/lib", "native=$wheel/mlx/lib"]
rustc-link-lib = ["dylib=mlxc", "dylib=mlx"]
rustc-env = { OUT_DIR = "$out/gen" }
rpath = "$out/lib:$wheel/mlx/lib"
EOF
mv "$config.part" "$config"
echo "$stamp" >"$out/stamp"
echo "$config"
