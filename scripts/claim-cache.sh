#!/usr/bin/env bash
# Makes a build folder that several checkouts share safe to use from this one. Cargo tells changed sources by their
# modification time and gives the same crate in two checkouts the same file names, so it could take another checkout's
# newer build for ours. When the last user was another checkout, our sources are touched and built anew.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-${TINTYPE_CACHE:-$HOME/.cache/tintype}/target}
mkdir -p "$target"
stamp=$target/.checkout
if [ "$(cat "$stamp" 2>/dev/null)" != "$PWD" ]; then
  find . -name target -prune -o \( -name '*.rs' -o -name Cargo.toml -o -name '*.sql' \) -print0 | xargs -0 touch
  printf '%s' "$PWD" > "$stamp"
fi
