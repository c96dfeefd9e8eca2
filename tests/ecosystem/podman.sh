#!/bin/bash
# Runs podman with plynet as its netavark, all in the directory $1, in mount and network namespaces of its own, where
# plynet keeps its books in a fresh /run. $2 is plynet. Says what it saw on standard output; podman's own words go to standard error.
set -eu
place=$1 plynet=$2
mount -t tmpfs none /run
mkdir -p /run/netns /run/lock /var/lib/plynet
mount -t tmpfs none /var/lib/plynet
umount -l /sys/fs/cgroup 2>/dev/null || true
mount -t sysfs none /sys
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up

# The outside: another host, with a resolver of its own that nobody has to ask.
ip netns add outside
ip link add up0 type veth peer name eth0 netns outside
ip addr add 192.0.2.1/24 dev up0
ip link set up0 up
ip -n outside addr add 192.0.2.9/24 dev eth0
ip -n outside link set eth0 up
ip route add default via 192.0.2.9
echo nameserver 192.0.2.9 >"$place/resolv.conf"
mount --bind "$place/resolv.conf" /etc/resolv.conf

mkdir "$place/helpers"
cp "$plynet" "$place/helpers/netavark"
# Of this one podman only wants to know that it is there.
cp "$plynet" "$place/helpers/aardvark-dns"
ln -s /usr/lib/podman/rootlessport "$(command -v conmon)" "$place/helpers/"
cat >"$place/storage.conf" <<END
[storage]
driver = "vfs"
graphroot = "$place/graph"
runroot = "$place/run"
END
cat >"$place/containers.conf" <<END
[containers]
cgroups = "disabled"
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "netavark"
network_config_dir = "$place/networks"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
helper_binaries_dir = ["$place/helpers"]
END
export CONTAINERS_STORAGE_CONF=$place/storage.conf CONTAINERS_CONF=$place/containers.conf
trap 'podman rm -af -t 0 >&2; podman rmi -af >&2' EXIT

root=$place/root
mkdir -p "$root"/{bin,etc,tmp,proc,dev,sys,www}
cp /bin/busybox "$root/bin/"
for tool in sh cat echo sleep httpd wget nslookup ip ping hostname; do ln -s busybox "$root/bin/$tool"; done
echo root:x:0:0:root:/:/bin/sh >"$root/etc/passwd"
tar -C "$root" -c . | podman import - base >&2
run() { podman run --security-opt seccomp=unconfined "$@"; }
# What a host has besides plynet must be the same at the end.
state() {
    nft list ruleset
    ip -o link | awk -F': ' '{ print $2 }' | sort
    find /run/plynet/net /run/plynet/port -type f -o -type l || true
}

before=$(state 2>/dev/null)
echo "== networks"
podman network create --subnet 10.77.0.0/24 blue >&2
podman network create --subnet 10.78.0.0/24 red >&2
cat >"$place/get" <<'END'
exec 3<>"/dev/tcp/$1/$2"
printf 'GET / HTTP/1.0\r\n\r\n' >&3
tail -n 1 <&3
END
get() { timeout 5 "$@"; }
# In the network of a container, by address.
inside() { get nsenter --net="/proc/$(podman inspect -f '{{.State.Pid}}' "$1")/ns/net" bash "$place/get" "$2" "$3"; }
echo "== two containers"
run -d --name web --network blue --network-alias www -p 8080:80 base \
    sh -c 'echo hello >/www/index.html; httpd -f -p 80 -h /www' >&2
run -d --name client --network blue base sleep 1000 >&2
run -d --name other --network red base sleep 1000 >&2
podman exec client cat /etc/resolv.conf | grep -v '^options'
podman exec client wget -q -O - http://web/
podman exec client wget -q -O - http://www.dns.podman/
podman exec client nslookup 10.77.0.2 10.77.0.1 | grep -o 'name = .*'
podman exec other wget -T 3 -q -O - http://web/ || echo "no such name on another network"
inside other 10.77.0.2 80 2>/dev/null || echo "no way into another network"
echo "== published"
get bash "$place/get" 192.0.2.1 8080
get bash "$place/get" 127.0.0.1 8080
get ip netns exec outside bash "$place/get" 192.0.2.1 8080
inside client 192.0.2.1 8080
inside web 192.0.2.1 8080
podman exec client ping -c 1 -W 2 192.0.2.9 | grep -o '1 packets received'
echo "== a port twice"
run --rm --network blue -p 8080:81 base echo impossible 2>&1 | grep -o 'port 8080.tcp of the host is taken by container' || true
echo "== restart"
podman restart -t 0 web >&2
podman exec client wget -q -O - http://web/
get ip netns exec outside bash "$place/get" 192.0.2.1 8080
echo "== gone"
podman rm -f -t 0 web client other >&2
podman network rm blue red >&2
for _ in $(seq 100); do
    [ "$(state 2>/dev/null)" != "$before" ] || "$plynet" dns status | grep -q process || break
    sleep 0.05
done
diff <(echo "$before") <(state 2>/dev/null) && echo "nothing is left"
