#!/usr/bin/env bash
# Packs the program as a kubectl plugin and prints the manifest by which krew installs it.
#
#   scripts/krew.sh PROGRAM VERSION BASE_URL OUT > tintype.yaml
#
# PROGRAM is the built `tintype`; the archive goes to the folder OUT and must be served under BASE_URL.
set -euo pipefail
program=${1:?the built program tintype}
version=${2:?a version, such as 0.1.0}
base=${3:?the address the archive is served under}
out=${4:?a folder for the archive}
root=$(cd "$(dirname "$0")/.." && pwd)
case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) echo "error: krew has no name for $(uname -m)" >&2; exit 1 ;; esac
archive=kubectl-tintype-$version-linux-$arch.tar.gz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What debuggers want stays behind, as in the images.
if command -v strip >/dev/null; then strip --strip-debug -o "$work/kubectl-tintype" "$program"; else cp "$program" "$work/kubectl-tintype"; fi
chmod 755 "$work/kubectl-tintype"
install -m 644 "$root/LICENSE" "$work/LICENSE"
epoch=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}
mkdir -p "$out"
tar -C "$work" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner -cf - LICENSE kubectl-tintype | gzip -n >"$out/$archive"
sum=$(sha256sum "$out/$archive" | cut -d' ' -f1)
sed -e "s|@VERSION@|$version|g" -e "s|@BASE@|${base%/}|g" -e "s|@ARCHIVE@|$archive|g" -e "s|@ARCH@|$arch|g" -e "s|@SHA256@|$sum|g" \
  "$root/deploy/krew/tintype.yaml"
