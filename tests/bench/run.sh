#!/bin/bash
# SPDX-License-Identifier: MIT
# run.sh - weir against the direct path, pasta and slirp4netns, in one run, in turn.
#
#   namespace "host"                        namespace "net"
#   eth0 10.111.0.2/24   --- veth, 1500 ---  eth0 10.111.0.1/24, 10.111.1.1..16
#        fd00:111::2/64                           fd00:111::1/64, fd00:111:1::1..10
#   client, relay                            servers
#
# Everything runs as an unprivileged user (nobody), so that each relay makes its user namespace
# itself: the way all three are meant to be used. /dev/net/tun is opened to that user in a private
# mount namespace. The peers at their best setting: pasta and slirp4netns with MTU 65520; weir at
# the host's 1500 with a counting hook in the chain. All offloads of veth stay at their defaults.
#
#   ROUNDS=3 SECS=3 CRR_SECS=20   QUICK=1 (1 round, short)   ROWS="direct weir pasta slirp4netns"
#   CELLS=regex (only these)   OUT=file (markdown; default build/bench.md)
#
# A figure is the median of ROUNDS. A run that does not end in time counts as nothing and is
# reported. A goal is met when weir is at least (at most) the stated share of the better peer.

set -u
TOP=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-$TOP/build/release}
case $B in /*) ;; *) B=$TOP/$B ;; esac
QUICK=${QUICK:-}
ROUNDS=${ROUNDS:-$([ -n "$QUICK" ] && echo 1 || echo 3)}
SECS=${SECS:-$([ -n "$QUICK" ] && echo 1 || echo 3)}
CRR_SECS=${CRR_SECS:-$([ -n "$QUICK" ] && echo 3 || echo 20)}
STARTS=${STARTS:-$([ -n "$QUICK" ] && echo 5 || echo 20)}
IDLE=${IDLE:-$([ -n "$QUICK" ] && echo "1000" || echo "1000 10000")}
ROWS=${ROWS:-direct weir pasta slirp4netns}
CELLS=${CELLS:-.}
OUT=${OUT:-$TOP/build/bench.md}
UNSHARE_USER=65534

[ "$(id -u)" = 0 ] || { echo "run.sh: needs root to build namespaces" >&2; exit 1; }
if [ "${IN_BENCH_MOUNTS-}" != 1 ]; then
	IN_BENCH_MOUNTS=1 exec unshare -m --propagation private bash "$0" "$@"
fi
for row in $ROWS; do
	case $row in
	weir) [ -x "$B/weir" ] || { echo "run.sh: no $B/weir, its row is left out" >&2; ROWS=${ROWS/weir/}; } ;;
	pasta*) command -v pasta >/dev/null || ROWS=${ROWS/$row/} ;;
	slirp4netns) command -v slirp4netns >/dev/null || ROWS=${ROWS/slirp4netns/} ;;
	esac
done

TMP=$(mktemp -d)
HOST=bh$$
NET=bn$$
PIDS=()
declare -A VALUES # "cell|row" -> figures of the rounds

cleanup() {
	local pid ns
	for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null; done
	for ns in $HOST $NET; do
		for pid in $(ip netns pids $ns 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
		ip netns del $ns 2>/dev/null
	done
	wait 2>/dev/null
	rm -rf "$TMP"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# --- place ---------------------------------------------------------------------------------------

# patterns N: literals of 8 to 23 letters, the same in each run, to be blocked wherever they are
patterns() {
	awk -v n="$1" 'BEGIN {
		srand(1)
		for (i = 0; i < n; i++) {
			s = ""
			for (k = 8 + int(16 * rand()); k > 0; k--)
				s = s sprintf("%c", 97 + int(26 * rand()))
			print "block \"" s "\""
		}
	}'
}

topology() {
	local n i
	ip netns add $HOST
	ip netns add $NET
	ip -n $HOST link add eth0 mtu 1500 type veth peer name eth0 mtu 1500 netns $NET
	for n in $HOST $NET; do
		ip -n $n link set lo up
		ip -n $n link set eth0 up
	done
	ip -n $HOST addr add 10.111.0.2/24 dev eth0
	ip -n $HOST addr add fd00:111::2/64 dev eth0 nodad
	ip -n $NET addr add 10.111.0.1/24 dev eth0
	ip -n $NET addr add fd00:111::1/64 dev eth0 nodad
	for ((i = 1; i <= 16; i++)); do
		ip -n $NET addr add 10.111.1.$i/32 dev eth0
		ip -n $NET addr add "fd00:111:1::$(printf %x $i)/128" dev eth0 nodad
	done
	ip -n $HOST route add default via 10.111.0.1
	ip -n $HOST route add default via fd00:111::1
}

# 10,000 rules of all kinds; none of them is about the servers here
many_rules() {
	awk 'BEGIN {
		for (i = 0; i < 2500; i++) {
			printf "block if host == \"h%d.example\"\n", i
			printf "block if dst.ip == 172.16.%d.%d and dst.port == 443\n", i / 256, i % 256
			printf "block if uid == %d and dst.port == %d\n", 100000 + i, 1 + i
			printf "drop if comm == \"program%d\"\n", i
		}
	}'
}

# the tools where any user can reach them; a device that any user can open; no limit but the hard one
place() {
	chmod 755 "$TMP"
	cp "$B"/tests/bench/{stream,echo,rr,crr,udp,idle,tree} "$TOP"/tests/bench/*.lua "$TMP/"
	[ ! -x "$B/weir" ] || cp "$B/weir" "$TMP/weir"
	many_rules >"$TMP/many.rules"
	[ ! -d "$B/hooks" ] || cp -r "$B/hooks" "$TMP/hooks"
	patterns 1000 >"$TMP/patterns"
	[ -d /dev/net ] || mkdir /dev/net
	mount -t tmpfs -o mode=755 none /dev/net
	mknod -m 666 /dev/net/tun c 10 200
	ulimit -n "$(ulimit -Hn)"
	cat >"$TMP/slirp.sh" <<-'SLIRP'
		# slirp.sh COMMAND...: a user and network namespace, slirp4netns on it, COMMAND in it
		dir=$(mktemp -d)
		mkfifo "$dir/go" "$dir/ready"
		exec 4<>"$dir/ready"
		unshare --user --map-current-user --net sh -c 'read -r x <"$0"; exec "$@"' "$dir/go" "$@" &
		child=$!
		while [ "$(readlink /proc/$child/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
		slirp4netns -c --mtu=65520 --disable-host-loopback -r 4 $child tap0 >/dev/null 2>&1 &
		slirp=$!
		read -r -n1 -u4 x
		echo go >"$dir/go"
		wait $child
		rc=$?
		kill $slirp
		wait $slirp
		rm -r "$dir"
		exit $rc
	SLIRP
}

servers() {
	nsenter --net=/run/netns/$NET "$TMP/stream" -s 5001 & PIDS+=($!)
	nsenter --net=/run/netns/$NET "$TMP/echo" 6001 4 & PIDS+=($!)
	nsenter --net=/run/netns/$NET "$TMP/udp" -s 7001 10.111.1.1 & PIDS+=($!)
	nsenter --net=/run/netns/$NET "$TMP/udp" -s 7001 fd00:111:1::1 & PIDS+=($!)
	until nsenter --net=/run/netns/$HOST "$TMP/rr" -t 1 10.111.1.1 6001 >/dev/null 2>&1; do sleep 0.1; done
}

# --- the rows: how a command is run ----------------------------------------------------------------

prefix() { # ROW
	case $1 in
	direct) echo "" ;;
	weir) echo "$TMP/weir run -q --hook count --" ;;
	weir+none) echo "$TMP/weir run -q --" ;;
	weir+rules) echo "$TMP/weir run -q --rules $TMP/many.rules --" ;; # see newflows.sh
	weir+*) # a hook, see hooks.sh
		local hook=${1#weir+}
		echo "$TMP/weir run -q --hook ${hook/@DIR@/$TMP} --"
		;;
	pasta) echo "pasta -q --config-net --" ;;
	pasta1500) echo "pasta -q --config-net --mtu 1500 --" ;;
	slirp4netns) echo "bash $TMP/slirp.sh" ;;
	esac
}

as_user() { # ROW COMMAND...: as nobody in $HOST
	local row=$1
	shift
	# shellcheck disable=SC2046
	nsenter --net=/run/netns/$HOST setpriv --reuid $UNSHARE_USER --regid $UNSHARE_USER \
		--clear-groups env HOME=/nonexistent TMPDIR=/tmp $(prefix "$row") "$@"
}

# measured ROW LIMIT COMMAND...: prints the command's line; $TMP/cpu gets the tree's CPU seconds
measured() {
	local row=$1 limit=$2 status
	shift 2
	# shellcheck disable=SC2046
	nsenter --net=/run/netns/$HOST "$TMP/tree" -k "$limit" -o "$TMP/cpu" -- setpriv \
		--reuid $UNSHARE_USER --regid $UNSHARE_USER --clear-groups env HOME=/nonexistent \
		TMPDIR=/tmp $(prefix "$row") "$@" 2>"$TMP/stderr"
	status=$?
	# A relay that outlives its run (pasta may spin for ever) must not disturb the next one.
	sweep_host
	return $status
}

# sweep_host - end what runs as the bench's user or in its client namespace
sweep_host() {
	local pid name
	for pid in $(ip netns pids "$HOST" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
	for name in pasta pasta.avx2 slirp4netns; do pkill -9 -x -u "$UNSHARE_USER" "$name"; done
}

field() { # NAME LINE
	sed -n "s/.*\b$1=\([0-9.]*\).*/\1/p" <<<"$2"
}

