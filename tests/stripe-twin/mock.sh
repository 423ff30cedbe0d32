#!/usr/bin/env bash
# Builds stripe-mock, Stripe's own stand-in, from its Go module into the cache, once; prints where the program is.
# It checks every request against Stripe's OpenAPI document and remembers nothing.
set -euo pipefail
version=v0.203.0
cache=${TINTYPE_CACHE:-$HOME/.cache/tintype}
program=$cache/stripe-mock/$version/stripe-mock
if [ ! -x "$program" ]; then
  command -v go >/dev/null || { echo "stripe-mock: go is not installed; get Go 1.26 or later" >&2; exit 1; }
  echo "building stripe-mock $version" >&2
  mkdir -p "$cache/stripe-mock"
  work=$(mktemp -d "$cache/stripe-mock/.build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  GOBIN=$work GOFLAGS=-p=1 go install "github.com/stripe/stripe-mock@$version" >&2
  mkdir -p "$(dirname "$program")"
  mv "$work/stripe-mock" "$program"
fi
echo "$program"
