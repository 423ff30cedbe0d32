#!/usr/bin/env bash
# Prints what CHANGELOG.md says of a version, without its heading; `Unreleased` is the version to come.
#
#   scripts/release-notes.sh 0.1.0 [CHANGELOG]
set -euo pipefail
version=${1:?name a version of the CHANGELOG, such as 0.1.0 or Unreleased}
file=${2:-$(dirname "$0")/../CHANGELOG.md}
notes=$(awk -v version="$version" '
  /^## / { inside = ($2 == version || $2 == "[" version "]" || $2 == "v" version); next }
  inside { print }
' "$file" | sed -e '/./,$!d')
if [ -z "$notes" ]; then
  echo "error: CHANGELOG.md has no section \"## $version\", or nothing in it; it has: $(sed -n 's/^## \(.*\)/\1/p' "$file" | paste -sd, -)" >&2
  exit 1
fi
printf '%s\n' "$notes"
