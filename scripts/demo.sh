#!/bin/bash
# One container through its whole life, each command shown before it runs: demo.sh [RUNTIME]
#
# Everything happens in a temporary directory that is gone afterwards; the last step checks that nothing else is left.
set -euo pipefail

cd "$(dirname "$0")/.."
minicon=$(realpath "${1:-target/release/minicon}")
id=demo-$$
dir=$(mktemp -d /tmp/minicon-demo.XXXXXX)
bundle=$dir/bundle
# Not the default, so that the demo neither sees nor disturbs containers of this machine.
root=$dir/state

minicon() { "$minicon" --root "$root" "$@"; }

bold='' blue='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' blue=$'\e[36m' plain=$'\e[0m'; fi

tell() { printf '\n%s# %s%s\n' "$blue" "$*" "$plain"; }

# The command as one would type it: quotes only where the shell needs them.
say() {
	local word line='$ minicon'
	for word; do
		if [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then line+=" $word"; else line+=" '$word'"; fi
	done
	printf '%s%s%s\n' "$bold" "$line" "$plain"
}

show() {
	say "$@"
	minicon "$@"
}

finish() {
	minicon delete --force "$id" >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap finish EXIT

# What must be the same before and after: mounts, and everything of the container's name.
mounts() { sed 's/^[0-9]* [0-9]* //' /proc/self/mountinfo | sort; }
cgroups_of() { find /sys/fs/cgroup -type d -name "*$id*" 2>/dev/null || true; }

# The file in which the container's cgroup holds a limit: v1's name for it, then v2's.
limit() {
	local controller=$1 file=$2 unified=$3 hierarchy path
	while IFS=: read -r hierarchy controllers path; do
		case ",$controllers," in
		*,"$controller",*)
			for mount in "$controller" "$controllers"; do
				if [ -e "/sys/fs/cgroup/$mount$path/$file" ]; then cat "/sys/fs/cgroup/$mount$path/$file"; return; fi
			done ;;
		,,)
			if [ "$hierarchy" = 0 ] && [ -e "/sys/fs/cgroup$path/$unified" ]; then cat "/sys/fs/cgroup$path/$unified"; return; fi ;;
		esac
	done <"/proc/$pid/cgroup"
	echo "no such controller here"
}

mounts >"$dir/mounts.before"
tell "$("$minicon" --version | head -n 1), $(stat -c %s "$minicon") bytes, on Linux $(uname -r)"
echo "Each \`minicon\` below is $minicon --root $root"

tell "A bundle: a root file system (busybox), and a config.json that says what the container may do."
mkdir "$bundle"
scripts/rootfs.sh "$bundle/rootfs"
cp scripts/demo.json "$bundle/config.json"
sed -n '/"resources"/,/^    }/p' "$bundle/config.json"

tell "create: everything is made ready; the program does not run yet."
create=(create --bundle "$bundle" --pid-file "$dir/pid" "$id")
say "${create[@]}"
minicon "${create[@]}" </dev/null >"$dir/output" 2>&1 || { cat "$dir/output"; exit 1; }
pid=$(cat "$dir/pid")
show state "$id"; echo

tell "The limits are in force already; read from the container's cgroup, outside:"
echo "memory $(limit memory memory.limit_in_bytes memory.max) bytes"
echo "pids   $(limit pids pids.max pids.max)"
echo "cpu    $(limit cpu cpu.cfs_quota_us cpu.max) µs in each 100000"

tell "start: the program runs."
show start "$id"
for _ in $(seq 100); do grep -q 'sleeping' "$dir/output" && break; sleep 0.05; done
tell "What it printed, from inside:"
cat "$dir/output"
grep -q 'memory 67108864' "$dir/output" || { echo "the limits were not seen inside" >&2; exit 1; }

tell "exec: a second process in the same container."
show exec "$id" ps
tell "The limit on processes holds: a shell inside starts one after the other until it is refused."
show exec "$id" sh -c 'n=0; trap "echo refused after \$n" EXIT; while :; do sleep 9 & n=$((n + 1)); done' 2>&1 || true

tell "kill, and the state after it."
show kill "$id" KILL
for _ in $(seq 100); do minicon state "$id" | grep -q '"stopped"' && break; sleep 0.05; done
minicon state "$id" | grep '"status"'

tell "delete: nothing is left."
show delete "$id"

mounts >"$dir/mounts.after"
diff "$dir/mounts.before" "$dir/mounts.after"
if [ -n "$(cgroups_of)" ]; then echo "a cgroup is left:" >&2; cgroups_of >&2; exit 1; fi
if [ -d "/proc/$pid" ] && ! grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null; then echo "process $pid is left" >&2; exit 1; fi
if [ -n "$(ls -A "$root" 2>/dev/null)" ]; then echo "state is left:" >&2; ls -A "$root" >&2; exit 1; fi
echo "no process, no mount, no cgroup, no state directory"
