#!/bin/bash
# SPDX-License-Identifier: MIT
# Echo requests and unknown protocols through weir: what is said when the host forbids them, what
# the flow log tells, path tools. tests/fidelity compares the rest. topology.sh has the drawing.
. "$(dirname "$0")/topology.sh"

inside() { weir_run "$@"; } # OPTIONS -- COMMAND
eve() { python3 "$TOP/tests/lib/eve.py" "$@"; }

log_of_echo() {
	local log=$TMP/icmp.json
	inside -q --log "$log" -- bash -c "ping -c 3 -i 0.2 -s 100 $PLAIN4; ping -c 1 $PLAIN6" \
		>/dev/null
	check "echo: protocol, type, addresses" eve "$log" \
		"[(f.proto, f.icmp_type, f.src_ip, f.dest_ip) for f in flows] == [
		('ICMP', 8, '10.77.0.2', '$PLAIN4'), ('IPv6-ICMP', 128, 'fd77::2', '$PLAIN6')]"
	check "echo: messages counted both ways" eve "$log" \
		"[(f.flow.pkts_toserver, f.flow.pkts_toclient) for f in flows] == [(3, 3), (1, 1)]"
	check "echo: the owner is ping" eve "$log" \
		"all(f.weir.owner.comm == 'ping' for f in flows)"
	check "echo: community_id" eve "$log" \
		"all(f.community_id.startswith('1:') for f in flows)"
}

path_tools() {
	like "traceroute -I shows the router" \
		"$(inside -q -- traceroute -I -n -q 1 -w 2 -m 4 $PLAIN4 2>&1)" "10.77.0.1.*$PLAIN4"
	like "traceroute shows the router, IPv6" \
		"$(inside -q -- traceroute -6 -n -q 1 -w 2 -m 4 $PLAIN6 2>&1)" "fd77::1.*$PLAIN6"
	like "ping of an unreachable host says from whom" \
		"$(inside -q -- ping -n -c 1 -W 2 10.80.0.10 2>&1)" \
		"From 10.77.0.1 .*Destination Host Unreachable"
	like "ping of silence is silence" \
		"$(inside -q -- ping -n -c 1 -W 1 10.80.0.17 2>&1)" " 0 received, 100% packet loss"
}

# a raw socket has no identifier; path tools have one to send and one to receive
raw_sockets() {
	cat >"$TMP/raw.py" <<-'PY'
	import os, socket, struct, sys, time
	def raw(proto):
	    return socket.socket(socket.AF_INET, socket.SOCK_RAW, proto)
	rd, wr = os.pipe()
	if len(sys.argv) > 2:
	    if not os.fork():
	        rx = raw(socket.IPPROTO_ICMP)
	        os.write(wr, b"x")
	        time.sleep(1)
	        sys.exit()
	    os.read(rd, 1)
	else:
	    rx = raw(socket.IPPROTO_ICMP)
	to = socket.inet_aton(sys.argv[1])
	echo = struct.pack("!BBHHH", 8, 0, 0xf7ff - 0x1234, 0x1234, 0)
	head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 1, 0, bytes(4), to)
	tx = raw(socket.IPPROTO_RAW)
	tx.sendto(head + echo, (sys.argv[1], 0))
	time.sleep(0.5)
	PY
	inside -q --log "$TMP/raw1.json" -- python3 "$TMP/raw.py" $PLAIN4
	check "echo: two raw sockets of one process name it" eve "$TMP/raw1.json" \
		"[(f.weir.owner.comm, f.weir.owner.uid) for f in flows] == [('python3', 0)]"
	inside -q --log "$TMP/raw2.json" -- python3 "$TMP/raw.py" $PLAIN4 two
	check "... those of two processes name none" eve "$TMP/raw2.json" \
		"[(f.weir.owner.comm, f.weir.owner.why) for f in flows] == [
		(None, 'several sockets or processes fit')]"
}

unknown_protocol() {
	local log=$TMP/proto.json
	inside -q --log "$log" -- "$B/tests/fidelity/probe" protocol 4 $PLAIN4 253 >/dev/null 2>&1
	check "unknown protocol is logged as refused" eve "$log" \
		"len(flows) == 1 and flows[0].dest_ip == '$PLAIN4' and flows[0].flow.pkts_toclient == 0"
	check "nothing of it left the machine" test "$(in_router nft list counters 2>/dev/null |
		awk '/packets/ { n += $2 } END { print n + 0 }')" = 0
}

# the host may forbid ping sockets to the worker's group
forbidden() {
	in_host sysctl -qw net.ipv4.ping_group_range="1 0"
	local out
	out=$(inside -- ping -n -c 1 -W 1 $PLAIN4 2>&1)
	like "forbidden ping: weir names the setting" "$out" "ping_group_range"
	like "forbidden ping: no answer is made up" "$out" " 0 received"
}

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
topology_up
in_router nft 'table inet count {
	counter other {}
	chain forward { type filter hook forward priority 1; meta l4proto 253 counter name other; }
}'
servers_up
log_of_echo
path_tools
raw_sockets
unknown_protocol
forbidden
done_testing
