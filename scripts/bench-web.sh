#!/usr/bin/env bash
# `make bench-web`: figures of the studio in real Chromium against the real stack, a JSON line each. Wants the machine for
# itself.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/node.sh
. scripts/browser.sh
if [ -n "$no_node$no_browser" ]; then
  echo "bench-web: SKIPPED: ${no_node:-$no_browser}" >&2
  exit 0
fi
# The bench runs in web/; what was named was named from here.
if [ -n "${BENCH_REPORTS:-}" ]; then
  BENCH_REPORTS=$(realpath -m "$BENCH_REPORTS")
  export BENCH_REPORTS
fi
web_install
"${pnpm[@]}" --silent run bench "$@"
