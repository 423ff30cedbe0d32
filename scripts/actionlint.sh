#!/usr/bin/env bash
# Checks the workflows of .github with actionlint, built once from its Go module and kept in the cache.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.7.12
home=${TINTYPE_CACHE:-$HOME/.cache/tintype}/tools/actionlint-$version
if [ ! -x "$home/actionlint" ]; then
  command -v go >/dev/null || { echo "error: actionlint is built with Go, and there is no 'go' on the PATH" >&2; exit 1; }
  GOBIN=$home GOWORK=off CGO_ENABLED=0 go install "github.com/rhysd/actionlint/cmd/actionlint@$version" >&2
fi
# Shell in the workflows is one command each; the linters for shell and Python may not be there.
exec "$home/actionlint" -shellcheck= -pyflakes= -color=false "$@"
