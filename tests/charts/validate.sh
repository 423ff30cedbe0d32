#!/usr/bin/env bash
# Builds kubectl-validate once and keeps it; prints the path of the program as its last line. It judges manifests as an API
# server would, without one: by Kubernetes' own schemas, which it carries, and by custom resource definitions it is given.
#
#   validate=$(tests/charts/validate.sh)
#
# Says `reused` or `built` on standard error; some four minutes of one processor. With KUBECTL_VALIDATE set to a program (a
# path, or a name on the PATH), that one is used and nothing is built. With `--if-there` nothing is built either: without a
# program, it says so and ends with 3.
set -euo pipefail

version=v0.0.4

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/once.sh"

if [[ -n ${KUBECTL_VALIDATE:-} ]]; then
    program=$(command -v "$KUBECTL_VALIDATE") ||
        fail "KUBECTL_VALIDATE is '$KUBECTL_VALIDATE', and there is no such program; unset it to have one built"
    echo reused >&2
    echo "$program"
    exit
fi

final=$(cache_of kubectl-validate)/$version
answer=$final/kubectl-validate
probe=$answer

reuse && exit
if [[ ${1:-} == --if-there ]]; then
    echo "there is no kubectl-validate: tests/charts/validate.sh builds one, or set KUBECTL_VALIDATE to one of yours" >&2
    exit 3
fi
alone
command -v go >/dev/null ||
    fail "kubectl-validate is built with Go, and there is no 'go' on the PATH; install Go, or set KUBECTL_VALIDATE"

echo "building kubectl-validate $version, some four minutes the first time" >&2
# The lock is not handed down: a compiler that outlives a killed build must not hold it.
GOBIN=$work/made GOFLAGS= GOWORK=off CGO_ENABLED=0 go install -trimpath "sigs.k8s.io/kubectl-validate@$version" 9>&- >&2

keep "$work/made" built
