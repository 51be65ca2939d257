#!/bin/bash
# Tries the published escapes on a runtime, in the virtual machine without systemd, and prints the table of verdicts:
# escapes.sh RUNTIME [FILTER]...
#
# With UPDATE=1 the table in SECURITY.md becomes the one that was printed; ESCAPES_RACE=1 runs the racers too.
set -euo pipefail

cd "$(dirname "$0")/.."
log=build/vm/escapes.log
runtime=$(realpath "$1")
shift

built=$(cargo test --locked --no-run --test escapes --message-format=json-render-diagnostics |
	jq -r 'select(.profile.test? and .target.name == "escapes").executable')
target=$(realpath "${CARGO_TARGET_DIR:-target}")
environment=("RUNTIME=$runtime" TEST_PATIENCE=6)
limit=300
if [ -n "${ESCAPES_RACE:-}" ]; then environment+=("ESCAPES_RACE=$ESCAPES_RACE") limit=3600; fi
sudo=
if [ "$(id -u)" != 0 ]; then sudo='sudo --preserve-env'; fi

status=0
$sudo scripts/vm/run.sh --timeout "$limit" --show "$PWD" --show "$target" --show "$(dirname "$runtime")" \
	--log build/vm/escapes.console -- env "${environment[@]}" "$built" "$@" | tee "$log" || status=$?
if [ -n "${UPDATE:-}" ] && grep -q '^test result: ' "$log"; then
	if grep -Eq '\*\*vulnerable\*\*|could not be tried' "$log"; then
		echo "SECURITY.md is left as it is: see above" >&2
		exit 1
	fi
	awk -v log_file="$log" '
		/^<!-- escapes: end -->/ { skip = 0 }
		!skip
		/^<!-- escapes: begin/ { skip = 1; while ((getline line < log_file) > 0) if (line ~ /^\|/) print line }
	' SECURITY.md >build/SECURITY.md
	cat build/SECURITY.md >SECURITY.md
	echo "SECURITY.md is up to date; read the difference" >&2
	exit 0
fi
exit "$status"
