#!/bin/bash
# Licences, forbidden crates and sources must be as deny.toml says; advisories count if their database can be fetched.
set -euo pipefail

cd "$(dirname "$0")/.."
command -v cargo-deny >/dev/null || { echo "there is no cargo-deny: cargo install cargo-deny --locked" >&2; exit 1; }
cargo deny check licenses bans sources
# "fetch" tells apart what cannot be reached and what is wrong.
if cargo deny fetch db 2>/dev/null; then
	cargo deny check --disable-fetch advisories
else
	echo "advisories: not run, their database cannot be reached"
fi
