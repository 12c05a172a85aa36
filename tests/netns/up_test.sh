#!/bin/bash
# SPDX-License-Identifier: MIT
# `weir up` on a host with three users: who is watched, what passes by, what leaks, what stays.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/up.sh"

echo_as() { # UID FAMILY ADDR: 40 round trips
	as "$1" timeout 20 "$B/tests/fidelity/probe" echo "$2" "$3" 7001 2>/dev/null
}

watched() {
	counters_zero
	like "a selected user reaches a server, IPv4" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	like "a selected user reaches a server, IPv6" "$(echo_as $ALICE 6 $PLAIN6)" "40 of 40"
	like "a refused connection stays refused" \
		"$(as $ALICE "$B/tests/fidelity/probe" connect 4 $PLAIN4 7099 2>/dev/null)" \
		"^connect ECONNREFUSED"
	check "ping" as $ALICE ping -c 1 -W 3 $PLAIN4
	check "ping, IPv6" as $ALICE ping -6 -c 1 -W 3 $PLAIN6
	like "UDP" "$(as $ALICE timeout 10 "$B/tests/fidelity/probe" dgram_from 4 $PLAIN4 7101 \
		2>/dev/null)" "5 from $PLAIN4 7101"
	is "nothing of theirs went by the real device" "$(sent alice)" 0
	check "the relay's packets did" test "$(sent worker)" -gt 20
	like "somebody not selected goes the old way" "$(echo_as $CAROL 4 $PLAIN4)" "40 of 40"
	check "by the real device" test "$(sent carol)" -gt 20
	wait_for 5 logged_enough
	check "every flow is logged with its user" test \
		"$(logged "o.get('uid') == $ALICE and e['dest_ip'] == '$PLAIN4'")" -ge 2
	is "and nobody else's" "$(logged "o.get('uid') == $CAROL")" 0
	check "the program is known" test "$(logged "o.get('comm') == 'probe'")" -ge 2
}

# bulk: iperf3, as somebody selected, all ways; nothing of it by the real device
bulk() {
	bg in_net iperf3 -s -B $EXTRA4 -p 5201 >/dev/null
	bg in_net iperf3 -s -B $EXTRA6 -p 5201 >/dev/null
	wait_for 10 in_net sh -c "ss -ltn | grep -q '$EXTRA4:5201' && ss -ltn | grep -q '$EXTRA6]*:5201'"
	counters_zero
	for args in "$EXTRA4" "$EXTRA4 -R" "$EXTRA6 -P 4" "$EXTRA6 -R -P 4" "$EXTRA4 -u -b 50m" "$EXTRA4 -u -b 50m -R"; do
		# shellcheck disable=SC2086
		check "iperf3 -c $args, selected" as $ALICE timeout 20 iperf3 -t 1 -p 5201 -c $args
	done
	is "none of its packets went by the real device" "$(sent alice)" 0
	check "iperf3, somebody not selected" as $CAROL timeout 20 iperf3 -t 1 -p 5201 -c $EXTRA4
}

logged_enough() { [ "$(logged "e['proto'] == 'TCP'")" -ge 2 ]; }

leaks() {
	counters_zero
	as $ALICE timeout 3 curl -s --interface h0 http://$PLAIN4:7001/ >/dev/null 2>&1
	as $ALICE timeout 3 curl -s --interface h0 "http://[$PLAIN6]:7001/" >/dev/null 2>&1
	as $ALICE /usr/bin/python3 - $PLAIN4 $PLAIN6 <<-'PY'
	import socket, struct, sys
	def attempt(fn):
	    try:
	        fn()
	    except OSError:
	        pass
	def send(family, addr, opts=(), cmsg=()):
	    s = socket.socket(family, socket.SOCK_DGRAM)
	    for level, name, value in opts:
	        s.setsockopt(level, name, value)
	    s.sendmsg([b"leak"], cmsg, 0, (addr, 9))
	index = socket.if_nametoindex("h0")
	v4, v6 = sys.argv[1:]
	INET, INET6 = socket.AF_INET, socket.AF_INET6
	dev = [(socket.SOL_SOCKET, 25, b"h0\0")]
	broad = [(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)]
	pkt4 = [(0, 8, struct.pack("i4s4s", index, b"\0" * 4, b"\0" * 4))]
	pkt6 = [(41, 50, b"\0" * 16 + struct.pack("i", index))]
	for a in (v4, "198.51.100.1", "10.77.0.1"):
	    attempt(lambda: send(INET, a, dev))
	    attempt(lambda: send(INET, a, (), pkt4))
	    attempt(lambda: send(INET, a, [(0, 50, struct.pack("!i", index))]))
	for a in (v6, "2001:db8::1", "fd77::1"):
	    attempt(lambda: send(INET6, a, dev))
	    attempt(lambda: send(INET6, a, (), pkt6))
	    attempt(lambda: send(INET6, a, [(41, 76, struct.pack("!i", index))]))
	attempt(lambda: send(INET, "255.255.255.255", dev + broad))
	attempt(lambda: send(INET, "10.77.0.255", broad))
	attempt(lambda: send(INET, "224.0.0.251", dev))
	attempt(lambda: send(INET, "239.1.2.3", [(0, 32, socket.inet_aton("10.77.0.2"))]))
	attempt(lambda: send(INET6, "ff02::fb%h0", dev))
	attempt(lambda: send(INET6, "ff0e::1", [(41, 17, index)]))
	attempt(lambda: send(INET6, "fe80::1%h0"))
	PY
	is "a socket bound to the device, IP_PKTINFO, broadcast, multicast: nothing leaks" \
		"$(sent alice)" 0
}

