#!/bin/bash
# In the guest with systemd: the tests that the list names, or those of the filters; without filters engines too:
# systemd.sh TESTS [FILTER]...
set -euo pipefail

# Of tests/cli what sees something else where systemd is: parts of names.
filters=(cgroups_v2 systemd:: systemd_user:: apparmor:: checkpoint:: rootless::)

cd "$(dirname "$0")"
./devices.sh
# logind starts the ordinary user's systemd, and does not wait for it: a test that looks too early would be skipped.
systemctl start user@1500.service
tests=$1
shift
if [ $# != 0 ]; then exec "$tests" "$@"; fi

status=0
"$tests" "${filters[@]}" || status=$?
./podman.sh || status=$?
exit "$status"
