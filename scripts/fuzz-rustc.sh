#!/usr/bin/env bash
# Stands between cargo and rustc for the crates of this workspace alone (RUSTC_WORKSPACE_WRAPPER): has the code under
# test count which of its edges were taken and what it compared, as libFuzzer asks. All by stable flags; dependencies
# are shared with every other build.
set -euo pipefail
rustc=$1
shift
case " $* " in
*" --crate-name tintype_worker "* | *" --crate-name tintype_types "* | *" --crate-name tintype_fuzz "*)
  set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
  ;;
esac
exec "$rustc" "$@"
