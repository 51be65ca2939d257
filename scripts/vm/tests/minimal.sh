#!/bin/bash
# In the guest without systemd: all black-box tests, or those that the filters name: minimal.sh TESTS [FILTER]...
set -euo pipefail

"$(dirname "$0")/devices.sh"
if [ $# != 1 ]; then exec "$@"; fi
# What minicon tells of itself is tested on the host, by `make test`: words and examples are the same here.
exec "$1" --skip check:: --skip docs:: --skip explain:: --skip hints:: --skip trace::