# what the kernel itself answers for a selected user's socket: RST to late data, port unreachable
kernel_replies() {
	counters_zero
	as $ALICE /usr/bin/python3 - $PLAIN4 <<-'PY'
	import socket, struct, sys
	s = socket.create_connection((sys.argv[1], 7001), None, ("", 45454))
	s.send(b"x" * 100)
	s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
	s.close()
	u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
	u.sendto(b"5 7101", (sys.argv[1], 7101))
	u.close()
	PY
	sleep 0.3
	is "the kernel's own answers do not pass by weir either" "$(sent kernel)" 0
}

# A program sends a datagram and is gone before the worker looks. The answer must not find a socket of the
# worker's own at the program's port, which would take it for another answer, and so on.
answered_too_late() {
	local worker
	worker=$(in_host "$WEIR" status --runtime-dir "$TMP/run" | sed -n 's/.*worker \([0-9]*\).*/\1/p')
	kill -STOP "$worker"
	as $ALICE /usr/bin/python3 - $DELAYED4 $DELAYED6 <<-'PY'
	import socket, sys
	for family, to in zip((socket.AF_INET, socket.AF_INET6), sys.argv[1:]):
	    u = socket.socket(family, socket.SOCK_DGRAM)
	    u.sendto(b"5 7101", (to, 7101))
	    u.close()
	PY
	kill -CONT "$worker"
	sleep 0.5
	check "an answer that comes too late does not come again and again" test \
		"$(in_host cat /proc/net/dev | awk '/weir0/ { print $3 }')" -lt 10000
}

# what a program gets where the host has no way, or a route that says no: as somebody not selected
outcomes() { # UID: connect() and the first datagram, to what only a default route leads to, and others
	as "$1" /usr/bin/python3 - 203.0.113.9 2001:db8:9::9 10.81.0.1 fd81::1 10.82.0.1 fd82::1 <<-'PY'
	import errno, socket, sys
	def said(kind, to):
	    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, kind)
	    s.settimeout(3)
	    try:
	        s.connect((to, 9))
	        return "connected"
	    except OSError as e:
	        return errno.errorcode.get(e.errno, str(e))
	for to in sys.argv[1:]:
	    print(to, said(socket.SOCK_STREAM, to), said(socket.SOCK_DGRAM, to))
	PY
}

routed() { in_host ip route show table 7771 | grep -q "^default"; }
not_routed() { ! routed; }

no_way() {
	ip -n $HOST route del default
	ip -n $HOST -6 route del default
	wait_for 5 not_routed
	counters_zero
	is "without a route a selected program gets the same errors as others" "$(outcomes $ALICE)" \
		"$(outcomes $CAROL)"
	like "... ENETUNREACH" "$(outcomes $ALICE)" "203.0.113.9 ENETUNREACH ENETUNREACH"
	like "... IPv6" "$(outcomes $ALICE)" "2001:db8:9::9 ENETUNREACH ENETUNREACH"
	is "a socket bound to the device gets nowhere then" "$(as $ALICE timeout 1 curl -s --interface h0 \
		http://203.0.113.9/; sent alice)" 0
	ip -n $HOST route add default via 10.77.0.1
	ip -n $HOST route add default via fd77::1
	wait_for 5 routed
	like "with a route again connections work" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
}

