#!/usr/bin/env bash
# `make test`: installs what tests need, then formatting, lints and every test. Ends with one line of totals.
set -euo pipefail
cd "$(dirname "$0")/.."
export TINTYPE_CACHE=${TINTYPE_CACHE:-$HOME/.cache/tintype}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$TINTYPE_CACHE/target}
mkdir -p "$TINTYPE_CACHE"
# A test that reads KUBECONFIG could write to somebody's cluster.
unset KUBECONFIG
# Properties draw the same cases each time here, so that a failure is of the change at hand; alone, and in `make soak`, they
# draw others.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }
if [ -d "$CARGO_TARGET_DIR/debug/deps" ]; then echo "cache: build folder reused"; else echo "cache: build folder is new"; fi

scripts/claim-cache.sh

step "setup"
scripts/setup.sh

step "studio"
scripts/studio.sh

step "formatting"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets -- -D warnings

step "licences and sources"
scripts/deny.sh

step "build"
cargo build --workspace --bins
cargo test --workspace --no-run
scripts/fuzz.sh --build

step "tests, and a minute of fuzzing for each target beside them"
log=$(mktemp)
fuzzed=$(mktemp)
trap 'rm -f "$log" "$fuzzed"' EXIT
nice scripts/fuzz.sh >"$fuzzed" 2>&1 &
fuzzing=$!
cargo test --workspace --no-fail-fast 2>&1 | tee "$log" || status=$?
step "fuzzing"
wait "$fuzzing" || status=$?
cat "$fuzzed"
step "a cluster of one node, and a release on it from nothing to gone"
# Alone: it is a whole machine's worth of programs. Says SKIPPED, and why, where the machine does not let us make a node.
TINTYPE_CLUSTER=on cargo test --workspace --test cluster story -- --nocapture 2>&1 | tee -a "$log" || status=$?
step "studio"
# With its flows in a browser, one after another; by now nothing else runs.
scripts/test-web.sh || status=$?
# What each failed test said, once more: above it stands between thousands of lines.
awk '/^---- .* stdout ----$/ {said = 1; lines = 0} /^failures:$/ {said = 0} said && lines++ < 40' "$log" | cut -c-1000
step "done"
grep '^test result:' "$log" | awk '{p += $4; f += $6} END {printf "%d passed, %d failed\n", p, f}'
exit "${status:-0}"
