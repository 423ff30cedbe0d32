#!/usr/bin/env bash
# Puts Prometheus into the cache once; prints the folder with `prometheus` and `promtool` as its last line.
#
# Says `reused` or `installed` on standard error. Both on the PATH are used as they are; else Debian's package is fetched
# and unpacked, not installed, so this needs apt and no root.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/once.sh"

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    echo reused >&2
    dirname "$(command -v prometheus)"
    exit
fi

final=$(cache_of prometheus)/debian
answer=$final
probe=$final/promtool

reuse && exit
command -v apt-get >/dev/null || fail "there is no Prometheus on the PATH and no apt to fetch it with; install Prometheus 2.42 or later"
alone
fetch() { (cd "$work" && apt-get download prometheus >&2); }
# A new machine may have no package lists yet; only root can bring them.
fetch || { apt-get update -qq >&2 && fetch; } || fail "apt could not fetch the package prometheus; install Prometheus 2.42 or later"
dpkg-deb -x "$work"/prometheus_*.deb "$work/unpacked"
keep "$work/unpacked/usr/bin" installed
