#!/bin/bash
# SPDX-License-Identifier: MIT
# inbound.sh - connections from outside: weir's --publish against the direct path and pasta -t.
#
#   namespace "host": server, relay           namespace "net": clients
#   eth0 10.112.0.2/24  --- veth, 1500 ---  eth0 10.112.0.1/24
#
# As run.sh: relays run as nobody, weir with a counting hook at MTU 1500, pasta with 65520.
#
#   ROUNDS=3 SECS=3   ROWS="direct weir pasta"
#
# Prints medians: Gbit/s of one and of eight streams from and to the server, microseconds of a round trip,
# connect-request-close a second.

set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-$TOP/build/release}
case $B in /*) ;; *) B=$TOP/$B ;; esac
ROUNDS=${ROUNDS:-3} SECS=${SECS:-3} ROWS=${ROWS:-direct weir pasta}
SERVER=10.112.0.2

[ "$(id -u)" = 0 ] || { echo "inbound.sh: needs root to build namespaces" >&2; exit 1; }
[ "${IN_BENCH_MOUNTS-}" = 1 ] || IN_BENCH_MOUNTS=1 exec unshare -m --propagation private bash "$0" "$@"

TMP=$(mktemp -d)
HOST=bi$$
NET=bj$$
JOB=

sweep() { # the row's process group: server and relay, whatever namespaces they have made
	[ -n "$JOB" ] || return
	kill -TERM -- "-$JOB" 2>/dev/null
	sleep 0.5
	kill -KILL -- "-$JOB" 2>/dev/null
	wait "$JOB" 2>/dev/null
	JOB=
}

namespaces_del() {
	ip netns del $HOST 2>/dev/null
	ip netns del $NET 2>/dev/null
}

cleanup() {
	sweep
	namespaces_del
	rm -rf "$TMP"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

in_net() { nsenter --net=/run/netns/$NET "$@"; }

namespaces() { # new for each row: ports in TIME_WAIT would slow down the next one
	local n
	ip netns add $HOST
	ip netns add $NET
	ip -n $HOST link add eth0 mtu 1500 type veth peer name eth0 mtu 1500 netns $NET
	ip -n $HOST addr add $SERVER/24 dev eth0
	ip -n $NET addr add 10.112.0.1/24 dev eth0
	for n in $HOST $NET; do
		ip -n $n link set lo up
		ip -n $n link set eth0 up
	done
	ip -n $HOST route add default via 10.112.0.1
}

place() {
	chmod 755 "$TMP"
	cp "$B"/weir "$B"/tests/bench/{stream,echo,rr,crr} "$TMP/"
	[ -d /dev/net ] || mkdir /dev/net
	mount -t tmpfs -o mode=755 none /dev/net
	mknod -m 666 /dev/net/tun c 10 200
	ulimit -n "$(ulimit -Hn)"
	printf '%s\n' '#!/bin/sh' "$TMP/stream -s 5001 &" "exec $TMP/echo 6001 4" >"$TMP/serve"
	chmod 755 "$TMP/serve"
}

prefix() { # ROW
	case $1 in
	weir)
		echo "$TMP/weir run -q --hook count --publish 5001 --publish 6001 --publish 6002 \
			--publish 6003 --publish 6004 --"
		;;
	pasta) echo "pasta -q -f --config-net -t 5001,6001-6004 --" ;;
	esac
}

serve() { # ROW
	# shellcheck disable=SC2046
	setsid nsenter --net=/run/netns/$HOST setpriv --reuid 65534 --regid 65534 --clear-groups \
		env HOME=/nonexistent TMPDIR=/tmp $(prefix "$1") "$TMP/serve" >/dev/null 2>&1 &
	JOB=$!
	for _ in $(seq 100); do
		in_net "$TMP/rr" -t 1 $SERVER 6001 >/dev/null 2>&1 && return
		sleep 0.1
	done
	echo "inbound.sh: $1 does not serve" >&2
	exit 1
}

field() { sed -n "s/.*\b$1=\([0-9.]*\).*/\1/p"; }

cell() { # NAME ROW FIELD COMMAND...
	local name=$1 row=$2 field=$3
	shift 3
	in_net timeout $((SECS + 12)) "$@" 2>/dev/null | field "$field" >>"$TMP/$name.$row"
}

round() {
	local row
	for row in $ROWS; do
		namespaces
		serve "$row"
		cell from1 "$row" gbps "$TMP/stream" -d -t $SECS $SERVER 5001
		cell from8 "$row" gbps "$TMP/stream" -d -n 8 -t $SECS $SERVER 5001
		cell to1 "$row" gbps "$TMP/stream" -t $SECS $SERVER 5001
		cell to8 "$row" gbps "$TMP/stream" -n 8 -t $SECS $SERVER 5001
		cell rr-p50 "$row" p50 "$TMP/rr" -t $SECS $SERVER 6001
		cell crr "$row" rate "$TMP/crr" -p 32 -q 4 -t $SECS $SERVER 6001
		sweep
		namespaces_del
	done
}

place
for _ in $(seq "$ROUNDS"); do round; done
printf '| |'; printf ' %s |' $ROWS; echo
printf '|---|'; for _ in $ROWS; do printf -- '---|'; done; echo
for name in from1 from8 to1 to8 rr-p50 crr; do
	printf '| %s |' $name
	for row in $ROWS; do
		printf ' %s |' "$(sort -n "$TMP/$name.$row" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }')"
	done
	echo
done
