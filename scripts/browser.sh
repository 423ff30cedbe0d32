#!/usr/bin/env bash
# Sourced after scripts/node.sh: finds Chromium and the program the flows run, of the profile TINTYPE_PROFILE names (debug).
# Sets `no_browser` to why there is none.
no_browser=
TINTYPE_CHROMIUM=${TINTYPE_CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
TINTYPE_PROGRAM=${CARGO_TARGET_DIR:-$cache/target}/${TINTYPE_PROFILE:-debug}/tintype
export TINTYPE_CHROMIUM TINTYPE_PROGRAM
if [ -z "$TINTYPE_CHROMIUM" ]; then
  no_browser='chromium is not installed (Debian: apt-get install chromium)'
elif [ ! -x "$TINTYPE_PROGRAM" ]; then
  no_browser="$TINTYPE_PROGRAM is not built (make build; make bench-web builds what it measures)"
fi
