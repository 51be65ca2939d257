# minicon's build. On a fresh Debian 12 machine with rustup, `make demo` and `make test` do all the set-up themselves.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# rustup puts cargo here, but only login shells learn of it.
export PATH := $(PATH):$(HOME)/.cargo/bin
export CARGO_TARGET_DIR ?= $(CURDIR)/target

CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
RELEASE := $(CARGO_TARGET_DIR)/release/minicon
QUICK := $(CARGO_TARGET_DIR)/quick/minicon
FAULTS := $(CARGO_TARGET_DIR)/faults/minicon
PROBE := $(CARGO_TARGET_DIR)/quick/probe
BENCH := $(CARGO_TARGET_DIR)/quick/bench
CONFORMANCE := $(CARGO_TARGET_DIR)/quick/conformance
# What the conformance suite and the published escapes are tried on.
RUNTIME ?= $(QUICK)

COMMA := ,
# One static file at a fixed address: nothing to look up or relocate before main, nothing to find inside a container.
STATIC := -C target-feature=+crt-static -C relocation-model=static
# Where our own code runs before the C library starts (src/sys/early.rs); elsewhere the C library's entry does.
ENTRY := $(if $(filter x86_64,$(shell uname -m)),-C link-arg=-Wl$(COMMA)--entry=minicon_entry)
# Functions that are used together lie together. The symbol has cargo link anew when the list has changed.
ORDERED := -C linker=$(CURDIR)/scripts/cc-in-order.sh \
	-C link-arg=-Wl$(COMMA)--defsym=minicon_layout=$(shell cksum <scripts/layout.txt | cut -d ' ' -f 1)

# What building takes, what the demo takes, and what the tests take (Debian 12 names).
# netavark, aardvark-dns and iptables are podman's default network; catatonit is its --init; runc, crun and
# libseccomp are what minicon is compared with.
BUILD_PACKAGES := gcc libc6-dev
DEMO_PACKAGES := $(BUILD_PACKAGES) busybox-static
TEST_PACKAGES := $(DEMO_PACKAGES) aardvark-dns ca-certificates catatonit conmon crun iproute2 iptables jq \
	libseccomp-dev netavark podman procps runc strace uidmap util-linux
# The other engines, and what rootless podman takes: networks by slirp4netns, and on an old
# kernel layers by fuse-overlayfs. Installing starts no daemon; where there is systemd, Debian enables docker and
# containerd for the next boot.
ENGINE_PACKAGES := $(TEST_PACKAGES) buildah containerd docker.io fuse-overlayfs slirp4netns umoci
# The virtual machines see this machine's files, so what runs there is installed here. qemu-system-common has virtiofsd,
# kmod, zstd and xz-utils unpack a kernel.
VM_PACKAGES := $(TEST_PACKAGES) apparmor criu dbus dbus-user-session fuse-overlayfs kmod libpam-systemd qemu-system-common \
	qemu-system-x86 slirp4netns systemd xz-utils zstd

.PHONY: help release quick probe rootfs check deps deps-build deps-demo deps-engines deps-vm test test-engines \
	test-faults test-swarm test-vm vm-shell demo bench bench-draw compare layout nightly \
	docs completions install uninstall deb clean FORCE fuzz deny soak \
	test-escapes conformance conformance-build conformance-coverage \
	conformance-runtime-tools conformance-spec

help:
	@echo "make demo     build, then one container through its whole life, with limits"
	@echo "make test     install what the tests need, and run them all (as root)"
	@echo "make test-engines  tests with dockerd, containerd, podman (also rootless), buildah and umoci (as root)"
	@echo "make test-swarm  tests with two nodes of Docker Swarm (as root)"
	@echo "make test-vm  tests in virtual machines: cgroup v2 alone, without systemd and with it (as root)"
	@echo "make test-faults  a fault at every step, and the host as it was after delete --force (as root)"
	@echo "make test-escapes  published escapes, tried on RUNTIME=PROGRAM in a virtual machine (as root)"
	@echo "make fuzz     every fuzz target for TIME=60 seconds; needs cargo-fuzz and a nightly compiler"
	@echo "make deny     licences and sources of what is built in, and what may not be"
	@echo "make soak     500 running containers and eight workers for MINUTES=10: errors, leaks, times (as root)"
	@echo "make vm-shell a shell in such a machine; scripts/vm/run.sh runs any command there"
	@echo "make check    format, lints and unit tests: no root, a minute"
	@echo "make release  $(RELEASE:$(CURDIR)/%=%): static, stripped, optimised at link time"
	@echo "make quick    the same without the slow link: what the tests run"
	@echo "make install  that, man pages and completions below PREFIX (/usr/local) and DESTDIR"
	@echo "make deb      a Debian package of the same, with cargo-deb, in build/"
	@echo "make docs completions  the man pages and completions anew, from the command line that is parsed"
	@echo "make bench    minicon, crun, runc and the floor side by side, and the charts of it (as root; a quarter of an hour)"
	@echo "make layout   which functions the commands execute, for the order in which they are linked (as root; minutes)"
	@echo "make compare  the short form: run and an engine's commands, in a minute"
	@echo "make conformance  every sentence of the specification, as tests of RUNTIME=PROGRAM (as root)"
	@echo "make rootfs   a root file system for each of bundles/*"
	@echo "make nightly  all that takes long: racers, soak, fuzzing, faults, Swarm, benchmarks (hours, as root)"
	@echo "make clean    remove all that was built"

