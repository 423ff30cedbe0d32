#!/usr/bin/env bash
# Puts everything a release is made of into a folder: images, charts, plain manifests, the kubectl plugin with its krew
# manifest, a bill of materials for each program, the notes of the CHANGELOG, and the sums of all of it.
#
#   scripts/release.sh [OUT] [PROGRAMS]
#
# OUT is dist/ by default. PROGRAMS is a folder of built programs; without, they are built with --release. BASE_URL is
# where the files will be served.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-dist}
programs=${2:-}
base=${BASE_URL:-https://example.invalid/tintype}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
if [ -z "$programs" ]; then
  scripts/studio.sh --needed
  cargo build --release --locked --bins -p tintype-operator -p tintype-api -p tintype-worker -p tintype-provider -p tintype-pg -p tintype-cli
  programs=${CARGO_TARGET_DIR:-target}/release
fi
helm=$(tests/charts/helm.sh 2>/dev/null | tail -n 1)
rm -rf "$out"
mkdir -p "$out"
layout=$(mktemp -d)
trap 'rm -rf "$layout"' EXIT

python3 scripts/images.py --programs "$programs" --out "$layout/images" --archive "$out/tintype-images-$version.tar"
for package in operator api worker provider pg cli; do
  python3 scripts/sbom.py "tintype-$package" >"$out/tintype-$package-$version.cdx.json"
done
for chart in tintype tintype-crds; do
  # Packed from a copy: helm follows the link to the sub-chart and says so at length.
  cp -rL "charts/$chart" "$layout/$chart"
  "$helm" package "$layout/$chart" --destination "$out" >/dev/null
done
for manifest in deploy/manifests/*.yaml; do
  name=$(basename "$manifest" .yaml)
  if [ "$name" != values ]; then cp "$manifest" "$out/tintype-manifest-$name-$version.yaml"; fi
done
scripts/krew.sh "$programs/tintype" "$version" "$base" "$out" >"$out/tintype.yaml"
# A version that has no section of its own yet is what is unreleased.
section=$version
grep -q "^## $version" CHANGELOG.md || section=Unreleased
scripts/release-notes.sh "$section" >"$out/notes.md"
(cd "$out" && sha256sum -- * >SHA256SUMS)
ls "$out"