note() { # CELL ROW VALUE
	if [ -n "$3" ]; then
		VALUES[$1\|$2]+="$3 "
		printf '  %-28s %-12s %s\n' "$1" "$2" "$3"
	else
		printf '  %-28s %-12s %s\n' "$1" "$2" "failed: $(tail -n 1 "$TMP/stderr" 2>/dev/null)"
	fi
}

wanted() { [[ $1 =~ $CELLS ]]; }

# --- the cells --------------------------------------------------------------------------------------

cell_stream() { # CELL ROW ADDRESS OPTIONS...
	local cell=$1 row=$2 addr=$3 line bytes own
	wanted "$cell" || return
	shift 3
	line=$(measured "$row" $((SECS + 12)) "$TMP/stream" "$@" -t "$SECS" "$addr" 5001)
	note "$cell" "$row" "$(field gbps "$line")"
	bytes=$(field bytes "$line")
	own=$(field cpu "$line")
	[ -n "$bytes" ] && [ "$row" != direct ] || return
	note "cpu-$cell" "$row" "$(awk -v t="$(field cpu "$(cat "$TMP/cpu")")" -v o="$own" -v b="$bytes" \
		'BEGIN { printf "%.3f", (t - o) / (b / 1e9) }')"
}

cell_rr() { # ROW
	local line
	wanted rr || return
	line=$(measured "$1" $((SECS + 12)) "$TMP/rr" -t "$SECS" 10.111.1.1 6001)
	note rr-p50 "$1" "$(field p50 "$line")"
	note rr-p99 "$1" "$(field p99 "$line")"
}

