#!/bin/bash
# SPDX-License-Identifier: MIT
# Plans on a real kernel: the rules and tables that plan.c writes are taken, mean what they should, and
# send each user's packets where they belong. There is no weir here; the device stands alone.
#
#   $HOST                                                  $PEER
#   e0 10.91.0.2/24, fd91::2/64  ----------------------  e0 10.91.0.1/24, fd91::1/64
#   weir0 (tun, nobody reads: what is sent to it counts as dropped or queued there)
#
# A packet's way is read from counters behind all hooks of $HOST, and for e0 where it arrives: what a
# program broadcasts is seen in $HOST twice, once as a copy for local sockets.
TOP=$(cd "$(dirname "$0")/../.." && pwd)
B=${B:-$TOP/build/release}
case $B in /*) ;; *) B=$TOP/$B ;; esac
PLAN=$B/tests/unit/plan_test
N=0
BAD=0
HOST=wp$$h
PEER=wp$$p
CG=
# the system's own: one in somebody's home can't be run by other users
PYTHON=$(PATH=/usr/bin:/bin command -v python3)

check() { # NAME STATUS [DETAIL]
	N=$((N + 1))
	if [ "$2" = 0 ]; then
		echo "ok $N - $1"
	else
		echo "not ok $N - $1"
		[ -z "${3-}" ] || sed 's/^/#   /' <<<"$3"
		BAD=1
	fi
}

is() { # NAME GOT WANT
	[ "$2" = "$3" ]
	check "$1" $? "got:  $2"$'\n'"want: $3"
}

[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
for tool in ip nft nsenter "$PYTHON" setpriv; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP needs $tool"; exit 0; }
done
[ -x "$PLAN" ] || { echo "1..0 # SKIP $PLAN is not built"; exit 0; }
PLAN_COPY=$(mktemp -d) && chmod 755 "$PLAN_COPY" && cp "$PLAN" "$PLAN_COPY/plan"
PLAN=$PLAN_COPY/plan

tidy() {
	for ns in $HOST $PEER; do
		ip netns pids $ns 2>/dev/null | xargs -r kill -9
		ip netns del $ns 2>/dev/null
	done
	[ -z "$CG" ] || rmdir "$CG" "${CG%/*}" 2>/dev/null
	rm -rf "$PLAN_COPY"
}
trap tidy EXIT
trap 'exit 1' INT TERM HUP

h() { nsenter --net=/run/netns/$HOST -- "$@"; }

ip netns add $HOST && ip netns add $PEER || exit 1
ip -n $HOST link add e0 type veth peer name e0 netns $PEER
ip -n $HOST tuntap add weir0 mode tun
for ns in $HOST $PEER; do
	nsenter --net=/run/netns/$ns -- sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
		net.ipv6.conf.e0.accept_dad=0
	ip -n $ns link set lo up
	ip -n $ns link set e0 up
done
ip -n $HOST link set weir0 up
ip -n $HOST addr add 10.91.0.2/24 dev e0
ip -n $HOST addr add fd91::2/64 dev e0 nodad
ip -n $HOST addr add 192.0.0.8/32 dev weir0
ip -n $HOST addr add 100::8/128 dev weir0 nodad
ip -n $PEER addr add 10.91.0.1/24 dev e0
ip -n $PEER addr add fd91::1/64 dev e0 nodad
ip -n $HOST route add default via 10.91.0.1
ip -n $HOST route add default via fd91::1

# what a plan needs beside itself: the mirrored routes, and the test's counters
mirror() {
	ip -n $HOST route replace default dev weir0 src 10.91.0.2 table 7771
	ip -n $HOST route replace 10.91.0.0/24 dev weir0 src 10.91.0.2 table 7771
	ip -n $HOST route replace default dev weir0 src fd91::2 table 7771
	ip -n $HOST route replace fd91::/64 dev weir0 src fd91::2 table 7771
}

counters() {
	h nft -f - <<-EOF
	table inet probe
	delete table inet probe
	table inet probe {
		chain out {
			type filter hook postrouting priority 500;
			oifname "weir0" meta l4proto { tcp, udp } counter
			oifname "lo" meta l4proto { tcp, udp } counter
		}
	}
	EOF
	nsenter --net=/run/netns/$PEER -- nft -f - <<-EOF
	table inet probe
	delete table inet probe
	table inet probe {
		chain in {
			type filter hook prerouting priority -500;
			iifname "e0" meta l4proto { tcp, udp } counter
		}
	}
	EOF
}

seen() { # prints "weir0 lo e0" packets since counters()
	sleep 0.03 # for what would arrive
	{
		h nft list table inet probe
		nsenter --net=/run/netns/$PEER -- nft list table inet probe
	} | grep -oE 'packets [0-9]+' | awk '{ printf "%s%s", sep, $2; sep=" " }'
}

undo() {
	h ip rule flush protocol 119
	h ip -6 rule flush protocol 119
	h ip route flush table 7771 2>/dev/null
	h ip -6 route flush table 7771 2>/dev/null
	h ip -6 route del unreachable default table 7771 2>/dev/null # flush leaves it
	h nft delete table inet weir_guard 2>/dev/null
	h nft delete table inet weir 2>/dev/null
	h nft delete table netdev weir 2>/dev/null
}

apply() { # OPTIONS...: the whole plan, as a shell script made of what --dry-run prints
	local err
	undo
	err=$({
		"$PLAN" "$@" >"$PLAN_COPY/all" || echo "no plan"
		"$PLAN" --guard "$@" >"$PLAN_COPY/guard"
		"$PLAN" --nft "$@" >"$PLAN_COPY/nft"
		grep -E '^(echo|ip)' "$PLAN_COPY/all" >"$PLAN_COPY/sh"
		h sh -e "$PLAN_COPY/sh"
		h nft -f "$PLAN_COPY/guard"
		h nft -f "$PLAN_COPY/nft"
		mirror
	} 2>&1)
	check "the kernel takes the plan of $*" "$([ -z "$err" ]; echo $?)" "$err"
}

# send UID GID HOW TO PORT [DEVICE]: one packet
cat >"$PLAN_COPY/send" <<'EOF'
import os, socket, sys
uid, gid, how, to, port = sys.argv[1:6]
os.setgroups([]); os.setgid(int(gid))
kind = socket.SOCK_STREAM if how == "tcp" else socket.SOCK_DGRAM
family = socket.AF_INET6 if ":" in to else socket.AF_INET
os.setuid(int(uid)) if len(sys.argv) <= 7 else None
s = socket.socket(family, kind)
if len(sys.argv) > 6 and sys.argv[6] != "-":
    s.setsockopt(socket.SOL_SOCKET, 25, sys.argv[6].encode())
if len(sys.argv) > 7:
    s.setsockopt(socket.SOL_SOCKET, 36, int(sys.argv[7], 0))
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setblocking(False)
try:
    s.connect((to, int(port)))
    if how == "udp":
        s.send(b"x")
except BlockingIOError:
    pass
except OSError as e:
    print(e.strerror)
    sys.exit(0)
EOF

# goes WHERE NAME UID GID HOW TO PORT...: WHERE is weir0, e0, lo or none (dropped or unreachable)
goes() {
	local where=$1 name=$2 said got w e l
	shift 2
	counters
	said=$(h "$PYTHON" "$PLAN_COPY/send" "$@" 2>&1)
	read -r w l e <<<"$(seen)"
	case "$((w > 0))$((e > 0))$((l > 0))" in
	100) got=weir0 ;;
	010) got=e0 ;;
	001) got=lo ;;
	000) got=none ;;
	*) got="weir0 $w, e0 $e, lo $l" ;;
	esac
	is "$name" "$got" "$where"
	[ "$got" = "$where" ] || echo "#   $* ${said:-sent}"
}

both() { # WHERE NAME UID GID HOW PORT: IPv4 and IPv6
	goes "$1" "$2, IPv4" "$3" "$4" "$5" 10.91.0.1 "$6"
	goes "$1" "$2, IPv6" "$3" "$4" "$5" fd91::1 "$6"
}

# --- users by rule ---------------------------------------------------------------------------
apply --user 2000 --user 2100-2199 --except user=2150 --except to=10.91.0.1 --user 2300 --proto udp --port 53
is "the kernel prints the rules that were asked for" \
	"$({ h ip rule; h ip -6 rule; } | grep -c "proto 119")" "$("$PLAN" --rules --user 2000 --user 2100-2199 \
		--except user=2150 --except to=10.91.0.1 --user 2300 --proto udp --port 53 | wc -l)"
is "and every goto has found its target" "$({ h ip rule; h ip -6 rule; } | grep -c unresolved)" 0
for how in tcp udp; do
	both weir0 "a selected user's $how" 2000 2000 $how 80
	both e0 "another user's $how" 2001 2001 $how 80
	both e0 "the worker's $how" 4242 4242 $how 80
	both e0 "an excepted user's $how" 2150 2150 $how 80
	goes e0 "$how to an excepted address" 2100 2100 $how 10.91.0.1 80
	goes weir0 "$how to another one" 2100 2100 $how 10.91.0.7 80
	goes weir0 "$how of the other family" 2100 2100 $how fd91::1 80
done
both weir0 "a narrowed user's UDP to the port" 2300 2300 udp 53
both e0 "to another port" 2300 2300 udp 54
both e0 "by another protocol" 2300 2300 tcp 53
goes lo "a selected user's own loopback" 2000 2000 udp 127.0.0.1 9
goes none "a socket bound to the device" 2000 2000 udp 10.91.0.1 9 e0
goes none "the same with IPv6" 2000 2000 udp fd91::1 9 e0
goes none "the same with TCP" 2000 2000 tcp 10.91.0.1 9 e0
goes none "a subnet's broadcast" 2000 2000 udp 10.91.0.255 9
goes none "multicast by a bound socket" 2000 2000 udp 224.0.0.251 5353 e0
goes none "IPv6 multicast" 2000 2000 udp ff02::fb%e0 5353 e0
goes e0 "a bound socket of another user" 2001 2001 udp 10.91.0.1 9 e0
goes e0 "another user's broadcast" 2001 2001 udp 10.91.0.255 9

# --- the guard without weir ------------------------------------------------------------------
h nft delete table inet weir
ip -n $HOST link set weir0 down
both none "with the device gone a selected user's" 2000 2000 udp 80
both e0 "... and another one's" 2001 2001 udp 80
h ip rule del pref 1021
h ip rule del pref 1022
both none "with the rule gone as well" 2000 2000 udp 80
ip -n $HOST link set weir0 up

# --- by mark ------------------------------------------------------------------------------------
apply --group 3000 --mark 0x5 --user 0 --to 10.91.0.9
for how in tcp udp; do
	both weir0 "a selected group's $how" 2001 3000 $how 80
	both e0 "another group's $how" 2001 3001 $how 80
	goes weir0 "$how with a selected mark" 0 0 $how 10.91.0.1 80 - 5
	goes e0 "with another mark" 0 0 $how 10.91.0.1 80 - 4
	goes weir0 "root's $how where it is selected" 0 0 $how 10.91.0.9 80
	both e0 "root's other $how" 0 0 $how 80
	both e0 "the worker's in the group, $how" 4242 3000 $how 80
done
goes none "a group's socket bound to the device" 2001 3000 udp 10.91.0.1 9 e0
goes none "the same with IPv6" 2001 3000 udp fd91::1 9 e0
goes none "a mark's" 0 0 udp 10.91.0.1 9 e0 5

apply --all --except user=2500 --except port=22 --except proto=icmp --link-local pass
both weir0 "anybody's" 2001 2001 udp 80
both weir0 "root's" 0 0 tcp 80
both e0 "but for a user" 2500 2500 udp 80
both e0 "and a port" 2001 2001 tcp 22
both e0 "and the worker" 4242 4242 udp 80
goes e0 "link-local passes where it may" 2001 2001 udp 224.0.0.251 5353 e0
goes e0 "with IPv6, too" 2001 2001 udp ff02::fb%e0 5353 e0
goes e0 "and broadcast" 2001 2001 udp 10.91.0.255 9
h ping -c1 -W2 10.91.0.1 >/dev/null
check "an excepted protocol goes by" $?

# --- fail-open ----------------------------------------------------------------------------------
apply --group 3000 --fail-open --user 2000 --fail-open --user 2100
both weir0 "a fail-open group's" 2001 3000 udp 80
goes e0 "bound to the device it may pass" 2001 3000 udp 10.91.0.1 9 e0
h nft delete table inet weir
for pref in 1021 1022; do h ip rule del pref $pref; h ip -6 rule del pref $pref; done
ip -n $HOST link set weir0 down
both e0 "after a crash a fail-open group's" 2001 3000 udp 80
both e0 "... and user's" 2000 2000 udp 80
both none "... but no fail-closed user's" 2100 2100 udp 80
ip -n $HOST link set weir0 up

# --- connections that were there before, and from outside ----------------------------------------
serve() { # NETNS UID: a server on port 7000 that sends what it is told, until killed
	nsenter --net=/run/netns/$1 -- setpriv --reuid $2 --regid $2 --clear-groups "$PYTHON" -c '
import os, signal, socket
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
s = socket.socket(socket.AF_INET6); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 7000)); s.listen(); print("ready", flush=True)
while True:
    c = s.accept()[0]
    if os.fork(): c.close(); continue
    while d := c.recv(100): c.sendall(d)
    os._exit(0)' >"$PLAN_COPY/ready" 2>&1 &
	disown
	for _ in $(seq 250); do
		grep -q ready "$PLAN_COPY/ready" 2>/dev/null && return
		sleep 0.02
	done
}

undo
serve $PEER 0
mkfifo -m 666 "$PLAN_COPY/go"
h setpriv --reuid 2000 --regid 2000 --clear-groups "$PYTHON" -c '
import socket, sys
s = [socket.create_connection((a, 7000), 5) for a in ("10.91.0.1", "fd91::1")]
print(*(x.getsockname()[1] for x in s), flush=True)
open(sys.argv[1]).read()
for x in s:
    x.sendall(b"x"); x.settimeout(3)
    try: print(x.recv(1).decode(), flush=True)
    except OSError as e: print(e, flush=True)' "$PLAN_COPY/go" >"$PLAN_COPY/old" 2>&1 &
OLD=$!
for _ in $(seq 250); do [ -s "$PLAN_COPY/old" ] && break; sleep 0.02; done
read -r p4 p6 <"$PLAN_COPY/old"
apply --user 2000
h nft -f - <<-EOF
add element inet weir_guard old4 { 10.91.0.2 . $p4 . 10.91.0.1 . 7000 }
add element inet weir_guard old6 { fd91::2 . $p6 . fd91::1 . 7000 }
EOF
check "old connections are taken into the sets" $?
timeout 5 sh -c ': >"$1"' sh "$PLAN_COPY/go"
wait $OLD
is "a connection from before goes on, in both families" "$(tail -n +2 "$PLAN_COPY/old" | tr '\n' ' ')" "x x "

ip netns pids $PEER | xargs -r kill -9
rm "$PLAN_COPY/ready"
outside='
import socket
for a in ("10.91.0.2", "fd91::2"):
    try:
        s = socket.create_connection((a, 7000), 3); s.settimeout(3); s.sendall(b"x"); print(s.recv(1).decode())
    except OSError as e: print(e)'
serve $HOST 2000
is "a selected user's server can be reached from outside" \
	"$(nsenter --net=/run/netns/$PEER -- "$PYTHON" -c "$outside" | tr '\n' ' ')" "x x "
apply --group 2000
is "... selected by mark, too" "$(nsenter --net=/run/netns/$PEER -- "$PYTHON" -c "$outside" | tr '\n' ' ')" "x x "
ip netns pids $HOST | xargs -r kill -9

# --- sockets that their program has closed: without an owner, but with data to send again -------------
# Here weir0 leads to the peer as well, so that a connection comes about.
ip -n $HOST link del weir0
ip -n $HOST link add weir0 type veth peer name w0 netns $PEER
ip -n $HOST link set weir0 up
ip -n $PEER link set w0 up
ip -n $PEER addr add fd91::1/128 dev w0 nodad
ip -n $HOST addr add 192.0.0.8/32 dev weir0
ip -n $HOST addr add 100::8/128 dev weir0 nodad
h sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.e0.rp_filter=0
nsenter --net=/run/netns/$PEER -- sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.w0.rp_filter=0
rm -f "$PLAN_COPY/ready"
serve $PEER 0
orphan() { # UID GID ADDRESS [DEVICE]: connect, send what is never acknowledged, close, wait
	h "$PYTHON" -c '
import os, socket, sys
uid, gid, to = sys.argv[1:4]
os.setgroups([]); os.setgid(int(gid)); os.setuid(int(uid))
try: s = socket.create_connection((to, 7000), 3)
except OSError as e: print(e); sys.exit()
print("connected", flush=True); sys.stdin.readline()
if len(sys.argv) > 4: s.setsockopt(socket.SOL_SOCKET, 25, sys.argv[4].encode())
s.send(b"x"); s.close()' "$@"
}
closed() { # NAME UID GID ADDRESS [DEVICE]: what its retransmissions leave by
	local name=$1 w l e
	shift
	apply ${CLOSED:---group 3000 --user 2000}
	coproc { orphan "$@"; }
	read -r said <&"${COPROC[0]}"
	nsenter --net=/run/netns/$PEER -- nft add table inet deaf
	nsenter --net=/run/netns/$PEER -- nft add chain inet deaf in '{ type filter hook prerouting priority -400; }'
	nsenter --net=/run/netns/$PEER -- nft add rule inet deaf in meta l4proto tcp drop
	echo >&"${COPROC[1]}"
	wait "$COPROC_PID"
	counters
	sleep 1.2
	read -r w l e <<<"$(seen)"
	nsenter --net=/run/netns/$PEER -- nft delete table inet deaf
	h ss -HK state all dport = 7000 >/dev/null # or it goes on in the next one, whose sets do not know it
	if [ $# -gt 3 ]; then
		is "$name stay inside" "$said $e" "connected 0"
	else
		is "$name go by weir0 alone" "$said $((w > 0)) $e" "connected 1 0"
	fi
}
closed "a closed socket's data of a group" 2001 3000 10.91.0.1
closed "with IPv6" 2001 3000 fd91::1
closed "of a user" 2000 2000 10.91.0.1
closed "of a group, bound to the device before closing," 2001 3000 10.91.0.1 e0
closed "of a user, bound to the device before closing," 2000 2000 10.91.0.1 e0
CLOSED="--user 2000" closed "the same, no group selected, closing" 2000 2000 10.91.0.1 e0
ip netns pids $PEER | xargs -r kill -9

# --- names ----------------------------------------------------------------------------------------
export DNS=127.0.0.53
apply --user 2000 --group 3000
dns() { # UID GID: does a datagram to 127.0.0.53:53 arrive at 5353?
	h timeout 5 "$PYTHON" -c '
import os, socket, sys
r = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); r.bind(("127.0.0.1", 5353)); r.settimeout(1)
if os.fork() == 0:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"q", ("127.0.0.53", 53)); os._exit(0)
try: print(r.recv(1).decode())
except OSError: print("no")' "$1" "$2"
}
is "a selected user's look-up goes to weir" "$(dns 2000 2000)" q
is "a selected group's as well" "$(dns 2001 3000)" q
is "another one's does not" "$(dns 2001 2001)" no
is "nor the worker's" "$(dns 4242 3000)" no
unset DNS

# --- cgroups -----------------------------------------------------------------------------------------
mount=$(awk '$0 ~ / - cgroup2 / && $4 == "/" { print $5; exit }' /proc/self/mountinfo)
if [ -n "$mount" ] && mkdir "$mount/wp$$.slice" 2>/dev/null; then
	CG=$mount/wp$$.slice/a\\x2db
	mkdir "$CG"
	export CGROUPS=$mount
	apply --cgroup "/wp$$.slice/a\\x2db"
	in_cgroup() { # COMMAND...
		sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$CG" "$@"
	}
	h() { in_cgroup nsenter --net=/run/netns/$HOST -- "$@"; }
	for how in tcp udp; do both weir0 "a cgroup's $how" 2001 2001 $how 80; done
	goes none "its socket bound to the device" 2001 2001 udp 10.91.0.1 9 e0
	h() { nsenter --net=/run/netns/$HOST -- "$@"; }
	both e0 "another cgroup's" 2001 2001 udp 80
else
	N=$((N + 1))
	echo "ok $N - cgroups # SKIP no cgroup v2 that can be written"
fi

undo
is "nothing is left" "$(h nft list tables | grep -v probe; h ip rule | grep 119)" ""
echo "1..$N"
exit $BAD
