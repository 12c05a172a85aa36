#!/bin/bash
# SPDX-License-Identifier: MIT
# `weir up` beside what else a host has: resolvers on loopback, strict rp_filter, a VPN's rules,
# firewalls, containers; other selections while it runs; rotated logs.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/up.sh"

ZONE=www.weir.test=A:10.78.0.2

echo_as() { as "$1" timeout 20 "$B/tests/fidelity/probe" echo "$2" "$3" 7001 2>/dev/null; }

# the resolver at 127.0.0.53 is another user's; the look-up goes by the worker
none_waits() { [ -z "$(in_host ss -tanH state last-ack)" ]; } # for the last ACK of a client

captured() {
	local via=$TMP/with_conf
	echo "nameserver 127.0.0.53" >"$TMP/resolv.conf"
	cat >"$via" <<-'SH'
	#!/bin/bash
	# in a mount namespace with a resolv.conf of its own
	exec unshare -m bash -c 'mount --bind "$1" "$(readlink -f /etc/resolv.conf)" && shift &&
		exec "$@"' - "$(dirname "$0")/resolv.conf" "$@"
	SH
	chmod +x "$via"
	start_ready "$TMP/dns.log" in_host python3 "$TOP/tests/lib/dnsd.py" 127.0.0.53 53 "$ZONE"
	# tracks connections, and drops what belongs to none
	in_host nft -f - <<-'RULES'
	table inet strict {
		chain in {
			type filter hook input priority 0; policy drop;
			ct state invalid drop
			ct state { established, related } accept
			iifname "lo" accept
			meta l4proto { icmp, ipv6-icmp } accept
		}
		chain out { type filter hook output priority 0; ct state invalid drop; }
	}
	RULES
	UP_VIA=$via up_start --user $ALICE || return
	is "a captured look-up over UDP is answered" \
		"$(as $ALICE dig +short +tries=1 +time=3 @127.0.0.53 www.weir.test A)" 10.78.0.2
	is "one over TCP" \
		"$(as $ALICE dig +short +tcp +tries=1 +time=3 @127.0.0.53 www.weir.test A)" 10.78.0.2
	check "a connection to a captured resolver ends on both sides" wait_for 2 none_waits
	is "somebody else's look-up is not touched" \
		"$(as $CAROL dig +short +tries=1 +time=3 @127.0.0.53 www.weir.test A)" 10.78.0.2
	in_host nft delete table inet strict # weir0 is not in it
	like "what was looked up names later flows" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	up_stop
	check "the look-ups are logged with their user" test \
		"$(logged "e['dest_port'] == 53 and e['dest_ip'] == '127.0.0.53' and o.get('uid') == $ALICE")" -ge 2
	is "others' are not" "$(logged "e['dest_port'] == 53 and o.get('uid') == $CAROL")" 0
	check "the flow after it has the name" test \
		"$(logged "e['weir'].get('host') == 'www.weir.test' and e['dest_port'] == 7001")" -ge 1
}

rp_filters() {
	local v
	for v in 0 1 2; do
		in_host sysctl -qw net.ipv4.conf.all.rp_filter=$v
		up_start --user $ALICE || return
		like "rp_filter $v: replies arrive" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
		up_stop
	done
	in_host sysctl -qw net.ipv4.conf.all.rp_filter=0
}

# wg-quick's way: everything by another table unless marked. The second "link" is a plain veth.
vpn() {
	local ns=$ROUTER
	link $HOST vpn0 $ns vpn1 1420
	addrs $HOST vpn0 10.90.0.2/24
	addrs $ns vpn1 10.90.0.1/24
	ip -n $NET route add 10.90.0.0/24 via 10.78.0.1
	ip -n $HOST route add default via 10.90.0.1 dev vpn0 table 51820
	ip -n $HOST rule add not fwmark 0xca6c lookup 51820 pref 20000
	ip -n $HOST rule add lookup main suppress_prefixlength 0 pref 19999
	host_state >"$TMP/state.vpn"
	in_host nft -f - <<-RULES
	table inet vpncount {
		counter worker { }
		chain post {
			type filter hook postrouting priority 300;
			oifname "vpn0" meta skuid $WORKER counter name worker
		}
	}
	RULES
	up_start --user $ALICE || return
	like "with a VPN's rules connections work" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	check "and the relay goes by the VPN" test "$(in_host nft list counter inet vpncount worker |
		awk '/packets/ { print $2 }')" -gt 20
	is "programs have the VPN's source address" "$(as $ALICE /usr/bin/python3 -c '
import socket, sys
s = socket.create_connection((sys.argv[1], 7001)); print(s.getsockname()[0])' $PLAIN4)" 10.90.0.2
	ip -n $HOST link set vpn0 down
	sleep 0.6
	is "when it goes down the source follows" "$(as $ALICE /usr/bin/python3 -c '