cell_crr() { # ROW
	local line
	wanted crr || return
	line=$(measured "$1" $((CRR_SECS + 6)) "$TMP/crr" -p 32 -a 16 -q 4 -t "$CRR_SECS" 10.111.1.1 6001)
	note crr "$1" "$(field rate "$line")"
	[ -z "$line" ] || note crr-time-wait "$1" "$(field time_wait "$line")"
	[ -z "$line" ] || note crr-errors "$1" "$(field errors "$line")"
}

cell_udp() { # CELL ROW OPTIONS...
	local cell=$1 row=$2
	wanted "$cell" || return
	shift 2
	note "$cell" "$row" "$(field pps "$(measured "$row" $((SECS + 8)) "$TMP/udp" "$@" -t "$SECS" 10.111.1.1 7001)")"
}

# relay_pss ROW N: proportional set size of the relay's processes while N connections are held
relay_pss() {
	local row=$1 n=$2 name=$1 i pid line
	case $row in pasta*) name=pas ;; esac # its program is passt.avx2 or pasta
	measured "$row" 60 "$TMP/idle" -n "$n" -t 4 10.111.1.1 6001 >"$TMP/idle.out" &
	pid=$!
	for ((i = 0; i < 500; i++)); do
		grep -q held "$TMP/idle.out" && break
		kill -0 $pid 2>/dev/null || return
		sleep 0.1
	done
	sleep 0.5
	line=$("$TMP/tree" -m $$ "$name")
	wait $pid
	field pss "$line"
}

