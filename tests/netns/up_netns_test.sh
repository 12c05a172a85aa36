#!/bin/bash
# SPDX-License-Identifier: MIT
# `weir up --netns`: another namespace's traffic, relayed from the host; and the device, deleted by
# somebody. $BOX has lo only, $BOX2 a veth and a default route of its own through $HOST.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/up.sh"

BOX=wb$$ BOX2=wc$$

box() { # NAMESPACE COMMAND...
	local ns=$1
	shift
	nsenter --net=/run/netns/$ns timeout 20 "$@" 2>/dev/null
}

box_state() { # NAMESPACE: as host_state()
	local HOST=$1
	host_state
}

echo_in() { box "$1" "$B/tests/fidelity/probe" echo "$2" "$3" 7001; }

flows_of() { wait_for 5 test "$(logged "$1")" -ge 1; }

alone() {
	box_state $BOX >"$TMP/box"
	up_start --netns $BOX || return
	like "a namespace with lo only reaches servers" "$(echo_in $BOX 4 $PLAIN4)" "40 of 40"
	like "IPv6 as well" "$(echo_in $BOX 6 $PLAIN6)" "40 of 40"
	like "UDP" "$(box $BOX "$B/tests/fidelity/probe" dgram_from 4 $PLAIN4 7101)" "5 from $PLAIN4 7101"
	check "ping" box $BOX ping -c 1 -W 3 $PLAIN4
	is "its programs have the device's address" "$(box $BOX /usr/bin/python3 -c '
import socket, sys
s = socket.create_connection((sys.argv[1], 7001)); print(s.getsockname()[0])' $PLAIN4)" 192.0.0.8
	like "a user in it whose uid is the worker's does not get past" \
		"$(box $BOX setpriv --reuid $WORKER --clear-groups "$B/tests/fidelity/probe" \
			connect 4 $PLAIN4 7099)" "connect ECONNREFUSED"
	host_state >"$TMP/after"
	is "the host is as it was meanwhile" "$(diff "$TMP/state" <(grep -v control "$TMP/after" |
		grep -vx 'journal\|journal.lock'))" ""
	is "its loopback is its own" "$(box $BOX "$B/tests/fidelity/probe" connect 4 127.0.0.1 7001 |
		head -1)" "connect ECONNREFUSED at once"
	check "flows are logged with their owner" test \
		"$(logged "o.get('comm') == 'probe' and o.get('uid') == 0 and o.get('pid', 0) > 0")" -ge 2
	up_stop
	is "weir up ends in order" $? 0
	box_state $BOX >"$TMP/after"
	is "nothing is left in it" "$(diff "$TMP/box" "$TMP/after")" ""
}

# by the pid of a process in it, which has a veth of its own; and a server in it is reached from outside
with_veth() {
	local pid
	box_state $BOX2 >"$TMP/box2"
	nsenter --net=/run/netns/$BOX2 sleep 300 &
	pid=$!
	BG+=($pid)
	sleep 0.2
	start_ready "$TMP/box.log" nsenter --net=/run/netns/$BOX2 "$B/tests/lib/peer" 0 172.17.0.2 - ::1 -
	in_box_count
	up_start --netns $pid || return
	like "by pid, with a veth of its own" "$(echo_in $BOX2 4 $PLAIN4)" "40 of 40"
	like "IPv6, which it does not have" "$(echo_in $BOX2 6 $PLAIN6)" "40 of 40"
	box $BOX2 curl -s --max-time 2 --interface c1 http://$PLAIN4:7001/ >/dev/null
	box $BOX2 ping -c 1 -W 1 -I c1 $PLAIN4 >/dev/null
	is "nothing goes by its own device" "$(box_sent)" 0
	like "its servers are reached by it" \
		"$(in_host timeout 10 "$B/tests/fidelity/probe" echo 4 172.17.0.2 7001 2>/dev/null)" "40 of 40"
	check "the flows have owners" test "$(logged "o.get('comm') == 'probe'")" -ge 2
	kill -9 $UP_PID
	wait $UP_PID 2>/dev/null
	wait_for 5 no_device $BOX2
	box $BOX2 "$B/tests/fidelity/probe" connect 4 $PLAIN4 7001 >/dev/null
	is "after kill -9 it stays closed" "$(box_sent)" 0
	check "weir down, from the host, finds it" up_down
	like "after it the old way is open" "$(echo_in $BOX2 4 $PLAIN4)" "40 of 40"
	nsenter --net=/run/netns/$BOX2 nft delete table inet boxcount
	box_state $BOX2 >"$TMP/after"
	is "nothing is left in it" "$(diff "$TMP/box2" "$TMP/after")" ""
	is "no file either" "$(ls "$TMP/run")" ""
	kill $pid
}

worker_pid() { in_host "$WEIR" status --runtime-dir "$TMP/run" | sed -n 's/.*worker \([0-9]*\), running.*/\1/p'; }
another_worker() { local now; now=$(worker_pid); [ -n "$now" ] && [ "$now" != 0 ] && [ "$now" != "$1" ]; }
netns_of() { stat -Lc %i "/proc/$1/ns/net"; }

