#!/usr/bin/env bash
# Sourced: finds Node and a pnpm of the version web/package.json names, kept in the cache. Sets `pnpm` to the command, or
# `no_node` to why there is none.
cache=${TINTYPE_CACHE:-$HOME/.cache/tintype}
pnpm=() no_node=
node_wanted='20.9'
if ! command -v node >/dev/null; then
  no_node="Node is not installed; get Node $node_wanted or later (Debian: apt-get install nodejs)"
elif ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 9) ? 0 : 1)'; then
  no_node="Node $(node -v) is too old; get $node_wanted or later"
else
  pnpm_version=$(node -p 'require("./web/package.json").packageManager.split("@")[1]')
  pnpm_home=$cache/pnpm/$pnpm_version
  if [ ! -e "$pnpm_home/node_modules/pnpm/bin/pnpm.cjs" ]; then
    mkdir -p "$pnpm_home"
    if ! npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$pnpm_home" "pnpm@$pnpm_version" >&2; then
      echo "studio: pnpm $pnpm_version could not be fetched; see to it that npm reaches its registry (npm ping) and repeat" >&2
      exit 1
    fi
  fi
  pnpm=(node "$pnpm_home/node_modules/pnpm/bin/pnpm.cjs" --dir web)
  export npm_config_store_dir=$cache/pnpm/store NEXT_TELEMETRY_DISABLED=1 CI=1
fi

# Installs what the lock names, if it is not there already.
web_install() {
  local stamp=web/node_modules/.tintype-lock
  if [ "$(cat "$stamp" 2>/dev/null)" != "$(sha256sum < web/pnpm-lock.yaml)" ]; then
    "${pnpm[@]}" install --frozen-lockfile --ignore-scripts --reporter=silent
    sha256sum < web/pnpm-lock.yaml > "$stamp"
  fi
}