cell_idle() { # ROW
	local base pss n
	wanted idle || return
	base=$(relay_pss "$1" 1)
	note idle-base "$1" "$base"
	for n in $IDLE; do
		pss=$(relay_pss "$1" "$n")
		[ -z "$pss" ] || [ -z "$base" ] || pss=$(((pss - base) * 1024 / n))
		note "idle-$n" "$1" "$pss"
	done
}

cell_start() { # ROW
	local line
	wanted start || return
	# shellcheck disable=SC2046
	line=$(nsenter --net=/run/netns/$HOST "$TMP/tree" -k 10 -n "$STARTS" -- setpriv \
		--reuid $UNSHARE_USER --regid $UNSHARE_USER --clear-groups \
		env HOME=/nonexistent TMPDIR=/tmp $(prefix "$1") true 2>"$TMP/stderr")
	sweep_host
	note start "$1" "$(field ms "$line")"
}

round() {
	local row
	for row in $ROWS; do cell_stream up-1 "$row" 10.111.1.1; done
	for row in $ROWS; do cell_stream down-1 "$row" 10.111.1.1 -d; done
	for row in $ROWS; do cell_stream up-8 "$row" 10.111.1.1 -n 8; done
	for row in $ROWS; do cell_stream down-8 "$row" 10.111.1.1 -n 8 -d; done
	for row in ${ROWS/slirp4netns/}; do cell_stream up6-1 "$row" fd00:111:1::1; done
	for row in ${ROWS/slirp4netns/}; do cell_stream down6-1 "$row" fd00:111:1::1 -d; done
	for row in $ROWS; do cell_rr "$row"; done
	for row in $ROWS; do cell_crr "$row"; done
	for row in $ROWS; do cell_udp udp-up-64 "$row" -l 64; done
	for row in $ROWS; do cell_udp udp-up-1400 "$row" -l 1400; done
	for row in $ROWS; do cell_udp udp-down-64 "$row" -d -l 64; done
	for row in $ROWS; do cell_udp udp-down-1400 "$row" -d -l 1400; done
}

# --- the table ------------------------------------------------------------------------------------

median() { # CELL ROW
	[ -n "${VALUES[$1\|$2]-}" ] || return
	# shellcheck disable=SC2086
	printf '%s\n' ${VALUES[$1\|$2]} | sort -g | awk '{ v[NR] = $1 } END {
		print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# goal CELL: "more SHARE", "less SHARE" (of the better peer), "atmost VALUE", or nothing
goal() {
	case $1 in
	up-* | down-* | up6-* | down6-* | crr) echo more 1 ;;
	udp-*) echo more 0.9 ;;
	rr-* | cpu-*) echo less 1 ;;
	start) echo less 1 pasta ;;
	idle-10000) echo atmost 1536 ;;
	esac
}

