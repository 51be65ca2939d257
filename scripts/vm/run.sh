#!/bin/bash
# Runs a command as root in a virtual machine that is gone afterwards: run.sh [OPTION]... [--] [COMMAND [ARGUMENT]...]
#
#   --systemd       systemd is PID 1; without it nothing runs beside the command
#   --show DIR      the guest sees this directory even if it is not on the same file system as /, or in a home
#   --log FILE      keeps the guest's console (the kernel's messages) there
#   --timeout SEC   the longest that it may take, 600 if not given
#
# The guest sees this machine's / and may write to what it sees, but into its own memory: nothing reaches this machine
# but the output, which is streamed, and the exit status. The command runs where the caller is. One word is a line of
# shell; no command at all is a shell on this terminal, left with Ctrl-D (Ctrl-A X ends the machine).
# Status 124: it took too long; 125: the guest died without a word.
#
# VM_ACCEL=kvm takes the processor's help instead of emulating one; VM_CPUS and VM_MEMORY are 2 and 2G.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
kernel=$here/../../build/vm/kernel
virtiofsd=/usr/lib/qemu/virtiofsd
mode=minimal shown=() log='' timeout=600
while [ $# -gt 0 ]; do
	case $1 in
	--systemd) mode=systemd ;;
	--show) shown+=("$(realpath "$2")"); shift ;;
	--log) log=$(realpath -m "$2"); shift ;;
	--timeout) timeout=$2; shift ;;
	--) shift; break ;;
	-*) echo "run.sh: unknown option $1" >&2; exit 2 ;;
	*) break ;;
	esac
	shift
done

fail() { echo "run.sh: $*" >&2; exit 125; }
[ "$(id -u)" = 0 ] || fail "needs root, to give the guest this machine's files"
[ -e "$kernel/vmlinux" ] || fail "there is no kernel; make deps-vm fetches it"
[ -x "$virtiofsd" ] || fail "there is no $virtiofsd; make deps-vm installs it on Debian 12"

dir=$(mktemp -d /tmp/minicon-vm.XXXXXX)
servers=()
# shellcheck disable=SC2317
finish() {
	for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; done
	wait
	rm -rf "$dir"
}
trap finish EXIT
mkdir "$dir/job" "$dir/sockets"
cp "$here"/guest/* "$dir/job/"
: "${log:=$dir/console}"

# What the guest is to do.
echo "$PWD" >"$dir/job/directory"
case $# in
0) ;;
1) printf '%s\n' "$1" >"$dir/job/command" ;;
*) printf '%q ' "$@" >"$dir/job/command" ;;
esac

# Serves a directory to the guest, bound read-only in a mount namespace of the server's own: not even root in the guest
# can change that. What is mounted below it is not bound along: /proc, /sys and /dev are not seen.
share() { # NAME DIRECTORY ro|rw
	mkdir "$dir/share.$1"
	# shellcheck disable=SC2016
	unshare --mount --propagation private sh -c '
		mount --bind "$2" "$3" && cache=auto
		if [ "$4" = ro ]; then mount -o remount,bind,ro "$3" && cache=always; fi
		exec "$1" --socket-path="$5" -o "source=$3,sandbox=namespace,cache=$cache,xattr,log_level=err" --rlimit-nofile=65536
		' sh "$virtiofsd" "$2" "$dir/share.$1" "$3" "$dir/sockets/$1" >"$dir/share.$1.log" 2>&1 &
	servers+=($!)
}
share root / ro
share kernel "$kernel" ro
share job "$dir/job" rw
for directory in "${shown[@]}"; do
	case $directory/ in
	/tmp/* | /home/* | /var/lib/containers/*) ;; # the guest has these of its own
	*) [ "$(stat -c %d "$directory")" != "$(stat -c %d /)" ] || continue ;;
	esac
	number=$((${#servers[@]} - 3))
	printf '%s\n' "$directory" >"$dir/job/show$number"
	share "show$number" "$directory" ro
done
for _ in $(seq 200); do
	[ "$(find "$dir/sockets" -type s | wc -l)" -lt ${#servers[@]} ] || break
	sleep 0.05
done

# shellcheck disable=SC2054
qemu=(qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot
	-smp "${VM_CPUS:-2}" -m "${VM_MEMORY:-2G}" -object "memory-backend-memfd,id=memory,size=${VM_MEMORY:-2G},share=on"
	-machine q35,memory-backend=memory)
# shellcheck disable=SC2054
case ${VM_ACCEL:-tcg} in
kvm) qemu+=(-accel kvm -cpu host) ;;
# One thread for both processors: with one each, one can trip over code that the kernel of the other has just changed
# (static keys; "Oops: int3"). -cpu max would spend 10 to 25 % more time, on emulated AVX2.
*) qemu+=(-accel tcg,thread=single -cpu Nehalem,+rdrand,+fsgsbase) ;;
esac
for socket in "$dir"/sockets/*; do
	name=${socket##*/}
	qemu+=(-chardev "socket,id=$name,path=$socket"
		-device "vhost-user-fs-pci,chardev=$name,tag=$name,queue-size=1024")
done
# A virtio port takes 16 MB/s where a serial console takes 0.1. A chardev "stdio" would end with our input, and with it
# the guest's output.
# shellcheck disable=SC2054
qemu+=(-device virtio-serial-pci -chardev file,id=output,path=/dev/stdout,append=on
	-device virtserialport,chardev=output,name=output)
if [ $# = 0 ]; then
	qemu+=(-serial mon:stdio)
	log=/dev/null timeout=infinity
else
	qemu+=(-serial "file:$log")
fi
# The root's init is a shell that takes everything else from the share of this run.
# shellcheck disable=SC2054
append=(root=root rootfstype=virtiofs ro console=ttyS0 quiet panic=-1 "vm.mode=$mode"
	mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on audit=0 nowatchdog cryptomgr.notests
	'init=/bin/sh -- -c "mount -t virtiofs job /mnt && exec sh /mnt/init"')

status=0
if [ $# = 0 ]; then
	"${qemu[@]}" -kernel "$kernel/vmlinux" -append "${append[*]}" || status=$?
else
	# Behind cat, so that our output is a pipe, which qemu can open by name.
	timeout --foreground -k 5 "$timeout" "${qemu[@]}" -kernel "$kernel/vmlinux" -append "${append[*]}" </dev/null | cat ||
		status=${PIPESTATUS[0]}
fi
if [ -s "$dir/job/status" ]; then exit "$(cat "$dir/job/status")"; fi
echo "run.sh: the guest has given no exit status (qemu's: $status); its last words:" >&2
tail -n 20 "$log" >&2
cat "$dir"/share.*.log >&2
if [ "$status" = 124 ]; then exit 124; fi
exit 125
