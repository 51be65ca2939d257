#!/bin/bash
# minicon beside crun and runc, in turn and in one run: compare.sh MINICON COMPARE ROOTFS [ROUNDS]
#
# All of them run in one private mount namespace without the cgroup2 mount of a hybrid host, because crun refuses such a
# host, and does so quickly. Nothing is asserted about time; a command that fails ends the comparison.
set -euo pipefail

if [ "${COMPARE_INSIDE:-}" != yes ]; then
	COMPARE_INSIDE=yes exec unshare --mount --propagation private "$0" "$@"
fi

minicon=$(realpath "$1")
compare=$(realpath "$2")
rootfs=$(realpath "$3")
rounds=${4:-100}

hidden=no
if mountpoint -q /sys/fs/cgroup/unified; then
	umount --lazy /sys/fs/cgroup/unified
	hidden="the cgroup2 mount is hidden"
fi

dir=$(mktemp -d /tmp/minicon-compare.XXXXXX)
# State directories are on a tmpfs (/run) everywhere; and the disk is not what is compared.
mount -t tmpfs compare "$dir"
finish() {
	for runtime in "$minicon" crun runc; do
		"$runtime" --root "$dir/state/${runtime##*/}" delete --force compare >/dev/null 2>&1 || true
	done
	umount --lazy "$dir"
	rmdir "$dir"
}
trap finish EXIT

# What `spec` writes, but for the program, the terminal, and a version that older runtimes know.
bundle() {
	mkdir "$1"
	"$minicon" spec --bundle "$1"
	jq "$2"' | .process.terminal = false | .ociVersion = "1.0.2"' "$1/config.json" >"$1/config.json.new"
	mv "$1/config.json.new" "$1/config.json"
	cp -a "$rootfs" "$1/rootfs"
}
bundle "$dir/true" '.process.args = ["/bin/true"]'
bundle "$dir/true.sleep" '.process.args = ["/bin/sleep", "600"]'

version() { "$@" --version | head -n 1; }
cgroups="cgroup v1"
[ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ] || cgroups="cgroup v2"
[ "$hidden" = no ] || cgroups="$cgroups, $hidden"
sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort | uniq -c | sed 's/^ *//; s/ / x /'
echo "Linux $(uname -r), $cgroups"
echo "$(version "$minicon") ($(stat -c %s "$minicon") bytes), $(version crun), $(version runc)"
echo "load $(cut -d' ' -f1-3 /proc/loadavg) at the start"

"$compare" "$rounds" "$dir/state" "$dir/true" "minicon=$minicon" "crun=$(command -v crun)" "runc=$(command -v runc)"