excepted() {
	up_stop
	up_start --user $ALICE --except port=7001 --user $BOB --proto udp --user 3000-3999 \
		--except user=3005 || return
	counters_zero
	like "an excepted port goes the old way" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	check "by the real device" test "$(sent alice)" -gt 20
	like "a protocol that is not selected as well" "$(echo_as $BOB 4 $PLAIN4)" "40 of 40"
	check "by the real device" test "$(sent bob)" -gt 20
	counters_zero
	as $BOB timeout 10 "$B/tests/fidelity/probe" dgram_from 4 $PLAIN4 7101 >/dev/null 2>&1
	is "the selected protocol does not" "$(sent bob)" 0
	echo_as 3005 4 $PLAIN4 >/dev/null
	echo_as 3006 4 $PLAIN4 >/dev/null
	wait_for 5 test "$(logged "o.get('uid') == 3006")" -ge 1
	is "one of a range is excepted" "$(logged "o.get('uid') == 3005")" 0
	check "the others are watched" test "$(logged "o.get('uid') == 3006")" -ge 1
}

# a download that began before weir goes on through its start and its end
survivors() {
	local before=$TMP/before.out
	as $ALICE /usr/bin/python3 - $PLAIN4 >"$before" 2>&1 <<-'PY' &
	import socket, sys, time
	s = socket.create_connection((sys.argv[1], 7001))
	n = 0
	end = time.monotonic() + 8
	while time.monotonic() < end:
	    s.sendall(b"ping")
	    got = b""
	    while len(got) < 4:
	        part = s.recv(4 - len(got))
	        if not part:
	            sys.exit("closed after %d" % n)
	        got += part
	    n += 1
	    time.sleep(0.02)
	print("survived", n > 50)
	PY
	local pid=$!
	sleep 0.5
	up_start --user $ALICE
	sleep 1
	like "new connections go by weir meanwhile" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	up_stop
	wait $pid
	is "a connection from before survives start and stop" "$(cat "$before")" "survived True"
}

killed() { # WHAT SIGNAL-TARGET
	local after
	up_start --user $ALICE --user $BOB --fail-open || return
	counters_zero
	kill -9 $UP_PID
	wait $UP_PID 2>/dev/null
	wait_for 5 no_device
	check "after kill -9 the device is gone" no_device
	wait_for 5 only_guard # the device goes with the worker, before the watcher is done
	as $ALICE timeout 2 "$B/tests/fidelity/probe" connect 4 $PLAIN4 7001 >/dev/null 2>&1
	as $ALICE timeout 2 "$B/tests/fidelity/probe" connect 6 $PLAIN6 7001 >/dev/null 2>&1
	is "after kill -9 nothing of a fail-closed user leaks" "$(sent alice)" 0
	like "a fail-open user goes the old way" "$(echo_as $BOB 4 $PLAIN4)" "40 of 40"
	check "weir down" up_down
	like "after weir down everybody does" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	host_state >"$TMP/after"
	is "nothing is left" "$(diff "$TMP/state" "$TMP/after")" ""
}

only_guard() { ! grep -q '^+ [^g]' "$TMP/run/journal"; }

no_device() { ! in_host ip link show weir0 >/dev/null 2>&1; }

restored() {
	up_start --user $ALICE || return
	in_host nft flush ruleset
	counters_up
	in_host ip rule flush
	in_host ip rule add pref 32766 lookup main
	in_host ip rule add pref 32767 lookup default
	sleep 0.5
	counters_zero
	like "after flush of rules and ruleset weir goes on" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	is "nothing leaks then" "$(sent alice)" 0
	like "it says so" "$(cat "$TMP/up.err")" "put back"
	up_stop
	host_state >"$TMP/after"
	is "nothing is left then" "$(diff "$TMP/state" "$TMP/after")" ""
}

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
command -v setpriv >/dev/null || skip_all "needs setpriv"
topology_up
servers_up
counters_up
mkdir -p "$TMP/run" && chmod 755 "$TMP"
host_state >"$TMP/state"
up_start --user $ALICE --user $BOB && {
	watched
	leaks
	kernel_replies
	answered_too_late
	no_way
	excepted
	bulk
	up_stop
	is "weir up ends in order" $? 0
	host_state >"$TMP/after"
	is "a clean end leaves nothing" "$(diff "$TMP/state" "$TMP/after")" ""
	survivors
	killed
	restored
}
done_testing
