#!/bin/bash
# Runs podman with plyfs as its mount program, all in the directory $1, in a mount namespace of its own.
# $2 is plyfs, or empty: then the kernel's overlay mounts. Says what it saw on standard output; podman's own words go to standard error.
set -eu
place=$1 plyfs=$2
umount -l /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
program=
[ -z "$plyfs" ] || program="mount_program = \"$plyfs\""
cat >"$place/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$place/graph"
runroot = "$place/run"
[storage.options.overlay]
$program
END
# No cgroups, no bus, no network: what a bare machine has.
cat >"$place/containers.conf" <<END
[containers]
cgroups = "disabled"
netns = "host"
log_driver = "k8s-file"
default_ulimits = ["nofile=4096:4096", "nproc=2000:2000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
END
export CONTAINERS_STORAGE_CONF=$place/storage.conf CONTAINERS_CONF=$place/containers.conf
export BUILDAH_ISOLATION=chroot
trap 'podman rm -af >&2; podman rmi -af >&2' EXIT

root=$place/root
mkdir -p "$root"/{bin,etc,tmp,proc,dev,sys,gone,usr}
cp /bin/busybox "$root/bin/"
for tool in sh ls cat rm mkdir echo mount chmod stat ln mv grep; do ln -s busybox "$root/bin/$tool"; done
echo root:x:0:0:root:/:/bin/sh >"$root/etc/passwd"
echo old >"$root/gone/old"
chmod 1777 "$root/tmp"
tar -C "$root" -c . | podman import - base >&2

echo "== run"
podman run --name first base sh -c '
    grep -c "plyfs / fuse.plyfs" /proc/mounts
    rm -rf /gone; mkdir /gone; echo new >/gone/new; rm /etc/passwd
    stat -c %a /tmp; ls /gone'
echo "== diff"
podman diff first | sort
echo "== commit"
podman commit -q first second >&2
podman run --rm second sh -c 'ls /gone; ls /etc | grep -c passwd || true; stat -c %a /tmp'
echo "== build"
mkdir -p "$place/context"
cat >"$place/Containerfile" <<END
FROM base
RUN rm -rf /gone && mkdir /gone && echo one >/gone/one
RUN echo two >/gone/two && chmod 600 /gone/two
RUN mv /gone/one /gone/three && ln /gone/three /gone/four
END
podman build -q -t built -f "$place/Containerfile" "$place/context" >&2
podman run --rm built sh -c 'ls /gone; stat -c "%a %h" /gone/two /gone/four; cat /gone/four'
[ -n "$plyfs" ] || exit 0
echo "== version"
podman info | grep -A3 overlay.mount_program | grep Version