title() {
	case $1 in
	cpu-*) echo "CPU seconds per GB, ${1#cpu-}" ;;
	up6-* | down6-*) echo "TCP ${1%6-*}, IPv6, ${1#*-} stream(s), Gbit/s" ;;
	up-* | down-*) echo "TCP ${1%-*}, ${1#*-} stream(s), Gbit/s" ;;
	rr-*) echo "1-byte round trip ${1#rr-}, us" ;;
	crr) echo "connect-request-close, 1/s" ;;
	crr-time-wait) echo "... sockets in TIME_WAIT after it" ;;
	crr-errors) echo "... connections that failed" ;;
	udp-*) local s=${1#udp-}; echo "UDP ${s%-*}, ${s#*-} bytes, datagrams/s" ;;
	idle-base) echo "relay's memory with 1 connection, KiB PSS" ;;
	idle-*) echo "own memory per idle connection at ${1#idle-}, bytes" ;;
	start) echo "start-up, \`-- true\`, ms" ;;
	esac
}

row_markdown() { # CELL
	local cell=$1 row d w p s
	d=$(median "$cell" direct)
	w=$(median "$cell" weir)
	p=$(median "$cell" pasta)
	s=$(median "$cell" slirp4netns)
	[ -n "$d$w$p$s" ] || return
	# shellcheck disable=SC2046
	awk -v title="$(title "$cell")" -v d="$d" -v w="$w" -v p="$p" -v s="$s" -v goal="$(goal "$cell")" '
	function show(v) { return v == "" ? "–" : (v >= 1000 ? sprintf("%.0f", v) : v + 0 "") }
	BEGIN {
		split(goal, g, " ")
		less = g[1] == "less"
		if (g[3] == "pasta") s2 = ""; else s2 = s
		best = p
		if (best == "" || (s2 != "" && (less ? s2 + 0 < best + 0 : s2 + 0 > best + 0))) best = s2
		ratio = w != "" && best != "" && best + 0 != 0 ? sprintf("%.2f", w / best) : "–"
		of_direct = w != "" && d != "" && d + 0 != 0 ? sprintf("%.2f", w / d) : "–"
		mark = "–"
		if (g[1] == "atmost") mark = w == "" ? "–" : (w + 0 <= g[2] ? "PASS" : "below")
		else if (g[1] != "" && ratio != "–")
			mark = (less ? w <= best * g[2] : w >= best * g[2]) ? "PASS" : "below"
		if (mark != "–") mark = mark " (" (g[1] == "more" ? "≥ " : "≤ ") g[2] ")"
		printf "| %s | %s | %s | %s | %s | %s | %s | %s |\n", title, show(d), show(w), show(p),
			show(s), ratio, of_direct, mark
	}'
}

table() {
	local cell row
	echo "Median of $ROUNDS rounds, $SECS s each (connect rate $CRR_SECS s over 64 addresses and ports;"
	echo "start-up $STARTS starts). Kernel $(uname -r), $(nproc) cores, $(date -u +%Y-%m-%d)."
	echo
	echo "| | direct | weir | pasta | slirp4netns | weir / better peer | weir / direct | goal |"
	echo "|---|---|---|---|---|---|---|---|"
	for cell in up-1 up-8 down-1 down-8 up6-1 down6-1 rr-p50 rr-p99 crr crr-time-wait crr-errors \
		udp-up-64 udp-up-1400 udp-down-64 udp-down-1400 cpu-up-1 cpu-up-8 cpu-down-1 cpu-down-8 \
		idle-base $(printf 'idle-%s ' $IDLE) start; do
		row_markdown "$cell"
	done
	if [[ " $ROWS " == *" pasta1500 "* ]]; then
		echo
		echo "pasta at MTU 1500, for information (Gbit/s):" \
			"up $(median up-1 pasta1500) / $(median up-8 pasta1500) (1 / 8 streams)," \
			"down $(median down-1 pasta1500) / $(median down-8 pasta1500)."
	fi
}

topology
place
servers
for ((r = 1; r <= ROUNDS; r++)); do
	echo "round $r of $ROUNDS"
	round
done
echo "memory and start-up"
for row in $ROWS; do
	[ "$row" = direct ] || cell_idle "$row"
	cell_start "$row"
done
mkdir -p "$(dirname "$OUT")"
table >"$OUT"
echo
cat "$OUT"
