#!/bin/bash
# What a container's network costs: plynet beside Debian's netavark, aardvark-dns and plugins of CNI (bridge, host-local,
# portmap), in fresh network namespaces. As root, on an idle machine.
#
#   cargo build --release && bash benches/net.sh [PART...]
#
# Parts, all if none is named:
#   attach      attach and detach of COUNT containers with a published port, names off: plynet, netavark (NETAVARK=program
#               for another one), CNI
#   growth      plynet's attach from the first to the GROWTH-th container of a network with names, beside a bare pair of
#               links that `ip` puts on a bridge that grows as much
#   names       questions answered with as many names: plynet, aardvark-dns (AARDVARK=program for another one), and a
#               responder that knows nothing and sends each question back: what is left is the kernel's
#   throughput  TCP from container to container over plynet's bridge, over a bridge that `ip` makes, without any rule, and
#               over a bare pair of links
#
# Each ends with its bars, and the exit code is 1 if one is missed. Figures are also appended to the file JSON, one
# object a line. Packages: aardvark-dns, containernetworking-plugins, dnsperf, iperf3, iproute2, iptables, jq, netavark,
# strace.
set -eu
here=$(realpath "$0") plynet=$(realpath "${PLYNET:-target/release/plynet}")
aardvark=${AARDVARK:-/usr/lib/podman/aardvark-dns} netavark=${NETAVARK:-/usr/lib/podman/netavark}
count=${COUNT:-50} growth=${GROWTH:-500} rounds=${ROUNDS:-5}
[ $# -gt 0 ] || set -- attach growth names throughput
if [ -z "${INSIDE:-}" ]; then
    if [[ " $* " = *" names "* ]] && [ -z "${FLOOD:-}" ]; then
        FLOOD=$(cargo bench --no-run --bench dns --message-format json | jq -r 'select(.target.name == "dns") | .executable')
    fi
    # What is started in here ends with it.
    export FLOOD INSIDE=1 PLYNET=$plynet JSON=${JSON:+$(realpath "$JSON")}
    exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private bash "$here" "$@"
fi
mount -t tmpfs none /run
mkdir -p /var/lib/cni /run/netns /run/lock
mount -t tmpfs none /var/lib/cni
mount -t sysfs none /sys
ip link set lo up
missed=0
ply() { "$plynet" --root /run/root --run /run/plynet "$@"; }

# --- figures ----------------------------------------------------------------------------------------------------------

# bar WORDS VALUE ge|le LIMIT
bar() {
    local verdict=held
    awk "BEGIN { exit !($2 $([ "$3" = ge ] && echo '>=' || echo '<=') $4) }" || { verdict=MISSED missed=1; }
    printf '  %-62s %8s  (%s %s: %s)\n' "$1" "$2" "$3" "$4" "$verdict"
    record bar "$1" value "$2" limit "$4" verdict "$verdict"
}
record() { [ -z "${JSON:-}" ] || jq -cn '[$ARGS.positional | _nwise(2) | {(.[0]): (.[1] | tonumber? // .)}] | add' --args "$@" >>"$JSON"; }
over() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# Milliseconds: processor and clock, for each of the calls of $1 with the numbers $2 to $3.
cost() {
    local TIMEFORMAT='%U %S %R' spent
    spent=$({ time for i in $(seq "$2" "$3"); do "$1" "$i" 2>>/run/complaints; done; } 2>&1)
    awk -v n=$(($3 - $2 + 1)) '{ printf "%.2f %.2f", ($1 + $2) * 1000 / n, $3 * 1000 / n }' <<<"$spent"
}

# Programs that are executed by the function `$1 $2`, except for the shell and the $3 that the function itself calls.
processes() {
    strace -f -qq -e trace=execve -o /run/trace bash -c "$1 $2" >/dev/null 2>>/run/complaints
    echo $(($(grep -c '= 0$' /run/trace) - 1 - $3))
}

# --- the three --------------------------------------------------------------------------------------------------------

plynet_up() { ply attach bench --netns "/run/netns/n$1" --name "n$1" -p "$((10000 + $1)):80" >/dev/null; }
plynet_down() { ply detach bench --name "n$1"; }

netavark() {
    "$netavark" --config /run/netavark --rootless=false --aardvark-binary=/bin/false "$1" "/run/netns/n$2" >/dev/null <<END
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
cni() {
    export CNI_PATH=/usr/lib/cni CNI_IFNAME=eth0 CNI_CONTAINERID=n$2 CNI_NETNS=/run/netns/n$2 CNI_COMMAND=$1
    "cni_$1" "$2"
    unset CNI_COMMAND
}
cni_ADD() {
    bridge | /usr/lib/cni/bridge >"/run/result$1"
    portmap "$1" | /usr/lib/cni/portmap >/dev/null
}
cni_DEL() {
    portmap "$1" | /usr/lib/cni/portmap >/dev/null
    bridge | /usr/lib/cni/bridge
}
cni_up() { cni ADD "$1"; }
cni_down() { cni DEL "$1"; }
export -f ply plynet_up netavark netavark_up bridge portmap cni cni_ADD cni_up
export plynet netavark

namespaces() { for i in $(seq 0 "$1"); do [ -e "/run/netns/n$i" ] || ip netns add "n$i"; done; }

# --- the parts --------------------------------------------------------------------------------------------------------

attach() {
    declare -A cpu wall
    local tool up down started
    ply network create bench --subnet 10.90.0.0/16 --dns=false >/dev/null
    printf '\n%-10s %18s %18s %10s\n' "ms, $count" 'attach CPU  clock' 'detach CPU  clock' processes
    for tool in plynet netavark cni; do
        namespaces "$count"
        "${tool}_up" 0 2>>/run/complaints
        read -r "cpu[$tool]" "wall[$tool]" <<<"$(cost "${tool}_up" 1 "$count")"
        read -r up down <<<"$(cost "${tool}_down" 1 "$count")"
        "${tool}_down" 0 2>>/run/complaints
        "${tool}_up" 0 2>>/run/complaints
        # Of CNI: bridge, portmap, and our cat.
        started=$(processes "${tool}_up" 1 "$([ "$tool" = cni ] && echo 3 || echo 1)")
        "${tool}_down" 1 2>>/run/complaints
        "${tool}_down" 0 2>>/run/complaints
        printf '%-10s %10s %7s %10s %7s %10s\n' "$tool" "${cpu[$tool]}" "${wall[$tool]}" "$up" "$down" "$started"
        record tool "$tool" containers "$count" attach_cpu_ms "${cpu[$tool]}" attach_ms "${wall[$tool]}" \
            detach_cpu_ms "$up" detach_ms "$down" processes "$started"
        ip -all netns delete
    done
    ply network rm bench >/dev/null
    bar "attach, CPU: netavark / plynet" "$(over "${cpu[netavark]}" "${cpu[plynet]}")" ge 10
    bar "attach, CPU: CNI / plynet" "$(over "${cpu[cni]}" "${cpu[plynet]}")" ge 15
    bar "attach, clock: netavark / plynet" "$(over "${wall[netavark]}" "${wall[plynet]}")" ge 8
    bar "attach, clock: CNI / plynet" "$(over "${wall[cni]}" "${wall[plynet]}")" ge 8
}

# The least there is to do for a container: the pair of links, one on the bridge, and the other one switched on.
bare_up() {
    ip link add "bare$1" up master bare0 type veth peer name eth0 netns "b$1"
    ip -n "b$1" link set eth0 up
}

# What both cost with the numbers $1 to $2, five times in turns: processor and clock of plynet, then of the bare pair.
turns() {
    local some=$((($2 - $1 + 1) / 5)) i
    for i in $(seq "$1" "$some" "$2"); do
        echo "$(cost plynet_up "$i" $((i + some - 1))) $(cost bare_up "$i" $((i + some - 1)))"
    done | awk '{ for (i = 1; i <= 4; i++) sum[i] += $i } END { for (i = 1; i <= 4; i++) printf "%.2f ", sum[i] / NR }'
}

# A network with names and GROWTH containers, and as many bare links on a bridge of their own, of the same kind; $grown
# are the figures of the first and last tenth of both, taken in turns.
grow() {
    [ -z "${grown:-}" ] || return 0
    local tenth=$((growth / 10)) first last
    ply network create bench --subnet 10.90.0.0/16 >/dev/null
    ip link add bare0 up type bridge mcast_snooping 0
    namespaces $((growth + 1))
    for i in $(seq "$growth"); do
        ip netns add "b$i"
        # As plynet does: else each new one tells all others of its link-local address.
        ip netns exec "b$i" sysctl -qw net.ipv6.conf.default.disable_ipv6=1
    done
    sysctl -qw net.ipv6.conf.bare0.disable_ipv6=1
    plynet_up 0
    first=$(turns 1 "$tenth")
    cost plynet_up $((tenth + 1)) $((growth - tenth)) >/dev/null
    cost bare_up $((tenth + 1)) $((growth - tenth)) >/dev/null
    last=$(turns $((growth - tenth + 1)) "$growth")
    grown="$first $last $(processes plynet_up $((growth + 1)) 1)"
    ip link del bare0
}

growth() {
    grow
    local cpu wall last_cpu last_wall bare_cpu bare_wall bare_last_cpu bare_last_wall started own
    read -r cpu wall bare_cpu bare_wall last_cpu last_wall bare_last_cpu bare_last_wall started <<<"$grown"
    printf '\n%-10s %18s %18s\n' "ms, $growth" 'attach CPU  clock' 'bare CPU  clock'
    printf '%-10s %10s %7s %10s %7s\n' 'first 10%' "$cpu" "$wall" "$bare_cpu" "$bare_wall" \
        'last 10%' "$last_cpu" "$last_wall" "$bare_last_cpu" "$bare_last_wall"
    record containers "$growth" first_cpu_ms "$cpu" first_ms "$wall" last_cpu_ms "$last_cpu" last_ms "$last_wall" \
        bare_first_cpu_ms "$bare_cpu" bare_first_ms "$bare_wall" bare_last_cpu_ms "$bare_last_cpu" bare_last_ms "$bare_last_wall"
    bar "attach, CPU: last tenth / first tenth" "$(over "$last_cpu" "$cpu")" le 1.5
    bar "attach, clock: last tenth / first tenth" "$(over "$last_wall" "$wall")" le 1.5
    own=$(awk "BEGIN { printf \"%.2f\", ($last_cpu - ($bare_last_cpu - $bare_cpu)) / $cpu }")
    bar "attach, CPU: last / first, without what a bare link grows by" "$own" le 1.1
    bar "processes started by an attach on a network with names" "$started" le 0
}

# One round of questions from a container to the server $1, each end on its own processor: answers a second, and for each
# answer the microseconds that the server and the kernel worked for it on the server's processor.
asked() {
    local server=$1 load=$2 before after pid=${pid[$1]} port=${port[$1]} questions=/run/questions-$1 seconds=3
    local taken=(ip netns exec n1 taskset -c 1) words
    taskset -apc 0 "$pid" >/dev/null
    before=$(awk '{ print $14, $15 }' "/proc/$pid/stat")
    case $load in
    dnsperf)
        "${taken[@]}" dnsperf -s 10.90.0.1 -p "$port" -d "$questions" -c 4 -l "$seconds" >/run/dnsperf 2>&1
        grep -q 'NOERROR.*(100.00%)' /run/dnsperf || { cat /run/dnsperf >&2; return 1; }
        words=$(awk '/Queries completed/ { all = $3 } /Queries per second/ { print int($4), all }' /run/dnsperf)
        ;;
    *)
        words=$("${taken[@]}" "$FLOOD" ask "10.90.0.1:$port" "$questions" --seconds "$seconds" \
            --clients "${load%x*}" --window "${load#*x}" | awk -v s="$seconds" '{ print $1, $1 * s }')
        ;;
    esac
    after=$(awk '{ print $14, $15 }' "/proc/$pid/stat")
    awk -v hertz="$(getconf CLK_TCK)" '{
        us = 1000000 / hertz / $2; printf "%d %.2f %.2f\n", $1, ($5 - $3) * us, ($6 - $4) * us
    }' <<<"$words $before $after"
}

