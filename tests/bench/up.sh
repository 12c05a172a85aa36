#!/bin/bash
# SPDX-License-Identifier: MIT
# up.sh - what `weir up` costs those it does not select, and those it does; in one run, in turn.
#
#   off         no weir
#   rule        no weir, but one policy rule that does nothing: what the first one of any kind costs
#   uidrange    another user is selected, by policy rules
#   group       another group is selected, by an nftables mark
#   mark        another mark
#   all         everybody but the client
#   narrowed    another user's TCP to one port and network, with exceptions
#   selected    the client's own user is selected, with a counting hook
#
#   in-off, in-other, in-steered
#               the other way round: the server is user 2003's, clients come from outside. No weir;
#               somebody else is selected; the server's user is, and so they come by weir
#
# Namespaces "host" and "net" joined by veth; the client is user 2003 without rights, the worker 2990.
# A figure is the median of ROUNDS; the cost is what is missing to "off". Connections go over 16
# addresses. ROUNDS=5 SECS=3 OUT=build/bench-up.md ROWS="off selected" IN_ROWS="in-off in-steered"

set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-$TOP/build/release}
case $B in /*) ;; *) B=$TOP/$B ;; esac
ROUNDS=${ROUNDS:-5}
SECS=${SECS:-3}
OUT=${OUT:-$TOP/build/bench-up.md}
ROWS=${ROWS-off rule uidrange group mark all narrowed selected}
IN_ROWS=${IN_ROWS-in-off in-other in-steered}
HOST=uh$$
NET=un$$
TMP=$(mktemp -d)
PIDS=()
UP_PID=
declare -A VALUES

[ "$(id -u)" = 0 ] || { echo "up.sh: needs root" >&2; exit 1; }

# A row has namespaces of its own: no ports in TIME_WAIT, no tracked connections of another one.
cleanup() {
	local pid ns
	for ns in $HOST $NET; do
		for pid in $(ip netns pids $ns 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
		ip netns del $ns 2>/dev/null
	done
	wait 2>/dev/null
}
trap 'cleanup; rm -rf "$TMP"' EXIT
trap 'exit 1' INT TERM

in_host() { nsenter --net=/run/netns/$HOST "$@"; }
in_net() { nsenter --net=/run/netns/$NET "$@"; }
AS=(setpriv --reuid 2003 --regid 2003 --clear-groups)

topology() { # ROW
	local n i
	ip netns add $HOST
	ip netns add $NET
	ip -n $HOST link add eth0 mtu 1500 type veth peer name eth0 mtu 1500 netns $NET
	for n in $HOST $NET; do
		ip -n $n link set lo up
		ip -n $n link set eth0 up
	done
	ip -n $HOST addr add 10.111.0.2/24 dev eth0
	ip -n $NET addr add 10.111.0.1/24 dev eth0
	for ((i = 1; i <= 16; i++)); do
		ip -n $NET addr add 10.111.1.$i/32 dev eth0
		ip -n $HOST addr add 10.111.2.$i/32 dev eth0
	done
	ip -n $HOST route add default via 10.111.0.1
	ip -n $NET route add 10.111.2.0/24 via 10.111.0.2
	if [[ $1 = in-* ]]; then
		in_host "${AS[@]}" "$TMP/stream" -s 5001 2>/dev/null &
		in_host "${AS[@]}" "$TMP/echo" 6001 4 &
		until in_net timeout 5 "$TMP/rr" -t 1 10.111.2.1 6001 >/dev/null 2>&1; do sleep 0.1; done
	else
		in_net "$TMP/stream" -s 5001 2>/dev/null &
		in_net "$TMP/echo" 6001 4 &
		until in_host timeout 5 "$TMP/rr" -t 1 10.111.1.1 6001 >/dev/null 2>&1; do sleep 0.1; done
	fi
}

options() {
	case $1 in
	uidrange | in-other) echo "--user 2001" ;;
	group) echo "--group 2001" ;;
	mark) echo "--mark 0x77" ;;
	all) echo "--all --except user=2003" ;;
	narrowed) echo "--user 2001 --proto tcp --to 10.0.0.0/8 --port 443 --except to=10.9.0.0/16" ;;
	selected | in-steered) echo "--user 2003 --hook count" ;;
	esac
}

start() { # ROW
	[ "${1#in-}" != off ] || return 0
	[ "$1" != rule ] || { ip -n $HOST rule add pref 1099 nop; ip -n $HOST -6 rule add pref 1099 nop; return; }
	# shellcheck disable=SC2046
	nsenter --net=/run/netns/$HOST "$B/weir" up --no-config --quiet --runtime-dir "$TMP/run" \
		--worker-user 2990 $(options "$1") >/dev/null 2>"$TMP/err" &
	UP_PID=$!
	until in_host "$B/weir" status --runtime-dir "$TMP/run" 2>/dev/null | grep -q running; do
		kill -0 $UP_PID 2>/dev/null || { cat "$TMP/err" >&2; return 1; }
		sleep 0.05
	done
}

stop() { # ROW
	case ${1#in-} in off | rule) return 0 ;; esac
	kill $UP_PID
	wait $UP_PID 2>/dev/null
}

client() { in_host "${AS[@]}" timeout $((SECS + 15)) "$@"; }
outsider() { in_net timeout $((SECS + 15)) "$@"; }

note() { # CELL ROW LINE FIELD
	local v
	v=$(sed -n "s/.*\b$4=\([0-9.]*\).*/\1/p" <<<"$3")
	printf '  %-8s %-10s %s\n' "$1" "$2" "${v:-failed}"
	[ -z "$v" ] || VALUES[$1\|$2]+="$v "
}

measure() { # ROW WHO SERVER
	note crr "$1" "$($2 "$TMP/crr" -p 4 -a 16 -q 4 -t "$SECS" "$3" 6001)" rate
	note up "$1" "$($2 "$TMP/stream" -t "$SECS" "$3" 5001)" gbps
	note down "$1" "$($2 "$TMP/stream" -d -t "$SECS" "$3" 5001)" gbps
	note rr "$1" "$($2 "$TMP/rr" -t "$SECS" "$3" 6001)" p50
}

round() {
	local row
	for row in $ROWS $IN_ROWS; do
		topology "$row"
		start "$row" || { cleanup; continue; }
		case $row in
		in-*) measure "$row" outsider 10.111.2.1 ;;
		*) measure "$row" client 10.111.1.1 ;;
		esac
		stop "$row"
		cleanup
	done
}

median() { tr ' ' '\n' <<<"$1" | sed '/^$/d' | sort -n | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)] }'; }

table() {
	local row cell off=off
	echo "Median of $ROUNDS rounds, $SECS s each. Kernel $(uname -r), $(nproc) cores, $(date +%F)."
	echo
	echo "| | connections/s | TCP up, Gbit/s | TCP down, Gbit/s | 1-byte round trip, us |"
	echo "|---|---|---|---|---|"
	for row in $ROWS $IN_ROWS; do
		[[ $row = in-* ]] && off=in-off
		printf '| %s |' "$row"
		for cell in crr up down rr; do
			awk -v v="$(median "${VALUES[$cell|$row]-}")" -v o="$(median "${VALUES[$cell|$off]-}")" \
				'BEGIN { printf " %s (%.3f) |", v, o ? v / o : 0 }'
		done
		echo
	done
}

chmod 755 "$TMP"
cp "$B"/tests/bench/{stream,echo,rr,crr} "$TMP/"
for ((r = 1; r <= ROUNDS; r++)); do
	echo "round $r"
	round
done
table | tee "$OUT"