import socket, sys
s = socket.create_connection((sys.argv[1], 7001)); print(s.getsockname()[0])' $PLAIN4)" 10.77.0.2
	up_stop
	in_host nft delete table inet vpncount
	ip -n $HOST rule del pref 20000
	ip -n $HOST rule del pref 19999
	ip -n $HOST link del vpn0
}

# rules of others stay what they are, before, during and after
firewalls() {
	in_host nft -f - <<-'RULES'
	table ip filter {
		chain DOCKER-USER { }
		chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }
		chain OUTPUT { type filter hook output priority 0; policy accept; ip daddr 10.80.0.99 reject; }
	}
	table ip nat {
		chain POSTROUTING {
			type nat hook postrouting priority 100; policy accept;
			ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
		}
	}
	table inet firewalld {
		chain filter_INPUT {
			type filter hook input priority 10; policy accept;
			ct state { established, related } accept
			iifname "lo" accept
			meta l4proto { icmp, ipv6-icmp } accept
			reject with icmpx admin-prohibited
		}
	}
	RULES
	in_host nft list ruleset | sed '/^table inet count/,/^}/d' >"$TMP/rules.before"
	up_start --user $ALICE || return
	like "behind a firewall connections work" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	like "IPv6 as well" "$(echo_as $ALICE 6 $PLAIN6)" "40 of 40"
	like "somebody not selected, too" "$(echo_as $CAROL 4 $PLAIN4)" "40 of 40"
	up_stop
	in_host nft list ruleset | sed '/^table inet count/,/^}/d' >"$TMP/rules.after"
	is "its rules are what they were" "$(diff "$TMP/rules.before" "$TMP/rules.after")" ""
	in_host nft delete table ip filter
	in_host nft delete table ip nat
	in_host nft delete table inet firewalld
}

# forwarded traffic of a container counts as uid 0 in routing; it must not be caught
container() {
	local ns=wc$$
	ip netns add $ns
	link $HOST c0 $ns c1 1500
	addrs $HOST c0 172.17.0.1/16
	addrs $ns c1 172.17.0.2/16
	ip -n $ns route add default via 172.17.0.1
	ip -n $NET route add 172.17.0.0/16 via 10.78.0.1
	ip -n $ROUTER route add 172.17.0.0/16 via 10.77.0.2
	in_host sysctl -qw net.ipv4.ip_forward=1
	up_start --all || return
	like "--all leaves a container's traffic alone" \
		"$(nsenter --net=/run/netns/$ns timeout 10 "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001 2>/dev/null)" \
		"40 of 40"
	like "and takes root's" "$(in_host timeout 10 "$B/tests/fidelity/probe" echo 4 $PLAIN4 7001 2>/dev/null)" \
		"40 of 40"
	up_stop
	check "which is logged" test "$(logged "o.get('uid') == 0 and e['dest_port'] == 7001")" -ge 1
	is "the container's is not" "$(logged "e['src_ip'] == '172.17.0.2'")" 0
	in_host sysctl -qw net.ipv4.ip_forward=0
	ip netns del $ns
}

noted_by_bpf() { [ "$(logged "o.get('uid') == $BOB and o.get('source') == 'bpf'")" -ge 1 ]; }

reloaded() {
	local conf=$TMP/weir.conf before=$TMP/long.out pid
	printf 'user = %s\n' $ALICE >"$conf"
	UP_CONFIG="--config $conf" up_start || return
	as $ALICE /usr/bin/python3 - $PLAIN4 >"$before" 2>&1 <<-'PY' &
	import socket, sys, time
	s = socket.create_connection((sys.argv[1], 7001))
	end = time.monotonic() + 3
	while time.monotonic() < end:
	    s.sendall(b"ping")
	    got = b""
	    while len(got) < 4:
	        part = s.recv(4 - len(got))
	        if not part:
	            sys.exit("closed")
	        got += part
	    time.sleep(0.02)
	print("survived")
	PY
	pid=$!
	sleep 0.5
	mv "$TMP/up.json" "$TMP/up.json.1"
	printf 'user = %s\nuser = %s\n' $ALICE $BOB >"$conf"
	kill -HUP $UP_PID
	wait_for 5 grep -q reloaded "$TMP/up.err"
	counters_zero
	like "after a reload a new user is selected" "$(echo_as $BOB 4 $PLAIN4)" "40 of 40"
	is "and guarded" "$(sent bob)" 0
	if [ -n "$BPF" ]; then
		check "and noted by BPF" wait_for 5 noted_by_bpf
	else
		skip "and noted by BPF" "no BPF here"
	fi
	printf 'user = %s\nno-such-key = 1\n' $ALICE >"$conf"
	kill -HUP $UP_PID
	wait_for 5 grep -q "nothing is changed" "$TMP/up.err"
	like "a wrong file is refused with its line" "$(cat "$TMP/up.err")" "weir.conf:2"
	like "and changes nothing" "$(echo_as $BOB 4 $PLAIN4)" "40 of 40"
	is "nothing leaks meanwhile" "$(sent bob)" 0
	printf 'user = %s\n' $ALICE >"$conf"
	: >"$TMP/up.err"
	kill -HUP $UP_PID
	wait_for 5 grep -q reloaded "$TMP/up.err"
	like "a user taken off the list" "$(echo_as $BOB 4 $PLAIN4)" "40 of 40"
	check "goes the old way" test "$(sent bob)" -gt 20
	wait $pid
	is "connections outlive reloads" "$(cat "$before")" survived
	up_stop
	check "a rotated log goes on under its name" test -s "$TMP/up.json"
	host_state >"$TMP/after"
	is "nothing is left then" "$(diff "$TMP/state" "$TMP/after")" ""
}

