#!/usr/bin/env bash
# Builds the test control plane once and keeps it; prints the directory holding the programs as its last line.
#
#   dir=$(tests/controlplane/build.sh)    # "$dir/etcd", "$dir/kube-apiserver", "$dir/kubectl" ...
#
# Says `reused` or `built` on standard error. The directory is named after a hash of the sources, so a change of
# version never meets an old binary. With KUBEBUILDER_ASSETS set to a directory holding etcd and kube-apiserver (and
# kubectl), that one is used and nothing is built.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

assets=${KUBEBUILDER_ASSETS:-}
if [[ -n $assets && -x $assets/etcd && -x $assets/kube-apiserver ]]; then
    [[ -x $assets/kubectl ]] || echo "warning: no kubectl beside etcd in KUBEBUILDER_ASSETS" >&2
    echo reused >&2
    (cd "$assets" && pwd)
    exit
fi

cache=${TINTYPE_CACHE:-${HOME:?HOME or TINTYPE_CACHE must be set}/.cache/tintype}/controlplane
platform=${GOOS:-$(uname -s | tr '[:upper:]' '[:lower:]')}-${GOARCH:-$(uname -m)}
key=$(LC_ALL=C sha256sum go.mod go.sum ./*.go | sha256sum | cut -c 1-16)-$platform
final=$cache/$key

reuse() {
    # The directory appears by one rename, so what is there is whole.
    [[ -x $final/kube-apiserver ]] || return 1
    echo reused >&2
    echo "$final"
}

reuse && exit
mkdir -p "$cache"

# Two builders at once would do the same minutes of work twice: the second one waits and reuses.
exec 9>"$cache/$key.lock"
flock 9
reuse && exit

if ! command -v go >/dev/null; then
    echo "error: the test control plane is built with Go, and there is no 'go' on the PATH" >&2
    echo "       install Go, or set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver and kubectl" >&2
    exit 1
fi

# What the programs say of their version: kubectl cannot compare itself with a server that says v0.0.0.
version=$(sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\)$|\1|p' go.mod)
IFS=. read -r major minor _ <<<"${version#v}"
stamp=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
    stamp+=" -X $package.gitTreeState=clean"
done

rm -rf "$cache/.$key".* # left by a build that was killed; whoever holds the lock is the only builder
temporary=$(mktemp -d "$cache/.$key.XXXXXX")
trap 'rm -rf "$temporary"' EXIT
chmod 755 "$temporary"

echo "building the test control plane ($version), some minutes the first time" >&2
# The lock is not handed down: a compiler that outlives a killed build must not hold it.
CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath -ldflags "-s -w$stamp" -o "$temporary/controlplane" . 9>&- >&2

for program in etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet; do
    ln -s controlplane "$temporary/$program"
done
rm -rf "$final" # only ever half of something, from before renames were relied on
mv -T "$temporary" "$final"
echo built >&2
echo "$final"
