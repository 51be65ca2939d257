#!/bin/bash
# Tries the published escapes on a runtime, in the virtual machine without systemd, and prints the table of verdicts:
# escapes.sh RUNTIME [FILTER]...
#
# With UPDATE=1 the table in SECURITY.md becomes the one that was printed. With ESCAPES_RACE=1 the racers run as well, on
# this machine (tests/escapes/race.rs says why that harms nothing), 20 seconds each; another number is the seconds.
set -euo pipefail

cd "$(dirname "$0")/.."
log=build/vm/escapes.log
runtime=$(realpath "$1")
shift

built=$(cargo test --locked --no-run --test escapes --message-format=json-render-diagnostics |
	jq -r 'select(.profile.test? and .target.name == "escapes").executable')
target=$(realpath "${CARGO_TARGET_DIR:-target}")
environment=("RUNTIME=$runtime" TEST_PATIENCE=6)
sudo=
if [ "$(id -u)" != 0 ]; then sudo='sudo --preserve-env'; fi

raced=0
if [ -n "${ESCAPES_RACE:-}" ]; then RUNTIME=$runtime $sudo "$built" "$@" || raced=$?; fi

status=0
$sudo env -u ESCAPES_RACE scripts/vm/run.sh --timeout 300 --show "$PWD" --show "$target" --show "$(dirname "$runtime")" \
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
	exit "$raced"
fi
exit $((status ? status : raced))