narrow_owners() {
	up_start --group $BOB --mark 0x77 || return
	counters_zero
	like "a group, by mark" "$(echo_as $BOB 4 $PLAIN4)" "40 of 40"
	is "nothing of it goes the old way" "$(sent bob)" 0
	like "another one" "$(echo_as $CAROL 4 $PLAIN4)" "40 of 40"
	check "goes the old way" test "$(sent carol)" -gt 20
	like "a marked socket" "$(in_host /usr/bin/python3 -c '
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, 36, 0x77); s.connect((sys.argv[1], 7001))
s.send(b"x"); print(s.recv(1))' $PLAIN4)" x
	up_stop
	check "is logged" test "$(logged "o.get('uid') == 0")" -ge 1
}

lockdown() {
	in_host "$WEIR" up --no-config --lockdown --runtime-dir "$TMP/run" --worker-user $WORKER \
		--user $ALICE 2>"$TMP/up.err" || {
		not_ok "weir up --lockdown" "$(cat "$TMP/up.err")"
		return
	}
	counters_zero
	as $ALICE timeout 2 "$B/tests/fidelity/probe" connect 4 $PLAIN4 7001 >/dev/null 2>&1
	as $ALICE timeout 2 curl -s --interface h0 http://$PLAIN4:7001/ >/dev/null 2>&1
	is "--lockdown lets nothing out" "$(sent alice)" 0
	like "and leaves others alone" "$(echo_as $CAROL 4 $PLAIN4)" "40 of 40"
	up_start --user $ALICE || return
	like "weir takes over from it" "$(echo_as $ALICE 4 $PLAIN4)" "40 of 40"
	is "with nothing let out in between" "$(sent alice)" 0
	up_stop
	host_state >"$TMP/after"
	is "nothing is left of both" "$(diff "$TMP/state" "$TMP/after")" ""
}

has_chain() { in_host nft list chain inet weir_guard "$1" >/dev/null 2>&1; }
no_chain() { ! has_chain "$1"; }

# answers of a selected user's UDP server, one that was there before and one that starts later; what
# that costs everybody ends with the last of them
udp_servers() {
	local old
	as $ALICE /usr/bin/python3 - $PLAIN4 >/dev/null 2>&1 <<-'PY' &
	import socket, sys, time
	s = socket.create_connection((sys.argv[1], 7001))
	time.sleep(2)
	PY
	old=$!
	sleep 0.3
	up_start --user $ALICE || return
	check "the chain for what keeps its path is there with a connection from before" has_chain inbound_udp
	wait $old
	check "the chain goes with it" wait_for 4 no_chain inbound_udp
	start_ready "$TMP/udp.log" in_host setpriv --reuid $ALICE --regid $ALICE --clear-groups /usr/bin/python3 -uc '
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 7400)); print("ready")
d = b""
while d != b"end":
    d, peer = s.recvfrom(100); s.sendto(d, peer)'
	check "the chain comes with a UDP server" wait_for 3 has_chain inbound_udp
	is "a UDP server of a selected user answers others, at its own port" \
		"$(in_net /usr/bin/python3 -c '
import socket
for family, to in (socket.AF_INET, "10.77.0.2"), (socket.AF_INET6, "fd77::2"):
    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(2); s.connect((to, 7400))
    for i in range(3):
        s.send(b"x")
        try: print(s.recv(9).decode(), end="")
        except OSError as e: print(e)