names() {
    grow
    declare -A port pid rate work
    local server load round rss user kernel servers=(plynet aardvark nothing)
    mkdir -p /run/aardvark
    # The gateway, then for each container: id, IPv4, IPv6, names.
    { echo 10.90.0.1; ply --json ls | jq -r '.[] | "\(.name) \(.addresses[0].ip)  \(.name)"'; } >/run/aardvark/bench
    seq -f 'n%.0f.bench.plynet A' 0 "$growth" | shuf --random-source=<(yes) | tee /run/questions-nothing >/run/questions-plynet
    seq -f 'n%.0f.dns.podman A' 0 "$growth" | shuf --random-source=<(yes) >/run/questions-aardvark
    "$aardvark" --config /run/aardvark -p 5353 run 2>/dev/null &
    "$FLOOD" echo 10.90.0.1:5454 &
    port=([plynet]=53 [aardvark]=5353 [nothing]=5454) pid=([nothing]=$!)
    sleep 1
    pid+=([plynet]=$(cat /run/plynet/dns/alive) [aardvark]=$(cat /run/aardvark/aardvark.pid))
    printf '\n%-14s %-10s %10s %10s %10s %10s\n' "$growth names" server 'answers/s' 'user us' 'kernel us' 'RSS KiB'
    for load in 4x25 100x2 100x1 dnsperf; do
        [ "$load" != dnsperf ] || servers=(plynet aardvark)
        for round in $(seq "$rounds"); do
            for server in "${servers[@]}"; do
                asked "$server" "$load" >>"/run/asked-$load-$server"
            done
        done
        for server in "${servers[@]}"; do
            rate[$server]=$(cut -d' ' -f1 "/run/asked-$load-$server" | median)
            user=$(cut -d' ' -f2 "/run/asked-$load-$server" | median)
            kernel=$(cut -d' ' -f3 "/run/asked-$load-$server" | median)
            work[$server]=$(awk '{ print $2 + $3 }' "/run/asked-$load-$server" | median)
            rss=$(awk '/VmRSS/ { print $2 }' "/proc/${pid[$server]}/status")
            printf '%-14s %-10s %10s %10s %10s %10s\n' "$load" "$server" "${rate[$server]}" "$user" "$kernel" "$rss"
            record load "$load" server "$server" names "$growth" answers_per_second "${rate[$server]}" \
                user_us "$user" kernel_us "$kernel" rss_kib "$rss"
        done
        if [ "$load" = 4x25 ]; then
            bar "answers a second: plynet / aardvark-dns" "$(over "${rate[plynet]}" "${rate[aardvark]}")" ge 2
            bar "CPU for each answer: aardvark-dns / plynet" "$(over "${work[aardvark]}" "${work[plynet]}")" ge 2
        fi
    done
    kill "${pid[aardvark]}" "${pid[nothing]}"
}

