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
. ../../scripts/once.sh

assets=${KUBEBUILDER_ASSETS:-}
if [[ -n $assets && -x $assets/etcd && -x $assets/kube-apiserver ]]; then
    [[ -x $assets/kubectl ]] || echo "warning: no kubectl beside etcd in KUBEBUILDER_ASSETS" >&2
    echo reused >&2
    (cd "$assets" && pwd)
    exit
fi

platform=${GOOS:-$(uname -s | tr '[:upper:]' '[:lower:]')}-${GOARCH:-$(uname -m)}
key=$(LC_ALL=C sha256sum go.mod go.sum ./*.go | sha256sum | cut -c 1-16)-$platform
final=$(cache_of controlplane)/$key
answer=$final
probe=$final/kube-apiserver

reuse && exit
alone
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

mkdir "$work/made"
echo "building the test control plane ($version), some minutes the first time" >&2
# The lock is not handed down: a compiler that outlives a killed build must not hold it.
CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath -ldflags "-s -w$stamp" -o "$work/made/controlplane" . 9>&- >&2

for program in etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet; do
    ln -s controlplane "$work/made/$program"
done
keep "$work/made" built