s.send(b"end")' 2>&1)" xxxxxx
	counters_zero
	as $ALICE /usr/bin/python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 7401)); s.sendto(b"x", ("10.78.0.2", 7400))'
	is "its user's own datagrams go by weir still" "$(sent alice)" 0
	up_stop
	up_start --user $ALICE || return
	check "without either the chain is not there" wait_for 5 no_chain inbound_udp
	up_stop
	host_state >"$TMP/after"
	is "nothing is left then" "$(diff "$TMP/state" "$TMP/after")" ""
}

guard_text() { in_host nft -s list table inet weir_guard | perl -0pe 's/\t\telements = \{[^}]*\}\n//g'; }

# a connection from outside that is not steered, and goes on by what the guard remembers of it
remembered() {
	local conf=$TMP/weir.conf
	printf 'user = %s\nno-bpf\n' $ALICE >"$conf"
	UP_CONFIG="--config $conf" up_start || return
	start_ready "$TMP/tcp.log" in_host setpriv --reuid $ALICE --regid $ALICE --clear-groups /usr/bin/python3 -uc '
import socket
s = socket.socket(socket.AF_INET6); s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("::", 7402)); s.listen(); print("ready")
c = s.accept()[0]
while d := c.recv(100): c.sendall(d)'
	in_net timeout 20 /usr/bin/python3 - >"$TMP/inside" 2>&1 <<-'PY' &
	import socket, time
	s = socket.create_connection(("10.77.0.2", 7402)); s.settimeout(3)
	for i in range(80):
	    s.sendall(b"x"); assert s.recv(1) == b"x"; time.sleep(0.05)
	print("went on")
	PY
	local pid=$!
	sleep 0.5
	printf 'user = %s\nuser = %s\nno-bpf\n' $ALICE $BOB >"$conf"
	kill -HUP $UP_PID
	wait_for 5 grep -q reloaded "$TMP/up.err"
	is "a reload is taken" $? 0
	like "and the new user selected" "$(echo_as $BOB 4 $PLAIN4)" "40 of 40"
	in_host nft delete chain inet weir_guard guard
	wait_for 5 grep -q "put back weir's" "$TMP/up.err"
	is "a chain that somebody deletes is put back" $? 0
	wait $pid
	like "a connection from outside goes on meanwhile" "$(cat "$TMP/inside")" "went on"
	guard_text >"$TMP/guard.renewed"
	up_stop
	UP_CONFIG="--config $conf" up_start || return
	is "the guard is that of a new start" "$(diff "$TMP/guard.renewed" <(guard_text))" ""
	up_stop
	host_state >"$TMP/after"
	is "nothing is left then" "$(diff "$TMP/state" "$TMP/after")" ""
}

killed() { # N: at random moments, any of its processes
	local i victim left=0 n=${KILLS:-12}
	for ((i = 0; i < n; i++)); do
		nsenter --net=/run/netns/$HOST "$WEIR" up --no-config \
			--runtime-dir "$TMP/run" --worker-user $WORKER --quiet --user $ALICE \
			--user $BOB --fail-open \
			2>/dev/null &
		UP_PID=$!
		disown $UP_PID
		sleep 0.$((RANDOM % 3))$((RANDOM % 10))$((RANDOM % 10))
		victim=$UP_PID
		case $((RANDOM % 4)) in
		0) victim=$(pgrep -P $UP_PID | head -1) ;;
		1) victim=$(pgrep -P $UP_PID | tail -1) ;;
		esac
		kill -9 ${victim:-$UP_PID} 2>/dev/null
		sleep 0.0$((RANDOM % 10))
		kill -9 $UP_PID 2>/dev/null
		wait_for 5 quiet || { left=$((left + 1)) && echo "# processes left after kill $i"; }
		up_down >/dev/null || echo "# weir down failed after kill $i"
		host_state >"$TMP/after"
		cmp -s "$TMP/state" "$TMP/after" || {
			left=$((left + 1))
			diff "$TMP/state" "$TMP/after" | sed 's/^/# /' | head -20
		}
	done
	is "$n kills and weir down: nothing is left" $left 0
}

quiet() { ! pgrep -f "runtime-dir $TMP/run" >/dev/null && ! in_host ip link show weir0 >/dev/null 2>&1; }

need_weir
need_tools tests/fidelity/probe tests/lib/peer tests/lib/hostile
command -v setpriv >/dev/null || skip_all "needs setpriv"
topology_up
servers_up
counters_up
mkdir -p "$TMP/run" && chmod 755 "$TMP"
host_state >"$TMP/state"
BPF=$("$WEIR" doctor 2>/dev/null | grep '^ok *BPF')
for part in ${PARTS:-captured rp_filters reloaded narrow_owners udp_servers remembered lockdown container firewalls killed vpn}; do
	$part
done
done_testing
