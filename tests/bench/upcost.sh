#!/bin/bash
# SPDX-License-Identifier: MIT
# upcost.sh - processor time that `weir up` adds to a connection of somebody it does not select.
#
# For each row a pair of namespaces like that of "off", which has no weir, and "rule", which has one policy
# rule that does nothing: the kernel takes another way for all look-ups from the first rule on. While
# weir runs in a row's namespace, connections are made there, in "off" and in "rule" in turn, by user 2003
# (conncost.c). Repeated ROUNDS times, weir started anew each time.
#
# ROUNDS=5 BATCHES=60 ROWS="..." OUT=build/bench-upcost.md WEIR=other binary
set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-$TOP/build/release}
case $B in /*) ;; *) B=$TOP/$B ;; esac
WEIR=${WEIR:-$B/weir}
ROUNDS=${ROUNDS:-5}
BATCHES=${BATCHES:-60}
OUT=${OUT:-$TOP/build/bench-upcost.md}
ROWS=${ROWS:-uidrange alice group cgroup mark all narrowed nobpf servers}
TMP=$(mktemp -d)
UP_PID= SERVER=
CG=$(awk '$0 ~ / - cgroup2 / && $4 == "/" { print $5; exit }' /proc/self/mountinfo)/weirbench$$

[ "$(id -u)" = 0 ] || { echo "upcost.sh: needs root" >&2; exit 1; }

tidy() {
	local name end
	[ -z "$UP_PID" ] || kill $UP_PID 2>/dev/null
	[ -z "$SERVER" ] || kill $SERVER 2>/dev/null
	wait
	for name in off rule $ROWS; do
		for end in h n; do ip netns del bench-$name-$end 2>/dev/null; done
	done
	rmdir "$CG" 2>/dev/null
	rm -rf "$TMP"
}
trap tidy EXIT
trap 'exit 1' INT TERM

in_host() { # NAME COMMAND...
	local name=$1
	shift
	nsenter --net=/run/netns/bench-$name-h "$@"
}

pair() { # NAME
	local h=bench-$1-h n=bench-$1-n ns i
	ip netns add $h && ip netns add $n || exit 1
	ip -n $h link add eth0 type veth peer name eth0 netns $n
	for ns in $h $n; do
		nsenter --net=/run/netns/$ns sysctl -qw net.ipv6.conf.all.accept_dad=0 \
			net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0 \
			net.ipv4.tcp_max_tw_buckets=1000 # their number grows else, and with it what a look-up costs
		ip -n $ns link set lo up
		ip -n $ns link set eth0 up
	done
	ip -n $h addr add 10.111.0.2/24 dev eth0
	ip -n $n addr add 10.111.0.1/24 dev eth0
	ip -n $h addr add fd10::2/64 dev eth0 nodad
	ip -n $n addr add fd10::1/64 dev eth0 nodad
	for ((i = 1; i <= 16; i++)); do
		ip -n $n addr add 10.111.1.$i/32 dev eth0
		ip -n $n addr add fd11::1:$(printf %x $i)/128 dev eth0 nodad
	done
	ip -n $h route add default via 10.111.0.1
	ip -n $h route add default via fd10::1
}

options() {
	case $1 in
	uidrange | servers) echo "--user 2001" ;;
	alice) echo "--user 2001 --user 100000-165535" ;;
	nobpf) echo "--user 2001 --no-bpf" ;;
	group) echo "--group 2001" ;;
	cgroup) echo "--cgroup /weirbench$$" ;;
	mark) echo "--mark 0x77" ;;
	all) echo "--all --except user=2003" ;;
	narrowed) echo "--user 2001 --proto tcp --to 10.0.0.0/8 --port 443 --except to=10.9.0.0/16" ;;
	esac
}

start() { # ROW
	if [ $1 = servers ]; then
		nsenter --net=/run/netns/bench-$1-h setpriv --reuid 2001 --regid 2001 --clear-groups /usr/bin/python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 5300)); time.sleep(600)' &
		SERVER=$!
		sleep 0.2
	fi
	# shellcheck disable=SC2046
	nsenter --net=/run/netns/bench-$1-h "$WEIR" up --no-config --quiet --runtime-dir "$TMP/run" --worker-user 2990 \
		$(options $1) >/dev/null 2>"$TMP/err" &
	UP_PID=$!
	until in_host $1 "$WEIR" status --runtime-dir "$TMP/run" 2>/dev/null | grep -q running; do
		kill -0 $UP_PID 2>/dev/null || { cat "$TMP/err" >&2; return 1; }
		sleep 0.05
	done
	sleep 1.2 # what is there for a start only is gone
}

stop() {
	kill $UP_PID
	wait $UP_PID 2>/dev/null
	[ -z "$SERVER" ] || { kill $SERVER; wait $SERVER 2>/dev/null; }
	UP_PID= SERVER=
}

measure() { # ROW FAMILY: 4, 6, or s: 64 KiB over IPv4
	"$B/tests/bench/conncost" $([ $2 = 4 ] || echo -$2) -b "$BATCHES" off rule $1 |
		sed "s/^/$1 $2 /" | tee -a "$TMP/figures" | sed 's/^/  /'
}

table() {
	echo "Medians over $ROUNDS times $BATCHES batches of 100. Kernel $(uname -r), $(date +%F)."
	echo
	echo "| not selected is who connects; weir selects by | IPv4, ns | of it beyond one rule | IPv6, ns | 64 KiB over an open one, ns |"
	echo "|---|---|---|---|---|"
	python3 - "$TMP/figures" $ROWS <<-'PY'
	import collections, statistics, sys
	seen = collections.defaultdict(list)
	for line in open(sys.argv[1]):
	    row, family, name, ns, diff = line.split()
	    seen[row, family, name].append((int(ns[3:]), int(diff[5:])))
	def median(row, family, name, i):
	    return statistics.median(x[i] for x in seen[row, family, name])
	rule = {f: statistics.median(d for (r, g, n), v in seen.items() if g == f and n == "rule" for _, d in v) for f in "46"}
	base = {f: statistics.median(d for (r, g, n), v in seen.items() if g == f and n == "off" for d, _ in v) for f in "46s"}
	print(f"| nothing: no weir | {base['4']:.0f} | | {base['6']:.0f} | {base['s']:.0f} |")
	print(f"| nothing: one rule that does nothing | +{rule['4']:.0f} ({100 * rule['4'] / base['4']:.1f} %) | | {rule['6']:+.0f} ({100 * rule['6'] / base['6']:.1f} %) | |")
	for row in sys.argv[2:]:
	    if (row, "4", row) not in seen: continue
	    o4, o6 = median(row, "4", "off", 0), median(row, "6", "off", 0)
	    d4, d6, r4 = median(row, "4", row, 1), median(row, "6", row, 1), median(row, "4", "rule", 1)
	    os, ds = median(row, "s", "off", 0), median(row, "s", row, 1)
	    print(f"| {row} | {d4:+.0f} ({100 * d4 / o4:.1f} %) | {d4 - r4:+.0f} ({100 * (d4 - r4) / (o4 + r4):.1f} %) | {d6:+.0f} ({100 * d6 / o6:.1f} %) | {ds:+.0f} ({100 * ds / os:.1f} %) |")
	PY
}

mkdir -p "$CG" 2>/dev/null || ROWS=${ROWS//cgroup/}
for row in off rule $ROWS; do pair $row; done
ip -n bench-rule-h rule add pref 1099 nop
ip -n bench-rule-h -6 rule add pref 1099 nop
for ((r = 1; r <= ROUNDS; r++)); do
	echo "round $r"
	for row in $ROWS; do
		start $row || continue
		measure $row 4
		measure $row 6
		measure $row s
		stop
	done
done
table | tee "$OUT"
