#!/bin/bash
# Runs podman with plynet as its netavark, all in the directory $1, in mount and network namespaces of its own, where
# plynet keeps its books in a fresh /run. $2 is plynet. Says what it saw on standard output; podman's own words go to
# standard error.
set -eu
place=$1 plynet=$2
. "$(dirname "$0")/setting.sh" netavark
trap 'podman rm -af -t 0 >&2; podman rmi -af >&2' EXIT
podman import - base <"$place/base.tar" >&2

before=$(state 2>/dev/null)
echo "== networks"
podman network create --subnet 10.77.0.0/24 blue >&2
podman network create --subnet 10.78.0.0/24 red >&2
echo "== two containers"
run -d --name web --network blue --network-alias www -p 8080:80 base sh -c "$(serve hello)" >&2
run -d --name client --network blue base sleep 1000 >&2
run -d --name other --network red base sleep 1000 >&2
podman exec client cat /etc/resolv.conf | grep -v '^options'
podman exec client wget -q -O - http://web/
podman exec client wget -q -O - http://www.dns.podman/
podman exec client nslookup 10.77.0.2 10.77.0.1 | grep -o 'name = .*'
timeout 5 podman exec other wget -q -O - http://web/ || echo "no such name on another network"
inside other 10.77.0.2 80 2>/dev/null || echo "no way into another network"
echo "== published"
get 192.0.2.1 8080
get 127.0.0.1 8080
outside_gets 192.0.2.1 8080
inside client 192.0.2.1 8080
inside web 192.0.2.1 8080
podman exec client ping -c 1 -W 2 192.0.2.9 | grep -o '1 packets received'
echo "== a port twice"
run --rm --network blue -p 8080:81 base echo impossible 2>&1 | grep -o 'port 8080.tcp of the host is taken by container' || true
echo "== without addresses"
podman network create --ipam-driver none bare >&2
run --rm --network bare base ip addr show eth0 | grep -o 'LOWER_UP\|inet .*'
echo "== another network for one that publishes"
podman network connect --alias www red web
podman exec other wget -q -O - http://www/
outside_gets 192.0.2.1 8080
podman network disconnect red web
"$plynet" reconcile >&2
outside_gets 192.0.2.1 8080
nft flush ruleset
podman network reload web >&2
outside_gets 192.0.2.1 8080
echo "== restart"
podman restart -t 0 web >&2
podman exec client wget -q -O - http://web/
outside_gets 192.0.2.1 8080
echo "== gone"
podman rm -f -t 0 web client other >&2
podman network rm blue red bare >&2
nothing_is_left "$before"
