#!/usr/bin/env bash
# Type-checks every crate of the workspace for aarch64-apple-darwin from a Debian machine.
#
# The usual toolchain has no standard library for macOS, and linking would need Apple's frameworks. Debian's rustc-web,
# cargo-web and rust-web-src carry the standard library's source, and `cargo check` needs no linker. So the Mach code is
# compiled on every change by the same compiler front end that a Mac would run; it is not run.
#
# Usage: scripts/check-macos.sh [cargo check arguments, instead of the workspace, and shvd with MLX]
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(rustc-web cargo-web rust-web-src)
missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ((${#missing[@]})); then
    echo "installing ${missing[*]}" >&2
    sudo=()
    ((EUID == 0)) || sudo=(sudo)
    "${sudo[@]}" apt-get update --quiet
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "${missing[@]}"
fi

# Some crates (ring) compile C in their build scripts, for which Apple's headers would be needed. Nothing is linked here,
# so what they compile may be empty.
target_dir=target/macos
mkdir -p "$target_dir"
# mlx-sys's own build script compiles MLX with Apple's tools and generates bindings from its headers: those that
# scripts/mlx-linux.sh generates from the same headers stand in.
if ((!$#)); then
    mlx=$(scripts/mlx-linux.sh)
    cat >"$target_dir/mlx.toml" <<EOF
[target.aarch64-apple-darwin.mlx]
rustc-link-lib = ["dylib=mlxc"]
rustc-env = { OUT_DIR = "$(dirname "$mlx")/gen" }
EOF
fi
cat >"$target_dir/empty-object" <<'EOF'
#!/bin/sh
# Stands in for a C compiler: writes an empty file where the object would go, and says what the real one says of itself.
[ "$1" = -E ] && exec cc "$@"
while [ $# -gt 0 ]; do
    [ "$1" = -o ] && : >"$2" && exit
    shift
done
echo "only -E and -o are understood here" >&2
exit 1
EOF
chmod +x "$target_dir/empty-object"
export CC_aarch64_apple_darwin="$PWD/$target_dir/empty-object" CXX_aarch64_apple_darwin="$PWD/$target_dir/empty-object"

# build-std is unstable, hence RUSTC_BOOTSTRAP; its dependencies are vendored with the source package.
export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
export RUSTFLAGS="${RUSTFLAGS:-} -D warnings"
unset RUSTUP_TOOLCHAIN
check() {
    /usr/bin/cargo check -Zbuild-std=std,panic_abort --target aarch64-apple-darwin --target-dir "$target_dir" "$@"
}
if (($#)); then
    check "$@"
else
    check --workspace --features shv-machine/component
    check --package shvd --features mlx --config "$target_dir/mlx.toml"
fi
