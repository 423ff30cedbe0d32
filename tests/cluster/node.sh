#!/usr/bin/env bash
# Puts what a node needs beside its kubelet into the cache once: containerd, runc, the CNI plugins, nft, and a program
# that sleeps. Prints their folder as its last line.
#
#   node=$(tests/cluster/node.sh)    # "$node/bin/containerd", "$node/cni/bridge", "$node/bin/pause" ...
#
# Debian's packages are fetched and unpacked, not installed: an installed containerd could take the place of somebody's
# Docker. Says `reused` or `installed` on standard error.
set -euo pipefail

packages=(containerd runc containernetworking-plugins nftables libnftables1 libnftnl11 libjansson4 libmnl0 libedit2 libbsd0
    libmd0 libtinfo6 libgmp10 libxtables12 libseccomp2)

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/once.sh"

key=$(sha256sum "${BASH_SOURCE[0]}" | cut -c 1-16)
final=$(cache_of node)/$key
answer=$final
probe=$final/bin/pause

reuse && exit
command -v apt-get >/dev/null || fail "a node is made of Debian's packages, and there is no apt to fetch them with"
command -v cc >/dev/null || fail "the pause program is compiled with cc, and there is none"
alone
mkdir -p "$work/debs" "$work/root" "$work/node/bin" "$work/node/lib"
fetch() { (cd "$work/debs" && apt-get download "${packages[@]}" >&2); }
# A new machine may have no package lists yet; only root can bring them.
fetch || { apt-get update -qq >&2 && fetch; } || fail "apt could not fetch ${packages[*]}"
for package in "$work"/debs/*.deb; do dpkg-deb -x "$package" "$work/root"; done

find "$work/root/usr/lib" "$work/root/lib" -name 'lib*.so*' -not -path '*/xtables/*' -exec cp -P {} "$work/node/lib/" \;
mv -T "$work/root/usr/lib/cni" "$work/node/cni"
for program in containerd containerd-shim-runc-v2 ctr; do mv "$work/root/usr/bin/$program" "$work/node/bin/"; done
mv "$work/root/usr/sbin/runc" "$work/node/bin/"
# nft alone needs libraries a machine may lack.
mv "$work/root/usr/sbin/nft" "$work/node/lib/nft"
cat > "$work/node/bin/nft" <<'NFT'
#!/bin/sh
lib=$(dirname "$(dirname "$(readlink -f "$0")")")/lib
LD_LIBRARY_PATH=$lib exec "$lib/nft" "$@"
NFT
chmod 755 "$work/node/bin/nft"
# What holds a pod's namespaces open.
cc -static -O2 -x c -o "$work/node/bin/pause" - <<'PAUSE'
#include <unistd.h>
int main(void) { for (;;) pause(); }
PAUSE

keep "$work/node" installed
