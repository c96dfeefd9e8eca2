#!/bin/bash
# As podman.sh, with podman's CNI back end and plynet as a plugin, in lists with plugins of containernetworking-plugins.
set -eu
place=$1 plynet=$2
. "$(dirname "$0")/setting.sh" cni
trap 'podman rm -af -t 0 >&2; podman rmi -af >&2' EXIT
podman import - base <"$place/base.tar" >&2
mkdir -p "$place/store/networks"
network() { cat >"$place/store/networks/$1.conflist"; }
# Ports by portmap, and what is forwarded is allowed by firewall.
network blue <<'END'
{ "cniVersion": "0.4.0", "name": "blue", "plugins": [
    { "type": "plynet", "capabilities": { "aliases": true, "ips": true, "mac": true },
      "ipam": { "type": "plynet", "ranges": [[{ "subnet": "10.77.0.0/24" }]] } },
    { "type": "portmap", "capabilities": { "portMappings": true } },
    { "type": "firewall", "backend": "iptables" },
    { "type": "tuning", "sysctl": { "net.ipv4.conf.eth0.arp_filter": "1" } } ] }
END
# Ports by plynet, addresses by host-local, and a limit.
network red <<'END'
{ "cniVersion": "1.0.0", "name": "red", "plugins": [
    { "type": "plynet", "capabilities": { "aliases": true, "ips": true, "mac": true, "portMappings": true },
      "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.78.0.0/24" }]],
                "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "10.99.0.0/16", "gw": "10.78.0.9" }] } },
    { "type": "bandwidth", "ingressRate": 80000000, "ingressBurst": 80000000 } ] }
END
# Once before: the chains that portmap and firewall make, and keep.
run --rm --network blue -p 8079:80 base true >&2
before=$(state 2>/dev/null)
echo "== two networks"
run -d --name web --network blue --network-alias www -p 8080:80 base sh -c "$(serve hello)" >&2
run -d --name client --network blue base sleep 1000 >&2
run -d --name other --network red -p 8081:80 base sh -c "$(serve other)" >&2
podman exec client cat /etc/resolv.conf | grep -v '^options'
podman exec client wget -q -O - http://web/
podman exec client wget -q -O - http://www.blue.plynet/
podman inspect -f '{{range $n, $one := .NetworkSettings.Networks}}{{$n}} {{$one.IPAddress}}{{end}}' client other
inside other 10.77.0.2 80 2>/dev/null || echo "no way into another network"
podman exec other ip route | grep -o '^10.99.* eth0'
echo "== published, by portmap and by plynet"
for port in 8080 8081; do
    get 192.0.2.1 "$port"
    outside_gets 192.0.2.1 "$port"
done
podman exec client ping -c 1 -W 2 192.0.2.9 | grep -o '1 packets received'
echo "== other plugins"
tc qdisc show | grep -c 'qdisc tbf .* dev veth'
podman exec client cat /proc/sys/net/ipv4/conf/eth0/arp_filter
"$plynet" doctor
echo "== restart"
podman restart -t 0 web other >&2
podman exec client wget -q -O - http://web/
outside_gets 192.0.2.1 8080
outside_gets 192.0.2.1 8081
echo "== gone"
podman rm -f -t 0 web client other >&2
ls /var/lib/cni/networks/red | grep '^10' || true
nothing_is_left "$before"