# Gbit/s from the namespace $1 to $3, which is the address of $2; each end on its own processor.
sent() {
    ip netns exec "$2" taskset -c 0 iperf3 -s -1 >/dev/null &
    until ip netns exec "$2" ss -Htln sport = 5201 | grep -q .; do sleep 0.05; done
    ip netns exec "$1" taskset -c 1 iperf3 -c "$3" -t 3 -f m | awk '/receiver/ { print $7 / 1000 }'
    wait
}

throughput() {
    local round
    for i in a b c d e f; do ip netns add "$i"; done
    ply network create two --subnet 10.93.0.0/24 >/dev/null
    ply attach two --netns /run/netns/a --name a >/dev/null
    ply attach two --netns /run/netns/b --name b --ip 10.93.0.77 >/dev/null
    ip link add eth0 netns c type veth peer name eth0 netns d
    ip link add bare1 up type bridge
    for i in e f; do ip link add "bare1$i" up master bare1 type veth peer name eth0 netns "$i"; done
    ip -n c address add 10.94.0.1/24 dev eth0
    ip -n d address add 10.94.0.2/24 dev eth0
    ip -n e address add 10.95.0.1/24 dev eth0
    ip -n f address add 10.95.0.2/24 dev eth0
    for i in c d e f; do ip -n "$i" link set eth0 up; done
    for round in $(seq "$rounds"); do
        sent a b 10.93.0.77 >>/run/sent-plynet
        sent e f 10.95.0.2 >>/run/sent-bridge
        sent c d 10.94.0.2 >>/run/sent-bare
    done
    local ours bridge bare
    ours=$(median </run/sent-plynet) bridge=$(median </run/sent-bridge) bare=$(median </run/sent-bare)
    printf '\n%-12s %10s\n' TCP Gbit/s
    printf '%-12s %10s\n' plynet "$ours" 'bare bridge' "$bridge" 'bare pair' "$bare"
    record plynet_gbit "$ours" bridge_gbit "$bridge" bare_gbit "$bare"
    bar "TCP between containers: over plynet's bridge / over a bare pair" "$(over "$ours" "$bare")" ge 0.8
}

for part in "$@"; do
    case $part in
    attach | growth | names | throughput) "$part" ;;
    *) echo "no such part: $part" >&2 && exit 2 ;;
    esac
done
[ ! -s /run/complaints ] || { echo "complaints:" >&2; sort /run/complaints | uniq -c | sort -rn | head -5 >&2; }
exit "$missed"
