#!/usr/bin/env bash
# The live page and the HTML report in a real Chromium (Debian), driven by playwright-core and judged by axe-core (npm).
# `scripts/page.sh --pictures` draws the pictures of docs/images anew instead.
set -euo pipefail
cd "$(dirname "$0")/.."
need() { local tool; for tool; do command -v "$tool" >/dev/null || return 1; done; }
need chromium node npm htpasswd python3 || {
    apt-get update -qq
    packages=(chromium apache2-utils fonts-dejavu-core ca-certificates python3)
    need node || packages+=(nodejs)
    need npm || packages+=(npm)
    apt-get install -y -qq --no-install-recommends "${packages[@]}"
} >/dev/null
cargo build --release --locked -p shvd -p shvplan
target=${CARGO_TARGET_DIR:-$PWD/target}
export SHVD="$target/release/shvd" SHVPLAN="$target/release/shvplan" PAGE_PACKAGES="$target/page"
mkdir -p "$PAGE_PACKAGES"
cp scripts/page/package.json scripts/page/package-lock.json "$PAGE_PACKAGES/"
npm ci --prefix "$PAGE_PACKAGES" --no-audit --no-fund --silent
case "${1:-}" in
    "")
        python3 scripts/page/terminal.py "$SHVPLAN" --check
        node scripts/page/suite.mjs
        ;;
    --pictures)
        need pngquant || apt-get install -y -qq --no-install-recommends pngquant >/dev/null
        python3 scripts/page/terminal.py "$SHVPLAN"
        node scripts/page/pictures.mjs
        ;;
    *) echo "usage: scripts/page.sh [--pictures]" >&2; exit 2 ;;
esac
