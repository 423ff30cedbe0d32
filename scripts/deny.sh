#!/usr/bin/env bash
# Licences, sources and bans of every dependency, by cargo-deny; installs it into the cache once.
# Advisories need the advisory database, which is fetched; run `cargo deny check advisories` where that can be reached.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${TINTYPE_CACHE:-$HOME/.cache/tintype}
deny=$cache/tools/bin/cargo-deny
if [ ! -x "$deny" ]; then
  cargo install --quiet --locked --root "$cache/tools" cargo-deny
fi
# Duplicate versions are listed by `cargo deny check bans`; here they would only hide what matters.
exec "$deny" --log-level error check --allow duplicate licenses bans sources
