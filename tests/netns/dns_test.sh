#!/bin/bash
# SPDX-License-Identifier: MIT
# Names: a resolver that listens on the host's loopback works inside as it does outside, and the
# flow log knows the name that a program had in mind. topology.sh has the drawing; in addition
# a resolver at 127.0.0.53 and ::1 of $HOST, and a mount namespace with a resolv.conf of its own.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/nginx.sh"

eve() { python3 "$TOP/tests/lib/eve.py" "$@"; }

# with_conf COMMAND...: in $HOST, /etc/resolv.conf being $TMP/resolv.conf
with_conf() {
	in_host unshare -m bash -c 'mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)" &&
		mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf && shift && exec "$@"' sh "$TMP" "$@"
}

inside() { with_conf timeout -k 5 120 "$WEIR" run -q "$@"; }

resolver_on_loopback() {
	echo "nameserver 127.0.0.53" >"$TMP/resolv.conf"
	like "without weir" "$(with_conf getent ahostsv4 www.test)" "^$PLAIN4 "
	like "getent" "$(inside -- getent ahostsv4 www.test)" "^$PLAIN4 "
	like "getent, IPv6 address" "$(inside -- getent ahostsv6 www.test)" "^$PLAIN6 "
	is "no such name" "$(inside -- getent hosts nothing.test; echo $?)" 2
	like "dig over UDP" "$(inside -- dig +short +tries=1 www.test)" "real.test.*$PLAIN4"
	like "dig over TCP" "$(inside -- dig +short +tries=1 +tcp www.test)" "real.test.*$PLAIN4"
	like "answer too long for UDP" "$(inside -- dig +short +tries=1 big.test TXT)" "x{200}"
	check "the resolver saw both ways" sh -c \
		"grep -q '^tcp 127.* www.test A' $TMP/dns.log && grep -q '^udp 127.* www.test A' $TMP/dns.log"
	echo "options use-vc" >>"$TMP/resolv.conf"
	like "getent over TCP only" "$(inside -- getent ahostsv4 www.test)" "^$PLAIN4 "
}

resolver_on_loopback6() {
	echo "nameserver ::1" >"$TMP/resolv.conf"
	like "resolver at ::1" "$(inside -- getent ahostsv4 www.test)" "^$PLAIN4 "
}

resolver_far() {
	echo "nameserver $EXTRA4" >"$TMP/resolv.conf"
	like "resolver out on the network" "$(inside -- getent ahostsv4 www.test)" "^$PLAIN4 "
}

resolver_silent() {
	echo -e "nameserver 127.0.0.54\noptions timeout:1 attempts:1" >"$TMP/resolv.conf"
	local start=$SECONDS
	is "nobody at the resolver's address" "$(inside -- getent hosts www.test; echo $?)" 2
	check "... is known at once or after its timeout" test $((SECONDS - start)) -le 3
}

names_in_log() {
	local log=$TMP/names.json
	echo "nameserver 127.0.0.53" >"$TMP/resolv.conf"
	inside --log "$log" -- bash -c "curl -4 -s http://www.test:8080/hello
		curl -s http://$DELAYED4:8080/hello; curl -6 -s http://www.test:8080/hello" >"$TMP/out"
	is "three answers" "$(grep -c "hello from nginx" "$TMP/out")" 3
	check "the name asked for, behind a CNAME" eve "$log" \
		"[f.weir.host for f in flows if f.dest_ip == '$PLAIN4'] == ['www.test']"
	check "... for IPv6 too" eve "$log" \
		"[f.weir.host for f in flows if f.dest_ip == '$PLAIN6'] == ['www.test']"
	check "no name where none was asked for" eve "$log" \
		"[f.weir.host for f in flows if f.dest_ip == '$DELAYED4'] == [None]"
	check "look-ups are flows with an owner" eve "$log" \
		"any(f.dest_port == 53 and f.proto == 'UDP' and f.weir.owner.exe.endswith('curl')
		for f in flows)"
	like "the table shows the name" "$(with_conf timeout -k 5 120 "$WEIR" run -- curl -s -o /dev/null \
		http://www.test:8080/hello 2>&1)" "www\.test"
}

# an answer's TTL is over: the address may belong to another name
short_ttl() {
	local log=$TMP/ttl.json
	inside --log "$log" -- bash -c "getent ahostsv4 brief.test; sleep 2.5
		curl -s http://$EXTRA4:8080/hello" >/dev/null
	check "a name is forgotten after its TTL" eve "$log" \
		"[f.weir.host for f in flows if f.dest_port == 8080] == [None]"
}

need_weir
need_tools tests/lib/peer tests/lib/hostile
topology_up
echo "hosts: dns" >"$TMP/nsswitch.conf"
ZONE="www.test=CNAME:real.test real.test=A:$PLAIN4 real.test=AAAA:$PLAIN6 big.test=BIG:3000
	brief.test=A:$EXTRA4,1"
start_ready "$TMP/dns.log" in_host python3 "$TOP/tests/lib/dnsd.py" 127.0.0.53,::1 53 $ZONE
start_ready "$TMP/far.log" in_net python3 "$TOP/tests/lib/dnsd.py" $EXTRA4 53 $ZONE
nginx_up
resolver_on_loopback
resolver_on_loopback6
resolver_far
resolver_silent
names_in_log
short_ttl
done_testing
