#!/bin/sh
# The linker of `make release`: cc, told to put the functions that scripts/layout.txt lists next to each other, so that
# fewer pages of the program are touched (decision 0027).
#
# The hash at the end of a Rust name (17h, sixteen digits, E) changes with the compiler. A listed name that is not there stands
# for all that are the same but for the hash. Where the linker is not lld, or there is no nm, nothing is ordered.
set -eu

layout=$(dirname "$0")/layout.txt
case " $* " in *" -fuse-ld=lld "*) ;; *) exec cc "$@" ;; esac
command -v nm >/dev/null && [ -f "$layout" ] || exec cc "$@"

order=$(mktemp)
trap 'rm -f "$order"' EXIT
for file in "$@"; do
	case "$file" in *.o) nm --defined-only "$file" ;; esac
done | awk '
	function bare(name) { sub(/17h[0-9a-f]+E$/, "", name); return name }
	NR == FNR { there[$3] = 1; same[bare($3)] = same[bare($3)] "\n" $3; next }
	/^#/ || placed[$1]++ { next }
	/^_ZN/ && !($1 in there) {
		listed++
		if (!(bare($1) in same)) next
		found++
		count = split(same[bare($1)], names, "\n")
		for (i = 2; i <= count; i++) if (!(names[i] in done)) { done[names[i]]; print names[i] }
		next
	}
	/^_ZN/ { listed++; found++ }
	!($1 in done) { done[$1]; print $1 }
	END {
		if (found * 5 < listed * 4)
			print "scripts/layout.txt: only " found + 0 " of " listed " functions are there: make layout" >"/dev/stderr"
	}
' - "$layout" >"$order"
cc "$@" -Wl,--symbol-ordering-file="$order" -Wl,--no-warn-symbol-ordering
