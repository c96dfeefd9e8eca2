#!/bin/bash
# As podman.sh, by a plain user: his podman keeps its networks in a namespace that slirp4netns leads out of, and
# forwards published ports itself.
set -eu
place=$1 plynet=$2
. "$(dirname "$0")/setting.sh" netavark
user=65534
mkdir -p "/run/user/$user" "$place/home" "$place/dev"
# In this mount namespace: a device for everybody, and some more ids for the user.
mount -t tmpfs none "$place/dev"
mknod -m 666 "$place/dev/tun" c 10 200
mount --bind "$place/dev/tun" /dev/net/tun
echo "nobody:100000:65536" >"$place/subid"
for file in subuid subgid; do
    mount --bind "$place/subid" "/etc/$file"
done
chown -R "$user:$user" "/run/user/$user" "$place/home" "$place/store"
chmod 700 "/run/user/$user"
as_user() {
    (cd "$place/home" && exec setpriv --reuid "$user" --regid "$user" --clear-groups env -i \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$place/home" TMPDIR="$place/home" XDG_RUNTIME_DIR="/run/user/$user" \
        CONTAINERS_STORAGE_CONF="$CONTAINERS_STORAGE_CONF" CONTAINERS_CONF="$CONTAINERS_CONF" "$@")
}
podman() { as_user podman "$@"; }
# Words of living processes of the user that know the directory $1.
processes() {
    for dir in /proc/[0-9]*; do
        words=$(tr '\0' ' ' 2>/dev/null <"$dir/cmdline") || continue
        case $words in *"$1"*) [ "$(stat -c %u "$dir" 2>/dev/null)" != "$user" ] || echo "$words" ;; esac
    done
}
end() {
    podman rm -af -t 0 >&2
    podman rmi -af >&2
    ip netns pids outside | xargs -r kill
    # Each of its calls leaves a process that keeps its user namespace, if there is none.
    kill "$(cat "/run/user/$user/libpod/tmp/pause.pid")"
}
trap end EXIT
podman import - base <"$place/base.tar" >&2

before=$(state 2>/dev/null)
podman network create --subnet 10.77.0.0/24 blue >&2
podman network create --subnet 10.78.0.0/24 red >&2
echo "== two containers"
run -d --name web --network blue --network-alias www -p 8080:80 base sh -c "$(serve hello)" >&2
run -d --name client --network blue base sleep 1000 >&2
run -d --name other --network red base sleep 1000 >&2
podman exec client cat /etc/resolv.conf | grep -v '^options'
podman exec client wget -q -O - http://web/
podman exec client wget -q -O - http://www.dns.podman/
timeout 3 podman exec other wget -q -O - http://10.77.0.2/ 2>/dev/null || echo "no way into another network"
echo "== published"
get 127.0.0.1 8080
outside_gets 192.0.2.1 8080
echo "== out"
ip netns exec outside busybox httpd -p 7000 -h "$place/root/etc"
podman exec client wget -q -O - http://192.0.2.9:7000/passwd
echo "== the user's own networks, beside podman's"
cp "$plynet" "$place/home/plynet"
as_user "$place/home/plynet" run --name own -- ip -brief -4 addr show eth0 | awk '{ print $3 }'
as_user "$place/home/plynet" halt
podman unshare --rootless-netns "$place/home/plynet" ls | awk 'NR > 1 { print $1, $2 }' | sort
echo "== restart"
podman restart -t 0 web >&2
podman exec client wget -q -O - http://web/
outside_gets 192.0.2.1 8080
echo "== gone"
podman rm -f -t 0 web client other >&2
podman network rm blue red >&2
for _ in $(seq 100); do
    left=$(processes "/run/user/$user/" | grep -v conmon || true)
    [ -n "$left" ] || break
    sleep 0.05
done
[ -z "$left" ] || echo "$left"
nothing_is_left "$before"
