#!/bin/bash
# What an attach and a detach cost, with one published port: plynet, Debian's netavark (without names) and Debian's CNI
# plugins bridge, host-local and portmap, one after the other in fresh network namespaces. As root, on an idle machine.
#
#   cargo build --release && bash benches/net.sh [CONTAINERS] [PLYNET]   # TOOLS="plynet cni": only these
#
# Prints seconds of the processor and of the clock for each attach and detach, those of the first and the last tenth of
# the attaches, and the processes that one attach starts.
set -eu
count=${1:-50} plynet=$(realpath "${2:-target/release/plynet}")
[ "${3:-}" = inside ] || exec unshare --mount --net --propagation private bash "$0" "$count" "$plynet" inside
mount -t tmpfs none /run
mount -t tmpfs none /var/lib/cni 2>/dev/null || { mkdir -p /var/lib/cni; mount -t tmpfs none /var/lib/cni; }
mount -t sysfs none /sys
mkdir -p /run/netns /run/lock
ip link set lo up
export CNI_PATH=/usr/lib/cni CNI_IFNAME=eth0
plynet="$plynet --root /run/root --run /run/plynet"
$plynet network create bench --subnet 10.90.0.0/16 --dns=false >/dev/null

plynet_up() { $plynet attach bench --netns "/run/netns/n$1" --name "n$1" -p "$((10000 + $1)):80" >/dev/null; }
plynet_down() { $plynet detach bench --name "n$1"; }

netavark() {
    /usr/lib/podman/netavark --config /run/netavark --rootless=false --aardvark-binary=/bin/false "$1" "/run/netns/n$2" >/dev/null <<END
{"container_id":"n$2","container_name":"n$2","port_mappings":[{"host_ip":"","container_port":80,"host_port":$((20000 + $2)),"range":1,"protocol":"tcp"}],
"networks":{"bench":{"static_ips":["10.91.$(($2 / 250)).$(($2 % 250 + 2))"],"interface_name":"eth0"}},
"network_info":{"bench":{"name":"bench","id":"b","driver":"bridge","network_interface":"nv0","subnets":[{"subnet":"10.91.0.0/16","gateway":"10.91.0.1"}],
"ipv6_enabled":false,"internal":false,"dns_enabled":false,"ipam_options":{"driver":"host-local"}}}}
END
}
netavark_up() { netavark setup "$1"; }
netavark_down() { netavark teardown "$1"; }

bridge() {
    printf '{"cniVersion":"1.0.0","name":"bench","type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,"ipam":{"type":"host-local","subnet":"10.92.0.0/16","routes":[{"dst":"0.0.0.0/0"}]}}'
}
portmap() {
    printf '{"cniVersion":"1.0.0","name":"bench","type":"portmap","runtimeConfig":{"portMappings":[{"hostPort":%d,"containerPort":80,"protocol":"tcp"}]},"prevResult":%s}' \
        $((30000 + $1)) "$(cat "/run/result$1")"
}
cni_up() {
    export CNI_CONTAINERID=n$1 CNI_NETNS=/run/netns/n$1 CNI_COMMAND=ADD
    bridge | /usr/lib/cni/bridge >"/run/result$1"
    portmap "$1" | /usr/lib/cni/portmap >/dev/null
    unset CNI_COMMAND
}
cni_down() {
    export CNI_CONTAINERID=n$1 CNI_NETNS=/run/netns/n$1 CNI_COMMAND=DEL
    portmap "$1" | /usr/lib/cni/portmap >/dev/null
    bridge | /usr/lib/cni/bridge
    unset CNI_COMMAND
}

# Milliseconds: processor and clock, for each of N calls of $1 with the numbers $2 to $3.
cost() {
    local TIMEFORMAT='%U %S %R' spent
    spent=$({ time for i in $(seq "$2" "$3"); do "$1" "$i" 2>>/run/complaints; done; } 2>&1)
    awk -v n=$(($3 - $2 + 1)) '{ printf "%8.2f %8.2f", ($1 + $2) * 1000 / n, $3 * 1000 / n }' <<<"$spent"
}

tenth=$((count / 10 > 0 ? count / 10 : 1))
printf '%-9s %17s %17s %17s %17s %10s\n' ms 'attach cpu  wall' 'first tenth' 'last tenth' 'detach cpu  wall' processes
for tool in ${TOOLS:-plynet netavark cni}; do
    for i in $(seq 0 "$count"); do ip netns add "n$i"; done
    "${tool}_up" 0 2>>/run/complaints
    first=$(cost "${tool}_up" 1 "$tenth")
    middle=$(cost "${tool}_up" $((tenth + 1)) $((count - tenth)))
    last=$(cost "${tool}_up" $((count - tenth + 1)) "$count")
    down=$(cost "${tool}_down" 1 "$count")
    "${tool}_down" 0 2>>/run/complaints
    # What the shell itself starts counts for none of them: programs that are executed after the first.
    export -f "${tool}_up" netavark bridge portmap; export plynet
    strace -f -qq -e trace=execve -o /run/trace bash -c "${tool}_up 0" 2>>/run/complaints || true
    processes=$(grep -c '= 0$' /run/trace || true)
    "${tool}_down" 0 2>>/run/complaints
    printf '%-9s %s %s %s %s %10s\n' "$tool" "$middle" "$first" "$last" "$down" "$processes"
    for i in $(seq 0 "$count"); do ip netns del "n$i"; done
done
[ ! -s /run/complaints ] || { echo "complaints:" >&2; sort /run/complaints | uniq -c | sort -rn | head -5 >&2; }
