#!/usr/bin/env bash
# Builds OpenTofu once and keeps it; prints the path of the program as its last line.
#
#   tofu=$(tests/terraform/tofu.sh)
#
# Says `reused` or `built` on standard error. No package index carries the program, so it comes from its Go module, of the
# version in go.mod beside this file: some ten minutes of one processor. With TOFU set to a tofu or terraform of version 1.6
# or later (a path, or a name on the PATH), that one is used and nothing is built. With `--if-there` nothing is built either:
# without a program, it says so and ends with 3.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

. ../../scripts/once.sh

if [[ -n ${TOFU:-} ]]; then
    program=$(command -v "$TOFU") || fail "TOFU is '$TOFU', and there is no such program; unset TOFU to have one built"
    "$program" version >&2 || fail "'$TOFU' does not tell its version; is it OpenTofu or Terraform?"
    echo reused >&2
    echo "$program"
    exit
fi

platform=${GOOS:-$(uname -s | tr '[:upper:]' '[:lower:]')}-${GOARCH:-$(uname -m)}
version=$(sed -n 's|^require github.com/opentofu/opentofu v\([0-9.]*\)$|\1|p' go.mod)
key=$version-$(LC_ALL=C sha256sum go.mod go.sum | sha256sum | cut -c 1-16)-$platform
final=$(cache_of tofu)/$key
answer=$final/tofu
probe=$answer

reuse && exit
if [[ ${1:-} == --if-there ]]; then
    echo "there is no tofu: tests/terraform/tofu.sh builds one, or set TOFU to one of yours" >&2
    exit 3
fi
alone
command -v go >/dev/null || fail "OpenTofu is built with Go, and there is no 'go' on the PATH; install Go, or set TOFU to a tofu or terraform"

mkdir "$work/made"
echo "building OpenTofu $version, some ten minutes the first time" >&2
# The lock is not handed down: a compiler that outlives a killed build must not hold it.
CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath -ldflags "-s -w -X github.com/opentofu/opentofu/version.dev=no" \
    -o "$work/made/tofu" github.com/opentofu/opentofu/cmd/tofu 9>&- >&2

keep "$work/made" built
