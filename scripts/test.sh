#!/bin/bash
# Runs every test as root and sums the counts: test.sh [ARGUMENT OF cargo test]...
#
# A test that cannot run on this machine prints a line "skipped: NAME: why" (to the standard error stream itself, so
# that the test harness does not swallow it) and returns. Such a test is counted as skipped, not as passed.
set -euo pipefail

cd "$(dirname "$0")/.."
log=build/test.log
mkdir -p build

# Cargo builds as whoever calls; only the test programs run as root.
if [ "$(id -u)" != 0 ]; then
	triple=$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
	export "CARGO_TARGET_${triple}_RUNNER=sudo --preserve-env"
fi

status=0
cargo test --locked --workspace --no-fail-fast "$@" </dev/null 2>&1 | tee "$log" || status=$?

awk -f scripts/count.awk "$log"
if [ "$status" != 0 ] && ! grep -q '^test result: FAILED' "$log"; then
	echo "no test failed, but something else did: see above" >&2
fi
exit "$status"
