# What podman's scripts share, to be sourced with $place, a directory, and $plynet set: a machine of its own in fresh
# mount and network namespaces, an outside, an image, and podman's configuration with the network back end $1.
[ -d "$place" ] && [ -x "$plynet" ]

mount -t tmpfs none /run
mkdir -p /run/netns /run/lock /var/lib/plynet /var/lib/cni
mount -t tmpfs none /var/lib/plynet
mount -t tmpfs none /var/lib/cni
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

mkdir "$place/helpers" "$place/cni" "$place/store"
cp "$plynet" "$place/helpers/netavark"
cp "$plynet" "$place/cni/plynet"
# Of this one podman only wants to know that it is there.
cp "$plynet" "$place/helpers/aardvark-dns"
ln -s /usr/lib/podman/rootlessport "$(command -v conmon)" "$place/helpers/"
cat >"$place/storage.conf" <<END
[storage]
driver = "vfs"
graphroot = "$place/store/graph"
runroot = "$place/store/run"
END
cat >"$place/containers.conf" <<END
[containers]
cgroups = "disabled"
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "$1"
network_config_dir = "$place/store/networks"
cni_plugin_dirs = ["$place/cni", "/usr/lib/cni"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
helper_binaries_dir = ["$place/helpers"]
END
export CONTAINERS_STORAGE_CONF=$place/storage.conf CONTAINERS_CONF=$place/containers.conf

mkdir -p "$place/root"/{bin,etc,tmp,proc,dev,sys,www}
cp /bin/busybox "$place/root/bin/"
for tool in sh cat echo sleep true httpd wget nslookup ip ping hostname; do
    ln -s busybox "$place/root/bin/$tool"
done
echo root:x:0:0:root:/:/bin/sh >"$place/root/etc/passwd"
tar -C "$place/root" -c . >"$place/base.tar"
cat >"$place/get" <<'END'
exec 3<>"/dev/tcp/$1/$2"
printf 'GET / HTTP/1.0\r\n\r\n' >&3
tail -n 1 <&3
END
chmod 755 "$place"

get() { timeout 5 bash "$place/get" "$@"; }
outside_gets() { timeout 5 ip netns exec outside bash "$place/get" "$@"; }
# In the network of the container $1, by address.
inside() { timeout 5 nsenter --net="/proc/$(podman inspect -f '{{.State.Pid}}' "$1")/ns/net" bash "$place/get" "$2" "$3"; }
run() { podman run --security-opt seccomp=unconfined "$@"; }
# The command of a web server that says $1.
serve() { echo "echo $1 >/www/index.html; httpd -f -p 80 -h /www"; }
# What a host has besides plynet must be the same at the end.
state() {
    nft --stateless list ruleset
    ip -o link | awk -F': ' '{ print $2 }' | sort
    find /run/plynet/net /run/plynet/port -type f -o -type l || true
}
# Waits until the responder has ended, and compares with $1.
nothing_is_left() {
    for _ in $(seq 100); do
        [ "$(state 2>/dev/null)" != "$1" ] || "$plynet" dns status | grep -q process || break
        sleep 0.05
    done
    diff <(echo "$1") <(state 2>/dev/null) && echo "nothing is left"
}
