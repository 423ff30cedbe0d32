#!/usr/bin/env bash
# Builds s3s-fs, an S3 server over a folder that checks every signature and its age, into the cache, once; prints where the
# program is.
set -euo pipefail
version=0.14.1
cache=${TINTYPE_CACHE:-$HOME/.cache/tintype}
program=$cache/s3s-fs/$version/bin/s3s-fs
if [ ! -x "$program" ]; then
  echo "building s3s-fs $version" >&2
  mkdir -p "$cache/s3s-fs"
  work=$(mktemp -d "$cache/s3s-fs/.build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  # Unoptimised: it keeps a few pictures of a test.
  CARGO_TARGET_DIR=$work/target cargo install --quiet --debug --locked --root "$work" --features binary --version "$version" s3s-fs >&2
  mkdir -p "$cache/s3s-fs/$version/bin"
  mv "$work/bin/s3s-fs" "$program"
fi
echo "$program"
