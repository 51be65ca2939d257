#!/bin/bash
# Runs fuzz targets for some seconds each, one after the other: fuzz.sh SECONDS [TARGET]...
#
# Needs cargo-fuzz (cargo install cargo-fuzz) and a nightly compiler. What is found anew goes to target/fuzz, the kept
# corpus is fuzz/corpus; a crash stays in fuzz/artifacts. FUZZ_SANITIZER=address takes longer and looks at src/sys too.
set -euo pipefail

cd "$(dirname "$0")/.."
seconds=$1
shift
if [ $# = 0 ]; then mapfile -t targets < <(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | tail -n +2); else targets=("$@"); fi
export CARGO_TARGET_DIR=$PWD/fuzz/target
sanitizer=${FUZZ_SANITIZER:-none}

cargo +nightly fuzz build --sanitizer "$sanitizer"
failed=()
for target in "${targets[@]}"; do
	mkdir -p "fuzz/target/corpus/$target" "fuzz/corpus/$target"
	echo "==> $target"
	# Engines' profiles take a moment to compile; nothing takes seconds.
	cargo +nightly fuzz run --sanitizer "$sanitizer" "$target" "fuzz/target/corpus/$target" "fuzz/corpus/$target" -- \
		-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 2>&1 |
		tail -n 30 || failed+=("$target")
done
if [ ${#failed[@]} != 0 ]; then echo "failed: ${failed[*]}; see fuzz/artifacts" >&2; exit 1; fi
