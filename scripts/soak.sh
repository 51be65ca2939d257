#!/bin/bash
# Puts load on the runtime that MINICON names: soak.sh MINUTES [CONTAINERS]
#
# The program takes this one's place, so that an interrupt reaches it, and nobody leaves before it has cleaned up.
set -euo pipefail

cd "$(dirname "$0")/.."
: "${MINICON:?names the program to test}"
built=$(cargo test --locked --no-run --test soak --message-format=json-render-diagnostics |
	jq -r 'select(.profile.test? and .target.name == "soak").executable')
if [ "$(id -u)" != 0 ]; then exec sudo --preserve-env "$built" "$@"; fi
exec "$built" "$@"
