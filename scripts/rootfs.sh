#!/bin/sh
# Makes the root filesystem of the bundles: rootfs.sh DIRECTORY [PROBE]
#
# From Debian's static busybox where there is one, else from the probe, a static program of this
# project that answers to the few names the hello bundle needs. It is made beside its place and then
# renamed, so that whoever runs containers meanwhile sees the old tree or the new one, never half.
set -eu

dest=$1
probe=${2:-}
busybox=${BUSYBOX:-$(command -v busybox || true)}

new=$dest.new.$$
trap 'rm -rf "$new"' EXIT
mkdir -p "$new"
cd "$new"

mkdir -p bin dev etc home/app mnt proc root run sys tmp usr var/tmp
chmod 755 . bin dev etc home home/app mnt proc run sys usr var
chmod 1777 tmp var/tmp
chmod 700 root
# Images spell the search path in many ways; all of them lead to the one directory.
ln -s bin sbin
ln -s ../bin usr/bin
ln -s ../bin usr/sbin

cat > etc/passwd <<END
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
END
cat > etc/group <<END
root:x:0:
tty:x:5:
app:x:1000:
wheel:x:10:app
nogroup:x:65534:
END
printf 'root:*:::::::\napp:*:::::::\n' > etc/shadow
chmod 640 etc/shadow
if [ "$(id -u)" = 0 ]; then chown 1000:1000 home/app; fi

if [ -n "$probe" ] && [ -x "$probe" ]; then install -m 755 "$probe" bin/probe; fi
if [ -n "$busybox" ]; then
	install -m 755 "$busybox" bin/busybox
	for applet in $("$busybox" --list); do
		[ -e "bin/$applet" ] || ln -s busybox "bin/$applet"
	done
elif [ -x bin/probe ]; then
	for name in cat echo false id sleep true; do ln -s probe "bin/$name"; done
	echo "rootfs: no busybox: only the hello bundle has its program" >&2
else
	echo "rootfs: neither busybox nor the probe: apt-get install busybox-static" >&2
	exit 1
fi

cd /
old=$dest.old.$$
if [ -e "$dest" ]; then mv "$dest" "$old"; fi
mv "$new" "$dest"
rm -rf "$old"
