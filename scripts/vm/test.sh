#!/bin/bash
# Runs the tests that need what the host may lack in two virtual machines, one without systemd and one with it, and sums
# the counts: test.sh [FILTER]...
#
# The test program is built here and runs there, against the minicon that MINICON names. With filters only what they
# name runs. VM_GUESTS chooses among "minimal systemd".
set -euo pipefail

cd "$(dirname "$0")/../.."
log=build/vm/test.log
guests=${VM_GUESTS:-minimal systemd}
: "${MINICON:?names the program to test}"

build() {
	cargo test --locked --no-run --test "$1" --message-format=json-render-diagnostics |
		jq -r --arg name "$1" 'select(.profile.test? and .target.name == $name).executable'
}
built=$(build cli)
escapes=$(build escapes)
target=$(realpath "${CARGO_TARGET_DIR:-target}")

# Of the variables that the tests look at, those that hold there too. An emulated processor takes its time.
environment=("MINICON=$MINICON" "PROBE=${PROBE:-}" "TEST_PATIENCE=6" "ESCAPES=$escapes")
for name in CI RUST_BACKTRACE; do
	if [ -n "${!name:-}" ]; then environment+=("$name=${!name}"); fi
done
sudo=
if [ "$(id -u)" != 0 ]; then sudo='sudo --preserve-env'; fi

: >"$log"
failed=0
for guest in $guests; do
	options=(--timeout 600 --show "$PWD" --show "$target" --log "build/vm/$guest.console")
	if [ "$guest" = systemd ]; then options+=(--systemd); fi
	echo "==> the $guest guest" | tee -a "$log"
	status=0
	$sudo scripts/vm/run.sh "${options[@]}" -- \
		env "${environment[@]}" "scripts/vm/tests/$guest.sh" "$built" "$@" 2>&1 | tee -a "$log" || status=$?
	echo "<== the $guest guest: exit status $status" | tee -a "$log"
	if [ "$status" != 0 ]; then failed=1; fi
done

awk -f scripts/count.awk "$log"
if [ "$failed" != 0 ] && ! grep -q '^test result: FAILED' "$log"; then
	echo "no test failed, but something else did: see above" >&2
fi
exit "$failed"
