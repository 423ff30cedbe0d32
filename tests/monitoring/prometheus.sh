#!/usr/bin/env bash
# Puts Prometheus into the cache once; prints the folder with `prometheus` and `promtool` as its last line.
#
# Says `reused` or `installed` on standard error. Both on the PATH are used as they are; else Debian's package is fetched
# and unpacked, not installed, so this needs apt and no root.
set -euo pipefail

fail() {
    echo "error: $1" >&2
    exit 1
}

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    echo reused >&2
    dirname "$(command -v prometheus)"
    exit
fi

cache=${TINTYPE_CACHE:-${HOME:?HOME or TINTYPE_CACHE must be set}/.cache/tintype}/prometheus
final=$cache/debian

reuse() {
    # The folder appears by one rename, so what is there is whole.
    [[ -x $final/prometheus && -x $final/promtool ]] || return 1
    echo reused >&2
    echo "$final"
}

reuse && exit
command -v apt-get >/dev/null || fail "there is no Prometheus on the PATH and no apt to fetch it with; install Prometheus 2.42 or later"
mkdir -p "$cache"

# Two at once would fetch the same file twice: the second one waits and reuses.
exec 9>"$cache/.lock"
flock 9
reuse && exit

rm -rf "$cache"/.fetch.* # left by one that was killed; whoever holds the lock is alone
work=$(mktemp -d "$cache/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
fetch() { (cd "$work" && apt-get download prometheus >&2); }
# A new machine may have no package lists yet; only root can bring them.
fetch || { apt-get update -qq >&2 && fetch; } || fail "apt could not fetch the package prometheus; install Prometheus 2.42 or later"
dpkg-deb -x "$work"/prometheus_*.deb "$work/unpacked"
rm -rf "$final"
mv -T "$work/unpacked/usr/bin" "$final"
echo installed >&2
echo "$final"
