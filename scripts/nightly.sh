#!/bin/bash
# Everything that takes too long for each change, one part after the other: nightly.sh [PART]...
#
# Each is timed. One that fails, or whose target is missing, does not keep the others from running; the table at the end
# has all of them, and the exit status is that of the worst. NIGHTLY_TIME is the seconds that each fuzz target gets (1800),
# NIGHTLY_MINUTES the minutes of the soak (10).
set -uo pipefail

cd "$(dirname "$0")/.." || exit
wanted=("$@")
[ $# != 0 ] || wanted=(tests racers soak fuzz swarm faults bench deny)
mkdir -p build
table=$(printf '%-8s %8s  %s' part seconds result) failed=0

part() {
	local name=$1 start=$SECONDS status=0 result=ok
	shift
	if [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
	echo "==> $name: $*"
	# Its own words are kept beside those of the others.
	"$@" </dev/null 2>&1 | tee "build/nightly.$name.log" || status=$?
	if [ "$status" != 0 ]; then
		result="FAILED ($status), see build/nightly.$name.log" failed=1
		if grep -q 'No rule to make target' "build/nightly.$name.log"; then result="MISSING: there is no such target"; fi
	fi
	echo "<== $name: $((SECONDS - start)) s, $result"
	table+=$'\n'$(printf '%-8s %8d  %s' "$name" $((SECONDS - start)) "$result")
}

part tests env PROPTEST_CASES=20000 make test
part racers make test-escapes RACE=1
part soak make soak MINUTES="${NIGHTLY_MINUTES:-10}"
part fuzz make fuzz TIME="${NIGHTLY_TIME:-1800}"
part swarm make test-swarm
part faults make test-faults
part bench make bench
part deny make deny

printf '\n%s\n' "$table"
for name in "${wanted[@]}"; do
	[[ $table == *$'\n'"$name "* ]] || { echo "there is no part $name" >&2; failed=1; }
done
exit "$failed"
