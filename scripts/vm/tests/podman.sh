#!/bin/bash
# In the guest with systemd: podman runs a container with minicon, as root and as the ordinary user. Its words are those
# of Rust's test harness, so that they can be counted with it.
set -uo pipefail

rootfs=$(realpath "$(dirname "$0")/../../../build/rootfs")
passed=0 failed=0

# Runs a case, compares what it prints with what it should print.
check() { # NAME EXPECTED COMMAND...
	local name=$1 expected=$2 printed
	shift 2
	if printed=$("$@" 2>/tmp/stderr) && [ "$printed" = "$expected" ]; then
		passed=$((passed + 1))
		echo "test podman::$name ... ok"
	else
		failed=$((failed + 1))
		echo "test podman::$name ... FAILED"
		printf 'printed:  %s\nexpected: %s\n' "$printed" "$expected"
		cat /tmp/stderr
	fi
}

# Podman's events and the containers' output would go to the journal.
cat >/etc/containers/containers.conf <<-END_OF_FILE
	[engine]
	events_logger = "file"
	runtime_supports_json = ["crun", "runc", "minicon"]
	[containers]
	log_driver = "k8s-file"
END_OF_FILE
cp -a "$rootfs" /tmp/rootfs
cp -a "$rootfs" /home/tester/rootfs
chown -R tester:tester /home/tester/rootfs

podman=(podman --runtime "$MINICON" --cgroup-manager=cgroupfs run --rm --network=none)
limits=(--memory=64m --pids-limit=77 --cpus=0.5)
print='cd /sys/fs/cgroup; id -u; cat memory.max pids.max cpu.max'

check a_rootful_container_has_its_limits $'0\n67108864\n77\n50000 100000' \
	"${podman[@]}" "${limits[@]}" --rootfs /tmp/rootfs sh -c "$print"
check a_rootless_container_runs 0 as-user "${podman[@]}" --rootfs /home/tester/rootfs id -u

if [ "$failed" = 0 ]; then verdict=ok; else verdict=FAILED; fi
echo "test result: $verdict. $passed passed; $failed failed; 0 ignored; 0 measured; 0 filtered out"
exit $((failed != 0))
