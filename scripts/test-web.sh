#!/usr/bin/env bash
# `make test-web`: types, lints and unit tests of the studio, then the flows in real Chromium against the real stack.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/node.sh
if [ -n "$no_node" ]; then
  echo "test-web: SKIPPED, all of it: $no_node"
  exit 0
fi
web_install
"${pnpm[@]}" --silent run typecheck
"${pnpm[@]}" --silent run lint
"${pnpm[@]}" --silent run test

if [ "${TINTYPE_WEB_FLOWS:-on}" = off ]; then
  echo "test-web: SKIPPED, the flows in a browser: \`make test-web\` runs them"
  exit 0
fi
. scripts/browser.sh
if [ -n "$no_browser" ]; then
  echo "test-web: SKIPPED, the flows in a browser: $no_browser"
  exit 0
fi
# The GPUs an administrator sees there are those of the stand-in for NVIDIA's library.
cargo build --quiet --package tintype-fake-nvml
FAKE_NVML_LIBRARY=$(dirname "$TINTYPE_PROGRAM")/libtintype_fake_nvml.so
export FAKE_NVML_LIBRARY
"${pnpm[@]}" --silent run e2e "$@"
