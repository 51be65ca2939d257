#!/bin/sh
# Installs those of the named Debian packages that are missing; quick and silent when none is: packages.sh PACKAGE...
set -eu

if ! command -v dpkg-query >/dev/null; then
	echo "packages: not a Debian; what is needed here is called there: $*" >&2
	exit 0
fi
missing=
for package; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# A third party's repository that does not answer is no reason to stop: installing tells whether it mattered.
$sudo apt-get update -q </dev/null || echo "packages: apt-get update failed; trying with the lists at hand" >&2
# Some of these are daemons, which nobody has asked for here: while this file is there, Debian starts none (invoke-rc.d(8)).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap '$sudo rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
	$sudo chmod 755 "$policy"
fi
# What is there already stays, such as another publisher's docker, with which Debian's cannot be installed.
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --no-remove $missing </dev/null
