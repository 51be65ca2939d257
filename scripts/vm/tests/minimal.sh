#!/bin/bash
# In the guest without systemd: all black-box tests and the published escapes, or those tests that the filters name:
# minimal.sh TESTS [FILTER]...
set -euo pipefail

"$(dirname "$0")/devices.sh"
if [ $# != 1 ]; then exec "$@"; fi

status=0
# What minicon tells of itself is tested on the host, by `make test`: words and examples are the same here.
"$1" --skip check:: --skip docs:: --skip explain:: --skip hints:: --skip trace:: || status=$?
# The program that tries published escapes; it also compares the table in SECURITY.md.
"${ESCAPES:?}" || status=$?
exit "$status"
