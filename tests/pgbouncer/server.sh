#!/usr/bin/env bash
# Fetches PgBouncer and the libraries it needs from Debian's packages into the cache, once; prints where the program is.
# Unpacked, not installed: an installed one starts by itself. Its libraries lie beside it, for LD_LIBRARY_PATH.
set -euo pipefail
packages=(pgbouncer libc-ares2 libevent-2.1-7)
fail() { echo "error: $1" >&2; exit 1; }
key=$(sha256sum "${BASH_SOURCE[0]}" | cut -c 1-16)
cache=${TINTYPE_CACHE:-$HOME/.cache/tintype}
home=$cache/pgbouncer/$key
if [ ! -x "$home/pgbouncer" ]; then
  command -v apt-get >/dev/null || fail "PgBouncer is taken from Debian's packages, and there is no apt to fetch them with"
  echo "fetching pgbouncer" >&2
  mkdir -p "$cache/pgbouncer"
  work=$(mktemp -d "$cache/pgbouncer/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/debs" "$work/root" "$work/home"
  fetch() { (cd "$work/debs" && apt-get download "${packages[@]}" >&2); }
  # A new machine may have no package lists yet; only root can bring them.
  fetch || { apt-get update -qq >&2 && fetch; } || fail "apt could not fetch ${packages[*]}"
  for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$work/root"; done
  mv "$work/root/usr/sbin/pgbouncer" "$work/home/"
  find "$work/root" -name 'lib*.so*' -exec cp -P {} "$work/home/" \;
  chmod 755 "$work/home" "$work/home/pgbouncer"
  rm -rf "$home"
  mv -T "$work/home" "$home"
fi
echo "$home/pgbouncer"
