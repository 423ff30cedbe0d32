#!/usr/bin/env bash
# Builds the studio into web/dist/studio.bundle, which `cargo build` puts into the programs. Does nothing when the sources
# are those of the last build, here or in another checkout; without Node it says so and leaves the programs without a studio,
# which is a failure with --needed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/node.sh
say() { echo "studio: $1" >&2; }

if [ -n "$no_node" ]; then
  say "not built: $no_node"
  if [ "${1:-}" = --needed ]; then
    say "a release without it is none: install Node, or make web/dist/studio.bundle elsewhere with \`make studio\` and run this there"
    exit 1
  fi
  exit 0
fi
# Everything the build reads: tests and what it writes itself aside.
key=$(find web -type d \( -name node_modules -o -name .next -o -name .vercel -o -name out -o -name dist -o -name shots -o -name e2e -o -name bench \) -prune \
  -o -type f ! -name '*.test.ts' ! -name '*.test.tsx' ! -name '*.gen.ts' ! -name next-env.d.ts ! -name '*.tsbuildinfo' -print0 |
  LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-20)
kept=$cache/studio/$key.bundle
if [ ! -e "$kept" ]; then
  web_install
  "${pnpm[@]}" --silent run build >&2
  mkdir -p "$cache/studio"
  cp web/dist/studio.bundle "$kept.new.$$" && mv "$kept.new.$$" "$kept"
  say "built $key"
fi
# Touched only when it changes: cargo goes by the time of it.
if ! cmp -s "$kept" web/dist/studio.bundle; then
  cp "$kept" web/dist/studio.bundle
  say "took $key"
fi