release layout: export MINICON_COMMIT ?= $(shell git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
release: deps-build
	$(CARGO) rustc --locked --release --bin minicon -- $(STATIC) $(ENTRY) $(ORDERED)
	@scripts/static.sh $(RELEASE)

quick:
	$(CARGO) rustc --locked --profile quick --bin minicon -- $(STATIC) $(ENTRY)

# Both are committed, and a test of xtask fails if they are not what these would write.
docs:
	$(CARGO) run --locked --quiet -p xtask -- man docs/man

completions:
	$(CARGO) run --locked --quiet -p xtask -- completions completions

PREFIX ?= /usr/local
# Where the shells look, below PREFIX.
BASH_COMPLETIONS := share/bash-completion/completions
ZSH_COMPLETIONS := share/zsh/site-functions
FISH_COMPLETIONS := share/fish/vendor_completions.d

# What is installed is what `make release` has left, so that root compiles nothing. DESTDIR for packages.
install:
	@test -x $(RELEASE) || { echo "make release first" >&2; exit 1; }
	install -D -m 755 $(RELEASE) $(DESTDIR)$(PREFIX)/bin/minicon
	install -d $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 docs/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8
	install -D -m 644 completions/minicon.bash $(DESTDIR)$(PREFIX)/$(BASH_COMPLETIONS)/minicon
	install -D -m 644 completions/_minicon $(DESTDIR)$(PREFIX)/$(ZSH_COMPLETIONS)/_minicon
	install -D -m 644 completions/minicon.fish $(DESTDIR)$(PREFIX)/$(FISH_COMPLETIONS)/minicon.fish

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/minicon $(DESTDIR)$(PREFIX)/$(BASH_COMPLETIONS)/minicon \
		$(DESTDIR)$(PREFIX)/$(ZSH_COMPLETIONS)/_minicon $(DESTDIR)$(PREFIX)/$(FISH_COMPLETIONS)/minicon.fish \
		$(patsubst docs/man/%,$(DESTDIR)$(PREFIX)/share/man/man8/%,$(wildcard docs/man/*.8))

# What is in the package is in Cargo.toml, package.metadata.deb.
deb: release
	@$(CARGO) deb --version >/dev/null 2>&1 || { echo "cargo install cargo-deb --locked" >&2; exit 1; }
	$(CARGO) deb --locked --no-build --no-strip --output build/

probe: $(PROBE)

# Cargo knows what the probe is made of; it touches the file only when that has changed.
$(PROBE): FORCE
	$(CARGO) rustc --locked --profile quick -p conformance --bin probe -- $(STATIC)

rootfs: $(patsubst %/config.json,%/rootfs,$(wildcard bundles/*/config.json))

# Copies, because a container's root may not be a symbolic link (runc refuses one).
bundles/%/rootfs: build/rootfs.stamp
	@rm -rf $@ && cp -a build/rootfs $@ && touch $@

build/rootfs.stamp: scripts/rootfs.sh $(PROBE)
	@mkdir -p build
	scripts/rootfs.sh $(CURDIR)/build/rootfs $(PROBE)
	@touch $@

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --locked --quiet --lib --test tidy
	$(CARGO) test --locked --quiet -p xtask -p benches
	$(CARGO) test --locked --quiet -p conformance --lib
	@# That the fuzz targets still build; the path keeps the fuzzer itself, which is C++, from being compiled.
	CUSTOM_LIBFUZZER_PATH=/none/none $(CARGO) check --locked --quiet --manifest-path fuzz/Cargo.toml --bins

deps:
	@scripts/packages.sh $(TEST_PACKAGES)

deps-build:
	@scripts/packages.sh $(BUILD_PACKAGES)

deps-demo:
	@scripts/packages.sh $(DEMO_PACKAGES)

# TEST_ARGS goes to cargo test: make test TEST_ARGS="--test cli -- mounts"
test: deps
	@$(MAKE) quick rootfs
	@MINICON=$(QUICK) PROBE=$(PROBE) scripts/test.sh $(TEST_ARGS)

deps-engines:
	@scripts/packages.sh $(ENGINE_PACKAGES)

# RUNTIME=/usr/sbin/runc puts another runtime in minicon's place, which tells whose fault a failure is.
# ENGINES chooses among them, TEST_ARGS among the cases: make test-engines ENGINES="docker containerd" TEST_ARGS=exec
test-engines: export ENGINES ?= all
test-engines: deps-engines
	@$(MAKE) quick
	@MINICON=$(QUICK) scripts/test.sh --test engines -- $(TEST_ARGS)

# Two dockerds with a cable between them, each in its own namespaces.
test-swarm:
	@$(MAKE) test-engines ENGINES=swarm

deps-vm:
	@scripts/packages.sh $(VM_PACKAGES)
	@scripts/vm/kernel.sh build/vm/kernel

# VM_TESTS chooses among the tests, VM_GUESTS among the machines: make test-vm VM_GUESTS=minimal VM_TESTS=cgroups_v2
test-vm: deps-vm
	@$(MAKE) quick rootfs
	@MINICON=$(QUICK) PROBE=$(PROBE) scripts/vm/test.sh $(VM_TESTS)

# RUNTIME=PROGRAM tries another; TESTS="CVE-2019-5736" a part; UPDATE=1 writes the table in SECURITY.md, RACE=1 runs the
# racers too, 20 seconds each, and RACE=60 so many.
test-escapes: deps-vm
	@$(if $(filter $(QUICK),$(RUNTIME)),$(MAKE) quick)
	@UPDATE=$(UPDATE) ESCAPES_RACE=$(RACE) scripts/escapes.sh $(RUNTIME) $(TESTS)

# SHORT=1 puts one kind of fault at each step instead of all, TESTS="realistic start" tries a part. What is tried has its
# own directory and profile, so that no other build has any of it (decision 0024).
test-faults: deps
	$(CARGO) rustc --locked --profile faults --features faults --bin minicon -- $(STATIC) $(ENTRY)
	@grep -qF MINICON_FAULT $(FAULTS) # what scripts/static.sh looks for in a release
	@MINICON=$(FAULTS) FAULTS_SHORT=$(SHORT) scripts/test.sh --test faults -- $(TESTS)

# TARGETS="plan seccomp" for a part of fuzz/fuzz_targets.
fuzz:
	@scripts/fuzz.sh $(or $(TIME),60) $(TARGETS)

# On the release, as an engine would. CONTAINERS=500.
soak: deps
	@$(MAKE) release
	@MINICON=$(RELEASE) scripts/soak.sh $(or $(MINUTES),10) $(CONTAINERS)

# Advisories are a database of their own, fetched if it can be.
deny:
	@scripts/deny.sh

# VM_OPTIONS=--systemd for the one with systemd.
vm-shell: deps-vm
	@$(SUDO) scripts/vm/run.sh $(VM_OPTIONS)

demo: deps-demo
	@$(MAKE) release
	@$(SUDO) scripts/demo.sh $(RELEASE)

# ROUNDS=N, PARTS="run lifecycle" (of size run lifecycle trace instructions limit mounts seccomp parallel running) and
# VIEWS="v1 v2" make it shorter; CRUN_NEW=PROGRAM and YOUKI=PROGRAM take part as well. Only a whole run with the committed
# number of rounds goes into benches/results and from there into charts and documents, or any with JSON=FILE.
ROUNDS ?= 50
BENCH_WHOLE = $(if $(PARTS)$(VIEWS),,$(filter 50,$(ROUNDS)))
JSON_OF_BENCH = $(or $(JSON),$(if $(BENCH_WHOLE),benches/results/latest.json,build/bench.json))
YOUKI ?= $(shell command -v youki)
BENCH_RUNTIMES = minicon=$(RELEASE) floor=build/floor crun=$(shell command -v crun) $(if $(CRUN_NEW),crun-new=$(CRUN_NEW)) \
	runc=$(shell command -v runc) $(if $(YOUKI),youki=$(YOUKI))

bench: deps
	@$(MAKE) release rootfs build/floor
	$(CARGO) build --locked --quiet --profile quick -p benches
	@mkdir -p $(dir $(JSON_OF_BENCH))
	@$(SUDO) $(BENCH) measure rounds=$(ROUNDS) "parts=$(PARTS)" "views=$(VIEWS)" rootfs=build/rootfs \
		real=benches/bundles/real.json json=$(JSON_OF_BENCH) $(BENCH_RUNTIMES)
	@if [ $(JSON_OF_BENCH) = benches/results/latest.json ]; then $(MAKE) bench-draw; fi

# The charts and the tables anew, from the results that are there.
bench-draw:
	$(CARGO) run --locked --quiet --profile quick -p benches -- draw benches/results/latest.json benches/results README.md \
		docs/performance.md

compare:
	@$(MAKE) bench PARTS="run lifecycle" VIEWS=v1 ROUNDS=$(if $(filter 50,$(ROUNDS)),20,$(ROUNDS))

# A release with its symbols, each command an instruction at a time: scripts/layout.txt, for scripts/cc-in-order.sh.
layout: CARGO_TARGET_DIR := $(CURDIR)/target/layout
layout: deps
	@$(MAKE) rootfs
	CARGO_PROFILE_RELEASE_STRIP=false CARGO_TARGET_DIR=$(CARGO_TARGET_DIR) \
		$(CARGO) rustc --locked --release --bin minicon -- $(STATIC) $(ENTRY) $(ORDERED)
	CARGO_TARGET_DIR=$(CARGO_TARGET_DIR) $(CARGO) build --locked --quiet --profile quick -p benches
	@$(SUDO) $(CARGO_TARGET_DIR)/quick/bench measure rounds=1 parts=layout rootfs=build/rootfs \
		real=benches/bundles/real.json json=build/layout.json minicon=$(CARGO_TARGET_DIR)/release/minicon
	@{ echo "# Functions in the order in which they are linked: see scripts/cc-in-order.sh. Written by \`make layout\`."; \
		sort -s -n -k 1,1 build/functions.v1 build/functions.v2 | awk '!seen[$$2]++ { print $$2 }'; } >build/layout.txt
	@[ $$(wc -l <build/layout.txt) -gt 100 ] && mv build/layout.txt scripts/layout.txt

build/floor: benches/floor/floor.c
	@mkdir -p build
	gcc -O2 -Wall -Wextra -static -o $@ $<

# RUNTIME=PROGRAM tests another runtime, STRICT=1 gives it --strict, HIDE_CGROUP2=1 takes the cgroup2 mount of a hybrid
# host from it, JSON=FILE keeps the results, TESTS="hooks process.user" runs a part.
CONFORMANCE_FLAGS = --runtime $(RUNTIME) --probe $(PROBE) $(if $(STRICT),--strict) $(if $(HIDE_CGROUP2),--hide-cgroup2) \
	$(if $(JSON),--json $(JSON))

conformance: conformance-build
	@$(SUDO) $(CONFORMANCE) $(CONFORMANCE_FLAGS) $(TESTS)

# Static, so that a virtual machine can run it too.
conformance-build: $(PROBE)
	@$(if $(filter $(QUICK),$(RUNTIME)),$(MAKE) quick)
	$(CARGO) rustc --locked --quiet --profile quick -p conformance --bin conformance -- $(STATIC)

conformance-coverage: conformance-build
	@$(CONFORMANCE) --coverage conformance conformance/results/*.json

# DIR: a checkout of opencontainers/runtime-tools, built with `make runtimetest validation-executables`.
conformance-runtime-tools: conformance-build
	@$(SUDO) $(CONFORMANCE) $(CONFORMANCE_FLAGS) --runtime-tools $(DIR) $(TESTS)

# SPEC: a checkout of opencontainers/runtime-spec, to hold the table of sentences against.
conformance-spec: conformance-build
	@$(CONFORMANCE) --spec $(SPEC)

# All that takes long, each part timed; one that fails or is missing hides no other. NIGHTLY="soak deny" runs some.
nightly:
	@scripts/nightly.sh $(NIGHTLY)

clean:
	$(CARGO) clean
	rm -rf build bundles/*/rootfs
