#!/bin/bash
# Fetches the kernel of the guests, Debian's own, without installing it: kernel.sh DIRECTORY [PACKAGE]
#
# Leaves there vmlinux, lib/modules, and the kernel's config and version. virtiofs and all that it needs is built into
# the cloud kernel of Debian 12 (bookworm-security), so the guests need no initramfs.
set -euo pipefail

out=$(realpath -m "${1:?usage: kernel.sh DIRECTORY [PACKAGE]}")
package=${2:-linux-image-6.12-cloud-amd64}
if [ -e "$out/vmlinux" ]; then exit 0; fi

fail() { echo "kernel.sh: $*" >&2; exit 1; }
[ "$(uname -m)" = x86_64 ] || fail "the lab is made for x86_64, this is $(uname -m)"
for program in apt-get dpkg-deb depmod; do
	command -v "$program" >/dev/null || fail "the lab is made for Debian 12, and here is no $program"
done

sudo=
if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
new=$out.new.$$
trap 'rm -rf "$new"' EXIT
mkdir -p "$new"
cd "$new"

# The package depends on the one that has the kernel, whose name has the version.
fetch() {
	local versioned
	versioned=$(apt-cache depends "$package" 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
	[ -n "$versioned" ] && apt-get download -q "$versioned" </dev/null >&2
}
fetch || { $sudo apt-get update -q </dev/null >&2 && fetch; } ||
	fail "apt has no $package; it is in Debian 12's bookworm-security"
dpkg-deb -x ./*.deb .
rm ./*.deb
version=$(ls lib/modules)
mv "boot/config-$version" config
# The package leaves the list of dependencies to be made when it is installed.
depmod -b . "$version"

# Unpacked here, the kernel starts a second sooner than it would unpack itself on an emulated processor. The fields are
# setup_sects, payload_offset and payload_length of Documentation/arch/x86/boot.rst.
image=boot/vmlinuz-$version
field() { od -An -t"u$2" -j"$1" -N"$2" "$image" | tr -d ' '; }
offset=$((($(field 0x1f1 1) + 1) * 512 + $(field 0x248 4)))
case $(od -An -tx4 -j"$offset" -N4 "$image" | tr -d ' ') in
fd2fb528) unpack=(zstd -dc) ;;
*) unpack=(xz -dc --single-stream) ;;
esac
# Its size stands behind the packed data, which the unpacker takes for garbage.
tail -c "+$((offset + 1))" "$image" | head -c "$(field 0x24c 4)" | "${unpack[@]}" >vmlinux 2>/dev/null || true
[ "$(head -c 4 vmlinux | tail -c 3)" = ELF ] || fail "$image holds no kernel that could be unpacked"
rm -r boot usr
echo "$version" >version

rm -rf "$out"
mv "$new" "$out"
echo "Linux $version in ${out#"$OLDPWD/"}"
