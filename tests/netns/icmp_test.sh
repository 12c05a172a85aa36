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
unknown_protocol
forbidden
done_testing
