#!/bin/bash
# In the guest without systemd: all black-box tests, or those that the filters name: minimal.sh TESTS [FILTER]...
set -euo pipefail

"$(dirname "$0")/devices.sh"
exec "$@"
