#!/usr/bin/env bash
# `make cuda-check`: does the CUDA flavour of the worker still compile, its kernels included? Needs no GPU, no driver and
# no CUDA toolkit: NVIDIA's compiler comes from its own PyPI wheels, into the cache. Nothing is linked and nothing runs.
#
# The kernels that candle loads at run time are compiled to PTX, and so is our own attention, which is then assembled for
# several GPUs too: where registers do not suffice, this fails. Those candle links in are for weights quantised to a few bits,
# which this worker does not read, and take half an hour: CUDA_CHECK_QUANTISED=on compiles them too.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${TINTYPE_CACHE:-$HOME/.cache/tintype}
# A folder of its own: a build for CUDA shares no crate that matters with the one for CPUs.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}/cuda

# The toolkit that cudarc is told to bind to (CUDARC_CUDA_VERSION below says the same), part by part.
parts=(nvidia-cuda-nvcc==13.2.86 nvidia-nvvm==13.2.86 nvidia-cuda-crt==13.2.86 nvidia-cuda-runtime==13.2.86 nvidia-cuda-cccl==13.2.86)
toolkit=$cache/cuda/$(printf '%s\n' "${parts[@]}" | sha256sum | cut -c1-16)
if [ -e "$toolkit/.complete" ]; then
  echo "cuda-check: compiler reused from the cache"
else
  command -v python3 >/dev/null || { echo "cuda-check: python3 is not installed; get Python 3.9 or later with pip" >&2; exit 1; }
  rm -rf "$toolkit"
  mkdir -p "$toolkit"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --target "$toolkit" "${parts[@]}"
  touch "$toolkit/.complete"
  echo "cuda-check: fetched ${parts[*]}"
fi
export CUDA_HOME=$toolkit/nvidia/cu13
export NVCC=$CUDA_HOME/bin/nvcc
export PATH=$CUDA_HOME/bin:$PATH
chmod +x "$CUDA_HOME"/bin/* "$CUDA_HOME"/nvvm/bin/* 2>/dev/null || true
if [ "${CUDA_CHECK_QUANTISED:-off}" = on ]; then
  skipped=
  # Not where stand-ins lie.
  CARGO_TARGET_DIR=$CARGO_TARGET_DIR-quantised
else
  skipped="kernels of quantised weights (CUDA_CHECK_QUANTISED=on compiles them), "
  # In the folder of the compiler, as candle's build looks for the toolkit around it.
  export NVCC=$CUDA_HOME/bin/nvcc-but-quantised
  cat >"$NVCC" <<'WRAPPER'
#!/usr/bin/env bash
# NVIDIA's compiler, but for candle's kernels of quantised weights: an empty object stands in for each.
case "$*" in
*" src/mmq_gguf/"* | *" src/mmvq_gguf"* | *" src/moe/"*)
  while [ "$1" != -o ]; do shift; done
  exec cc -c -x c -o "$2" /dev/null
  ;;
esac
exec "$(dirname "$0")/nvcc" "$@"
WRAPPER
  chmod +x "$NVCC"
fi
export CUDARC_CUDA_VERSION=13020
# Ampere: the oldest with bf16, which the kernels then cover; later GPUs compile its PTX at start.
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}

"$NVCC" --version | tail -n 2 | head -n 1
started=$SECONDS
features=${CUDA_FEATURES:-cudnn}
cargo check --locked -p tintype-worker --features "$features"
modules=$(find "$CARGO_TARGET_DIR"/debug/build/candle-kernels-*/out -name '*.ptx' -printf '%f\n' | sort -u | tr '\n' ' ')
[ -n "$modules" ] || { echo "cuda-check: no kernel was compiled" >&2; exit 1; }
echo "cuda-check: kernels compiled for sm_$CUDA_COMPUTE_CAP: $modules"

# What a driver does with our kernels at their first use, for the GPUs named: Ampere, Ada, Hopper, Blackwell.
attention=$(find "$CARGO_TARGET_DIR"/debug/build/tintype-kernels-*/out -name attention.ptx -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
[ -n "$attention" ] || { echo "cuda-check: the attention kernels were not compiled" >&2; exit 1; }
for gpu in sm_80 sm_89 sm_90 sm_120; do
  said=$("$CUDA_HOME/bin/ptxas" -v -arch="$gpu" "$attention" -o "$attention.cubin" 2>&1) || { echo "$said" >&2; exit 1; }
  kernels=$(grep -c 'Compiling entry function' <<<"$said")
  if grep -E '[1-9][0-9]* bytes spill' <<<"$said" >&2; then
    echo "cuda-check: attention kernels run out of registers on $gpu" >&2
    exit 1
  fi
  echo "cuda-check: $kernels attention kernels assembled for $gpu, at most $(grep -oP 'Used \K[0-9]+' <<<"$said" | sort -n | tail -n 1) registers a thread, nothing spilled"
done
rm -f "$attention.cubin"
echo "cuda-check: skipped: ${skipped}linking, anything that needs a GPU"
echo "cuda-check: tintype-worker compiles with the feature $features in $((SECONDS - started)) s; not run on a GPU"