# The supervisor has given up almost everything when it starts another worker in the namespace outside.
restarted() {
	local was i
	up_start --netns $BOX || return
	like "before" "$(echo_in $BOX 4 $PLAIN4)" "40 of 40"
	box $BOX /usr/bin/python3 - $PLAIN4 >"$TMP/blocked" <<-'PY' &
	import socket, sys
	s = socket.create_connection((sys.argv[1], 7001))
	try:
	    print("ended", s.recv(1))
	except OSError as e:
	    print("ended", e)
	PY
	local reader=$!
	sleep 0.5
	for i in 1 2 3; do
		was=$(worker_pid)
		kill -9 "$was"
		wait_for 10 another_worker "$was"
		is "worker $i killed: another one starts" $? 0
	done
	wait $reader
	like "... a program that had been waiting is told" "$(cat "$TMP/blocked")" ended
	is "... the new one is outside" "$(netns_of "$(worker_pid)")" "$(stat -Lc %i /run/netns/$HOST)"
	like "... and serves" "$(echo_in $BOX 4 $PLAIN4)" "40 of 40"
	like "... IPv6" "$(echo_in $BOX 6 $PLAIN6)" "40 of 40"
	like "... UDP" "$(box $BOX "$B/tests/fidelity/probe" dgram_from 4 $PLAIN4 7101)" "5 from $PLAIN4 7101"
	check "... ping" box $BOX ping -c 1 -W 3 $PLAIN4
	is "... without capabilities, as the user it was" "$(grep -E '^(CapEff|CapPrm|Uid)' "/proc/$(worker_pid)/status" |
		tr -s '\t\n' '  ')" "Uid: $WORKER $WORKER $WORKER $WORKER CapPrm: 0000000000000000 CapEff: 0000000000000000 "
	up_stop
	is "it ends in order" $? 0
	check "the flow that was lost is logged" grep -q crash "$TMP/up.json"
}

in_box_count() {
	nsenter --net=/run/netns/$BOX2 nft -f - <<-RULES
	table inet boxcount {
		counter out { }
		chain post {
			type filter hook postrouting priority 300;
			oifname != "c1" return
			ct direction original meta skuid != 4294967295 counter name out
		}
	}
	RULES
}

box_sent() {
	nsenter --net=/run/netns/$BOX2 nft list counter inet boxcount out | awk '/packets/ { print $2 }'
}

empty() { [ -z "$(ip netns pids "$1")" ]; }

no_device() { ! ip -n "$1" link show weir0 >/dev/null 2>&1; }

# a namespace that ended with everything in it leaves files only
ended() {
	ip netns add wd$$
	up_start --netns wd$$ || return
	kill -9 $UP_PID
	wait $UP_PID 2>/dev/null
	wait_for 5 empty wd$$
	ip netns del wd$$
	like "weir down of a namespace that is gone" "$(up_down 2>&1)" "is gone"
	is "removes the files" "$(ls "$TMP/run")" ""
}

refused() {
	like "a namespace that is not there" "$(in_host "$WEIR" up --no-config --runtime-dir "$TMP/run" \
		--worker-user $WORKER --netns nosuch$$ 2>&1)" "no network namespace or process"
	like "one's own" "$(in_host "$WEIR" up --no-config --runtime-dir "$TMP/run" \
		--worker-user $WORKER --netns $HOST 2>&1)" "is in"
}

deleted() {
	counters_up
	up_start --user $ALICE || return
	like "before" "$(as $ALICE "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001 2>/dev/null)" "40 of 40"
	counters_zero
	as $ALICE timeout 10 /usr/bin/python3 - $PLAIN4 <<-'PY' >"$TMP/blocked" 2>&1 &
	import socket, sys
	s = socket.create_connection((sys.argv[1], 7001))
	try:
	    s.recv(1)
	    print("ended")
	except OSError as e:
	    print("ended", e)
	PY
	local reader=$!
	sleep 0.3
	ip -n $HOST link del weir0
	wait_for 5 grep -q "made anew" "$TMP/up.err"
	wait_for 5 again
	check "a device that somebody deletes is made anew" again
	like "and works" "$(as $ALICE timeout 20 "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001 2>/dev/null)" "40 of 40"
	like "IPv6 as well" "$(as $ALICE timeout 20 "$B/tests/fidelity/probe" echo 6 $PLAIN6 7001 2>/dev/null)" "40 of 40"
	is "nothing passed by meanwhile" "$(sent alice)" 0
	wait $reader
	like "what had been open has ended" "$(cat "$TMP/blocked")" ended
	up_stop
	is "weir up ends in order after it" $? 0
	in_host nft delete table inet count
	host_state >"$TMP/after"
	is "nothing is left then" "$(diff "$TMP/state" "$TMP/after")" ""
}

again() { ip -n $HOST route show table 7771 | grep -q "dev weir0"; }

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
command -v setpriv >/dev/null || skip_all "needs setpriv"
topology_up
trap 'ip netns del $BOX 2>/dev/null; ip netns pids $BOX2 2>/dev/null | xargs -r kill -9; ip netns del $BOX2 2>/dev/null; ip netns del wd$$ 2>/dev/null; topology_down' EXIT
servers_up
namespace $BOX
namespace $BOX2
link $HOST c0 $BOX2 c1 1500
addrs $HOST c0 172.17.0.1/16
addrs $BOX2 c1 172.17.0.2/16
ip -n $BOX2 route add default via 172.17.0.1
ip -n $NET route add 172.17.0.0/16 via 10.78.0.1
ip -n $ROUTER route add 172.17.0.0/16 via 10.77.0.2
in_host sysctl -qw net.ipv4.ip_forward=1
mkdir -p "$TMP/run" && chmod 755 "$TMP"
host_state >"$TMP/state"
for part in ${PARTS:-alone restarted with_veth ended refused deleted}; do
	$part
done
done_testing
