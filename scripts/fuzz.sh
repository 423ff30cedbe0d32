#!/usr/bin/env bash
# Lets libFuzzer look for bytes that break a promise: `scripts/fuzz.sh [TARGET...]`, each for FUZZ_SECONDS (60), as many
# side by side as there are cores. Starts from fuzz/corpus and from what earlier runs found (in the cache); a crash is
# kept under fuzz/regressions, where it is a test from then on. `--build` builds alone; `--merge` makes the committed
# corpus anew, as small as covers the same.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${TINTYPE_CACHE:-$HOME/.cache/tintype}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
seconds=${FUZZ_SECONDS:-60}
# Everything tried is smaller than a few kilobytes: what needs more than this holds on to what it is told.
memory_mib=${FUZZ_MEMORY_MIB:-512}
# The programs are instrumented and not optimised, and tests run beside them: a picture of as many pixels as may be takes
# some seconds. What hangs takes longer.
timeout_seconds=45

command -v c++ >/dev/null || { echo "fuzz: no C++ compiler; libFuzzer is built from source (Debian: apt install g++)" >&2; exit 1; }
RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/fuzz-rustc.sh cargo build --quiet -p tintype-fuzz --features libfuzzer --bin fuzz
fuzz=$CARGO_TARGET_DIR/debug/fuzz

merge=
case ${1:-} in
--build) exit 0 ;;
--merge) merge=yes; shift ;;
esac
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(grep -oP 'Target \{ name: "\K[a-z_]+' fuzz/src/lib.rs)

one() {
  local target=$1 found=$cache/fuzz/$1 log=$cache/fuzz/$1.log kept=fuzz/corpus/$1 broke=fuzz/regressions/$1
  local max
  max=$(grep -oP "name: \"$target\", bytes_max: \K[0-9_]+" fuzz/src/lib.rs | tr -d _)
  mkdir -p "$found" "$kept" "$broke"
  export TINTYPE_FUZZ_TARGET=$target
  if [ -n "$merge" ]; then
    local anew
    anew=$(mktemp -d)
    "$fuzz" -merge=1 -max_len="$max" "$anew" "$kept" "$found" 2>"$log"
    rm -rf "$kept" && mv "$anew" "$kept" && chmod 755 "$kept"
    echo "fuzz: $target covered by $(find "$kept" -type f | wc -l) inputs, $(du -cb "$kept"/* | tail -n 1 | cut -f1) bytes"
  elif "$fuzz" "$found" "$kept" "$broke" -max_total_time="$seconds" -max_len="$max" -rss_limit_mb="$memory_mib" \
    -timeout="$timeout_seconds" -report_slow_units="$timeout_seconds" -artifact_prefix="$broke/" \
    -print_final_stats=1 >"$log" 2>&1; then
    echo "fuzz: $target held: $(grep -oP 'stat::number_of_executed_units: \K[0-9]+' "$log") inputs in $seconds s, $(grep -oP 'cov: \K[0-9]+' "$log" | tail -n 1) edges"
  else
    echo "fuzz: $target BROKE; the input is in $broke, the log is $log" >&2
    grep -aE 'panicked|SUMMARY|ERROR|Test unit' "$log" | head -n 6 >&2
    return 1
  fi
  rmdir --ignore-fail-on-non-empty "$broke"
}
export -f one
export cache seconds timeout_seconds memory_mib merge fuzz
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'one {}'
