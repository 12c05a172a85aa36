#!/bin/bash
# SPDX-License-Identifier: MIT
# Rules on live flows: refused, dropped, reset, by whom and where to, before the network sees anything;
# names from the payload, before any of it is sent. topology.sh: drawing; rules.sh: servers.
. "$(dirname "$0")/topology.sh"
. "$(dirname "$0")/rules.sh"

once() { # RULES COMMAND...: run under these rules; what it printed
	local file=$1
	shift
	rm -f "$TMP/log.json"
	weir_run -q ${OPTIONS-} --log "$TMP/log.json" --rules "$TMP/$file.rules" -- "$@" 2>"$TMP/err"
}
logged() { python3 "$TOP/tests/lib/eve.py" "$TMP/log.json" "$@"; } # EXPRESSION over flows

verdicts() {
	local out
	rules verdicts <<-EOF
	block if dst.port == 7001
	drop if dst.port == 7002
	reset if dst.port == 25
	block if proto == udp and dst.port == 7101
	EOF
	out=$(once verdicts bash -c "$KNOCK tcp $EXTRA4 7001; $KNOCK tcp $EXTRA4 7002 limit=4; $KNOCK tcp $EXTRA4 25
		$KNOCK tcp $EXTRA6 7001; $KNOCK tcp $EXTRA6 25; $KNOCK tcp $EXTRA4 8001 bytes=1000000
		$KNOCK udp $EXTRA4 7101 count=3; $KNOCK udp $EXTRA6 7101 count=3")
	is "block: refused; drop: silence; reset: after the handshake; else nothing" "$out" \
		"ECONNREFUSED 0.0"$'\n'"timeout 4.0"$'\n'"$(sed -n 3p <<<"$out")"$'\n'"ECONNREFUSED 0.0"$'\n'"$(sed -n 5p <<<"$out")
connected 1000000 all 0.$(sed -n 6p <<<"$out" | grep -oE '[0-9]$')
EHOSTUNREACH EHOSTUNREACH EHOSTUNREACH
EACCES EACCES EACCES"
	like "reset: IPv4" "$(sed -n 3p <<<"$out")" '^(connected )?ECONNRESET 0.0$'
	like "reset: IPv6" "$(sed -n 5p <<<"$out")" '^(connected )?ECONNRESET 0.0$'
	is "the network has seen no SYN of them" "$(syns 7001) $(syns 7002) $(syns 25)" "0 0 0"
	check "records name the rule" logged "[f.weir.rule[-2:] for f in flows if f.dest_port == 7001] == [':1', ':1']"
	check "... and the verdict" logged "{f.weir.verdict for f in flows if f.dest_port in (7001, 7002, 25, 7101)} == {'block', 'drop', 'reset'}"
	check "... and how it ended" logged "{f.weir.reason for f in flows if f.weir.verdict != 'allow'} == {'blocked'}"
	check "repeated SYNs of a dropped flow make no more flows" \
		logged "len([f for f in flows if f.dest_port == 7002]) == 1 and [f for f in flows if f.dest_port == 7002][0].flow.pkts_toserver >= 1"
	check "three datagrams are one flow" logged "len([f for f in flows if f.proto == 'UDP' and f.src_ip[:2] == '10']) == 1"
}

whose() {
	local out
	chmod 755 "$TMP"
	{ # PR_SET_NAME
		echo 'import ctypes; ctypes.CDLL(None).prctl(15, b"badtool", 0, 0, 0)'
		cat "$TOP/tests/lib/knock.py"
	} >"$TMP/badtool.py"
	rules whose <<-EOF
	block if user == 2001
	block if comm == "badtool"
	block if ancestor.comm == "evilparent"
	EOF
	out=$(once whose bash -c "$KNOCK tcp $EXTRA4 7001
		setpriv --reuid 2001 --clear-groups bash -c 'exec 3<>/dev/tcp/$EXTRA4/7001' 2>&1 | grep -o refused | head -1
		cp /bin/bash $TMP/evilparent; $TMP/evilparent -c 'bash -c \"$KNOCK tcp $EXTRA4 7001; true\"; true'
		python3 $TMP/badtool.py tcp $EXTRA4 7001")
	is "by user, ancestor and program" "$(sed 's/ [0-9.]*$//' <<<"$out")" "connected"$'\n'"refused"$'\n'"ECONNREFUSED"$'\n'"ECONNREFUSED"
	check "... each by its rule" logged "sorted(f.weir.rule[-2:] for f in flows if f.weir.verdict == 'block') == [':1', ':2', ':3']"
}

names() {
	local out
	start_ready "$TMP/dns.log" in_net python3 "$TOP/tests/lib/dnsd.py" $PLAIN4 53 \
		good.test=A:$EXTRA4 bad.test=A:$EXTRA4,1 sub.evil.test=A:$EXTRA4
	printf 'nameserver %s\n' $PLAIN4 >"$TMP/resolv.conf"
	rules names <<-EOF
	block if host == "bad.test"
	block if dns.name ~ "*.evil.test"
	EOF
	out=$(in_host unshare -m sh -c 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"' - "$TMP/resolv.conf" \
		timeout 60 "$WEIR" run -q --log "$TMP/log.json" --rules "$TMP/names.rules" -- bash -c "
		$KNOCK tcp good.test 7002 send=x; $KNOCK tcp sub.evil.test 7002; sleep 1.2; $KNOCK tcp bad.test 7002")
	is "a host by its DNS name" "$(sed 's/ [0-9.]*$//' <<<"$out")" "connected b'x'"$'\n'"ECONNREFUSED"$'\n'"ECONNREFUSED"
	is "... before its SYN" "$(syns 7002)" 1
}

hello() { # NAME: a ClientHello with this SNI, as octal escapes of printf
	python3 - "$1" <<-'PY'
	import ssl, sys
	i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
	c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
	t = c.wrap_bio(i, o, server_hostname=sys.argv[1])
	try: t.do_handshake()
	except ssl.SSLWantReadError: pass
	print("".join("\\x%02x" % b for b in o.read()))
	PY
}

payload() {
	local out fetch
	tls_server || { skip "names from the payload" "needs curl and openssl"; return; }
	rules payload <<-EOF
	block if sni == "bad.example"
	block if http.host ~ "*.evil.example"
	EOF
	fetch="curl -sk -o /dev/null -w %{http_code} --resolve"
	out=$(once payload bash -c "$fetch good.example:443:$EXTRA4 https://good.example/; echo
		$fetch bad.example:443:$EXTRA4 https://bad.example/; echo \" \$?\"
		$KNOCK tcp $EXTRA4 443 pieces send='$(hello bad.example)'
		$KNOCK tcp $EXTRA4 443 pieces send='$(hello good.example)' | cut -c1-20
		$KNOCK tcp $EXTRA4 7001 send='GET / HTTP/1.1\r\nHost: www.evil.example\r\n\r\n'
		$KNOCK tcp $EXTRA4 7001 send='GET / HTTP/1.1\r\nHost: www.good.example\r\n\r\n' | cut -c1-18
		$KNOCK tcp $EXTRA4 8002 pieces send='$(hello bad.example)'
		$KNOCK tcp $EXTRA4 8003 read")
	is "curl: a host by its TLS name; another one passes" "$(sed -n 1,2p <<<"$out")" "200"$'\n'"000 35"
	like "... in pieces of a byte" "$(sed -n 3p <<<"$out")" '^connected ECONNRESET'
	like "... which pass with another name" "$(sed -n 4p <<<"$out")" "^connected b'.x16"
	like "a host by its HTTP name" "$(sed -n 5p <<<"$out")" '^connected ECONNRESET'
	like "... and another one" "$(sed -n 6p <<<"$out")" "^connected b'GET /"
	like "nothing of what they sent has passed" "$(tail -n 1 <<<"$out")" "^connected b'0' "
	check "their names are recorded" logged "{f.tls.sni for f in flows if f.tls} == {'bad.example', 'good.example'}"
	out=$(once payload bash -c "$KNOCK tcp $EXTRA4 25 read; $KNOCK tcp $EXTRA4 7001 wait=0.6 send=x; $KNOCK tcp $EXTRA4 7001 send=odd")
	is "server first: its banner is not delayed; silence and unknown protocols pass" "$out" \
		"connected b'220 hello\\r\\n' 0.0"$'\n'"connected b'x' 0.6"$'\n'"connected b'odd' 0.$(tail -c 2 <<<"$out")"
}

before_connect() {
	local out before
	rules before <<-EOF
	block if http.host == "www.evil.example"
	EOF
	before=$(syns 7001)
	out=$(OPTIONS=--judge-before-connect once before bash -c "
		$KNOCK tcp $EXTRA4 7001 send='GET / HTTP/1.1\r\nHost: www.evil.example\r\n\r\n'
		$KNOCK tcp $EXTRA4 7003 send='GET / HTTP/1.1\r\nHost: www.good.example\r\n\r\n'
		$KNOCK tcp $EXTRA4 7001 send='GET / HTTP/1.1\r\nHost: www.good.example\r\n\r\n' | cut -c1-18
		$KNOCK tcp $EXTRA4 25 read")
	is "--judge-before-connect: judged by the payload, then connected" "$(sed 's/ [0-9.]*$//' <<<"$out")" \
		"connected ECONNRESET"$'\n'"connected ECONNRESET"$'\n'"connected b'GET /"$'\n'"connected b'220 hello\\r\\n'"
	is "... the network sees only what may pass" "$(($(syns 7001) - before))" 1
}

errors() {
	local out
	printf 'allow if dst.port == 80\nblock if dst.port == alice\n' >"$TMP/bad.rules"
	out=$(in_host "$WEIR" run --rules "$TMP/bad.rules" -- touch "$TMP/ran" 2>&1)
	is "a file with an error: status" $? 2
	like "... says where" "$out" "bad.rules:2:[0-9]+: "
	like "... and points at it" "$out" '\^'
	check "... and nothing has run" test ! -e "$TMP/ran"
	out=$(in_host "$WEIR" run --rules "$TMP/none.rules" -- true 2>&1)
	is "no such file: status" $? 2
	like "... said" "$out" "none.rules: No such file"
}

need_weir
topology_up
rules_servers
verdicts
whose
names
payload
before_connect
errors
done_testing
